// The main job, run by `make demo`: copies real trees of this machine through the ring, with progress, verifies every
// byte of the copy, and does the same work with node:fs/promises and with cp for comparison.
// Assumes a free gigabyte beside what is copied. Leaves nothing behind, also when it is interrupted.

import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../package.json";
import { examine, summaryText } from "../src/cli/doctor.ts";
import { withProgress } from "../src/cli/progress.ts";
import { bytesText } from "../src/cli/text.ts";
import * as library from "../src/index.ts";
import { chooseTrees, differences, sumOf, type Tree } from "./demo-trees.ts";

const ROUNDS = 3;
/** No further round is begun after this. */
const LAST_START_MS = 35_000;

const project = join(import.meta.dir, "..");
const ROOTS = [
  join(project, "node_modules"),
  "/usr/lib/gcc",
  "/usr/include",
  "/usr/lib/node_modules",
  "/usr/share/nodejs",
  "/usr/share/doc",
  "/usr/share/perl",
  "/usr/lib/python3",
  "/usr/share/locale",
];

/** What one run of one way to copy cost. */
interface Run {
  seconds: number;
  cpuSeconds: number;
  /** Longest time that the event loop of this program stood still; null where another program did the work. */
  loopDelayMs: number | null;
}

/** A way to copy all trees into a new folder; resolves to CPU seconds that were spent outside this process. */
interface Way {
  readonly name: string;
  readonly copy: (trees: readonly Tree[], folder: string) => Promise<number | null>;
}

const ways: Way[] = [
  { name: `bun-uring (${library.backend})`, copy: (trees, folder) => copyWithRing(trees, folder) },
  { name: "node:fs/promises cp, Bun", copy: copyWithNode },
  { name: "cp -r", copy: copyWithCp },
];

async function copyWithRing(
  trees: readonly Tree[],
  folder: string,
  report?: (files: number, bytes: number) => void,
): Promise<null> {
  let [files, bytes] = [0, 0];
  for (const [i, tree] of trees.entries()) {
    const copied = await library.copyTree(tree.root, join(folder, String(i)), {
      onProgress: (done) => report?.(files + done.files, bytes + done.bytes),
    });
    files += copied.files;
    bytes += copied.bytes;
  }
  return null;
}

async function copyWithNode(trees: readonly Tree[], folder: string): Promise<null> {
  for (const [i, tree] of trees.entries()) await cp(tree.root, join(folder, String(i)), { recursive: true });
  return null;
}

async function copyWithCp(trees: readonly Tree[], folder: string): Promise<number> {
  let seconds = 0;
  for (const [i, tree] of trees.entries()) {
    const child = Bun.spawn(["cp", "-r", tree.root, join(folder, String(i))], { stdin: "ignore" });
    if ((await child.exited) !== 0) throw new Error(`cp -r ${tree.root} failed`);
    seconds += Number(child.resourceUsage()!.cpuTime.total) / 1e6;
  }
  return seconds;
}

/** Runs `work` with an eye on how long timers are kept waiting. */
async function measured(work: () => Promise<number | null>): Promise<Run> {
  let last = performance.now();
  let largestMs = 0;
  const look = (): void => {
    const now = performance.now();
    largestMs = Math.max(largestMs, now - last);
    last = now;
  };
  const timer = setInterval(look, 1);
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  const elsewhere = await work();
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  look();
  clearInterval(timer);
  if (elsewhere !== null) return { seconds, cpuSeconds: elsewhere, loopDelayMs: null };
  return { seconds, cpuSeconds: (user + system) / 1e6, loopDelayMs: largestMs };
}

/** A folder on the disk that most of the trees are on, with room for a copy. */
function chooseFolder(trees: readonly Tree[]): string {
  const { bytes } = sumOf(trees);
  const sameDisk = (path: string): boolean => trees.every((tree) => statSync(tree.root).dev === statSync(path).dev);
  const roomy = [tmpdir(), "/var/tmp", project].filter((path) => {
    if (!existsSync(path)) return false;
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize > bytes * 1.5 + 500e6;
  });
  const parent = roomy.find(sameDisk) ?? roomy.at(-1);
  if (parent === undefined) throw new Error(`no folder has room for a copy of ${bytesText(bytes)}`);
  const folder = mkdtempSync(join(parent, "bun-uring-demo-"));
  // Retries: kernel workers may still be making files when the program is interrupted.
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }));
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.on(signal, () => process.exit(code));
  return folder;
}

function fresh(folder: string): string {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  // What was written or removed so far goes to the disk now, so that the next run doesn't pay for it.
  Bun.spawnSync(["sync", "-f", folder]);
  return folder;
}

function printTable(rows: readonly { name: string; runs: readonly Run[] }[], files: number, bytes: number): void {
  const columns = ["seconds", "MB/s", "files/s", "CPU s", "loop delay"];
  console.log(`\n${"".padEnd(28)}${columns.map((name) => name.padStart(12)).join("")}`);
  for (const { name, runs } of rows) {
    const [seconds, cpu] = [median(runs.map((run) => run.seconds)), median(runs.map((run) => run.cpuSeconds))];
    const delays = runs.flatMap((run) => run.loopDelayMs ?? []);
    const cells = [
      seconds.toFixed(2),
      (bytes / 1e6 / seconds).toFixed(0),
      Math.round(files / seconds).toLocaleString("en-US"),
      cpu.toFixed(2),
      delays.length === 0 ? "–" : `${Math.max(...delays).toFixed(1)} ms`,
    ];
    console.log(name.padEnd(28) + cells.map((cell) => cell.padStart(12)).join(""));
  }
  const count = rows[0]!.runs.length;
  console.log(`\n${count === 1 ? "one round" : `medians of ${count} rounds`}; loop delay is the longest of all.`);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

console.log(`${summaryText(await examine(library, version))}\n`);

const trees = chooseTrees(ROOTS);
const total = sumOf(trees);
const folder = join(chooseFolder(trees), "copy");
const { files, directories, symlinks, bytes, largest } = total;
console.log(`Copying ${trees.map((tree) => tree.root).join(", ")}`);
console.log(`to ${folder}:`);
console.log(
  `${files.toLocaleString("en-US")} files, ${directories.toLocaleString("en-US")} directories, ${symlinks} symbolic links, ` +
    `${bytesText(bytes)}; the largest file has ${bytesText(largest.bytes)}.\n`,
);

const first = await withProgress("copying", { files, bytes }, process.stdout, (report) =>
  measured(() =>
    copyWithRing(trees, fresh(folder), (doneFiles, doneBytes) => report({ files: doneFiles, bytes: doneBytes })),
  ),
);
console.log(`copied in ${first.seconds.toFixed(2)} s, with the sources not yet in memory perhaps`);

const found = trees.flatMap((tree, i) => differences(tree.root, join(folder, String(i))));
for (const difference of found.slice(0, 20)) console.error(`DIFFERENT ${difference}`);
if (found.length > 0) throw new Error(`${found.length} differences between the trees and their copies`);
console.log(`verified: all ${bytesText(bytes)}, every name, permission and link target are the same`);

const rows = ways.map((way) => ({ way, name: way.name, runs: [] as Run[] }));
for (let round = 0; round < ROUNDS && (round === 0 || performance.now() < LAST_START_MS); round++) {
  for (const { way, runs } of rows) {
    fresh(folder);
    runs.push(await measured(() => way.copy(trees, folder)));
  }
}
printTable(rows, files, bytes);
await library.shutdown();
