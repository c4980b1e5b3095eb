// FAULTS rows 16 and 20: a ring per thread; terminating a Worker with work in the kernel hurts nobody and leaves nothing.
// Assumes a child per case: a write to freed memory would take it down, and is seen here.

import { describe, expect } from "bun:test";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import { run } from "../helpers/mounts.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "workers.child.ts");
const tmp = scratch();
/** The FIFO is in the folder: what is open there is the user's. */
function folder(): { dir: string; fifo: string } {
  const dir = tmp.folder();
  const fifo = join(dir, "fifo");
  run("mkfifo", fifo);
  return { dir, fifo };
}
const env = { BUN_URING_BACKEND: "uring" };
const needs = ["ioUring"] as const;
const slow = missing(["slow"]) === null;

describe("workers", () => {
  faultTest("the main thread and 8 Workers each use their own ring", { needs }, async () => {
    const seen = await runCase<any>(fixture, "together", { input: folder(), env });
    expect(seen.wrong).toBe(0);
    expect(seen.ringsLeft).toBe(0);
    expect(seen.seen).toHaveLength(8);
    for (const worker of seen.seen) {
      expect(worker).toMatchObject({ wrong: 0, held: [], backend: "io_uring" });
      expect(worker.stats.submitted).toBeGreaterThan(0);
    }
  });

  const rounds = slow ? 200 : 20;
  for (const kind of ["busy", "parked"]) {
    // Malloc=1: buffers from the system's heap, whose misuse is noticed at once.
    for (const Malloc of [undefined, "1"]) {
      const title = `${rounds} × terminate() with ${kind} work in the kernel${Malloc ? " (system malloc)" : ""}`;
      faultTest(title, { needs, timeoutMs: 120_000 }, async () => {
        const input = { ...folder(), rounds, kind };
        const seen = await runCase<unknown>(fixture, "terminated", {
          input,
          env: { ...env, Malloc },
          timeoutMs: slow ? 110_000 : 25_000,
        });
        expect(seen).toEqual({ wrong: 0, fds: 0, threads: 0, rings: 0 });
      });
    }
  }

  faultTest("what a terminated Worker had open is closed, and nobody else's file", { needs }, async () => {
    const input = folder();
    const seen = await runCase<unknown>(fixture, "left", { input, env });
    expect(seen).toEqual([
      null,
      ...["folder", "folder", "given", "left", "left", "left"].map((name) => `${input.dir}/${name}`),
    ]);
  });

  faultTest("what a terminated Worker's server had open is closed", { needs }, async () => {
    const input = folder();
    const [before, after] = await runCase<string[][]>(fixture, "served", { input, env });
    expect(before).toEqual(["", "/handle", "/large", "/small", "/stream"].map((name) => `${input.dir}${name}`));
    expect(after).toEqual([]);
  });

  faultTest("two copies of the package do not know each other", { needs }, async () => {
    const seen = await runCase<unknown>(fixture, "twoCopies", { input: folder(), env });
    expect(seen).toEqual({ wrong: 0, backends: ["io_uring", "io_uring"], separate: true, after: true });
  });
});
