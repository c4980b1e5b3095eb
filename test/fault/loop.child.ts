// Owns the cases of loop.test.ts: reading as fast as it goes, with a 5 ms interval beside it.
// Assumes a warm page cache. Never yields to the loop by itself: that is the package's business.

import * as fs from "../../src/index.ts";
import { event, mark, runCases } from "../helpers/cases.ts";
import { startGapMeter } from "../helpers/loop-gap.ts";

const BLOCK = 4096;

await runCases({
  /** Awaited cached reads, `parallel` at a time, for so long. */
  async reads({ path, ms, parallel }: { path: string; ms: number; parallel: number }) {
    const handle = await fs.open(path, "r");
    const buffers = Array.from({ length: parallel }, () => Buffer.alloc(BLOCK));
    let count = 0;
    const meter = startGapMeter();
    const until = performance.now() + ms;
    await Promise.all(
      buffers.map(async (buffer) => {
        while (performance.now() < until) {
          await handle.read(buffer, 0, BLOCK, (count++ & 63) * BLOCK);
        }
      }),
    );
    const gap = meter.stop();
    await handle.close();
    return { gap, count };
  },

  /** Other kinds of work in a loop: none may starve the timers either. */
  async mixed({ path, ms }: { path: string; ms: number }) {
    const meter = startGapMeter();
    const until = performance.now() + ms;
    const handle = await fs.open(path, "r");
    const loops: (() => Promise<unknown>)[] = [
      () => fs.stat(path),
      () => fs.readFile(path),
      () => handle.stat(),
      () => fs.stat("/none").catch(() => {}),
      async () => (await fs.open(path, "r")).close(),
    ];
    const count = loops.map(() => 0);
    await Promise.all(
      loops.map(async (once, i) => {
        while (performance.now() < until) {
          await once();
          count[i]!++;
        }
      }),
    );
    const gap = meter.stop();
    await handle.close();
    return { gap, count };
  },

  /** Each kind alone: a chain of one kind must not keep the loop for itself. */
  async one({ path, ms, kind }: { path: string; ms: number; kind: string }) {
    const handle = await fs.open(path, "r");
    const once: Record<string, () => Promise<unknown>> = {
      stat: () => fs.stat(path),
      lstat: () => fs.lstat(path),
      handleStat: () => handle.stat(),
      readFile: () => fs.readFile(path),
      missing: () => fs.stat("/none").catch(() => {}),
      empty: () => handle.read(Buffer.alloc(0)),
      openClose: async () => (await fs.open(path, "r")).close(),
    };
    const meter = startGapMeter();
    for (const until = performance.now() + ms; performance.now() < until; ) await once[kind]!();
    const gap = meter.stop();
    await handle.close();
    return { gap };
  },

  async wholeFile(path: string) {
    const meter = startGapMeter();
    const bytes = await fs.readFile(path);
    const gap = meter.stop();
    return { gap, length: bytes.length, ends: [bytes[0], bytes.at(-1)] };
  },

  /** So many reads in one turn, between marks: strace counts the system calls. */
  async oneTurn({ path, count }: { path: string; count: number }) {
    const handle = await fs.open(path, "r");
    const read = (i: number): Promise<{ bytesRead: number; buffer: Buffer }> =>
      handle.read(Buffer.alloc(BLOCK), 0, BLOCK, i * BLOCK);
    await Promise.all(Array.from({ length: count }, (_, i) => read(i)));
    await Bun.sleep(20);
    mark("begin");
    const results = await Promise.all(Array.from({ length: count }, (_, i) => read(i)));
    mark("end");
    await handle.close();
    event("done");
    return results.filter(({ bytesRead, buffer }, i) => bytesRead !== BLOCK || buffer.readUInt32LE(0) !== i).length;
  },
});
