// The node backend's plain ways for O_DIRECT, for many reads at once, and for extended attributes.
// Assumes validated arguments.

import { alignedBuffer } from "../kernel/aligned.ts";
import type { Native } from "../kernel/shim.ts";
import { abortable } from "../node/abort.ts";
import { isLocal } from "../node/is-local.ts";
import { encodePath } from "../node/path.ts";
import { isView } from "../node/views.ts";
import type { Backend, Lent, OpenFile, Path, Reads } from "./interface.ts";

/** Aligned memory that no operation uses. */
const kept: Buffer[] = [];
const [KEPT_BYTES, MAX_KEPT] = [256 * 1024, 4];

export function alignedMemory(length: number): Lent {
  if (length > KEPT_BYTES) return { bytes: alignedBuffer(length), release: () => {} };
  const bytes = kept.pop() ?? alignedBuffer(KEPT_BYTES);
  return { bytes, release: () => void (kept.length < MAX_KEPT && kept.push(bytes)) };
}

/** Plain calls, made only where no server can keep them waiting. */
export async function keepXattrs(native: Native, from: Path, file: OpenFile): Promise<number> {
  return (await isLocal(from)) && file.fd >= 0 ? native.copyXattrs(encodePath(from), file.fd) : 0;
}

/** Reads of a batch, each by `backend`. */
export function readEach(
  backend: Backend,
  file: OpenFile,
  reads: Reads,
  signal: AbortSignal | null,
): Promise<Int32Array> {
  const all = startEach(backend, file, reads);
  return signal === null ? all : abortable(all, signal);
}

/** All at once, so that each counts among the file's operations before anybody can close it. */
async function startEach(backend: Backend, file: OpenFile, { offsets, lengths, into }: Reads): Promise<Int32Array> {
  const reads: Promise<{ bytesRead: number }>[] = [];
  let start = 0;
  for (let i = 0; i < offsets.length; i++) {
    const length = typeof lengths === "number" ? lengths : lengths[i]!;
    reads.push(
      isView(into)
        ? backend.read(file, into, start, length, offsets[i]!)
        : backend.read(file, into[i]!, 0, length, offsets[i]!),
    );
    start += length;
  }
  const settled = await Promise.allSettled(reads);
  return Int32Array.from(settled, (one) =>
    one.status === "fulfilled" ? one.value.bytesRead : errnoOfReason(one.reason),
  );
}

/** The errno of a failed read; an error that no system call gave is the caller's to see. */
function errnoOfReason(reason: unknown): number {
  const { errno } = reason as NodeJS.ErrnoException;
  if (typeof errno !== "number") throw reason;
  return errno;
}
