// Node's callback form of what is done with promises: where the callback stands among the arguments, what is thrown at the
// call, and when the callback is called: from the event loop, never in the caller's own tick, with nobody above it, so
// that what it throws is an uncaught exception.
// Assumes that a promise which is rejected when the call returns says so because of the arguments; nothing is queued then.

import { validateFunction } from "./arguments.ts";
import { setImmediate } from "./clock.ts";
import { withLength } from "./named.ts";

type Callback = (error: Error | null, ...values: any[]) => void;
/** What a callback gets after null. */
export type Values = (result: any) => readonly unknown[];

export const nothing: Values = () => [];
export const result: Values = (value) => [value];

/** Errors that are no fault of the arguments, though they may be there at once. */
const TOLD = new Set(["ABORT_ERR", "ERR_FS_FILE_TOO_LARGE", "ERR_INVALID_STATE"]);

/** The error of arguments that were refused; null for all that the callback is to hear of. */
export function refusal(work: Promise<unknown>): Error | null {
  if (Bun.peek.status(work) !== "rejected") return null;
  const error = Bun.peek(work) as Error & { code?: string; errno?: number };
  if (!(error instanceof Error) || error.errno !== undefined || TOLD.has(error.code ?? "")) return null;
  work.catch(() => {});
  return error;
}

/** Calls `callback` from the event loop, with no `this`, as Node does. */
export function callSoon(callback: (...values: any[]) => void, ...values: unknown[]): void {
  setImmediate(() => callback(...values));
}

/** Calls back with what becomes of `work`. Throws what was wrong with its arguments. */
export function settle(work: Promise<unknown>, callback: Callback, values: Values): void {
  const refused = refusal(work);
  if (refused !== null) throw refused;
  work.then(
    (value) => callSoon(callback, null, ...values(value)),
    (error: Error) => callSoon(callback, error),
  );
}

/** What differs from function to function in Node about the callback. */
interface CallbackForm {
  /** A callback in the last place counts, though a function stands before it. */
  isLast?: boolean;
  /** What Node's errors call it. */
  name?: string;
}

/**
 * Where the callback is: the first function at or after `from`, or the last place if that is the form. Throws if there is
 * none up to `to`, exclusive.
 */
export function callbackAt(given: readonly unknown[], from: number, to: number, form: CallbackForm = {}): number {
  if (form.isLast && typeof given[to - 1] === "function") return to - 1;
  for (let i = from; i < given.length && i < to; i++) if (typeof given[i] === "function") return i;
  const { [to - 1]: callback } = given;
  validateFunction(callback, form.name ?? "cb");
  return from;
}

/**
 * `call` with a callback after its arguments: at least `required` of them, at most `most`. Without `values` the callback
 * gets the error, or null, alone.
 */
export function withCallback(
  call: (...args: any[]) => Promise<any>,
  required: number,
  most: number,
  values: Values = nothing,
  form: CallbackForm = {},
): (...given: any[]) => void {
  const withOne = (...given: any[]): void => {
    const at = callbackAt(given, required, most + 1, form);
    settle(call(...given.slice(0, at)), given[at] as Callback, values);
  };
  return withLength(withOne, most + 1);
}
