// Copies between the user's memory and ours on the JavaScript thread. Where the user's may be a mapping of a file
// (Bun.mmap), which another process can cut at any time, the kernel does it: it says EFAULT where we would get SIGBUS.

import { EFAULT } from "../node/errno.ts";
import { systemError } from "../node/errors.ts";
import { bufferOf, byteLengthOf, byteOffsetOf, bytesOf } from "../node/views.ts";
import { addressOf, type Native, nativeOrNull } from "./shim.ts";

/** Throws EFAULT unless all of `from` is copied: the user's memory, or to it where it is for a "read". */
export function copyAll(from: Uint8Array, to: Uint8Array, syscall: "read" | "write"): void {
  if (copyBytes(from, to, syscall === "read" ? to : from) !== from.length) throw systemError(EFAULT, syscall);
}

/**
 * Memory that begins on a page, as mappings do, and is known to be none. The kernel's copy takes some 5 µs, a plain one of 4 KiB 0.1;
 * to ask costs as much as the kernel's copy, so one unknown in so many is asked about: who uses the same buffers again soon has
 * them known.
 */
const known = new WeakSet<ArrayBufferLike>();
const ASKED_EACH = 4;
let unknown = 0;

/** Mappings begin on a page, so a view of one does so without its offset. */
function mayBeMapping(native: Native, bytes: Uint8Array): boolean {
  const buffer = bufferOf(bytes);
  const address = addressOf(bytes);
  if ((address - byteOffsetOf(bytes)) % 4096 !== 0 || known.has(buffer)) return false;
  if (++unknown % ASKED_EACH !== 0 || native.isAnonymous(address, bytes.length) !== 1) return true; // all of it is of one kind
  known.add(buffer);
  return false;
}

/**
 * Copies `from` to the start of `to`; the one of them that is `users` may be a mapping. Returns the bytes copied: fewer where memory
 * that can't be read or written begins, and EFAULT if that is at once.
 */
export function copyBytes(from: Uint8Array, to: Uint8Array, users: Uint8Array): number {
  if (from.length === 0) return 0;
  const native = nativeOrNull();
  // Without the shim there is nobody to ask; with it an address is cheap to have.
  if (native === null || users.length === 0 || !mayBeMapping(native, users)) {
    to.set(from);
    return from.length;
  }
  return native.copy(addressOf(to), addressOf(from), from.length);
}

/** Content up to this length is copied at the call, at a few per cent of what writing it costs. */
const COPIED_BYTES = 64 * 1024;

/** The bytes of `view`; in memory of their own if they are few, so that the view's may be transferred as soon as the call returns. */
export function bytesAtCall(view: ArrayBufferView): Uint8Array {
  const bytes = bytesOf(view);
  if (bytes.length === 0 || bytes.length > COPIED_BYTES) return bytes;
  const copy = new Uint8Array(bytes.length);
  return copyBytes(bytes, copy, bytes) === bytes.length ? copy : bytes; // what can't be read is for the kernel to say
}

/** Copies what was read into the user's views, one after another. Throws EFAULT. */
export function scatter(bytes: Uint8Array, views: readonly ArrayBufferView[]): void {
  let from = 0;
  for (const view of views) {
    const to = Math.min(bytes.length, from + byteLengthOf(view));
    copyAll(bytes.subarray(from, to), bytesOf(view), "read");
    from = to;
  }
}

/** Copies the user's views, one after another, to be written. Throws EFAULT. */
export function gather(into: Uint8Array, views: readonly ArrayBufferView[]): void {
  let at = 0;
  for (const view of views) {
    copyAll(bytesOf(view), into.subarray(at), "write");
    at += byteLengthOf(view);
  }
}
