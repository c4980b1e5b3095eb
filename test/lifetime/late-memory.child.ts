// Owns the cases of late-memory.test.ts: a file server that answers after the ring was closed over the operation.
// Assumes root and /dev/fuse.

import * as fs from "../../src/index.ts";
import { runCases } from "../helpers/cases.ts";
import { type Fuse, startFuse } from "../helpers/fuse.ts";

async function fill(fuse: Fuse, name: string, length: number, letter: string): Promise<void> {
  await using handle = await fs.open(`${fuse.path}/${name}`, "w+");
  await handle.write(Buffer.alloc(length, letter), 0, length, 0);
}

const letters = (bytes: Uint8Array): string => [...new Set(Buffer.from(bytes).toString("latin1"))].join("");

async function onFuse<T>(run: (fuse: Fuse) => Promise<T>): Promise<T> {
  await using fuse = await startFuse();
  return await run(fuse);
}

const SLOW_MS = 800;

runCases({
  /** What is in another file's bytes that nobody wrote, after its write went through the memory of a read that came late. */
  async bounce(): Promise<string> {
    return onFuse(async (fuse) => {
      await fill(fuse, "a", 16_384, "A");
      await fill(fuse, "b", 65_536, "B");
      const a = await fs.open(`${fuse.path}/a`, "r", { direct: true });
      await fuse.mode({ mode: "slow", ms: SLOW_MS, ops: ["read"] });
      a.read(Buffer.alloc(5000), 0, 5000, 100).catch(() => {});
      await Bun.sleep(30);
      await fs.shutdown({ timeoutMs: 10 });
      await fuse.mode({ mode: "ok" });
      const b = await fs.open(`${fuse.path}/b`, "r+", { direct: true });
      // Its first block is read, and there before the other one: the late answer comes meanwhile.
      await fuse.mode({ mode: "slow", ms: 2 * SLOW_MS, ops: ["read"], after: 1, count: 1 });
      await b.write(Buffer.alloc(8000, "p"), 0, 8000, 100);
      await fuse.mode({ mode: "ok" });
      const back = Buffer.alloc(100);
      await using check = await fs.open(`${fuse.path}/b`, "r");
      await check.read(back, 0, 100, 0);
      return letters(back);
    });
  },

  /** What comes into the user's own memory when a read was given up. */
  async users(): Promise<string[]> {
    return onFuse(async (fuse) => {
      await fill(fuse, "a", 65_536, "A");
      const memory = Array.from({ length: 3 }, () => Buffer.alloc(8192, "u"));
      const a = await fs.open(`${fuse.path}/a`, "r");
      await fuse.mode({ mode: "slow", ms: SLOW_MS, ops: ["read"] });
      const given = [a.read(memory[0]!, 0, 8192, 0), a.readv([memory[1]!, memory[2]!], 16_384)];
      const codes = Promise.all(given.map((read) => read.then(String, (error) => error.code)));
      await Bun.sleep(30);
      await fs.shutdown({ timeoutMs: 10 });
      const seen = await codes;
      await Bun.sleep(SLOW_MS + 200);
      await fuse.mode({ mode: "ok" });
      return [...seen, ...memory.map(letters)];
    });
  },
});
