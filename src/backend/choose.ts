// The choice between the two backends: io_uring where a ring can be made and proves itself, node:fs everywhere else.
// BUN_URING_BACKEND overrides it: "auto" (default: the ring where it pays, adaptive.ts), "uring" (nothing but the ring; throws
// where it can't be had), "node". The ring's own code is loaded when a ring is wanted (ring-backend.ts).

import { abortError } from "../node/errors.ts";
import { later } from "../node/loading.ts";
import { isAborted } from "../node/signal.ts";
import type { Reason } from "../ring/setup.ts";
import { adaptive } from "./adaptive.ts";
import type { Backend, OpenFile } from "./interface.ts";
import { nodeBackend } from "./node.ts";

type RingSide = typeof import("./ring-backend.ts");
const ringSide = later(() => require("./ring-backend.ts") as RingSide);

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
    return nodeBackend;
  }
  if (wish !== "auto" && wish !== "uring")
    throw new TypeError(`bun-uring: BUN_URING_BACKEND must be "auto", "uring" or "node", not "${wish}"`);
  return wish === "auto" ? adaptive(nodeBackend, () => ringOrNode(wish)) : ringOrNode(wish);
}

function ringOrNode(wish: string): Backend {
  const found = ringSide().ringBackend();
  if ("name" in found) return found;
  if (wish === "uring") throw new Error(`bun-uring: io_uring is not available: ${found.message}. ${found.remedy}`);
  reason = found;
  return nodeBackend;
}

/** `Backend.bypassCache`. Returns the file. */
export function bypassCache<T extends OpenFile>(file: T): T {
  currentBackend().bypassCache(file);
  return file;
}

/** Whether io_uring may be used at all; asks nobody whether it can be had. */
export const wantsRing = (): boolean => (process.env["BUN_URING_BACKEND"] || "auto") !== "node";

/**
 * Starts an operation of the backend; when the signal fires, the kernel is asked to cancel it. It settles when it has ended, whatever
 * it says then: see that the caller doesn't wait for what can't be cancelled (node/abort.ts).
 */
export function cancellable<T>(start: () => Promise<T>, signal: AbortSignal): Promise<T> {
  if (wantsRing()) return ringSide().cancellable(start, signal);
  return isAborted(signal) ? Promise.reject(abortError(signal)) : start();
}

/** The backend with transfers that the kernel is asked to cancel when the signal fires: for loops that look at it between them. */
export function cancelling(backend: Backend, signal: AbortSignal | null | undefined): Backend {
  if (signal === null || signal === undefined) return backend;
  return Object.assign(Object.create(backend) as Backend, {
    read: (...args: Parameters<Backend["read"]>) => cancellable(() => backend.read(...args), signal),
    write: (...args: Parameters<Backend["write"]>) => cancellable(() => backend.write(...args), signal),
  });
}
