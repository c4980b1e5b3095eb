// FAULTS rows 23, 24, 25, promise 6: what was acknowledged as durable is there, after the process died and after the power
// was cut; a replaced file is old or new, never else; a failed sync stays failed.
// Assumes that each round's moment is random; the seed of a failing round stands in the message. Never trusts the page cache:
// the power is cut below the file system, and it is mounted again.

import { afterAll, beforeAll, describe, expect } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AppendLog, readLog } from "../../src/durable.ts";
import { type Child, runCase, startCase } from "../helpers/child.ts";
import { type LoopMount, mountExt4, mountTmpfs } from "../helpers/mounts.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "durable.child.ts");
const env = { BUN_URING_BACKEND: process.env.BUN_URING_BACKEND ?? "auto" };
const slow = missing(["slow"]) === null;
/** For a long run in portions: so many rounds of each writer, the first of which has that seed. */
const [asked, firstSeed] = [Number(process.env.BUN_URING_ROUNDS ?? 0), Number(process.env.BUN_URING_SEED ?? 0)];
const RECORD = 32;

/** The highest number that a writer has acknowledged in this output; -1 for none. */
function lastAckIn(stdout: string): number {
  return stdout.split("\n").filter((line) => /^ack \d+$/.test(line)).length - 1;
}

/** The numbers that a writer acknowledged: by the moment of its end, and all in all. */
interface Acknowledged {
  lastAck: number;
  lastEver: number;
}

/** What must hold after any end, for each writer. */
const check: Record<string, (dir: string, acknowledged: Acknowledged) => void | Promise<void>> = {
  append(dir, { lastAck }) {
    const log = readFileSync(join(dir, "log"), "latin1");
    const whole = Math.floor(log.length / RECORD);
    expect(whole).toBeGreaterThanOrEqual(lastAck + 1);
    for (let i = 0; i <= lastAck; i++) {
      expect(log.slice(i * RECORD, (i + 1) * RECORD)).toBe(`${String(i).padStart(RECORD - 1, "0")}\n`);
    }
  },
  replace(dir, { lastAck, lastEver }) {
    const path = join(dir, "value");
    if (lastAck < 0 && !existsSync(path)) return;
    const lines = readFileSync(path, "latin1").split("\n");
    expect(lines.length).toBe(2001);
    expect(new Set(lines.slice(0, 2000)).size).toBe(1);
    expect(Number(lines[0])).toBeGreaterThanOrEqual(lastAck);
    expect(Number(lines[0])).toBeLessThanOrEqual(lastEver + 1);
  },
  async atomic(dir, acknowledged) {
    await check.replace!(dir, acknowledged);
    // A crash may leave a temporary name, one at the most, and a sweep finds it.
    expect(readdirSync(dir).length).toBeLessThanOrEqual(2);
  },
  log: recovers,
  segments: recovers,
  files(dir, { lastAck }) {
    for (let i = 0; i <= lastAck; i++) {
      expect(readFileSync(join(dir, `f${i}`), "latin1")).toBe(`${String(i).padStart(RECORD - 1, "0")}\n`);
    }
  },
};

/** Opening a log again says truly what it has: all that was acknowledged, each once, in order, whole. */
async function recovers(dir: string, { lastAck, lastEver }: Acknowledged): Promise<void> {
  const path = join(dir, "log");
  if (lastAck < 0 && !existsSync(path)) return;
  const log = await AppendLog.open(path, { durability: "full" });
  const { records, cutBytes } = log.recovered;
  await log.append("appended afterwards");
  await log.close();
  const found: string[] = [];
  let sequence = 0;
  for await (const entry of readLog(path)) {
    expect(entry.sequence).toBe(++sequence);
    found.push(entry.data.toString());
  }
  expect(found.pop()).toBe("appended afterwards");
  expect(found).toEqual(found.map((_, i) => `${String(i).padStart(RECORD - 1, "0")}\n`));
  expect(found.length).toBeGreaterThan(lastAck);
  // The last group may be there without having been acknowledged.
  expect(found.length).toBeLessThanOrEqual(lastEver + 1 + 8);
  expect(records).toBeLessThanOrEqual(found.length);
  expect(cutBytes).toBeLessThanOrEqual(8 * (RECORD + 20));
}

/** One round: a writer in a new folder of `root`, ended by `end`. Returns how many acknowledgements had to hold. */
async function endWriter(
  writer: string,
  root: string,
  round: number,
  seed: number,
  end: (child: Child<unknown>) => Promise<Acknowledged>,
): Promise<number> {
  const dir = mkdtempSync(join(root, writer));
  const child = startCase(fixture, writer, { input: dir, env });
  await child.event("ready");
  await Bun.sleep(momentMs(seed));
  const acknowledged = await end(child);
  try {
    await check[writer]!(dir, acknowledged);
  } catch (error) {
    throw new Error(`round ${round}, ${acknowledged.lastAck + 1} acknowledged`, { cause: error });
  }
  rmSync(dir, { recursive: true, force: true }); // A power cut before the first sync takes the folder along.
  return acknowledged.lastAck + 1;
}

/** A moment within the first part of a writer's work, from a seed that a failure names. */
function momentMs(seed: number): number {
  return (Math.imul(seed, 2654435761) >>> 0) % 60;
}

describe("the process is killed", () => {
  const root = tmpDir();
  const rounds = asked || (slow ? 334 : 12);
  for (const writer of Object.keys(check)) {
    faultTest(
      `${rounds} × while it runs ${writer}: what was acknowledged is there`,
      { timeoutMs: 600_000 },
      async () => {
        let total = 0;
        for (let round = 0; round < rounds; round++) {
          total += await endWriter(writer, root, round, firstSeed + round, async (child) => {
            child.kill("SIGKILL");
            const lastEver = lastAckIn((await child.finished()).stdout);
            return { lastAck: lastEver, lastEver };
          });
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

  const rounds = asked || (slow ? 34 : 4);
  for (const writer of Object.keys(check)) {
    faultTest(
      `${rounds} × while it runs ${writer}: what was acknowledged is there`,
      { needs, timeoutMs: 600_000 },
      async () => {
        let total = 0;
        for (let round = 0; round < rounds; round++) {
          total += await endWriter(writer, mount!.path, round, (firstSeed + round) * 3 + 1, async (child) => {
            // What was acknowledged by now has to hold. FS_IOC_SHUTDOWN is not a point in time: a sync that runs beside
            // it may return 0 with its data lost, with plain system calls too (3 of 300 rounds of a loop of
            // write and fdatasync, and never what came before it).
            const lastAck = lastAckIn(child.stdoutSoFar());
            mount!.cutPower();
            child.kill("SIGKILL");
            const lastEver = lastAckIn((await child.finished()).stdout);
            mount!.remount();
            return { lastAck, lastEver };
          });
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

    faultTest(
      `${backend}: a log ends, and has acknowledged nothing behind that`,
      { needs, timeoutMs: 60_000 },
      async () => {
        const store = mountTmpfs(12 << 20);
        const mount = mountExt4({ imageDir: store.path, bytes: 64 << 20, journal: false });
        try {
          const { outcomes, safeOffset, closed } = await runCase<any>(fixture, "failedLog", {
            input: { path: join(mount.path, "log"), records: 32 },
            env: { BUN_URING_BACKEND: backend },
          });
          const failed = outcomes.findIndex((outcome: string) => !outcome.startsWith("at "));
          expect(failed).toBeGreaterThan(0);
          const size = (1 << 20) + 20;
          expect(outcomes.slice(0, failed)).toEqual(Array.from({ length: failed }, (_, i) => `at ${i * size}`));
          expect(outcomes[failed]).toMatch(/^ERR_LOG_FAILED (EIO|ENOSPC)$/);
          expect(new Set(outcomes.slice(failed)).size).toBe(1);
          expect(safeOffset).toBe(failed * size);
          expect(closed).toMatchObject({ code: "ERR_LOG_FAILED" });
        } finally {
          await mount.unmount();
          await store.unmount();
        }
      },
    );
  }
});
