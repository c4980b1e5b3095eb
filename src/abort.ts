// Waiting for an operation no longer than an AbortSignal allows.
// Assumes that whoever owns the operation keeps its memory until it has really ended: an abort only ends the waiting.

import { abortError } from "./errno.ts";

/** Throws Node's AbortError if the signal is there and aborted. */
export function throwIfAborted(signal: AbortSignal | null | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/**
 * Settles as `operation` does, or rejects with an AbortError as soon as the signal is aborted, whichever comes first.
 * What has been done at once still waits for the caller's own ticks: an abort that one of them brings comes before it,
 * as it does where every operation takes a thread.
 */
export function abortable<T>(operation: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(abortError(signal));
    const settled = (): void => signal.removeEventListener("abort", abort);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
    afterTicks(operation).then(resolve, reject).then(settled);
  });
}

/** Settles when `operation` has ended: with an AbortError if the signal is aborted by then, else as `operation` did. */
export async function unlessAborted<T>(operation: Promise<T>, signal: AbortSignal): Promise<T> {
  const result = await afterTicks(operation);
  throwIfAborted(signal);
  return result;
}

function afterTicks<T>(operation: Promise<T>): Promise<T> {
  return operation.finally(() => new Promise<void>((resolve) => process.nextTick(resolve)));
}
