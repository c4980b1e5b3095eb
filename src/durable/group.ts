// A group of an AppendLog: records that share one write and one sync, gathered in one buffer in the form they have on disk.
// Knows nothing of files. Its promise settles for all of its records at once.

import { FRAME_HEADER_BYTES, sealFrame } from "./frames.ts";
import type { Framing } from "./log-options.ts";

/** Text is written as UTF-8. */
export type LogRecord = string | Uint8Array;

const FIRST_BUFFER_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

export class Group {
  bytes: Buffer;
  used = 0;
  records = 0;
  readonly done: Promise<void>;
  resolve!: () => void;
  reject!: (error: unknown) => void;

  /** Takes a buffer that is not in use any more, or makes one. */
  constructor(bytes: Buffer = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES)) {
    this.bytes = bytes;
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.done.catch(() => {}); // whoever waits has a promise of its own
  }

  /** Adds a record; `sequence` numbers it ("records" only). */
  add(record: LogRecord, framing: Framing, sequence: number): void {
    const head = framing === "records" ? FRAME_HEADER_BYTES : 0;
    const start = this.used;
    const room = this.bytes.length - start - head - 1;
    // Three bytes a UTF-16 unit at the most; a string that may not fit is measured.
    let most = typeof record === "string" ? record.length * 3 : record.byteLength;
    if (most > room && typeof record === "string") most = Buffer.byteLength(record);
    if (most > room) this.#grow(start + head + most + 1);
    const { bytes } = this;
    let length: number;
    if (typeof record === "string") {
      length = bytes.write(record, start + head);
    } else {
      length = record.byteLength;
      bytes.set(record, start + head);
    }
    if (framing === "records") sealFrame(bytes, start, length, sequence, this.records);
    else if (framing === "lines" && (length === 0 || bytes[start + length - 1] !== NEWLINE))
      bytes[start + length++] = NEWLINE;
    this.used = start + head + length;
    this.records++;
  }

  /** Numbers the records anew: those before them are not in the log. */
  renumber(first: number): void {
    for (let at = 0, index = 0; at < this.used; index++) {
      const length = this.bytes.readUInt32LE(at);
      sealFrame(this.bytes, at, length, first + index, index);
      at += FRAME_HEADER_BYTES + length;
    }
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    larger.set(this.bytes.subarray(0, this.used));
    this.bytes = larger;
  }
}
