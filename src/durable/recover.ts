// Opening a log's current segment: its lock, its header, and what a crash has left at its end. What recovery cuts is cut on the
// device before anything new is appended.
// Never cuts what was acknowledged: where a later group stands behind the damage, it refuses.

import { constants, readFileSync, type Stats } from "node:fs";
import { bypassCache } from "../backend/choose.ts";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { lockFile } from "../handle/lock.ts";
import { codedError } from "../node/arguments.ts";
import { clockMs, setTimeout } from "../node/clock.ts";
import { syncFolderOf } from "./directory-sync.ts";
import { SEGMENT_HEADER_BYTES, type SegmentStart, segmentHeader } from "./frames.ts";
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
  /** Of the file up to `position`. */
  crc: number;
}

/**
 * For how long the lock of a process that was killed is waited for: the kernel ends a ring's operations, and lets go of their
 * files, in the background.
 */
const DEAD_HOLDER_MS = 10_000;
const NEWLINE = 0x0a;
const LOOK_BACK_BYTES = 64 * 1024;

/** Opens the segment at the log's path, or makes one that begins at `next`. */
export async function openSegment(backend: Backend, options: Checked, next: SegmentStart): Promise<Opened> {
  const { O_APPEND, O_CREAT, O_RDWR } = constants;
  // Several writers' worth of bytes in one place is what the lock is against; lines are appended all the same, so that a
  // file that is cut or rotated from outside stays a file of lines.
  const flags = O_RDWR | O_CREAT | (options.framing === "records" ? 0 : O_APPEND);
  const file = await backend.open(options.path, flags, options.mode);
  if (options.bypass) bypassCache(file);
  try {
    await takeLock(backend, file, options.path);
    const size = ((await backend.fstat(file, false)) as Stats).size;
    const opened =
      options.framing === "records"
        ? await openRecords(backend, file, options, next, size)
        : await openBytes(backend, file, options, next, size);
    if (size === 0 && options.durability === "full") await syncFolderOf(options.path);
    return opened;
  } catch (error) {
    await backend.close(file);
    throw error;
  }
}

async function takeLock(backend: Backend, file: OpenFile, path: string): Promise<void> {
  const until = clockMs() + DEAD_HOLDER_MS;
  for (;;) {
    try {
      await lockFile(backend, file, { wait: false }, path);
      return;
    } catch (error) {
      const { code, holder } = error as { code?: string; holder?: number | null };
      // Without the native library there are no locks; a log can be written all the same.
      if (code === "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM") return;
      if (code !== "ERR_LOCKED" || isAlive(holder ?? null) || clockMs() > until) throw error;
    }
    await new Promise<void>((resolve) => void setTimeout(resolve, 5));
  }
}

/** Whether a process runs; one that has ended and not been waited for does not. Unknown: it may. */
function isAlive(pid: number | null): boolean {
  if (pid === null) return true;
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
  next: SegmentStart,
  size: number,
): Promise<Opened> {
  const window = Window.of(backend, file);
  const scan = newScan();
  for await (const _ of framesOf(window, scan));
  // Before its header was whole nothing can have been acknowledged; else it is somebody else's file.
  if (scan.start === null) {
    const { torn } = await tailOf(window, { ...scan, end: 0 });
    if (torn > SEGMENT_HEADER_BYTES)
      throw codedError(Error, "ERR_LOG_FORMAT", `${options.path} is not a log of records`);
    return beginSegment(backend, file, options, next);
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
  await cut(backend, file, options, scan.end, size);
  const base = scan.start.base - SEGMENT_HEADER_BYTES;
  return {
    file,
    recovered: { records: scan.records, bytes: scan.end - SEGMENT_HEADER_BYTES, cutBytes: tail.torn },
    position: scan.end,
    base,
    sequence: scan.sequence,
    crc: scan.crc,
  };
}

async function beginSegment(backend: Backend, file: OpenFile, options: Checked, next: SegmentStart): Promise<Opened> {
  const header = segmentHeader(next);
  await backend.ftruncate(file, 0);
  if (options.durability === "none") await backend.write(file, header, 0, header.length, 0);
  else await backend.writeSynced(file, [header], 0, { bytes: 0 });
  return {
    file,
    recovered: { records: 0, bytes: 0, cutBytes: 0 },
    position: SEGMENT_HEADER_BYTES,
    base: next.base - SEGMENT_HEADER_BYTES,
    sequence: next.sequence,
    crc: Bun.hash.crc32(header) as number,
  };
}

/** Lines are whole up to the last newline; of raw bytes nothing can be said. */
async function openBytes(
  backend: Backend,
  file: OpenFile,
  options: Checked,
  next: SegmentStart,
  size: number,
): Promise<Opened> {
  const end = options.framing === "lines" ? await endOfLines(backend, file, size) : size;
  const cutBytes = size - end;
  if (cutBytes > 0 && options.recover === "error")
    throw codedError(Error, "ERR_LOG_TORN", `${options.path} ends in a torn line of ${cutBytes} bytes`);
  await cut(backend, file, options, end, size);
  return { file, recovered: { records: 0, bytes: end, cutBytes }, position: end, base: next.base, sequence: 1, crc: 0 };
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

/** On the device, before anything is appended in its place. */
async function cut(backend: Backend, file: OpenFile, options: Checked, end: number, size: number): Promise<void> {
  if (size === end) return;
  await backend.ftruncate(file, end);
  if (options.durability !== "none") await backend.fsync(file);
}
