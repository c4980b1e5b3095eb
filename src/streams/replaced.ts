// Functions that a program has put in the place of node:fs's, as graceful-fs does with `close`, and tests with `read` and
// `write`: streams by path or descriptor call them, as Node's streams do. Everything else goes past them, as in Node.
// Assumes that a module is watched before anybody changes it, and that they take and call back what Node's functions do.
// They are called from the stream's user or from promise reactions, never from a ring's loop.

import type { Backend, OpenFile } from "../backend/interface.ts";
import type { OpenedFile, StreamHandle } from "./files.ts";
import type { StreamSource } from "./read-ahead.ts";

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

/**
 * The same file for who reads ahead, read by the function that stands in the place of fs.read; it is told to be none with a
 * size, so that one chunk is read after the other.
 */
export function readByReplaced(source: StreamSource, fd: number): StreamSource {
  const read = async (_: OpenFile, buffer: View, offset: number, length: number, position: number): Promise<object> => {
    const call = (replaced("read") ?? watched[0]!.own["read"]) as Call;
    const bytesRead = await called<number>(call, fd, buffer, offset, length, position < 0 ? null : position);
    return { bytesRead, buffer };
  };
  const backend = { read, fstat: async () => ({ isFile: () => false }), seek: null };
  return { ...source, backend: backend as unknown as Backend };
}
