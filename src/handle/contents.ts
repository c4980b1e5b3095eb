// What FileHandle.readFile and writeFile do beyond the backend's loops: a buffer of the caller, data in chunks.
// Assumes that the handle keeps its file open meanwhile and orders these among its other operations.

import type { Backend, OpenFile } from "../backend/interface.ts";
import { fill, readToEnd } from "../backend/loops.ts";
import { throwIfAborted } from "../node/abort.ts";
import { invalidArgType, invalidArgValue, refuseDetached, validateBuffer } from "../node/arguments.ts";
import { fileTooLarge, MAX_FILE_BYTES } from "../node/limits.ts";
import { type DataChunks, type FileOptions, viewOf } from "../node/options.ts";
import { bufferOf, byteLengthOf, byteOffsetOf, bytesOf, isView } from "../node/views.ts";

/** Throws unless `options.buffer` is absent, a view, or a function that is to return one. */
export function validateReadFileBuffer(options: FileOptions): void {
  const { buffer } = options;
  if (buffer === undefined || typeof buffer === "function" || isView(buffer)) return;
  throw invalidArgType("options.buffer", ["Buffer", "TypedArray", "DataView", "Function"], buffer);
}

/** The rest of the file from its own position on, as a Buffer or a string. */
export async function readContent(backend: Backend, file: OpenFile, options: FileOptions): Promise<Buffer | string> {
  const { encoding, signal } = options;
  throwIfAborted(signal);
  const bytes =
    options.buffer === undefined
      ? await readToEnd(backend, file, signal)
      : await readIntoCallers(backend, file, options);
  throwIfAborted(signal);
  return encoding && (encoding as string) !== "buffer" ? bytes.toString(encoding) : bytes;
}

/** Reads into `options.buffer` and resolves to the part of it that was filled, as a Buffer over the same memory. */
async function readIntoCallers(backend: Backend, file: OpenFile, options: FileOptions): Promise<Buffer> {
  const stats = await backend.fstat(file, false);
  const size = stats.isFile() ? Number(stats.size) : 0;
  if (size > MAX_FILE_BYTES) throw fileTooLarge(size);
  const into = callersBuffer(options, size);
  const room = size > 0 ? into.subarray(0, size) : into;
  const filled = await fill(backend, file, room, options.signal);
  if (size === 0 && filled === room.byteLength && (await hasMore(backend, file))) {
    throw invalidArgValue(lengthName(options), into.byteLength, "is too small to contain the entire file");
  }
  return into.subarray(0, filled);
}

function callersBuffer(options: FileOptions, size: number): Buffer {
  let { buffer } = options;
  if (typeof buffer === "function") {
    buffer = buffer(size);
    validateBuffer(buffer, "options.buffer()");
  }
  const view = buffer as NodeJS.ArrayBufferView<ArrayBuffer>;
  refuseDetached(view, "options.buffer");
  const byteLength = byteLengthOf(view);
  if (size > byteLength) {
    throw invalidArgValue(lengthName(options), byteLength, `is smaller than the file size of ${size} bytes`);
  }
  return Buffer.from(bufferOf(view) as ArrayBuffer, byteOffsetOf(view), byteLength);
}

function lengthName(options: FileOptions): string {
  return typeof options.buffer === "function" ? "options.buffer().byteLength" : "options.buffer.byteLength";
}

async function hasMore(backend: Backend, file: OpenFile): Promise<boolean> {
  return (await backend.read(file, Buffer.allocUnsafe(1), 0, 1, -1)).bytesRead > 0;
}

/** Writes one chunk after the other, each through `write`. Ends the iteration if one fails. */
export async function writeChunks(
  chunks: DataChunks,
  options: FileOptions,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  for await (const chunk of chunks) {
    throwIfAborted(options.signal);
    await write(bytesOf(viewOf(chunk, "data", options.encoding)));
    throwIfAborted(options.signal);
  }
}
