// Reading an open file to its end and writing all of some bytes, over any backend: the loops around partial transfers.
// Assumes that nobody else uses the file's own position meanwhile; whoever calls has to see to that.

import { constants } from "../kernel/constants.ts";
import { throwIfAborted, type Written } from "../node/abort.ts";
import { dataTaken } from "../node/arguments.ts";
import { setImmediate } from "../node/clock.ts";
import { errnoOf, systemError } from "../node/errors.ts";
import { ABORTABLE_CHUNK_BYTES, fileTooLarge, MAX_FILE_BYTES } from "../node/limits.ts";
import { done, inSteps, type Steps } from "../node/steps.ts";
import { totalLength } from "../node/views.ts";
import type { Backend, OpenFile } from "./interface.ts";

type Signal = AbortSignal | null | undefined;

/** Milliseconds of work in one go after which the event loop gets its turn. */
export const SLICE_MS = 1;
/** Lets the event loop have its turn. */
export const pause = (): Promise<void> => new Promise((resume) => void setImmediate(resume));

/** A position as a number: beyond 2^53 lies the end of every file, and its limit for writes. */
export function asNumber(position: number | bigint): number {
  if (typeof position === "number") return position;
  return position > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : Number(position);
}

/** What `act` makes of a file, which is closed then, whatever comes of it. */
export async function withFile<T>(
  backend: Backend,
  opening: Promise<OpenFile>,
  act: (file: OpenFile) => Promise<T>,
): Promise<T> {
  const file = await opening;
  try {
    return await act(file);
  } finally {
    await backend.close(file);
  }
}

/** What `act` makes of a file, which is closed if that fails. */
export async function orClose<T>(backend: Backend, file: OpenFile, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    await backend.close(file).catch(() => {});
    throw error;
  }
}

/** Most files end within this. */
const FIRST_BYTES = 16 * 1024;
/** Further chunks of what doesn't know its size: pipes, /proc, devices. */
const CHUNK_BYTES = 256 * 1024;

/**
 * The bytes from the file's own position to its end. Looks at the size only when more than a first chunk is there.
 * Rejects with ERR_FS_FILE_TOO_LARGE beyond 2 GiB - 1, and with an AbortError between two reads.
 */
export async function readToEnd(backend: Backend, file: OpenFile, signal?: Signal): Promise<Buffer> {
  const full: Buffer[] = [];
  let total = 0;
  let chunk = Buffer.allocUnsafe(FIRST_BYTES);
  for (;;) {
    const filled = await fill(backend, file, chunk, signal);
    total += filled;
    if (total > MAX_FILE_BYTES) throw fileTooLarge(total);
    if (filled < chunk.byteLength) return joined(full, chunk.subarray(0, filled), total);
    full.push(chunk);
    chunk = Buffer.allocUnsafeSlow(full.length === 1 ? await restOf(backend, file, total) : CHUNK_BYTES);
    throwIfAborted(signal);
  }
}

/** Reads until `into` is full or the file ends. A short read is no end: pipes and /proc give what they have. */
export async function fill(backend: Backend, file: OpenFile, into: Buffer, signal: Signal): Promise<number> {
  const { byteLength } = into; // what was taken away meanwhile is for the backend to say
  let filled = 0;
  while (filled < byteLength) {
    throwIfAborted(signal);
    const rest = byteLength - filled;
    const length = signal ? Math.min(rest, ABORTABLE_CHUNK_BYTES) : rest;
    const { bytesRead } = await backend.read(file, into, filled, length, -1);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

/** Bytes to make room for after the first chunk: one more than a regular file has, so that its end is seen in the same chunk. */
async function restOf(backend: Backend, file: OpenFile, read: number): Promise<number> {
  const stats = await backend.fstat(file, false);
  if (!stats.isFile()) return CHUNK_BYTES;
  const size = Number(stats.size);
  if (size > MAX_FILE_BYTES) throw fileTooLarge(size);
  return size > read ? size - read + 1 : CHUNK_BYTES;
}

function joined(full: Buffer[], last: Buffer, total: number): Buffer {
  if (full.length > 0) return Buffer.concat([...full, last], total);
  // A result that fills little of its memory would keep the rest of it from being freed.
  return total > FIRST_BYTES / 2 ? last : Buffer.from(last);
}

/** Closes a file when the work on it has ended; if both fail it is the work's error that is told. */
export async function closeAfter<T>(work: Promise<T>, close: () => Promise<void>): Promise<T> {
  try {
    await work;
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
  await close();
  return work;
}

const { O_TRUNC, O_APPEND, O_EXCL, O_CREAT, O_WRONLY, O_RDWR } = constants;

/**
 * Whether a file that `flags` empty is better written first and cut to its new length then: ext4 takes O_TRUNC for the
 * replacing of a file and flushes the new data at the close (auto_da_alloc: 230-400 µs against 10). Whatever fails on the
 * way, it is to be cut to what has been written. What is empty is cut at once.
 */
export function truncatesLate(flags: number, length: number): boolean {
  return (
    length > 0 &&
    (flags & (O_TRUNC | O_APPEND)) === O_TRUNC &&
    (flags & (O_EXCL | O_CREAT)) !== (O_EXCL | O_CREAT) &&
    (flags & (O_WRONLY | O_RDWR)) !== 0
  );
}

/** Writes all of `bytes`, counting them: at the file's own position, or from one on. Rejects with an AbortError between two writes. */
export function writeAll(
  backend: Backend,
  file: OpenFile,
  bytes: Uint8Array,
  signal?: Signal,
  progress: Written = { bytesWritten: 0 },
  position?: number,
): Promise<void> {
  return inSteps(writingAll(backend, file, bytes, signal, progress, position));
}

/** `writeAll` as steps of more. */
export function* writingAll(
  backend: Backend,
  file: OpenFile,
  bytes: Uint8Array,
  signal: Signal,
  progress: Written,
  position: number = -1,
): Steps<void> {
  const { byteLength } = bytes;
  for (let at = 0; at < byteLength; ) {
    throwIfAborted(signal);
    if (bytes.byteLength !== byteLength) throw dataTaken(); // else what is left of it would be no error
    const rest = byteLength - at;
    const length = signal ? Math.min(rest, ABORTABLE_CHUNK_BYTES) : rest;
    const { bytesWritten } = yield* done(backend.write(file, bytes, at, length, position < 0 ? -1 : position + at));
    if (bytesWritten === 0) throw systemError(errnoOf("ENOSPC"), "write"); // what takes nothing and says nothing never will
    at += bytesWritten;
    progress.bytesWritten += bytesWritten;
  }
}

/** `Backend.writeSynced` in plain steps; `sync` may be one that others share. */
export function writeThenSync(
  backend: Backend,
  file: OpenFile,
  buffers: readonly Uint8Array[],
  position: number,
  progress: Written,
  sync: () => Promise<void> = () => backend.fdatasync(file),
): Promise<void> {
  return inSteps(function* (): Steps<void> {
    const start = progress.bytesWritten;
    const lengths = buffers.map(({ byteLength }) => byteLength);
    let ahead = 0;
    if (buffers.length > 1) {
      // As far as one call reaches: others who write at the file's own position don't come in between.
      const { bytesWritten } = yield* done(backend.writev(file, buffers.slice(0, MAX_VECTOR), position));
      progress.bytesWritten += bytesWritten;
      ahead = bytesWritten;
      if (buffers.some(({ byteLength }, i) => byteLength !== lengths[i])) throw dataTaken();
    }
    for (const [i, bytes] of buffers.entries()) {
      const first = Math.min(ahead, lengths[i]!);
      ahead -= first;
      if (bytes.byteLength !== lengths[i]) throw dataTaken();
      const at = position < 0 ? -1 : position + progress.bytesWritten - start;
      yield* writingAll(backend, file, bytes.subarray(first), null, progress, at);
    }
    yield* done(sync());
  });
}

/** IOV_MAX of Linux: the kernel refuses a longer vector. */
export const MAX_VECTOR = 1024;

/** Writes all of `buffers`, as many at a time as the kernel takes; a short write ends it. Resolves to the bytes written. */
export function writeLongVector(
  backend: Backend,
  file: OpenFile,
  buffers: readonly NodeJS.ArrayBufferView[],
  position: number,
): Promise<number> {
  return inSteps(function* (): Steps<number> {
    let written = 0;
    for (let i = 0; i < buffers.length; i += MAX_VECTOR) {
      const part = buffers.slice(i, i + MAX_VECTOR);
      const at = position < 0 ? position : position + written;
      const { bytesWritten } = yield* done(backend.writev(file, part, at));
      written += bytesWritten;
      if (bytesWritten < totalLength(part)) break;
    }
    return written;
  });
}
