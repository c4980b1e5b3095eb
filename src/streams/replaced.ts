// Functions that a program has put in the place of node:fs's, as graceful-fs does with `close`, and tests with `read` and
// `write`: streams by path or descriptor call them, as Node's streams do. Everything else goes past them, as in Node.
// Assumes that a module is watched before anybody changes it, and that they take and call back what Node's functions do.
// They are called from the stream's user or from promise reactions, never from a ring's loop.

import { nextTick } from "../node/clock.ts";
import { byteLengthOf } from "../node/views.ts";
import type { OpenedFile, StreamHandle } from "./files.ts";
import type { ReadAheadOptions } from "./read-ahead.ts";

const NAMES = ["open", "close", "read", "write", "writev", "fsync"] as const;
type Name = (typeof NAMES)[number];
type Module = Record<string, unknown>;
type Call = (...args: any[]) => void;

const watched: { module: Module; own: Module }[] = [];

/** Says that the functions of this module are the package's from here on. */
export function watchModule(module: object): void {
  const own: Module = {};
  for (const name of NAMES) own[name] = (module as Module)[name];
  watched.push({ module: module as Module, own });
}

/** Calls what stands in the function's place; null where it is still the package's. */
export function replaced(name: Name): Call | null {
  for (const { module, own } of watched) {
    if (module[name] !== own[name]) return (...args) => (module[name] as Call)(...args);
  }
  return null;
}

function called<T>(call: Call, ...args: unknown[]): Promise<T> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, value: T): void => (error ? reject(error) : resolve(value));
    call(...args, done);
  });
}

/** Opens by a function that stands in the place of fs.open; null where there is none. */
export function openedByReplaced(path: unknown, flags: unknown, mode: unknown): Promise<number> | null {
  const open = replaced("open");
  return open && called<number>(open, path, flags, mode);
}

type View = NodeJS.ArrayBufferView;
type Written = Promise<{ bytesWritten: number }>;
const counted = (written: Promise<number>): Written => written.then((bytesWritten) => ({ bytesWritten }));

/** A stream's handle that asks at each call whether the function has been replaced. */
class Replaceable implements StreamHandle {
  readonly #opened: OpenedFile;

  constructor(opened: OpenedFile) {
    this.#opened = opened;
  }

  get fd(): number {
    return this.#opened.handle.fd;
  }

  write(buffer: View, offset: number, length: number, position: number | null): Written {
    const write = replaced("write");
    if (write === null) return this.#opened.handle.write(buffer, offset, length, position);
    return counted(called<number>(write, this.fd, buffer, offset, length, position ?? undefined));
  }

  writev(buffers: View[], position: number | null): Written {
    const writev = replaced("writev");
    if (writev === null) return this.#opened.handle.writev(buffers, position);
    return counted(called<number>(writev, this.fd, buffers, position ?? undefined));
  }

  sync(): Promise<void> {
    const fsync = replaced("fsync");
    return fsync === null ? this.#opened.handle.sync() : called(fsync, this.fd);
  }

  close(): Promise<void> {
    const close = replaced("close");
    return close === null ? this.#opened.handle.close() : called(close, this.#opened.disown!());
  }
}

/** The same file; what has been replaced is called. A FileHandle's own functions are never replaced ones. */
export function replaceable(opened: OpenedFile): OpenedFile {
  return watched.length === 0 ? opened : { ...opened, handle: new Replaceable(opened) };
}

/** Reads by the function that stands in the place of fs.read, one chunk after the other; else as ReadAhead. */
export class ReplacedRead {
  readonly #fd: number;
  readonly #chunkBytes: number;
  readonly #onReady: () => void;
  #position: number | null;
  #left: number;
  #reading: Promise<void> | null = null;
  #chunk: Buffer | null | undefined;
  #failure: Error | null = null;

  constructor(fd: number, { position, byteLimit, chunkBytes, onReady }: ReadAheadOptions) {
    this.#fd = fd;
    this.#position = position < 0 ? null : position;
    this.#left = byteLimit;
    this.#chunkBytes = chunkBytes;
    this.#onReady = onReady;
  }

  take(): Buffer | null | undefined {
    if (this.#failure !== null) throw this.#failure;
    const chunk = this.#chunk;
    if (chunk !== null) this.#chunk = undefined;
    if (chunk === undefined && this.#reading === null) this.#read();
    return chunk;
  }

  #read(): void {
    const chunk = Buffer.allocUnsafeSlow(Math.min(this.#chunkBytes, this.#left));
    if (byteLengthOf(chunk) === 0) {
      this.#chunk = null;
      return nextTick(this.#onReady);
    }
    const read = replaced("read") ?? watched[0]!.own["read"];
    const done = (bytesRead: number): void => {
      this.#left -= bytesRead;
      if (this.#position !== null) this.#position += bytesRead;
      this.#chunk = bytesRead > 0 ? chunk.subarray(0, bytesRead) : null;
    };
    this.#reading = called<number>(read as Call, this.#fd, chunk, 0, byteLengthOf(chunk), this.#position)
      .then(done, (error) => {
        this.#failure = error;
      })
      .then(() => {
        this.#reading = null;
        this.#onReady();
      });
  }

  /** Settles when nothing is read any more. */
  stop(): Promise<unknown> {
    return Promise.resolve(this.#reading);
  }
}
