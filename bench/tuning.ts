// Each bound that `Ring.tune` sets, against its alternatives: the work that it matters for, with every setting in turn, a
// few rounds of each. Prints medians and writes their JSON; the setting marked * is the default.
// Assumes the shim is built (`make bench-tuning` does). Never leaves a file behind.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { type FileHandle, open, Ring, readFile, stat, type Tuning } from "../src/index.ts";
import { environmentOf } from "./lib/environment.ts";
import { alignedBuffers, BLOCK, KIB, MIB, makeFile, randomOrder } from "./lib/files.ts";
import { LoopMonitor } from "./lib/loop-monitor.ts";
import { median, RESULTS_FOLDER } from "./lib/results.ts";
import { duration, printEnvironment } from "./lib/table.ts";

const ROUNDS = 5;
const ROUND_MS = 150;
const FILE_BYTES = 64 * MIB;

interface Trial {
  readonly work: string;
  readonly depth: number;
  readonly settings: readonly Partial<Tuning>[];
  run(lane: number): Promise<unknown>;
}

interface Seen {
  nsPerOp: number;
  cpuNsPerOp: number;
  loopGapMs: number;
}

const folder = mkdtempSync(join(tmpdir(), "bun-uring-tuning-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

const blocks = join(folder, "blocks.bin");
const megabyte = join(folder, "megabyte.bin");
makeFile(blocks, FILE_BYTES);
makeFile(megabyte, MIB);
const lanes = alignedBuffers(64, BLOCK);
const order = randomOrder(FILE_BYTES / BLOCK);
const read = (handle: FileHandle) => (lane: number) => handle.read(lanes[lane]!, 0, BLOCK, order() * BLOCK);
const write = (handle: FileHandle) => (lane: number) => handle.write(lanes[lane]!, 0, BLOCK, order() * BLOCK);

const cached = await open(blocks, "r+");
const direct = await open(blocks, "r", { direct: true });
const looks = [40, 0, 100, 1000].map((us) => ({ spinUs: us, maxSpinUs: us === 40 ? 200 : us }));
const trials: Trial[] = [
  { work: "buffered write, 1 at a time", depth: 1, settings: looks, run: write(cached) },
  { work: "O_DIRECT read, 1 at a time", depth: 1, settings: looks, run: read(direct) },
  {
    work: "cached read, 64 at once",
    depth: 64,
    settings: [0.5, 0.1, 2, 10].map((ms) => ({ maxInlineMs: ms, maxInlineRounds: ms === 0.5 ? 64 : 1e6 })),
    run: read(cached),
  },
  {
    work: "stat, 1 at a time",
    depth: 1,
    settings: [1000, 100, 10_000].map((inlineUs) => ({ inlineUs })),
    run: () => stat(megabyte),
  },
  {
    work: "readFile of 1 MiB, 4 at once",
    depth: 4,
    settings: [MIB, 0, 64 * KIB, 256 * KIB, 8 * MIB].map((inlineBytes) => ({ inlineBytes })),
    run: () => readFile(megabyte),
  },
];

const monitor = new LoopMonitor();

async function round({ depth, run }: Trial, ms: number): Promise<Seen> {
  let count = 0;
  const end = Bun.nanoseconds() + ms * 1e6;
  const lane = async (number: number): Promise<void> => {
    do {
      await run(number);
      count++;
    } while (Bun.nanoseconds() < end);
  };
  monitor.start();
  const cpu = process.cpuUsage();
  const start = Bun.nanoseconds();
  await Promise.all(Array.from({ length: depth }, (_, number) => lane(number)));
  const nsPerOp = (Bun.nanoseconds() - start) / count;
  const { user, system } = process.cpuUsage(cpu);
  return { nsPerOp, cpuNsPerOp: ((user + system) * 1000) / count, loopGapMs: monitor.stop() };
}

const environment = environmentOf(folder, null);
printEnvironment(environment);
const ring = Ring.current();
const defaults = ring.tune();
const results: object[] = [];
for (const trial of trials) {
  const seen: Seen[][] = trial.settings.map(() => []);
  for (let i = 0; i <= ROUNDS; i++) {
    for (const [at, setting] of trial.settings.entries()) {
      ring.tune(setting);
      Bun.gc(true);
      const one = await round(trial, ROUND_MS);
      ring.tune(defaults);
      if (i > 0) seen[at]!.push(one); // the first warms up
    }
  }
  console.log(`\n${trial.work.padEnd(44)}time/op    CPU/op  loop gap`);
  for (const [at, setting] of trial.settings.entries()) {
    const of = (key: keyof Seen): number => median(seen[at]!.map((one) => one[key]));
    const name = `${at === 0 ? "*" : " "} ${Object.entries(setting)
      .map(([key, value]) => `${key} ${value}`)
      .join(", ")}`;
    const [time, cpu, gap] = [of("nsPerOp"), of("cpuNsPerOp"), of("loopGapMs")];
    console.log(
      `${name.padEnd(40)}${duration(time).padStart(11)}${duration(cpu).padStart(10)}${gap.toFixed(1).padStart(7)} ms`,
    );
    results.push({ work: trial.work, setting, nsPerOp: time, cpuNsPerOp: cpu, loopGapMs: gap });
  }
}
await Promise.all([cached.close(), direct.close()]);
const out = join(RESULTS_FOLDER, "tuning.local.json");
writeFileSync(out, `${JSON.stringify({ environment, results }, null, 1)}\n`);
console.log(`\nresults: ${relative(process.cwd(), out)}`);
process.exit(0);
