// One io_uring and its JavaScript side: the staging area for SQEs, the shared CQE table, the operation table.
// It stages, submits and reaps; when to do so is the loop's business (ring/loop.ts), what an operation means its caller's.
// A ring belongs to the thread that made it and is closed on it.

import { CQE_TABLE, CQE_WORDS, Header, RingInfo, SQE_WORDS } from "../kernel/abi.ts";
import { type Address, memoryAt, type Native } from "../kernel/shim.ts";
import { Opcode, writeSqe } from "../kernel/sqe.ts";
import { EAGAIN, EBUSY, EINTR, ENOMEM } from "../node/errno.ts";
import {
  closePlainly,
  endBroken,
  type Finish,
  indexOfMany,
  LINK_SHIFT,
  type Operation,
  OperationTable,
  SLOT_MASK,
} from "./operation.ts";

/** Refusals of io_uring_enter that pass, as the header has them: positive. Any other submit error would come for ever. */
export const PASSING: ReadonlySet<number> = new Set([-EINTR, -EAGAIN, -ENOMEM, -EBUSY]);

/** IORING_SETUP_ flags this package uses (never SQPOLL: such a ring keeps old credentials after setuid, CVE-2024-22017). */
export const SetupFlag = {
  R_DISABLED: 0x40,
  COOP_TASKRUN: 0x100,
  TASKRUN_FLAG: 0x200,
  SINGLE_ISSUER: 0x1000,
  DEFER_TASKRUN: 0x2000,
} as const;

/** Counters since the ring was made. */
export interface RingStats {
  /** SQEs handed to the kernel. */ submitted: number;
  /** CQEs reaped. */ completed: number;
  /** SQEs in the kernel now. */ inFlight: number;
  /** SQEs staged in JavaScript now, not yet in the kernel. */ queued: number;
  /** Calls into the shim that can enter the kernel. */ nativeCalls: number;
  /** io_uring_enter system calls. */ enters: number;
  /** CQEs that were there when their submit returned; of what came then, all that was in flight before counts first. */
  inlineCompletions: number;
  /** Times the doorbell woke the loop. */ wakeups: number;
  /** Rounds of setImmediate spent looking for a CQE. */ spins: number;
  /** SQEs sent to io-wq threads on purpose (IOSQE_ASYNC). */ asyncForced: number;
  /**
   * SQEs that were neither among `inlineCompletions` nor among `asyncForced`: the kernel, or this package's helper thread, has
   * them done by a thread, or waits for what they are about. Links behind such a one count with it.
   */
  punts: number;
  /** SQEs staged again: interrupted, or refused where they could not wait. */ resubmissions: number;
  /** Times the CQ had overflowed into the kernel. */ overflows: number;
}

const FIRST_CAPACITY = 256;
/** Of the SQEs that are in the kernel and in the SQ when the ring is closed, each is undone once. */
const UNDONE_AT_MOST = 2;

/** Rings that were closed while the kernel still had operations: what they root may be written to, so it stays for good. */
const neverFreed: Ring[] = [];

export class Ring {
  readonly native: Native;
  readonly address: Address;
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly features: number;
  readonly setupFlags: number;
  /** Address of the shim's finalizer for ArrayBuffers over parts of regions. */
  readonly release: Address;
  readonly operations: OperationTable = new OperationTable(this);
  readonly #header: Uint32Array;
  readonly #cqes: Int32Array;

  /** Staging area, in the kernel's SQE layout; SQEs wait in [head, tail). First in, first out. */
  words: Uint32Array = new Uint32Array(FIRST_CAPACITY * SQE_WORDS);
  #head = 0;
  #tail = 0;
  #capacity = FIRST_CAPACITY;

  /** SQEs the kernel owes a CQE for. */
  inFlight = 0;
  /** Of those staged or in the kernel, SQEs of syncs and of what is linked to them. */
  syncing = 0;
  closed = false;
  /** Closed, and the kernel has given everything back. */
  isIdle = false;
  /** Set when an invariant broke: nothing more goes through this ring. */
  poisoned: Error | null = null;
  /** A flush is due already. */
  scheduled = false;
  /** An SQE was staged that waits for all before it (IOSQE_IO_DRAIN), as all behind it then do. */
  mayDrain = false;
  /** Called when the first SQE is staged: the loop arranges a flush. */
  onStaged: () => void = () => {};
  /** Called when the ring is closed or poisoned: whoever waits for something of it does so in vain. */
  onStopped: (error: Error) => void = () => {};

  submitted = 0;
  completed = 0;
  nativeCalls = 0;
  inlineCompletions = 0;
  wakeups = 0;
  spins = 0;
  asyncForced = 0;
  resubmissions = 0;

  private constructor(native: Native, info: Uint32Array, setupFlags: number) {
    const join = (word: number): number => info[word + 1]! * 2 ** 32 + info[word]!;
    this.native = native;
    this.address = join(RingInfo.ring);
    this.release = join(RingInfo.release);
    this.sqEntries = info[RingInfo.sqEntries]!;
    this.cqEntries = info[RingInfo.cqEntries]!;
    this.features = info[RingInfo.features]!;
    this.setupFlags = setupFlags;
    const shared = memoryAt(join(RingInfo.shared), info[RingInfo.sharedLength]!);
    this.#header = new Uint32Array(shared, 0, CQE_TABLE);
    this.#cqes = new Int32Array(shared, CQE_TABLE * 4);
  }

  /** Makes a ring on this thread. Returns the ring, or -errno. */
  static create(native: Native, entries: number, cqEntries: number, setupFlags: number): Ring | number {
    const info = new Uint32Array(RingInfo.words);
    const rc = native.create(entries, cqEntries, setupFlags, info);
    return rc < 0 ? rc : new Ring(native, info, setupFlags);
  }

  /** SQEs staged but not in the kernel. */
  get queued(): number {
    return this.#tail - this.#head;
  }

  /** A slot for an operation that gets `pending` CQEs; throws what broke the ring, if it is broken or closed. */
  acquire(finish: Finish, pending: number): Operation {
    if (this.poisoned !== null || this.closed) this.#refuse();
    return this.operations.acquire(finish, pending);
  }

  /** As `acquire`, for one that gets up to MAX_MANY CQEs. */
  acquireMany(finish: Finish, pending: number): Operation {
    if (this.poisoned !== null || this.closed) this.#refuse();
    return this.operations.acquireMany(finish, pending);
  }

  #refuse(): never {
    throw this.poisoned ?? new Error("bun-uring: this ring is closed");
  }

  /** Reserves the next SQE and returns its first word in `words`. Take `words` after this call: it may have grown. */
  next(): number {
    if (this.#tail === this.#capacity) this.#makeRoom(1);
    if (!this.scheduled) {
      this.scheduled = true;
      this.onStaged();
    }
    return this.#tail++ * SQE_WORDS;
  }

  /** As `next`, for `count` SQEs that lie one after another: linked ones, or those of a batch. */
  nextMany(count: number): number {
    if (this.#tail + count > this.#capacity) this.#makeRoom(count);
    if (!this.scheduled) {
      this.scheduled = true;
      this.onStaged();
    }
    const first = this.#tail;
    this.#tail += count;
    return first * SQE_WORDS;
  }

  #makeRoom(count: number): void {
    const queued = this.#tail - this.#head;
    if (this.#head >= this.#capacity >>> 1 && queued + count <= this.#capacity) {
      this.words.copyWithin(0, this.#head * SQE_WORDS, this.#tail * SQE_WORDS);
    } else {
      do this.#capacity *= 2;
      while (queued + count > this.#capacity);
      const grown = new Uint32Array(this.#capacity * SQE_WORDS);
      grown.set(this.words.subarray(this.#head * SQE_WORDS, this.#tail * SQE_WORDS));
      this.words = grown;
    }
    this.#head = 0;
    this.#tail = queued;
  }

  /**
   * One turn: hands staged SQEs to the kernel (never more in flight than the CQ holds), runs its deferred work and
   * finishes every operation whose CQE is there. Repeats, `rounds` times at most, for what the finishing staged and
   * for a queue longer than the SQ. Returns the number of CQEs.
   */
  turn(rounds: number): number {
    let reaped = 0;
    for (let round = 0; round < rounds; round++) {
      const before = this.inFlight;
      const ready = this.#tick();
      const taken = this.#header[Header.consumed]!;
      if (taken > 0) {
        this.#head += taken;
        if (this.#head === this.#tail) this.#head = this.#tail = 0;
        this.submitted += taken;
        this.inFlight += taken;
        if (ready > before) this.inlineCompletions += ready - before;
      }
      if (ready > 0) this.#reap(ready);
      else if (taken === 0 && this.inFlight === 0 && this.#tail > this.#head && this.unsubmitted === 0)
        this.poison(`a chain is longer than the SQ's ${this.sqEntries} entries`); // it would wait for room for ever
      if (this.poisoned !== null) break;
      reaped += ready;
      const more = this.#tail > this.#head && this.inFlight < this.cqEntries;
      if (ready < this.cqEntries && !(more && (ready > 0 || taken > 0))) break;
    }
    return reaped;
  }

  #tick(): number {
    this.nativeCalls++;
    return this.native.tick(
      this.address,
      this.words,
      this.#head,
      this.#tail - this.#head,
      this.cqEntries - this.inFlight,
    );
  }

  #reap(count: number): void {
    const cqes = this.#cqes;
    this.completed += count;
    this.inFlight -= count;
    for (let i = 0, end = count * CQE_WORDS; i < end; i += CQE_WORDS) {
      const low = cqes[i]!;
      const high = cqes[i + 1]!;
      const ordinary = this.operations.find(low, high);
      const operation = ordinary ?? this.operations.findMany(low, high);
      if (operation === null) return this.poison(`a CQE for slot ${low & SLOT_MASK} that waits for none`);
      const { reject, generation, life } = operation;
      operation.pending--;
      if (operation.isSync) this.syncing--;
      const link = ordinary === null ? indexOfMany(high) : low >>> LINK_SHIFT;
      try {
        operation.finish(operation, cqes[i + 2]!, cqes[i + 3]!, link);
      } catch (error) {
        reject(error); // this one's alone: those behind it have theirs to come
        endBroken(operation, generation, life);
      }
      if (this.poisoned !== null) return;
    }
  }

  /** SQEs that the kernel did not take: another turn is due. */
  get unsubmitted(): number {
    return this.#header[Header.sqReady]!;
  }

  /** The helper's pending call becomes this operation. */
  adopt(operation: Operation): void {
    this.native.helperAdopt(this.address, operation.slot, operation.generation);
    this.submitted++;
    this.inFlight++;
  }

  /** Whether all that is staged or in the kernel are syncs. */
  get onlySyncs(): boolean {
    return this.syncing > 0 && this.inFlight + this.queued <= this.syncing;
  }

  /** Whether the helper thread is there. */
  get hasHelper(): boolean {
    return this.#header[Header.helper] !== 0;
  }

  /** Whether the processors are contended for, as the helper has seen: who looks takes from whom it looks for. */
  get contended(): boolean {
    return (this.#header[Header.helper]! & 2) !== 0;
  }

  /** Whether that is so, and the helper has all that is in flight: to sleep costs no system call then. */
  get mustSleep(): boolean {
    return (this.#header[Header.helper]! & 6) === 6;
  }

  /** The errno with which the kernel refused the last submit; 0 if it did not. */
  get refusal(): number {
    return this.#header[Header.refusal]!;
  }

  /**
   * Asks the kernel to cancel the request with this user_data, staged or submitted. Advice only: its CQE comes all the
   * same. Does nothing on a ring that is closed or stopped.
   */
  cancel(low: number, high: number): void {
    if (this.closed || this.poisoned !== null) return;
    const operation = this.operations.acquire((ended) => this.operations.release(ended), 1);
    const i = this.next();
    writeSqe(this.words, i, Opcode.ASYNC_CANCEL, 0, -1, 0, 0, 0, 0, operation.slot, operation.generation);
    this.words[i + 4] = low; // addr: the target's user_data
    this.words[i + 5] = high;
    // No SQE goes out while the CQ is spoken for, or begins behind a drain, perhaps for what is to be cancelled: then
    // without one.
    if (this.inFlight === this.cqEntries || this.mayDrain) this.native.cancel(this.address, low, high);
  }

  /** Stops the ring for good: an invariant is broken, so no further result can be trusted. */
  poison(what: string): void {
    this.poisoned = new Error(`bun-uring: the ring is stopped, an invariant broke: ${what}`);
    this.onStopped(this.poisoned);
    for (const operation of this.operations.waiting()) {
      operation.whenStopped?.(operation, false);
      operation.reject(this.poisoned);
    }
  }

  /**
   * Closes the ring now; what was staged or in the kernel is cancelled and rejects. Returns the number of operations
   * that the kernel did not give back by the deadline: their memory is kept for good.
   */
  close(deadlineMs: number): number {
    if (this.closed) return 0;
    this.closed = true;
    const undone = new Uint32Array(2 * UNDONE_AT_MOST * this.cqEntries);
    const count = this.native.cancelAll(this.address, deadlineMs, undone, UNDONE_AT_MOST * this.cqEntries);
    const lost = this.native.close(this.address, 0);
    this.isIdle = lost === 0;
    if (lost !== 0) neverFreed.push(this); // below 0: a CQE too many came, and the count of what is missing means nothing
    for (let at = 0; at < 2 * count; at += 2) this.#closeUndone(undone[at]!, undone[at + 1]!);
    this.#closeStaged();
    this.onStopped(this.stopError);
    this.#abandon();
    return lost;
  }

  /** What operations reject with that the ring was closed or stopped over. */
  get stopError(): Error {
    if (this.poisoned !== null) return this.poisoned;
    const error = new Error("bun-uring: the ring was closed before the operation ended");
    return Object.assign(error, { code: "ECANCELED" });
  }

  /** Closes descriptors that only a staged CLOSE knows of: a file's own. What a user has staged is told to be undone. */
  #closeStaged(): void {
    const { words } = this;
    for (let at = this.#head * SQE_WORDS; at < this.#tail * SQE_WORDS; at += SQE_WORDS)
      this.#closeUndone(words[at + 8]!, words[at + 9]!);
    this.#head = this.#tail = 0;
  }

  /** The same for the operation with this user_data, if it is a CLOSE: it was never begun. */
  #closeUndone(low: number, high: number): void {
    const operation = this.operations.find(low | 0, high | 0);
    if (operation === null || operation.syscall !== "close") return;
    const { resolve, reject, fd } = operation;
    this.operations.release(operation);
    closePlainly(fd, resolve, reject);
  }

  #abandon(): void {
    const waiting = [...this.operations.waiting()];
    // Who waits to close a file can: no operation of this ring will begin on it any more.
    for (const { owner } of waiting)
      if (owner !== null && --owner.inFlight === 0 && owner.closing !== null) owner.closing();
    const error = this.stopError;
    for (const operation of waiting) {
      operation.owner = null;
      const { reject, lease, whenStopped } = operation;
      if (whenStopped !== null) whenStopped(operation, this.isIdle);
      else if (this.isIdle && lease !== null) lease.release();
      reject(error);
    }
  }

  stats(): RingStats {
    return {
      submitted: this.submitted,
      completed: this.completed,
      inFlight: this.inFlight,
      queued: this.queued,
      nativeCalls: this.nativeCalls,
      enters: this.closed ? 0 : this.#header[Header.enters]!,
      inlineCompletions: this.inlineCompletions,
      wakeups: this.wakeups,
      spins: this.spins,
      asyncForced: this.asyncForced,
      punts: Math.max(0, this.submitted - this.inlineCompletions - this.asyncForced),
      resubmissions: this.resubmissions,
      overflows: this.closed ? 0 : this.#header[Header.overflows]!,
    };
  }
}
