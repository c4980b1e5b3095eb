// Waiting for an operation no longer than an AbortSignal or a time allows.
// Assumes that whoever owns the operation keeps its memory until it has really ended: what ends here is the waiting, and
// with it go the listener and the timer.

import { after, clearTimeout, nextTick, setImmediate, setTimeout } from "./clock.ts";
import { abortError, errnoOf, systemError } from "./errors.ts";
import { late, lateRejection, passedOn, rejection } from "./late-error.ts";
import { isAborted, offAbort, onAbort, reasonOf } from "./signal.ts";

/** What may end an operation early. */
export interface Limits {
  /** Rejects with an AbortError, whose cause is the signal's reason, and cancels what the kernel has not done. */
  signal?: AbortSignal | undefined;
  /** Milliseconds after which the operation rejects with ETIMEDOUT and is cancelled; at least 1. Default: none. */
  timeoutMs?: number | undefined;
}

/** Bytes that a write is known to have brought into the file; its error says so. */
export interface Written {
  bytesWritten: number;
}

/** Milliseconds that an ended write waits for what is in the kernel: to say what is written, and that nothing comes after. */
const GRACE_MS = 250;

/** Resolves after so many milliseconds, or soon after the signal is aborted, which whoever waits looks at then. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      clearTimeout(timer);
      if (signal !== undefined) offAbort(signal, wake);
      resolve();
    };
    const timer = setTimeout(wake, Math.max(ms, 0));
    if (signal !== undefined) onAbort(signal, wake);
  });
}

/** Throws Node's AbortError if the signal is there and aborted. */
export function throwIfAborted(signal: AbortSignal | null | undefined): void {
  if (isAborted(signal)) throw abortError(signal);
}

/**
 * Settles as `operation` does, or rejects with an AbortError soon after the signal is aborted, whichever comes first.
 * Settles one `process.nextTick` later even when the result is ready: an abort in the same tick must win, as it does with
 * a thread pool. And an abort goes by way of the event loop: a program that aborts what it asks for, again and again,
 * would otherwise keep timers and sockets from their turn.
 */
export function abortable<T>(operation: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve) => {
    let stopped: Error | null = null;
    const abort = (): void => {
      const error = late(() => abortError(signal));
      stopped = error;
      setImmediate(() => resolve(rejection(error)));
    };
    const settled = (): void => offAbort(signal, abort);
    if (isAborted(signal)) abort();
    else onAbort(signal, abort);
    // Once it is stopped, whatever the operation says then is not what the caller hears.
    afterTicks(operation)
      .then(
        (value) => void (stopped ?? resolve(value)),
        (error) => void (stopped ?? resolve(passedOn(error))),
      )
      .then(settled);
  });
}

/**
 * Settles when a write has ended: with an AbortError if the signal is aborted by then, else as the write did. The error's
 * `bytesWritten` is what is known to be in the file; more may be if the kernel did not answer in time (a file server).
 */
export async function unlessAborted<T>(operation: Promise<T>, signal: AbortSignal, progress: Written): Promise<T> {
  try {
    const result = await soonAfterAbort(afterTicks(operation), signal);
    if (!isAborted(signal)) return result;
  } catch (error) {
    if (!isAborted(signal)) throw error;
  }
  await new Promise((resolve) => setImmediate(resolve)); // as `abortable`
  return lateRejection(() => Object.assign(abortError(signal), { bytesWritten: progress.bytesWritten }));
}

/** Settles as `operation` does, which obeys the signal itself; but soon after an abort even if a server never answers. */
export function soonAfterAbort<T>(operation: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve) => {
    let stop: (() => void) | undefined;
    const abort = (): void => {
      stop = after(GRACE_MS, () => resolve(lateRejection(() => abortError(signal))));
    };
    const settled = (): void => {
      offAbort(signal, abort);
      stop?.();
    };
    if (isAborted(signal)) abort();
    else onAbort(signal, abort);
    operation.then(resolve, (error) => resolve(passedOn(error))).then(settled);
  });
}

function afterTicks<T>(operation: Promise<T>): Promise<T> {
  return operation.finally(() => new Promise<void>((resolve) => nextTick(resolve)));
}

/**
 * Runs an operation that obeys a signal, with a time limit, too, if one is given: then the signal is one that fires for
 * either. A timeout rejects with ETIMEDOUT in the shape of a system call's error, and says what a write had done.
 *
 * A timer of JavaScript, not IORING_OP_LINK_TIMEOUT: the time a call waits for its turn counts, a call of many operations
 * has one limit, and the node backend has it, too.
 */
export async function limited<T>(
  { signal, timeoutMs }: Limits,
  syscall: string,
  run: (signal: AbortSignal) => Promise<T>,
  path?: string | Buffer,
  dest?: string | Buffer,
): Promise<T> {
  throwIfAborted(signal);
  if (timeoutMs === undefined) return run(signal!);
  const controller = new AbortController();
  const forward = (): void => controller.abort(reasonOf(signal!));
  let late: Error | null = null;
  const timer = setTimeout(() => {
    late = systemError(errnoOf("ETIMEDOUT"), syscall, path, dest);
    controller.abort(late);
  }, timeoutMs);
  if (signal !== undefined) onAbort(signal, forward);
  try {
    return await run(controller.signal);
  } catch (error) {
    if (late === null || (error as Error).cause !== late) throw error;
    const { bytesWritten } = error as { bytesWritten?: number };
    throw bytesWritten === undefined ? late : Object.assign(late, { bytesWritten });
  } finally {
    clearTimeout(timer);
    if (signal !== undefined) offAbort(signal, forward);
  }
}
