// The choice between the two backends: io_uring where a ring can be made and proves itself, node:fs everywhere else.
// What the kernel has no opcode for is left to node:fs, function by function, by the ring's own probe.
// BUN_URING_BACKEND overrides it: "auto" (default: the ring where it pays, adaptive.ts), "uring" (nothing but the ring; throws where
// it can't be had), "node".

import { Opcode } from "../kernel/sqe.ts";
import { ringThread } from "../ring/context.ts";
import type { Reason } from "../ring/setup.ts";
import { adaptive } from "./adaptive.ts";
import type { Backend } from "./interface.ts";
import { uringBackend } from "./uring/backend.ts";

type NodeBackend = typeof import("./node.ts").nodeBackend;

/** The other backend's code, where it is needed. */
function nodeBackend(): NodeBackend {
  return (require("./node.ts") as typeof import("./node.ts")).nodeBackend;
}

let chosen: Backend | null = null;
let reason: Reason | null = null;

/** The backend of this thread, chosen at the first call. Throws only if BUN_URING_BACKEND=uring can't be had. */
export function currentBackend(): Backend {
  if (chosen === null) chosen = choose();
  return chosen;
}

/** Why the node backend is in use; null where io_uring is. */
export function fallbackReason(): Reason | null {
  void currentBackend().name; // which is not known before
  return reason;
}

function choose(): Backend {
  const wish = process.env["BUN_URING_BACKEND"] || "auto";
  if (wish === "node") {
    reason = {
      errno: 0,
      code: "DISABLED",
      message: "BUN_URING_BACKEND=node asks for the node backend",
      remedy: "Unset BUN_URING_BACKEND to use io_uring.",
    };
    return nodeBackend();
  }
  if (wish !== "auto" && wish !== "uring")
    throw new TypeError(`bun-uring: BUN_URING_BACKEND must be "auto", "uring" or "node", not "${wish}"`);
  return wish === "auto" ? adaptive(nodeBackend(), () => ringOrNode(wish)) : ringOrNode(wish);
}

function ringOrNode(wish: string): Backend {
  const thread = ringThread();
  if ("ring" in thread) return delegateMissing(thread.setup.opcodes);
  if (wish === "uring") throw new Error(`bun-uring: io_uring is not available: ${thread.message}. ${thread.remedy}`);
  reason = thread;
  return nodeBackend();
}

/** Whether io_uring may be used at all; asks nobody whether it can be had. */
export const wantsRing = (): boolean => (process.env["BUN_URING_BACKEND"] || "auto") !== "node";

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
  const node = nodeBackend();
  const delegated = missing.map((name) => [name, (node[name] as (...args: any[]) => unknown).bind(node)]);
  return { ...uringBackend, ...Object.fromEntries(delegated) };
}
