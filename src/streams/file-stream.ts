// What ReadStream and WriteStream have in common: the options, which file it is, how it is opened, and how a constructor
// that is a plain function gets its place behind Bun's class. Assumes Node's rules, errors and their order.

import { codedError, invalidArgType, validateAbortSignal, validateEncoding, validateInt32 } from "../node/arguments.ts";
import { bunStreams } from "../node/bun-fs.ts";
import { nextTick } from "../node/clock.ts";
import { FILE_MODE, parseFlags, parseMode } from "../node/open-flags.ts";
import { toPath } from "../node/path.ts";
import { type Callback, files, type OpenedFile } from "./files.ts";
import { openedByReplaced, replaceable } from "./replaced.ts";

interface StreamOptions {
  /** Of a ReadStream: its chunks are strings of it. Of a WriteStream: that of strings written without one (utf8). */
  encoding?: BufferEncoding | null | undefined;
  /** Closes the file at the end or after an error (default true). */
  autoClose?: boolean | undefined;
  /** Emits "close" when destroyed (default true). */
  emitClose?: boolean | undefined;
  /** Position of the first byte; the file's own position if absent. */
  start?: number | undefined;
  /** Bytes of a chunk, or bytes waiting from which `write()` returns false (default 64 KiB). */
  highWaterMark?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface ReadStreamOptions extends StreamOptions {
  /** Last byte, inclusive; without `start`, counted from the file's own position. */
  end?: number | undefined;
}

export interface WriteStreamOptions extends StreamOptions {
  /** fsync before the file is closed (default false). */
  flush?: boolean | undefined;
}

/** Which file, where it is no FileHandle's own stream. */
export interface FileStreamOptions {
  /** Flags of open ("r", "w"). */
  flags?: string | number | undefined;
  mode?: number | string | undefined;
  /** A descriptor or a FileHandle, in place of the path. */
  fd?: unknown;
  /** Functions in place of node:fs's; such a stream is Bun's own. */
  fs?: unknown;
}

type Options = ReadStreamOptions & WriteStreamOptions & FileStreamOptions;

const HIGH_WATER_MARK = 64 * 1024;
const MAX_FD = 2 ** 31 - 1;

/** Reading or Writing of a stream, and the path that is to be opened. */
export const kState: unique symbol = Symbol("state");
const kPath: unique symbol = Symbol("path");

interface State {
  begin(opened: OpenedFile): void;
}

interface FileStream {
  fd: number | null;
  flags?: unknown;
  mode?: unknown;
  open?: unknown;
  readonly autoClose: boolean;
  _construct?: typeof construct;
  [kPath]: string | Buffer | null;
  [kState]: State;
  emit(event: string, ...values: unknown[]): boolean;
}

/** The user's options, each read once. Throws as Node does for what is none. */
export function optionsOf(options: unknown): Options {
  if (options === undefined || options === null || typeof options === "function") return {};
  if (typeof options === "string") {
    validateEncoding(options);
    return { encoding: options };
  }
  if (typeof options !== "object") throw invalidArgType("options", ["string", "Object"], options);
  const copy: Record<string, unknown> = {};
  for (const key in options) copy[key] = (options as typeof copy)[key]; // inherited ones too, as Node
  const { encoding, signal } = copy as Options;
  if ((encoding as string) !== "buffer") validateEncoding(encoding);
  validateAbortSignal(signal, "options.signal");
  return copy;
}

/** Whether it is for Bun's own class: functions of the user's, a FileHandle of somebody else, or a mistake. */
export function isForeign({ fd, fs }: Options): boolean {
  if (fd === undefined || fd === null || typeof fd === "number") return fs !== undefined && fs !== null;
  return files().of(fd) === null;
}

/** Sets what says which file it is. A path is opened in a later tick, until when what is written waits; else here is the file. */
export function target(stream: FileStream, path: unknown, options: Options, flags: string): OpenedFile | null {
  const { fd, fs } = options;
  stream[kPath] = null;
  stream.fd = null;
  if (fd === undefined || fd === null) {
    stream[kPath] = toPath(path);
    (stream as { path?: unknown }).path = path instanceof Uint8Array ? path : stream[kPath];
    stream.flags = options.flags === undefined ? flags : options.flags;
    stream.mode = options.mode === undefined ? FILE_MODE : options.mode;
    stream._construct = construct;
    return null;
  }
  if (typeof fd === "number") {
    const descriptor = Object.is(fd, -0) ? 0 : fd;
    validateInt32(descriptor, "fd", 0, MAX_FD);
    stream.fd = descriptor;
    return replaceable(files().adopt(descriptor));
  }
  if (fs) {
    throw codedError(Error, "ERR_METHOD_NOT_IMPLEMENTED", "The FileHandle with fs method is not implemented");
  }
  const opened = files().of(fd)!;
  validateInt32(opened.handle.fd, "fd", 0, MAX_FD);
  stream.fd = opened.handle.fd;
  return opened;
}

/** What node:stream is told. A signal that is aborted already would destroy what isn't constructed yet. */
export function baseOptions(options: Options): object {
  const { autoClose, highWaterMark, encoding } = options;
  return {
    ...options,
    encoding: encoding ?? undefined,
    signal: undefined,
    highWaterMark: highWaterMark === undefined ? HIGH_WATER_MARK : highWaterMark,
    autoDestroy: autoClose === undefined ? true : autoClose,
  };
}

function construct(this: FileStream, callback: Callback): void {
  const state = this[kState];
  // Code of before stream.open was withdrawn puts its own in its place, which ends with one of these events.
  if (this.open !== (bunStreams().ReadStream.prototype as { open?: unknown }).open) return openByOther(this, callback);
  let opening: Promise<OpenedFile>;
  const replaced = openedByReplaced(this[kPath], this.flags, this.mode);
  try {
    const mode = parseMode(this.mode, "mode", FILE_MODE);
    // Who keeps it open may go on with the descriptor alone.
    opening =
      replaced === null
        ? files().open(this[kPath]!, parseFlags(this.flags), mode, this.autoClose)
        : replaced.then((fd) => files().adopt(fd));
  } catch (error) {
    return callback(error as Error);
  }
  const opened = (file: OpenedFile): void => {
    state.begin(replaceable(file));
    callback();
    this.emit("open", this.fd);
    this.emit("ready");
  };
  opening.then(
    (file) => nextTick(opened, file),
    (error) => nextTick(callback, error),
  );
}

function openByOther(stream: FileStream, callback: Callback): void {
  const { emit } = stream;
  stream.emit = function (this: FileStream, event, ...values) {
    if (event !== "open" && event !== "error") return emit.call(this, event, ...values);
    this.emit = emit;
    if (event === "error") {
      callback(values[0] as Error);
      return true;
    }
    this[kState].begin(replaceable(files().adopt(this.fd!)));
    callback();
    return emit.call(this, event, ...values);
  };
  (stream.open as () => void)();
}

type StreamClass = { prototype: object } & ((...args: any[]) => unknown);

/**
 * Makes `own` the constructor of `methods`, and what Bun's class `name` makes its instances, too. Returns what is to be
 * called before the first is made: it puts the methods behind Bun's class.
 */
export function define(own: StreamClass, methods: object, name: "ReadStream" | "WriteStream"): () => void {
  const hidden = (value: unknown): PropertyDescriptor => ({ value, writable: true, configurable: true });
  own.prototype = methods;
  Object.defineProperty(own, "name", { value: name, configurable: true }); // whatever a bundler calls it
  Object.defineProperties(methods, { constructor: hidden(own), _construct: hidden(undefined) });
  const isInstance = Function.prototype[Symbol.hasInstance] as (this: unknown, value: unknown) => boolean;
  function hasInstance(this: unknown, value: unknown): boolean {
    return isInstance.call(this, value) || (this === own && isInstance.call(bunStreams()[name], value));
  }
  Object.defineProperty(own, Symbol.hasInstance, { value: hasInstance });
  let isLinked = false;
  return () => {
    if (isLinked) return;
    isLinked = true;
    const buns = bunStreams()[name];
    Object.setPrototypeOf(methods, buns.prototype);
    Object.setPrototypeOf(own, Object.getPrototypeOf(buns));
  };
}

/** node:stream's state of a stream. Throws ERR_INVALID_THIS for what is none. */
export function stateOf(stream: any, key: "_readableState" | "_writableState", name: string): { autoDestroy: boolean } {
  const state = stream?.[key];
  if (state) return state;
  throw codedError(TypeError, "ERR_INVALID_THIS", `Value of "this" must be of type ${name}`);
}

/** Calls a constructor of node:stream on an object that exists, as code without classes does. */
export function initialize(stream: object, Base: unknown, options: object): void {
  (Base as (this: object, options: object) => void).call(stream, options);
}
