// What the package costs where no workload shows it: per operation from 1 to 100,000 outstanding ones, memory, garbage,
// import, idling, and a second ring. Every probe runs in a process of its own; prints a table and writes its JSON.
// Assumes the bundle and the prebuilt shim (`make bench-cost` makes them). Never leaves a file behind.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { environmentOf } from "./lib/environment.ts";
import { MIB, makeFile } from "./lib/files.ts";
import { median, RESULTS_FOLDER } from "./lib/results.ts";
import { duration, printEnvironment } from "./lib/table.ts";

const OUTSTANDING = [1, 64, 1000, 10_000, 100_000];
const IMPORTS = 11;
const WORKER_ROUNDS = 3;
const bundle = join(import.meta.dir, "..", "dist", "index.js");

interface Outstanding {
  readonly count: number;
  readonly nsPerOp: number;
  readonly cpuNsPerOp: number;
  readonly bytesPerOperation: number;
}

const folder = mkdtempSync(join(tmpdir(), "bun-uring-cost-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

async function probe<T>(name: string, argument: string | number = ""): Promise<T> {
  const argv = [process.execPath, join(import.meta.dir, "cost", "probe.ts"), name, `${argument}`, folder];
  const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`the probe ${name} ${argument} failed`);
  return JSON.parse(output);
}

/** Runs one probe several times and gives the median of one of its numbers. */
async function medianOf(rounds: number, name: string, argument: string | number, key: string): Promise<number> {
  const values: number[] = [];
  for (let round = 0; round < rounds; round++) values.push((await probe<Record<string, number>>(name, argument))[key]);
  return median(values);
}

const say = (label: string, value: string): void => console.log(`${label.padEnd(44)}${value}`);
const listed = (made: Record<string, number>): string =>
  Object.entries(made)
    .sort(([, a], [, b]) => b - a)
    .map(([type, count]) => `${count} ${type}`)
    .join(", ") || "nothing";

const environment = environmentOf(folder, null);
printEnvironment(environment);
makeFile(join(folder, "cached.bin"), 64 * MIB);

console.log("outstanding 4 KiB cached reads     time/op    CPU/op   memory of one outstanding");
const outstanding: Outstanding[] = [];
for (const count of OUTSTANDING) {
  const row = await probe<Outstanding>("outstanding", count);
  outstanding.push(row);
  const memory = count < 1000 ? "" : `${Math.round(row.bytesPerOperation)} bytes`;
  const cells = [`${count}`.padEnd(32), duration(row.nsPerOp).padStart(10), duration(row.cpuNsPerOp).padStart(10)];
  console.log(`${cells.join("")}   ${memory}`);
}
const times = outstanding.map(({ nsPerOp }) => nsPerOp);
say("slowest over fastest of these", `${(Math.max(...times) / Math.min(...times)).toFixed(2)} ×\n`);

const garbage = await probe<Record<"loop" | "read", Record<string, number>>>("garbage");
say("on the heap after one awaited handle.read", listed(garbage.read));
say("after one awaited resolved promise", listed(garbage.loop));

const importMs = await medianOf(IMPORTS, "import", bundle, "ms");
say("import of dist/index.js", `${importMs.toFixed(2)} ms`);

const idleMs = (await probe<{ cpuMsPerSecond: number }>("idle", "reads")).cpuMsPerSecond;
const emptyMs = (await probe<{ cpuMsPerSecond: number }>("idle", "none")).cpuMsPerSecond;
say("CPU of an idle process after I/O", `${idleMs.toFixed(2)} ms a second (${emptyMs.toFixed(2)} without the package)`);

const oneRing = await medianOf(WORKER_ROUNDS, "workers", 1, "perSecond");
const twoRings = await medianOf(WORKER_ROUNDS, "workers", 2, "perSecond");
const reads = (perSecond: number): string => `${(perSecond / 1e6).toFixed(2)} million reads a second`;
say("one ring in one Worker", reads(oneRing));
say("two rings in two Workers", `${reads(twoRings)}, ${(twoRings / oneRing).toFixed(2)} ×`);

const out = join(RESULTS_FOLDER, "cost.local.json");
const results = { environment, outstanding, garbage, importMs, idleMs, emptyMs, oneRing, twoRings };
writeFileSync(out, `${JSON.stringify(results, null, 1)}\n`);
console.log(`results: ${relative(process.cwd(), out)}`);
process.exit(0);
