// The node:stream classes of files, ReadStream and WriteStream, by path, descriptor or FileHandle, with Node's options,
// events and errors; a ReadStream is read ahead, a WriteStream writes what is waiting together. They stand behind Bun's own
// classes: `instanceof fs.ReadStream` is true. Functions, not classes, since old code calls them without `new`.
// node:stream takes longer to load than this package: it is, and the prototypes are linked, when the first one is made.

import type { ReadStream as NodeReadStream, WriteStream as NodeWriteStream, PathLike } from "node:fs";
import type { Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { outOfRange, validateBoolean, validateInteger } from "../node/arguments.ts";
import { bunStreams } from "../node/bun-fs.ts";
import { nextTick } from "../node/clock.ts";
import {
  baseOptions,
  define,
  type FileStreamOptions,
  initialize,
  isForeign,
  kState,
  optionsOf,
  type ReadStreamOptions,
  stateOf,
  target,
  type WriteStreamOptions,
} from "./file-stream.ts";
import { type Callback, files } from "./files.ts";
import { Reading } from "./reading.ts";
import { Writing } from "./writing.ts";

export type { FileStreamOptions, ReadStreamOptions, WriteStreamOptions } from "./file-stream.ts";

/** Empty classes in the place of those that aren't loaded yet. */
const AnyReadable = class {} as unknown as typeof Readable;
const AnyWritable = class {} as unknown as typeof Writable;

const isOwn = (methods: object, value: unknown): boolean =>
  Object.prototype.isPrototypeOf.call(methods, value as object);

/* ---- reading ------------------------------------------------------------------------------------------------------- */

class ReadMethods extends AnyReadable {
  declare fd: number | null;
  declare [kState]: Reading;

  /** Whether the end, an error or destroy() closes the file. */
  get autoClose(): boolean {
    return stateOf(this, "_readableState", "ReadStream").autoDestroy;
  }

  set autoClose(value: boolean) {
    stateOf(this, "_readableState", "ReadStream").autoDestroy = value;
  }

  get pending(): boolean {
    return this.fd === null;
  }

  override _read(): void {
    this[kState].ask();
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this[kState].end(error, callback);
  }

  close(callback?: Callback): void {
    if (typeof callback === "function") process.getBuiltinModule("node:stream").finished(this, callback);
    this.destroy();
  }
}

/** fs.ReadStream. Throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE or ERR_OUT_OF_RANGE for wrong arguments. */
export const ReadStream = function ReadStream(this: any, path: unknown, options: unknown): unknown {
  linkRead();
  if (!isOwn(ReadMethods.prototype, this)) return createReadStream(path as PathLike, options as object);
  const checked = optionsOf(options);
  if (isForeign(checked) || (typeof checked.fd === "object" && checked.fd !== null && files().isPatched(checked.fd))) {
    return new (bunStreams().ReadStream as any)(path, options);
  }
  const opened = target(this, path, checked, "r");
  const { start, end = Infinity } = checked;
  if (start !== undefined) validateInteger(start, "start", 0);
  if (end !== Infinity) {
    validateInteger(end, "end", 0);
    if (start !== undefined && start > end) throw outOfRange("start", `<= "end" (here: ${end})`, start);
  }
  this.start = start;
  this.end = end;
  this.pos = start;
  this.bytesRead = 0;
  this[kState] = new Reading(this, start, end);
  const { Readable, addAbortSignal } = process.getBuiltinModule("node:stream");
  initialize(this, Readable, baseOptions(checked));
  if (opened !== null) this[kState].begin(opened);
  if (checked.signal) addAbortSignal(checked.signal, this);
  return this;
} as unknown as typeof NodeReadStream & ((path: PathLike, options?: unknown) => NodeReadStream);
const linkRead = define(ReadStream as any, ReadMethods.prototype, "ReadStream");

/* ---- writing ------------------------------------------------------------------------------------------------------- */

class WriteMethods extends AnyWritable {
  declare fd: number | null;
  declare [kState]: Writing;

  /** Whether the end, an error or destroy() closes the file. */
  get autoClose(): boolean {
    return stateOf(this, "_writableState", "WriteStream").autoDestroy;
  }

  set autoClose(value: boolean) {
    stateOf(this, "_writableState", "WriteStream").autoDestroy = value;
  }

  get pending(): boolean {
    return this.fd === null;
  }

  override _write(chunk: Buffer, _encoding: string, callback: Callback): void {
    this[kState].write([chunk], callback);
  }

  override _writev(entries: { chunk: Buffer }[], callback: Callback): void {
    this[kState].write(
      entries.map((entry) => entry.chunk),
      callback,
    );
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this[kState].end(error, callback);
  }

  /** Writes what is waiting, then closes. */
  close(callback?: Callback): void {
    if (callback) {
      if (this.closed) return void nextTick(callback);
      this.on("close", callback);
    }
    if (!this.autoClose) {
      // Nobody else would destroy it then; and what has finished, or failed, finishes no more.
      if (this.writableFinished || this.errored) return void this.destroy();
      this.on("finish", this.destroy);
    }
    this.end();
  }

  destroySoon(...args: any[]): void {
    this.end(...args);
  }
}

/** fs.WriteStream. Throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE or ERR_OUT_OF_RANGE for wrong arguments. */
export const WriteStream = function WriteStream(this: any, path: unknown, options: unknown): unknown {
  linkWrite();
  if (!isOwn(WriteMethods.prototype, this)) return createWriteStream(path as PathLike, options as object);
  const checked = optionsOf(options);
  if (isForeign(checked)) return new (bunStreams().WriteStream as any)(path, options);
  const opened = target(this, path, checked, "w");
  const { start, flush, encoding, signal } = checked;
  if (flush !== undefined && flush !== null) validateBoolean(flush, "options.flush");
  if (start !== undefined) validateInteger(start, "start", 0);
  this.start = start;
  this.pos = start;
  this.flush = flush ?? false;
  this.bytesWritten = 0;
  const state = new Writing(this);
  this[kState] = state;
  const { Writable, addAbortSignal } = process.getBuiltinModule("node:stream");
  initialize(this, Writable, { ...baseOptions(checked), decodeStrings: true });
  if (encoding) this.setDefaultEncoding(encoding);
  if (!this.autoClose && this._final === Writable.prototype._final) {
    this._final = (callback: Callback) => state.finish(callback);
  }
  if (opened !== null) state.begin(opened);
  if (signal) addAbortSignal(signal, this);
  return this;
} as unknown as typeof NodeWriteStream & ((path: PathLike, options?: unknown) => NodeWriteStream);
const linkWrite = define(WriteStream as any, WriteMethods.prototype, "WriteStream");

/* ---- functions ----------------------------------------------------------------------------------------------------- */

/** fs.createReadStream: a Readable of the file at `path`, which is opened at once. */
export function createReadStream(
  path: PathLike,
  options?: BufferEncoding | (ReadStreamOptions & FileStreamOptions),
): NodeReadStream {
  return new (ReadStream as any)(path, options);
}

/** fs.createWriteStream: a Writable into the file at `path`, which is opened, and emptied unless `flags` say else. */
export function createWriteStream(
  path: PathLike,
  options?: BufferEncoding | (WriteStreamOptions & FileStreamOptions),
): NodeWriteStream {
  return new (WriteStream as any)(path, options);
}

/** A handle's lines, for `for await`. A loop that is left destroys the stream below; an end closes the handle anyway. */
export function readLines(input: NodeReadStream): Interface {
  const { createInterface } = process.getBuiltinModule("node:readline");
  const lines = createInterface({ input, crlfDelay: Infinity });
  lines.once("close", () => {
    if ((input as any).autoClose) input.destroy();
  });
  return lines as unknown as Interface;
}
