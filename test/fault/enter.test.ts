// FAULTS row 5: io_uring_enter fails now and then, or for good. Nothing is lost, nothing done twice, no retry without end.
// Assumes strace; an injected failure keeps the kernel from seeing the call at all.
// Never runs on the node backend: there is nothing to inject into.

import { expect, onTestFinished } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import type { LoopGap } from "../helpers/loop-gap.ts";
import { run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { strace } from "../helpers/strace.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "enter.child.ts");
const root = tmpDir();
const needs = ["ioUring", "strace"] as const;
const env = { BUN_URING_BACKEND: "uring" };
const OPERATIONS = 500; // of the case "work", a little more than its own count

function folder(name: string): string {
  const dir = join(root, name);
  mkdirSync(dir);
  run("mkfifo", join(dir, "fifo"));
  return dir;
}

// From the 6th call on: the first ones are the set-up's own proof, which falls back (refused.test.ts).
for (const code of ["EINTR", "EAGAIN", "EBUSY", "ENOMEM"]) {
  for (const when of ["6..300+3", "6+2"]) {
    faultTest(`io_uring_enter says ${code}, calls ${when}`, { needs }, async () => {
      const tracer = strace({ inject: [`io_uring_enter:error=${code}:when=${when}`] });
      onTestFinished(tracer.remove);
      const input = folder(`${code}-${when}`);
      const seen = await runCase<unknown>(fixture, "work", { input, prefix: tracer.prefix, env });
      const enters = tracer.lines().filter((line) => line.includes("io_uring_enter("));
      expect(seen).toEqual({ wrong: 0, appendedRight: true, woken: "wake", inFlight: 0, queued: 0 });
      expect(enters.filter((line) => line.includes("INJECTED")).length).toBeGreaterThan(20);
      expect(enters.length).toBeLessThan(10 * OPERATIONS);
    });
  }
}

for (const code of ["EAGAIN", "EBADF"]) {
  faultTest(`io_uring_enter says ${code} for ever: every promise settles`, { needs, timeoutMs: 40_000 }, async () => {
    const tracer = strace({ inject: [`io_uring_enter:error=${code}:when=12+`] });
    onTestFinished(tracer.remove);
    const input = folder(`${code}-ever`);
    const seen = await runCase<{ settled: number; gap: LoopGap }>(fixture, "doomed", {
      input,
      prefix: tracer.prefix,
      env,
    });
    const injected = tracer.lines().filter((line) => line.includes("INJECTED")).length;
    expect(injected).toBeGreaterThan(0);
    expect(seen.settled).toBe(200);
  });
}
