// `make soak SECONDS=600 SEED=1 WORKERS=2`: a mixed load with every byte verified, Workers coming and going with reads that wait and
// memory of pools that they give away, rings shut down and made anew, and a rest now and then in which nothing may be left: descriptors, threads, slots, cells, readBuffers, direct descriptors, memory. Prints what it saw and one
// line of verdict; exits with 1 if that is not "flat and right".
// Assumes io_uring, and a few hundred megabytes in the temporary folder. Never judges what came before the warm-up's end.

import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { thread } from "../src/backend/uring/request.ts";
import * as fs from "../src/index.ts";
import { lastingThreads, openFds, residentBytes } from "./helpers/fds.ts";
import { kernelLogMark, kernelTrouble } from "./helpers/kernel-log.ts";
import { startGapMeter } from "./helpers/loop-gap.ts";
import { run } from "./helpers/mounts.ts";
import { actors, type Counts, Random } from "./soak.load.ts";
import { GIVEN_BYTES, type WorkerReport } from "./soak.worker.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    /** Workers at a time. */
    workers: { type: "string", default: "2" },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed);
const workersAtOnce = Number(values.workers);
if (!(seconds >= 1) || !Number.isInteger(seed) || !(workersAtOnce >= 0))
  throw new TypeError("--seconds and --workers take a number, --seed an integer");

const WARM_UP = 0.25;
/** What FIFOs are fed with. */
const MARK = 0x5a;
/**
 * What Bun keeps of a Worker that is terminated at work: nobody closes its FileHandles, and bun:ffi never frees a library's
 * functions. The Workers of this load leave 25 KiB each, and 47 KiB with BUN_URING_BACKEND=node, which makes no ring.
 * Against the ten million operations of ten minutes that is two bytes for each: a leak in any of them still shows.
 */
const WORKER_LEAVES = 32 * 1024;
const isEventfd = (target: string): boolean => target === "anon_inode:[eventfd]";
/** Bun's own, the ring's and SPARE_WAKES of the shim. */
const KEPT_EVENTFDS = [...openFds().values()].filter(isEventfd).length + 1 + 4;
const [MOST_GROWTH, MOST_STALL_MS] = [1.1, 50];

interface Rest {
  atSeconds: number;
  /** Must be the same at every rest. */
  held: Record<string, number>;
  threads: string[];
  /** What its descriptors are of. */
  files: string[];
  rss: number;
  terminated: number;
}

const counts: Counts = { operations: 0, bytes: 0, aborts: 0 };
const ended = { workers: 0, terminated: 0 };
const problems: string[] = [];
const rests: Rest[] = [];
const dir = mkdtempSync(join(process.env.BUN_URING_TEST_DIR ?? tmpdir(), "bun-uring-soak-"));
const mark = kernelLogMark();
const startedMs = performance.now();
const elapsed = (): number => (performance.now() - startedMs) / 1000;
let over = false;
let gate: Promise<void> | null = null;
let busy = 0;
/** The longest of each: by the clock, without waiting for a processor, of the thread's own work. */
const longest = { gapMs: 0, stallMs: 0, busyMs: 0 };
let meter = startGapMeter();
let disturbers = 0;

function fail(what: string): void {
  problems.push(`at ${elapsed().toFixed(1)} s: ${what}`);
  over = true;
}

/** Runs steps until the end, none while the gate is shut. */
async function drive(name: string, step: () => Promise<void>): Promise<void> {
  while (!over) {
    if (gate !== null) await gate;
    busy++;
    try {
      await step();
    } catch (error) {
      fail(`${name}: ${(error as Error).stack}`);
    }
    busy--;
  }
}

/**
 * Workers begin or end: Bun alone takes up to 80 ms of this thread to make one, and all threads of the process wait for
 * each other's memory maps then. Such times are not the package's to answer for, and there are enough others.
 */
function disturb(): void {
  if (disturbers++ === 0) endMeter();
}

function calm(): void {
  if (--disturbers === 0) meter = startGapMeter();
}

function endMeter(): void {
  const { maxGapMs, maxStallMs, maxBusyMs } = meter.stop();
  longest.gapMs = Math.max(longest.gapMs, maxGapMs);
  longest.stallMs = Math.max(longest.stallMs, maxStallMs);
  longest.busyMs = Math.max(longest.busyMs, maxBusyMs);
}

/** One Worker: works for a while, then ends by itself or is terminated. */
async function workerLife(random: Random, number: number): Promise<void> {
  const own = join(dir, `worker${number}`);
  await fs.mkdir(own); // nothing here may wait for the disk on this thread
  const fifo = join(own, "fifo");
  disturb();
  run("mkfifo", fifo);
  const workerSeed = random.below(1e6);
  const given: Uint8Array[] = [];
  const worker = new Worker(new URL("./soak.worker.ts", import.meta.url));
  const gone = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  const ready = Promise.withResolvers<void>();
  const kill = random.below(2) === 0;
  worker.on("error", (error) => fail(`worker: ${error}`));
  worker.on("message", (message: WorkerReport) => {
    if (message.ready) return ready.resolve();
    if (message.given !== undefined) return void given.push(message.given);
    disturb(); // it ends now
    if (message.error !== undefined) fail(`worker: ${message.error}`);
    counts.operations += message.counts?.operations ?? 0;
    counts.bytes += message.counts?.bytes ?? 0;
    counts.aborts += message.counts?.aborts ?? 0;
  });
  worker.postMessage({ dir: own, seed: workerSeed, ms: kill ? 60_000 : 200 + random.below(1000), fifo });
  await Promise.race([ready.promise, gone]);
  calm();
  if (kill) {
    await Bun.sleep(200 + random.below(1000));
    disturb();
    await worker.terminate();
    ended.terminated++;
  }
  await gone;
  feed(fifo);
  calm();
  const foreign = given.filter((bytes) => bytes.some((byte) => byte !== workerSeed % 256));
  if (foreign.length > 0) fail(`memory that a Worker has given away has changed`);
  ended.workers++;
  await fs.rm(own, { recursive: true });
}

/** What a Worker's reads waited for comes after its end: it is nobody's, and in nobody's memory. */
function feed(fifo: string): void {
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const mine = Array.from({ length: 16 }, () => new Uint8Array(GIVEN_BYTES));
  writeSync(fd, Buffer.alloc(GIVEN_BYTES / 2, MARK));
  if (mine.some((bytes) => bytes.includes(MARK))) fail("a Worker's read has written into this thread's memory");
  closeSync(fd);
}

/** What the ring has out, and the process's descriptors. */
function held(): Record<string, number> {
  const t = thread();
  const { inFlight, queued } = t.ring.stats();
  const [slots, cells] = [t.ring.operations.used, t.cells.used];
  return {
    fds: ownFiles().length,
    inFlight,
    queued,
    slots,
    cells,
    readBuffers: t.readBuffers.used,
    direct: t.direct.used,
  };
}

/**
 * What there are descriptors of, without the files that a terminated Worker had open (nobody closes those in Bun, node:fs's handles
 * neither) and without the eventfds of ended jobs that a ring keeps: as many as jobs have run at once.
 */
function ownFiles(): string[] {
  const targets = [...openFds().values()].filter((target) => !target.startsWith(`${dir}/worker`));
  const others = targets.filter((target) => !isEventfd(target));
  return [...others, ...targets.filter(isEventfd).slice(KEPT_EVENTFDS)];
}

/** Everybody rests; what is held then is looked at until it stands still, for two seconds at most. */
async function rest(): Promise<void> {
  let open = (): void => {};
  gate = new Promise((resolve) => {
    open = resolve;
  });
  while (busy > 0) await Bun.sleep(5);
  endMeter(); // the collections below take their time
  if (rests.length % 2 === 1) await fs.shutdown(); // the next operation makes a new ring
  let now = held();
  let threads = lastingThreads();
  const expected = rests.find(isJudged) ?? rests.at(-1);
  for (let look = 0; look < 40; look++) {
    Bun.gc(true);
    await Bun.sleep(50);
    now = held();
    threads = lastingThreads();
    if (look >= 3 && (expected === undefined || isSame(expected, now, threads))) break;
  }
  const files = ownFiles();
  rests.push({ atSeconds: elapsed(), held: now, threads, files, rss: residentBytes(), terminated: ended.terminated });
  meter = startGapMeter();
  gate = null;
  open();
}

const isJudged = ({ atSeconds }: Rest): boolean => atSeconds > seconds * WARM_UP;
const isSame = (before: Rest, now: Record<string, number>, threads: string[]): boolean =>
  JSON.stringify(before.held) === JSON.stringify(now) && before.threads.length === threads.length;

/** Differences between the first rest after the warm-up and the last one; both of a ring that is new, or both of an old one. */
function growth(): string[] {
  const last = rests.at(-1);
  const first = rests.find((one, i) => isJudged(one) && (rests.length - 1 - i) % 2 === 0);
  if (first === undefined || last === undefined || first === last) return ["there was no time for two rests"];
  const more = Object.keys(first.held).filter((name) => last.held[name]! > first.held[name]!);
  const grown = more.map((name) => `${name} ${first.held[name]} -> ${last.held[name]}`);
  if (last.files.length > first.files.length) grown.push(`descriptors of ${added(first.files, last.files).join(" ")}`);
  if (last.threads.length > first.threads.length)
    grown.push(`threads ${first.threads.length} -> ${last.threads.length} (${last.threads.join(" ")})`);
  const left = (last.terminated - first.terminated) * WORKER_LEAVES;
  if (last.rss - left > first.rss * MOST_GROWTH) grown.push(`RSS ${mib(first.rss)} -> ${mib(last.rss)}`);
  return grown;
}

/** What `now` has more of than `before`; numbers in names aside. */
function added(before: readonly string[], now: readonly string[]): string[] {
  const plain = (name: string): string => name.replaceAll(/\d+/g, "N");
  const left = before.map(plain);
  return now.map(plain).filter((name) => {
    const at = left.indexOf(name);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

async function main(): Promise<void> {
  const random = new Random(seed);
  const load = actors(dir, seed, counts).map((actor) => drive(actor.name, () => actor.step()));
  let workers = 0;
  for (let i = 0; i < workersAtOnce; i++) load.push(drive("workers", () => workerLife(random, workers++)));
  const everySeconds = Math.max(2, Math.min(20, seconds / 8));
  while (!over && elapsed() < seconds) {
    const until = Math.min(seconds, elapsed() + everySeconds);
    while (!over && elapsed() < until) await Bun.sleep(50);
    await rest();
    const { held, rss } = rests.at(-1)!;
    const { aborts, operations } = counts;
    console.log(
      `${elapsed().toFixed(0).padStart(4)} s  ${operations} operations, ${mib(counts.bytes)}, ${aborts} aborted, ` +
        `${ended.workers} Workers (${ended.terminated} terminated), ${held.fds} fds, RSS ${mib(rss)}`,
    );
  }
  over = true;
  await Promise.all(load);
  meter.stop();
}

try {
  await main();
} finally {
  rmSync(dir, { recursive: true, force: true });
}
const { overflows } = fs.stats();
const grown = growth();
const { gapMs, stallMs, busyMs } = longest;
if (stallMs >= MOST_STALL_MS) problems.push(`the event loop stood still for ${stallMs.toFixed(0)} ms`);
problems.push(...kernelTrouble(mark).slice(0, 5));
console.log(
  `seed ${seed}, ${seconds} s: the loop's longest gap ${gapMs.toFixed(1)} ms, without waiting for a processor ${stallMs.toFixed(1)} ms, ` +
    `of its own work ${busyMs.toFixed(1)} ms; ${overflows} CQ overflows`,
);
for (const { atSeconds, held, threads, rss } of rests.filter((_, i) => i === 0 || i === rests.length - 1))
  console.log(`at ${atSeconds.toFixed(0)} s: ${JSON.stringify({ ...held, threads: threads.length })}, RSS ${mib(rss)}`);
const bad = [...problems, ...grown];
console.log(bad.length === 0 ? "VERDICT: flat and right" : `VERDICT: ${bad.join("; ")}`);
process.exitCode = bad.length === 0 ? 0 : 1;
