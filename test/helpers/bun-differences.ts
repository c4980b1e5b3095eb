// Owns the list of behaviours in which Bun 1.4.5's node:fs/promises departs from Node 26, and the tests that show each.
// Assumes Node's documentation is right: the package follows Node, and docs/compatibility.md tells users the same rows.
// Never hides a failure of this package: only the oracle's run looks here.

export interface Difference {
  id: string;
  /** Tests, as `area > title`, that fail on Bun's node:fs/promises because of this. */
  tests: readonly string[];
  /** The oracle hangs, crashes or only sometimes fails there, so its run is left out. */
  unstable?: boolean;
}

export const DIFFERENCES: readonly Difference[] = [
  {
    id: "access-resolves-null",
    tests: ["metadata > access resolves to undefined for what is allowed"],
  },
  {
    id: "append-iterable",
    tests: [
      "abort-signal > an aborted signal rejects writeFile and appendFile, and touches nothing",
      "write-file > appendFile takes iterables",
      "write-file > fails like open(2), with the path, and like write(2), without",
    ],
  },
  {
    id: "argument-messages",
    tests: [
      "abort-signal > refuses a signal that is none",
      "handle-read > refuses an empty buffer with a length",
      "handle-read > refuses offset beyond the buffer and a length",
      "handle-read > refuses options.position '1'",
      "handle-read > refuses position '1'",
      "handle-read > refuses position -2n",
      "handle-read > refuses position 2^53",
      "handle-read > refuses position 2n ** 63n",
      "handle-read > refuses position true",
      "handle-readfile-writefile > refuse bad data and bad options",
      "handle-readv-writev > readv and writev refuse a buffer",
      "handle-readv-writev > readv and writev refuse a string",
      "handle-readv-writev > readv and writev refuse an array of numbers",
      "handle-readv-writev > readv and writev refuse an array with one string",
      "handle-readv-writev > readv and writev refuse an array-like object",
      "handle-readv-writev > readv and writev refuse nothing",
      "handle-write > refuses length -1, and writes nothing",
      "handle-write > refuses length beyond the buffer, and writes nothing",
      "metadata > chmod refuses a bad mode, by path and by handle",
      "metadata > chown refuses bad ids",
      "metadata > readlink and realpath take encodings",
      "metadata > symlink refuses an unknown type",
      "mkdir > refuses recursive of a number, and makes nothing",
      "mkdir > refuses recursive of null, and makes nothing",
      "read-file > refuses a signal that is none",
      "read-file > refuses an options.encoding of a number",
      "read-file > refuses an unknown encoding",
      "read-file > refuses an unknown options.encoding",
      "readdir-opendir > readdir refuses bad options",
      "rm-cp-mkdtemp > mkdtemp takes encodings and Buffers",
      "rm-cp-mkdtemp > rm refuses a bad force, and removes nothing",
      "rm-cp-mkdtemp > rm refuses a bad options null, and removes nothing",
      "rm-cp-mkdtemp > rm refuses a bad options of a string, and removes nothing",
      "rm-cp-mkdtemp > rm refuses a bad recursive, and removes nothing",
      "rm-cp-mkdtemp > rm refuses a bad retryDelay, and removes nothing",
      "write-file > refuses a flush that is no boolean, and touches nothing",
      "write-file > refuses a signal that is none, and touches nothing",
      "write-file > refuses an encoding, and touches nothing",
      "write-file > refuses data that is an instance of Object, and touches nothing",
      "write-file > refuses data that is null, and touches nothing",
      "write-file > refuses data that is type bigint (1n), and touches nothing",
      "write-file > refuses data that is type boolean (true), and touches nothing",
      "write-file > refuses data that is type number (1), and touches nothing",
      "write-file > refuses data that is type symbol (Symbol(x)), and touches nothing",
      "write-file > refuses data that is undefined, and touches nothing",
    ],
  },
  {
    id: "closed-handle-message",
    tests: [
      "handle-read > on a closed handle fails with 'file closed'",
      "handle-readv-writev > both fail on a closed handle with 'file closed'",
      "handle-stat-truncate-sync-close > appendFile on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > chmod on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > chown on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > datasync on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > readFile on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > stat on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > sync on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > truncate on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > utimes on a closed handle fails with 'file closed'",
      "handle-stat-truncate-sync-close > writeFile on a closed handle fails with 'file closed'",
      "handle-write > on a closed handle fails with 'file closed'",
    ],
  },
  {
    id: "copyfile-directory",
    tests: ["copy-file > refuses a directory as the source, and leaves no target"],
  },
  {
    id: "empty-path-in-error",
    tests: [
      "mkdir > fails like mkdir(2)",
      "open > fails like open(2)",
      "read-file > fails like open(2), with the path",
      "rename-unlink-rmdir > rename fails like rename(2), with both paths",
      "rename-unlink-rmdir > unlink fails like unlink(2)",
      "stat-lstat > fails like stat(2) and lstat(2)",
    ],
  },
  {
    id: "error-has-fd",
    tests: [
      "handle-stat-truncate-sync-close > sync and datasync fail where the kernel cannot",
      "handle-write > fails like write(2), without a path",
      "odd-files > a FIFO refuses a position with ESPIPE",
      'open > flag "a" on an existing file',
      'open > flag "as" on an existing file',
      'open > flag "sa" on an existing file',
      'open > flag "w" on an existing file',
    ],
  },
  {
    id: "error-key-order",
    tests: ["errors > own keys come in Node's order"],
  },
  {
    id: "function-lengths",
    tests: ["module > functions and methods have Node's lengths"],
  },
  {
    id: "long-path-syscall",
    tests: ["paths > a name of 255 bytes works, one of 256 and a path of 4096 do not"],
  },
  {
    id: "opendir-encoding",
    tests: [
      "readdir-opendir > opendir gives Dirents in every encoding, by promise, callback, at once and by iteration",
    ],
  },
  {
    id: "mkdtemp-disposable-encoding",
    tests: ["rm-cp-mkdtemp > mkdtempDisposable takes encodings"],
  },
  {
    id: "mkdtemp-empty-prefix",
    tests: ["rm-cp-mkdtemp > mkdtemp with an empty prefix makes a folder in the working one"],
  },
  {
    id: "opendir-path",
    tests: ["readdir-opendir > opendir reads the folder that it opened, replaced or removed"],
  },
  {
    id: "path-argument-messages",
    tests: [
      "copy-file > names the argument it refuses",
      "paths > access refuses a NUL byte",
      "paths > access refuses what is no path",
      "paths > appendFile refuses a NUL byte",
      "paths > appendFile refuses what is no path",
      "paths > chmod refuses a NUL byte",
      "paths > chmod refuses what is no path",
      "paths > chown refuses a NUL byte",
      "paths > chown refuses what is no path",
      "paths > copyFile dest refuses a NUL byte",
      "paths > copyFile dest refuses what is no path",
      "paths > copyFile src refuses a NUL byte",
      "paths > copyFile src refuses what is no path",
      "paths > lchown refuses a NUL byte",
      "paths > lchown refuses what is no path",
      "paths > link existing refuses a NUL byte",
      "paths > link existing refuses what is no path",
      "paths > link new refuses a NUL byte",
      "paths > link new refuses what is no path",
      "paths > lstat refuses a NUL byte",
      "paths > lstat refuses what is no path",
      "paths > lutimes refuses a NUL byte",
      "paths > lutimes refuses what is no path",
      "paths > mkdir recursive refuses a NUL byte",
      "paths > mkdir recursive refuses what is no path",
      "paths > mkdir refuses a NUL byte",
      "paths > mkdir refuses what is no path",
      "paths > mkdtemp refuses a NUL byte",
      "paths > mkdtemp refuses what is no path",
      "paths > open refuses a NUL byte",
      "paths > open refuses what is no path",
      "paths > opendir refuses a NUL byte",
      "paths > opendir refuses what is no path",
      "paths > readFile refuses a NUL byte",
      "paths > readFile refuses what is no path",
      "paths > readdir recursive refuses a NUL byte",
      "paths > readdir recursive refuses what is no path",
      "paths > readdir refuses a NUL byte",
      "paths > readdir refuses what is no path",
      "paths > readlink refuses a NUL byte",
      "paths > readlink refuses what is no path",
      "paths > realpath refuses a NUL byte",
      "paths > realpath refuses what is no path",
      "paths > rename new refuses a NUL byte",
      "paths > rename new refuses what is no path",
      "paths > rename old refuses a NUL byte",
      "paths > rename old refuses what is no path",
      "paths > rm refuses a NUL byte",
      "paths > rm refuses what is no path",
      "paths > rmdir refuses a NUL byte",
      "paths > rmdir refuses what is no path",
      "paths > stat refuses a NUL byte",
      "paths > stat refuses what is no path",
      "paths > statfs refuses a NUL byte",
      "paths > statfs refuses what is no path",
      "paths > symlink path refuses a NUL byte",
      "paths > symlink path refuses what is no path",
      "paths > symlink target refuses a NUL byte",
      "paths > symlink target refuses what is no path",
      "paths > truncate refuses a NUL byte",
      "paths > truncate refuses what is no path",
      "paths > unlink refuses a NUL byte",
      "paths > unlink refuses what is no path",
      "paths > utimes refuses a NUL byte",
      "paths > utimes refuses what is no path",
      "paths > writeFile refuses a NUL byte",
      "paths > writeFile refuses what is no path",
    ],
  },
  {
    id: "path-buffer-race",
    unstable: true,
    tests: ["paths > a path string may be changed by the caller's Buffer after the call"],
  },
  {
    id: "readdir-dirent-buffer",
    tests: ["readdir-opendir > readdir withFileTypes and encoding buffer gives Buffer names"],
  },
  {
    id: "readdir-enters-links",
    tests: [
      "readdir-opendir > readdir recursive lists links, to themselves and upwards too, and enters none",
      "readdir-opendir > opendir recursive does not leave the tree through a link",
    ],
  },
  {
    id: "readdir-parent-path",
    tests: [
      "readdir-opendir > readdir recursive withFileTypes tells the folder itself as it was given",
      "readdir-opendir > readdir withFileTypes in another encoding gives names in it, and plain parents",
      "readdir-opendir > opendir recursive tells the folder itself as it was given",
    ],
  },
  {
    id: "readfile-buffer-option",
    tests: [
      "handle-readfile-writefile > readFile reads into a buffer of the caller",
      "read-file > asks the caller for a buffer of the file's size",
      "read-file > reads into a buffer of the caller",
      "read-file > refuses a buffer option that is none",
      "read-file > refuses a buffer that is too small",
    ],
  },
  {
    id: "readv-error-syscall",
    tests: ["handle-readv-writev > both fail like the system calls, without a path"],
  },
  {
    id: "refused-stream",
    tests: ["streams > a refused stream leaves the handle as it was"],
  },
  {
    id: "rm-dot",
    tests: [
      "rm-cp-mkdtemp > rm recursive of a path that ends in a dot removes nothing, since the folder itself can't be",
    ],
  },
  {
    id: "rm-error-syscall",
    tests: [
      "errors > rm of a path below a file",
      "errors > rm of a path through a loop of links",
      "errors > rm recursive of a path below a file",
      "errors > rm recursive of a path through a loop of links",
    ],
  },
  {
    id: "shared-position-order",
    unstable: true,
    tests: [
      "handle-read > reads with a shared position and without awaiting come in the order of the calls",
      "handle-write > keeps 50 writes at the file's own position in the order of the calls",
    ],
  },
  {
    id: "stat-throw-if-no-entry",
    tests: ["stat-lstat > throwIfNoEntry: false makes stat resolve to undefined for a missing file"],
  },
  {
    id: "stats-date-rounding",
    tests: ["stat-lstat > rounds Dates to the nearest millisecond"],
  },
  {
    id: "stream-close-settles",
    tests: [
      "file-streams > close() settles after a write stream with autoClose: false: an end with nothing written",
      "file-streams > close() settles after a write stream with autoClose: false: an error",
      "file-streams > close() settles after a write stream with autoClose: false: end(callback)",
      "file-streams > close() settles after a write stream with autoClose: false: finished",
      "file-streams > close() settles after a write stream with autoClose: false: pipeline",
      "file-streams > close(callback) of a write stream that has finished and is left open closes it",
      "file-streams > streams that have ended leave no listener on their handle",
    ],
  },
  {
    id: "stream-path-arguments",
    tests: [
      "file-streams > a path with a NUL byte is refused at the call",
      "file-streams > createReadStream takes a Buffer as its path, as it is at the call",
    ],
  },
  {
    id: "stream-replaced-functions",
    tests: [
      "file-streams > streams call a write, writev, fsync and close that have been replaced, also after they were made",
      "file-streams > functions that are put back are no longer called, and a FileHandle's stream never calls them",
    ],
  },
  {
    id: "stream-signal-leak",
    unstable: true,
    tests: ["file-streams > a signal that is aborted already leaves nothing open"],
  },
  {
    id: "truncate-error-syscall",
    tests: [
      "errors > truncate of a missing path",
      "errors > truncate of a path below a file",
      "errors > truncate of a path through a loop of links",
      "metadata > truncate of a folder fails at open",
    ],
  },
  {
    id: "truncate-limit",
    tests: ["handle-stat-truncate-sync-close > truncate fails like ftruncate(2)"],
  },
  {
    id: "unchecked-arguments",
    tests: [
      "handle-readv-writev > readv of no buffers fails as readv(2) in Node does",
      "handle-write > refuses length 1.5, and writes nothing",
      "read-file > refuses options of a boolean",
      "read-file > refuses options of a number",
      "rename-unlink-rmdir > rmdir no longer takes the recursive option",
      "stat-lstat > refuses options that are no object",
      "write-file > refuses data that is an instance of ArrayBuffer, and touches nothing",
      "write-file > refuses options of a number, and touches nothing",
    ],
  },
  {
    id: "utimes-dates",
    tests: ["metadata > utimes leaves a time that is an invalid Date as it is, and takes an infinite string for now"],
  },
  {
    id: "watch-queue",
    unstable: true,
    tests: [
      "glob-watch > watch fails when more than maxQueue changes wait and overflow is error",
      "glob-watch > watch keeps maxQueue changes for a slow reader, and drops the rest",
      "glob-watch > watch refuses a bad fraction of a maxQueue",
      "glob-watch > watch refuses a bad maxQueue",
      "glob-watch > watch refuses a bad overflow",
    ],
  },
  {
    id: "watch-url",
    tests: ["glob-watch > watch takes a Buffer or a URL as the path, and gives names as Buffers"],
  },
  {
    id: "write-iterable-abort",
    tests: ["abort-signal > an abort from the tick after the call comes before the result"],
  },
  {
    id: "write-iterable-error",
    tests: ["write-file > rejects with what the iterable throws, and closes the file"],
  },
  {
    id: "write-iterable-leak",
    unstable: true,
    tests: ["write-file > refuses an iterable that yields a number"],
  },
  {
    id: "readfile-folder-path",
    tests: ["foreign objects > readFile of a folder names it"],
  },
];

const byTest = new Map(DIFFERENCES.flatMap((difference) => difference.tests.map((key) => [key, difference])));

export function findDifference(key: string): Difference | undefined {
  return byTest.get(key);
}
