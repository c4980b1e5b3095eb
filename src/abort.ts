// Waiting for an operation no longer than an AbortSignal allows.
// Assumes that whoever owns the operation keeps its memory until it has really ended: an abort only ends the waiting.

import { abortError } from "./errno.ts";

/** Throws Node's AbortError if the signal is there and aborted. */
export function throwIfAborted(signal: AbortSignal | null | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** Settles as `operation` does, or rejects with an AbortError as soon as the signal is aborted, whichever comes first. */
export function abortable<T>(operation: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(abortError(signal));
    const settled = (): void => signal.removeEventListener("abort", abort);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
    operation.then(resolve, reject).then(settled);
  });
}
