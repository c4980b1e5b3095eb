// Memory at addresses that O_DIRECT takes: Buffers that start at a multiple of a power of two, and never move.
// Assumes nothing of its arguments. Needs no ring: the address comes from Bun.

import { invalidArgValue, validateInteger } from "../node/arguments.ts";
import { stableAddress } from "./address.ts";
import { addressOf } from "./shim.ts";

const MAX_ALIGNMENT = 2 * 1024 * 1024;
/** Typed arrays of up to 1000 elements live in the collector's heap and move. */
const UNMOVED_BYTES = 1024;

/** Throws unless it is a power of two up to 2 MiB. */
export function validateAlignment(alignment: number, name: string): void {
  validateInteger(alignment, name, 1, MAX_ALIGNMENT);
  if ((alignment & (alignment - 1)) !== 0) throw invalidArgValue(name, alignment, "must be a power of two");
}

/**
 * A zeroed Buffer of `size` bytes whose address is a multiple of `alignment` (a power of two up to 2 MiB): what an
 * O_DIRECT handle reads into and writes from without a copy. Throws ERR_OUT_OF_RANGE and ERR_INVALID_ARG_*.
 */
export function alignedBuffer(size: number, alignment: number = 4096): NonSharedBuffer {
  validateInteger(size, "size", 0, 2 ** 32);
  validateAlignment(alignment, "alignment");
  const memory = new ArrayBuffer(Math.max(UNMOVED_BYTES, size + alignment - 1));
  const past = addressOf(new Uint8Array(memory)) % alignment;
  return Buffer.from(memory, past === 0 ? 0 : alignment - past, size);
}

/** Whether `view[offset]` is at a multiple of `alignment`. */
export function isAligned(view: ArrayBufferView, offset: number, alignment: number): boolean {
  return alignment === 1 || stableAddress(view, offset) % alignment === 0;
}
