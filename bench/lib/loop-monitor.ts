// How long the event loop kept a timer waiting. Runs under Bun and under Node.
// Assumes Linux's /proc for the time in which the thread had no processor. Keeps nothing alive after stop().

import { readFileSync } from "node:fs";

const TICK_MS = 5;

/** Nanoseconds of a clock that never goes back. */
export const now: () => number = typeof Bun === "undefined" ? () => performance.now() * 1e6 : Bun.nanoseconds;

/** Nanoseconds that this thread was ready but others had the processor; proc(5), schedstat. 0 where that isn't counted. */
function runDelay(): number {
  try {
    return Number(readFileSync("/proc/thread-self/schedstat", "latin1").split(" ")[1]);
  } catch {
    return 0;
  }
}

/**
 * The largest delay of a 5 ms timer since it was started, without the time in which the thread had no processor: on a
 * busy machine that reaches 150 ms in a loop that does nothing at all.
 */
export class LoopMonitor {
  #last = 0;
  #lastDelay = 0;
  #largest = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  start(): void {
    this.#last = now();
    this.#lastDelay = runDelay();
    this.#largest = 0;
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
  }

  /** Milliseconds. */
  stop(): number {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#tick();
    return Math.max(0, this.#largest / 1e6 - TICK_MS);
  }

  #tick(): void {
    const at = now();
    const delay = runDelay();
    this.#largest = Math.max(this.#largest, at - this.#last - (delay - this.#lastDelay));
    this.#last = at;
    this.#lastDelay = delay;
  }
}
