// FileHandle: Node's class of that name, over the backend. Validates, keeps operations at the file's own position in
// order, makes a failed fsync final, and closes only when everything that it started has ended.
// The usual read and write add no promise and no closure of their own: they return the backend's promise.

import { EventEmitter } from "node:events";
import type { BigIntStats, Mode, ReadPosition, ReadStream, StatOptions, Stats, TimeLike, WriteStream } from "node:fs";
import type { Interface } from "node:readline/promises";
import type { ReadableStream } from "node:stream/web";
import { abortable, throwIfAborted, unlessAborted } from "./abort.ts";
import { currentBackend } from "./backend.ts";
import type { Backend, OpenFile, ReadResult, ReadvResult, WriteResult, WritevResult } from "./backend-interface.ts";
import { type ReadBatchOptions, readBatch } from "./batch.ts";
import { closedError, errnoOf, notAHandleError, systemError } from "./errno.ts";
import { fchmod, fchown, futimes } from "./file-attributes.ts";
import { readContent, validateReadFileBuffer, writePieces } from "./file-content.ts";
import type { Kin } from "./kin.ts";
import {
  type DataPieces,
  type FileOptions,
  fileOptions,
  flushOption,
  isPieces,
  type HandleReadOptions as ReadFileOptions,
  type HandleReadRange as ReadRange,
  statOptions,
  stringBytes,
  viewOf,
  type WholeData,
  type HandleWriteOptions as WriteFileOptions,
} from "./options.ts";
import type { StreamSource } from "./read-ahead.ts";
import * as streams from "./stream.ts";
import { isPlain, numberOrCurrent, readTransfer, writeTransfer } from "./transfer.ts";
import { Turns } from "./turns.ts";
import { collected, disown } from "./unclosed.ts";
import { invalidArgType, validateBufferArray, validateInteger } from "./validate.ts";
import { openWebStream, type WebStreamOptions } from "./web-stream.ts";
import { byteLengthOf, bytesOf, MAX_VECTOR, writeAll, writeLongVector } from "./whole-file.ts";

type View = NodeJS.ArrayBufferView;

/** The state behind a handle, for what counts as one of its operations: the SQEs of a Ring. */
export let fileOf: (handle: FileHandle) => OpenFile;

/** What Bun's own streams and Workers want of a handle. */
export let kinOf: (handle: object) => Kin;

let mustBeOpen: (handle: FileHandle, method: string) => void;

/**
 * An open file. Made by `open`, emits "close" when `close()` is called.
 *
 * Every method returns a promise. It rejects with the system's error (`errno`, `code`, `syscall`, no path), with Node's
 * ERR_* errors for wrong arguments, before anything is queued, and with EBADF "file closed" on a closed handle.
 */
export class FileHandle extends EventEmitter {
  readonly #backend: Backend = currentBackend();
  readonly #file: OpenFile;
  readonly #turns: Turns;
  #closed: Promise<void> | null = null;
  /** What fsync failed with: the kernel reports lost data once, so a second fsync's success would be a lie. */
  #syncErrno: number = 0;

  static {
    fileOf = (handle) => handle.#file;
    kinOf = (handle) => (handle as FileHandle).#kin;
    mustBeOpen = (handle, method) => {
      if (!(#file in handle)) throw notAHandleError();
      if (handle.#file.fd < 0) throw closedError(method);
    };
  }

  constructor(file: OpenFile) {
    super();
    this.#file = file;
    this.#turns = new Turns(this.#backend, file);
    collected.register(this, file, file);
  }

  /** The file descriptor; -1 once the file is closed. */
  get fd(): number {
    return this.#file.fd;
  }

  /**
   * Reads into `buffer`: `length` bytes (default: what fits) from `position` on, to `offset` (default 0).
   * `position` null, undefined or -1 reads at the file's own position and advances it; such reads are done in the order
   * of the calls. Without a buffer, one of 16 KiB is made. Resolves to `{ bytesRead, buffer }`; 0 is the end of the file.
   */
  read<T extends View>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: ReadPosition | null,
  ): Promise<ReadResult<T>>;
  read<T extends View>(buffer: T, options?: ReadRange | null): Promise<ReadResult<T>>;
  read<T extends View = Buffer<ArrayBuffer>>(options?: (ReadRange & { buffer?: T }) | null): Promise<ReadResult<T>>;
  read(first?: unknown, offset?: unknown, length?: unknown, position?: unknown): Promise<ReadResult<any>> {
    if (!(#file in this)) return Promise.reject(notAHandleError());
    if (isPlain(first, offset, length, position)) {
      return this.#backend.read(this.#file, first as View, offset as number, length as number, position as number);
    }
    return this.#readChecked(first, offset, length, position);
  }

  #readChecked(first: unknown, second: unknown, third: unknown, fourth: unknown): Promise<ReadResult<View>> {
    try {
      mustBeOpen(this, "read");
      const { view, offset, length, position } = readTransfer(first, second, third, fourth);
      if (length === 0) return Promise.resolve({ bytesRead: 0, buffer: view });
      return this.#turns.read(position, length, () => this.#backend.read(this.#file, view, offset, length, position));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Writes `length` bytes (default: the rest) of `buffer` from `offset` (default 0) on at `position`, or a string in an
   * encoding (default utf8). A `position` that is no number is the file's own; such writes are done in the order of the
   * calls. Resolves to `{ bytesWritten, buffer }`; fewer bytes than asked for may be written.
   */
  write<T extends View>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<WriteResult<T>>;
  write<T extends View>(
    buffer: T,
    options?: { offset?: number; length?: number; position?: number | null } | null,
  ): Promise<WriteResult<T>>;
  write(data: string, position?: number | null, encoding?: BufferEncoding | null): Promise<WriteResult<string>>;
  write(data: unknown, second?: unknown, third?: unknown, fourth?: unknown): Promise<WriteResult<any>> {
    if (!(#file in this)) return Promise.reject(notAHandleError());
    if (isPlain(data, second, third, fourth)) {
      return this.#backend.write(this.#file, data as View, second as number, third as number, fourth as number);
    }
    return this.#writeChecked(data, second, third, fourth);
  }

  #writeChecked(data: unknown, second: unknown, third: unknown, fourth: unknown): Promise<WriteResult<unknown>> {
    try {
      mustBeOpen(this, "write");
      if (!ArrayBuffer.isView(data)) return this.#writeString(data, second, third);
      const { view, offset, length, position } = writeTransfer(data as View, second, third, fourth);
      if (length === 0) return Promise.resolve({ bytesWritten: 0, buffer: view });
      return this.#turns.write(position, length, () => this.#backend.write(this.#file, view, offset, length, position));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #writeString(data: unknown, position: unknown, encoding: unknown): Promise<WriteResult<string>> {
    if (typeof data !== "string") {
      throw invalidArgType("buffer", ["string", "Buffer", "TypedArray", "DataView"], data);
    }
    const bytes = stringBytes(data, encoding);
    if (bytes.byteLength === 0) return Promise.resolve({ bytesWritten: 0, buffer: data });
    const at = numberOrCurrent(position);
    const write = (): Promise<WriteResult<Buffer>> => this.#backend.write(this.#file, bytes, 0, bytes.byteLength, at);
    return this.#turns.write(at, bytes.byteLength, write).then(({ bytesWritten }) => ({ bytesWritten, buffer: data }));
  }

  /** Reads into one buffer after the other, 1024 at most, at `position` or the file's own. */
  readv<T extends readonly View[]>(buffers: T, position?: number | null): Promise<ReadvResult<T>> {
    try {
      mustBeOpen(this, "readv");
      validateBufferArray(buffers);
      // The kernel would read nothing and succeed; libuv, and so Node, refuses.
      if (buffers.length === 0) throw systemError(errnoOf("EINVAL"), "read");
      const at = numberOrCurrent(position);
      if (buffers.length <= MAX_VECTOR) {
        return this.#turns.read(at, byteLengthOf(buffers), () => this.#backend.readv(this.#file, buffers, at));
      }
      const first = buffers.slice(0, MAX_VECTOR);
      return this.#turns
        .read(at, byteLengthOf(first), () => this.#backend.readv(this.#file, first, at))
        .then(({ bytesRead }) => ({ bytesRead, buffers }));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Writes one buffer after the other at `position` or the file's own. */
  writev<T extends readonly View[]>(buffers: T, position?: number | null): Promise<WritevResult<T>> {
    try {
      mustBeOpen(this, "writev");
      validateBufferArray(buffers);
      if (buffers.length === 0) return Promise.resolve({ bytesWritten: 0, buffers });
      const at = numberOrCurrent(position);
      if (buffers.length <= MAX_VECTOR) {
        return this.#turns.write(at, byteLengthOf(buffers), () => this.#backend.writev(this.#file, buffers, at));
      }
      const write = (): Promise<number> => writeLongVector(this.#backend, this.#file, buffers, at);
      return this.#turns.writeInOrder(write).then((bytesWritten) => ({ bytesWritten, buffers }));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Reads from the file's own position to its end, up to 2 GiB - 1. Resolves to a Buffer, or to a string if an encoding
   * is given. With `buffer`, a view or a function from the file's size to one, reads into it and resolves to the part
   * that was filled. An abort of `signal` rejects at once.
   */
  readFile<T extends View>(
    options: ReadFileOptions & { encoding?: null | undefined; buffer: T | ((size: number) => T) },
  ): Promise<Buffer<T["buffer"]>>;
  readFile(options?: (ReadFileOptions & { encoding?: null | undefined }) | null): Promise<Buffer<ArrayBuffer>>;
  readFile(options: (ReadFileOptions & { encoding: BufferEncoding }) | BufferEncoding): Promise<string>;
  readFile(options?: ReadFileOptions | BufferEncoding | null): Promise<string | Buffer<ArrayBuffer>>;
  readFile(options?: unknown): Promise<any> {
    try {
      mustBeOpen(this, "readFile");
      const checked = fileOptions(options);
      validateReadFileBuffer(checked);
      throwIfAborted(checked.signal);
      const content = this.#turns.readInOrder(() => readContent(this.#backend, this.#file, checked));
      return checked.signal ? abortable(content, checked.signal) : content;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Writes all of `data` at the file's own position and truncates nothing. `data` is a string (`encoding`, default utf8),
   * a view, or anything that is iterated, also asynchronously, and yields those. `flush` syncs afterwards. `signal` is
   * looked at between writes.
   */
  writeFile(data: WholeData | DataPieces, options?: WriteFileOptions | BufferEncoding | null): Promise<void> {
    try {
      mustBeOpen(this, "writeFile");
      const checked = fileOptions(options);
      const { signal } = checked;
      const flush = flushOption(checked);
      const bytes = isPieces(data) ? null : bytesOf(viewOf(data, "data", checked.encoding));
      throwIfAborted(signal);
      const written =
        bytes === null
          ? this.#writePieces(data as DataPieces, checked, flush)
          : this.#writeBytes(bytes, checked, flush);
      return signal ? unlessAborted(written, signal) : written;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #writeBytes(bytes: Uint8Array, { signal }: FileOptions, flush: boolean): Promise<void> {
    return this.#turns.writeInOrder(() => this.#flushed(writeAll(this.#backend, this.#file, bytes, signal), flush));
  }

  #writePieces(pieces: DataPieces, options: FileOptions, flush: boolean): Promise<void> {
    // Each piece takes its own turn: the source may itself read from this handle.
    const write = (bytes: Uint8Array): Promise<void> => this.#writeBytes(bytes, options, false);
    return this.#turns.hold(() => this.#flushed(writePieces(pieces, options, write), flush));
  }

  /** The same as writeFile: it is opening with "a" that makes writes append. */
  appendFile(data: WholeData | DataPieces, options?: WriteFileOptions | BufferEncoding | null): Promise<void> {
    return this.writeFile(data, options);
  }

  /** Many positioned reads with one promise: `readBatch` of batch.ts says how. Resolves to each read's bytes or -errno. */
  readBatch(options: ReadBatchOptions): Promise<Int32Array> {
    return readBatch(this.#file, options);
  }

  #flushed(written: Promise<void>, flush: boolean): Promise<void> {
    return flush ? written.then(() => this.#synchronize("fsync")) : written;
  }

  /** fsync: resolves when data and metadata are on the storage device. Once it has failed, it fails for good. */
  sync(): Promise<void> {
    return this.#synchronize("fsync");
  }

  /** fdatasync: as `sync`, without metadata that reading the data back doesn't need. */
  datasync(): Promise<void> {
    return this.#synchronize("fdatasync");
  }

  #synchronize(syscall: "fsync" | "fdatasync"): Promise<void> {
    return this.#backend[syscall](this.#file).then(
      () => {
        // The kernel told another one of the loss, and this one that all is well.
        if (this.#syncErrno !== 0) throw systemError(this.#syncErrno, syscall);
      },
      (error) => {
        this.#syncErrno ||= error.errno ?? 0;
        throw error;
      },
    );
  }

  /** The file's Stats; with `bigint: true` BigIntStats. */
  stat(options?: StatOptions & { bigint?: false | undefined }): Promise<Stats>;
  stat(options: StatOptions & { bigint: true }): Promise<BigIntStats>;
  stat(options?: StatOptions): Promise<Stats | BigIntStats>;
  stat(options?: unknown): Promise<any> {
    if (options === undefined && #file in this) return this.#backend.fstat(this.#file, false);
    try {
      mustBeOpen(this, "fstat");
      const { bigint, signal } = statOptions(options);
      throwIfAborted(signal);
      const stats = this.#backend.fstat(this.#file, bigint);
      return signal === undefined ? stats : abortable(stats, signal);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Makes the file `length` bytes long (default 0; negative is 0), with zeros where it grows. */
  truncate(length: number = 0): Promise<void> {
    try {
      mustBeOpen(this, "ftruncate");
      validateInteger(length, "len");
      return this.#backend.ftruncate(this.#file, Math.max(0, length));
    } catch (error) {
      return Promise.reject(error);
    }
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
      return this.#turns.hold(() => call(this.#file.fd));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** A node:stream Readable of the file, read ahead: from `start` (the file's own position) to `end`, inclusive. */
  createReadStream(options?: streams.ReadStreamOptions): ReadStream {
    return streams.createReadStream(this, this.#streamSource, options);
  }

  /** A node:stream Writable into the file, from `start` (the file's own position) on. */
  createWriteStream(options?: streams.WriteStreamOptions): WriteStream {
    return streams.createWriteStream(this, this.#streamSource, options);
  }

  /** The file's lines, for `for await`; takes the options of createReadStream. */
  readLines(options?: streams.ReadStreamOptions): Interface {
    return streams.readLines(this, this.#streamSource, options);
  }

  /** A web stream of bytes from the file's own position on, also for BYOB readers; a handle gives one only. */
  readableWebStream(options?: WebStreamOptions): ReadableStream {
    return openWebStream(this, this.#streamSource, this.#closed !== null, options);
  }

  get #streamSource(): StreamSource {
    return { backend: this.#backend, file: this.#file, turns: this.#turns };
  }

  /** Closes the file once all operations that were started have ended. Further calls give the same promise. */
  close(): Promise<void> {
    if (this.#closed !== null) return this.#closed;
    collected.unregister(this.#file);
    const drained = this.#turns.drain();
    const close = (): Promise<void> => this.#backend.close(this.#file);
    this.#closed = drained === null ? close() : drained.then(close);
    this.emit("close");
    return this.#closed;
  }

  /** `await using` closes the file. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #kin(): Kin {
    const file = this.#file;
    return {
      fd: file.fd,
      inUse: !this.#turns.isIdle,
      closed: this.#closed,
      hold: (until) => void this.#turns.hold(() => until),
      disown: () => disown(file),
    };
  }
}
