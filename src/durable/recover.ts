// Opening a log's current segment: its lock, its header, and what a crash has left at its end. What recovery cuts is cut on the
// device before anything new is appended.
// Never cuts what was acknowledged: where a later group stands behind the damage, it refuses.

import { constants, readFileSync, type Stats } from "node:fs";
import { bypassCache } from "../backend/choose.ts";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { orClose } from "../backend/loops.ts";
import { lockFile } from "../handle/lock.ts";
import { sleep } from "../node/abort.ts";
import { codedError } from "../node/arguments.ts";
import { clockMs } from "../node/clock.ts";
import { syncFolderOf } from "./directory-sync.ts";
import { SEGMENT_HEADER_BYTES, type SegmentStart, segmentHeader } from "./frames.ts";
import { NEWLINE } from "./group.ts";
import type { Checked } from "./log-options.ts";
import { framesOf, newScan, tailOf, Window } from "./scan.ts";

/** What was found at opening. */
export interface Recovered {
  /** Whole records ("records" only) and bytes of them that were there. */
  records: number;
  bytes: number;
  /** Bytes of a torn end that were cut off. */
  cutBytes: number;
}

export interface Opened {
  file: OpenFile;
  recovered: Recovered;
  /** Where the next group goes: the position in the file, and the offset in the log of the file's beginning. */
  position: number;
  base: number;
  /** Sequence number of the next record. */
  sequence: number;
  /** What the checksums of its records begin with. */
  salt: number;
}

/**
 * For how long the lock of a process that was killed is waited for: the kernel ends a ring's operations, and lets go of their
 * files, in the background.
 */
const DEAD_HOLDER_MS = 10_000;
/** Tries for a lock whose holder is not known, 5 ms apart. */
const UNKNOWN_TRIES = 20;
const LOOK_BACK_BYTES = 64 * 1024;

const { O_APPEND, O_CREAT, O_EXCL, O_RDWR } = constants;
// The lock is against several writers' bytes in one place; lines are appended all the same, so that a file that is cut or
// rotated from outside stays a file of lines.
const flagsFor = ({ framing }: Checked): number => O_RDWR | (framing === "records" ? 0 : O_APPEND);

/** A file and what it is: two opens of one path may be two files. */
interface Held {
  file: OpenFile;
  stats: Stats;
}

/** Opens the file at a log's path, makes it if it is not there, and locks it. */
export async function holdLog(backend: Backend, options: Checked): Promise<Held> {
  for (;;) {
    const file = await backend.open(options.path, flagsFor(options) | O_CREAT, options.mode);
    if (options.bypass) bypassCache(file);
    const held = await orClose(backend, file, async () => {
      await acquireLock(backend, file, options.path);
      const stats = (await backend.fstat(file, false)) as Stats;
      return isSame(stats, await whatIsAt(backend, options.path)) ? { file, stats } : null;
    });
    if (held !== null) return held;
    await backend.close(file); // ended by its writer while it was being opened: the log goes on in another file
  }
}

export const isSame = (a: Stats, b: Stats | null): boolean => b !== null && a.ino === b.ino && a.dev === b.dev;

/** What a path leads to; null for nothing. */
export const whatIsAt = (backend: Backend, path: string): Promise<Stats | null> =>
  unlessMissing(backend.stat(path, false) as Promise<Stats>);

export function unlessMissing<T>(looking: Promise<T>): Promise<T | null> {
  return looking.catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    return null;
  });
}

/**
 * Recovers a file that is held, or begins it where `next` says. What is found is on the device when it resolves, and with "full"
 * so is the file's name: whoever died here may have left both to the page cache.
 */
export function openSegment(
  backend: Backend,
  options: Checked,
  { file, stats }: Held,
  next: () => Promise<SegmentStart>,
): Promise<Opened> {
  return orClose(backend, file, async () => {
    const opened =
      options.framing === "records"
        ? await openRecords(backend, file, options, next, stats.size)
        : await openBytes(backend, file, options, stats.size);
    if (stats.size > 0 && options.durability !== "none") await backend.fsync(file);
    if (options.durability === "full") await syncFolderOf(options.path);
    return opened;
  });
}

/**
 * A new segment that begins at `next`, under a name of its own, locked: to take the log's path from the one before it. Where it
 * fails the name may be there.
 */
export async function prepareSegment(
  backend: Backend,
  options: Checked,
  path: string,
  next: SegmentStart,
): Promise<Opened> {
  const file = await backend.open(path, flagsFor(options) | O_CREAT | O_EXCL, options.mode);
  if (options.bypass) bypassCache(file);
  return orClose(backend, file, async () => {
    await acquireLock(backend, file, path);
    return options.framing === "records"
      ? beginSegment(backend, file, options, next)
      : openBytes(backend, file, options, 0);
  });
}

async function acquireLock(backend: Backend, file: OpenFile, path: string): Promise<void> {
  const until = clockMs() + DEAD_HOLDER_MS;
  for (let unknown = 0; ; ) {
    try {
      await lockFile(backend, file, { wait: false }, path);
      return;
    } catch (error) {
      const { code, holder } = error as { code?: string; holder?: number | null };
      // Without the native library there are no locks; a log can be written all the same.
      if (code === "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM") return;
      if (code !== "ERR_LOCKED" || clockMs() > until) throw error;
      // One that nobody is seen to have was let go in between; or its holder can't be seen from here.
      if (typeof holder === "number" ? isAlive(holder) : ++unknown > UNKNOWN_TRIES) throw error;
    }
    await sleep(5);
  }
}

/** Whether a process runs; one that has ended and not been waited for does not. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

async function openRecords(
  backend: Backend,
  file: OpenFile,
  options: Checked,
  next: () => Promise<SegmentStart>,
  size: number,
): Promise<Opened> {
  const window = new Window(async (into, at) => (await backend.read(file, into, 0, into.length, at)).bytesRead);
  const scan = newScan();
  for await (const _ of framesOf(window, scan));
  // Before its header was whole nothing can have been acknowledged; else it is somebody else's file.
  if (scan.start === null) {
    const { torn } = await tailOf(window, { ...scan, end: 0 });
    if (torn > SEGMENT_HEADER_BYTES)
      throw codedError(Error, "ERR_LOG_FORMAT", `${options.path} is not a log of records`);
    return beginSegment(backend, file, options, await next());
  }
  const tail = await tailOf(window, scan);
  if (tail.damaged)
    throw codedError(
      Error,
      "ERR_LOG_DAMAGED",
      `${options.path} is damaged at ${scan.end}, before records that are whole`,
    );
  if (tail.torn > 0 && options.recover === "error")
    throw codedError(Error, "ERR_LOG_TORN", `${options.path} ends in ${tail.torn} torn bytes at ${scan.end}`);
  if (size > scan.end) await backend.ftruncate(file, scan.end);
  const base = scan.start.base - SEGMENT_HEADER_BYTES;
  return {
    file,
    recovered: { records: scan.records, bytes: scan.end - SEGMENT_HEADER_BYTES, cutBytes: tail.torn },
    position: scan.end,
    base,
    sequence: scan.sequence,
    salt: scan.start.salt,
  };
}

async function beginSegment(backend: Backend, file: OpenFile, options: Checked, next: SegmentStart): Promise<Opened> {
  const header = segmentHeader(next);
  await backend.ftruncate(file, 0);
  if (options.durability === "none") await backend.write(file, header, 0, header.length, 0);
  else await backend.writeSynced(file, [header], 0, { bytesWritten: 0 });
  return {
    file,
    recovered: { records: 0, bytes: 0, cutBytes: 0 },
    position: SEGMENT_HEADER_BYTES,
    base: next.base - SEGMENT_HEADER_BYTES,
    sequence: next.sequence,
    salt: next.salt,
  };
}

/** Lines are whole up to the last newline; of raw bytes nothing can be said. Offsets are those in the file. */
async function openBytes(backend: Backend, file: OpenFile, options: Checked, size: number): Promise<Opened> {
  const end = options.framing === "lines" ? await endOfLines(backend, file, size) : size;
  const cutBytes = size - end;
  if (cutBytes > 0 && options.recover === "error")
    throw codedError(Error, "ERR_LOG_TORN", `${options.path} ends in a torn line of ${cutBytes} bytes`);
  if (cutBytes > 0) await backend.ftruncate(file, end);
  return { file, recovered: { records: 0, bytes: end, cutBytes }, position: end, base: 0, sequence: 1, salt: 0 };
}

async function endOfLines(backend: Backend, file: OpenFile, size: number): Promise<number> {
  const chunk = Buffer.allocUnsafe(LOOK_BACK_BYTES);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - chunk.length);
    const { bytesRead } = await backend.read(file, chunk, 0, end - start, start);
    const newline = chunk.subarray(0, bytesRead).lastIndexOf(NEWLINE);
    if (newline >= 0) return start + newline + 1;
    end = start;
  }
  return 0;
}
