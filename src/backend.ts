// The choice between the two backends: io_uring where a ring can be made and proves itself, node:fs everywhere else.
// BUN_URING_BACKEND overrides it: "auto" (default), "uring" (throws rather than fall back), "node".

import type { Backend } from "./backend-interface.ts";
import type { Reason } from "./capabilities.ts";
import { nodeBackend } from "./node-backend.ts";
import { ringThread } from "./thread.ts";
import { uringBackend } from "./uring-backend.ts";

let chosen: Backend | null = null;
let reason: Reason | null = null;

/** The backend of this thread, chosen at the first call. Throws only if BUN_URING_BACKEND=uring can't be had. */
export function currentBackend(): Backend {
  if (chosen === null) chosen = choose();
  return chosen;
}

/** Why the node backend is in use; null where io_uring is. */
export function fallbackReason(): Reason | null {
  currentBackend();
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
    return nodeBackend;
  }
  if (wish !== "auto" && wish !== "uring")
    throw new TypeError(`bun-uring: BUN_URING_BACKEND must be "auto", "uring" or "node", not "${wish}"`);
  const thread = ringThread();
  if ("ring" in thread) return uringBackend;
  if (wish === "uring") throw new Error(`bun-uring: io_uring is not available: ${thread.message}. ${thread.remedy}`);
  reason = thread;
  return nodeBackend;
}
