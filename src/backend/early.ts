// The beginning of a process, for "auto": whether it has done no more than a few operations, which are Bun's own then (early-calls.ts).
// Making a ring costs as much as thousands of operations gain, most programs do no more, and what they would wait for first is
// code that has to be read: so nothing here needs any of the rest of the package.

import { clockMs, setImmediate } from "../node/clock.ts";
import { exiting, isExiting } from "../node/exit.ts";
import { presence } from "../ring/presence.ts";

/**
 * Operations after which a process is none of a few, where those on open files count more. Loading the ring's code, making a
 * ring and having both warm takes 25 to 80 ms of processor time; then a look costs 5 to 10 µs less than one by a thread, a read or
 * write of an open file 15, and what changes a folder nothing less.
 */
const FIRST_OPERATIONS = 20_000;
/** One that takes this long (milliseconds) may wait for ever, and hold one of the pool's threads: the next goes to a ring. */
const STUCK_MS = 20;
let operations = 0;
let isAsked = false;
/** No longer early: then nothing here is of any use. */
export let isOver = false;

/** Operations that Bun's pool has of this thread, and when the last began, or ended beside others. */
export const alone: { count: number; at: number } = { count: 0, at: 0 };

/** Counts an operation that has been begun, until `end`. */
export function begin(): void {
  alone.count++;
  alone.at = clockMs();
}

export function end(): void {
  if (--alone.count > 0) alone.at = clockMs();
}

/** Counts an operation until it has ended. */
export function watch(operation: Promise<unknown>): void {
  begin();
  operation.then(end, end);
}

export function endBeginning(): void {
  isOver = true;
}

/** Whether an operation is one of the first few; counts it as so many. Null: not before the event loop has turned can that be said. */
export function isFirst(weight: number = 1): boolean | null {
  if (!isAsked) ask();
  if (isOver) return false;
  operations += weight;
  if (operations > FIRST_OPERATIONS || isStuck || presence.cancelling > 0 || presence.ring !== null) return false;
  return alone.count > 0 && clockMs() - alone.at > STUCK_MS && !isExiting() ? null : true;
}

function ask(): void {
  isAsked = true;
  if ((process.env["BUN_URING_BACKEND"] || "auto") !== "auto") isOver = true;
}

let isStuck = false;

/**
 * Waits for the event loop, in case it was this thread that was busy and did not hear what the pool has done. If nothing
 * has come by then, the pool is stuck.
 */
export async function lookAtPool(): Promise<void> {
  const { at } = alone;
  for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
  if (alone.count > 0 && alone.at === at) isStuck = true;
}

/** Longer ones Bun refuses by itself, in its own way. */
const PLAIN_PATH = 1024;

export const isPlain = (path: unknown): path is string =>
  typeof path === "string" && path.length > 0 && path.length < PLAIN_PATH && !path.includes("\0");

/**
 * Whether an operation on a path is one of them, and may be had from Bun in the direct way: the path is plain, and all that
 * `isFirst` asks for holds; counts it. One function: what a short program waits for is that functions are compiled.
 */
export function isEarly(path: unknown): path is string {
  if (typeof path !== "string" || path.length === 0 || path.length >= PLAIN_PATH || path.includes("\0")) return false;
  if (!isAsked) ask();
  if (isOver || exiting) return false;
  operations++;
  if (operations > FIRST_OPERATIONS || isStuck || presence.cancelling > 0 || presence.ring !== null) return false;
  return alone.count === 0 || clockMs() - alone.at <= STUCK_MS;
}
