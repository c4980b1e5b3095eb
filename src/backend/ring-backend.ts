// The half of the choice that loads io_uring's code: the ring's backend where a ring can be had, with node:fs in place of what
// needs an opcode that this kernel lacks.
// Assumes that it is loaded when a ring is wanted, and not before.

import { Opcode } from "../kernel/sqe.ts";
import { ENOENT } from "../node/errno.ts";
import { isFreeOrFile } from "../node/exit-calls.ts";
import { isRegular } from "../node/file-info.ts";
import { byteLengthOf } from "../node/views.ts";
import { existingThread, ringThread } from "../ring/context.ts";
import type { Reason } from "../ring/setup.ts";
import type { Backend, Path } from "./interface.ts";
import { nodeBackend } from "./node.ts";
import { uringBackend } from "./uring/backend.ts";
import { cachedInfo } from "./uring/statx.ts";

export { cancellable } from "./uring/request.ts";

/** The backend of this thread's ring, which it makes; or why there can be none. */
export function ringBackend(): Backend | Reason {
  const thread = ringThread();
  if (!("ring" in thread)) return thread;
  const backend = delegateMissing(thread.setup.opcodes);
  return thread.direct.forWriting ? backend : delegateSmallWrites(backend);
}

const { isMainThread } = Bun;

/** Up to this length a file's content costs less than the steps around it. */
const SMALL_BYTES = 64 * 1024;

/**
 * Where files that are written can't be direct descriptors, small ones are node:fs's: opening, writing and closing would be operations of
 * their own, each handed to a thread and waited for, in place of one visit to the thread pool (measured: 3 to 20 times as long).
 */
function delegateSmallWrites(backend: Backend): Backend {
  const mayWait = (path: Path): boolean =>
    (existingThread()?.mounts.holdsPath(path) ?? false) || (!isMainThread && mayBeFifo(path));
  return {
    ...backend,
    writeFile(path, data, flags, mode, options) {
      const isSmall = !options.signal && !options.flush && byteLengthOf(data) <= SMALL_BYTES;
      const { writeFile } = isSmall && !mayWait(path) ? nodeBackend : backend;
      return writeFile.call(nodeBackend, path, data, flags, mode, options);
    },
  };
}

/** The end of a Worker waits for the pool, and so for a FIFO's reader, who may never come. */
function mayBeFifo(path: Path): boolean {
  try {
    const known = cachedInfo(path, false);
    if (typeof known !== "number") return !isRegular(known);
    return known !== ENOENT && !isFreeOrFile(path);
  } catch {
    return false; // writing says why
  }
}

type Delegable = "rename" | "unlink" | "rmdir" | "mkdir" | "symlink" | "link" | "ftruncate";

/** What came after the oldest kernel with a ring (5.6): 5.11, 5.15 and 6.9. */
const YOUNGER: readonly (readonly [Delegable, number])[] = [
  ["rename", Opcode.RENAMEAT],
  ["unlink", Opcode.UNLINKAT],
  ["rmdir", Opcode.UNLINKAT],
  ["mkdir", Opcode.MKDIRAT],
  ["symlink", Opcode.SYMLINKAT],
  ["link", Opcode.LINKAT],
  ["ftruncate", Opcode.FTRUNCATE],
];

/**
 * The ring's backend, with node:fs in place of what needs an opcode that is not 1 in `opcodes`. The two may share a file:
 * both count what they do on it, and `close` waits for all of that.
 */
export function delegateMissing(opcodes: Uint8Array): Backend {
  const missing = YOUNGER.filter(([, opcode]) => opcodes[opcode] !== 1).map(([name]) => name);
  if (missing.length === 0) return uringBackend;
  const delegated = missing.map((name) => [name, (nodeBackend[name] as (...args: any[]) => unknown).bind(nodeBackend)]);
  return { ...uringBackend, ...Object.fromEntries(delegated) };
}
