// A group of an AppendLog: records that share one write and one sync, gathered in the form they have on disk.
// Knows nothing of files. Its promise settles for all of its records at once.

import { byteLengthOf } from "../node/views.ts";
import { FRAME_HEADER_BYTES, frameLength, sealFrame } from "./frames.ts";
import type { Framing } from "./log-options.ts";

/** Text is written as UTF-8. */
export type LogRecord = string | Uint8Array;

/** A group is gathered in chunks of this length, so that one that grows is never copied. */
const CHUNK_BYTES = 256 * 1024;
/** Chunks that are kept for the next groups of any log: their pages are there already. */
const SPARE_CHUNKS = 16;
export const NEWLINE = 0x0a;

/** `write` without looking at its arguments, at half its price for a short line; Node and Bun have it, the types don't. */
interface Utf8Buffer extends Buffer {
  utf8Write(text: string, offset: number, length: number): number;
}

/** Memory that records are gathered in. */
interface Chunk {
  bytes: Utf8Buffer;
  view: DataView;
  /** Bytes that records have. */
  used: number;
}

const spare: Chunk[] = [];

function newChunk(length: number): Chunk {
  const bytes = Buffer.allocUnsafeSlow(length) as Buffer as Utf8Buffer;
  return { bytes, view: new DataView(bytes.buffer), used: 0 };
}

export class Group {
  records = 0;
  /** Those of them that somebody waits for. */
  awaited = 0;
  /** Sequence number of its first record. */
  #first: number;
  #salt: number;
  readonly #framing: Framing;
  /** Offset in the log of its first byte: known once it is written. */
  base = 0;
  readonly done: Promise<void>;
  resolve!: () => void;
  reject!: (error: unknown) => void;
  /** Chunks that are full, and the one that is being filled; none holds part of a record. */
  readonly #full: Chunk[] = [];
  #fullBytes = 0;
  #chunk: Chunk = spare.pop() ?? newChunk(CHUNK_BYTES);
  #bytes: Utf8Buffer = this.#chunk.bytes;
  #at = 0;
  /** Up to where `addLine` fills the chunk. */
  #limit = 0;

  constructor(framing: Framing, first: number, salt: number) {
    this.#framing = framing;
    this.#first = first;
    this.#salt = salt;
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.done.catch(() => {}); // whoever waits has a promise of its own
  }

  /** Sequence number of its first record. */
  get first(): number {
    return this.#first;
  }

  /** Sequence number of the first record behind it. */
  get next(): number {
    return this.#first + this.records;
  }

  /** Bytes of all records. */
  get used(): number {
    return this.#fullBytes + this.#at;
  }

  /** The records as they are to be on disk. */
  get chunks(): Buffer[] {
    this.#chunk.used = this.#at;
    return [...this.#full, this.#chunk].map(({ bytes, used }) => bytes.subarray(0, used));
  }

  /** Adds a line, which gets its newline, as far as `allowLines` has said: false where it has to be added by `add`. */
  addLine(line: string): boolean {
    const at = this.#at;
    // Three bytes a UTF-16 unit at the most.
    const most = line.length * 3;
    if (at + most >= this.#limit) return false;
    const bytes = this.#bytes;
    let end = at + bytes.utf8Write(line, at, most);
    if (end === at || bytes[end - 1] !== NEWLINE) bytes[end++] = NEWLINE;
    this.#at = end;
    this.records++;
    return true;
  }

  /** Lets `addLine` take so many bytes, in this chunk. */
  allowLines(bytes: number): void {
    this.#limit = Math.min(this.#at + bytes, this.#bytes.length);
  }

  /** Adds a record. */
  add(record: LogRecord): void {
    const isText = typeof record === "string";
    const head = this.#framing === "records" ? FRAME_HEADER_BYTES : 0;
    let room = this.#bytes.length - this.#at - head - 1;
    // A string that may not fit is measured.
    let most = isText ? record.length * 3 : byteLengthOf(record);
    if (most > room && isText) most = Buffer.byteLength(record);
    if (most > room) {
      this.#nextChunk(head + most + 1);
      room = this.#bytes.length - head - 1;
    }
    const bytes = this.#bytes;
    const start = this.#at;
    let length = most;
    if (isText) length = bytes.utf8Write(record, start + head, room);
    else bytes.set(record, start + head);
    if (head > 0)
      sealFrame(bytes, this.#chunk.view, start, length, this.#first + this.records, this.records, this.#salt);
    else if (this.#framing === "lines" && (length === 0 || bytes[start + length - 1] !== NEWLINE))
      bytes[start + length++] = NEWLINE;
    this.#at = start + head + length;
    this.records++;
  }

  /** Numbers the records anew, those before them are not in the log, or for a segment with another salt. */
  renumber(first: number, salt: number): void {
    if (first === this.#first && salt === this.#salt) return;
    this.#first = first;
    this.#salt = salt;
    if (this.#framing !== "records") return;
    this.#chunk.used = this.#at;
    let index = 0;
    for (const { bytes, view, used } of [...this.#full, this.#chunk]) {
      for (let at = 0; at < used; index++) {
        const length = frameLength(bytes, at);
        sealFrame(bytes, view, at, length, first + index, index, salt);
        at += FRAME_HEADER_BYTES + length;
      }
    }
  }

  /** After it was written: nobody looks at its bytes any more. */
  release(): void {
    for (const chunk of [...this.#full, this.#chunk])
      if (spare.length < SPARE_CHUNKS && chunk.bytes.length === CHUNK_BYTES) spare.push(chunk);
  }

  #nextChunk(needed: number): void {
    if (this.#at > 0) {
      this.#chunk.used = this.#at;
      this.#full.push(this.#chunk);
      this.#fullBytes += this.#at;
    }
    this.#chunk = (needed <= CHUNK_BYTES && spare.pop()) || newChunk(Math.max(needed, CHUNK_BYTES));
    this.#bytes = this.#chunk.bytes;
    this.#at = 0;
    this.#limit = 0;
  }
}
