// The ended segments of a log: LOG.000001, LOG.000002 … (with .gz where they are compressed), which of them have been handed to
// `onSegment`, and which may be removed. What has been handed on is kept in LOG.shipped, so that a restart goes on there.
// Assumes that the log's writer holds its lock. Never removes a segment that `onSegment` has not had.

import { basename, dirname, join } from "node:path";
import type { Backend } from "../backend/interface.ts";
import { readdir } from "../fs/directory.ts";
import { open } from "../fs/open.ts";
import { readFile, thenClose } from "../fs/whole-file.ts";
import { setTimeout } from "../node/clock.ts";
import { replaceBy, writeFileAtomic } from "./atomic.ts";
import { syncFolderOf } from "./directory-sync.ts";
import { SEGMENT_HEADER_BYTES, type SegmentStart } from "./frames.ts";
import type { Checked, SegmentInfo } from "./log-options.ts";
import { framesOf, newScan, Window } from "./scan.ts";

const DIGITS = 6;
/** Pauses between two tries of `onSegment`, in milliseconds. */
const [FIRST_RETRY_MS, LAST_RETRY_MS] = [100, 30_000];

export interface Segment {
  readonly path: string;
  readonly number: number;
  readonly compressed: boolean;
}

/** The ended segments beside a log, oldest first. */
export async function segmentsOf(path: string): Promise<Segment[]> {
  const prefix = `${basename(path)}.`;
  const found: Segment[] = [];
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(prefix)) continue;
    const [, digits, gz] = /^(\d{6,})(\.gz)?$/.exec(name.slice(prefix.length)) ?? [];
    if (digits !== undefined)
      found.push({ path: join(dirname(path), name), number: Number(digits), compressed: gz !== undefined });
  }
  // A crash between compressing and removing leaves both: the plain one is whole.
  const plain = new Set(found.filter(({ compressed }) => !compressed).map(({ number }) => number));
  return found
    .filter(({ compressed, number }) => !compressed || !plain.has(number))
    .sort((a, b) => a.number - b.number);
}

export class Segments {
  readonly #backend: Backend;
  readonly #options: Checked;
  readonly #known: Segment[];
  /** Where a new current segment begins. */
  next: SegmentStart = { base: 0, sequence: 1 };
  /** Number of the last segment that `onSegment` has had. */
  #shipped = 0;
  #shipping: Promise<void> | null = null;
  #wakeShipper: (() => void) | null = null;
  #closed = false;

  private constructor(backend: Backend, options: Checked, known: Segment[]) {
    this.#backend = backend;
    this.#options = options;
    this.#known = known;
  }

  static async find(backend: Backend, options: Checked): Promise<Segments> {
    const segments = new Segments(backend, options, await segmentsOf(options.path));
    const last = segments.#known.at(-1);
    // A crash between ending a segment and beginning the next one leaves none at the log's path.
    if (last !== undefined && options.framing === "records") {
      const info = await describe(last);
      segments.next = { base: info.to, sequence: info.sequence };
    }
    segments.#shipped = await readFile(`${options.path}.shipped`, "utf8").then(Number, () => 0);
    return segments;
  }

  /** Hands on what was not before a restart. */
  resume(): void {
    this.#ship();
  }

  /** Gives the current segment, which is complete and on the device, its number. */
  async end(): Promise<void> {
    const { path, durability } = this.#options;
    const number = (this.#known.at(-1)?.number ?? 0) + 1;
    const ended = `${path}.${String(number).padStart(DIGITS, "0")}`;
    await this.#backend.rename(path, ended);
    if (durability === "full") await syncFolderOf(path);
    this.#known.push({ path: ended, number, compressed: false });
  }

  /** After the next one has begun: compresses, hands on, removes what is too old. In the background. */
  tidy(): void {
    this.#ship();
  }

  #ship(): void {
    this.#shipping ??= this.#shipAll().finally(() => {
      this.#shipping = null;
    });
  }

  async #shipAll(): Promise<void> {
    const { compress, onSegment } = this.#options;
    let pause = FIRST_RETRY_MS;
    for (let at = 0; at < this.#known.length && !this.#closed; ) {
      try {
        let segment = this.#known[at]!;
        if (compress && !segment.compressed) {
          segment = await compressed(this.#backend, segment);
          this.#known[at] = segment;
        }
        if (onSegment !== undefined && segment.number > this.#shipped) {
          const { from, to, crc } = await describe(segment);
          await onSegment({ path: segment.path, from, to, crc });
          await writeFileAtomic(`${this.#options.path}.shipped`, String(segment.number));
          this.#shipped = segment.number;
        }
        pause = FIRST_RETRY_MS;
        at++;
      } catch {
        await this.#sleep(pause);
        pause = Math.min(pause * 2, LAST_RETRY_MS);
      }
    }
    await this.#removeOld();
  }

  /** Does not keep the process alive: what is not handed on now is at the next start. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wakeShipper = resolve;
    });
  }

  async #removeOld(): Promise<void> {
    const { keep, onSegment } = this.#options;
    while (this.#known.length > keep) {
      const oldest = this.#known[0]!;
      if (onSegment !== undefined && oldest.number > this.#shipped) return;
      await this.#backend.unlink(oldest.path).catch(() => {});
      this.#known.shift();
    }
  }

  /** Ends what runs in the background: what is being handed on is waited for, nothing new begins. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wakeShipper?.();
    await this.#shipping;
  }
}

/** The segment as gzip, the plain one removed. */
async function compressed(backend: Backend, segment: Segment): Promise<Segment> {
  const path = `${segment.path}.gz`;
  const { createGzip } = process.getBuiltinModule("node:zlib");
  const { pipeline } = process.getBuiltinModule("node:stream/promises");
  await replaceBy(path, { durability: "full" }, async (handle) => {
    const source = await open(segment.path);
    const from = source.createReadStream({ autoClose: false });
    await thenClose(source, pipeline(from, createGzip(), handle.createWriteStream({ autoClose: false })));
  });
  await backend.unlink(segment.path);
  return { ...segment, path, compressed: true };
}

/** Reads a segment through: where it begins and ends, and its checksum. */
async function describe(segment: Segment): Promise<SegmentInfo & { sequence: number }> {
  const { path } = segment;
  const source = await openWindow(segment);
  try {
    const scan = newScan();
    for await (const _ of framesOf(source.window, scan));
    const from = scan.start?.base ?? 0;
    return {
      path,
      from,
      to: scan.end === 0 ? from : from + scan.end - SEGMENT_HEADER_BYTES,
      crc: scan.crc,
      sequence: scan.sequence,
    };
  } finally {
    await source.close();
  }
}

/** A segment's bytes from the front, whether it is compressed or not. */
export async function openWindow(segment: Segment): Promise<{ window: Window; close(): Promise<void> }> {
  const handle = await open(segment.path);
  if (!segment.compressed) {
    const window = new Window(async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead);
    return { window, close: () => handle.close() };
  }
  const { createGunzip } = process.getBuiltinModule("node:zlib");
  const { pipeline } = process.getBuiltinModule("node:stream/promises");
  const unzip = createGunzip();
  const piped = pipeline(handle.createReadStream({ autoClose: false }), unzip).catch(() => {}); // the iterator has the error
  const chunks = unzip[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let rest = Buffer.alloc(0);
  const window = new Window(async (into) => {
    while (rest.length === 0) {
      const { done, value } = await chunks.next();
      if (done) return 0;
      rest = Buffer.from(value);
    }
    const got = rest.copy(into);
    rest = rest.subarray(got);
    return got;
  });
  return {
    window,
    async close() {
      unzip.destroy();
      await piped;
      await handle.close();
    },
  };
}
