// `make test-kernels`: the tour on both backends, and test suites where there is time for them, on every kernel, libc and processor
// that can be had on one machine; the results as a table in docs/kernels.md. `make test-kernels KERNELS="sim-5.10 x64-6.1"` runs
// some rows. A row that was not run keeps what stands in the document. Assumes what guest.sh assumes, and `make build fault`.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const document = join(root, "docs/kernels.md");
/** What each row printed, to look into a failure. */
const said = join(root, "build/kernels/said");
const [BEGIN, END] = ["<!-- kernels: begin (make test-kernels) -->", "<!-- kernels: end -->"];

interface Row {
  readonly name: string;
  readonly what: string;
  /** What it took on two processors, the other of which was busy. */
  readonly seconds: number;
  /** Test files or folders that run after the tours. */
  readonly suites: readonly string[];
}

const WHOLE = ["test/contract", "test/unit", "test/model"];
const files = (folder: string, names: string): string[] =>
  names.split(" ").map((name) => `test/${folder}/${name}.test.ts`);
/** As much of the suites as an emulated processor runs in two minutes: what each kind of operation does, and what fails. */
const SOME = files(
  "contract",
  "read-file write-file errors stat-lstat mkdir rename-unlink-rmdir handle-write handle-read copy-file odd-files readdir-opendir",
);
/** The same and the ring itself. */
const MORE = [
  ...SOME,
  ...files("unit", "ring loop chain uring uring-chain uring-whole descriptor ring-hostile capabilities"),
  "test/model",
];
/** Where it takes no shim of its own to make something fail: file servers, limits, strace, callers that lie, Workers that end. */
const FAULTS = [
  ...files("fault", "enter exhaustion flush fuse fuse-told loop overflow places position process refused rigs"),
  ...["test/lifetime", "test/hostile", "test/durable", "test/server"],
];
/** Completions that go wrong, by the shim's own hooks: what each means. And all of them, for every function in turn. */
const TOLD = files("fault", "told counters");
const INJECTED = [...TOLD, ...files("fault", "injected")];

const ROWS: readonly Row[] = [
  { name: "host", what: "this machine", seconds: 20, suites: ["test/kernels/file-systems.test.ts"] },
  { name: "x64-6.12", what: "Debian 12 backports, QEMU", seconds: 320, suites: WHOLE },
  {
    name: "uml-6.1",
    what: "User-Mode Linux",
    seconds: 290,
    suites: [...WHOLE, ...TOLD, "test/lifetime/closed.test.ts"],
  },
  { name: "x64-6.1", what: "Debian 12, QEMU", seconds: 100, suites: MORE },
  { name: "arm64-6.1", what: "Debian 12 arm64, QEMU", seconds: 160, suites: MORE },
  { name: "sim-6.8", what: "simulated 6.8", seconds: 65, suites: WHOLE },
  { name: "sim-6.1", what: "simulated 6.1", seconds: 170, suites: [...WHOLE, ...INJECTED] },
  { name: "sim-5.15", what: "simulated 5.15", seconds: 65, suites: WHOLE },
  { name: "sim-5.10", what: "simulated 5.10", seconds: 310, suites: [...WHOLE, ...FAULTS, ...TOLD] },
  { name: "sim-5.6", what: "simulated 5.6", seconds: 65, suites: WHOLE },
  { name: "musl", what: "Bun's musl build", seconds: 15, suites: SOME },
  { name: "arm64-user", what: "arm64 Bun in qemu-user: no io_uring", seconds: 45, suites: [] },
];
const HEAD = [
  ...["kernel", "how", "backend", "restricted", "direct descriptors", "fixed buffers", "fast path"],
  ...["tour", "tour, node backend", "tests passed", "skipped", "failed"],
];

interface Tour {
  readonly kernel: string;
  readonly arch: string;
  readonly asked: string;
  readonly backend: string;
  readonly restricted: boolean;
  readonly lateClose: boolean;
  readonly cachedLookups: boolean;
  readonly limits: { readonly directDescriptors: number; readonly fixedBuffers: number };
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
}

interface Result {
  readonly tour: Tour;
  /** The same on the node backend. */
  readonly plain: Tour;
  readonly pass: number;
  readonly failed: readonly string[];
  /** What failed beside the others, and passed alone. */
  readonly late: readonly string[];
  /** Why tests were skipped, and how many for each reason. */
  readonly skipped: ReadonlyMap<string, number>;
}

/** Leaders of groups. A guest does not end by itself when this process is ended: timeout(1) passes the signal on. */
const running = new Set<number>();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.on(signal, () => {
    for (const leader of running) process.kill(-leader, "SIGTERM");
    process.exit(1);
  });

/** Runs a command and returns what it printed. */
async function output(command: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const child = Bun.spawn([...command], {
    cwd: root,
    detached: true, // a group of its own, to be ended as one
    // The model's operations: a quarter of what `make test` does. The oracle is Bun's, and not what these rows are about.
    env: { ...process.env, NO_COLOR: "1", CI: "true", OPS: "5000", BUN_URING_NO_ORACLE: "1", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  running.add(child.pid);
  const said = await Promise.all([child.stdout.text(), child.stderr.text()]);
  running.delete(child.pid);
  return said.join("\n");
}

/** The tours and the suites on this machine's kernel, or on one that it is made to look like. */
async function here(row: Row): Promise<string> {
  const version = /^sim-(.*)/.exec(row.name)?.[1];
  const env: Record<string, string> = { BUN_URING_BACKEND: "auto" };
  if (version !== undefined) {
    env["BUN_URING_KERNEL"] = version;
    env["BUN_URING_LIB"] = env["BUN_URING_FAULT_LIB"] = join(root, "build/liburing-shim-sim.so");
  }
  const tour = [process.execPath, join(import.meta.dir, "tour.ts")];
  const said = [await output(tour, env), await output(tour, { ...env, BUN_URING_BACKEND: "node" })];
  // "auto" would give the first operations to Bun's own functions, most of a test file's.
  const tests = [join(root, "scripts/test.sh"), ...row.suites];
  if (row.suites.length > 0) said.push(await output(tests, { ...env, BUN_URING_BACKEND: "uring" }));
  return said.join("\n");
}

function read(text: string, hasSuites: boolean): Result {
  const lines = text.split("\n");
  const tours: Tour[] = lines.filter((line) => line.startsWith('{"kernel"')).map((line) => JSON.parse(line));
  const tour = tours.find(({ asked }) => asked !== "node");
  const plain = tours.find(({ asked }) => asked === "node");
  if (tour === undefined || plain === undefined) throw new Error(`a tour said nothing:\n${text.slice(-2000)}`);
  if (hasSuites && !lines.some((line) => /^Ran \d+ tests/.test(line)))
    throw new Error(`the tests did not come to their end:\n${text.slice(-2000)}`);
  // Each once: they are said again at the end.
  const started = (word: string): string[] => [...new Set(lines.filter((line) => line.startsWith(`(${word}) `)))];
  const failures = started("fail").map((line) => line.replace(/ \[[\d.]+m?s\]$/, ""));
  // scripts/test.sh, where it ran them, tries files that fail once more.
  const suite = /^suite: (\d+) passed, (\d+) failed/m.exec(text);
  const errors = /^ *(\d+) errors?$/m.exec(text)?.[1];
  const between = errors === undefined ? [] : [`${errors} errors between tests`];
  const told = [...failures, ...between];
  const failed =
    suite?.[2] === "0" ? [] : suite !== null && told.length === 0 ? ["the tests ended with an error"] : told;
  const reasons = started("skip").map((line) => /\[skipped: ([^\]]*)\]/.exec(line)?.[1] ?? `no reason said: ${line}`);
  const counts = Map.groupBy(reasons, (reason) => reason);
  return {
    tour,
    plain,
    pass: Number(suite?.[1] ?? /^ *(\d+) pass$/m.exec(text)?.[1] ?? 0),
    late: failed.length === 0 ? failures : [],
    failed: [...new Set([...tour.failed, ...plain.failed.map((one) => `node backend: ${one}`), ...failed])],
    skipped: new Map([...counts].map(([reason, all]) => [reason, all.length])),
  };
}

const stepsOf = ({ passed, skipped }: Tour): string => `${passed} (${skipped.length} skipped)`;
const sum = (counts: Iterable<number>): number => [...counts].reduce((all, one) => all + one, 0);

function cellsOf({ tour, plain, pass, failed, skipped }: Result, what: string): string[] {
  const { directDescriptors, fixedBuffers } = tour.limits;
  const direct = directDescriptors === 0 ? "none" : `${directDescriptors}${tour.lateClose ? ", closed late" : ""}`;
  const yes = (is: boolean): string => (is ? "yes" : "no");
  const ofRing = [yes(tour.restricted), direct, String(fixedBuffers), yes(tour.cachedLookups)];
  return [
    `${tour.kernel.replace(/-fc.*/, "")} ${tour.arch}`,
    what,
    tour.backend,
    ...(tour.backend === "io_uring" ? ofRing : ofRing.map(() => "")),
    stepsOf(tour),
    stepsOf(plain),
    ...(pass === 0 ? ["", ""] : [String(pass), String(sum(skipped.values()))]),
    failed.length === 0 ? "none" : String(failed.length),
  ];
}

/** Why steps and tests were skipped, and what failed. */
function notesOf({ tour, skipped, failed, late }: Result, what: string): string[] {
  const steps = Map.groupBy(tour.skipped, (one) => one.replace(/^[^:]*: /, ""));
  const names = (all: string[]): string => all.map((one) => one.replace(/:.*/, "")).join(", ");
  const tests = [...skipped].sort((a, b) => b[1] - a[1]).map(([reason, count]) => `${count} × ${reason}`);
  return [
    // The node backend's own are the same everywhere: README's table has them.
    ...(tour.backend === "io_uring"
      ? [...steps].map(([reason, all]) => `- ${what}, steps skipped: ${names(all)}: ${reason}`)
      : []),
    ...(tests.length > 0 ? [`- ${what}, tests skipped: ${tests.join("; ")}`] : []),
    ...(late.length > 0 ? [`- ${what}, passed only when run again, alone: ${late.join("; ")}`] : []),
    ...failed.map((one) => `- ${what}, failed: ${one}`),
  ];
}

/** Puts the rows that were run in the place of their old ones. */
function writeDocument(ran: ReadonlyMap<string, Result>): void {
  const text = readFileSync(document, "utf8");
  const [before, old, after] = text.split(/<!-- kernels: (?:begin .*|end) -->/);
  if (after === undefined) throw new Error(`${document} has no place for the table`);
  const lines = old!.split("\n");
  const table = [HEAD, HEAD.map(() => "---")].map((cells) => `| ${cells.join(" | ")} |`);
  const notes: string[] = [];
  for (const { name, what } of ROWS) {
    const result = ran.get(name);
    if (result === undefined) {
      table.push(...lines.filter((line) => line.includes(` | ${what} | `)));
      notes.push(...lines.filter((line) => line.startsWith(`- ${what}, `)));
    } else {
      table.push(`| ${cellsOf(result, what).join(" | ")} |`);
      notes.push(...notesOf(result, what));
    }
  }
  writeFileSync(document, `${before}${BEGIN}\n${[...table, "", ...notes].join("\n")}\n${END}${after}`);
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !ROWS.some((row) => row.name === name));
if (unknown.length > 0)
  throw new Error(`no such row: ${unknown}; there are: ${ROWS.map(({ name }) => name).join(" ")}`);
const ran = new Map<string, Result>();
/** The longest first, so that none is left alone at the end. */
const waiting = ROWS.filter(({ name }) => asked.length === 0 || asked.includes(name)).sort(
  (one, other) => other.seconds - one.seconds,
);
let failures = 0;

async function run(row: Row): Promise<void> {
  const suites = process.env["SUITES"] === "none" ? [] : row.suites;
  const startedMs = performance.now();
  const inside = row.name === "host" || row.name.startsWith("sim-");
  try {
    const guest = [join(import.meta.dir, "guest.sh"), row.name, ...suites];
    const text = await (inside ? here({ ...row, suites }) : output(guest));
    mkdirSync(said, { recursive: true });
    writeFileSync(join(said, `${row.name}.txt`), text);
    const result = read(text, suites.length > 0);
    ran.set(row.name, result);
    failures += result.failed.length;
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
    const { tour, plain, pass, failed, skipped } = result;
    console.log(
      `${row.name}: ${tour.passed} and ${plain.passed} steps, ${pass} tests passed, ${sum(skipped.values())} skipped, ${failed.length} failed (${seconds} s)`,
    );
    for (const one of failed) console.log(`  ${one}`);
    for (const one of result.late) console.log(`  passed only alone: ${one}`);
  } catch (error) {
    failures++;
    console.log(`${row.name}: ${error instanceof Error ? error.message : error}`);
  }
}

// Two at once: a guest with one processor, or one that waits, leaves the other to somebody else.
const lanes = Array.from({ length: Math.min(2, availableParallelism()) }, async () => {
  for (let row = waiting.shift(); row !== undefined; row = waiting.shift()) await run(row);
});
await Promise.all(lanes);
writeDocument(ran);
process.exit(failures > 0 ? 1 : 0);
