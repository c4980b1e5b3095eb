// Copies between the user's memory and ours on the JavaScript thread. Where the user's may be a mapping of a file
// (Bun.mmap), which another process can cut at any time, the kernel does it: it says EFAULT where we would get SIGBUS.

import { systemError } from "../node/errors.ts";
import { bufferOf, byteOffsetOf } from "../node/views.ts";
import { addressOf, nativeOrNull } from "./shim.ts";

export const EFAULT = -14;

/** Throws EFAULT unless all of `from` is copied. */
export function copyAll(from: Uint8Array, to: Uint8Array, syscall: string): void {
  if (copyBytes(from, to) !== from.length) throw systemError(EFAULT, syscall);
}

/** Mappings begin on a page, so a view of one does so without its offset; few others do. */
function mayBeMapping(bytes: Uint8Array): boolean {
  void bufferOf(bytes);
  return (addressOf(bytes) - byteOffsetOf(bytes)) % 4096 === 0;
}

/**
 * Copies `from` to the start of `to`. Returns the bytes copied: fewer where memory that can't be read or written begins,
 * and EFAULT if that is at once.
 */
export function copyBytes(from: Uint8Array, to: Uint8Array): number {
  if (from.length === 0) return 0;
  const native = nativeOrNull();
  // Without the shim there is nobody to ask; with it an address is cheap to have.
  if (native === null || !(mayBeMapping(from) || mayBeMapping(to))) {
    to.set(from);
    return from.length;
  }
  return native.copy(addressOf(to), addressOf(from), from.length);
}
