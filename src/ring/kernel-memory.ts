// Memory that the kernel reads or writes on our behalf and that nobody else ever sees: stand-ins for a user's buffer, chunks
// of a file without a size, aligned memory for O_DIRECT. It is the shim's, so it outlives the JavaScript heap of a Worker
// that ends over it; and it is used again only after the CQE of the operation that had it.

import { type Address, type Native, sharedMemory } from "../kernel/shim.ts";
import { LeasedMemory, markLeased } from "./lease.ts";

const PAGE = 4096;
/** Sizes are powers of two from the first to the last; what is larger is made for one use. */
const [SMALLEST_BITS, LARGEST_BITS] = [10, 20];
/** Buffers below this size are cut from regions of it: one larger is a region of its own. */
const REGION_BYTES = 128 * 1024;
/** Bytes of each size that are kept for the next use; as many as were ever in use at once where they are cut from regions. */
const KEPT_BYTES = 2 * 1024 * 1024;

export class KernelBuffer {
  readonly #memory: KernelMemory;
  readonly address: Address;
  /** All of it: at least what was asked for. */
  readonly bytes: NonSharedBuffer;

  constructor(memory: KernelMemory, address: Address, bytes: NonSharedBuffer) {
    this.#memory = memory;
    this.address = address;
    this.bytes = bytes;
  }

  /** No operation in the kernel has it any more. */
  release(): void {
    this.#memory.release(this);
  }
}

/** Whole pages that operations may be given as a view: they count themselves, and `release` waits for the last of them. */
export class PinnedBuffer {
  readonly #buffer: KernelBuffer;
  readonly #leased = new LeasedMemory({ ring: null, fixedIndex: -1 });

  constructor(memory: KernelMemory, byteLength: number) {
    this.#buffer = memory.acquire(Math.max(byteLength, REGION_BYTES)); // an ArrayBuffer of its own, and aligned to pages
    markLeased(this.#buffer.bytes.buffer, this.#leased);
  }

  get bytes(): NonSharedBuffer {
    return this.#buffer.bytes;
  }

  /** Goes back when its last operation has ended: never, if the ring was closed over one that had not. */
  release(): void {
    const release = (): void => {
      this.#leased.whenIdle = null;
      this.#buffer.release();
    };
    if (this.#leased.inFlight === 0) release();
    else this.#leased.whenIdle = release;
  }
}

export class KernelMemory {
  readonly #native: Native;
  readonly #ring: { readonly address: Address; readonly release: Address; readonly closed: boolean };
  /** Free buffers by the power of two that is their size. */
  readonly #free: KernelBuffer[][] = Array.from({ length: LARGEST_BITS + 1 }, () => []);

  constructor(
    native: Native,
    ring: { readonly address: Address; readonly release: Address; readonly closed: boolean },
  ) {
    this.#native = native;
    this.#ring = ring;
  }

  /** A buffer of `byteLength` bytes or more, aligned to its size or a page, with whatever it held before. */
  acquire(byteLength: number): KernelBuffer {
    if (byteLength > 1 << LARGEST_BITS) return this.#region(Math.ceil(byteLength / PAGE) * PAGE)[0]!;
    const bits = bitsOf(byteLength);
    const free = this.#free[bits]!;
    if (free.length === 0) free.push(...this.#region(1 << bits));
    return free.pop()!;
  }

  /** The buffers of `byteLength` bytes in a new region. */
  #region(byteLength: number): KernelBuffer[] {
    const native = this.#native;
    const { address: ring, release } = this.#ring;
    const length = Math.max(byteLength, REGION_BYTES);
    const address = native.regionNew(ring, length, 0, 1);
    if (address === null) throw new Error("bun-uring: no memory for an operation");
    const memory = sharedMemory(native, release, native.regionAt(ring, address)!, 0, address, length);
    const made: KernelBuffer[] = [];
    for (let at = length - byteLength; at >= 0; at -= byteLength)
      made.push(new KernelBuffer(this, address + at, Buffer.from(memory, at, byteLength)));
    return made;
  }

  /** @internal KernelBuffer.release. */
  release(buffer: KernelBuffer): void {
    const { length } = buffer.bytes;
    if (length <= 1 << LARGEST_BITS) {
      const free = this.#free[bitsOf(length)]!;
      if (length < REGION_BYTES || (free.length + 1) * length <= KEPT_BYTES) return void free.push(buffer);
    }
    // A ring that was closed has let it go already, or keeps it for good.
    if (!this.#ring.closed) this.#native.regionFree(this.#ring.address, buffer.address);
    buffer.bytes.buffer.transfer(0);
  }
}

function bitsOf(byteLength: number): number {
  return Math.max(SMALLEST_BITS, 32 - Math.clz32(Math.max(0, byteLength - 1)));
}
