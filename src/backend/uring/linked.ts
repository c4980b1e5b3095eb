// What the chains of whole files have in common: a slot of the direct table from before OPENAT until the CLOSE's own CQE,
// links told apart in user_data, one settlement, and an abort that rejects at once while the kernel keeps what it has.
// What the links are is backend/uring/whole-file.ts.

import type { Address } from "../../kernel/shim.ts";
import { AT_FDCWD, Opcode, SqeFlag, setFileIndex, writeSqe } from "../../kernel/sqe.ts";
import type { Landed } from "../../node/abort.ts";
import { setTimeout } from "../../node/clock.ts";
import { abortError, systemError } from "../../node/errors.ts";
import { offAbort, onAbort } from "../../node/signal.ts";
import type { RingThread } from "../../ring/context.ts";
import { LINK_SHIFT, type Operation } from "../../ring/operation.ts";
import type { Lane } from "../../ring/read-buffer.ts";
import type { Path } from "../interface.ts";
import { cancel, EINTR, end, MAX_RETRIES, pathAddress, pathFlag } from "./request.ts";

/** Links of a chain at most. */
const LINKS = 4;
/** Milliseconds after which a cancellation is asked for again, four times as many each time, up to the second number. */
const [CANCEL_AGAIN_MS, CANCEL_LAST_MS] = [1, 1024];
/** `opened` of a chain that has no file in its slot. */
const NOT_OPENED = -1;
const ECANCELED = -125;

/** What a chain keeps between its CQEs. */
export interface Chain {
  readonly t: RingThread;
  /** Its slot of the direct table; -1 while it waits for one. */
  slot: number;
  /** Its place in the line for a slot. */
  waiting: ((slot: number) => void) | null;
  path: Path;
  readonly flags: number;
  readonly mode: number;
  /** Where the kernel finds the path. */
  address: Address;
  lane: Lane | null;
  encoding: BufferEncoding | null;
  /** Result of OPENAT. */
  opened: number;
  /** Results of the first and second READ, or of WRITE and FSYNC. */
  first: number;
  second: number;
  /** Result of a linked CLOSE. */
  closed: number;
  result: Buffer | string | undefined;
  error: Error | null;
  data: Uint8Array | null;
  /** Counts what is written of `data`. */
  landed: Landed;
  flush: boolean;
  readonly signal: AbortSignal | null;
  onAbort: (() => void) | null;
}

export function newChain(
  t: RingThread,
  path: Path,
  flags: number,
  mode: number,
  signal: AbortSignal | null | undefined,
): Chain {
  return {
    t,
    slot: -1,
    waiting: null,
    path,
    flags,
    mode,
    address: 0,
    lane: null,
    encoding: null,
    opened: NOT_OPENED,
    first: 0,
    second: 0,
    closed: ECANCELED,
    result: undefined,
    error: null,
    data: null,
    landed: { bytes: 0 },
    flush: false,
    signal: signal ?? null,
    onAbort: null,
  };
}

/** What stages a chain's links, the first time or again. */
type StageLinks = (operation: Operation, chain: Chain) => void;

/** Gives the chain a slot, now or in its turn, and stages it. */
export function startChain(operation: Operation, chain: Chain, stageLinks: StageLinks): void {
  const { direct } = chain.t;
  operation.syscall = "open";
  operation.state = chain;
  operation.path = chain.path;
  if (chain.signal !== null) watchSignal(operation, chain, chain.signal);
  const slot = direct.tryTake();
  if (slot >= 0) return begin(operation, chain, stageLinks, slot);
  // The caller may change its Buffer as soon as the call has returned.
  if (typeof chain.path !== "string") operation.path = chain.path = Buffer.from(chain.path);
  chain.waiting = (late) => begin(operation, chain, stageLinks, late);
  direct.take(chain.waiting);
}

function begin(operation: Operation, chain: Chain, stageLinks: StageLinks, slot: number): void {
  chain.slot = slot;
  try {
    const cell = chain.t.cells.takeForPath();
    operation.cell = cell;
    chain.address = pathAddress(operation, cell, 0, chain.path);
    stageLinks(operation, chain);
  } catch (error) {
    chain.error = error as Error; // no memory: nothing is staged yet
    settleChain(operation, chain);
  }
}

/** Stages link number `link` of the operation's chain. Returns its first word. */
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
  const slot = operation.slot | (link << LINK_SHIFT);
  writeSqe(t.ring.words, i, opcode, flags, fd, offset, address, length, opFlags, slot, operation.generation);
  return i;
}

/** Stages link 0, which opens the file into the chain's slot. */
export function stageOpen(operation: Operation, chain: Chain, sqeFlags: number): void {
  const { t, address, flags, mode } = chain;
  const all = sqeFlags | pathFlag(t, chain.path);
  const i = stageLink(t, operation, 0, Opcode.OPENAT, all, AT_FDCWD, 0, address, mode, flags);
  setFileIndex(t.ring.words, i, chain.slot);
}

/** Stages the CLOSE of the chain's slot. */
export function stageClose(operation: Operation, chain: Chain, link: number): void {
  const i = stageLink(chain.t, operation, link, Opcode.CLOSE, 0, 0, 0, 0, 0, 0);
  setFileIndex(chain.t.ring.words, i, chain.slot);
}

/** Ends the chain: closes the slot first if a file is in it, settles when that CQE has come. */
export function finishChain(operation: Operation, chain: Chain): void {
  const { ring } = chain.t;
  if (ring.closed || ring.poisoned !== null) return abandonChain(operation, chain);
  if (chain.opened < 0) return settleChain(operation, chain);
  operation.pending = 1;
  operation.finish = closed;
  stageClose(operation, chain, 0);
}

function closed(operation: Operation, res: number): void {
  const chain = operation.state as Chain;
  // Never begun: the file is in the slot yet, and would stay there when the slot is given back.
  if (res === ECANCELED && operation.retries++ < MAX_RETRIES) return finishChain(operation, chain);
  if (res < 0 && res !== EINTR) chain.error ??= systemError(res, "close");
  settleChain(operation, chain);
}

/** Nothing of the chain is in the kernel, and its slot holds no file. */
export function settleChain(operation: Operation, chain: Chain): void {
  const { resolve, reject } = operation;
  const { t, lane } = chain;
  if (chain.onAbort !== null) offAbort(chain.signal!, chain.onAbort);
  if (lane !== null) t.lanes.give(lane);
  end(operation);
  if (chain.slot >= 0) t.direct.give(chain.slot);
  if (chain.error !== null) reject(chain.error);
  else resolve(chain.result);
}

/** The ring is closed or stopped: no CQE will come, and nothing that the kernel might have is given back. */
function abandonChain(operation: Operation, chain: Chain): void {
  const { ring } = chain.t;
  if (chain.onAbort !== null) offAbort(chain.signal!, chain.onAbort);
  operation.reject(chain.error ?? ring.poisoned ?? new Error("bun-uring: the ring was closed"));
}

/**
 * Rejects at once when the signal fires; the chain itself ends when the kernel gives it back. A write that has begun
 * rejects only then: by then it is known what has landed.
 */
function watchSignal(operation: Operation, chain: Chain, signal: AbortSignal): void {
  chain.onAbort = () => {
    chain.error = abortError(signal);
    if (chain.slot < 0) {
      // Nothing has begun. It does not stay in line to be told so: those who abort what they ask for, again and again,
      // would fill the memory before the line moves.
      chain.t.direct.leave(chain.waiting!);
      return settleChain(operation, chain);
    }
    if (chain.data === null) operation.reject(chain.error);
    cancelChain(operation, chain, operation.generation, CANCEL_AGAIN_MS);
  };
  onAbort(signal, chain.onAbort);
}

/**
 * Cancels every link of a chain in the kernel. Again a little later: the kernel does not find a link that has not begun,
 * and a hardlinked one begins because the one before it was cancelled.
 */
function cancelChain(operation: Operation, chain: Chain, generation: number, againMs: number): void {
  if (operation.generation !== generation || operation.pending === 0) return;
  cancel(chain.t, operation, LINKS);
  if (againMs > CANCEL_LAST_MS) return;
  setTimeout(cancelChain, againMs, operation, chain, generation, againMs * 4).unref();
}
