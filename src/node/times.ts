// Times of files as users give them, and as Bun's utimes takes them.
// Assumes nothing of the arguments. Bun takes a negative number for the present, and has no way to leave one time as it is.

import { invalidArgType } from "./arguments.ts";
import { epochMs } from "./clock.ts";

/** Seconds since 1970; a Date where they are negative. */
export type BunTime = number | Date;
type Looked = { atimeMs: number; mtimeMs: number };

/**
 * Seconds since 1970 of a number, a numeric string or a Date. A negative number is the present, and so is an infinite string;
 * null for an invalid Date: that time stays. All as in Node.
 */
function bunTime(time: unknown): BunTime | null {
  if (typeof time === "string" && String(Number(time)) !== "NaN") {
    const seconds = Number(time);
    return Number.isFinite(seconds) ? dateIfNegative(seconds) : epochMs() / 1000;
  }
  if (typeof time === "number" && Number.isFinite(time)) return time < 0 ? epochMs() / 1000 : time;
  const ms = timeOf(time);
  if (ms === null) throw invalidArgType("time", ["Date", "Time in seconds"], time); // so Node names it
  return Number.isNaN(ms) ? null : dateIfNegative(ms / 1000);
}

/** Checks two times at once; what comes back calls `set` with them, after a `look` at the file if one is to stay. */
export function bunTimes(
  atime: unknown,
  mtime: unknown,
): (look: () => Promise<Looked>, set: (atime: BunTime, mtime: BunTime) => Promise<void>) => Promise<void> {
  const accessed = bunTime(atime);
  const modified = bunTime(mtime);
  return (look, set) => {
    if (accessed !== null && modified !== null) return set(accessed, modified);
    return look().then(({ atimeMs, mtimeMs }) =>
      set(accessed ?? dateIfNegative(atimeMs / 1000), modified ?? dateIfNegative(mtimeMs / 1000)),
    );
  };
}

const { getTime } = Date.prototype;

/** Milliseconds since 1970 of a Date, also one of another realm; null for anything else. */
function timeOf(value: unknown): number | null {
  try {
    return getTime.call(value as Date);
  } catch {
    return null;
  }
}

function dateIfNegative(seconds: number): BunTime {
  return seconds < 0 ? new Date(seconds * 1000) : seconds;
}
