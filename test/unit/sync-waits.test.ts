// Owns that nobody looks for a sync: it takes as long as a device does. Looks are counted, no time is taken.
// Assumes a kernel that gives rings; any file system.

import { afterAll, expect } from "bun:test";
import { backend, open, stats } from "../../src/index.ts";
import { existingThread } from "../../src/ring/context.ts";
import { testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const onRing = (title: string, body: () => unknown): void =>
  testUnless(backend !== "io_uring" && "no ring", title, body);
const handle = await open(tmp.path(), "w");
afterAll(() => handle.close());
const data = Buffer.alloc(16_384, 65);

for (const [name, sync] of [
  ["datasync", () => handle.datasync()],
  ["sync", () => handle.sync()],
  ["a flushed write", () => handle.write(data, 0, data.length, 0, { flush: true })],
  ["a flushed vector", () => handle.writev([data, data], 0, { flush: true })],
] as [string, () => Promise<unknown>][])
  onRing(`${name} is not looked for, and the ring does not forget what it waits for`, async () => {
    for (let i = 0; i < 4; i++) await sync();
    const before = stats().spins;
    const wakeups = stats().wakeups;
    for (let i = 0; i < 20; i++) await sync();
    // One round each is the doorbell's: it finds what has come.
    expect(stats().spins - before).toBeLessThanOrEqual(20 + stats().wakeups - wakeups);
    await Promise.all([sync(), handle.write(data, 0, data.length, 0), sync()]);
    expect(stats()).toMatchObject({ inFlight: 0, queued: 0 });
    expect(existingThread()!.ring.syncing).toBe(0); // else what comes next would be taken for one
  });
