// The table of direct descriptors: files that live in the ring and never get an fd. A slot is taken before its OPENAT is
// staged and is free again only when the CLOSE's own CQE has come (DESIGN D8: earlier reuse reads other files).

import { clockMs } from "../node/clock.ts";

/**
 * Where the kernel closes late: so many files may be read by direct descriptors within so many milliseconds, after which
 * the last of them is closed. What is beyond takes an ordinary descriptor.
 */
const [LATE_FILES, LATE_MS] = [256, 2000];

/** Free list of the ring's direct descriptors; who finds none waits in line. Nobody may wait where the size is 0. */
export class DirectTable {
  readonly size: number;
  readonly #free: number[] = [];
  /** In the order of asking. */
  readonly #waiting = new Set<(slot: number) => void>();
  #giving = false;
  readonly #closesAtOnce: boolean;
  #lateSince = 0;
  #lateFiles = 0;

  /** `closesAtOnce`: whether a file is closed when the CQE of its CLOSE has come. */
  constructor(size: number, closesAtOnce = true) {
    this.size = size;
    this.#closesAtOnce = closesAtOnce;
    for (let slot = size - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  /** Slots in use. */
  get used(): number {
    return this.size - this.#free.length;
  }

  /**
   * Whether a file that is written may be opened here. Not where it would stay open after its promise has settled: a
   * script just written could not be executed (ETXTBSY).
   */
  get forWriting(): boolean {
    return this.size > 0 && this.#closesAtOnce;
  }

  /** Whether one more file that is only read may be opened here; where the kernel closes late each `true` counts. */
  forReading(): boolean {
    if (this.#closesAtOnce || this.size === 0) return this.size > 0;
    const now = clockMs();
    if (now - this.#lateSince > LATE_MS) {
      this.#lateSince = now;
      this.#lateFiles = 0;
    }
    return ++this.#lateFiles <= LATE_FILES;
  }

  /** A free slot, or -1. Never overtakes those who wait. */
  tryTake(): number {
    return this.#waiting.size > 0 || this.#free.length === 0 ? -1 : this.#free.pop()!;
  }

  /** Calls back with a slot, now or when one is given back, in order of asking. */
  take(then: (slot: number) => void): void {
    const slot = this.tryTake();
    if (slot >= 0) then(slot);
    else this.#waiting.add(then);
  }

  /** Steps out of the line: `then` is not called any more. */
  leave(then: (slot: number) => void): void {
    this.#waiting.delete(then);
  }

  /** The CLOSE's CQE has come, or nothing was ever opened in the slot. */
  give(slot: number): void {
    this.#free.push(slot);
    // Who gets a slot may give it back at once (it was aborted meanwhile), thousands in a row: not one inside the other.
    if (this.#giving) return;
    this.#giving = true;
    try {
      for (const then of this.#waiting) {
        if (this.#free.length === 0) break;
        this.#waiting.delete(then);
        then(this.#free.pop()!);
      }
    } finally {
      this.#giving = false;
    }
  }
}
