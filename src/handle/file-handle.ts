// FileHandle: Node's class of that name, and what io_uring has for an open file beyond it. Here is what is composed of an
// OpenHandle's reads, writes and syncs: whole content, streams, attributes, advice, many reads at once.
// Assumes of the handle only what `sourceOf` shows; keeps no state of its own.

import type { BufferView } from "node:buffer";
import type { Mode, ReadStream, TimeLike, WriteStream } from "node:fs";
import type { FileHandle as NodeFileHandle } from "node:fs/promises";
import type { Interface } from "node:readline";
import type { ReadableStream } from "node:stream/web";
import { cancelling, currentBackend } from "../backend/choose.ts";
import type { OpenFile } from "../backend/interface.ts";
import { writeAll } from "../backend/loops.ts";
import { abortable, limited, throwIfAborted, unlessAborted, type Written } from "../node/abort.ts";
import { later } from "../node/loading.ts";
import { withLengths } from "../node/named.ts";
import {
  type DataChunks,
  type FileOptions,
  fileOptions,
  flushOption,
  isChunks,
  isLimited,
  type HandleReadOptions as ReadFileOptions,
  viewOf,
  type WholeData,
  type HandleWriteOptions as WriteFileOptions,
} from "../node/options.ts";
import { bytesOf } from "../node/views.ts";
import { type OpenedFile, provideFiles } from "../streams/files.ts";
import type { ReadStreamOptions, WriteStreamOptions } from "../streams/node-stream.ts";
import type { WebStreamOptions } from "../streams/web-stream.ts";
import { fchmod, fchown, futimes } from "./attributes.ts";
import { isBunClassLinked } from "./bun-class.ts";
import { readContent, validateReadFileBuffer, writeChunks } from "./contents.ts";
import { bunHandleOf, fileOf, mustBeOpen, OpenHandle, sourceOf, syncsOf } from "./core.ts";
import { collected, disown } from "./finalizer.ts";
import type { FileLock, LockOptions } from "./lock.ts";
import type { ReadBatchOptions } from "./read-batch.ts";
import type { Advice, AllocateOptions } from "./space.ts";
import type { SetXattrOptions } from "./xattr.ts";

export { bunHandleOf, fileOf } from "./core.ts";

type View = NodeJS.ArrayBufferView;

// What few handles are asked for is loaded when one is.
const batches = later(() => require("./read-batch.ts") as typeof import("./read-batch.ts"));
const streams = later(() => require("../streams/node-stream.ts") as typeof import("../streams/node-stream.ts"));
const webStreams = later(() => require("../streams/web-stream.ts") as typeof import("../streams/web-stream.ts"));
const locks = later(() => require("./lock.ts") as typeof import("./lock.ts"));
const extras = later(() => require("./space.ts") as typeof import("./space.ts"));
const xattr = later(() => require("./xattr.ts") as typeof import("./xattr.ts"));

/** The prototype that Bun's own class is put behind: handle/bun-class.ts. */
export const handlePrototype: object = OpenHandle.prototype;

/**
 * An open file. Made by `open`, emits "close" when `close()` is called.
 *
 * Every method returns a promise. It rejects with the system's error (`errno`, `code`, `syscall`, no path), with Node's
 * ERR_* errors for wrong arguments, before anything is queued, and with EBADF "file closed" on a closed handle.
 *
 * `signal` ends an operation with an AbortError, `timeoutMs` with ETIMEDOUT. The kernel is asked to cancel it and may use
 * its buffer until it has answered; `close()` waits for that.
 */
export class FileHandle extends OpenHandle {
  /** Bun's own (handle/bun-class.ts), experimental in Node: reads in the caller's thread, chunk by chunk. */
  declare readonly pull: NodeFileHandle["pull"];
  /** Bun's own (handle/bun-class.ts), experimental in Node. */
  declare readonly writer: NodeFileHandle["writer"];

  /** A path of the open file for APIs that want one, as `Bun.file`: it leads to this file whatever becomes of its name. */
  get procPath(): string {
    return `/proc/self/fd/${this.fd}`;
  }

  /**
   * Reads from the file's own position to its end, up to 2 GiB - 1. Resolves to a Buffer, or to a string if an encoding
   * is given. With `buffer`, a view or a function from the file's size to one, reads into it and resolves to the part
   * that was filled. An abort of `signal` rejects at once.
   */
  readFile<T extends View>(
    options: ReadFileOptions & { encoding?: null | undefined; buffer: T | ((size: number) => T) },
  ): Promise<BufferView<T>>;
  readFile(options?: (ReadFileOptions & { encoding?: null | undefined }) | null): Promise<NonSharedBuffer>;
  readFile(options: (ReadFileOptions & { encoding: BufferEncoding }) | BufferEncoding): Promise<string>;
  readFile(options?: ReadFileOptions | BufferEncoding | null): Promise<string | NonSharedBuffer>;
  readFile(options?: unknown): Promise<any> {
    try {
      mustBeOpen(this, "readFile");
      const checked = fileOptions(options);
      validateReadFileBuffer(checked);
      throwIfAborted(checked.signal);
      const { backend, file, order } = sourceOf(this);
      if (!isLimited(checked)) return order.readInOrder(() => readContent(backend, file, checked));
      return limited(checked, "read", (signal) =>
        abortable(
          order.readInOrder(() => readContent(cancelling(backend, signal), file, { ...checked, signal })),
          signal,
        ),
      );
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Writes all of `data` at the file's own position and truncates nothing. `data` is a string (`encoding`, default utf8),
   * a view, or anything that is iterated, also asynchronously, and yields those. `flush` syncs afterwards. An abort
   * ends the write that is under way, where it can be; its error's `bytesWritten` says how far it came.
   */
  writeFile(data: WholeData | DataChunks, options?: WriteFileOptions | BufferEncoding | null): Promise<void> {
    try {
      mustBeOpen(this, "writeFile");
      const checked = fileOptions(options);
      const flush = flushOption(checked);
      const bytes = isChunks(data) ? null : bytesOf(viewOf(data, "data", checked.encoding));
      throwIfAborted(checked.signal);
      const progress: Written = { bytesWritten: 0 };
      const write = (signal?: AbortSignal): Promise<void> =>
        bytes === null
          ? this.#writeChunks(data as DataChunks, { ...checked, signal }, flush, progress)
          : this.#writeBytes(bytes, signal, flush, progress);
      if (!isLimited(checked)) return write();
      return limited(checked, "write", (signal) => unlessAborted(write(signal), signal, progress));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #writeBytes(bytes: Uint8Array, signal: AbortSignal | undefined, flush: boolean, progress: Written): Promise<void> {
    const { backend, file, order } = sourceOf(this);
    return order.writeInOrder(() =>
      this.#flushed(writeAll(cancelling(backend, signal), file, bytes, signal, progress), flush),
    );
  }

  #writeChunks(chunks: DataChunks, options: FileOptions, flush: boolean, progress: Written): Promise<void> {
    // Each chunk takes its own turn: the source may itself read from this handle.
    const write = (bytes: Uint8Array): Promise<void> => this.#writeBytes(bytes, options.signal, false, progress);
    return sourceOf(this).order.hold(() => this.#flushed(writeChunks(chunks, options, write), flush));
  }

  #flushed(written: Promise<void>, flush: boolean): Promise<void> {
    return flush ? written.then(() => this.sync()) : written;
  }

  /** The same as writeFile: it is opening with "a" that makes writes append. */
  appendFile(data: WholeData | DataChunks, options?: WriteFileOptions | BufferEncoding | null): Promise<void> {
    return this.writeFile(data, options);
  }

  /**
   * Locks the file for this open file description: flock(2), between processes, Workers and handles. `exclusive` (default true),
   * `wait` (default true; else ERR_LOCKED names the holder), `signal`, `timeoutMs`. Closing the handle releases it.
   */
  async lock(options?: LockOptions): Promise<FileLock> {
    mustBeOpen(this, "flock");
    const { backend, file } = sourceOf(this);
    return locks().lockFile(backend, file, options);
  }

  /** Changes the permissions: a number or a string of octal digits. */
  chmod(mode: Mode): Promise<void> {
    return this.#delegate("fchmod", (fd) => fchmod(fd, mode));
  }

  /** Changes owner and group; -1 leaves one as it is. */
  chown(uid: number, gid: number): Promise<void> {
    return this.#delegate("fchown", (fd) => fchown(fd, uid, gid));
  }

  /** Sets the times of access and modification: seconds since 1970 as a number or string, or a Date. */
  utimes(atime: TimeLike, mtime: TimeLike): Promise<void> {
    return this.#delegate("futimes", (fd) => futimes(fd, atime, mtime));
  }

  #delegate(name: string, call: (fd: number) => Promise<void>): Promise<void> {
    try {
      mustBeOpen(this, name);
      return sourceOf(this).order.hold(() => call(fileOf(this).fd));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** A node:stream Readable of the file, read ahead: from `start` (the file's own position) to `end`, inclusive. */
  createReadStream(options?: ReadStreamOptions): ReadStream {
    return streams().createReadStream("", { ...options, fd: this });
  }

  /** A node:stream Writable into the file, from `start` (the file's own position) on. */
  createWriteStream(options?: WriteStreamOptions): WriteStream {
    return streams().createWriteStream("", { ...options, fd: this });
  }

  /** The file's lines, for `for await`; takes the options of createReadStream. */
  readLines(options?: ReadStreamOptions): Interface {
    return streams().readLines(this.createReadStream(options));
  }

  /** A web stream of bytes from the file's own position on, also for BYOB readers; a handle gives one only. */
  readableWebStream(options?: WebStreamOptions): ReadableStream {
    return webStreams().openWebStream(this, sourceOf(this), bunHandleOf(this).closed !== null, options);
  }

  /** Many positioned reads with one promise: `readBatch` of handle/read-batch.ts says how. Resolves to each read's bytes or -errno. */
  readBatch(options: ReadBatchOptions): Promise<Int32Array> {
    const { file, backend } = sourceOf(this);
    return batches().readBatch(file, options, backend);
  }

  /**
   * Reserves space for a range, or with an option makes a hole or zeros of it: fallocate(2). Bytes; `length` above 0.
   * This and the methods below need io_uring: on the node backend they reject with ERR_FEATURE_UNAVAILABLE_ON_PLATFORM.
   */
  allocate(offset: number, length: number, options?: AllocateOptions): Promise<void> {
    return extras().allocate(fileOf(this), offset, length, options);
  }

  /** Says how a range is going to be used: posix_fadvise(2). `length` 0 is up to the end of the file. */
  advise(offset: number, length: number, advice: Advice): Promise<void> {
    return extras().advise(fileOf(this), offset, length, advice);
  }

  /** Writes a range's dirty pages out and waits for that; no replacement for `sync()`. `length` 0 is up to the end. */
  syncRange(offset: number, length: number): Promise<void> {
    return syncsOf(this).keepFailure("sync_file_range", extras().syncRange(fileOf(this), offset, length));
  }

  /** The value of an extended attribute, "user.comment" for example; ENODATA if there is none. */
  getxattr(name: string, options: { encoding: BufferEncoding }): Promise<string>;
  getxattr(name: string, options?: { encoding?: null }): Promise<Buffer>;
  getxattr(name: string, options?: any): Promise<any> {
    return xattr().getxattr(fileOf(this), name, options);
  }

  /** Sets an extended attribute; `create` and `replace` in the options say whether it may, or must, be there already. */
  setxattr(name: string, value: string | View, options?: SetXattrOptions): Promise<void> {
    return xattr().setxattr(fileOf(this), name, value, options);
  }

  /** The names of the extended attributes. */
  listxattr(): Promise<string[]> {
    return xattr().listxattr(fileOf(this));
  }

  /** Removes an extended attribute; ENODATA if there is none. */
  removexattr(name: string): Promise<void> {
    return xattr().removexattr(fileOf(this), name);
  }
}

// Node's, which leave out what follows the first optional argument.
withLengths(FileHandle.prototype, {
  createReadStream: 0,
  createWriteStream: 0,
  readLines: 0,
  readableWebStream: 0,
  readv: 2,
  write: 4,
  writev: 2,
});
Object.defineProperty(FileHandle, "name", { value: "FileHandle", configurable: true }); // see node/named.ts

/** The handle below a stream. Not `isOwned`: its user has the descriptor, and closes it. */
function opened(file: OpenFile, isOwned: boolean): OpenedFile {
  const handle = new FileHandle(file);
  if (!isOwned) {
    collected.unregister(file);
    file.forget?.(file.fd);
  }
  return { handle, source: sourceOf(handle), disown: () => disown(file) };
}

provideFiles({
  of: (value) => (value instanceof FileHandle ? { handle: value, source: sourceOf(value) } : null),
  isPatched: (value) => isBunClassLinked && Object.hasOwn(value as object, "read"),
  open: (path, flags, mode, isOwned) => currentBackend().open(path, flags, mode, (file) => opened(file, isOwned)),
  adopt: (fd) => opened(currentBackend().adopt(fd), false),
});
