// Reading a log of records: from an offset on, across its segments, once through or following what is appended. Bounded memory:
// one record and a window at a time.
// Assumes nothing of the writer, which may be another process and may rotate, compress and remove segments meanwhile. Takes no
// lock. Never skips over damage: a segment that has ended is whole to its last byte.

import { resolve } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import { open } from "../fs/open.ts";
import { sleep, throwIfAborted } from "../node/abort.ts";
import {
  codedError,
  validateAbortSignal,
  validateBoolean,
  validateInteger,
  validateObject,
} from "../node/arguments.ts";
import { toPath } from "../node/path.ts";
import { SEGMENT_HEADER_BYTES } from "./frames.ts";
import { isSame, unlessMissing, whatIsAt } from "./recover.ts";
import { framesOf, newScan, readStart, type Scan, tailOf, type Window } from "./scan.ts";
import { openWindow, type Segment, segmentsOf, windowOf } from "./segments.ts";

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
  const { from, signal } = options;
  return tailLog(path, { from, signal, follow: false });
}

/**
 * The records that are there, and then those that come, until the signal fires or the iteration is left. What a writer has
 * under way may be among them before its `append` has resolved.
 */
export function tailLog(path: string | URL, options: TailOptions = {}): AsyncGenerator<LogEntry> {
  const log = resolve(toPath(path).toString());
  validateObject(options, "options");
  const { from = 0, signal, follow = true } = options;
  validateInteger(from, "options.from", 0);
  validateAbortSignal(signal, "options.signal");
  validateBoolean(follow, "options.follow");
  return entriesOf(new Cursor(log, from), signal, follow);
}

async function* entriesOf(cursor: Cursor, signal: AbortSignal | undefined, follow: boolean): AsyncGenerator<LogEntry> {
  try {
    for (let look = FIRST_LOOK_MS; ; look = Math.min(look * 2, LAST_LOOK_MS)) {
      for await (const entry of cursor.entries()) {
        throwIfAborted(signal);
        look = FIRST_LOOK_MS;
        yield entry;
      }
      throwIfAborted(signal);
      if (!follow) return;
      await sleep(look, signal);
    }
  } finally {
    await cursor.close();
  }
}

/** A segment that is being read; one without a number is, or was when it was opened, the one that is written. */
interface Source {
  number: number | null;
  window: Window;
  scan: Scan;
  /** Whether the log's path leads to another file by now. */
  hasEnded(): Promise<boolean>;
  close(): Promise<void>;
}

/** Where a reader stands: it keeps its place in the file that is written, so that each look costs what has been added. */
class Cursor {
  readonly #log: string;
  /** Offset from which on records are wanted. */
  #next: number;
  #source: Source | null = null;

  constructor(log: string, from: number) {
    this.#log = log;
    this.#next = from;
  }

  /** What is there now and was not given yet. */
  async *entries(): AsyncGenerator<LogEntry> {
    let done: number | null = null;
    for (;;) {
      this.#source ??= await this.#open();
      const source = this.#source;
      if (source === null || (done !== null && source.number === done)) return;
      yield* this.#rest(source);
      if (source.number === null) {
        if (!(await source.hasEnded())) return;
        yield* this.#rest(source); // what was added before it ended
      }
      await mustBeWhole(source, this.#log);
      const { start, end } = source.scan;
      if (start !== null) this.#next = Math.max(this.#next, start.base - SEGMENT_HEADER_BYTES + end);
      done = source.number;
      await this.close();
    }
  }

  async close(): Promise<void> {
    const source = this.#source;
    this.#source = null;
    await source?.close();
  }

  async *#rest({ number, window, scan }: Source): AsyncGenerator<LogEntry> {
    if (number === null) window.rewind();
    for await (const { frame, payload } of framesOf(window, scan)) {
      const base = scan.start!.base - SEGMENT_HEADER_BYTES;
      const offset = base + frame.at;
      if (offset < this.#next) continue;
      this.#next = base + scan.end;
      yield { offset, sequence: frame.sequence, data: Buffer.from(payload) };
    }
  }

  /** The last segment that begins at or before what is wanted, else the first that is kept. Null where there is no log. */
  async #open(): Promise<Source | null> {
    for (;;) {
      // The current one first: if it ends meanwhile, it is read by this handle all the same.
      const current = await unlessMissing(openCurrent(this.#log));
      if (current !== null && (await beginsBefore(current, this.#next))) return current;
      const segments = await segmentsOf(this.#log);
      const chosen = await this.#choose(segments);
      if (segments.length === 0) return current;
      await current?.close();
      if (chosen !== null) return chosen; // else it was compressed or removed meanwhile
    }
  }

  /** Null also where one is gone by now. */
  async #choose(segments: Segment[]): Promise<Source | null> {
    let [low, high] = [0, segments.length - 1];
    let best: Source | null = null;
    while (low <= high) {
      const middle = (low + high + 1) >> 1;
      const source = await unlessMissing(openEnded(segments[middle]!));
      if (source === null) {
        await best?.close();
        return null;
      }
      if (middle > 0 && !(await beginsBefore(source, this.#next))) {
        await source.close();
        high = middle - 1;
        continue;
      }
      await best?.close();
      best = source;
      low = middle + 1;
    }
    return best;
  }
}

async function beginsBefore({ window, scan }: Source, offset: number): Promise<boolean> {
  return (scan.start !== null || (await readStart(window, scan))) && scan.start!.base <= offset;
}

async function openCurrent(log: string): Promise<Source> {
  const handle = await open(log);
  return {
    number: null,
    window: windowOf(handle),
    scan: newScan(),
    async hasEnded() {
      return !isSame(await handle.stat(), await whatIsAt(currentBackend(), log));
    },
    close: () => handle.close(),
  };
}

async function openEnded(segment: Segment): Promise<Source> {
  const { window, close } = await openWindow(segment);
  return { number: segment.number, window, scan: newScan(), hasEnded: async () => true, close };
}

/** What has ended was cut behind its last record: anything that stands there is damage. */
async function mustBeWhole({ window, scan, number }: Source, log: string): Promise<void> {
  if ((await tailOf(window, scan)).torn === 0) return;
  const what = number === null ? log : `segment ${number} of ${log}`;
  throw codedError(Error, "ERR_LOG_DAMAGED", `${what} is damaged at ${scan.end}`);
}
