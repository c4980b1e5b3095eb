// Memory lent out by a BufferPool, as the operations see it: which views lie in it, and how many operations use it.
// A lease's ArrayBuffer carries its state in a hidden property, so that any view of it is known by one look.
// Never gives memory out or takes it back: that is memory/pool.ts.

import { bufferOf, byteLengthOf } from "../node/views.ts";

/** Memory that several leases share: what the kernel knows it by. */
export interface LeasedRegion {
  /** The ring that it is registered with, and the fixed buffer of it that holds the whole region, or -1. */
  readonly ring: object | null;
  readonly fixedIndex: number;
}

/** The state of one lease while it lasts. */
export class LeasedMemory {
  readonly region: LeasedRegion;
  /** Operations that the kernel or the thread pool has not given back. */
  inFlight = 0;
  /** Set by a release that has to wait for `inFlight` to fall to 0. */
  whenIdle: (() => void) | null = null;
  /** Keeps the lease alive as long as anybody holds a view of its memory. */
  lease: object | null = null;

  constructor(region: LeasedRegion) {
    this.region = region;
  }

  /** An operation that had the memory has ended. */
  release(): void {
    if (--this.inFlight === 0 && this.whenIdle !== null) this.whenIdle();
  }
}

const NONE: LeasedMemory[] = [];

/** The user's views that an operation has in the kernel, their leases, and the lengths that they had. */
export class HeldViews {
  readonly #views: ArrayBufferView[];
  readonly #lengths: number[];
  leases: LeasedMemory[] = NONE;

  constructor(views: readonly ArrayBufferView[] = []) {
    this.#views = views.slice();
    this.#lengths = views.map(byteLengthOf);
    for (const view of views) this.#count(view);
  }

  #count(view: ArrayBufferView): LeasedMemory | null {
    const lease = acquireLeased(view);
    if (lease === null) return null;
    if (this.leases === NONE) this.leases = [lease];
    else this.leases.push(lease);
    return lease;
  }

  /** Holds one more. Returns its lease. */
  hold(view: ArrayBufferView): LeasedMemory | null {
    this.#views.push(view);
    this.#lengths.push(byteLengthOf(view));
    return this.#count(view);
  }

  /** Whether no view has been detached, moved or resized since. */
  get intact(): boolean {
    return this.#views.every((view, i) => byteLengthOf(view) === this.#lengths[i]);
  }

  release(): void {
    for (const lease of this.leases) lease.release();
    this.leases = NONE;
  }
}

const { hasOwnProperty: hasOwn } = Object.prototype;
const LEASE = Symbol("bun-uring.lease");
type Marked = ArrayBufferLike & { [LEASE]?: LeasedMemory };
/** Whether any memory was ever leased: most programs have no pool, and asking a view for its buffer makes an object of it. */
let isAnyLeased = false;

/** Marks an ArrayBuffer as leased memory. Lost when the buffer is transferred, as it should be. */
export function markLeased(buffer: ArrayBuffer, memory: LeasedMemory): void {
  isAnyLeased = true;
  (buffer as Marked)[LEASE] = memory;
}

/** Counts one more operation on the view's memory; null if the memory is nobody's lease. Pair it with `release()`. */
export function acquireLeased(view: ArrayBufferView): LeasedMemory | null {
  if (!isAnyLeased) return null;
  const buffer = bufferOf(view) as Marked;
  const memory = hasOwn.call(buffer, LEASE) ? buffer[LEASE] : undefined; // its prototype may be the user's
  if (memory === undefined) return null;
  memory.inFlight++;
  return memory;
}
