// The body of an answer with a file: from memory, from the page cache in the request's own turn, by Bun's sendfile, or read
// through the ring, whichever never holds the JavaScript thread. What shrinks or changes while it is sent breaks the
// answer, never mixes two versions.
// Assumes an open regular file that was looked at in this turn.

import type { Backend } from "../backend/interface.ts";
import { addressOf } from "../kernel/shim.ts";
import { codedError } from "../node/arguments.ts";
import type { Entry, FileCache } from "./file-cache.ts";

const KIB = 1024;
const MIB = KIB * KIB;
/** Files up to this many bytes that are asked for often are kept in memory. */
const KEEP_BYTES = 64 * KIB;
const KEEP_AFTER_HITS = 3;
/** From here on Bun sends a file by sendfile(2). */
export const SENDFILE_BYTES: number = MIB;
/** What must be cached at the front of a file for Bun to send it from there. */
const WINDOW_BYTES = 4 * MIB;
const PAGE_BYTES = 4096;
/** A local file that is not cached is read ahead up to this length; one that is longer is streamed. */
const WARM_BYTES = 64 * MIB;
/** How much of it is read before the answer begins, and how much at a time. */
const WARM_FIRST_BYTES = 8 * MIB;
const WARM_AT_ONCE = 4;
/** Chunks of all streamed answers together, and of one. */
const STREAMS_BYTES = 64 * MIB;
const [MIN_CHUNK, MAX_CHUNK] = [64 * KIB, MIB];

/** One for all requests of the thread: `new Response(view)` copies at once. */
let scratch: Uint8Array<ArrayBuffer> | null = null;
let scratchAddress = 0;
let streams = 0;

/** Address of the scratch memory, for `FileCache.look`. */
export function scratchMemory(): number {
  if (scratch === null) {
    scratch = new Uint8Array(MIB);
    void scratch.buffer;
    scratchAddress = addressOf(scratch);
  }
  return scratchAddress;
}

/** What `new Response` takes. */
export type Body = Blob | Uint8Array<ArrayBuffer> | ReadableStream | null;

/** A file became shorter, or another version, while it was read. */
export const changed = (name: string): Error & { code: string } =>
  codedError(Error, "ERR_FILE_CHANGED", `${name} changed while it was sent`);

/**
 * The bytes from `start` to `end`, now: `cached` is what `FileCache.look` said of the whole file, whose bytes are in the
 * scratch memory then. Null where it would have to be waited for.
 */
export function bodyNow(cache: FileCache, entry: Entry, start: number, end: number, cached: number): Body | null {
  const length = end - start;
  if (length === 0) return null;
  if (entry.body !== null) return length === entry.size ? entry.body : entry.body.slice(start, end);
  if (cached === entry.size) {
    if (cached <= KEEP_BYTES && entry.hits >= KEEP_AFTER_HITS) {
      const kept = cache.keep(entry, scratch!.subarray(0, cached));
      if (kept !== null) return length === cached ? kept : kept.slice(start, end);
    }
    return scratch!.subarray(start, end);
  }
  if (length < SENDFILE_BYTES) {
    return cache.readNow(entry, scratchMemory(), length, start) === length ? scratch!.subarray(0, length) : null;
  }
  if (!entry.local) return null;
  const window = Math.min(length, WINDOW_BYTES);
  const pages = Math.ceil((start + window) / PAGE_BYTES) - Math.floor(start / PAGE_BYTES);
  return cache.cachedPages(entry, start, window) >= pages ? fileBody(entry, start, end) : null;
}

/** Bun's own way to send a file, by a path that leads to the open descriptor and nowhere else. */
function fileBody(entry: Entry, start: number, end: number): Blob {
  const file = Bun.file(`/proc/self/fd/${entry.file!.fd}`);
  return start === 0 && end === entry.size ? file : file.slice(start, end);
}

/** The same through the ring, when it comes. The entry is held meanwhile. */
export async function bodyLater(
  cache: FileCache,
  backend: Backend,
  entry: Entry,
  start: number,
  end: number,
): Promise<Body> {
  const length = end - start;
  if (length === 0) return null;
  if (length < SENDFILE_BYTES) {
    cache.hold(entry);
    try {
      return await readAll(cache, backend, entry, start, length);
    } finally {
      cache.release(entry);
    }
  }
  if (!entry.local || length > WARM_BYTES) return streamOf(cache, backend, entry, start, end);
  const first = Math.min(end, start + WARM_FIRST_BYTES);
  cache.hold(entry);
  try {
    await warm(backend, entry, start, first);
  } finally {
    if (first < end)
      warm(backend, entry, first, end).then(
        () => cache.release(entry),
        () => cache.release(entry), // whoever sends it meets the same error
      );
    else cache.release(entry);
  }
  return fileBody(entry, start, end);
}

async function readAll(
  cache: FileCache,
  backend: Backend,
  entry: Entry,
  start: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const { version } = entry;
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await backend.read(entry.file!, bytes, done, length - done, start + done);
    if (bytesRead === 0) throw changed(entry.name);
    done += bytesRead;
  }
  cache.look(entry, 0, 0);
  if (entry.version !== version) throw changed(entry.name);
  return bytes;
}

/** Reads a range into the page cache, a few chunks at a time. */
async function warm(backend: Backend, entry: Entry, start: number, end: number): Promise<void> {
  let next = start;
  const chunks = async (): Promise<void> => {
    const memory = new Uint8Array(MIB);
    while (next < end) {
      const at = next;
      next += MIB;
      const { bytesRead } = await backend.read(entry.file!, memory, 0, Math.min(MIB, end - at), at);
      if (bytesRead === 0) return;
    }
  };
  await Promise.all(Array.from({ length: WARM_AT_ONCE }, chunks));
}

/** A stream that reads when its consumer asks, one chunk ahead; all streams together hold a bounded amount of memory. */
function streamOf(cache: FileCache, backend: Backend, entry: Entry, start: number, end: number): ReadableStream {
  const { version } = entry;
  let at = start;
  let ended = false;
  let ahead: Promise<Uint8Array<ArrayBuffer> | Error> | null = null;
  streams++;
  cache.hold(entry);
  const finish = (): void => {
    if (ended) return;
    ended = true;
    streams--;
    // What is being read still needs the file.
    Promise.resolve(ahead).then(() => cache.release(entry));
  };
  const read = async (): Promise<Uint8Array<ArrayBuffer> | Error> => {
    const room = Math.min(MAX_CHUNK, Math.max(MIN_CHUNK, STREAMS_BYTES / streams / 2));
    const length = Math.min(end - at, Math.floor(room / PAGE_BYTES) * PAGE_BYTES);
    try {
      const chunk = new Uint8Array(length);
      const { bytesRead } = await backend.read(entry.file!, chunk, 0, length, at);
      cache.look(entry, 0, 0);
      if (bytesRead === 0 || entry.version !== version) return changed(entry.name);
      at += bytesRead;
      return chunk.subarray(0, bytesRead);
    } catch (error) {
      return error as Error;
    }
  };
  return new ReadableStream(
    {
      async pull(controller) {
        const chunk = await (ahead ?? read());
        ahead = null;
        if (ended) return;
        if (chunk instanceof Error) {
          finish();
          controller.error(chunk);
          return;
        }
        if (at < end) ahead = read();
        controller.enqueue(chunk);
        if (ahead === null) {
          finish();
          controller.close();
        }
      },
      cancel: finish,
    },
    { highWaterMark: 0 },
  );
}
