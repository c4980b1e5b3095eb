// Aligned memory that O_DIRECT transfers go through where the user's is not aligned. It is used again only when the kernel
// is done with it, also after a shutdown that did not wait for it: else another file's bytes come to be on the disk.

import { alignedBuffer } from "../kernel/aligned.ts";
import { PinnedBuffer } from "../ring/kernel-memory.ts";
import type { Backend } from "./interface.ts";
import { thread } from "./uring/request.ts";

/** Bytes that go through aligned memory at once. */
export const BOUNCE_BYTES: number = 256 * 1024;
const MAX_KEPT = 4;

/** Aligned memory that no operation uses, for where there is no ring. */
const kept: Buffer[] = [];

/** Aligned memory for one use. */
interface Bounce {
  readonly bytes: Buffer;
  release(): void;
}

/** On a ring it is the ring's: given back only when the kernel has, whatever becomes of the promise of the operation. */
function bounceOf(base: Backend, length: number): Bounce {
  if (base.name === "io_uring") return new PinnedBuffer(thread().memory, length);
  if (length > BOUNCE_BYTES) return { bytes: alignedBuffer(length), release: () => {} };
  const bytes = kept.pop() ?? alignedBuffer(BOUNCE_BYTES);
  return { bytes, release: () => void (kept.length < MAX_KEPT && kept.push(bytes)) };
}

/** Runs `work` with aligned memory of `length` bytes. */
export async function withBounce<T>(base: Backend, length: number, work: (memory: Buffer) => Promise<T>): Promise<T> {
  const bounce = bounceOf(base, length);
  try {
    return await work(bounce.bytes.subarray(0, length));
  } finally {
    bounce.release();
  }
}
