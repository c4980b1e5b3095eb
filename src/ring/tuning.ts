// The bounds within which a ring's behaviour adapts by itself, as a user sees and sets them: how long it spins for a
// completion, how long it keeps the event loop, how much it copies on the JavaScript thread. Holds none of them itself.

import { outOfRange, validateObject } from "../node/arguments.ts";
import type { RingThread } from "./context.ts";

/** See docs/ring.md, "Tuning". Each may be 0 or Infinity. */
export interface Tuning {
  /** Microseconds of spinning for a completion before the loop sleeps, if it takes no longer on average. Default 40. */
  spinUs: number;
  /** The most of it where wake-ups turn out to be dearer than that; 0 (with `spinUs` 0): never spin. Default 200. */
  maxSpinUs: number;
  /** Milliseconds of completions in one go before timers and sockets have their turn. Default 0.5. */
  maxInlineMs: number;
  /** Submits in one go before they have. Default 64. */
  maxInlineRounds: number;
  /** Microseconds of calls answered at once, without the ring, before they have. Default 1000. */
  inlineUs: number;
  /** Bytes that one submit copies on the JavaScript thread; kernel threads copy the rest. Default 1 MiB. */
  inlineBytes: number;
}

function inForce({ loop, placement }: RingThread): Tuning {
  const { microtaskMs, microtaskRounds, inlineUs } = loop.limits;
  const { spinUs, maxSpinUs } = loop.spin;
  return {
    spinUs,
    maxSpinUs,
    maxInlineMs: microtaskMs,
    maxInlineRounds: microtaskRounds,
    inlineUs,
    inlineBytes: placement.inlineBytes,
  };
}

/** Sets the bounds that are given. Returns all that are in force. Throws ERR_OUT_OF_RANGE for what is no number from 0 on. */
export function tune(t: RingThread, bounds: Partial<Tuning>): Tuning {
  validateObject(bounds, "bounds");
  const wanted = inForce(t);
  for (const name of Object.keys(wanted) as (keyof Tuning)[]) {
    const value: unknown = bounds[name];
    if (value === undefined) continue;
    if (typeof value !== "number" || !(value >= 0)) throw outOfRange(`bounds.${name}`, "a number >= 0", value);
    wanted[name] = value;
  }
  const { loop } = t;
  loop.limits.microtaskMs = wanted.maxInlineMs;
  loop.limits.microtaskRounds = wanted.maxInlineRounds;
  loop.limits.inlineUs = wanted.inlineUs;
  loop.spin.spinUs = wanted.spinUs;
  loop.spin.maxSpinUs = wanted.maxSpinUs;
  t.placement.inlineBytes = wanted.inlineBytes;
  return wanted;
}
