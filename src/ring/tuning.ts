// The bounds within which a ring's behaviour adapts by itself, as a user sees and sets them: how long it looks for a
// completion, how long it keeps the event loop, how much it copies on the JavaScript thread. Holds none of them itself.

import { outOfRange, validateObject } from "../node/arguments.ts";
import type { RingThread } from "./context.ts";

/** See docs/ring.md, "Tuning". Each may be 0 or Infinity. */
export interface Tuning {
  /** Microseconds for which a completion is looked for before the loop sleeps, if it takes no longer on average. Default 40. */
  lookUs: number;
  /** The most of it where wake-ups turn out to be dearer than that; 0 (with `lookUs` 0): never look. Default 200. */
  maxLookUs: number;
  /** Milliseconds of completions in one go before timers and sockets have their turn. Default 0.5. */
  turnMs: number;
  /** Submits in one go before they have. Default 64. */
  turnRounds: number;
  /** Microseconds of calls answered at once, without the ring, before they have. Default 1000. */
  inlineUs: number;
  /** Bytes that one submit copies on the JavaScript thread; kernel threads copy the rest. Default 1 MiB. */
  inlineBytes: number;
}

function inForce({ loop, placement }: RingThread): Tuning {
  const { microtaskMs, microtaskRounds, inlineUs } = loop.limits;
  const { lookUs, maxLookUs } = loop.patience;
  return {
    lookUs,
    maxLookUs,
    turnMs: microtaskMs,
    turnRounds: microtaskRounds,
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
  loop.limits.microtaskMs = wanted.turnMs;
  loop.limits.microtaskRounds = wanted.turnRounds;
  loop.limits.inlineUs = wanted.inlineUs;
  loop.patience.lookUs = wanted.lookUs;
  loop.patience.maxLookUs = wanted.maxLookUs;
  t.placement.inlineBytes = wanted.inlineBytes;
  return wanted;
}
