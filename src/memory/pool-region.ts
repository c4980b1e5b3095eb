// Where a BufferPool's memory comes from: one region of the shim's, registered with the ring where that is allowed, or one
// ArrayBuffer per block where there is no ring. The region is mapped for as long as the ring, the pool or anybody who was
// given a block's ArrayBuffer holds it: so it outlives the ring, the pool, and the Worker that made it.

import { type Address, addressOf, sharedMemory } from "../kernel/shim.ts";
import type { RingThread } from "../ring/context.ts";
import type { LeasedRegion } from "../ring/lease.ts";
import type { Ring } from "../ring/ring.ts";

/** What a pool asks of its memory. */
export interface Region extends LeasedRegion {
  /** The ring it was made for has been shut down. */
  readonly orphaned: boolean;
  /** A block whose ArrayBuffer was taken away can simply be made again. */
  readonly replaceable: boolean;
  /** An ArrayBuffer over block `index`, made for its first lease or after a lost one. */
  bufferAt(index: number): ArrayBuffer;
  /** Whether somebody has the memory of the ArrayBuffer that was made last for block `index`. */
  isHeld(index: number): boolean;
  /** Where in such an ArrayBuffer the block starts. */
  offsetIn(buffer: ArrayBuffer): number;
  /** The pool has no lease out, and will give none. */
  free(): void;
}

/** Regions from this size on ask for huge pages: pinning them then takes one fault for 2 MiB. */
const HUGE_BYTES = 2 * 1024 * 1024;
/** The most that is registered: it is pinned on the spot, ~0.1 ms for 2 MiB. */
const MAX_REGISTERED = 64 * 1024 * 1024;
const PAGE = 4096;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** Registers the memory. Returns its index, or -1: none is free, the limit is too low, or it is too much to pin now. */
function register({ freeFixedBuffers, native, ring }: RingThread, address: Address, length: number): number {
  if (length > MAX_REGISTERED || freeFixedBuffers.length === 0) return -1;
  const index = freeFixedBuffers.pop()!;
  if (native.updateBuffer(ring.address, index, address, length) >= 0) return index;
  freeFixedBuffers.push(index);
  return -1;
}

/** Blocks of `size` bytes in one region of the shim's. */
class ShimRegion implements Region {
  readonly replaceable = false;
  readonly ring: Ring;
  readonly #t: RingThread;
  readonly #mapped: Address;
  readonly #region: Address;
  readonly #size: number;
  readonly #first: Address;
  readonly #stride: number;
  #fixedIndex: number;
  /** What the pool holds the region by, also without the ring; gone with the pool. */
  #own: ArrayBuffer | null;

  constructor(t: RingThread, size: number, count: number, alignment: number) {
    const { native, ring } = t;
    this.#t = t;
    this.ring = ring;
    this.#size = size;
    this.#stride = roundUp(size, alignment);
    const length = roundUp(this.#stride * count + (alignment > PAGE ? alignment : 0), PAGE);
    const mapped = native.regionNew(ring.address, length, length >= HUGE_BYTES ? 1 : 0, count + 1);
    if (mapped === null) throw new Error(`bun-uring: no memory for a pool of ${count} × ${size} bytes`);
    this.#mapped = mapped;
    this.#first = roundUp(mapped, alignment);
    this.#region = native.regionAt(ring.address, mapped)!;
    this.#own = sharedMemory(native, ring.release, this.#region, count, mapped, PAGE);
    this.#fixedIndex = register(t, mapped, length);
  }

  get orphaned(): boolean {
    return this.ring.closed;
  }

  get fixedIndex(): number {
    return this.ring.closed ? -1 : this.#fixedIndex;
  }

  bufferAt(index: number): ArrayBuffer {
    const { native, ring } = this.#t;
    const address = this.#first + index * this.#stride;
    return sharedMemory(native, ring.release, this.#region, index, address, this.#size);
  }

  isHeld(index: number): boolean {
    return this.#t.native.regionHeld(this.#region, index) === 1;
  }

  offsetIn(): number {
    return 0;
  }

  free(): void {
    this.#own?.transfer(0); // lets go at once
    this.#own = null;
    const { native, ring, freeFixedBuffers } = this.#t;
    if (ring.closed) return;
    if (this.#fixedIndex >= 0) {
      native.updateBuffer(ring.address, this.#fixedIndex, 0, 0);
      freeFixedBuffers.push(this.#fixedIndex);
      this.#fixedIndex = -1;
    }
    native.regionFree(ring.address, this.#mapped);
  }
}

/** `count` blocks in memory of the shim's. Throws if there is none. */
export function shimRegion(t: RingThread, size: number, count: number, alignment: number): Region {
  return new ShimRegion(t, size, count, alignment);
}

/** One ArrayBuffer per block, for where there is no ring. */
export function heapRegion(size: number, alignment: number): Region {
  return {
    ring: null,
    fixedIndex: -1,
    orphaned: false,
    replaceable: true,
    // Over 1000 bytes, so that it is not in the collector's heap and never moves.
    bufferAt: () => new ArrayBuffer(Math.max(1024, size + alignment)),
    isHeld: () => false, // a lost block is replaced
    offsetIn(buffer) {
      const address = addressOf(new Uint8Array(buffer));
      return roundUp(address, alignment) - address;
    },
    free: () => {},
  };
}
