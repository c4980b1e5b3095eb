// Where a BufferPool's memory comes from: one region of the shim's, registered with the ring where that is allowed, or one
// ArrayBuffer per block where there is no ring. The shim's region outlives a terminated Worker's heap (the kernel may
// still write to it); after an orderly shutdown of the ring it is the collector's.

import { type Address, addressOf, memoryAt } from "../kernel/shim.ts";
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
  /** Where in such an ArrayBuffer the block starts. */
  offsetIn(buffer: ArrayBuffer): number;
  /** No lease is out any more. */
  free(): void;
}

/** Regions from this size on ask for huge pages: pinning them then takes one fault for 2 MiB. */
const HUGE_BYTES = 2 * 1024 * 1024;
/** The most that is registered: it is pinned on the spot, ~0.1 ms for 2 MiB. */
const MAX_REGISTERED = 64 * 1024 * 1024;
const PAGE = 4096;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** Slots of each ring's fixed-buffer table that no region has. */
const fixedSlots = new WeakMap<Ring, number[]>();

function freeSlots(t: RingThread): number[] {
  let slots = fixedSlots.get(t.ring);
  if (slots === undefined) {
    slots = Array.from({ length: t.setup.fixedBuffers }, (_, i) => t.setup.fixedBuffers - 1 - i);
    fixedSlots.set(t.ring, slots);
  }
  return slots;
}

/** Registers the memory. Returns its slot, or -1: no slot is free, the limit is too low, or it is too much to pin now. */
function register(t: RingThread, address: Address, length: number): number {
  const slots = freeSlots(t);
  if (length > MAX_REGISTERED || slots.length === 0) return -1;
  const slot = slots.pop()!;
  if (t.native.updateBuffer(t.ring.address, slot, address, length) >= 0) return slot;
  slots.push(slot);
  return -1;
}

/** Blocks of `size` bytes in one region of the shim's. */
class ShimRegion implements Region {
  fixedIndex: number;
  orphaned = false;
  readonly replaceable = false;
  readonly #t: RingThread;
  readonly #mapped: Address;
  readonly #length: number;
  readonly #size: number;
  readonly #first: Address;
  readonly #stride: number;
  /** After the ring's shutdown: unmaps the region when it and with it the last lease is collected. */
  owner: ArrayBuffer | null = null;
  readonly #orphan = (): void => this.#survive();

  constructor(t: RingThread, size: number, count: number, alignment: number) {
    this.#t = t;
    this.#size = size;
    this.#stride = roundUp(size, alignment);
    this.#length = roundUp(this.#stride * count + (alignment > PAGE ? alignment : 0), PAGE);
    const mapped = t.native.regionNew(t.ring.address, this.#length, this.#length >= HUGE_BYTES ? 1 : 0);
    if (mapped === null) throw new Error(`bun-uring: no memory for a pool of ${count} × ${size} bytes`);
    this.#mapped = mapped;
    this.#first = roundUp(mapped, alignment);
    this.fixedIndex = register(t, mapped, this.#length);
    t.beforeClose.add(this.#orphan);
  }

  bufferAt(index: number): ArrayBuffer {
    return memoryAt(this.#first + index * this.#stride, this.#size);
  }

  offsetIn(): number {
    return 0;
  }

  free(): void {
    this.#t.beforeClose.delete(this.#orphan);
    this.owner = null;
    if (this.orphaned) return;
    const { native, ring } = this.#t;
    if (this.fixedIndex >= 0) {
      native.updateBuffer(ring.address, this.fixedIndex, 0, 0);
      freeSlots(this.#t).push(this.fixedIndex);
      this.fixedIndex = -1;
    }
    native.regionFree(ring.address, this.#mapped);
  }

  /** The ring is about to go, leases may be out: from here on the memory is the collector's. */
  #survive(): void {
    const { native, ring } = this.#t;
    this.orphaned = true;
    this.fixedIndex = -1;
    native.regionHandOver(ring.address, this.#mapped);
    // With operations that never ended it is leaked on purpose: the kernel may still write to it.
    if (ring.inFlight === 0) this.owner = memoryAt(this.#mapped, this.#length, ring.unmap);
  }
}

/** `count` blocks in memory of the shim's. Throws if there is none. */
export function shimRegion(t: RingThread, size: number, count: number, alignment: number): Region {
  return new ShimRegion(t, size, count, alignment);
}

/** One ArrayBuffer per block, for where there is no ring. */
export function heapRegion(size: number, alignment: number): Region {
  return {
    fixedIndex: -1,
    orphaned: false,
    replaceable: true,
    // Over 1000 bytes, so that it is not in the collector's heap and never moves.
    bufferAt: () => new ArrayBuffer(Math.max(1024, size + alignment)),
    offsetIn(buffer) {
      const address = addressOf(new Uint8Array(buffer));
      return roundUp(address, alignment) - address;
    },
    free: () => {},
  };
}
