// The ended segments of a log: LOG.000001, LOG.000002 … (with .gz where they are compressed), which of them have been handed to
// `onSegment`, and which may be removed. What has been handed on is kept in LOG.shipped, so that a restart goes on there.
// Assumes that the log's writer holds its lock. Never removes a segment that `onSegment` has not had.

import type { Stats } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Backend } from "../backend/interface.ts";
import { orClose } from "../backend/loops.ts";
import { readdir } from "../fs/directory.ts";
import { open } from "../fs/open.ts";
import { readFile, thenClose } from "../fs/whole-file.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { setTimeout } from "../node/clock.ts";
import { replaceBy, writeFileAtomic } from "./atomic.ts";
import { openFolderOf, syncFolder } from "./directory-sync.ts";
import { newSalt, SEGMENT_HEADER_BYTES, type SegmentStart } from "./frames.ts";
import type { Checked, SegmentInfo } from "./log-options.ts";
import { holdLog, isSame, type Opened, openSegment, whatIsAt } from "./recover.ts";
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

/** File systems without hard links say one of these. */
const NO_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EINVAL"]);

export class Segments {
  readonly #backend: Backend;
  readonly #options: Checked;
  readonly #known: Segment[];
  /** The highest number that a segment has had. */
  #last = 0;
  /** Number of the last segment that `onSegment` has had. */
  #shipped = 0;
  #tidying: Promise<void> | null = null;
  #again = false;
  #wake: (() => void) | null = null;
  #closed = false;
  /** `succeed` has failed, and nobody knows where the log's path leads, or what of that is on the device. */
  isUncertain = false;

  private constructor(backend: Backend, options: Checked, known: Segment[], shipped: number) {
    this.#backend = backend;
    this.#options = options;
    this.#known = known;
    this.#shipped = shipped;
    this.#last = Math.max(known.at(-1)?.number ?? 0, shipped);
  }

  /** `current` is the file at the log's path, which is locked. */
  static async find(backend: Backend, options: Checked, current: Stats): Promise<Segments> {
    const known = await segmentsOf(options.path);
    const last = known.at(-1);
    // A crash in the middle of `succeed` leaves the current file two names: it has not ended.
    if (last !== undefined && isSame(current, await whatIsAt(backend, last.path))) {
      await backend.unlink(last.path);
      known.pop();
    }
    const text = await readFile(`${options.path}.shipped`, "utf8").catch(() => "");
    const shipped = Number(text);
    return new Segments(backend, options, known, Number.isSafeInteger(shipped) ? shipped : 0);
  }

  /** Where a file begins that is new: behind the last segment, if there is one (where there are no links, a crash leaves that). */
  async next(): Promise<SegmentStart> {
    const last = this.#known.at(-1);
    if (last === undefined) return { base: 0, sequence: 1, salt: newSalt() };
    const { to, sequence } = await describe(last, this.#options.framing === "records");
    return { base: to, sequence, salt: newSalt() };
  }

  /**
   * Gives the current file, which is complete and on the device, its number, and the log's path to the next one: there is no
   * moment at which it leads nowhere, or to a file that nobody has locked.
   */
  async succeed(next: string): Promise<void> {
    const { path, durability } = this.#options;
    // Opened first: once the names are changed there is no way back, and no other way than to sync them.
    const folder = durability === "full" ? await openFolderOf(this.#backend, path) : null;
    try {
      await this.#exchange(next);
      if (folder === null) return;
      this.isUncertain = true;
      await syncFolder(this.#backend, folder);
      this.isUncertain = false;
    } finally {
      if (folder !== null) await this.#backend.close(folder).catch(() => {});
    }
  }

  /** What a call says to have failed may have been done: a server's answer can be lost. So the names are looked at then. */
  async #exchange(next: string): Promise<void> {
    const { path } = this.#options;
    let number = this.#last;
    let ended = "";
    let hasLink = true;
    for (;;) {
      ended = `${path}.${String(++number).padStart(DIGITS, "0")}`;
      try {
        await this.#backend.link(path, ended);
        break;
      } catch (error) {
        const { code } = error as { code: string };
        const found = await whatIsAt(this.#backend, ended);
        if (found !== null && isSame(found, await whatIsAt(this.#backend, path))) break;
        if (code === "EEXIST") continue;
        if (!NO_LINKS.has(code)) throw error;
        await this.#backend.rename(path, ended);
        hasLink = false;
        break;
      }
    }
    this.isUncertain = true;
    try {
      await this.#backend.rename(next, path);
    } catch (error) {
      if ((await whatIsAt(this.#backend, next)) !== null) {
        if (hasLink)
          await this.#backend.unlink(ended).catch(() => {}); // if it stays, it is the next one to be taken
        else await this.#backend.rename(ended, path).catch(() => {});
        this.isUncertain = false;
        throw error;
      }
    }
    this.isUncertain = false;
    this.#last = number;
    this.#known.push({ path: ended, number, compressed: false });
  }

  /** Compresses, hands on, removes what is too old. In the background. */
  tidy(): void {
    this.#again = true;
    this.#tidying ??= this.#tidyAll().finally(() => {
      this.#tidying = null;
      if (this.#again && !this.#closed) this.tidy();
    });
  }

  async #tidyAll(): Promise<void> {
    let pause = FIRST_RETRY_MS;
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        for (let at = 0; at < this.#known.length && !this.#closed; at++) await this.#tidyOne(at);
        pause = FIRST_RETRY_MS;
      } catch {
        this.#again = true;
      }
      // Also where compressing or handing on fails: it may be for want of the room that this gives.
      await this.#removeOld();
      if (!this.#again || this.#closed) continue;
      await this.#sleep(pause);
      pause = Math.min(pause * 2, LAST_RETRY_MS);
    }
  }

  async #tidyOne(at: number): Promise<void> {
    const { compress, framing, onSegment, path } = this.#options;
    let segment = this.#known[at]!;
    if (compress && !segment.compressed) {
      segment = await compressed(this.#backend, segment);
      this.#known[at] = segment;
    }
    if (onSegment === undefined || segment.number <= this.#shipped) return;
    const { from, to, crc } = await describe(segment, framing === "records");
    await onSegment({ path: segment.path, from, to, crc });
    await writeFileAtomic(`${path}.shipped`, String(segment.number));
    this.#shipped = segment.number;
  }

  /** Does not keep the process alive: what is not handed on now is at the next start. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = resolve;
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
    this.#wake?.();
    await this.#tidying;
  }
}

/** Opens and recovers a log, with all that is beside its file; what was not handed on before a restart is then. */
export async function openLog(backend: Backend, options: Checked): Promise<{ segments: Segments; opened: Opened }> {
  const held = await holdLog(backend, options);
  const segments = await orClose(backend, held.file, () => Segments.find(backend, options, held.stats));
  const opened = await openSegment(backend, options, held, () => segments.next());
  segments.tidy();
  return { segments, opened };
}

/** The segment as gzip, the plain one removed. */
async function compressed(backend: Backend, segment: Segment): Promise<Segment> {
  const path = `${segment.path}.gz`;
  const { createGzip } = process.getBuiltinModule("node:zlib");
  const { pipeline } = process.getBuiltinModule("node:stream/promises");
  await replaceBy(path, {}, async (handle) => {
    const source = await open(segment.path);
    const from = source.createReadStream({ autoClose: false });
    await thenClose(source, pipeline(from, createGzip(), handle.createWriteStream({ autoClose: false })));
  });
  await backend.unlink(segment.path);
  return { ...segment, path, compressed: true };
}

/** Reads a segment through: where it begins and ends, and its checksum. */
async function describe(segment: Segment, hasFrames: boolean): Promise<SegmentInfo & { sequence: number }> {
  const { path } = segment;
  const source = await openWindow(segment);
  try {
    const { window } = source;
    const scan = newScan();
    if (hasFrames) for await (const _ of framesOf(window, scan));
    else
      for (;;) {
        await window.need(1);
        if (window.bytes.length === 0) break;
        scan.crc = Bun.hash.crc32(window.bytes, scan.crc) as number;
        window.skip(window.bytes.length);
        scan.end = window.position;
      }
    const from = scan.start?.base ?? 0;
    const to = scan.start === null ? scan.end : from + scan.end - SEGMENT_HEADER_BYTES;
    return { path, from, to, crc: scan.crc, sequence: scan.sequence };
  } finally {
    await source.close();
  }
}

export const windowOf = (handle: FileHandle): Window =>
  new Window(async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead);

/** A segment's bytes from the front, whether it is compressed or not. */
export async function openWindow(segment: Segment): Promise<{ window: Window; close(): Promise<void> }> {
  const handle = await open(segment.path);
  if (!segment.compressed) {
    return { window: windowOf(handle), close: () => handle.close() };
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
