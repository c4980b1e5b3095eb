// The table of direct descriptors: files that live in the ring and never get an fd. A slot is taken before its OPENAT is
// staged and is free again only when the CLOSE's own CQE has come (DESIGN D8: earlier reuse reads other files).

/** Free list of the ring's direct descriptors; who finds none waits in line. Nobody may wait where the size is 0. */
export class DirectTable {
  readonly size: number;
  readonly #free: number[] = [];
  /** In the order of asking. */
  readonly #waiting = new Set<(slot: number) => void>();
  #giving = false;

  constructor(size: number) {
    this.size = size;
    for (let slot = size - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  /** Slots in use. */
  get used(): number {
    return this.size - this.#free.length;
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
