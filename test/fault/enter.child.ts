// Owns the cases of enter.test.ts and exhaustion.test.ts: work whose result shows each operation lost or done twice.
// Assumes the io_uring backend (the parent asks for it by name).
// Never relies on the order of completions, except where a case says so.

import { closeSync, openSync, writeSync } from "node:fs";
import * as fs from "../../src/index.ts";
import { event, outcome, runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";
import { startGapMeter } from "../helpers/loop-gap.ts";

const RECORD = 16;

/** A file whose every record says where it is. */
async function recordFile(path: string, count: number): Promise<void> {
  const bytes = Buffer.alloc(count * RECORD);
  for (let i = 0; i < count; i++) bytes.write(String(i).padStart(RECORD, "0"), i * RECORD, "latin1");
  await fs.writeFile(path, bytes);
}

const record = (i: number): string => String(i).padStart(RECORD, "0");

/** Reads record i; its number, or -1 where the bytes are not that record's. */
async function readRecord(handle: fs.FileHandle, i: number): Promise<number> {
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(RECORD), 0, RECORD, i * RECORD);
  return bytesRead === RECORD && buffer.toString("latin1") === record(i) ? i : -1;
}

/** Descriptors taken one by one until there are no more. */
function takeAll(): number[] {
  const taken: number[] = [];
  for (;;) {
    try {
      taken.push(openSync("/dev/null", "r"));
    } catch {
      return taken;
    }
  }
}

const settled = (): { inFlight: number; queued: number } => {
  const { inFlight, queued } = fs.stats();
  return { inFlight, queued };
};

await runCases({
  /** Reads and writes in several shapes, under whatever the parent injects into io_uring_enter. */
  async work(dir: string) {
    const path = `${dir}/records`;
    await recordFile(path, 400);
    const reader = await fs.open(path, "r");
    const right: number[] = [];
    for (let i = 0; i < 100; i++) right.push(await readRecord(reader, i));
    right.push(...(await Promise.all(Array.from({ length: 300 }, (_, i) => readRecord(reader, 100 + i)))));
    await reader.close();
    const writer = await fs.open(`${dir}/appended`, "a");
    for (let i = 0; i < 50; i++) await writer.write(record(i));
    for (let i = 0; i < 8; i++) await writer.sync(); // which are slept for, not looked for
    await writer.close();
    const appended = await fs.readFile(`${dir}/appended`, "latin1");
    const fifo = await fs.open(`${dir}/fifo`, "r+");
    const parked = fifo.read(Buffer.alloc(4), 0, 4, null);
    const feeder = openSync(`${dir}/fifo`, "r+");
    setTimeout(() => writeSync(feeder, "wake"), 50);
    const woken = (await parked).buffer.toString();
    await fifo.close();
    closeSync(feeder);
    return {
      wrong: right.filter((value, i) => value !== i).length,
      appendedRight: appended === Array.from({ length: 50 }, (_, i) => record(i)).join(""),
      woken,
      ...settled(),
    };
  },

  /** io_uring_enter begins to fail for good: every promise must settle all the same. */
  async doomed(dir: string) {
    const handle = await fs.open(`${dir}/doomed`, "w");
    const meter = startGapMeter();
    let settledCount = 0;
    for (let round = 0; round < 20; round++) {
      // Writes go through the ring; a read of cached bytes might not.
      const writes = Array.from({ length: 10 }, (_, i) => outcome(handle.write(record(i), i * RECORD)));
      settledCount += (await Promise.all(writes)).length;
    }
    return { settled: settledCount, gap: meter.stop() };
  },

  /** Descriptors run out while the ring is in use. */
  async noDescriptors(path: string) {
    await recordFile(path, 10);
    const handle = await fs.open(path, "r");
    const taken = takeAll();
    const refused = [await outcome(fs.open(path, "r")), await outcome(fs.readFile("/etc/hostname-none"))];
    const stillReads = await readRecord(handle, 7);
    for (const fd of taken) closeSync(fd);
    await (await fs.open(path, "r")).close();
    const whole = (await fs.readFile(path)).length;
    await handle.close();
    return { refused, stillReads, whole, ...settled() };
  },

  /** Descriptors have run out before the package makes its ring. */
  async noDescriptorsAtStart(path: string) {
    const taken = takeAll();
    const refused = await outcome(fs.readFile(path));
    for (const fd of taken) closeSync(fd);
    const later = (await fs.readFile(path)).length;
    return { refused, later, backend: fs.backend, fds: [...openFds().values()].filter((to) => to === path).length };
  },

  /** Descriptors have run out when the loop first wants to sleep: the doorbell can't be had. */
  async noDescriptorsForBell(fifoPath: string) {
    const fifo = await fs.open(fifoPath, "r+");
    const feeder = openSync(fifoPath, "r+");
    const taken = takeAll();
    const parked = fifo.read(Buffer.alloc(4), 0, 4, null);
    await Bun.sleep(50);
    writeSync(feeder, "wake");
    const woken = (await parked).buffer.toString();
    for (const fd of taken) closeSync(fd);
    const again = fifo.read(Buffer.alloc(4), 0, 4, null);
    setTimeout(() => writeSync(feeder, "more"), 50);
    const more = (await again).buffer.toString();
    await fifo.close();
    closeSync(feeder);
    return { woken, more, ...settled() };
  },

  /** Many more operations than the ring has entries; of one kind that completes inline, so their order shows. */
  async flood({ path, count }: { path: string; count: number }) {
    await recordFile(path, 1000);
    const handle = await fs.open(path, "r");
    const order: number[] = [];
    let wrong = 0;
    const meter = startGapMeter();
    await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        if ((await readRecord(handle, i % 1000)) !== i % 1000) wrong++;
        order.push(i);
      }),
    );
    const gap = meter.stop();
    await handle.close();
    return { wrong, settled: order.length, inOrder: order.every((value, i) => value === i), gap, ...settled() };
  },

  /** More parked reads than the completion queue has room for, then data for all of them. */
  async parkedFlood({ fifoPath, count }: { fifoPath: string; count: number }) {
    const handles = await Promise.all(Array.from({ length: count }, () => fs.open(fifoPath, "r+")));
    const feeder = openSync(fifoPath, "r+");
    const bytes: number[] = [];
    const reads = handles.map(async (handle) => {
      const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, null);
      bytes.push(buffer[0]!);
    });
    await Bun.sleep(20);
    event("parked", { ...fs.stats(), rss: process.memoryUsage.rss() });
    const sent = Array.from({ length: count }, (_, i) => i % 251);
    writeSync(feeder, Buffer.from(sent));
    await Promise.all(reads);
    await Promise.all(handles.map((handle) => handle.close()));
    closeSync(feeder);
    const sorted = (list: number[]): string => list.toSorted((a, b) => a - b).join();
    return { same: sorted(bytes) === sorted(sent), ...settled() };
  },
});
