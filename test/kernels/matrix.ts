// `make test-kernels`: the tour, and test suites where there is time for them, on every kernel, libc and processor that can be
// had on one machine; the results as a table in docs/kernels.md. `make test-kernels KERNELS="sim-5.10 x64-6.1"` runs some.
// A row that was not run keeps what stands in the document. Assumes what guest.sh assumes, and `make build fault`.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const document = join(root, "docs/kernels.md");
const [BEGIN, END] = ["<!-- kernels: begin (make test-kernels) -->", "<!-- kernels: end -->"];

interface Row {
  readonly name: string;
  readonly what: string;
  /** Test files or folders that run after the tour. */
  readonly suites: readonly string[];
}

const SUITES = ["test/contract", "test/model"];
/** As much of the suites as an emulated processor runs in two minutes: what each kind of operation does, and what fails. */
const SOME = ["read-file", "write-file", "errors", "stat-lstat", "mkdir", "rename-unlink-rmdir", "handle-write"].map(
  (name) => `test/contract/${name}.test.ts`,
);

/** Those whose set-up differs most have the whole suites, the others some of them. */
const ROWS: readonly Row[] = [
  { name: "host", what: "this machine", suites: [] },
  { name: "sim-5.6", what: "simulated 5.6", suites: SOME },
  { name: "sim-5.10", what: "simulated 5.10", suites: SUITES },
  { name: "sim-5.15", what: "simulated 5.15", suites: SUITES },
  { name: "sim-6.1", what: "simulated 6.1", suites: SUITES },
  { name: "sim-6.8", what: "simulated 6.8", suites: SOME },
  { name: "uml-6.1", what: "User-Mode Linux", suites: [...SOME, "test/contract/copy-file.test.ts", "test/model"] },
  { name: "x64-6.1", what: "Debian 12, QEMU", suites: SOME },
  { name: "x64-6.12", what: "Debian 12 backports, QEMU", suites: SOME },
  { name: "arm64-6.1", what: "Debian 12 arm64, QEMU", suites: SOME },
  { name: "arm64-user", what: "arm64 Bun in qemu-user: no io_uring", suites: [] },
  { name: "musl", what: "Bun's musl build", suites: SOME },
];

interface Tour {
  readonly kernel: string;
  readonly arch: string;
  readonly backend: string;
  readonly restricted: boolean;
  readonly lateClose: boolean;
  readonly limits: { readonly directDescriptors: number; readonly fixedBuffers: number };
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
}

interface Result {
  readonly tour: Tour;
  readonly pass: number;
  readonly fail: readonly string[];
  readonly skip: number;
}

/** Runs a command and returns what it printed. */
function output(command: readonly string[], env: Record<string, string> = {}): string {
  const child = Bun.spawnSync([...command], {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1", CI: "true", ...env },
    stdin: "ignore",
    stderr: "pipe",
  });
  return child.stdout.toString() + child.stderr.toString();
}

/** The tour and the suites on this machine's kernel, or on one that it is made to look like. */
function here(row: Row): string {
  const version = /^sim-(.*)/.exec(row.name)?.[1];
  const env: Record<string, string> = { BUN_URING_BACKEND: "auto" };
  if (version !== undefined) {
    env["BUN_URING_KERNEL"] = version;
    env["BUN_URING_LIB"] = join(root, "build/liburing-shim-sim.so");
  }
  const tour = output([process.execPath, join(import.meta.dir, "tour.ts")], env);
  if (row.suites.length === 0) return tour;
  return tour + output([process.execPath, "test", "--timeout", "30000", ...row.suites], env);
}

function read(text: string): Result {
  const lines = text.split("\n");
  const tour = lines.find((line) => line.startsWith('{"kernel"'));
  if (tour === undefined) throw new Error(`the tour said nothing:\n${text.slice(-2000)}`);
  const count = (word: string): number =>
    lines.reduce((sum, line) => sum + Number(new RegExp(`^ *(\\d+) ${word}$`).exec(line)?.[1] ?? 0), 0);
  if (lines.some((line) => line.startsWith("(fail)")) && count("fail") === 0)
    throw new Error("the tests did not come to their end");
  const fail = lines.filter((line) => line.startsWith("(fail)")).map((line) => line.replace(/ \[[\d.]+m?s\]$/, ""));
  return { tour: JSON.parse(tour), pass: count("pass"), fail: [...new Set(fail)], skip: count("skip") };
}

function cellsOf({ tour, pass, fail, skip }: Result, what: string): string[] {
  const { directDescriptors, fixedBuffers } = tour.limits;
  const ring = tour.backend === "io_uring";
  const direct = directDescriptors === 0 ? "none" : `${directDescriptors}${tour.lateClose ? ", closed late" : ""}`;
  const failed = tour.failed.length + fail.length;
  return [
    `${tour.kernel.replace(/-fc.*/, "")} ${tour.arch}`,
    what,
    tour.backend,
    ring ? (tour.restricted ? "yes" : "no") : "",
    ring ? direct : "",
    ring ? String(fixedBuffers) : "",
    `${tour.passed} (${tour.skipped.length} skipped)`,
    pass === 0 ? "" : `${pass} (${skip} skipped)`,
    failed === 0 ? "none" : String(failed),
  ];
}

/** Why steps of the tour were skipped, and what failed. */
function notesOf({ tour, fail }: Result, what: string): string[] {
  const reasons = Map.groupBy(tour.skipped, (one) => one.replace(/^[^:]*: /, ""));
  const names = (skipped: string[]): string => skipped.map((one) => one.replace(/:.*/, "")).join(", ");
  return [
    // The node backend's own are the same everywhere: README's table has them.
    ...(tour.backend === "io_uring"
      ? [...reasons].map(([reason, skipped]) => `- ${what}, skipped: ${names(skipped)}: ${reason}`)
      : []),
    ...[...tour.failed, ...fail].map((one) => `- ${what}, failed: ${one}`),
  ];
}

/** Puts the rows that were run in the place of their old ones. */
function writeDocument(ran: ReadonlyMap<string, Result>): void {
  const text = readFileSync(document, "utf8");
  const [before, old, after] = text.split(/<!-- kernels: (?:begin .*|end) -->/);
  if (after === undefined) throw new Error(`${document} has no place for the table`);
  const lines = old!.split("\n");
  const head = [
    "kernel",
    "how",
    "backend",
    "restricted",
    "direct descriptors",
    "fixed buffers",
    "tour",
    "suites",
    "failed",
  ];
  const table = [head, head.map(() => "---")].map((cells) => `| ${cells.join(" | ")} |`);
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
let failed = 0;
for (const row of ROWS.filter(({ name }) => asked.length === 0 || asked.includes(name))) {
  const suites = process.env["SUITES"] === "none" ? [] : row.suites;
  const startedMs = performance.now();
  const inside = row.name === "host" || row.name.startsWith("sim-");
  try {
    const result = read(
      inside ? here({ ...row, suites }) : output([join(import.meta.dir, "guest.sh"), row.name, ...suites]),
    );
    ran.set(row.name, result);
    const wrong = [...result.tour.failed, ...result.fail];
    failed += wrong.length;
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
    console.log(
      `${row.name}: ${result.tour.passed} steps, ${result.pass} tests passed, ${wrong.length} failed (${seconds} s)`,
    );
    for (const one of wrong) console.log(`  ${one}`);
  } catch (error) {
    failed++;
    console.log(`${row.name}: ${error instanceof Error ? error.message : error}`);
  }
}
writeDocument(ran);
process.exit(failed > 0 ? 1 : 0);
