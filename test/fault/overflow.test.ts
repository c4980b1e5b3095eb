// FAULTS row 8: more completions than the CQ holds. The kernel keeps the rest, the shim fetches it, every operation settles.
// The package never puts more into the kernel than the CQ holds; here that bound is lifted, so that the overflow happens.
// Never touches the thread's own ring.

import { expect } from "bun:test";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { endThread, parkRead, smallThread } from "../helpers/small-ring.ts";
import { tmpDir } from "../helpers/tmp.ts";

const dir = tmpDir();
const READS = 32;

faultTest("a CQ of 8 with 32 completions at once: it overflows, and all settle", { needs: ["ioUring"] }, async () => {
  const path = join(dir, "fifo");
  run("mkfifo", path);
  const t = smallThread({ entries: 4, cqEntries: 8 });
  const { ring } = t;
  expect(ring.cqEntries).toBe(8);
  (ring as { cqEntries: number }).cqEntries = 2 * READS;
  const feeder = openSync(path, "r+");
  const parked = Array.from({ length: READS }, () => parkRead(ring, path));
  try {
    while (ring.inFlight < READS) {
      t.loop.flush();
      await new Promise(setImmediate);
    }
    const records = Array.from({ length: READS }, (_, i) => `record${String(i).padStart(2, "0")}`);
    writeSync(feeder, records.join(""));
    const busyUntil = performance.now() + 20;
    while (performance.now() < busyUntil); // the kernel has no turn of ours to post in
    expect(await Promise.all(parked.map(({ read }) => read))).toEqual(Array(READS).fill(8));
    // Which read gets which record is the kernel's business; each goes to one.
    expect(parked.map(({ view }) => view.toString("latin1")).toSorted()).toEqual(records);
    expect(ring.stats().overflows).toBeGreaterThan(0);
    expect([ring.poisoned, ring.inFlight, ring.operations.used]).toEqual([null, 0, 0]);
  } finally {
    endThread(t, [feeder, ...parked.map(({ fd }) => fd)]);
  }
});

faultTest(
  "with the bound in place it does not overflow: the rest waits in JavaScript",
  { needs: ["ioUring"] },
  async () => {
    const path = join(dir, "fifo2");
    run("mkfifo", path);
    const t = smallThread({ entries: 4, cqEntries: 8 });
    const { ring } = t;
    const feeder = openSync(path, "r+");
    const parked = Array.from({ length: READS }, () => parkRead(ring, path));
    try {
      while (ring.inFlight < 8) {
        t.loop.flush();
        await new Promise(setImmediate);
      }
      for (let i = 0; i < 20; i++) t.loop.flush();
      expect([ring.inFlight, ring.queued]).toEqual([8, READS - 8]);
      for (let i = 0; i < READS; i++) writeSync(feeder, "12345678");
      await Promise.all(parked.map(({ read }) => read));
      expect(ring.stats().overflows).toBe(0);
    } finally {
      endThread(
        t,
        parked.map(({ fd }) => fd),
      );
      closeSync(feeder);
    }
  },
);
