// One probe in a process of its own: no other probe's heap, pools or compiled code.
// Assumes to be started by bench/cost.ts with [probe, argument, folder that has cached.bin]; answers with one line of JSON.

import { heapStats } from "bun:jsc";
import { join } from "node:path";
import { BLOCK, GIB, randomOrder } from "../lib/files.ts";
import { median } from "../lib/results.ts";
import { ours } from "../lib/workload.ts";

const [probe, argument, folder] = process.argv.slice(2);
const path = join(folder, "cached.bin");
const buffer = new Uint8Array(BLOCK);
const order = randomOrder(Bun.file(path).size / BLOCK);

type Reader = () => Promise<unknown>;

/** Reads a cached block; always into the same memory, so that only the operation costs memory. */
async function reader(): Promise<Reader> {
  const handle = await (await ours()).open(path);
  return () => handle.read(buffer, 0, BLOCK, order() * BLOCK);
}

function rssBytes(): number {
  return process.memoryUsage.rss();
}

/** Starts `count` reads in one turn, waits for all, again and again; and what memory so many take while they wait. */
async function outstanding(count: number): Promise<object> {
  const read = await reader();
  const all = new Array<Promise<unknown>>(count);
  const group = async (): Promise<void> => {
    for (let i = 0; i < count; i++) all[i] = read();
    await Promise.all(all);
  };
  const groups = Math.ceil(30_000 / count);
  for (let i = 0; i < groups; i++) await read();
  Bun.gc(true);
  const before = rssBytes();
  for (let i = 0; i < count; i++) all[i] = read();
  const bytesPerOperation = Math.max(0, rssBytes() - before) / count;
  await Promise.all(all);

  for (let i = 0; i < groups; i++) await group();
  const times: number[] = [];
  const cpuTimes: number[] = [];
  for (let round = 0; round < 7; round++) {
    const cpu = process.cpuUsage();
    const start = Bun.nanoseconds();
    for (let i = 0; i < groups; i++) await group();
    times.push((Bun.nanoseconds() - start) / groups / count);
    const { user, system } = process.cpuUsage(cpu);
    cpuTimes.push(((user + system) * 1000) / groups / count);
  }
  return { count, nsPerOp: median(times), cpuNsPerOp: median(cpuTimes), bytesPerOperation };
}

/** Few enough that no collection comes between the two counts. */
const GARBAGE_OPERATIONS = 2000;

/** What is on the heap after so many operations that was not before, per operation, by type. */
async function objectsMadeBy(operation: Reader): Promise<Record<string, number>> {
  for (let i = 0; i < 20 * GARBAGE_OPERATIONS; i++) await operation();
  Bun.gc(true);
  const before = heapStats().objectTypeCounts;
  for (let i = 0; i < GARBAGE_OPERATIONS; i++) await operation();
  const after = heapStats().objectTypeCounts;
  const made: Record<string, number> = {};
  for (const [type, count] of Object.entries(after)) {
    const each = (count - (before[type] ?? 0)) / GARBAGE_OPERATIONS;
    if (each >= 0.02) made[type] = Math.round(each * 100) / 100;
  }
  return made;
}

async function garbage(): Promise<object> {
  const result = { bytesRead: 0, buffer };
  // What such a loop costs in itself: a promise, and a result of the same form.
  const nothing = (): Promise<unknown> => Promise.resolve({ ...result });
  return { loop: await objectsMadeBy(nothing), read: await objectsMadeBy(await reader()) };
}

const IDLE_MS = 2000;

/** CPU time of a process that has done I/O, has a file open, and waits. */
async function idle(withReads: boolean): Promise<object> {
  if (withReads) {
    const read = await reader();
    for (let i = 0; i < 1000; i++) await Promise.all(Array.from({ length: 64 }, read));
  }
  Bun.gc(true);
  await Bun.sleep(500);
  const before = process.cpuUsage();
  await Bun.sleep(IDLE_MS);
  const { user, system } = process.cpuUsage(before);
  return { cpuMsPerSecond: (user + system) / IDLE_MS };
}

/** The first import of the bundle, as a user's program has it. */
async function importTime(bundle: string): Promise<object> {
  const start = Bun.nanoseconds();
  await import(bundle);
  return { ms: (Bun.nanoseconds() - start) / 1e6 };
}

/** Reads of `count` Workers, each with a ring of its own, all at once. */
async function workers(count: number): Promise<object> {
  const script = join(import.meta.dir, "worker.ts");
  const all = Array.from({ length: count }, () => new Worker(script, { argv: [path] }));
  const answer = (worker: Worker): Promise<number> =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data as number);
      worker.onerror = ({ message }) => reject(new Error(message));
    });
  await Promise.all(all.map(answer));
  const rates = all.map(answer);
  for (const worker of all) worker.postMessage("go");
  const perSecond = (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
  for (const worker of all) worker.terminate();
  return { count, perSecond, gbPerSecond: (perSecond * BLOCK) / GIB };
}

const probes: Record<string, () => Promise<object>> = {
  outstanding: () => outstanding(Number(argument)),
  garbage,
  idle: () => idle(argument === "reads"),
  import: () => importTime(argument),
  workers: () => workers(Number(argument)),
};

console.log(JSON.stringify(await probes[probe]()));
process.exit(0);
