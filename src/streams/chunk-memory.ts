// Memory for the chunks of a stream, each a Buffer of its own that the user keeps or drops.
// Assumes that most chunks are dropped soon: then what costs is not the memory but the collector, which in a small heap
// runs every three megabytes. While much is streamed the heap is made to look larger. Never lends the same memory twice.

/** A stream that has taken so much is worth the headroom. */
const MUCH_BYTES = 4 * 1024 * 1024;
/**
 * Live memory that makes the collector wait for as much garbage. Never touched, so it takes address space only; what it
 * lets pile up is some 10 MiB (1 GiB in chunks of 256 KiB: 350 collections without, 58 with 16 MiB, 33 with 32).
 */
const HEADROOM_BYTES = 16 * 1024 * 1024;

let headroom: Buffer | null = null;
/** Streams that have taken much and not been closed. */
let busy = 0;

/** The chunks of one stream. */
export class ChunkMemory {
  #taken = 0;
  #isBusy = false;

  /** A new Buffer, with whatever its memory held before. */
  take(byteLength: number): Buffer {
    this.#taken += byteLength;
    if (this.#taken > MUCH_BYTES && !this.#isBusy) {
      this.#isBusy = true;
      if (busy++ === 0) headroom = Buffer.allocUnsafeSlow(HEADROOM_BYTES);
    }
    return Buffer.allocUnsafeSlow(byteLength);
  }

  /** The stream takes no more. */
  close(): void {
    if (!this.#isBusy) return;
    this.#isBusy = false;
    this.#taken = 0;
    if (--busy === 0) headroom = null;
  }
}

/** Bytes that are held for the collector's sake now. */
export function headroomBytes(): number {
  return headroom === null ? 0 : headroom.byteLength;
}
