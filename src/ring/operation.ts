// The operation table: one slot for each operation that the kernel owes a completion. A slot holds what must stay
// alive until then (buffers, paths, the promise) and a generation, so that a late or doubled CQE can't reach its successor.

import { closeSync } from "node:fs";
import type { KernelBuffer } from "./kernel-memory.ts";
import type { HeldViews, LeasedMemory } from "./lease.ts";
import type { RemoteWork } from "./remote-work.ts";
import type { Cell } from "./scratch.ts";

/** What runs when a CQE comes: `link` numbers the SQEs of an operation that has several. */
export type Finish = (operation: Operation, res: number, flags: number, link: number) => void;

/** What an operation acts on and must not outlive; counted by whoever owns it. */
export interface InFlightOwner {
  inFlight: number;
  closing: (() => void) | null;
}

/** What an operation knows of its ring. */
interface OwnRing {
  readonly operations: OperationTable;
  /** What operations reject with that it was closed or stopped over. */
  readonly stopError: Error;
  resubmissions: number;
  cancel(low: number, high: number): void;
  poison(what: string): void;
}

const ignore = (): void => {};

/** One slot. It is reused: `generation` tells its lives apart, `pending` is 0 while it is free. */
export class Operation {
  /** Where it goes and where it ends, also when the thread has another ring by then. */
  readonly ring: OwnRing;
  readonly slot: number;
  generation: number = 1;
  /** Which life of a slot with many CQEs this is (`acquireMany`); -1 in an ordinary slot. */
  life: number = -1;
  /** CQEs still to come. */
  pending: number = 0;
  finish: Finish = ignore;
  resolve: (value: any) => void = ignore;
  reject: (reason: unknown) => void = ignore;
  owner: InFlightOwner | null = null;
  /** The user's view, and the byteLength it had: both must be the same when the operation ends. */
  view: ArrayBufferView | null = null;
  byteLength: number = 0;
  syscall: string = "";
  path: string | Buffer | undefined = undefined;
  dest: string | Buffer | undefined = undefined;
  fd: number = -1;
  /** Where a transfer goes on after an interruption. */
  offset: number = 0;
  length: number = 0;
  position: number | bigint = 0;
  /** What a transfer at the file's own position has claimed of it; null for one elsewhere. */
  claim: { fd: number; start: number; bytes: number } | null = null;
  /** Somebody here asked for its cancellation. */
  cancelled: boolean = false;
  /** Stages the operation once more, where `finish` can't: after EINTR. */
  again: (() => void) | null = null;
  /** Times that the kernel said EAGAIN. */
  retries: number = 0;
  /** A sync, or a chain that ends in one: it takes as long as a device does, so nobody looks for it. */
  isSync: boolean = false;
  /** Shim memory of the operation, and other memory that must live until the CQE. */
  cell: Cell | null = null;
  memory: Uint8Array | null = null;
  /** Where it is counted, if it may wait for a server. */
  remote: RemoteWork | null = null;
  /** What the kernel has in the place of the user's view. */
  standIn: KernelBuffer | null = null;
  /** The pools' memory that the operation uses: not lent out again before the CQE. */
  lease: LeasedMemory | HeldViews | null = null;
  /**
   * Called when the ring is closed or stopped over the operation, whose promise then rejects: what listens for it ends.
   * `isIdle`: the kernel has given everything back.
   */
  whenStopped: ((operation: Operation, isIdle: boolean) => void) | null = null;
  /** Whatever else `finish` needs. */
  state: any = null;

  constructor(ring: OwnRing, slot: number) {
    this.ring = ring;
    this.slot = slot;
  }
}

/** user_data's low word: 24 bits of slot, 8 bits of link. */
export const SLOT_MASK = 0xff_ffff;
export const LINK_SHIFT = 24;
const MAX_SLOTS = SLOT_MASK + 1;

// A slot with many CQEs (a batch) tells them apart by an index, for which 8 bits of link are too few. Such slots are
// never used for anything else, so their user_data can be cut differently: 24 bits of slot and 8 of life in the low
// word, 12 of life and 20 of index in the high one. A stale CQE of an ordinary operation names an ordinary slot, one of
// an earlier batch carries another of 2^20 lives, and a doubled one finds its index done: each is told from a good one.
const INDEX_BITS = 20;
const INDEX_MASK = 2 ** INDEX_BITS - 1;
const LIFE_MASK = 0xf_ffff;
const LIFE_LOW_BITS = 12;
/** CQEs that one operation can have. One less than the index has room for: see NO_GENERATION. */
export const MAX_MANY: number = INDEX_MASK;
/** High word that no CQE of a batch has: all of its index bits are set. */
const NO_GENERATION = -1;

/** Low word of the user_data of an operation with many CQEs. */
export function lowOfMany(operation: Operation): number {
  return operation.slot | ((operation.life >>> LIFE_LOW_BITS) << LINK_SHIFT);
}

/** High word of the user_data of its CQE number `index`: this plus the index. */
export function highOfMany(operation: Operation): number {
  return operation.life << INDEX_BITS;
}

/** The index that a CQE's high word names. */
export function indexOfMany(high: number): number {
  return high & INDEX_MASK;
}

/** What stands in the place of a result of a batch that has not come: no length and no errno. */
export const NOT_YET: number = -(2 ** 31);

/** Notes a result of an operation with many CQEs. False if there was one already: the ring is stopped then. */
export function noteResult(operation: Operation, results: Int32Array, index: number, res: number): boolean {
  const isFirst = results[index] === NOT_YET;
  if (isFirst) results[index] = res;
  else operation.ring.poison(`a second CQE for SQE ${index} of a batch`);
  return isFirst;
}

/** Asks the kernel to cancel the first `count` SQEs of an operation with many, as far as their results have not come. */
export function cancelMany(operation: Operation, results: Int32Array, count: number = results.length): void {
  const low = lowOfMany(operation);
  const high = highOfMany(operation);
  for (let index = 0; index < count; index++) if (results[index] === NOT_YET) operation.ring.cancel(low, high + index);
}

let resolveOfLast: (value: any) => void = ignore;
let rejectOfLast: (reason: unknown) => void = ignore;
// One executor for all promises: no closure is made per operation.
const capture = (resolve: (value: any) => void, reject: (reason: unknown) => void): void => {
  resolveOfLast = resolve;
  rejectOfLast = reject;
};

/** All slots of one ring; grows with what is outstanding and never shrinks. */
export class OperationTable {
  readonly #ring: OwnRing;
  readonly #slots: Operation[] = [];
  readonly #free: Operation[] = [];
  readonly #freeOfMany: Operation[] = [];

  constructor(ring: OwnRing) {
    this.#ring = ring;
  }

  /** Slots that operations have, also such as wait for no CQE just now. */
  get used(): number {
    return this.#slots.length - this.#free.length - this.#freeOfMany.length;
  }

  /** Takes a slot for an operation that gets `pending` CQEs. The promise to return is `promiseFor(operation)`. */
  acquire(finish: Finish, pending: number): Operation {
    const operation = this.#free.length > 0 ? this.#free.pop()! : this.#grow();
    operation.finish = finish;
    operation.pending = pending;
    return operation;
  }

  #grow(): Operation {
    if (this.#slots.length === MAX_SLOTS) throw new Error("bun-uring: more than 16,777,216 operations outstanding");
    const operation = new Operation(this.#ring, this.#slots.length);
    this.#slots.push(operation);
    return operation;
  }

  /** The operation that a CQE's user_data names, or null if that one is not waiting for a CQE. */
  find(low: number, generation: number): Operation | null {
    const operation = this.#slots[low & SLOT_MASK];
    if (operation === undefined || operation.generation !== generation || operation.pending === 0) return null;
    return operation;
  }

  /** Takes a slot for an operation with up to MAX_MANY CQEs; `finish` gets their index as `link`. */
  acquireMany(finish: Finish, pending: number): Operation {
    let operation = this.#freeOfMany.pop();
    if (operation === undefined) {
      operation = this.#grow();
      operation.generation = NO_GENERATION;
      operation.life = 0;
    }
    operation.finish = finish;
    operation.pending = pending;
    return operation;
  }

  /** As `find`, for CQEs of slots with many. */
  findMany(low: number, high: number): Operation | null {
    const operation = this.#slots[low & SLOT_MASK];
    if (operation === undefined || operation.life < 0 || operation.pending === 0) return null;
    const life = ((low >>> LINK_SHIFT) << LIFE_LOW_BITS) | (high >>> INDEX_BITS);
    return operation.life === life ? operation : null;
  }

  /** Frees the slot of an operation with many CQEs. */
  releaseMany(operation: Operation): void {
    operation.life = (operation.life + 1) & LIFE_MASK;
    this.#clear(operation);
    this.#freeOfMany.push(operation);
  }

  /** Frees the slot. Nothing of the old life stays reachable from it. */
  release(operation: Operation): void {
    operation.generation = (operation.generation + 1) | 0;
    this.#clear(operation);
    this.#free.push(operation);
  }

  #clear(operation: Operation): void {
    operation.pending = 0;
    operation.finish = ignore;
    operation.resolve = ignore;
    operation.reject = ignore;
    operation.owner = null;
    operation.view = null;
    operation.syscall = "";
    operation.path = undefined;
    operation.dest = undefined;
    operation.cancelled = false;
    operation.cell = null;
    operation.memory = null;
    operation.standIn = null;
    operation.remote = null;
    operation.retries = 0;
    operation.isSync = false;
    operation.again = null;
    operation.lease = null;
    operation.claim = null;
    operation.whenStopped = null;
    operation.state = null;
  }

  /** Operations that still wait for a CQE. */
  *waiting(): Generator<Operation> {
    for (const operation of this.#slots) if (operation.pending > 0) yield operation;
  }
}

/** Makes the operation's promise. */
export function promiseFor(operation: Operation): Promise<any> {
  const promise = new Promise<any>(capture);
  operation.resolve = resolveOfLast;
  operation.reject = rejectOfLast;
  // Or this promise and its result would live until the next one is made.
  resolveOfLast = ignore;
  rejectOfLast = ignore;
  return promise;
}

/** Ends the operation: its slot, cell and memory are free, its owner may close. */
export function end(operation: Operation): void {
  const { owner, cell, lease, standIn, remote } = operation;
  if (cell !== null) cell.cells!.release(cell);
  operation.ring.operations.release(operation);
  if (lease !== null) lease.release();
  if (standIn !== null) standIn.release();
  if (remote !== null) remote.leave();
  if (owner !== null && --owner.inFlight === 0 && owner.closing !== null) owner.closing();
}

/**
 * Ends an operation whose `finish` has thrown, where it waits for nothing more and has not ended itself: nobody else is to
 * suffer for it. Its promise has been told.
 */
export function endBroken(operation: Operation, generation: number, life: number): void {
  const { whenStopped, ring } = operation;
  const isOver = (): boolean => operation.pending > 0 || operation.generation !== generation || operation.life !== life;
  try {
    if (isOver()) return;
    whenStopped?.(operation, true);
    if (isOver()) return;
    if (life >= 0) ring.operations.releaseMany(operation);
    else end(operation);
  } catch {
    // what it had taken stays taken
  }
}

/** close(2) without a ring, for a promise. */
export function closePlainly(fd: number, resolve: Operation["resolve"], reject: Operation["reject"]): void {
  try {
    closeSync(fd);
    resolve(undefined);
  } catch (error) {
    reject(error);
  }
}
