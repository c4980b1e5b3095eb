// write: what Bun.write takes, to a file, through the ring and never on the JavaScript thread. Missing folders are made, unless that
// is not wanted; with `atomic` the file is the old or the new one at every moment.
// Assumes that streams and bodies are nobody else's. Resolves to the bytes written.

import { dirname } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import { replaceBy } from "../durable/atomic.ts";
import { makePath } from "../fs/mkdir-recursive.ts";
import { open } from "../fs/open.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { throwIfAborted } from "../node/abort.ts";
import { invalidArgType, validateAbortSignal, validateBoolean, validateObject } from "../node/arguments.ts";
import { parseMode } from "../node/open-flags.ts";
import { toPath } from "../node/path.ts";
import { ChunkWriter } from "./receive-body.ts";

/** What can be written: as `Bun.write`, and arrays of it, one after the other. */
export type Writable =
  | string
  | ArrayBufferView
  | ArrayBuffer
  | SharedArrayBuffer
  | Blob
  | Response
  | Request
  | ReadableStream<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | readonly Writable[];

/** How `write` makes or replaces its target. */
export interface WriteOptions {
  /** Makes the folders above that are missing (default true). */
  createPath?: boolean | undefined;
  /** Permissions of a file that is made, less the umask (default 0o666). */
  mode?: number | string | undefined;
  /** On the device when it resolves (default false). */
  flush?: boolean | undefined;
  /** Published in one step (default false): see `writeFileAtomic`. */
  atomic?: boolean | undefined;
  /** Goes behind what is there (default false). */
  append?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

const FILE_MODE = 0o666;
const FOLDER_MODE = 0o777;

/** Writes `data` to the file at `dest`. */
export async function write(
  dest: string | URL | Uint8Array,
  data: Writable,
  options: WriteOptions = {},
): Promise<number> {
  const path = toPath(dest).toString();
  validateObject(options, "options");
  const { createPath = true, mode, flush = false, atomic = false, append = false, signal } = options;
  for (const [key, value] of Object.entries({ createPath, flush, atomic, append }))
    validateBoolean(value, `options.${key}`);
  validateAbortSignal(signal, "options.signal");
  const permissions = parseMode(mode, "options.mode", FILE_MODE);
  throwIfAborted(signal);
  const pieces = piecesOf(data);
  let bytes = 0;
  const fill = async (handle: FileHandle): Promise<void> => {
    bytes = await writePieces(handle, append ? (await handle.stat()).size : 0, pieces, signal);
  };
  const begin = async (): Promise<void> => {
    if (atomic && !append) {
      const own = mode === undefined ? {} : { mode: permissions };
      return replaceBy(path, { durability: flush ? "full" : "none", signal, ...own }, fill);
    }
    const handle = await open(path, append ? "a" : "w", permissions);
    try {
      await fill(handle);
      if (flush) await handle.sync();
    } catch (error) {
      await handle.close().catch(() => {});
      throw error;
    }
    await handle.close();
  };
  try {
    await begin();
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (!createPath || code !== "ENOENT" || syscall !== "open") throw error;
    await makePath(currentBackend(), dirname(path), FOLDER_MODE);
    await begin(); // nothing of the data had been read
  }
  return bytes;
}

/** Writes all pieces from a position on, gathered to chunks. Resolves to their bytes. */
async function writePieces(
  handle: FileHandle,
  position: number,
  pieces: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<number> {
  const writer = new ChunkWriter(handle, position);
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      throwIfAborted(signal);
      bytes += piece.byteLength;
      await writer.add(piece);
    }
    throwIfAborted(signal);
    await writer.end();
  } catch (error) {
    await writer.settle();
    throw error;
  }
  return bytes;
}

const encoder = new TextEncoder();

/** Checks the kind at the call, so that a wrong one rejects before anything is opened. */
export function piecesOf(data: Writable): AsyncIterable<Uint8Array> {
  if (typeof data === "string") return one(encoder.encode(data));
  // Taken as they are now: what is written later is not what they become.
  if (ArrayBuffer.isView(data)) return one(new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice());
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return one(new Uint8Array(data).slice());
  if (Array.isArray(data)) return chained(data.map(piecesOf));
  if (data instanceof Response || data instanceof Request) return data.body === null ? none() : bytesOf(data.body);
  if (data instanceof Blob) return bytesOf(data.stream());
  if (data !== null && typeof data === "object" && Symbol.asyncIterator in data)
    return bytesOf(data as AsyncIterable<Uint8Array | string>);
  throw invalidArgType(
    "data",
    ["string", "TypedArray", "ArrayBuffer", "Blob", "Response", "Request", "ReadableStream"],
    data,
  );
}

async function* none(): AsyncGenerator<Uint8Array> {}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes;
}

async function* chained(sources: AsyncIterable<Uint8Array>[]): AsyncGenerator<Uint8Array> {
  for (const source of sources) yield* source;
}

async function* bytesOf(source: AsyncIterable<Uint8Array | string>): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    if (typeof piece === "string") yield encoder.encode(piece);
    else if (ArrayBuffer.isView(piece)) yield new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
    else throw invalidArgType("chunk", ["string", "Uint8Array"], piece);
  }
}
