// Owns measuring how long this thread's event loop stood still: the largest gap of a 5 ms interval, and how much of one
// the thread itself worked through.
// Assumes Linux; time the thread was ready but had no processor (run delay, schedstat) is taken off, so that a busy
// machine is not mistaken for a blocked loop. Never keeps the process alive beyond stop().

import { readFileSync } from "node:fs";

const INTERVAL_MS = 5;

export interface LoopGap {
  /** The largest gap in milliseconds, as the clock saw it. */
  maxGapMs: number;
  /** The largest gap without the time in which the scheduler ran others: for calls that may block the thread. */
  maxStallMs: number;
  /**
   * The most processor time that the thread spent between two ticks: for loops that may starve the timers. Unlike a
   * stall it knows nothing of locks and page faults whose owner waits for a processor.
   */
  maxBusyMs: number;
  /** All the processor time that the thread spent. */
  busyMs: number;
  ticks: number;
}

export interface GapMeter {
  /** Ends the measurement, the gap up to this moment included. */
  stop(): LoopGap;
}

export function startGapMeter(): GapMeter {
  const seen: LoopGap = { maxGapMs: 0, maxStallMs: 0, maxBusyMs: 0, busyMs: 0, ticks: 0 };
  let lastMs = performance.now();
  let lastDelayMs = runDelayMs();
  let lastBusyMs = busyMs();
  const look = (): void => {
    const nowMs = performance.now();
    const delayMs = runDelayMs();
    const spentMs = busyMs();
    const gapMs = nowMs - lastMs;
    seen.maxGapMs = Math.max(seen.maxGapMs, gapMs);
    seen.maxStallMs = Math.max(seen.maxStallMs, gapMs - (delayMs - lastDelayMs));
    seen.maxBusyMs = Math.max(seen.maxBusyMs, spentMs - lastBusyMs);
    seen.busyMs += spentMs - lastBusyMs;
    lastMs = nowMs;
    lastBusyMs = spentMs;
    lastDelayMs = delayMs;
  };
  const timer = setInterval(() => {
    seen.ticks++;
    look();
  }, INTERVAL_MS);
  return {
    stop() {
      clearInterval(timer);
      look();
      return seen;
    },
  };
}

/** The processor time of this thread since it began, in milliseconds. */
function busyMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** How long this thread has waited for a processor since it began, in milliseconds (proc(5), schedstat). */
function runDelayMs(): number {
  try {
    return Number(readFileSync("/proc/thread-self/schedstat", "latin1").split(" ")[1]) / 1e6;
  } catch {
    return 0; // A kernel without CONFIG_SCHED_INFO: the plain gap it is.
  }
}
