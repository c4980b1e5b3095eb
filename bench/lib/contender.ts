// One contender, measured in a process of its own: no other contender's garbage, threads or call profiles.
// Assumes to be started by session.ts with [workload module, contender index, depth, folder]; runs under Bun, and
// bundled under Node. Every line "MILLISECONDS SCRATCH-FOLDER" on stdin is one round, answered by one JSON line on stdout.
// Never prints anything else, and never measures while it sets up.

import { createInterface } from "node:readline";
import { measure } from "mitata";
import { LoopMonitor, now } from "./loop-monitor.ts";
import { Counted, type Operation, type Round, type Workload } from "./workload.ts";

const MAX_LATENCIES = 200_000;
/** A block of operations is one of mitata's samples: long against the clock, short against the round. */
const BLOCK_NS = 2_000_000;

const monitor = new LoopMonitor();

/** A full collection, so that nobody pays for the garbage of a round before. */
function collectGarbage(): void {
  if (typeof Bun !== "undefined") Bun.gc(true);
  else (globalThis as { gc?: () => void }).gc?.();
}

function cpuNanoseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** Runs `count` operations, `depth` at once. Blocking ones are not awaited: that would cost them a turn each. */
function blockOf(operation: Operation, depth: number, blocking: boolean): (count: number) => unknown {
  if (blocking) {
    return (count) => {
      for (let i = 0; i < count; i++) operation.run(0);
    };
  }
  if (depth === 1) {
    return async (count) => {
      for (let i = 0; i < count; i++) await operation.run(0);
    };
  }
  return async (count) => {
    let left = count;
    const lane = async (number: number): Promise<void> => {
      while (left-- > 0) await operation.run(number);
    };
    await Promise.all(Array.from({ length: depth }, (_, number) => lane(number)));
  };
}

/** How many runs fill BLOCK_NS, found by trying from `least` on; warms the code up as well. */
async function blockSize(block: (count: number) => unknown, least: number): Promise<number> {
  for (let count = least; ; count *= 2) {
    const start = now();
    await block(count);
    if (now() - start >= BLOCK_NS) return count;
  }
}

/** Times every operation by itself; apart from the measured rate, which it would slow down. */
async function latencies(operation: Operation, depth: number, blocking: boolean, ms: number): Promise<Float64Array> {
  const samples = new Float64Array(MAX_LATENCIES);
  const end = now() + ms * 1e6;
  let count = 0;
  const lane = async (number: number): Promise<void> => {
    for (;;) {
      const start = now();
      if (blocking) operation.run(number);
      else await operation.run(number);
      const done = now();
      if (count >= MAX_LATENCIES || done >= end) return;
      samples[count++] = done - start;
    }
  };
  await Promise.all(Array.from({ length: depth }, (_, number) => lane(number)));
  return samples.subarray(0, count).sort();
}

function rate(
  operation: Operation,
  depth: number,
  blocking: boolean,
  batch: number | undefined,
): (ms: number) => Promise<Round> {
  const block = blockOf(operation, batch === undefined ? depth : 1, blocking);
  const perRun = batch ?? 1;
  let size = 0;
  return async (ms) => {
    if (size === 0) size = await blockSize(block, batch === undefined ? depth * 4 : 1);
    // What the others left in the caches goes, and the heap is as in a program that has run for a while.
    collectGarbage();
    for (const end = now() + (ms * 1e6) / 3; now() < end; ) await block(size);
    let operations = 0;
    let cpu = 0;
    const { avg } = await measure(
      () => {
        operations += size * perRun;
        return block(size);
      },
      {
        min_cpu_time: ms * 1e6,
        min_samples: 4,
        // In place of a collection, which would make the first samples pay for fresh memory. Called once, after mitata's
        // own warm-up and before its first sample: the measured stretch begins here.
        gc: () => {
          operations = 0;
          monitor.start();
          cpu = cpuNanoseconds();
        },
      } as object,
    );
    const cpuNsPerOp = (cpuNanoseconds() - cpu) / operations;
    const loopGapMs = monitor.stop();
    const nsPerOp = avg / (size * perRun);
    // A share of a batch's time is nobody's latency.
    if (batch !== undefined) return { nsPerOp, cpuNsPerOp, loopGapMs };
    const each = await latencies(operation, depth, blocking, ms / 3);
    return {
      nsPerOp,
      cpuNsPerOp,
      p50Ns: each[Math.floor(each.length * 0.5)],
      p99Ns: each[Math.floor(each.length * 0.99)],
      ...(blocking ? {} : { loopGapMs }),
    };
  };
}

async function timeJob(operation: Operation, operations: number): Promise<Round> {
  monitor.start();
  const cpu = cpuNanoseconds();
  const start = now();
  const result = await operation.run(0);
  const elapsed = now() - start;
  const busy = cpuNanoseconds() - cpu;
  const loopGapMs = monitor.stop();
  if (result instanceof Counted) {
    const { operations: count, p50Ns, p99Ns } = result;
    return { nsPerOp: elapsed / count, cpuNsPerOp: busy / count, p50Ns, p99Ns, loopGapMs };
  }
  return { nsPerOp: elapsed / operations, cpuNsPerOp: busy / operations, loopGapMs };
}

function job(operation: Operation, operations: number): () => Promise<Round> {
  return async () => {
    collectGarbage();
    const round = await timeJob(operation, operations);
    // A result of a gigabyte must be gone before the next contender's turn.
    collectGarbage();
    return round;
  };
}

async function main(): Promise<void> {
  const [modulePath, index, depthText, folder] = process.argv.slice(2);
  const { default: workload } = (await import(modulePath)) as { default: Workload };
  const contender = workload.contenders[Number(index)];
  const depth = Number(depthText);
  const operation = await contender.open(folder, depth);
  const round =
    workload.shape === "rate"
      ? rate(operation, depth, contender.kind === "sync", contender.batch)
      : job(operation, workload.operations ?? 1);
  process.stdout.write("ready\n");
  for await (const line of createInterface({ input: process.stdin })) {
    const [ms, scratch] = line.split(/ (.*)/);
    await operation.begin?.(scratch);
    process.stdout.write(`${JSON.stringify(await round(Number(ms)))}\n`);
  }
  await operation.close?.();
}

await main();
