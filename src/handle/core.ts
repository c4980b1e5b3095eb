// OpenHandle: what every FileHandle is made of. Validates, reads and writes, keeps operations at the file's own position
// in order, makes a failed sync final, and closes only when everything that it started has ended.
// The usual read and write add no promise and no closure of their own: they return the backend's promise.

import { EventEmitter } from "node:events";
import type { BigIntStats, ReadPosition, StatOptions, Stats } from "node:fs";
import { cancellable, currentBackend } from "../backend/choose.ts";
import type { Backend, OpenFile, ReadResult, ReadvResult, WriteResult, WritevResult } from "../backend/interface.ts";
import { MAX_VECTOR, writeLongVector, writeThenSync } from "../backend/loops.ts";
import { abortable, type Limits, limited, throwIfAborted, unlessAborted, type Written } from "../node/abort.ts";
import { bufferList, invalidArgType, validateInteger } from "../node/arguments.ts";
import { setImmediate } from "../node/clock.ts";
import { closedError, errnoOf, notAHandleError, systemError } from "../node/errors.ts";
import { later } from "../node/loading.ts";
import { type HandleReadRange as ReadRange, statOptions, stringBytes, type TransferOptions } from "../node/options.ts";
import {
  isPlain,
  limitsOf,
  numberOrCurrent,
  readTransfer,
  type WriteRequest,
  writeRequest,
  writeTransfer,
} from "../node/read-write-arguments.ts";
import { bytesOf, isView, totalLength } from "../node/views.ts";
import type { StreamSource } from "../streams/read-ahead.ts";
import type { BunHandle } from "./bun-class.ts";
import type { Coalescer } from "./coalesce.ts";
import { collected, disown } from "./finalizer.ts";
import { Syncs } from "./group-commit.ts";
import { Order } from "./order.ts";

type View = NodeJS.ArrayBufferView;

const coalescing = later(() => require("./coalesce.ts") as typeof import("./coalesce.ts"));

/** A durable write up to this length takes little more time than its sync. */
const SHORT_WRITE_BYTES = 256 * 1024;

/** Resolves what needs no I/O by setImmediate: a loop of such calls must not starve timers and sockets. */
function soon<T>(value: T): Promise<T> {
  return new Promise((resolve) => setImmediate(resolve, value));
}

/** The state behind a handle, for what counts as one of its operations: the SQEs of a Ring. */
export let fileOf: (handle: OpenHandle) => OpenFile;

/** The same with what its operations go through, for the methods that are built of several. */
export let sourceOf: (handle: OpenHandle) => StreamSource & { order: Order };

/** What Bun's own streams and Workers want of a handle. */
export let bunHandleOf: (handle: object) => BunHandle;

/** Throws unless it is an open handle; `method` as Node names it then. */
export let mustBeOpen: (handle: OpenHandle, method: string) => void;

/** The syncs of the handle's file, for what fails as one of them does. */
export let syncsOf: (handle: OpenHandle) => Syncs;

/** The core of FileHandle: what reads, writes and closes. */
export class OpenHandle extends EventEmitter {
  readonly #backend: Backend;
  readonly #file: OpenFile;
  readonly #order: Order;
  readonly #syncs: Syncs;
  /** Made by the first write that has to wait. */
  #coalescer: Coalescer | null = null;
  #closed: Promise<void> | null = null;

  static {
    fileOf = (handle) => handle.#file;
    sourceOf = (handle) => ({ backend: handle.#backend, file: handle.#file, order: handle.#order });
    bunHandleOf = (handle) => (handle as OpenHandle).#bunHandle;
    mustBeOpen = (handle, method) => {
      if (!(#file in handle)) throw notAHandleError();
      if (handle.#file.fd < 0) throw closedError(method);
    };
    syncsOf = (handle) => handle.#syncs;
  }

  /** Handles come from `open`. `backend` is what the file's operations go through. */
  constructor(file: OpenFile, backend: Backend = currentBackend()) {
    super();
    this.#backend = backend;
    this.#file = file;
    this.#order = new Order(backend, file, this);
    this.#syncs = new Syncs(backend, file);
    collected.register(this, file, file);
  }

  /** The file descriptor; -1 once the file is closed. */
  get fd(): number {
    return this.#file.fd;
  }

  /** Whether reads and writes go past the page cache: asked for with `direct: true` or O_DIRECT, and to be had here. */
  get direct(): boolean {
    return this.#file.direct;
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
  read<T extends View = NonSharedBuffer>(options?: (ReadRange & { buffer?: T }) | null): Promise<ReadResult<T>>;
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
      const { view, offset, length, position, limits } = readTransfer(first, second, third, fourth);
      throwIfAborted(limits?.signal);
      if (length === 0) return soon({ bytesRead: 0, buffer: view });
      return this.#read(position, length, limits, () => this.#backend.read(this.#file, view, offset, length, position));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** A read now or in its turn; within its limits, if it has some. */
  #read<T>(position: number | bigint, length: number, limits: Limits | null, read: () => Promise<T>): Promise<T> {
    if (limits === null) return this.#order.read(position, length, read);
    return limited(limits, "read", (signal) =>
      abortable(
        this.#order.read(position, length, () => cancellable(read, signal)),
        signal,
      ),
    );
  }

  /**
   * Writes `length` bytes (default: the rest) of `buffer` from `offset` (default 0) on at `position`, or a string in an
   * encoding (default utf8). A `position` that is no number is the file's own; such writes are done in the order of the
   * calls. Resolves to `{ bytesWritten, buffer }`; fewer bytes than asked for may be written, except with `flush`.
   *
   * `options` (`flush`, `signal`, `timeoutMs`) may be the last argument of each form. What ends a write early rejects it
   * with an error whose `bytesWritten` says how much is known to be in the file.
   */
  write<T extends View>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
    options?: TransferOptions | null,
  ): Promise<WriteResult<T>>;
  write<T extends View>(
    buffer: T,
    options?: (TransferOptions & { offset?: number; length?: number; position?: number | null }) | null,
  ): Promise<WriteResult<T>>;
  write(
    data: string,
    position?: number | null,
    encoding?: BufferEncoding | null,
    options?: TransferOptions | null,
  ): Promise<WriteResult<string>>;
  write(
    data: unknown,
    second?: unknown,
    third?: unknown,
    fourth?: unknown,
    options?: unknown,
  ): Promise<WriteResult<any>> {
    if (!(#file in this)) return Promise.reject(notAHandleError());
    if (options === undefined && isPlain(data, second, third, fourth)) {
      return this.#backend.write(this.#file, data as View, second as number, third as number, fourth as number);
    }
    return this.#writeChecked(data, second, third, fourth, options);
  }

  #writeChecked(
    data: unknown,
    second: unknown,
    third: unknown,
    fourth: unknown,
    options: unknown,
  ): Promise<WriteResult<unknown>> {
    try {
      mustBeOpen(this, "write");
      if (!isView(data)) return this.#writeString(data, second, third, fourth);
      const request = writeRequest(options ?? second);
      const { view, offset, length, position } = writeTransfer(data as View, second, third, fourth);
      const at = position as number;
      if (request !== null) {
        const bytes = bytesOf(view).subarray(offset, offset + length);
        const write = (): Promise<number> =>
          this.#backend.write(this.#file, view, offset, length, at).then(({ bytesWritten }) => bytesWritten);
        return this.#writeAsked(request, [bytes], at, write).then((bytesWritten) => ({ bytesWritten, buffer: view }));
      }
      if (length === 0) return soon({ bytesWritten: 0, buffer: view });
      const coalescer = this.#coalescerFor(at, length);
      if (coalescer !== null) {
        return coalescer.write(view, offset, length, false).then((bytesWritten) => ({ bytesWritten, buffer: view }));
      }
      return this.#order.write(at, length, () => this.#backend.write(this.#file, view, offset, length, at));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #writeString(data: unknown, position: unknown, encoding: unknown, options: unknown): Promise<WriteResult<string>> {
    if (typeof data !== "string") {
      throw invalidArgType("buffer", ["string", "Buffer", "TypedArray", "DataView"], data);
    }
    const bytes = stringBytes(data, encoding);
    const request = writeRequest(options);
    const at = numberOrCurrent(position);
    if (bytes.byteLength === 0 && request === null) return Promise.resolve({ bytesWritten: 0, buffer: data });
    const write = (): Promise<number> =>
      this.#backend.write(this.#file, bytes, 0, bytes.byteLength, at).then(({ bytesWritten }) => bytesWritten);
    const inTurn = (): Promise<number> =>
      this.#coalescerFor(at, bytes.byteLength)?.write(bytes, 0, bytes.byteLength, false) ??
      this.#order.write(at, bytes.byteLength, write);
    const written = request === null ? inTurn() : this.#writeAsked(request, [bytes], at, write);
    return written.then((bytesWritten) => ({ bytesWritten, buffer: data }));
  }

  /** For a write that has to wait for its turn and may do so in company; else null. */
  #coalescerFor(position: number, length: number): Coalescer | null {
    if (position !== -1 || this.#order.isIdle) return null;
    this.#coalescer ??= new (coalescing().Coalescer)(this.#backend, this.#file, this.#order, this.#syncs);
    return this.#coalescer.takes(length) ? this.#coalescer : null;
  }

  /** A write of all `buffers` with a sync, or `write`; within the limits. Resolves to the bytes written. */
  #writeAsked(
    { flush, limits }: WriteRequest,
    buffers: readonly Uint8Array[],
    position: number,
    write: () => Promise<number>,
  ): Promise<number> {
    if (flush && limits === null && buffers.length === 1) {
      const [bytes] = buffers as [Uint8Array];
      const coalescer = this.#coalescerFor(position, bytes.length);
      if (coalescer !== null) return coalescer.write(bytes, 0, bytes.length, true);
    }
    const progress: Written = { bytesWritten: 0 };
    const durable = (): Promise<void> => {
      // Beside a sync that runs, its own would be one more: the write first, then with all others the next one.
      if (limits === null && position >= 0 && buffers.length === 1 && this.#syncs.isBusy) {
        const shared = (): Promise<void> => this.#syncs.sync("fdatasync");
        return writeThenSync(this.#backend, this.#file, buffers, position, progress, shared);
      }
      const written = this.#backend.writeSynced(this.#file, buffers, position, progress);
      // A long write is not waited for by those who only want to sync.
      const isShort = totalLength(buffers) <= SHORT_WRITE_BYTES;
      return this.#syncs.keepFailure("fdatasync", isShort ? this.#syncs.include(written) : written);
    };
    const plain = async (): Promise<void> => {
      if (totalLength(buffers) > 0) progress.bytesWritten = await write();
    };
    const run = flush ? durable : plain;
    const inTurn = (work: () => Promise<void>): Promise<void> =>
      position < 0 ? this.#order.writeInOrder(work) : this.#order.hold(work);
    const written =
      limits === null
        ? inTurn(run)
        : limited(limits, "write", (signal) =>
            unlessAborted(
              inTurn(() => cancellable(run, signal)),
              signal,
              progress,
            ),
          );
    return written.then(() => progress.bytesWritten);
  }

  /** Reads into one buffer after the other, 1024 at most, at `position` or the file's own. */
  readv<T extends readonly View[]>(
    buffers: T,
    position?: number | null,
    options?: Limits | null,
  ): Promise<ReadvResult<T>> {
    try {
      mustBeOpen(this, "readv");
      const views = bufferList(buffers);
      // The kernel would read nothing and succeed; libuv, and so Node, refuses.
      if (views.length === 0) throw systemError(errnoOf("EINVAL"), "read");
      const at = numberOrCurrent(position);
      const limits = limitsOf(options);
      throwIfAborted(limits?.signal);
      const first = views.length <= MAX_VECTOR ? views : views.slice(0, MAX_VECTOR);
      return this.#read(at, totalLength(first), limits, () => this.#backend.readv(this.#file, first, at, buffers));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Writes one buffer after the other at `position` or the file's own. `options` as those of `write`. */
  writev<T extends readonly View[]>(
    buffers: T,
    position?: number | null,
    options?: TransferOptions | null,
  ): Promise<WritevResult<T>> {
    try {
      mustBeOpen(this, "writev");
      const views = bufferList(buffers);
      const request = writeRequest(options);
      const at = numberOrCurrent(position);
      if (request === null && views.length === 0) return Promise.resolve({ bytesWritten: 0, buffers });
      const isLong = views.length > MAX_VECTOR;
      if (request === null && !isLong) {
        return this.#order.write(at, totalLength(views), () => this.#backend.writev(this.#file, views, at, buffers));
      }
      const write = (): Promise<number> =>
        isLong
          ? writeLongVector(this.#backend, this.#file, views, at)
          : this.#backend.writev(this.#file, views, at).then(({ bytesWritten }) => bytesWritten);
      const written =
        request === null ? this.#order.writeInOrder(write) : this.#writeAsked(request, views.map(bytesOf), at, write);
      return written.then((bytesWritten) => ({ bytesWritten, buffers }));
    } catch (error) {
      return Promise.reject(error);
    }
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
    return this.#order.hold(() => this.#syncs.sync(syscall));
  }

  /** The file's Stats; with `bigint: true` BigIntStats. */
  stat(options?: StatOptions & { bigint?: false | undefined }): Promise<Stats>;
  stat(options: StatOptions & { bigint: true }): Promise<BigIntStats>;
  stat(options?: StatOptions): Promise<Stats | BigIntStats>;
  stat(options?: unknown): Promise<any> {
    if (options === undefined && #file in this) return this.#backend.fstat(this.#file, false);
    try {
      mustBeOpen(this, "fstat");
      const { bigint, limits } = statOptions(options);
      const stat = (): Promise<Stats | BigIntStats> => this.#backend.fstat(this.#file, bigint);
      if (limits === null) return stat();
      return limited(limits, "fstat", (signal) => abortable(cancellable(stat, signal), signal));
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

  /** Closes the file once all operations that were started have ended. Further calls give the same promise. */
  close(): Promise<void> {
    if (this.#closed !== null || this.#file.fd < 0) return this.#closed ?? Promise.resolve();
    collected.unregister(this.#file);
    this.#closed = this.#order.whenUnused(() => this.#backend.close(this.#file));
    this.#order.tellUsers();
    this.emit("close");
    return this.#closed;
  }

  /** `await using` closes the file. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #bunHandle(): BunHandle {
    const file = this.#file;
    return {
      fd: file.fd,
      inUse: this.#order.isUsed,
      closed: this.#closed,
      keepOpen: () => this.#order.keepOpen(),
      disown: () => disown(file),
    };
  }
}
