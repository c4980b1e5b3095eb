// The table of direct descriptors: files that live in the ring and never get an fd. A slot is taken before its OPENAT is
// staged and is free again only when the CLOSE's own CQE has come (docs/architecture.md D8: earlier reuse reads other files).
// The package's own chains and the user's requests wait in one line; at most half of the slots are the user's.

import { unavailable } from "../node/arguments.ts";
import { clockMs } from "../node/clock.ts";
import { ENFILE } from "../node/errno.ts";
import { systemError } from "../node/errors.ts";

interface Waiter {
  /** Slots that it gets, all at once or none. */
  readonly count: number;
  readonly isUser: boolean;
  readonly serve: (slots: number[]) => void;
  readonly refused: (error: Error) => void;
}

const ignore = (): void => {};

/**
 * Where the kernel closes late: so many files may be read by direct descriptors within so many milliseconds, after which
 * the last of them is closed. What is beyond takes an ordinary descriptor.
 */
const [LATE_FILES, LATE_MS] = [256, 2000];

/** Free list of the ring's direct descriptors; who finds none waits in line. Nobody may wait where the size is 0. */
export class DirectTable {
  readonly size: number;
  /** Slots that the user holds, by Ring.acquireDirect and in chains. */
  readonly users: Set<number> = new Set();
  readonly #free: number[] = [];
  /** In the order of asking, by what leaves the line again. */
  readonly #waiting = new Map<unknown, Waiter>();
  /** Slots that users wait for, and how many of the package's own wait. */
  #wantedByUsers = 0;
  #ownWaiting = 0;
  #giving = false;
  readonly #closesAtOnce: boolean;
  #lateSince = 0;
  #lateFiles = 0;
  #stopped: Error | null = null;

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

  /** Whether files are read by other ways at the moment: there is no table, or as many as may be are closed late. */
  get isSpent(): boolean {
    if (this.#closesAtOnce || this.size === 0) return this.size === 0;
    return this.#lateFiles >= LATE_FILES && clockMs() - this.#lateSince <= LATE_MS;
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

  /** Slots that the user can hold at most: the package's own functions go on with the rest. */
  get usersLimit(): number {
    return Math.floor(this.size / 2);
  }

  /** A free slot, or -1. Never overtakes those who wait, but for users who want more than there is. */
  tryAcquire(): number {
    return this.#ownWaiting > 0 || this.#free.length === 0 || this.#stopped !== null ? -1 : this.#free.pop()!;
  }

  /** Calls back with a slot, now or when one is given back, in order of asking; or `refused`, if the ring ends before. */
  acquire(then: (slot: number) => void, refused: (error: Error) => void = ignore): void {
    const slot = this.tryAcquire();
    if (slot >= 0) then(slot);
    else this.#wait(then, { count: 1, isUser: false, serve: ([given]) => then(given!), refused });
  }

  /**
   * The same for the user, who gets `count` slots at once. A request for several is passed by such as need fewer. Throws
   * ENFILE for more than the user can ever hold; with `now`, also for more than is left of that. Where there is no table it
   * throws that it is unavailable.
   */
  acquireForUser(count: number, now: boolean, then: (slots: number[]) => void, refused: (error: Error) => void): void {
    if (this.size === 0)
      throw unavailable("a direct descriptor", "this ring has no table for them (Linux 5.15 and newer)");
    const held = now ? this.users.size + this.#wantedByUsers : 0;
    if (count > this.usersLimit - held) throw systemError(ENFILE, "direct descriptors");
    const waiter: Waiter = { count, isUser: true, serve: then, refused };
    if (this.#waiting.size === 0 && this.#stopped === null && this.#mayServe(waiter)) this.#serve(waiter);
    else this.#wait(then, waiter);
  }

  #wait(key: unknown, waiter: Waiter): void {
    if (this.#stopped !== null) return waiter.refused(this.#stopped);
    this.#count(waiter, 1);
    this.#waiting.set(key, waiter);
  }

  /** Steps out of the line: `then` is not called any more. */
  leave(then: unknown): void {
    const waiter = this.#waiting.get(then);
    if (waiter === undefined) return;
    this.#forget(then, waiter);
    this.#serveAll(); // it may have been in somebody's way
  }

  #forget(key: unknown, waiter: Waiter): void {
    this.#waiting.delete(key);
    this.#count(waiter, -1);
  }

  #count({ isUser, count }: Waiter, sign: number): void {
    if (isUser) this.#wantedByUsers += sign * count;
    else this.#ownWaiting += sign;
  }

  /** The CLOSE's CQE has come, or nothing was ever opened in the slot. */
  release(slot: number): void {
    this.users.delete(slot);
    this.#free.push(slot);
    this.#serveAll();
  }

  #mayServe({ count, isUser }: Waiter): boolean {
    return count <= this.#free.length && (!isUser || this.users.size + count <= this.usersLimit);
  }

  #serve({ count, isUser, serve }: Waiter): void {
    const slots = this.#free.splice(this.#free.length - count).reverse();
    if (isUser) for (const slot of slots) this.users.add(slot);
    serve(slots);
  }

  #serveAll(): void {
    // A waiter may release its slot at once (it was aborted). A loop, not recursion: there can be thousands.
    if (this.#giving) return;
    this.#giving = true;
    try {
      let served: boolean;
      do {
        served = false;
        let userWaits = false;
        for (const [key, waiter] of this.#waiting) {
          if (this.#free.length === 0) break;
          // Users keep their order among themselves; the package's own never wait for them.
          if ((waiter.isUser && userWaits) || !this.#mayServe(waiter)) {
            userWaits = true;
            continue;
          }
          this.#forget(key, waiter);
          served = true;
          this.#serve(waiter);
        }
      } while (served && this.#free.length > 0 && this.#waiting.size > 0);
    } finally {
      this.#giving = false;
    }
  }

  /** The ring is closed or stopped: nobody gets anything any more. */
  stop(error: Error): void {
    this.#stopped ??= error;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#wantedByUsers = this.#ownWaiting = 0;
    for (const { refused } of waiting) refused(error);
  }
}
