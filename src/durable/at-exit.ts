// The logs of this thread that are open when it ends: what they have gathered is written by blocking calls. One listener for all
// of them. SIGTERM, which would end the process without a word, flushes them, and then does what it would have done.

import { writeSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

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

/** Writes, holding the thread. `position` null: at the file's end or own position. */
export function writeAllSync(fd: number, bytes: Uint8Array, position: number | null): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, position === null ? null : position + done);
}
