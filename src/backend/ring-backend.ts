// The half of the choice that loads io_uring's code: the ring's backend where a ring can be had, with node:fs in place of what
// needs an opcode that this kernel lacks.
// Assumes that it is loaded when a ring is wanted, and not before.

import { Opcode } from "../kernel/sqe.ts";
import { ringThread } from "../ring/context.ts";
import type { Reason } from "../ring/setup.ts";
import type { Backend } from "./interface.ts";
import { nodeBackend } from "./node.ts";
import { uringBackend } from "./uring/backend.ts";

export { cancellable } from "./uring/request.ts";

/** The backend of this thread's ring, which it makes; or why there can be none. */
export function ringBackend(): Backend | Reason {
  const thread = ringThread();
  return "ring" in thread ? delegateMissing(thread.setup.opcodes) : thread;
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
