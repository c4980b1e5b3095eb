// What node:fs's callback functions do on Bun's thread pool, as operations with Node's errors, repeated where a signal has
// interrupted them. And the end of the thread, to which no callback comes any more: what is asked for then is done by the
// blocking call; what the pool has gets a moment, and then counts as done, so that what comes behind it is done, too.

import { constants } from "../kernel/constants.ts";
import { clockMs } from "../node/clock.ts";
import { EINTR } from "../node/errno.ts";
import { closedError, retold } from "../node/errors.ts";
import { atExit, isExiting, Moved } from "../node/exit.ts";
import { isFreeOrFile, PoolState, poolState } from "../node/exit-calls.ts";
import { fail as failLate } from "../node/late-error.ts";
import type { OpenFile, Path } from "./interface.ts";

export type Done<R> = (error: NodeJS.ErrnoException | null, result?: R) => void;

/** What becomes of an operation at the end of the thread. */
export interface AtEnd<R> {
  /** Does it here. Null, or what gives null: only the pool may, for it might wait for ever; or there is no need. */
  readonly here: (() => R | null) | null;
  /**
   * What it has come to, where the pool had it; it is done anew where that does no harm. Null, or what gives null: that
   * can't be said.
   */
  readonly assumed: (() => R | null) | null;
  /** How much it writes. */
  readonly bytes?: number;
}

/** What only looks: nobody hears of its result when the thread ends. */
const LOOKING: ReadonlySet<string> = new Set(["read", "stat", "lstat", "fstat"]);
/**
 * What the pool has at the end of the thread counts as done when its threads have nothing to do, after so long: those that were just
 * woken are seen then. Where they can't be seen: after so long for each byte more; and all is left to it after so long.
 */
const [ASSUMED_MS, BYTES_PER_MS, POOL_MS] = [2, 100_000, 20];
/** However busy the pool is, and doing things anew ends then. */
const LIMIT_MS = 800;

/** What the pool has that changes something, with the milliseconds of its bytes. */
const pending: Map<() => void, number> = new Map();
/** How many more changes it has, which are only waited for. */
let changes = 0;
let isWaitedFor = false;
/** What it has that only looks. */
const looking: Set<() => void> = new Set();

function endOfThread(elapsedMs: number): Moved {
  const before = pending.size + changes;
  if (before === 0) {
    for (const settle of [...looking]) settle();
    return Moved.idle;
  }
  if (elapsedMs <= ASSUMED_MS) return Moved.waits;
  const pool = poolState();
  if (pool === PoolState.busy && elapsedMs < LIMIT_MS) return Moved.moves;
  const start = clockMs() - elapsedMs;
  for (const settle of [...looking]) settle();
  for (const [settle, ownMs] of [...pending]) {
    const isDone = pool === PoolState.quiet || elapsedMs > ASSUMED_MS + ownMs;
    if (!isDone || clockMs() - start >= LIMIT_MS) continue;
    try {
      settle();
    } catch {
      // nobody is left to hear of it
    }
  }
  if (pending.size + changes < before) return Moved.moves;
  if (pool === PoolState.quiet) return Moved.idle; // what is pending still is done, or nobody's to do
  if (changes > 0 && elapsedMs < POOL_MS) return Moved.waits;
  for (const ownMs of pending.values()) if (elapsedMs < POOL_MS + ownMs) return Moved.waits;
  return Moved.idle;
}

function waitFor(): void {
  isWaitedFor = true;
  atExit(endOfThread);
}

/**
 * Counts work that the pool has, until `leavePool`. `settle`, a function of its own for each, is called at the end of the
 * thread, perhaps more than once.
 */
export function enterPool(settle: () => void, bytes: number): void {
  if (!isWaitedFor) waitFor();
  pending.set(settle, bytes / BYTES_PER_MS);
}

export function leavePool(settle: () => void): void {
  pending.delete(settle);
}

/** Counts a change that the pool has, until `endChange`: only its end is waited for. */
export function beginChange(): void {
  if (!isWaitedFor) waitFor();
  changes++;
}

export function endChange(): void {
  changes--;
}

function release(file: OpenFile): void {
  if (--file.inFlight === 0 && file.closing !== null) file.closing();
}

/** Runs `start` until it isn't interrupted. Rejects with the system's error in Node's shape. */
export function attempt<R>(
  syscall: string,
  start: (done: Done<R>) => void,
  path?: Path,
  dest?: Path,
  file: OpenFile | null = null,
  atEnd: AtEnd<R> | null = null,
): Promise<R> {
  return new Promise<R>((resolve, reject) => {
    const isLook = LOOKING.has(syscall);
    const ended = (): void => {
      if (isLook) looking.delete(ended);
      else leavePool(settle);
      if (file !== null) release(file);
    };
    const fail = (error: NodeJS.ErrnoException): void => {
      ended();
      failLate({ resolve, reject }, () => retold(error, syscall, path, dest));
    };
    const done: Done<R> = (error, result) => {
      if (error === null || error === undefined) {
        ended();
        resolve(result as R);
      } else if (error.errno === EINTR) {
        run(() => start(done));
      } else {
        fail(error);
      }
    };
    const run = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        fail(error as NodeJS.ErrnoException);
      }
    };
    const assume = (): void => {
      const result = atEnd!.assumed!();
      if (result !== null) done(null, result);
    };
    const settle = (): void => (atEnd?.assumed ? run(assume) : undefined);
    if (isLook) looking.add(ended);
    else enterPool(settle, atEnd?.bytes ?? 0);
    if (file !== null) file.inFlight++;
    run(() => {
      const result = isExiting() && atEnd?.here ? atEnd.here() : null;
      if (result === null) start(done);
      else done(null, result);
    });
  });
}

/** An operation on a descriptor, counted in its file until it ends. */
export function onFile<R>(
  file: OpenFile,
  syscall: string,
  start: (fd: number, done: Done<R>) => void,
  atEnd: ((fd: number) => AtEnd<R>) | null = null,
): Promise<R> {
  const { fd } = file;
  if (fd < 0) return Promise.reject(closedError(syscall));
  const work = (done: Done<R>): void => start(fd, done);
  return attempt<R>(syscall, work, undefined, undefined, file, atEnd === null ? null : atEnd(fd));
}

/** The end of an open, which must not wait for another process: what there is is a regular file, or nothing. */
export function openAtEnd<R>(path: Path, flags: number, open: () => R): AtEnd<R> {
  const openHere = (): R | null => (isFreeOrFile(path) ? open() : null);
  const { O_EXCL, O_WRONLY, O_RDWR } = constants;
  const isRead = (flags & (O_WRONLY | O_RDWR)) === 0; // nobody reads any more
  // With O_EXCL it would be told that the file is there: its own, or somebody's.
  return { here: openHere, assumed: isRead || (flags & O_EXCL) !== 0 ? null : openHere };
}
