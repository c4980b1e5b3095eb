// The node:stream classes of a FileHandle: a Readable that is read ahead, a Writable that gathers what is waiting.
// Assumes Node's rules for fs.ReadStream and fs.WriteStream on a handle. node:stream is loaded when the first stream is
// made, since that takes longer than loading this package; nothing here polls, copies or keeps a stream's data.

import type { ReadStream, WriteStream } from "node:fs";
import type { Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import {
  codedError,
  outOfRange,
  validateAbortSignal,
  validateBoolean,
  validateInt32,
  validateInteger,
} from "../node/arguments.ts";
import { nextTick } from "../node/clock.ts";
import { ReadAhead, type StreamSource } from "./read-ahead.ts";

type View = NodeJS.ArrayBufferView;
type Callback = (error?: Error | null) => void;

/** What the streams need of their FileHandle. */
export interface StreamHandle {
  readonly fd: number;
  close(): Promise<void>;
  sync(): Promise<void>;
  write(buffer: View, offset: number, length: number, position: number | null): Promise<{ bytesWritten: number }>;
  writev(buffers: View[], position: number | null): Promise<{ bytesWritten: number }>;
}

export interface ReadStreamOptions {
  /** Chunks are strings of this encoding; null (default) gives Buffers. */
  encoding?: BufferEncoding | null | undefined;
  /** Closes the handle at the end or after an error (default true). */
  autoClose?: boolean | undefined;
  /** Emits "close" when destroyed (default true). */
  emitClose?: boolean | undefined;
  /** First byte; the file's own position if absent. */
  start?: number | undefined;
  /** Last byte, inclusive; without `start`, counted from the file's own position. */
  end?: number | undefined;
  /** Bytes of a chunk (default 64 KiB). */
  highWaterMark?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface WriteStreamOptions {
  /** Of strings that are written without one (default utf8). */
  encoding?: BufferEncoding | null | undefined;
  autoClose?: boolean | undefined;
  emitClose?: boolean | undefined;
  /** Position of the first byte; the file's own if absent. */
  start?: number | undefined;
  /** Bytes waiting from which `write()` returns false (default 16 KiB). */
  highWaterMark?: number | undefined;
  /** fsync before the handle is closed (default false). */
  flush?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

const READ_HIGH_WATER_MARK = 64 * 1024;
const WRITE_HIGH_WATER_MARK = 16 * 1024;
/** Chunks smaller than this on average are joined by copying: cheaper than a vector of them. */
const JOIN_BYTES = 2048;
/** Writes in a row that may end without a byte before it is an error, as in Node. */
const EMPTY_WRITES = 5;

/** Keeps the handle from being closed under a stream, and ends the stream when somebody closes the handle. */
class Tie {
  readonly #handle: StreamHandle;
  readonly #release: () => void;

  constructor(handle: StreamHandle, source: StreamSource, onClose: () => void) {
    this.#handle = handle;
    this.#release = source.turns.keepOpen(onClose);
  }

  /** Nothing of the stream uses the file any more: closes it, together with whoever asked for that before. */
  close(): Promise<void> {
    this.#release();
    return this.#handle.close();
  }
}

type ReadStreamMaker = (handle: StreamHandle, source: StreamSource, options: ReadStreamOptions) => Readable;
type WriteStreamMaker = (handle: StreamHandle, source: StreamSource, options: WriteStreamOptions) => Writable;

let makeReadStream: ReadStreamMaker | null = null;
let makeWriteStream: WriteStreamMaker | null = null;

/** A Readable of the file's bytes. Throws ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE for wrong options. */
export function createReadStream(
  handle: StreamHandle,
  source: StreamSource,
  options: ReadStreamOptions | undefined,
): ReadStream {
  validateInt32(handle.fd, "fd", 0);
  const checked = { ...options };
  const { start, end, signal } = checked;
  validateAbortSignal(signal, "signal");
  if (start !== undefined) validateInteger(start, "start", 0);
  if (end !== undefined && end !== Infinity) {
    validateInteger(end, "end", 0);
    if (start !== undefined && start > end) throw outOfRange("start", `<= "end" (here: ${end})`, start);
  }
  makeReadStream ??= readStreamMaker();
  return makeReadStream(handle, source, checked) as ReadStream;
}

/** A Writable into the file. Throws ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE for wrong options. */
export function createWriteStream(
  handle: StreamHandle,
  source: StreamSource,
  options: WriteStreamOptions | undefined,
): WriteStream {
  validateInt32(handle.fd, "fd", 0);
  const checked = { ...options };
  if (checked.flush !== undefined && checked.flush !== null) validateBoolean(checked.flush, "options.flush");
  if (checked.start !== undefined) validateInteger(checked.start, "start", 0);
  validateAbortSignal(checked.signal, "signal");
  makeWriteStream ??= writeStreamMaker();
  return makeWriteStream(handle, source, checked) as WriteStream;
}

/** The file's lines, for `for await`. The options are those of createReadStream. */
export function readLines(
  handle: StreamHandle,
  source: StreamSource,
  options: ReadStreamOptions | undefined,
): Interface {
  const { createInterface } = process.getBuiltinModule("node:readline");
  const input = createReadStream(handle, source, options);
  return createInterface({ input, crlfDelay: Infinity }) as unknown as Interface;
}

function streamModule(): typeof import("node:stream") {
  return process.getBuiltinModule("node:stream");
}

function readStreamMaker(): ReadStreamMaker {
  const { Readable, addAbortSignal, finished } = streamModule();

  class FileReadStream extends Readable {
    fd: number | null;
    readonly start: number | undefined;
    readonly end: number;
    /** The next byte's position if `start` was given. */
    pos: number | undefined;
    bytesRead: number = 0;
    readonly #ahead: ReadAhead;
    readonly #tie: Tie;
    /** The stream has asked for data and has none yet. */
    #asked = false;
    #failed = false;

    constructor(handle: StreamHandle, source: StreamSource, options: ReadStreamOptions) {
      const { start, end = Infinity, autoClose, highWaterMark } = options;
      super({
        ...options,
        encoding: options.encoding ?? undefined,
        signal: undefined, // one that is aborted already would destroy what isn't constructed yet
        highWaterMark: highWaterMark === undefined ? READ_HIGH_WATER_MARK : highWaterMark,
        autoDestroy: autoClose === undefined ? true : autoClose,
      });
      this.fd = handle.fd;
      this.start = start;
      this.end = end;
      this.pos = start;
      this.#ahead = new ReadAhead(source, {
        position: start ?? -1,
        byteLimit: end - (start ?? 0) + 1,
        chunkBytes: Math.max(1, this.readableHighWaterMark),
        onReady: () => this.#deliver(),
      });
      this.#tie = new Tie(handle, source, () => this.destroy());
      if (options.signal) addAbortSignal(options.signal, this);
    }

    /** Whether the end, an error or destroy() closes the handle. */
    get autoClose(): boolean {
      return (this as any)._readableState.autoDestroy;
    }

    set autoClose(value: boolean) {
      (this as any)._readableState.autoDestroy = value;
    }

    get pending(): boolean {
      return this.fd === null;
    }

    override _read(): void {
      this.#asked = true;
      this.#deliver();
    }

    #deliver(): void {
      if (!this.#asked || this.#failed || this.destroyed) return;
      for (;;) {
        let chunk: Buffer | null | undefined;
        try {
          chunk = this.#ahead.take();
        } catch (error) {
          return this.#fail(error as Error);
        }
        if (chunk === undefined) return;
        // Before push: it may ask for more, or be told to stop, from within.
        this.#asked = false;
        if (chunk === null) return void this.push(null);
        this.bytesRead += chunk.length;
        if (this.pos !== undefined) this.pos += chunk.length;
        if (!this.push(chunk) || this.destroyed) return;
        this.#asked = true;
      }
    }

    #fail(error: Error): void {
      this.#asked = false;
      this.#failed = true;
      if (this.autoClose) this.destroy(error);
      else nextTick(() => this.emit("error", error));
    }

    override _destroy(error: Error | null, callback: Callback): void {
      this.fd = null;
      this.#ahead
        .stop()
        .then(() => this.#tie.close())
        .then(
          () => callback(error),
          (failure) => callback(failure ?? error),
        );
    }

    close(callback?: Callback): void {
      if (typeof callback === "function") finished(this, callback);
      this.destroy();
    }
  }

  return (handle, source, options) => new FileReadStream(handle, source, options);
}

function writeStreamMaker(): WriteStreamMaker {
  const { Writable, addAbortSignal } = streamModule();

  class FileWriteStream extends Writable {
    fd: number | null;
    readonly start: number | undefined;
    readonly flush: boolean;
    /** The position of the next byte that is handed over, if `start` was given. */
    pos: number | undefined;
    bytesWritten: number = 0;
    readonly #handle: StreamHandle;
    readonly #tie: Tie;
    /** The write under way; it never rejects. */
    #writing: Promise<void> | null = null;

    constructor(handle: StreamHandle, source: StreamSource, options: WriteStreamOptions) {
      const { start, autoClose, highWaterMark, encoding } = options;
      super({
        ...options,
        signal: undefined,
        highWaterMark: highWaterMark === undefined ? WRITE_HIGH_WATER_MARK : highWaterMark,
        decodeStrings: true,
        autoDestroy: autoClose === undefined ? true : autoClose,
      } as object);
      if (encoding) this.setDefaultEncoding(encoding);
      this.fd = handle.fd;
      this.start = start;
      this.pos = start;
      this.flush = options.flush ?? false;
      this.#handle = handle;
      this.#tie = new Tie(handle, source, () => this.close());
      if (options.signal) addAbortSignal(options.signal, this);
    }

    /** Whether the end, an error or destroy() closes the handle. */
    get autoClose(): boolean {
      return (this as any)._writableState.autoDestroy;
    }

    set autoClose(value: boolean) {
      (this as any)._writableState.autoDestroy = value;
    }

    get pending(): boolean {
      return this.fd === null;
    }

    override _write(chunk: Buffer, _encoding: string, callback: Callback): void {
      this.#run(this.#writeAll([chunk], chunk.length), callback);
    }

    override _writev(entries: { chunk: Buffer }[], callback: Callback): void {
      const chunks = entries.map((entry) => entry.chunk);
      const byteLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      const small = byteLength < chunks.length * JOIN_BYTES;
      this.#run(this.#writeAll(small ? [Buffer.concat(chunks, byteLength)] : chunks, byteLength), callback);
    }

    #run(written: Promise<void>, callback: Callback): void {
      this.#writing = written.then(
        () => {
          this.#writing = null;
          callback(this.destroyed ? codedError(Error, "ERR_STREAM_DESTROYED", DESTROYED) : null);
        },
        (error) => {
          this.#writing = null;
          callback(error);
        },
      );
    }

    /** Writes every byte, however little the system takes at a time. */
    async #writeAll(chunks: Buffer[], byteLength: number): Promise<void> {
      let at = this.pos ?? null;
      if (this.pos !== undefined) this.pos += byteLength;
      let empty = 0;
      for (let rest = chunks, left = byteLength; left > 0; ) {
        const { bytesWritten } =
          rest.length === 1
            ? await this.#handle.write(rest[0]!, 0, rest[0]!.length, at)
            : await this.#handle.writev(rest, at);
        this.bytesWritten += bytesWritten;
        left -= bytesWritten;
        if (at !== null) at += bytesWritten;
        if (left === 0 || this.destroyed) return;
        empty = bytesWritten > 0 ? 0 : empty + 1;
        if (empty > EMPTY_WRITES) throw codedError(Error, "ERR_SYSTEM_ERROR", "write failed");
        rest = behind(rest, bytesWritten);
      }
    }

    override _destroy(error: Error | null, callback: Callback): void {
      this.fd = null;
      let failure = error;
      const note = (reason: Error): void => {
        failure ??= reason;
      };
      Promise.resolve(this.#writing)
        .then(() => (this.flush ? this.#handle.sync().catch(note) : undefined))
        .then(() => this.#tie.close())
        .catch(note)
        .then(() => callback(failure));
    }

    /** Writes what is waiting, then closes. */
    close(callback?: Callback): void {
      if (callback !== undefined) {
        if (this.closed) return void nextTick(callback);
        this.on("close", callback);
      }
      // Nobody else would destroy it then.
      if (!this.autoClose) this.on("finish", this.destroy);
      this.end();
    }

    destroySoon(): void {
      this.end();
    }
  }

  return (handle, source, options) => new FileWriteStream(handle, source, options);
}

const DESTROYED = "Cannot call write after a stream was destroyed";

/** What is left of `chunks` when so many bytes are written. */
function behind(chunks: Buffer[], bytesWritten: number): Buffer[] {
  let index = 0;
  let skip = bytesWritten;
  while (skip >= chunks[index]!.length) skip -= chunks[index++]!.length;
  const rest = chunks.slice(index);
  rest[0] = rest[0]!.subarray(skip);
  return rest;
}
