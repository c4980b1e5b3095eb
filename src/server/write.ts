// write: what Bun.write takes, to a file, through the ring and never on the JavaScript thread. Missing folders are made, unless that
// is not wanted; with `atomic` the file is the old or the new one at every moment.
// Opens nothing before the data's first chunk has come: a source that can't be read leaves the file as it is.

import { dirname } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import { replaceBy } from "../durable/atomic.ts";
import { makePath } from "../fs/mkdir-recursive.ts";
import { open } from "../fs/open.ts";
import { thenClose } from "../fs/whole-file.ts";
import { FileHandle } from "../handle/file-handle.ts";
import { throwIfAborted } from "../node/abort.ts";
import {
  invalidArgType,
  invalidArgValue,
  validateAbortSignal,
  validateBoolean,
  validateEach,
  validateInteger,
  validateObject,
} from "../node/arguments.ts";
import { FILE_MODE, FOLDER_MODE, parseMode } from "../node/open-flags.ts";
import { toPath } from "../node/path.ts";
import { files } from "../streams/files.ts";
import { type ChunkSink, writeChunks } from "./chunk-writer.ts";
import { chunksOf, type Writable } from "./chunks.ts";

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

/** Where to: a path, `file()` or `Bun.file()` of one; a descriptor or handle, which stays the caller's, at its own position. */
export type Destination = string | URL | Uint8Array | { readonly name?: string | undefined } | number | FileHandle;

/** What is written to. */
export interface Sink extends ChunkSink {
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Writes `data` to a file. Resolves to the bytes written. */
export async function write(dest: Destination, data: Writable, options: WriteOptions = {}): Promise<number> {
  const target = targetOf(dest);
  validateObject(options, "options");
  const { createPath = true, mode, flush = false, atomic = false, append = false, signal } = options;
  validateEach(validateBoolean, { createPath, flush, atomic, append });
  if (atomic && append) throw invalidArgValue("options.append", append, "can't be true together with atomic");
  validateAbortSignal(signal, "options.signal");
  const permissions = parseMode(mode, "options.mode", FILE_MODE);
  throwIfAborted(signal);
  const chunks = await begun(chunksOf(data, signal));
  if (typeof target !== "string") return writeTo(sinkOf(target), chunks, flush);
  const isAtomic = atomic || (!append && (await isSourceOf(target, data)));
  let bytes = 0;
  const begin = async (): Promise<void> => {
    if (isAtomic) {
      const own = mode === undefined ? {} : { mode: permissions };
      await replaceBy(target, { durability: flush ? "full" : "none", signal, ...own }, async (handle) => {
        bytes = await writeChunks(handle, 0, chunks);
      });
      return;
    }
    const handle = await open(target, append ? "a" : "w", permissions);
    const fill = async (): Promise<void> => {
      // In order behind what is there: the kernel puts each write at the end.
      bytes = await writeChunks(handle, 0, chunks, { inOrder: append });
      throwIfAborted(signal);
      if (flush) await handle.sync();
    };
    await thenClose(handle, fill());
  };
  try {
    await begin().catch(async (error: NodeJS.ErrnoException) => {
      if (!createPath || error.code !== "ENOENT" || error.syscall !== "open") throw error;
      await makePath(currentBackend(), dirname(target), FOLDER_MODE);
      await begin(); // nothing of the data had been taken
    });
  } catch (error) {
    await chunks.return(undefined);
    throw error;
  }
  return bytes;
}

/** A path, or a descriptor or handle. */
function targetOf(dest: Destination): string | number | FileHandle {
  if (typeof dest === "number") {
    validateInteger(dest, "dest", 0);
    return dest;
  }
  if (dest instanceof FileHandle) return dest;
  if (dest !== null && typeof dest === "object" && !(dest instanceof Uint8Array) && !(dest instanceof URL)) {
    // Bun.file() or file(): of all that have a name, those can be written to.
    const { name, writer } = dest as { name?: unknown; writer?: unknown };
    if (typeof writer !== "function" || typeof name !== "string" || dest instanceof File)
      throw invalidArgType("dest", ["a path", "a file with one", "a descriptor"], dest);
    return name;
  }
  return toPath(dest, "dest").toString();
}

/** What a descriptor or handle is written through. */
export function sinkOf(target: number | FileHandle): Sink {
  return target instanceof FileHandle ? target : files().adopt(target).handle;
}

async function writeTo(sink: Sink, chunks: AsyncIterable<Uint8Array>, flush: boolean): Promise<number> {
  let bytes = 0;
  for await (const chunk of chunks) bytes += await writeChunk(sink, chunk);
  if (flush) await sink.sync();
  return bytes;
}

/** All of a chunk, at the sink's own position. */
export async function writeChunk(sink: Sink, chunk: Uint8Array): Promise<number> {
  const length = chunk.byteLength;
  for (let at = 0; at < length; ) at += (await sink.write(chunk, at, length - at, null)).bytesWritten;
  return length;
}

/** The same chunks, of which the first has come. */
async function begun(chunks: AsyncIterable<Uint8Array>): Promise<AsyncGenerator<Uint8Array>> {
  const iterator = chunks[Symbol.asyncIterator]();
  const first = await iterator.next();
  let isFirst = true;
  const all: AsyncGenerator<Uint8Array> = {
    async next() {
      if (!isFirst) return iterator.next();
      isFirst = false;
      return first;
    },
    async return(value) {
      await iterator.return?.();
      return { done: true, value };
    },
    throw: (error) => Promise.reject(error),
    [Symbol.asyncIterator]: () => all,
    [Symbol.asyncDispose]: async () => void (await all.return(undefined)),
  };
  return all;
}

/** Whether the data is read from the file that is written: to be emptied only when it has been read. */
async function isSourceOf(target: string, data: unknown): Promise<boolean> {
  if (Array.isArray(data)) {
    for (const part of data) if (await isSourceOf(target, part)) return true;
    return false;
  }
  const { stream, stat } = (data ?? {}) as { stream?: unknown; stat?: () => unknown };
  if (typeof data !== "object" || typeof stream !== "function" || typeof stat !== "function") return false;
  type Identity = { dev: number; ino: number } | null | undefined; // of a Blob in memory there is none
  const stats = (await (async () => stat.call(data))().catch(() => null)) as Identity;
  if (typeof stats?.ino !== "number") return false;
  const own = (await currentBackend()
    .stat(target, false)
    .catch(() => null)) as Identity;
  return own != null && own.dev === stats.dev && own.ino === stats.ino;
}
