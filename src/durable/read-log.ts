// Reading a log of records: from an offset on, across its segments, once through or following what is appended. Bounded memory:
// one record and a window at a time.
// Assumes nothing of the writer, which may be another process and may rotate meanwhile. Takes no lock.

import { resolve } from "node:path";
import { open } from "../fs/open.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { validateAbortSignal, validateBoolean, validateInteger, validateObject } from "../node/arguments.ts";
import { setTimeout } from "../node/clock.ts";
import { abortError } from "../node/errors.ts";
import { toPath } from "../node/path.ts";
import { SEGMENT_HEADER_BYTES } from "./frames.ts";
import { framesOf, newScan, Window } from "./scan.ts";
import { openWindow, type Segment, segmentsOf } from "./segments.ts";

/** How often a followed log is looked at, in milliseconds: as fast at first, slower while nothing comes. */
const [FIRST_LOOK_MS, LAST_LOOK_MS] = [2, 50];

/** Where `AppendLog.read` begins, and when it stops. */
export interface ReadOptions {
  /** Offset in the log from which on records are wanted (default 0, the first that is kept). */
  from?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** As for `read`; `follow` waits for what is appended later. */
export interface TailOptions extends ReadOptions {
  /** Waits for what is appended (default true). */
  follow?: boolean | undefined;
}

/** One record. */
export interface LogEntry {
  /** Its offset in the log, as `append` gave it. */
  offset: number;
  /** Counts the records, from 1 on. */
  sequence: number;
  data: Buffer;
}

/** The records that are there now. */
export function readLog(path: string | URL, options: ReadOptions = {}): AsyncGenerator<LogEntry> {
  validateObject(options, "options");
  return tailLog(path, { ...options, follow: false });
}

/** The records that are there, and then those that come, until the signal fires or the iteration is left. */
export async function* tailLog(path: string | URL, options: TailOptions = {}): AsyncGenerator<LogEntry> {
  const log = resolve(toPath(path).toString());
  validateObject(options, "options");
  const { from = 0, signal, follow = true } = options;
  validateInteger(from, "options.from", 0);
  validateAbortSignal(signal, "options.signal");
  validateBoolean(follow, "options.follow");
  let next = from;
  let look = FIRST_LOOK_MS;
  for (;;) {
    if (signal?.aborted) throw abortError(signal);
    let any = false;
    for await (const entry of entriesFrom(log, next, signal)) {
      any = true;
      next = entry.end;
      yield entry.entry;
    }
    if (!follow) return;
    look = any ? FIRST_LOOK_MS : Math.min(look * 2, LAST_LOOK_MS);
    await new Promise<void>((wake) => void setTimeout(wake, look));
  }
}

interface Placed {
  entry: LogEntry;
  /** Offset behind it. */
  end: number;
}

/** Once through all segments; a rotation meanwhile gives a segment under its new name. */
async function* entriesFrom(log: string, from: number, signal: AbortSignal | undefined): AsyncGenerator<Placed> {
  // The current one is opened first: if it is ended meanwhile, it is read by this handle all the same.
  const current = await open(log).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    return null;
  });
  try {
    let next = from;
    for (const segment of await wanted(await segmentsOf(log), from)) {
      const source = await openWindow(segment).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
        return null; // removed or compressed meanwhile: the next look finds it
      });
      if (source === null) return;
      try {
        for await (const placed of entriesOf(source.window, next, signal)) {
          next = placed.end;
          yield placed;
        }
      } finally {
        await source.close();
      }
    }
    if (current !== null) yield* entriesOf(windowOf(current), next, signal);
  } finally {
    await current?.close();
  }
}

const windowOf = (handle: FileHandle): Window =>
  new Window(async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead);

/** Leaves out the segments before the one that holds `from`, by the headers of those behind them. */
async function wanted(segments: Segment[], from: number): Promise<Segment[]> {
  let first = 0;
  for (let at = 1; at < segments.length && from > 0; at++) {
    const source = await openWindow(segments[at]!).catch(() => null);
    if (source === null) break;
    const scan = newScan();
    await framesOf(source.window, scan).next();
    await source.close();
    if (scan.start === null || scan.start.base > from) break;
    first = at;
  }
  return segments.slice(first);
}

async function* entriesOf(window: Window, from: number, signal: AbortSignal | undefined): AsyncGenerator<Placed> {
  const scan = newScan();
  for await (const { frame, payload } of framesOf(window, scan)) {
    if (signal?.aborted) throw abortError(signal);
    const base = scan.start!.base - SEGMENT_HEADER_BYTES;
    const offset = base + frame.at;
    if (offset < from) continue;
    yield {
      entry: { offset, sequence: frame.sequence, data: Buffer.from(payload) },
      end: base + scan.end,
    };
  }
}
