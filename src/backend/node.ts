// The backend for where io_uring can't be had: node:fs's callback functions on plain file descriptors.
// Assumes validated arguments. Every error is built anew from its errno, since Bun's carry other syscall names and keys
// in places; nothing here is tuned, it only has to give the results that the ring gives.

import type * as fs from "node:fs";
import type { Native } from "../kernel/shim.ts";
import type { Written } from "../node/abort.ts";
import { bufferTaken, unavailable } from "../node/arguments.ts";
import { bun, bunFs } from "../node/bun-fs.ts";
import { EINTR, ENOSYS, EPERM } from "../node/errno.ts";
import { closedError, errnoOf, systemError, told } from "../node/errors.ts";
import { type FileInfo, infoFromStats } from "../node/file-info.ts";
import { lateRejection } from "../node/late-error.ts";
import { later } from "../node/loading.ts";
import { encodePath } from "../node/path.ts";
import { roundDates } from "../node/rounded-dates.ts";
import { setOpenAttributes } from "../node/set-attributes.ts";
import { byteLengthOf, isDetached, totalLength } from "../node/views.ts";
import { acquireLeased, HeldViews } from "../ring/lease.ts";
import {
  type Alignment,
  ANOTHER_WAY,
  ANY_ALIGNMENT,
  type Backend,
  type Lent,
  OpenFile,
  type Path,
  type ReadFileOptions,
  type ReadResult,
  type Reads,
  type ReadvResult,
  type WriteFileOptions,
  type WriteResult,
  type WritevResult,
} from "./interface.ts";
import { asNumber, writeThenSync } from "./loops.ts";
import { type AtEnd, attempt, type Done, onFile, openAtEnd } from "./node-pool.ts";

type Encoding = BufferEncoding | "buffer" | null | undefined;
type View = NodeJS.ArrayBufferView;

/** What few programs want, and what loads bun:ffi. */
type Rarely = typeof import("./node-direct.ts");
const rarely = later(() => require("./node-direct.ts") as Rarely);
const copying = later(() => require("../kernel/copy.ts") as typeof import("../kernel/copy.ts"));
const trees = later(() => require("./node-tree.ts") as typeof import("./node-tree.ts"));
const wholeFiles = later(() => require("./node-whole-file.ts") as typeof import("./node-whole-file.ts"));
const shim = later(() => require("../kernel/shim.ts") as typeof import("../kernel/shim.ts"));

const refuse = async (what: string): Promise<never> => {
  throw unavailable(what, "this process runs on the node backend, and node:fs has no such call");
};

/** The shim's plain calls; null where it can't be loaded. */
const loaded = (): Native | null => shim().nativeOrNull();

/** node:fs does not say what may wait for a server, so anything may. */
function maybeSlow(file: OpenFile): OpenFile {
  file.remote = true;
  return file;
}

const BENEATH = "opening beneath a folder";

/** The largest length that Bun's ftruncate takes; no Linux file system that is in use stores files this long. */
const MAX_TRUNCATE_BYTES = 2 ** 52 - 1;

/** Passes Stats on with Node's Dates. */
function rounded(done: Done<fs.Stats | fs.BigIntStats>): Done<fs.Stats | fs.BigIntStats> {
  return (error, stats) => done(error, stats && roundDates(stats));
}

/** The operation's result; until then pool memory that it uses is lent to nobody else. */
function keeping<R>(held: { release(): void } | null, result: Promise<R>): Promise<R> {
  return held === null ? result : result.finally(() => held.release());
}

function leasesOf(views: readonly View[]): HeldViews | null {
  const held = new HeldViews(views);
  return held.leases.length === 0 ? null : held;
}

/** A write of `bytes` by the pool; at the end of the thread it is made here, or counts as made. */
function writing<R>(
  file: OpenFile,
  bytes: number,
  held: { release(): void } | null,
  start: (fd: number, done: Done<number>) => void,
  here: (fd: number) => number,
  result: (bytesWritten: number) => R,
): Promise<R> {
  const work = (fd: number, done: Done<R>): void => start(fd, (error, written) => done(error, result(written!)));
  const atEnd = (fd: number): AtEnd<R> => ({ here: () => result(here(fd)), assumed: () => result(bytes), bytes });
  return keeping(held, onFile(file, "write", work, atEnd));
}

/** Bun reads a bigint here as "no position". */
const positionFor = (position: number | bigint): number | null =>
  position === -1 || position === -1n ? null : asNumber(position);

/** Nobody's promise of a sync is kept by the end of the thread. */
const assumedDone = (): AtEnd<void> => ({ here: null, assumed: () => {} });

class NodeBackend implements Backend {
  readonly name = "node";
  readonly seek = null;
  readonly claim = null;
  copy(from: Uint8Array, to: Uint8Array): number {
    return copying().copyBytes(from, to, from);
  }

  open(path: Path, flags: number, mode: number): Promise<OpenFile>;
  open<T>(path: Path, flags: number, mode: number, wrap: (file: OpenFile) => T): Promise<T>;
  open<T>(path: Path, flags: number, mode: number, wrap?: (file: OpenFile) => T): Promise<T | OpenFile> {
    const opened = (fd: number): T | OpenFile => {
      const file = maybeSlow(new OpenFile(fd));
      file.direct = (flags & bunFs.constants.O_DIRECT) !== 0;
      return wrap === undefined ? file : wrap(file);
    };
    return attempt<T | OpenFile>(
      "open",
      (done) => bunFs.open(path, flags, mode, (error, fd) => (error ? done(error) : done(null, opened(fd)))),
      path,
      undefined,
      null,
      openAtEnd(path, flags, () => opened(bunFs.openSync(path, flags, mode))),
    );
  }

  /** A plain call, which may wait for the disk: node:fs has nothing that keeps a look-up inside a folder. */
  async openBeneath(dir: number, path: Path, flags: number, mode: number, resolve: number): Promise<OpenFile> {
    const native = loaded();
    if (native === null) throw unavailable(BENEATH, "no native library is loaded");
    const bytes = encodePath(path);
    for (;;) {
      const fd = native.openBeneath(dir, bytes, flags, mode, resolve);
      if (fd >= 0) return shim().hold(native, maybeSlow(new OpenFile(fd)));
      if (fd === ENOSYS || fd === EPERM)
        throw unavailable(BENEATH, "openat2(2) is refused (Linux 5.6 and newer have it)");
      if (fd !== EINTR) throw systemError(fd, "open", path);
    }
  }

  adopt(fd: number): OpenFile {
    return new OpenFile(fd);
  }

  bypassCache(): void {}

  flock(file: OpenFile, operation: number): number {
    const native = loaded();
    return native === null ? ENOSYS : shim().flock(native, file, operation);
  }

  async close(file: OpenFile): Promise<void> {
    const { fd } = file;
    if (fd < 0) return;
    file.forget?.(fd);
    file.fd = -1;
    if (file.inFlight > 0) {
      await new Promise<void>((resolve) => {
        file.closing = resolve;
      });
      file.closing = null;
    }
    await new Promise<void>((resolve) => {
      bunFs.close(fd, (error) => {
        // An interrupted close has closed on Linux, and Bun reports it so.
        resolve(error ? lateRejection(() => systemError(error.errno!, "close")) : undefined);
      });
    });
  }

  read<T extends View>(
    file: OpenFile,
    buffer: T,
    offset: number,
    length: number,
    position: number | bigint,
  ): Promise<ReadResult<T>> {
    // While it waited for its turn the buffer may have been taken away.
    if (byteLengthOf(buffer) < offset + length) return Promise.reject(bufferTaken("read"));
    return keeping(
      acquireLeased(buffer),
      onFile(file, "read", (fd, done) =>
        bunFs.read(fd, buffer, offset, length, positionFor(position), (error, bytesRead) =>
          done(error, { bytesRead, buffer }),
        ),
      ),
    );
  }

  write<T extends View>(
    file: OpenFile,
    buffer: T,
    offset: number,
    length: number,
    position: number | bigint,
  ): Promise<WriteResult<T>> {
    if (byteLengthOf(buffer) < offset + length) return Promise.reject(bufferTaken("write"));
    const at = positionFor(position);
    return writing(
      file,
      length,
      acquireLeased(buffer),
      (fd, done) => bunFs.write(fd, buffer, offset, length, at, done),
      (fd) => bunFs.writeSync(fd, buffer, offset, length, at),
      (bytesWritten) => ({ bytesWritten, buffer }),
    );
  }

  readv<T = readonly View[]>(
    file: OpenFile,
    views: readonly View[],
    position: number | bigint,
    given: T = views as T,
  ): Promise<ReadvResult<T>> {
    if (file.fd < 0) return Promise.reject(closedError("readv"));
    if (views.some(isDetached)) return Promise.reject(bufferTaken("read")); // while it waited for its turn, perhaps
    return keeping(
      leasesOf(views),
      onFile(file, "read", (fd, done) =>
        bunFs.readv(fd, views, positionFor(position) as number, (error, bytesRead) =>
          done(error, { bytesRead, buffers: given }),
        ),
      ),
    );
  }

  writev<T = readonly View[]>(
    file: OpenFile,
    views: readonly View[],
    position: number | bigint,
    given: T = views as T,
  ): Promise<WritevResult<T>> {
    if (file.fd < 0) return Promise.reject(closedError("writev"));
    if (views.some(isDetached)) return Promise.reject(bufferTaken("write"));
    const at = positionFor(position) as number;
    return writing(
      file,
      totalLength(views),
      leasesOf(views),
      (fd, done) => bunFs.writev(fd, views, at, done),
      (fd) => bunFs.writevSync(fd, views, at),
      (bytesWritten) => ({ bytesWritten, buffers: given }),
    );
  }

  writeSynced(file: OpenFile, buffers: readonly Uint8Array[], position: number, progress: Written): Promise<void> {
    return writeThenSync(this, file, buffers, position, progress);
  }

  fsync(file: OpenFile): Promise<void> {
    return onFile(file, "fsync", bunFs.fsync, assumedDone);
  }

  fdatasync(file: OpenFile): Promise<void> {
    return onFile(file, "fdatasync", bunFs.fdatasync, assumedDone);
  }

  ftruncate(file: OpenFile, length: number): Promise<void> {
    if (length > MAX_TRUNCATE_BYTES && file.fd >= 0) {
      return Promise.reject(systemError(errnoOf("EFBIG"), "ftruncate"));
    }
    const cut =
      (fd: number): (() => void) =>
      () =>
        bunFs.ftruncateSync(fd, length);
    return onFile(
      file,
      "ftruncate",
      (fd, done) => bunFs.ftruncate(fd, length, done),
      (fd) => ({ here: cut(fd), assumed: cut(fd) }),
    );
  }

  fstat(file: OpenFile, bigint: boolean): Promise<fs.Stats | fs.BigIntStats> {
    return onFile(file, "fstat", (fd, done) => bunFs.fstat(fd, { bigint }, rounded(done)));
  }

  stat(path: Path, bigint: boolean): Promise<fs.Stats | fs.BigIntStats> {
    return attempt("stat", (done) => bunFs.stat(path, { bigint }, rounded(done)), path);
  }

  lstat(path: Path, bigint: boolean): Promise<fs.Stats | fs.BigIntStats> {
    return attempt("lstat", (done) => bunFs.lstat(path, { bigint }, rounded(done)), path);
  }

  mkdir(path: Path, mode: number): Promise<void> {
    return attempt("mkdir", (done) => bunFs.mkdir(path, mode, done), path);
  }

  rename(from: Path, to: Path): Promise<void> {
    return attempt("rename", (done) => bunFs.rename(from, to, done), from, to);
  }

  unlink(path: Path): Promise<void> {
    return attempt("unlink", (done) => bunFs.unlink(path, done), path);
  }

  rmdir(path: Path): Promise<void> {
    return attempt("rmdir", (done) => bunFs.rmdir(path, done), path);
  }

  symlink(target: Path, path: Path): Promise<void> {
    return attempt("symlink", (done) => bunFs.symlink(target, path, done), target, path);
  }

  access(path: Path, mode: number): Promise<void> {
    return told("access", path, bun.access(path, mode));
  }

  chmod(path: Path, mode: number): Promise<void> {
    return told("chmod", path, bun.chmod(path, mode));
  }

  readlink(path: Path, encoding: Encoding): Promise<string | Buffer> {
    return told("readlink", path, bun.readlink(path, { encoding: encoding as "buffer" }));
  }

  realpath(path: Path, encoding: Encoding): Promise<string | Buffer> {
    return told("realpath", path, bun.realpath(path, { encoding: encoding as "buffer" }));
  }

  link(existing: Path, path: Path): Promise<void> {
    return attempt("link", (done) => bunFs.link(existing, path, done), existing, path);
  }

  readonly allocate = (): Promise<never> => refuse("fallocate");
  readonly advise = (): Promise<never> => refuse("fadvise");
  readonly syncRange = (): Promise<never> => refuse("sync_file_range");
  readonly openUnnamed = (): Promise<never> => refuse("O_TMPFILE");
  readonly linkUnnamed = (): Promise<never> => refuse("O_TMPFILE");
  readonly renameWith = (): Promise<never> => refuse("rename with options");
  readonly getxattr = (): Promise<never> => refuse("getxattr");
  readonly setxattr = (): Promise<never> => refuse("setxattr");
  readonly listxattr = (): Promise<never> => refuse("listxattr");
  readonly removexattr = (): Promise<never> => refuse("removexattr");
  readonly directAlignment = async (): Promise<Alignment> => ANY_ALIGNMENT;
  readonly alignedMemory = (length: number): Lent => rarely().alignedMemory(length);
  readonly readBatch = (file: OpenFile, reads: Reads, signal: AbortSignal | null): Promise<Int32Array> =>
    rarely().readEach(this, file, reads, signal);

  readonly removeTree: Backend["removeTree"] = async (path) => trees().removeTree(path);
  readonly list: Backend["list"] = async (where, recursive, namesAs, visit) =>
    trees().list(where, recursive, namesAs, visit);
  readonly copyNames = null;
  readonly kernelCopyBytes = 1024 * 1024;
  readonly copySmall = async (from: Path, to: Path, exclusive: boolean, noLinks: boolean): Promise<number> =>
    noLinks ? ANOTHER_WAY : trees().copySmallFile(this, from, to, exclusive);
  readonly setAttributes = (file: OpenFile, info: FileInfo, mode: number | null): Promise<void> =>
    setOpenAttributes(file.fd, info, mode);
  readonly preallocate = async (): Promise<boolean> => false;
  readonly keepXattrs = (from: Path, file: OpenFile, holding: boolean): number | Promise<number> => {
    const native = loaded();
    if (native === null) return 0;
    return holding ? native.copyXattrs(encodePath(from), file.fd) : rarely().keepXattrs(native, from, file);
  };

  /** That there is nothing is no failure: an error nobody sees is not made. */
  lookup(path: Path, noFollow: boolean): Promise<FileInfo | number> {
    return new Promise((resolve, reject) => {
      const done: Done<fs.BigIntStats> = (error, stats) => {
        if (error === null || error === undefined) resolve(infoFromStats(stats!));
        else if (error.errno === EINTR) look();
        else if (typeof error.errno === "number") resolve(error.errno);
        else resolve(lateRejection(() => error)); // out of memory
      };
      const look = (): void => {
        try {
          (noFollow ? bunFs.lstat : bunFs.stat)(path, { bigint: true }, done);
        } catch (error) {
          reject(error);
        }
      };
      look();
    });
  }

  async info(file: OpenFile): Promise<FileInfo> {
    return infoFromStats((await this.fstat(file, true)) as fs.BigIntStats);
  }

  readFile(path: Path, flags: number, { signal, encoding }: ReadFileOptions): Promise<Buffer | string> {
    return wholeFiles().readWhole(this, path, flags, signal, encoding && encoding !== "buffer" ? encoding : null);
  }

  /** Not of the interface: for a process's first operations, whose files are nearly always small and regular. */
  readFileAtOnce(path: Path, flags: number, { encoding }: ReadFileOptions): Promise<Buffer | string> {
    return wholeFiles().readAtOnce(path, flags, encoding && encoding !== "buffer" ? encoding : null);
  }

  writeFile(path: Path, data: View, flags: number, mode: number, options: WriteFileOptions): Promise<void> {
    return wholeFiles().writeWhole(this, path, data, flags, mode, options);
  }
}

/** The backend over node:fs. It has no state of its own, so one serves every thread. */
export const nodeBackend: Backend = new NodeBackend();
