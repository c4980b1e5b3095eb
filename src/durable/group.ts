// A group of an AppendLog: records that share one write and one sync, gathered in the form they have on disk.
// Knows nothing of files. Its promise settles for all of its records at once.

import { FRAME_HEADER_BYTES, sealFrame } from "./frames.ts";
import type { Framing } from "./log-options.ts";

/** Text is written as UTF-8. */
export type LogRecord = string | Uint8Array;

/** A group is gathered in pieces of this length, so that one that grows is never copied. */
const PIECE_BYTES = 256 * 1024;
/** Pieces that are kept for the next groups of any log: their pages are there already. */
const SPARE_PIECES = 16;
const spare: Buffer[] = [];
const NEWLINE = 0x0a;

/** `write` without looking at its arguments, at half its price for a short line; Node and Bun have it, the types don't. */
interface Utf8Buffer extends Buffer {
  utf8Write(text: string, offset: number, length: number): number;
}

export class Group {
  /** Bytes of all records. */
  used = 0;
  records = 0;
  readonly done: Promise<void>;
  resolve!: () => void;
  reject!: (error: unknown) => void;
  /** Pieces that are full, as far as they are, and the one that is being filled; none holds part of a record. */
  readonly #full: Buffer[] = [];
  #piece: Buffer = spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
  #at = 0;

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.done.catch(() => {}); // whoever waits has a promise of its own
  }

  /** The records as they are to be on disk. */
  get pieces(): Buffer[] {
    return [...this.#full, this.#piece.subarray(0, this.#at)];
  }

  /** Adds a record; `sequence` numbers it ("records" only). */
  add(record: LogRecord, framing: Framing, sequence: number): void {
    const head = framing === "records" ? FRAME_HEADER_BYTES : 0;
    let room = this.#piece.length - this.#at - head - 1;
    // Three bytes a UTF-16 unit at the most; a string that may not fit is measured.
    let most = typeof record === "string" ? record.length * 3 : record.byteLength;
    if (most > room && typeof record === "string") most = Buffer.byteLength(record);
    if (most > room) {
      this.#nextPiece(head + most + 1);
      room = this.#piece.length - head - 1;
    }
    const bytes = this.#piece;
    const start = this.#at;
    let length: number;
    if (typeof record === "string") {
      length = (bytes as Utf8Buffer).utf8Write(record, start + head, room);
    } else {
      length = record.byteLength;
      bytes.set(record, start + head);
    }
    if (framing === "records") sealFrame(bytes, start, length, sequence, this.records);
    else if (framing === "lines" && (length === 0 || bytes[start + length - 1] !== NEWLINE))
      bytes[start + length++] = NEWLINE;
    this.#at = start + head + length;
    this.used += head + length;
    this.records++;
  }

  /** Numbers the records anew: those before them are not in the log. */
  renumber(first: number): void {
    let index = 0;
    for (const bytes of this.pieces) {
      for (let at = 0; at < bytes.length; index++) {
        const length = bytes.readUInt32LE(at);
        sealFrame(bytes, at, length, first + index, index);
        at += FRAME_HEADER_BYTES + length;
      }
    }
  }

  /** After it was written: nobody looks at its bytes any more. */
  release(): void {
    for (const { buffer } of [...this.#full, this.#piece])
      if (spare.length < SPARE_PIECES && buffer.byteLength === PIECE_BYTES) spare.push(Buffer.from(buffer));
  }

  #nextPiece(needed: number): void {
    if (this.#at > 0) this.#full.push(this.#piece.subarray(0, this.#at));
    this.#piece = (needed <= PIECE_BYTES && spare.pop()) || Buffer.allocUnsafeSlow(Math.max(needed, PIECE_BYTES));
    this.#at = 0;
  }
}
