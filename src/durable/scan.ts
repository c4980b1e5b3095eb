// Reading a segment from its beginning: frame by frame, with bounded memory, up to the first that is not whole; and what that
// end means. A log's writer has at most one group under way, so a torn tail is of one group: if a whole record of a later group
// stands behind the damage, something that was acknowledged is damaged, and nobody may cut it off.
// Never writes.

import { pause, SLICE_MS } from "../backend/loops.ts";
import { clockMs } from "../node/clock.ts";
import {
  FRAME_HEADER_BYTES,
  type Frame,
  frameAt,
  frameLength,
  frameSequence,
  MAX_RECORD_BYTES,
  parseSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentStart,
} from "./frames.ts";

const CHUNK_BYTES = 256 * 1024;
const zeros = Buffer.alloc(CHUNK_BYTES);
/** How far ahead of what is expected the sequence number of a frame behind a damage can be. */
const MAX_AHEAD = 2 ** 24;

/** Bytes of a file from the front, as a window that is moved on. */
export class Window {
  readonly #read: (into: Buffer, position: number) => Promise<number>;
  /** What was read and not yet let go; its first byte is `position` in the file. */
  bytes: Buffer = Buffer.alloc(0);
  position = 0;
  ended = false;
  #sliceEnds = clockMs() + SLICE_MS;

  constructor(read: (into: Buffer, position: number) => Promise<number>) {
    this.#read = read;
  }

  /** Forgets what was read: it may have been written over since. */
  rewind(): void {
    this.bytes = Buffer.alloc(0);
    this.ended = false;
  }

  /** Lets the first `length` bytes go. */
  skip(length: number): void {
    this.bytes = this.bytes.subarray(length);
    this.position += length;
  }

  /** Reads until there are `length` bytes, or the file has ended. */
  async need(length: number): Promise<void> {
    while (this.bytes.length < length && !this.ended) {
      // What is cached is read at once: whoever takes long to look at it lets the event loop have its turn here.
      if (clockMs() > this.#sliceEnds) {
        await pause();
        this.#sliceEnds = clockMs() + SLICE_MS;
      }
      const chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, length - this.bytes.length));
      const got = await this.#read(chunk, this.position + this.bytes.length);
      if (got === 0) this.ended = true;
      else
        this.bytes =
          this.bytes.length === 0 ? chunk.subarray(0, got) : Buffer.concat([this.bytes, chunk.subarray(0, got)]);
    }
  }
}

/** What a scan has found. */
export interface Scan {
  start: SegmentStart | null;
  /** Position in the file behind the last whole record. */
  end: number;
  /** Sequence number of the next record. */
  sequence: number;
  records: number;
  /** Running CRC-32 of the file up to `end`. */
  crc: number;
}

/** Reads a segment's header; false where it is none, or not whole. */
export async function readStart(window: Window, scan: Scan): Promise<boolean> {
  await window.need(SEGMENT_HEADER_BYTES);
  scan.start = parseSegmentHeader(window.bytes);
  if (scan.start === null) return false;
  scan.crc = Bun.hash.crc32(window.bytes.subarray(0, SEGMENT_HEADER_BYTES)) as number;
  scan.sequence = scan.start.sequence;
  window.skip(SEGMENT_HEADER_BYTES);
  scan.end = window.position;
  return true;
}

/** Goes over the records behind what was scanned, up to the first that is not whole: the window stands on it then. */
export async function* framesOf(window: Window, scan: Scan): AsyncGenerator<{ frame: Frame; payload: Buffer }> {
  if (scan.start === null && !(await readStart(window, scan))) return;
  const { salt } = scan.start!;
  for (;;) {
    let frame = frameAt(window.bytes, 0, salt);
    if (frame === "short") {
      const known = window.bytes.length >= FRAME_HEADER_BYTES ? frameLength(window.bytes, 0) : 0;
      await window.need(FRAME_HEADER_BYTES + Math.min(known, MAX_RECORD_BYTES));
      frame = frameAt(window.bytes, 0, salt);
      if (frame === "short" && !window.ended) continue; // its header was not whole before
    }
    if (frame === null || frame === "short" || frame.sequence !== scan.sequence) return;
    const whole = FRAME_HEADER_BYTES + frame.length;
    scan.crc = Bun.hash.crc32(window.bytes.subarray(0, whole), scan.crc) as number;
    const payload = window.bytes.subarray(FRAME_HEADER_BYTES, whole);
    const place = { ...frame, at: window.position };
    window.skip(whole);
    scan.sequence++;
    scan.records++;
    scan.end = window.position;
    yield { frame: place, payload };
  }
}

export const newScan = (): Scan => ({ start: null, end: 0, sequence: 1, records: 0, crc: 0 });

/** What lies behind a log's last whole record. */
interface Tail {
  /** Bytes up to the last that is not zero: what a crash has torn. */
  torn: number;
  /** A record of a later group is among them: what was acknowledged is damaged. */
  damaged: boolean;
}

/** Looks at all that stands behind the end of a scan. A group's first record tells which group a record is of. */
export async function tailOf(window: Window, scan: Scan): Promise<Tail> {
  const tail: Tail = { torn: 0, damaged: false };
  const salt = scan.start?.salt ?? 0;
  for (let at = 0; ; at++) {
    if (at + FRAME_HEADER_BYTES > window.bytes.length) {
      window.skip(at);
      at = 0;
      await window.need(CHUNK_BYTES);
      // What was filled ahead, a chunk at a time.
      while (window.bytes.length >= CHUNK_BYTES && window.bytes.subarray(0, CHUNK_BYTES).equals(zeros)) {
        window.skip(CHUNK_BYTES);
        await window.need(CHUNK_BYTES);
      }
    }
    const { bytes } = window;
    if (at >= bytes.length) return tail;
    if (bytes[at] !== 0) tail.torn = window.position + at + 1 - scan.end;
    if (!mayBeFrame(bytes, at, scan)) continue;
    await window.need(at + FRAME_HEADER_BYTES + frameLength(bytes, at));
    const frame = frameAt(window.bytes, at, salt);
    if (frame !== null && frame !== "short" && frame.sequence - frame.index > scan.sequence) tail.damaged = true;
  }
}

/** A cheap look, before a checksum is computed. */
function mayBeFrame(bytes: Buffer, at: number, scan: Scan): boolean {
  if (bytes.length - at < FRAME_HEADER_BYTES || frameLength(bytes, at) > MAX_RECORD_BYTES) return false;
  const sequence = frameSequence(bytes, at);
  return sequence > scan.sequence && sequence - scan.sequence < MAX_AHEAD;
}
