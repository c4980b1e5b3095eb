// The logs of this thread that are open when it ends: what they have gathered is written by blocking calls. One listener for all
// of them. SIGTERM, which would end the process without a word, flushes them, and then does what it would have done.

import { writeSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type { Written } from "../node/abort.ts";

interface Flushable {
  flushSync(): void;
}

const open = new Set<Flushable>();

function flushAll(): void {
  for (const log of open) {
    try {
      log.flushSync();
    } catch {
      // nobody is left to hear of it
    }
  }
}

function onSigterm(): void {
  flushAll();
  // Others who listen decide what becomes of the process.
  if (process.listenerCount("SIGTERM") > 1) return;
  process.off("SIGTERM", onSigterm);
  process.kill(process.pid, "SIGTERM");
}

export function atExit(log: Flushable): void {
  if (open.size === 0) {
    process.on("exit", flushAll);
    if (isMainThread) process.on("SIGTERM", onSigterm);
  }
  open.add(log);
}

export function notAtExit(log: Flushable): void {
  open.delete(log);
  if (open.size > 0) return;
  process.off("exit", flushAll);
  process.off("SIGTERM", onSigterm);
}

/** Writes all of `chunks`, holding the thread, and counts the bytes. `position` null: at the file's end or own position. */
export function writeAllSync(
  fd: number,
  chunks: readonly Uint8Array[],
  position: number | null,
  progress: Written = { bytesWritten: 0 },
): void {
  for (const bytes of chunks)
    for (let at = 0, count = 0; at < bytes.length; at += count, progress.bytesWritten += count)
      count = writeSync(fd, bytes, at, bytes.length - at, position === null ? null : position + progress.bytesWritten);
}
