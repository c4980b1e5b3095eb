// FAULTS rows 23, 24, 25, promise 6: what was acknowledged as durable is there, after the process died and after the power
// was cut; a replaced file is old or new, never else; a failed sync stays failed.
// Assumes that each round's moment is random; the seed of a failing round stands in the message. Never trusts the page cache:
// the power is cut below the file system, and it is mounted again.

import { afterAll, beforeAll, describe, expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Child, runCase, startCase } from "../helpers/child.ts";
import { type LoopMount, mountExt4, mountTmpfs } from "../helpers/mounts.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "durable.child.ts");
const env = { BUN_URING_BACKEND: process.env.BUN_URING_BACKEND ?? "auto" };
const slow = missing(["slow"]) === null;
const RECORD = 32;

/** The highest number a writer acknowledged before its end; -1 for none. */
async function acknowledged(child: Child<unknown>): Promise<number> {
  const { stdout } = await child.finished();
  const lines = stdout.split("\n").filter((line) => /^ack \d+$/.test(line));
  return lines.length - 1;
}

/** What must hold after any end, for each writer. */
const check: Record<string, (dir: string, lastAck: number) => void> = {
  append(dir, lastAck) {
    const log = readFileSync(join(dir, "log"), "latin1");
    const whole = Math.floor(log.length / RECORD);
    expect(whole).toBeGreaterThanOrEqual(lastAck + 1);
    for (let i = 0; i <= lastAck; i++) {
      expect(log.slice(i * RECORD, (i + 1) * RECORD)).toBe(`${String(i).padStart(RECORD - 1, "0")}\n`);
    }
  },
  replace(dir, lastAck) {
    const path = join(dir, "value");
    if (lastAck < 0 && !existsSync(path)) return;
    const lines = readFileSync(path, "latin1").split("\n");
    expect(lines.length).toBe(2001);
    expect(new Set(lines.slice(0, 2000)).size).toBe(1);
    expect(Number(lines[0])).toBeGreaterThanOrEqual(lastAck);
    expect(Number(lines[0])).toBeLessThanOrEqual(lastAck + 1);
  },
  files(dir, lastAck) {
    for (let i = 0; i <= lastAck; i++) {
      expect(readFileSync(join(dir, `f${i}`), "latin1")).toBe(`${String(i).padStart(RECORD - 1, "0")}\n`);
    }
  },
};

/** A moment within the first part of a writer's work, from a seed that a failure names. */
function momentMs(seed: number): number {
  return (Math.imul(seed, 2654435761) >>> 0) % 60;
}

describe("the process is killed", () => {
  const root = tmpDir();
  const rounds = slow ? 334 : 12;
  for (const writer of Object.keys(check)) {
    faultTest(
      `${rounds} × while it runs ${writer}: what was acknowledged is there`,
      { timeoutMs: 600_000 },
      async () => {
        let total = 0;
        for (let round = 0; round < rounds; round++) {
          const dir = join(root, `${writer}${round}`);
          mkdirSync(dir);
          const child = startCase(fixture, writer, { input: dir, env });
          await child.event("ready");
          await Bun.sleep(momentMs(round));
          child.kill("SIGKILL");
          const lastAck = await acknowledged(child);
          total += lastAck + 1;
          try {
            check[writer]!(dir, lastAck);
          } catch (error) {
            throw new Error(`round ${round}, ${lastAck + 1} acknowledged`, { cause: error });
          }
          rmSync(dir, { recursive: true });
        }
        expect(total).toBeGreaterThan(rounds);
      },
    );
  }
});

describe("the power is cut", () => {
  const needs = ["loop", "gcc"] as const;
  let mount: LoopMount | undefined;
  beforeAll(() => {
    if (missing(needs) === null) mount = mountExt4();
  });
  afterAll(async () => {
    await mount?.unmount();
  });

  const rounds = slow ? 34 : 4;
  for (const writer of Object.keys(check)) {
    faultTest(
      `${rounds} × while it runs ${writer}: what was acknowledged is there`,
      { needs, timeoutMs: 600_000 },
      async () => {
        let total = 0;
        for (let round = 0; round < rounds; round++) {
          const dir = join(mount!.path, `${writer}${round}`);
          mkdirSync(dir);
          Bun.spawnSync(["sync", "-f", mount!.path]);
          const child = startCase(fixture, writer, { input: dir, env });
          await child.event("ready");
          await Bun.sleep(momentMs(round * 3 + 1));
          mount!.cutPower();
          child.kill("SIGKILL");
          const lastAck = await acknowledged(child);
          total += lastAck + 1;
          mount!.remount();
          try {
            check[writer]!(dir, lastAck);
          } catch (error) {
            throw new Error(`round ${round}, ${lastAck + 1} acknowledged`, { cause: error });
          }
          rmSync(dir, { recursive: true });
        }
        expect(total).toBeGreaterThan(0);
      },
    );
  }
});

describe("writeback fails", () => {
  for (const backend of ["uring", "node"]) {
    const needs =
      backend === "uring" ? (["loop", "tmpfs", "gcc", "ioUring"] as const) : (["loop", "tmpfs", "gcc"] as const);
    faultTest(`${backend}: the first sync rejects, and every later one`, { needs, timeoutMs: 60_000 }, async () => {
      const store = mountTmpfs(12 << 20);
      const mount = mountExt4({ imageDir: store.path, bytes: 64 << 20, journal: false });
      try {
        const { syncs } = await runCase<any>(fixture, "failedSync", {
          input: { path: join(mount.path, "file"), bytes: 32 << 20 },
          env: { BUN_URING_BACKEND: backend },
        });
        expect(syncs[0]).toMatchObject({ code: expect.stringMatching(/^(ENOSPC|EIO)$/), syscall: "fsync" });
        expect(syncs[1]).toMatchObject({ code: syncs[0].code, syscall: "fsync" });
        expect(syncs[2]).toMatchObject({ code: syncs[0].code, syscall: "fdatasync" });
      } finally {
        await mount.unmount();
        await store.unmount();
      }
    });
  }
});
