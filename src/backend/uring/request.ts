// What all ring operations of this thread share: the ring they go to, how one is begun, how it fails, how it ends.
// Assumes one ring per JavaScript thread; a ring that was shut down is replaced by a new one at the next operation.

import { NOT_TAKEN, PENDING } from "../../kernel/abi.ts";
import { stableAddress } from "../../kernel/address.ts";
import type { Address } from "../../kernel/shim.ts";
import { SqeFlag, writeSqe } from "../../kernel/sqe.ts";
import { EAGAIN, ECANCELED, EINTR, EOPNOTSUPP } from "../../node/errno.ts";
import { abortError, systemError } from "../../node/errors.ts";
import { fail as failLate } from "../../node/late-error.ts";
import { isAborted, offAbort, onAbort } from "../../node/signal.ts";
import { type RingThread, ringThread } from "../../ring/context.ts";
import { end, type Finish, type InFlightOwner, LINK_SHIFT, type Operation, promiseFor } from "../../ring/operation.ts";
import { presence } from "../../ring/presence.ts";
import { CELL_HALF, type Cell, ownPath, putPath } from "../../ring/scratch.ts";
import type { OpenFile } from "../interface.ts";

export { end } from "../../ring/operation.ts";

/** EAGAIN that comes this often, also to a thread that may wait, is the answer. */
export const MAX_RETRIES = 16;

let known: RingThread | null = null;
/** The operation that was begun last: what `cancellable` has started. */
let lastBegun: Operation | null = null;

/** This thread's ring; throws where io_uring can't be had (the backend was chosen because it can). */
export function thread(): RingThread {
  if (known !== null && !known.ring.closed) return known;
  const made = ringThread();
  if (!("ring" in made)) throw new Error(`bun-uring: io_uring is not available: ${made.message}. ${made.remedy}`);
  known = made;
  return made;
}

/** Takes a slot for an operation with one CQE. */
export function begin(t: RingThread, finish: Finish, syscall: string, owner: InFlightOwner | null): Operation {
  const operation = t.ring.acquire(finish, 1);
  operation.syscall = syscall;
  operation.owner = owner;
  if (owner !== null) owner.inFlight++;
  lastBegun = operation;
  return operation;
}

/** Stages the operation's SQE, the first time or again; from here on it waits for one CQE. Returns its first word. */
export function stage(
  t: RingThread,
  operation: Operation,
  opcode: number,
  flags: number,
  fd: number,
  offset: number,
  address: number,
  length: number,
  opFlags: number,
): number {
  const i = t.ring.next();
  if ((flags & SqeFlag.ASYNC) !== 0) t.ring.asyncForced++;
  if (operation.isSync) t.ring.syncing++;
  if (operation.pending === 0) t.ring.resubmissions++; // taken with one pending
  operation.pending = 1;
  writeSqe(t.ring.words, i, opcode, flags, fd, offset, address, length, opFlags, operation.slot, operation.generation);
  return i;
}

/** Stages link number `link` of an operation. Returns its first word. */
export function stageLink(
  t: RingThread,
  operation: Operation,
  link: number,
  opcode: number,
  flags: number,
  fd: number,
  offset: number,
  address: number,
  length: number,
  opFlags: number,
): number {
  const i = t.ring.next();
  if ((flags & SqeFlag.ASYNC) !== 0) t.ring.asyncForced++;
  if (operation.isSync) t.ring.syncing++;
  const slot = operation.slot | (link << LINK_SHIFT);
  writeSqe(t.ring.words, i, opcode, flags, fd, offset, address, length, opFlags, slot, operation.generation);
  return i;
}

/** Whether an operation that ended with `res` is to be staged again: it was interrupted, or can be tried where it may wait. */
export function isToRepeat(operation: Operation, res: number): boolean {
  if (operation.cancelled) return false;
  return res === EINTR || (res === EAGAIN && ++operation.retries < MAX_RETRIES);
}

/** The same of a transfer. One that its file system refused for a flag is made again without: for the file, that is asked once. */
export function isTransferToRepeat(operation: Operation, res: number): boolean {
  const file = operation.owner as OpenFile;
  if (res !== EOPNOTSUPP || !file.bypass) return isToRepeat(operation, res);
  file.rwFlags = 0;
  return !operation.cancelled && operation.retries++ === 0;
}

/** The SQE flag of an operation: io-wq from the second try on, which may wait where the first said EAGAIN. */
export function retryFlag(operation: Operation): number {
  return operation.retries === 0 ? 0 : SqeFlag.ASYNC;
}

/** ECANCELED that nobody asked for: the kernel could not start a thread for the operation (a limit on processes). */
export function honest(res: number): number {
  return res === ECANCELED ? EAGAIN : res;
}

/** Ends the operation with Node's error for `res`. */
export function fail(operation: Operation, res: number): void {
  const { resolve, reject, syscall, path, dest, cancelled } = operation;
  end(operation);
  failLate({ resolve, reject }, () => systemError(cancelled ? res : honest(res), syscall, path, dest));
}

/** Asks the kernel to cancel an operation, all of its `links`. Advice only: its CQEs come all the same, each in its way. */
export function cancel(target: Operation, links: number = 1): void {
  target.cancelled = true;
  if (target.pending === 0) return;
  for (let link = 0; link < links; link++) target.ring.cancel(target.slot | (link << LINK_SHIFT), target.generation);
}

/**
 * Starts an operation of the backend; when the signal fires, the kernel is asked to cancel it. It settles when its CQE has
 * come, whatever it says then. Where the operation is not the ring's (the node backend), or has ended at once, or goes
 * on with further ones, there is nothing to cancel: see that the caller doesn't wait for it (node/abort.ts).
 */
export function cancellable<T>(start: () => Promise<T>, signal: AbortSignal): Promise<T> {
  if (isAborted(signal)) return Promise.reject(abortError(signal));
  lastBegun = null;
  presence.cancelling++;
  let promise: Promise<T>;
  try {
    promise = start();
  } finally {
    presence.cancelling--;
  }
  const operation = lastBegun as Operation | null;
  lastBegun = null;
  if (operation === null || operation.pending === 0) return promise; // ended at once: its slot is the next one's
  const { generation } = operation;
  const stop = (): void => {
    if (operation.generation === generation) cancel(operation);
  };
  const off = (): void => offAbort(signal, stop);
  onAbort(signal, stop);
  promise.then(off, off);
  return promise;
}

/** Stages an operation by `again`, now and whenever it was interrupted. */
export function stageAgain(operation: Operation, again: () => void): void {
  operation.again = again;
  again();
}

/** Finishes an operation that has no value. */
export function finishVoid(operation: Operation, res: number): void {
  if (res < 0) {
    const { again } = operation;
    return res === EINTR && again !== null && !operation.cancelled ? again() : fail(operation, res);
  }
  const { resolve } = operation;
  end(operation);
  resolve(undefined);
}

/** Address of a path in the operation's cell (its half at `at`), or in memory of its own. */
export function pathAddress(operation: Operation, cell: Cell, at: number, path: string | Buffer): Address {
  const address = putPath(cell, at, path);
  if (address >= 0) return address;
  const memory = ownPath(path);
  if (operation.memory === null) operation.memory = memory;
  else operation.state = memory; // the second of two long paths
  return stableAddress(memory, 0);
}

/** io-wq from the start, with room for one more there: the operation may wait for a server. */
export function remoteFlag(t: RingThread, operation: Operation): number {
  if (operation.remote === null) {
    operation.remote = t.remote;
    t.remote.enter();
  }
  return SqeFlag.ASYNC;
}

/** `remoteFlag` for an operation that looks a path below a remote mount up. */
export function pathFlag(t: RingThread, operation: Operation, path: string | Buffer): number {
  return t.mounts.holdsPath(path) ? remoteFlag(t, operation) : 0;
}

/** Whether one of these names, which no operation follows where it is a link, may be a remote file system's. */
function holdsNames(t: RingThread, path: string | Buffer, dest?: string | Buffer): boolean {
  return t.mounts.holdsName(path) || (dest !== undefined && t.mounts.holdsName(dest));
}

/** An operation on one path or two, without a value; `fd` and `length` are the opcode's two folders, where it has them. */
export function onPaths(
  opcode: number,
  syscall: string,
  path: string | Buffer,
  dest: string | Buffer | undefined,
  fd: number,
  length: number,
  opFlags: number,
): Promise<void> {
  const t = thread();
  const waits = t.placement.mayWait();
  const cell = t.cells.acquireForPath(); // may throw: before anything waits for the operation's end
  const begun = (): Operation => {
    const operation = begin(t, finishVoid, syscall, null);
    operation.path = path;
    operation.dest = dest;
    operation.cell = cell;
    return operation;
  };
  const isRemote = holdsNames(t, path, dest);
  if (waits && !isRemote) {
    // By the helper: at once where that takes no longer than one may wait.
    const first = putPath(cell, 0, path);
    const second = dest === undefined ? 0 : putPath(cell, CELL_HALF, dest);
    const fits = first >= 0 && second >= 0;
    const res = fits ? t.native.helperCall(t.ring.address, opcode, first, second, length, opFlags) : NOT_TAKEN;
    if (res === PENDING) return adopted(t, begun());
    if (res !== NOT_TAKEN) {
      t.cells.release(cell);
      return res < 0 ? Promise.reject(systemError(res, syscall, path, dest)) : Promise.resolve();
    }
  }
  const operation = begun();
  const first = pathAddress(operation, cell, 0, path);
  const second = dest === undefined ? 0 : pathAddress(operation, cell, CELL_HALF, dest);
  const flags = isRemote ? remoteFlag(t, operation) : t.placement.punted();
  stageAgain(operation, () => stage(t, operation, opcode, flags, fd, second, first, length, opFlags));
  return promiseFor(operation);
}

/** The helper's pending call becomes this operation. */
export function adopted(t: RingThread, operation: Operation): Promise<any> {
  t.ring.adopt(operation);
  t.loop.adopted();
  return promiseFor(operation);
}
