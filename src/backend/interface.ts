// What a backend is: the one set of file operations that floor 5 calls, and the state that one open file has.
// Assumes that every argument was validated above. Holds no behaviour: io_uring and node:fs each implement it,
// with the same results and the same errors, so that nothing above can tell them apart.

import type { BigIntStats, Stats } from "node:fs";
import type { Written } from "../node/abort.ts";
import type { FileInfo } from "../node/file-info.ts";

/** A validated path: a string without NUL, or raw bytes without NUL (which need not be UTF-8) that nobody changes. */
export type Path = string | Buffer;

/**
 * The state that all operations on one open file share. A class, and never given further properties, so that each
 * access on the hot path sees one shape.
 */
export class OpenFile {
  /** The file descriptor; -1 once `Backend.close` was called. */
  fd: number;
  /** Operations that the backend has accepted and not yet settled; they keep the descriptor from being closed. */
  inFlight = 0;
  /** Called by the backend when `inFlight` falls to 0 after `Backend.close`; null while nobody closes the file. */
  closing: (() => void) | null = null;
  /** Known to have positions: no pipe, socket or terminal. */
  seekable = false;
  /** Opened with O_APPEND. */
  append = false;
  /** Opened with O_NONBLOCK, which says something of files without positions only. */
  nonBlocking = false;
  /** Transfers go past the page cache (O_DIRECT). */
  direct = false;
  /** On a file system whose inline operations may block (FUSE, NFS, CIFS, 9p), so that they must be made asynchronous. */
  remote = false;
  /** What is transferred shall leave the page cache again, */
  bypass = false;
  /** … for which its transfers have RWF_DONTCACHE, as long as its file system has not refused that. */
  rwFlags = 0;
  /** What its file system has shown of itself: the io_uring backend's, from the first write on. */
  fileSystem: object | null = null;
  /** Called with the descriptor before it is closed or given away, where a Worker's end would close or unlock it. */
  forget: ((fd: number) => void) | null = null;

  constructor(fd: number) {
    this.fd = fd;
  }
}

export interface ReadResult<T> {
  /** Bytes read; 0 at the end of the file. */
  bytesRead: number;
  buffer: T;
}

export interface WriteResult<T> {
  /** Bytes written; may be fewer than were asked for. */
  bytesWritten: number;
  buffer: T;
}

export interface ReadvResult<T> {
  bytesRead: number;
  buffers: T;
}

export interface WritevResult<T> {
  bytesWritten: number;
  buffers: T;
}

export interface ReadFileOptions {
  /** Ends the work early where that is possible; that an abort rejects at once is for the caller to see to. */
  signal?: AbortSignal | null | undefined;
  /** Absent, null or "buffer": the result is a Buffer. */
  encoding?: BufferEncoding | "buffer" | null | undefined;
}

export interface WriteFileOptions {
  signal?: AbortSignal | null | undefined;
  /** fsync before the file is closed. */
  flush?: boolean | undefined;
  /** Counts what is written. */
  progress?: Written | undefined;
  /** Nobody else has the data. */
  isOwned?: boolean | undefined;
}

/** How names of a listing are given: as text, as bytes, or as text unless a name is no UTF-8. */
export type NamesAs = "text" | "bytes" | "exact";
export type Named<N extends NamesAs> = N extends "text" ? string : N extends "bytes" ? Buffer : string | Buffer;

/**
 * Called for each batch of names in one folder: `folder` is its path from the one that is listed ("" for that itself),
 * `types` holds a DT_ number for each name (readdir(3)). The arrays are the callee's, `types` only during the call.
 */
export type VisitNames<N extends NamesAs> = (folder: Named<N>, names: Named<N>[], types: Uint8Array) => void;

/** How names are copied from one open folder into another. */
export interface CopyHow {
  /** Follows symbolic links of the source. */
  follow: boolean;
  /** Overwrites a regular file that is there, and replaces what else is, unless it is a folder. Else that is EEXIST. */
  overwrite: boolean;
  /** Gives the copy the times of the source; with `accessed` the access time that it has after it was read. */
  times: boolean;
  accessed: boolean;
  /** Leaves set-id bits out unless the copy belongs to whom the source does. */
  dropSetId: boolean;
}

/** `status` is 0, NOT_REGULAR (the source is no regular file), SAME_FILE (both are one) or -errno. */
export interface CopiedName {
  status: number;
  /** Bytes of the copy. */
  size: number;
}
export const NOT_REGULAR = 1;
export const SAME_FILE = 2;

/** No bytes copied: nothing was touched, another way must be taken; or the target was opened, what is in it is unknown. */
export const ANOTHER_WAY = -1;
export const INCOMPLETE = -2;

/** What O_DIRECT asks of a file: multiples of so many bytes. */
export interface Alignment {
  /** Of addresses in memory. */
  memory: number;
  /** Of positions and lengths. */
  offset: number;
}

/** What every file takes that takes O_DIRECT at all. */
export const ANY_ALIGNMENT: Alignment = { memory: 4096, offset: 4096 };

/** Memory for one use; released, it is used again only when the kernel is done with it. */
export interface Lent {
  readonly bytes: Buffer;
  release(): void;
}

/** Bytes at the file's own position that were claimed before they are read or written. */
export interface Claimed {
  /** Where they begin, or -errno. */
  readonly start: number;
  /** Moves the position to where the transfer has ended, if nobody else has moved it since. */
  settle(moved: number): void;
}

/** Most reads of a batch: what the ring can tell apart (ring/operation.ts). */
export const MAX_READS: number = 2 ** 20 - 1;

/** The reads of a batch, in arrays that nobody changes. Read `i` asks for `lengths[i]` bytes (or `lengths`) at `offsets[i]`. */
export interface Reads {
  offsets: Float64Array;
  lengths: Float64Array | number;
  /** One view, filled one read after another with room for each one's length, or a view for each read. */
  into: NodeJS.ArrayBufferView | readonly NodeJS.ArrayBufferView[];
}

/** What a range of a file is made into: reserved space, a hole, or zeros (fallocate(2)). */
export interface Space {
  keepSize: boolean;
  punchHole: boolean;
  zeroRange: boolean;
}

/** What is going to be done with a range of a file: posix_fadvise(2). */
export type Advice = "normal" | "random" | "sequential" | "willneed" | "dontneed" | "noreuse";

/**
 * What Node's API has not. Where the backend or the kernel has none of it either, each rejects with
 * ERR_FEATURE_UNAVAILABLE_ON_PLATFORM. `where` is a path, whose links are followed, or an open file.
 */
interface Beyond {
  allocate(file: OpenFile, offset: number, length: number, space: Space): Promise<void>;
  /** `length` 0: up to the end of the file. */
  advise(file: OpenFile, offset: number, length: number, advice: Advice): Promise<void>;
  /** Writes the range's dirty pages and waits for that: sync_file_range(2). */
  syncRange(file: OpenFile, offset: number, length: number): Promise<void>;
  /** Opens a new file that has no name, for writing (O_TMPFILE). Refused where `linkUnnamed` can't be had, and by a server. */
  openUnnamed(folder: Path, mode: number): Promise<OpenFile>;
  /** Gives such a file its name, which must not be taken. */
  linkUnnamed(file: OpenFile, path: Path): Promise<void>;
  /** renameat2(2) with one of its flags. */
  renameWith(from: Path, to: Path, condition: "noReplace" | "exchange"): Promise<void>;
  getxattr(where: Path | OpenFile, name: string): Promise<Buffer>;
  /** The value is copied before the call returns. */
  setxattr(
    where: Path | OpenFile,
    name: string,
    value: Uint8Array,
    condition: "create" | "replace" | null,
  ): Promise<void>;
  /** Refused on the file system of a server: it is a plain call. */
  listxattr(where: Path | OpenFile): Promise<string[]>;
  /** Refused on the file system of a server: it is a plain call. */
  removexattr(where: Path | OpenFile, name: string): Promise<void>;
}

/**
 * One way to run file operations.
 *
 * - A rejection is what `systemError` builds, with Node's syscall names: path operations carry `path` (and `dest`),
 *   operations on an `OpenFile` carry neither.
 * - An operation on a closed `OpenFile` rejects with `closedError(syscall)`.
 * - `position` is -1 for the file's own position (used and advanced), else the absolute offset in bytes.
 * - EINTR is retried, and nothing else is. Reads and writes may be short; only `readFile` and `writeFile` loop.
 * - No method throws: an operation that cannot even be queued is a rejected promise.
 */
export interface Backend extends Beyond {
  readonly name: "io_uring" | "node";

  /**
   * Opens with O_CLOEXEC. `wrap` makes the value that the promise resolves to (default: the OpenFile itself), so that
   * a file handle costs no second promise.
   */
  open(path: Path, flags: number, mode: number): Promise<OpenFile>;
  open<T>(path: Path, flags: number, mode: number, wrap: (file: OpenFile) => T): Promise<T>;

  /**
   * openat2(2): opens `path` from the folder open as `dir`, with RESOLVE_ flags. Rejects with ERR_FEATURE_UNAVAILABLE_ON_PLATFORM
   * where neither the ring nor the system call can be had: nothing weaker takes its place. EAGAIN (a rename raced) is the
   * caller's to repeat. The error's syscall is "open". Flags may hold O_PATH.
   */
  openBeneath(dir: number, path: Path, flags: number, mode: number, resolve: number): Promise<OpenFile>;

  /** A descriptor that somebody else has opened, as a file of this backend. */
  adopt(fd: number): OpenFile;

  /** What is read and written of the file shall leave the page cache again: a hint, which only a ring of Linux 6.14 can give. */
  bypassCache(file: OpenFile): void;

  /**
   * lseek(2): the new position, or -errno. Null where the backend has none: there only reads and writes move a file's own
   * position.
   */
  readonly seek: ((file: OpenFile, offset: number, whence: number) => number) | null;

  /** Whether asking for `seek` has to load something now: not for a small file, then. */
  readonly seekIsDear?: boolean;

  /** Copies memory of the caller's: the bytes copied, fewer or -EFAULT where it can't be read (a mapping that was cut). */
  readonly copy: (from: Uint8Array, to: Uint8Array) => number;

  /**
   * flock(2) without waiting (LOCK_NB is added): 0, -EAGAIN where somebody else has the lock, or another -errno; -ENOSYS where
   * no native library is loaded.
   */
  flock(file: OpenFile, operation: number): number;

  /** Takes the descriptor out of use at once, waits for the file's operations in flight, then closes. A second call
   * resolves without doing anything. */
  close(file: OpenFile): Promise<void>;

  /** `offset` and `length` are bytes within `buffer`. */
  read<T extends NodeJS.ArrayBufferView>(
    file: OpenFile,
    buffer: T,
    offset: number,
    length: number,
    position: number | bigint,
  ): Promise<ReadResult<T>>;

  /** `offset` and `length` are bytes within `buffer`. */
  write<T extends NodeJS.ArrayBufferView>(
    file: OpenFile,
    buffer: T,
    offset: number,
    length: number,
    position: number | bigint,
  ): Promise<WriteResult<T>>;

  /**
   * From 1 to IOV_MAX (1024) views, in an array that nobody changes. `given` is what the result names as `buffers`: the
   * array that the caller has; by default `views`.
   */
  readv<T = readonly NodeJS.ArrayBufferView[]>(
    file: OpenFile,
    views: readonly NodeJS.ArrayBufferView[],
    position: number | bigint,
    given?: T,
  ): Promise<ReadvResult<T>>;

  /** As `readv`. */
  writev<T = readonly NodeJS.ArrayBufferView[]>(
    file: OpenFile,
    views: readonly NodeJS.ArrayBufferView[],
    position: number | bigint,
    given?: T,
  ): Promise<WritevResult<T>>;

  /**
   * Writes all of the buffers, then fdatasync: resolves when everything is on the storage device. A short write is gone
   * on with before anything is synced. `progress` counts what is written; the error says with its `syscall` what failed.
   */
  writeSynced(file: OpenFile, buffers: readonly Uint8Array[], position: number, progress: Written): Promise<void>;

  /**
   * Many positioned reads as one operation: for each the bytes that it brought, or -errno. When the signal fires it rejects with an
   * AbortError; what is in the kernel goes on.
   */
  readBatch(file: OpenFile, reads: Reads, signal: AbortSignal | null): Promise<Int32Array>;

  /** What the file asks of O_DIRECT; null where it would be buffered all the same. */
  directAlignment(file: OpenFile): Promise<Alignment | null>;

  /** Memory that O_DIRECT takes, at multiples of a page. */
  alignedMemory(length: number): Lent;

  /**
   * Claims bytes at the file's own position, which others may move at the same time; no more than a file has left where they are to
   * be read. Null where the backend can't: there only reads and writes move a file's own position.
   */
  readonly claim: ((file: OpenFile, length: number, isRead: boolean) => Claimed) | null;

  fsync(file: OpenFile): Promise<void>;
  fdatasync(file: OpenFile): Promise<void>;
  /** `length` in bytes, not negative. */
  ftruncate(file: OpenFile, length: number): Promise<void>;
  fstat(file: OpenFile, bigint: boolean): Promise<Stats | BigIntStats>;

  stat(path: Path, bigint: boolean): Promise<Stats | BigIntStats>;
  lstat(path: Path, bigint: boolean): Promise<Stats | BigIntStats>;
  mkdir(path: Path, mode: number): Promise<void>;
  rename(from: Path, to: Path): Promise<void>;
  unlink(path: Path): Promise<void>;
  rmdir(path: Path): Promise<void>;
  symlink(target: Path, path: Path): Promise<void>;
  access(path: Path, mode: number): Promise<void>;
  chmod(path: Path, mode: number): Promise<void>;
  /** utf8 where no encoding is given, a Buffer with "buffer". */
  readlink(path: Path, encoding: BufferEncoding | "buffer" | null | undefined): Promise<string | Buffer>;
  realpath(path: Path, encoding: BufferEncoding | "buffer" | null | undefined): Promise<string | Buffer>;
  link(existing: Path, path: Path): Promise<void>;

  /**
   * Removes a folder with all in it, or a file or link. Names are removed in folders that are open: nothing outside the tree
   * is touched, however names are exchanged meanwhile. Rejects with `lstat` if it is missing, else with the call and path
   * that failed first; what is gone already inside is no failure.
   */
  removeTree(path: Path): Promise<void>;

  /**
   * The names in a folder, given by path or open; with `recursive` those below it, too. Links are listed, never entered.
   * Rejects with `scandir` and the path of the folder that could not be read (of an open one: from it).
   */
  list<N extends NamesAs>(where: Path | OpenFile, recursive: boolean, namesAs: N, visit: VisitNames<N>): Promise<void>;

  /**
   * Copies regular files by names from one open folder into another, one after another: contents, holes, permissions,
   * all by open descriptors; no link is followed in the target, nor, unless `how` says so, in the source. Ends early at
   * the first failure and after some milliseconds: resolves to what became of the first names, at least of one. Null where
   * the backend has no such way. A file that did not become a copy is removed.
   */
  readonly copyNames:
    | ((
        from: OpenFile,
        to: OpenFile,
        names: readonly (string | Buffer)[],
        how: CopyHow,
        signal: AbortSignal | null,
      ) => Promise<CopiedName[]>)
    | null;

  /**
   * Copies a small regular file whose links are followed, in the quickest way there is: the bytes copied, ANOTHER_WAY or
   * INCOMPLETE. `exclusive`: the target must not be there. `noLinks`: the source is no link, else ANOTHER_WAY.
   */
  copySmall(from: Path, to: Path, exclusive: boolean, noLinks: boolean): Promise<number>;

  /**
   * Open files without holes up to this long are best copied by copy_file_range(2) on Bun's pool, however many at a time; 0 where a read
   * and a write are no dearer.
   */
  readonly kernelCopyBytes: number;

  /** What a path leads to (with `noFollow`: a link itself), or -errno. At once where it is at hand. */
  lookup(path: Path, noFollow: boolean): FileInfo | number | Promise<FileInfo | number>;
  info(file: OpenFile): Promise<FileInfo>;
  /** Sets both times of an open file or folder, and its permissions unless `mode` is null. */
  setAttributes(file: OpenFile, info: FileInfo, mode: number | null): Promise<void> | void;
  /**
   * Gives an open file the extended attributes and the access control list of the file at a path: 0; where the list is not
   * to be had 8 and the group's permissions in it; or -errno. Leaves out what is not allowed, and all of it on the file system of
   * a server, as these are plain calls; unless `holding`: the thread is at its end.
   */
  keepXattrs(from: Path, file: OpenFile, holding: boolean): number | Promise<number>;
  /** Reserves blocks for a file that will be filled to `length` (which it then has). False where that can't be had. */
  preallocate(file: OpenFile, length: number): Promise<boolean>;

  /** The whole file, however long it says it is. A failed open carries the path, a failed read does not. */
  readFile(path: Path, flags: number, options: ReadFileOptions): Promise<Buffer | string>;

  /** Opens, writes every byte of `data`, flushes if asked, closes. A failed open carries the path, the rest does not. */
  writeFile(
    path: Path,
    data: NodeJS.ArrayBufferView,
    flags: number,
    mode: number,
    options: WriteFileOptions,
  ): Promise<void>;
}
