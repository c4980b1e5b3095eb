// `make mutants`: puts one small fault after the other into a copy of the tree and runs the quick tests that should notice.
// Fails where fewer than MIN_KILLED are noticed, where a mutation no longer fits its file, and where tests fail without one.
// Assumes the shims are built. Never touches the tree itself: copies are hard links, and what is changed in them is a new file.
//
// A test file is timed once without a mutation, when the first mutation asks for it; each mutation meets its files one by one,
// the quickest first, and the first that fails ends it.
//
//   bun test/mutants/run.ts [--only TEXT] [--jobs N] [--list] [--log FILE [--minutes N]]
//
// With --log each outcome is a line of JSON in FILE, and what stands there is not run again unless its source or row has changed:
// a run may be stopped, or made in portions.

import { spawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { allMutants, type Mutant, misfits, type On } from "./mutant.ts";

/** Of all mutations; a survivor that is explained is one all the same. */
const MIN_KILLED = 0.85;
/** Milliseconds for one test of a mutated tree, and for its file: how long it takes without a mutation, and more. */
const TEST_MS = 10_000;
const [SLACK_MS, SLACK_FACTOR] = [20_000, 4];
const BACKEND: Record<On, string> = { ring: "uring", node: "node", auto: "auto" };
/** What is not of the tree, or too large to copy and never changed. */
const LINKED = ["node_modules", "build"];
const LEFT_OUT = new Set([...LINKED, ".git", "bench", "docs", "prebuilds", "dist"]);

const root = join(import.meta.dir, "../..");
const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    jobs: { type: "string" },
    list: { type: "boolean" },
    log: { type: "string" },
    minutes: { type: "string", default: "Infinity" },
  },
});

type Fate = "killed" | "timeout" | "survived";
interface Run {
  readonly mutant: Mutant;
  readonly fate: Fate;
  /** What noticed it: backend, file and the first test that failed. */
  readonly by?: string;
  readonly ms: number;
}

/** Those that `--only` names. */
async function mutants(): Promise<Mutant[]> {
  return (await allMutants()).filter(({ file, name }) => `${file} ${name}`.includes(options.only));
}

/** A copy of the tree, by hard links where that can be had. */
function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), "bun-uring-mutants-"));
  chmodSync(copy, 0o755); // tests run programs as another user
  for (const name of readdirSync(root)) {
    if (LEFT_OUT.has(name)) continue;
    const byLinks = Bun.spawnSync(["cp", "-al", join(root, name), copy]);
    if (byLinks.exitCode !== 0) Bun.spawnSync(["cp", "-a", join(root, name), copy]);
  }
  for (const name of LINKED) symlinkSync(join(root, name), join(copy, name));
  // Tests look at what a document promises.
  for (const name of ["docs", "bench"]) symlinkSync(join(root, name), join(copy, name));
  return copy;
}

/** Puts `text` in the place of a file that may be a hard link to the tree's. */
function replace(path: string, text: string): void {
  rmSync(path);
  writeFileSync(path, text);
}

/** Runs a test file in a tree; `failed` is the first test that does. */
function runTest(
  tree: string,
  test: string,
  on: On,
  limitMs: number,
): Promise<{ fate: Fate; failed: string; ms: number }> {
  const started = performance.now();
  const child = spawn(process.execPath, ["test", "--bail=1", "--timeout", String(TEST_MS), `./${test}`], {
    cwd: tree,
    env: { ...process.env, BUN_URING_BACKEND: BACKEND[on], NO_COLOR: "1", BUN_URING_SLOW: "" },
    stdio: ["ignore", "ignore", "pipe"],
    detached: true, // A group of its own: what the tests have started ends with them.
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  return new Promise((resolve) => {
    let fate: Fate | null = null;
    const timer = setTimeout(() => {
      fate = "timeout";
      endGroup(child.pid!);
    }, limitMs);
    child.on("exit", (code) => {
      clearTimeout(timer);
      endGroup(child.pid!);
      const failed = /^\(fail\) (.*)$/m.exec(said)?.[1] ?? "";
      resolve({ fate: fate ?? (code === 0 ? "survived" : "killed"), failed, ms: performance.now() - started });
    });
  });
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of it is gone.
  }
}

/** How long each test file takes in a tree without a mutation, by backend and file; rejects where it fails there. */
const baselines = new Map<string, Promise<number>>();

function baseline(tree: string, test: string, on: On): Promise<number> {
  const key = `${on} ${test}`;
  const time = baselines.get(key) ?? measured(tree, test, on);
  baselines.set(key, time);
  return time;
}

async function measured(tree: string, test: string, on: On): Promise<number> {
  let run = await runTest(tree, test, on, 300_000);
  // On a busy machine a test may fail once: then the mutations would be killed by that, and not by the tests.
  if (run.fate !== "survived") run = await runTest(tree, test, on, 300_000);
  if (run.fate !== "survived") throw new Error(`fails without a mutation, on ${on}: ${test}: ${run.failed}`);
  return run.ms;
}

/** Runs `work` on each item, one at a time in each tree. */
async function eachIn<T>(
  trees: readonly string[],
  items: readonly T[],
  work: (tree: string, item: T) => Promise<void>,
) {
  const left = [...items];
  const worker = async (tree: string): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(tree, item);
  };
  await Promise.all(trees.map(worker));
}

async function tryOne(tree: string, mutant: Mutant): Promise<Run> {
  const runs: { test: string; on: On; time: number }[] = [];
  for (const test of mutant.tests)
    for (const on of mutant.on) runs.push({ test, on, time: await baseline(tree, test, on) });
  runs.sort((a, b) => a.time - b.time);
  const path = join(tree, mutant.file);
  const text = readFileSync(path, "utf8");
  // Not by a string: "$&" would be more than itself.
  replace(
    path,
    text.replace(mutant.find, () => mutant.put),
  );
  let ms = 0;
  try {
    for (const { test, on, time } of runs) {
      const run = await runTest(tree, test, on, SLACK_MS + SLACK_FACTOR * time);
      ms += run.ms;
      if (run.fate !== "survived") return { mutant, fate: run.fate, by: `${on} ${test}: ${run.failed}`, ms };
    }
    return { mutant, fate: "survived", ms };
  } finally {
    replace(path, text);
  }
}

/** What an outcome is good for: this row, in this text of its file. */
function stampOf(mutant: Mutant): string {
  const { survives: _, ...row } = mutant;
  return Bun.hash(`${JSON.stringify(row)} ${readFileSync(join(root, mutant.file), "utf8")}`).toString(16);
}

/** The outcomes that an earlier run has written down and that are still good. */
function outcomesIn(log: string, all: readonly Mutant[]): Run[] {
  const byStamp = new Map<string, Omit<Run, "mutant">>();
  for (const line of existsSync(log) ? readFileSync(log, "utf8").split("\n") : [])
    if (line !== "") byStamp.set(JSON.parse(line).stamp, JSON.parse(line));
  return all.flatMap((mutant) => {
    const known = byStamp.get(stampOf(mutant));
    return known === undefined ? [] : [{ ...known, mutant }];
  });
}

function tell({ mutant: { file, name, survives }, fate, by, ms }: Run): void {
  const where = by === undefined ? "" : ` (${by})`;
  const why = fate === "survived" && survives !== undefined ? `\n           ${survives}` : "";
  console.log(`${fate.padEnd(8)}  ${file}: ${name}${where}, ${(ms / 1000).toFixed(1)} s${why}`);
}

function summary(runs: readonly Run[]): void {
  const rooms = new Map<string, Record<Fate, number>>();
  for (const { mutant, fate } of runs) {
    const room = mutant.file.split("/").slice(1, -1).join("/");
    const counts = rooms.get(room) ?? { killed: 0, timeout: 0, survived: 0 };
    counts[fate]++;
    rooms.set(room, counts);
  }
  console.log(`\n${"room".padEnd(16)}killed  timeout  survived`);
  for (const [room, { killed, timeout, survived }] of [...rooms].sort(([a], [b]) => (a < b ? -1 : 1)))
    console.log(`${room.padEnd(16)}${String(killed).padEnd(8)}${String(timeout).padEnd(9)}${survived}`);
}

const all = await mutants();
const wrong = misfits(all);
if (wrong.length > 0) {
  console.error(`mutations that no longer fit:\n  ${wrong.join("\n  ")}`);
  process.exit(1);
}
if (options.list) {
  for (const { file, name } of all) console.log(`${file}: ${name}`);
  process.exit(0);
}
const trees = Array.from({ length: Number(options.jobs ?? Math.min(4, availableParallelism())) }, copyTree);
process.on("exit", () => {
  for (const tree of trees) rmSync(tree, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const started = performance.now();
const runs: Run[] = options.log === undefined ? [] : outcomesIn(options.log, all);
const known = new Set(runs.map(({ mutant }) => mutant));
await eachIn(
  trees,
  all.filter((mutant) => !known.has(mutant)),
  async (tree, mutant) => {
    if (performance.now() - started > Number(options.minutes) * 60_000) return;
    const run = await tryOne(tree, mutant);
    runs.push(run);
    tell(run);
    if (options.log === undefined) return;
    const { name, file } = mutant;
    const { fate, by, ms } = run;
    appendFileSync(options.log, `${JSON.stringify({ stamp: stampOf(mutant), fate, by, ms, file, name })}\n`);
  },
);
summary(runs);
const noticed = runs.filter(({ fate }) => fate !== "survived").length;
const minutes = ((performance.now() - started) / 60_000).toFixed(1);
console.log(
  `\nmutants: ${noticed} of ${runs.length} noticed (${Math.round((100 * noticed) / runs.length)} %), ${minutes} min`,
);
for (const { mutant } of runs.filter(({ fate, mutant }) => fate === "survived" && mutant.survives === undefined))
  console.log(`unexplained: ${mutant.file}: ${mutant.name}`);
if (runs.length < all.length) console.log(`${all.length - runs.length} are left for another run with the same --log`);
process.exit(noticed / runs.length >= MIN_KILLED ? 0 : 1);
