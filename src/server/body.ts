// The body of an answer with a file: from memory, from the page cache in the request's own turn, by Bun's sendfile, or read
// through the ring, whichever never holds the JavaScript thread. What shrinks or changes while it is sent breaks the
// answer, never mixes two versions.
// Assumes an open regular file that was looked at in this turn.

import type { Backend } from "../backend/interface.ts";
import { addressOf } from "../kernel/shim.ts";
import { codedError } from "../node/arguments.ts";
import type { Entry } from "./entry.ts";
import type { FileCache } from "./file-cache.ts";
import { hold, lend, mayLend, release } from "./table.ts";

const KIB = 1024;
const MIB = KIB * KIB;
/** Files below `SENDFILE_BYTES` that are asked for often are kept in memory: one copy for all who are sent it. */
const KEEP_AFTER_HITS = 3;
/** From here on Bun sends a file by sendfile(2). */
export const SENDFILE_BYTES: number = MIB;
/** What must be cached at the front of a file for Bun to send it from there. */
const WINDOW_BYTES = 4 * MIB;
const PAGE_BYTES = 4096;
/** A local file that is not cached is read ahead up to this length; one that is longer is streamed. */
const WARM_BYTES = 64 * MIB;
/** How much of it is read before the answer begins, and how much at a time. */
const WARM_FIRST_BYTES = WINDOW_BYTES;
const WARM_AT_ONCE = 4;
/** Chunks under way for all answers together. */
const WARM_BUFFERS = 16;
/** Chunks of all streamed answers together, and of one. */
const STREAMS_BYTES = 64 * MIB;
const [MIN_CHUNK, MAX_CHUNK] = [64 * KIB, 256 * KIB]; // new memory for 1 MiB costs twice as much a byte
const STREAM_AHEAD = 4;

/** One for all requests of the thread: `new Response(view)` copies at once. */
let scratch: Uint8Array<ArrayBuffer> | null = null;
let scratchAddress = 0;
let streams = 0;
/** Files that are read ahead just now. */
const warming = new Map<Entry, { start: number; end: number; done: Promise<void> }>();
let buffers = 0;
const spare: Uint8Array<ArrayBuffer>[] = [];
const waiting: (() => void)[] = [];
/** Streams that nobody has read to their end, or cancelled: their client was gone before the answer. */
const abandoned = new FinalizationRegistry<() => void>((finish) => finish());

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
    if (entry.hits >= KEEP_AFTER_HITS) {
      const kept = entry.keepBody(scratch!.subarray(0, cached));
      if (kept !== null) return length === cached ? kept : kept.slice(start, end);
    }
    return scratch!.subarray(start, end);
  }
  if (length < SENDFILE_BYTES) {
    const { version } = entry;
    // The look may be of the turn's beginning: what was read is of that version only if it still is.
    if (cache.readNow(entry, scratchMemory(), length, start) !== length) return null;
    return cache.isStill(entry, version, false) === true ? scratch!.subarray(0, length) : null;
  }
  if (!entry.local || !mayLend(entry)) return null;
  const window = Math.min(length, WINDOW_BYTES);
  const pages = Math.ceil((start + window) / PAGE_BYTES) - Math.floor(start / PAGE_BYTES);
  if (!cache.isCached(entry, start, window, pages)) return null;
  return fileBody(entry, start, end); // whoever answers with it lends the descriptor at once
}

/** Bun's own way to send a file, by a path that leads to the open descriptor and nowhere else while that is lent. */
function fileBody(entry: Entry, start: number, end: number): Blob {
  const file = Bun.file(`/proc/self/fd/${entry.file!.fd}`);
  return start === 0 && end === entry.size ? file : file.slice(start, end);
}

/** The same through the ring, when it comes. Rejects with ERR_FILE_CHANGED if it is not of the version that was seen. */
export async function bodyLater(
  cache: FileCache,
  backend: Backend,
  entry: Entry,
  start: number,
  end: number,
): Promise<Body> {
  const { version } = entry;
  const length = end - start;
  if (length >= SENDFILE_BYTES && (!entry.local || length > WARM_BYTES || !mayLend(entry)))
    return streamOf(cache, backend, entry, start, end);
  hold(entry);
  let rest: Promise<void> | null = null;
  try {
    if (length < SENDFILE_BYTES) {
      const bytes = await readAll(backend, entry, start, length);
      if (!(await cache.isStill(entry, version, true))) throw changed(entry.name);
      return bytes;
    }
    const first = Math.min(end, start + WARM_FIRST_BYTES);
    await warm(backend, entry, start, first);
    if (!(await cache.isStill(entry, version, true))) throw changed(entry.name);
    if (first < end) rest = warm(backend, entry, first, end);
    const body = fileBody(entry, start, end);
    lend(entry, body);
    return body;
  } finally {
    const done = (): void => release(entry);
    if (rest === null) done();
    else rest.then(done, done); // whoever sends it meets the same error
  }
}

async function readAll(
  backend: Backend,
  entry: Entry,
  start: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await backend.read(entry.file!, bytes, done, length - done, start + done);
    if (bytesRead === 0) throw changed(entry.name);
    done += bytesRead;
  }
  return bytes;
}

/** Reads a range into the page cache, a few chunks at a time; once for all who ask for the same. */
function warm(backend: Backend, entry: Entry, start: number, end: number): Promise<void> {
  const known = warming.get(entry);
  if (known !== undefined && known.start <= start && known.end >= end) return known.done;
  const done = readAhead(backend, entry, start, end).finally(() => {
    if (warming.get(entry)?.done === done) warming.delete(entry);
  });
  warming.set(entry, { start, end, done });
  return done;
}

async function readAhead(backend: Backend, entry: Entry, start: number, end: number): Promise<void> {
  let next = start;
  const chunks = async (): Promise<void> => {
    while (next < end) {
      if (buffers === WARM_BUFFERS) await new Promise<void>((resolve) => waiting.push(resolve));
      else buffers++;
      const memory = spare.pop() ?? new Uint8Array(MIB);
      try {
        const at = next;
        next += MIB;
        if (at >= end) return;
        const { bytesRead } = await backend.read(entry.file!, memory, 0, Math.min(MIB, end - at), at);
        if (bytesRead === 0) return;
      } finally {
        if (spare.length < WARM_AT_ONCE) spare.push(memory);
        const other = waiting.shift();
        if (other === undefined) buffers--;
        else other();
      }
    }
  };
  await Promise.all(Array.from({ length: WARM_AT_ONCE }, chunks));
}

/**
 * A stream that reads a few chunks ahead of its consumer; all streams together hold a bounded amount of memory. Not a direct one,
 * which costs half: whoever takes such a body by a reader, as node:http does, is given all of it at once, however slow he is.
 */
function streamOf(cache: FileCache, backend: Backend, entry: Entry, start: number, end: number): ReadableStream {
  const { version } = entry;
  let next = start;
  let ended = false;
  const ahead: Promise<Uint8Array<ArrayBuffer>>[] = [];
  streams++;
  hold(entry);
  const finish = (): void => {
    if (ended) return;
    ended = true;
    streams--;
    // What is being read still needs the file.
    Promise.allSettled(ahead).then(() => release(entry));
  };
  const check = async (thoroughly: boolean): Promise<void> => {
    if (!(await cache.isStill(entry, version, thoroughly))) throw changed(entry.name);
  };
  const readAhead = (): void => {
    const room = Math.min(MAX_CHUNK, Math.max(MIN_CHUNK, STREAMS_BYTES / streams / STREAM_AHEAD));
    while (ahead.length < STREAM_AHEAD && next < end) {
      const length = Math.min(end - next, Math.floor(room / PAGE_BYTES) * PAGE_BYTES);
      const reading = readAll(backend, entry, next, length);
      reading.catch(() => {}); // told when its turn comes
      ahead.push(reading);
      next += length;
    }
  };
  const pull = async (controller: ReadableStreamDefaultController): Promise<void> => {
    try {
      readAhead();
      const chunk = await ahead[0]!;
      ahead.shift();
      const isLast = ahead.length === 0 && next === end;
      await check(isLast);
      if (ended) return;
      readAhead();
      controller.enqueue(chunk);
      if (!isLast) return;
      controller.close();
    } catch (error) {
      if (!ended) controller.error(error);
    }
    finish();
  };
  const stream = new ReadableStream({ pull, cancel: finish }, { highWaterMark: 0 });
  abandoned.register(stream, finish);
  return stream;
}
