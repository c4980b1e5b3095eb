// BufferPool: page-aligned buffers for reads and writes, lent and taken back. On io_uring the memory is the shim's and, where
// the memlock limit allows it, registered with the ring. Memory goes to the next only when its last operation has ended;
// taking it back detaches every view of the old lease, so that nobody writes into what is somebody else's by now.

import { fallbackReason } from "../backend/choose.ts";
import { validateAlignment } from "../kernel/aligned.ts";
import { type Limits, limited, throwIfAborted } from "../node/abort.ts";
import { validateInteger, validateObject } from "../node/arguments.ts";
import { setTimeout } from "../node/clock.ts";
import { abortError } from "../node/errors.ts";
import { limitsIn } from "../node/options.ts";
import { offAbort, onAbort } from "../node/signal.ts";
import { ringThread } from "../ring/context.ts";
import { LeasedMemory, markLeased } from "../ring/lease.ts";
import { presence } from "../ring/presence.ts";
import { heapRegion, type Region, shimRegion } from "./pool-region.ts";

/** The shape of a `BufferPool`: all of its memory is had at once, outside the JavaScript heap. */
export interface BufferPoolOptions {
  /** Bytes of each buffer. */
  size: number;
  /** Buffers in the pool. */
  count: number;
  /** Alignment of each buffer in memory, a power of two from 1 to 2 MiB. Default 4096, what O_DIRECT asks for at most. */
  alignment?: number;
}

/** What ends the waiting for a buffer. */
export interface AcquireOptions extends Limits {}

/** Milliseconds after which lost memory is looked at again while somebody waits for a buffer: the first, and the most. */
const [LOOK_MS, LOOK_LAST_MS] = [10, 1000];

/** One buffer of the pool. The pool holds its ArrayBuffer only while nobody has it: so a lost lease can be noticed. */
class Block {
  readonly index: number;
  /** Counts the block's leases. */
  generation = 0;
  buffer: ArrayBuffer | null = null;

  constructor(index: number) {
    this.index = index;
  }
}

interface Waiter {
  resolve: (lease: BufferLease) => void;
  reject: (reason: unknown) => void;
  signal: AbortSignal | undefined;
  onAbort: () => void;
}

function invalidState(message: string): Error {
  return Object.assign(new Error(message), { code: "ERR_INVALID_STATE" });
}

/** One buffer, lent until `release()` or the end of its `using` block. */
export class BufferLease {
  /** Number of this lease among those of its block; tells a block's users apart. */
  readonly generation: number;
  readonly #bytes: Buffer;
  readonly #memory: LeasedMemory;
  #giveBack: ((lease: BufferLease, memory: LeasedMemory) => void) | null;

  /** Leases come from a pool: BufferPool.acquire. */
  constructor(
    bytes: Buffer,
    memory: LeasedMemory,
    generation: number,
    giveBack: (lease: BufferLease, memory: LeasedMemory) => void,
  ) {
    this.generation = generation;
    this.#bytes = bytes;
    this.#memory = memory;
    this.#giveBack = giveBack;
  }

  /** The buffer, `pool.size` bytes with whatever they held before. Throws ERR_INVALID_STATE once released. */
  get bytes(): Buffer {
    if (this.#giveBack === null) throw invalidState("bun-uring: this lease's buffer was used after its release");
    return this.#bytes;
  }

  /** The ring's fixed buffer that holds the bytes, or -1 where they are not registered. */
  get fixedIndex(): number {
    return this.#memory.region.fixedIndex;
  }

  /**
   * Gives the buffer back. Its views become empty, at once or when the operations that still use it have ended; before
   * that nobody else gets the memory. Throws ERR_INVALID_STATE if called twice.
   */
  release(): void {
    const giveBack = this.#giveBack;
    if (giveBack === null) throw invalidState("bun-uring: this lease was released twice");
    this.#giveBack = null;
    giveBack(this, this.#memory);
  }

  /** As `release()`, but fine if it was released already. */
  [Symbol.dispose](): void {
    if (this.#giveBack !== null) this.release();
  }
}

/**
 * A fixed number of equal, aligned buffers.
 *
 * - `acquire()` waits in line when all are out; `tryAcquire()` gives null then.
 * - Reads and writes on `lease.bytes`, and on views of it, use the ring's fixed buffers by themselves where `registered`.
 * - A lease that is dropped without `release()` is reported once (`process.on("warning")`) and its buffer comes back.
 * - A pool that is no longer needed must be closed; its memory is freed when the last lease is back.
 */
export class BufferPool {
  readonly size: number;
  readonly count: number;
  readonly alignment: number;
  readonly #region: Region;
  readonly #free: Block[] = [];
  readonly #waiting: Waiter[] = [];
  readonly #lost: FinalizationRegistry<{ block: Block; generation: number }>;
  /** Blocks whose memory a user took away (ArrayBuffer.transfer): never lent again. */
  #taken = 0;
  /**
   * Blocks whose lease has ended while somebody else has their memory, which may come back yet, and whether the lease was lost: its
   * memory was handed on. Else something that is not ours is at work on it: one of Bun's own functions.
   */
  readonly #handedOn = new Map<Block, boolean>();
  #lookMs = LOOK_MS;
  #looking = false;
  #closed = false;
  #freed = false;
  #warned = false;

  /** Throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE or ERR_OUT_OF_RANGE for wrong options. */
  constructor(options: BufferPoolOptions);
  /** @internal `makesRing`: a ring is made if there is none yet and one can be had. */
  constructor(options: BufferPoolOptions, makesRing: boolean);
  constructor(options: BufferPoolOptions, makesRing: boolean = true) {
    validateObject(options, "options");
    const { size, count, alignment = 4096 } = options;
    validateInteger(size, "options.size", 1, 2 ** 31 - 1);
    validateInteger(count, "options.count", 1, 65_536);
    validateAlignment(alignment, "options.alignment");
    this.size = size;
    this.count = count;
    this.alignment = alignment;
    const onRing = (makesRing || presence.ring !== null) && fallbackReason() === null;
    const thread = onRing ? ringThread() : null;
    this.#region =
      thread !== null && "ring" in thread ? shimRegion(thread, size, count, alignment) : heapRegion(size, alignment);
    for (let index = count - 1; index >= 0; index--) this.#free.push(new Block(index));
    this.#lost = new FinalizationRegistry(({ block, generation }) => {
      if (block.generation !== generation) return;
      this.#handedOn.set(block, true);
      this.#recoverLost();
    });
  }

  /** Buffers that `tryAcquire` could give now. */
  get available(): number {
    return this.#free.length;
  }

  /** Whether the memory is registered with this thread's ring. */
  get registered(): boolean {
    return this.#region.fixedIndex >= 0;
  }

  /** Whether the ring that the memory was made for has been shut down; the pool goes on without registration. */
  get orphaned(): boolean {
    return this.#region.orphaned;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** A buffer, now or when one is given back, in order of asking. Rejects with an AbortError, ETIMEDOUT, or if the pool is closed. */
  async acquire(options: AcquireOptions = {}): Promise<BufferLease> {
    validateObject(options, "options");
    const limits = limitsIn(options) ?? {};
    const { signal, timeoutMs } = limits;
    throwIfAborted(signal);
    const lease = this.tryAcquire();
    if (lease !== null) return lease;
    if (timeoutMs === undefined) return this.#wait(signal);
    return limited(limits, "acquire", (either) => this.#wait(either));
  }

  #wait(signal: AbortSignal | undefined): Promise<BufferLease> {
    return new Promise<BufferLease>((resolve, reject) => {
      const waiter: Waiter = { resolve, reject, signal, onAbort: () => this.#forget(waiter) };
      if (signal !== undefined) onAbort(signal, waiter.onAbort);
      this.#waiting.push(waiter);
      this.#lookAgain();
    });
  }

  /** A buffer if one is free, else null. Throws ERR_INVALID_STATE if the pool is closed. */
  tryAcquire(): BufferLease | null {
    this.#refuseIfClosed();
    if (this.#free.length === 0) this.#recoverLost();
    if (this.#free.length === 0) return null; // what is given back goes to those who wait, never past them
    return this.#lend(this.#free.pop()!);
  }

  /** Refuses further leases and those who wait; frees the memory when the last lease is back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const waiter of this.#waiting.splice(0)) {
      stopListening(waiter);
      waiter.reject(closedPool());
    }
    this.#freeIfDone();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw closedPool();
  }

  #forget(waiter: Waiter): void {
    this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
    waiter.reject(abortError(waiter.signal!));
  }

  #lend(block: Block): BufferLease {
    const buffer = block.buffer ?? this.#region.bufferAt(block.index);
    block.buffer = null;
    const generation = ++block.generation;
    const bytes = Buffer.from(buffer, this.#region.offsetIn(buffer), this.size);
    const memory = new LeasedMemory(this.#region);
    const lease = new BufferLease(bytes, memory, generation, (released, held) => {
      this.#lost.unregister(released);
      if (held.inFlight === 0) this.#takeBack(block, buffer);
      else held.whenIdle = () => this.#takeBack(block, buffer);
    });
    // Who holds a view holds the lease: only when both are gone is the lease lost.
    memory.lease = lease;
    markLeased(buffer, memory);
    this.#lost.register(lease, { block, generation }, lease);
    return lease;
  }

  #takeBack(block: Block, buffer: ArrayBuffer): void {
    if (buffer.detached) return this.#giveUp(block);
    // The same memory under a new object: every view of the lease is empty from here on.
    const same = buffer.transfer();
    if (buffer.detached) {
      block.buffer = same;
      return this.#makeAvailable(block);
    }
    // It is pinned, and that is a copy, which the kernel does not know.
    block.generation++;
    this.#handedOn.set(block, false);
    this.#recoverLost();
  }

  #giveUp(block: Block): void {
    if (this.#region.replaceable) return this.#makeAvailable(block);
    this.#taken++;
    block.generation++;
    process.emitWarning(
      "The ArrayBuffer of a BufferPool's lease was transferred away; the pool has one buffer less",
      "BunUringWarning",
    );
    this.#freeIfDone();
  }

  /** Takes back the memory of lost leases, unless somebody has it: a lease's ArrayBuffer may be handed on, the lease not. */
  #recoverLost(): void {
    if (this.#closed) return this.#freeIfDone();
    for (const [block, isLost] of this.#handedOn) {
      if (this.#region.isHeld(block.index)) continue;
      this.#handedOn.delete(block);
      if (isLost) this.#recover(block);
      else this.#makeAvailable(block);
    }
    this.#lookAgain();
  }

  /** Nobody tells when memory that was handed on is let go: it is looked for while a buffer is wanted. */
  #lookAgain(): void {
    const wanted = this.#handedOn.size > 0 && this.#waiting.length > 0;
    if (!wanted) this.#lookMs = LOOK_MS;
    if (!wanted || this.#looking) return;
    this.#looking = true;
    const look = (): void => {
      this.#looking = false;
      this.#recoverLost();
    };
    setTimeout(look, this.#lookMs).unref();
    this.#lookMs = Math.min(LOOK_LAST_MS, this.#lookMs * 2);
  }

  #recover(block: Block): void {
    if (!this.#warned) {
      this.#warned = true;
      process.emitWarning(
        `A lease of a BufferPool (${this.count} × ${this.size} bytes) was lost without release(); its buffer is back`,
        "BunUringWarning",
      );
    }
    this.#makeAvailable(block);
  }

  #makeAvailable(block: Block): void {
    block.generation++;
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#free.push(block);
      if (this.#closed) this.#freeIfDone();
      return;
    }
    stopListening(next);
    next.resolve(this.#lend(block));
  }

  #freeIfDone(): void {
    if (!this.#closed || this.#freed || this.#free.length + this.#taken + this.#handedOn.size < this.count) return;
    for (const block of this.#free) {
      block.buffer?.transfer(0); // lets go at once
      block.buffer = null;
    }
    this.#freed = true;
    this.#region.free();
  }
}

function stopListening({ signal, onAbort: listener }: Waiter): void {
  if (signal !== undefined) offAbort(signal, listener);
}

function closedPool(): Error {
  return invalidState("bun-uring: this BufferPool is closed");
}
