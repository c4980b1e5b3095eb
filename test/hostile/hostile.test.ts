// Promises 1, 2 and 3 against the worst caller: seeded rounds of calls whose arrays, options and memory change under them, on
// ext4, tmpfs, FUSE and a FIFO, with rings that are shut down and Workers that end meanwhile. No byte beside a buffer
// changes, no foreign byte is read or written, every promise settles once, nothing is left in the tables.
// Assumes that a fault may crash the child, which is a failure, too. A seed repeats its run.

import { expect, onTestFinished } from "bun:test";
import { join } from "node:path";
import { alignedBuffer, backend, open, stats, writeFile } from "../../src/index.ts";
import { runCase } from "../helpers/child.ts";
import { startFuse } from "../helpers/fuse.ts";
import { mountExt4, mountTmpfs } from "../helpers/mounts.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";
import type { Plan } from "./hostile.child.ts";

const fixture = join(import.meta.dir, "hostile.child.ts");
const root = tmpDir();
const slow = missing(["slow"]) === null;
const has = (...needs: Parameters<typeof missing>[0]): boolean => missing(needs) === null;
const seeds = slow ? Array.from({ length: 12 }, (_, i) => i + 1) : [1, 2];
const rounds = slow ? 60 : 8;

for (const seed of seeds)
  faultTest(`a hostile caller on ${backend}, seed ${seed}`, { timeoutMs: slow ? 300_000 : 60_000 }, async () => {
    const dirs = [root];
    if (has("tmpfs")) dirs.push(mounted(mountTmpfs(256 << 20)));
    if (has("loop")) dirs.push(mounted(mountExt4({ bytes: 256 << 20 })));
    const plan: Plan = { seed, rounds, dirs, fuse: has("fuse", "gcc") };
    const timeoutMs = slow ? 290_000 : 55_000;
    expect(await runCase<string[]>(fixture, "rounds", { input: plan, timeoutMs })).toEqual([]);
  });

faultTest("memory taken away while a direct write waits for its turn", { needs: ["fuse", "gcc"] }, async () => {
  await using fuse = await startFuse();
  await writeFile(join(fuse.path, "file"), Buffer.alloc(65_536, 1));
  const handle = await open(join(fuse.path, "file"), "r+", { direct: true });
  await fuse.mode({ mode: "slow", ms: 100, ops: ["read"] });
  const first = handle.write(Buffer.alloc(100, 2), 0, 100, 50); // reads the block first
  const codes = [0, 7].map((position) => {
    const bytes = alignedBuffer(4096);
    const write = handle.write(bytes, 0, 4096, position).then(
      () => "written",
      (error) => error.code,
    );
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    return write;
  });
  expect(await Promise.all(codes)).toEqual(["ERR_INVALID_STATE", "ERR_INVALID_STATE"]);
  expect((await first).bytesWritten).toBe(100);
  await handle.close(); // waits for all that has begun
  expect(stats().inFlight).toBe(0);
});

function mounted({ path, unmount }: { path: string; unmount: () => Promise<void> }): string {
  onTestFinished(unmount);
  return path;
}
