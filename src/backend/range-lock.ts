// Who works on which bytes of a file: work that must have a range for itself waits for earlier work there, and later work
// waits for it. First come, first served, so nobody waits for ever.
// Assumes that all work on the file comes through here. Never rejects for what other work failed with.

interface Held {
  readonly start: number;
  readonly end: number;
  readonly alone: boolean;
  done: Promise<void>;
}

export class Ranges {
  readonly #held: Set<Held> = new Set();

  /** Runs `work` on the bytes from `start` up to `end` (exclusive): at once, or after earlier work that it may not meet. */
  run<T>(start: number, end: number, alone: boolean, work: () => Promise<T>): Promise<T> {
    const before: Promise<void>[] = [];
    for (const held of this.#held) {
      if ((alone || held.alone) && held.start < end && start < held.end) before.push(held.done);
    }
    const result = before.length === 0 ? work() : Promise.all(before).then(work);
    const mine: Held = { start, end, alone, done: Promise.resolve() };
    const done = (): void => void this.#held.delete(mine);
    this.#held.add(mine);
    mine.done = result.then(done, done);
    return result;
  }

  /** Null if nobody works on the file, else a promise for the moment when all who do have ended. */
  idle(): Promise<unknown> | null {
    return this.#held.size === 0 ? null : Promise.all(Array.from(this.#held, ({ done }) => done));
  }
}
