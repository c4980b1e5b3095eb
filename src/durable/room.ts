// The room for what waits in a log: `maxPendingBytes`, who waits for it, what was let go for want of it, and when to say that
// there is room again.
// Knows nothing of groups: whoever asks says how much waits.

import { outOfRange } from "../node/arguments.ts";
import { byteLengthOf } from "../node/views.ts";
import { FRAME_HEADER_BYTES } from "./frames.ts";
import type { LogRecord } from "./group.ts";
import { logFull } from "./log-errors.ts";
import { type Checked, maxRecordBytes } from "./log-options.ts";

interface Waiter {
  record: LogRecord;
  appended: Promise<number>;
  resolve: (offset: Promise<number>) => void;
  reject: (error: unknown) => void;
}

export class Room {
  readonly #options: Checked;
  readonly #maxRecordBytes: number;
  readonly #waiting: Waiter[] = [];
  #needsDrain = false;
  /** Records that were let go, and those that a failed write has lost. */
  dropped = 0;
  #told = 0;

  constructor(options: Checked) {
    this.#options = options;
    this.#maxRecordBytes = maxRecordBytes(options);
  }

  /** Nobody waits: whoever comes has its turn. */
  get isOpen(): boolean {
    return this.#waiting.length === 0;
  }

  /** Somebody waits for room, or to hear of it. */
  get isOwed(): boolean {
    return this.#needsDrain || this.#waiting.length > 0;
  }

  /** What the last one who waits was promised. */
  get lastWaiting(): Promise<number> | undefined {
    return this.#waiting.at(-1)?.appended;
  }

  /** Whether a record finds room beside so many bytes. Throws where it never does. A string's length is known when it is encoded. */
  fits(record: LogRecord, pending: number): boolean {
    const isText = typeof record === "string";
    const length = isText ? record.length * 3 : byteLengthOf(record);
    if (length > this.#maxRecordBytes) {
      const exact = isText ? Buffer.byteLength(record) : length;
      if (exact > this.#maxRecordBytes) throw outOfRange("record.length", `<= ${this.#maxRecordBytes} bytes`, exact);
    }
    const { maxPendingBytes } = this.#options;
    if (pending + length + FRAME_HEADER_BYTES <= maxPendingBytes) return true;
    return isText && pending + Buffer.byteLength(record) + FRAME_HEADER_BYTES <= maxPendingBytes;
  }

  /** A record of `append` without room: resolves once it is durable, or rejects, as `onFull` says. */
  wait(record: LogRecord): Promise<number> {
    if (this.#options.onFull !== "wait") return Promise.reject(this.#letGo());
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const copy = typeof record === "string" ? record : Buffer.from(record);
    this.#waiting.push({ record: copy, appended: promise, resolve, reject });
    return promise;
  }

  /** A record of `write` without room: false, or a throw, as `onFull` says. */
  drop(): false {
    const full = this.#letGo();
    if (this.#options.onFull === "reject") throw full;
    this.#needsDrain = true;
    return false;
  }

  #letGo(): Error {
    this.dropped++;
    return logFull(this.#options.path, this.#options.maxPendingBytes);
  }

  /** Bytes that may be added before half of the room is taken; where it is, "drain" is owed. */
  beforeDrain(pending: number): number {
    const left = this.#options.maxPendingBytes / 2 - pending;
    if (left <= 0) this.#needsDrain = true;
    return left;
  }

  /** Whether "drain" is owed and due. */
  hasDrained(pending: number): boolean {
    if (!this.#needsDrain || pending >= this.#options.maxPendingBytes / 2) return false;
    this.#needsDrain = false;
    return true;
  }

  /** Records that were let go since the last time. */
  get untoldDrops(): number {
    const count = this.dropped - this.#told;
    this.#told = this.dropped;
    return count;
  }

  /** Takes in those who wait, as far as there is room for them. */
  admit(pending: () => number, take: (record: LogRecord) => Promise<number>): void {
    while (this.#waiting.length > 0 && this.fits(this.#waiting[0]!.record, pending())) {
      const { record, resolve } = this.#waiting.shift()!;
      resolve(take(record));
    }
  }

  refuseAll(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
