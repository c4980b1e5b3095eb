// Where an operation runs: inline (by calls that can't block, or inside the submit), in the ring, with the helper thread, or
// in an io-wq thread. The one place that answers this, with one budget of time and one of bytes for what runs on the
// JavaScript thread. Knows what is under way; what an operation is, and whether its path is remote, the caller tells.

import { SqeFlag } from "../kernel/sqe.ts";
import { setImmediate } from "../node/clock.ts";
import type { Loop } from "./loop.ts";
import type { Ring } from "./ring.ts";
import type { Cells } from "./scratch.ts";

/** Path operations under way with which one more is still alone. */
const FEW = 3;
/** Microseconds that a call of the helper's takes at least. */
const WAIT_US = 10;
/** Operations that the helper could have had before it is started: short programs never pay for a thread. */
const WANTED = 12;
/** The most helpers that a process has, whatever the processors. */
const MAX_HELPERS = 3;

export class Placement {
  readonly #ring: Ring;
  readonly #loop: Loop;
  readonly #cells: Cells;
  /** Bytes that one submit may copy on this JavaScript thread; what is beyond goes to io-wq threads (docs/architecture.md D6). */
  inlineBytes: number = 1024 * 1024;
  #bytesLeft = 0;
  #budgetOf = -1;
  readonly #later: { us: number; call: () => void }[] = [];
  /** Operations that the helper could have had since there was none. */
  #wanted = 0;

  constructor(ring: Ring, loop: Loop, cells: Cells) {
    this.#ring = ring;
    this.#loop = loop;
    this.#cells = cells;
  }

  /** The SQE flag for a transfer of so many cached bytes: 0 inline, ASYNC where this submit copies enough already. */
  transfer(length: number): number {
    if (this.#budgetOf !== this.#ring.nativeCalls) {
      this.#budgetOf = this.#ring.nativeCalls;
      this.#bytesLeft = this.inlineBytes;
    }
    this.#bytesLeft -= length;
    return this.#bytesLeft >= 0 ? 0 : SqeFlag.ASYNC;
  }

  /**
   * Whether a call on a path has next to no company: it is the first of its turn, and few others are under way. Only then
   * plain calls that can't block are its fastest way (measured at 8 at once: stat 2.2 µs by threads, 3.7 with each turn's
   * first by plain calls; readFile at 64: 5.9 by chains, 6.4 with such first ones).
   */
  isAlone(): boolean {
    return !this.#cells.hasPathsUnderWay(FEW) && this.#loop.firstOfTurn();
  }

  /** Whether plain calls of about so many microseconds may be made now; after some, the event loop has its turn first. */
  mayCall(us: number): boolean {
    return this.#loop.mayAnswerInline(us);
  }

  /**
   * Makes a call of about so many microseconds when the event loop has had its turn, and those that asked before have had
   * theirs; resolves to what it gives. For what costs more any other way: large cached reads.
   */
  callLater<T>(us: number, call: () => T | Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const run = (): void => {
      try {
        resolve(call());
      } catch (error) {
        reject(error);
      }
    };
    this.#later.push({ us, call: run });
    if (this.#later.length === 1) setImmediate(this.#serve);
    return promise;
  }

  /** Whether calls wait for their turn: who asks now is behind them. */
  get hasLater(): boolean {
    return this.#later.length > 0;
  }

  readonly #serve = (): void => {
    const waiting = this.#later;
    let next = 0;
    while (next < waiting.length && (next === 0 || this.mayCall(waiting[next]!.us))) waiting[next++]!.call();
    waiting.splice(0, next);
    if (waiting.length > 0) setImmediate(this.#serve);
  };

  /**
   * The SQE flag of what the ring would hand to an io-wq thread, on a local file system: the helper may have it. Who gets
   * it is decided when it is submitted.
   */
  punted(): number {
    if (this.#ring.hasHelper) return SqeFlag.HELPER;
    if (++this.#wanted >= WANTED) this.#startHelper();
    return 0;
  }

  /** Whether the helper may be waited for: it is there, the call is alone, and the event loop can wait as long. */
  mayWait(): boolean {
    return this.#ring.hasHelper && this.isAlone() && this.#loop.mayAnswerInline(WAIT_US);
  }

  #startHelper(): void {
    this.#wanted = 0;
    const processors = navigator.hardwareConcurrency; // what affinity and the quotas of cgroups leave of the machine's
    const limit = Math.min(MAX_HELPERS, Math.max(1, processors - 1));
    this.#ring.native.helperStart(this.#ring.address, limit, processors);
  }
}
