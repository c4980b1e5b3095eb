// FAULTS row 20: Ring.setIowqWorkers limits the threads that the kernel makes for a ring whose operations all wait.
// Assumes root and /dev/fuse: only an operation that sleeps makes the kernel add a thread, as a read through the page cache does.

import { expect } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { open, Ring } from "../../src/index.ts";
import { ioWorkers } from "../helpers/fds.ts";
import { startFuse } from "../helpers/fuse.ts";
import { faultTest } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";

const READS = 16;
/** Milliseconds after which the kernel ends threads that have nothing to do (WORKER_IDLE_TIMEOUT in io_uring/io-wq.c), and some more. */
const IDLE_MS = 12_000;

/** Threads that another test of this process has left idle would do the work of this one, too: a limit only stops new ones. */
async function othersGone(): Promise<void> {
  const until = Date.now() + IDLE_MS;
  while (ioWorkers().length > 1 && Date.now() < until) await Bun.sleep(50);
}

faultTest(
  "as many io-wq threads as are allowed, and no more",
  { needs: ["fuse", "gcc", "ioUring"], unless: lacking("limits of io-wq"), timeoutMs: 60_000 },
  async () => {
    await othersGone();
    const fuse = await startFuse();
    const ring = Ring.current();
    const usual = ring.workers;
    try {
      const path = join(fuse.path, "cached-file");
      await writeFile(path, Buffer.alloc(READS * 4096));
      await fuse.mode({ mode: "slow", ms: 40, ops: ["read"] });
      const most = async (each: number): Promise<number> => {
        ring.setIowqWorkers({ bounded: each, unbounded: each });
        await using handle = await open(path); // which drops what is cached
        await handle.advise(0, 0, "random");
        let seen = 0;
        const watch = setInterval(() => (seen = Math.max(seen, ioWorkers().length)), 2);
        await Promise.all(Array.from({ length: READS }, (_, i) => handle.read(Buffer.alloc(4096), 0, 4096, i * 4096)));
        clearInterval(watch);
        expect(seen).toBeGreaterThan(0); // or nothing was measured
        return seen;
      };
      expect(await most(1)).toBeLessThanOrEqual(2);
      expect(await most(6)).toBeGreaterThan(2);
    } finally {
      ring.setIowqWorkers(usual);
      await fuse.stop();
    }
  },
);
