// FAULTS rows 17, 18, 19 and issue 2's acceptance 5: the end of a process, what its children get, whose rights count.
// Assumes a child per case. Never judges by seconds where a state can be seen; the bounds on time are generous.

import { describe, expect } from "bun:test";
import { chmodSync, closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { startCase } from "../helpers/child.ts";
import { cpuMs } from "../helpers/fds.ts";
import { faultTest } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "process.child.ts");
const tmp = scratch();
const { fifo, folder } = tmp;
const file = tmp.file("0123456789");

/** Writes without waiting for a reader: the child holds the other end. */
function feed(path: string, text: string): void {
  const fd = openSync(path, "r+");
  writeSync(fd, text);
  closeSync(fd);
}

describe("io_uring: the end of a process with work in the kernel", () => {
  const env = { BUN_URING_BACKEND: "uring" };
  const needs = ["ioUring"] as const;
  const ends: [string, NodeJS.Signals | null, number | null, NodeJS.Signals | null][] = [
    ["exit", null, 3, null],
    ["throw", null, 1, null],
    ["reject", null, 1, null],
    ["signal", "SIGINT", null, "SIGINT"],
    ["signal", "SIGTERM", null, "SIGTERM"],
    ["signal", "SIGKILL", null, "SIGKILL"],
  ];
  for (const [how, send, exitCode, signal] of ends) {
    faultTest(`by ${send ?? how}`, { needs }, async () => {
      const child = startCase(fixture, "exits", { input: { fifo: fifo(), dir: folder(), how }, env, timeoutMs: 5000 });
      await child.event("busy");
      const startMs = performance.now();
      if (send) child.kill(send);
      const end = await child.finished();
      expect({ timedOut: end.timedOut, exitCode: end.exitCode, signal: end.signal }).toEqual({
        timedOut: false,
        exitCode,
        signal,
      });
      expect(performance.now() - startMs).toBeLessThan(1000);
    });
  }
});

for (const backend of ["uring", "node"]) {
  const env = { BUN_URING_BACKEND: backend };
  const needs = backend === "uring" ? (["ioUring"] as const) : ([] as const);

  describe(`${backend}: what keeps a process alive`, () => {
    for (const name of ["onlyImported", "idle", "openHandle"]) {
      faultTest(`${name}: it ends by itself`, { needs }, async () => {
        const end = await startCase(fixture, name, { input: file, env, timeoutMs: 5000 }).finished();
        expect({ timedOut: end.timedOut, exitCode: end.exitCode, error: end.error }).toEqual({
          timedOut: false,
          exitCode: 0,
          error: undefined,
        });
      });
    }

    faultTest("a parked read keeps it alive; once it is done the process ends", { needs }, async () => {
      const path = fifo();
      const child = startCase<number>(fixture, "pendingKeepsAlive", { input: path, env, timeoutMs: 10_000 });
      await child.event("parked");
      const early = await Promise.race([child.finished().then(() => "ended"), Bun.sleep(700).then(() => "alive")]);
      expect(early).toBe("alive");
      feed(path, "1234");
      const end = await child.finished();
      expect({ value: end.value, exitCode: end.exitCode, timedOut: end.timedOut }).toEqual({
        value: 4,
        exitCode: 0,
        timedOut: false,
      });
    });
  });
}

describe("a parked read", () => {
  faultTest("costs under 20 ms of processor time in 5 s", { needs: ["ioUring"] }, async () => {
    const path = fifo();
    const child = startCase(fixture, "parkedCost", { input: path, env: { BUN_URING_BACKEND: "uring" } });
    await child.event("parked");
    await Bun.sleep(3000); // Bun's own work after a start is over: a first collection alone takes 12 ms.
    const before = cpuMs(child.pid);
    await Bun.sleep(5000);
    const used = cpuMs(child.pid) - before;
    feed(path, "done");
    expect((await child.finished()).exitCode).toBe(0);
    expect(used).toBeLessThan(20);
  });
});

describe("children and rights", () => {
  faultTest("a spawned program inherits nothing of ours", { needs: ["ioUring"] }, async () => {
    const input = { fifo: fifo(), file };
    const child = startCase(fixture, "inherited", { input, env: { BUN_URING_BACKEND: "uring" } });
    const { ours, open, list } = await child.event("seen");
    await child.finished();
    expect(ours).toContain(file);
    expect(ours.some((target: string) => target.includes("io_uring"))).toBe(true);
    expect(open).toEqual([]);
    for (const what of ["io_uring", "eventfd", file, input.fifo]) expect(list).not.toContain(what);
  });

  for (const backend of ["uring", "node"]) {
    faultTest(`${backend}: rights given up are gone`, { needs: ["root", "ioUring"] }, async () => {
      const dir = folder();
      chmodSync(tmp.dir, 0o755);
      const secret = join(dir, "secret");
      writeFileSync(secret, "root's own", { mode: 0o600 });
      const input = { secret, dir, fifo: fifo() };
      const child = startCase(fixture, "setuid", { input, env: { BUN_URING_BACKEND: backend } });
      const { opened, attempts, left } = await child.event("seen");
      await child.finished();
      for (const what of opened) expect(what).toMatchObject({ code: "EACCES", syscall: "open", path: secret });
      for (const what of Object.values(attempts)) expect(what).toMatchObject({ code: "EACCES" });
      expect(left).toBe(50);
    });
  }
});
