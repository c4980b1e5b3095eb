// The bench runner. Everything of one row is measured side by side in one run: each contender in its own process, one
// round of each in turn, medians over the rounds.
// Assumes the shim and build/bench are built (`make bench` does), and about 4 GiB free below TMPDIR, on a real disk.
// Never leaves a file or a process behind, also when it is interrupted.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { environmentOf } from "./lib/environment.ts";
import { spreadBelow } from "./lib/fresh.ts";
import { loadWorkload, measureWorkload, type Settings } from "./lib/measure.ts";
import { type Group, REFERENCE_FILE, RESULTS_FOLDER, type Results, regressions } from "./lib/results.ts";
import { bundleForNode } from "./lib/session.ts";
import { printEnvironment, printGroup } from "./lib/table.ts";

const USAGE = `usage: bun bench/run.ts --all | --fio | --check | NAME…   [--node] [--rounds N] [--ms N] [--out FILE]
  --all      every workload
  --fio      the workloads that fio can do, with fio
  --check    a short run of the small operations, compared with the committed results; exit code 1 where one is slower
  --node     the same functions under Node.js as well; as a rule only where workloads are named, for they take long
  --rounds   rounds of each contender (5; of long jobs 3)
  --ms       milliseconds of one round (60; with fio 500)
  --out      where the JSON goes (bench/results/….local.json)`;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: "boolean", default: false },
    fio: { type: "boolean", default: false },
    node: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    rounds: { type: "string" },
    ms: { type: "string" },
    out: { type: "string" },
  },
});

/** The order of the table; what is not named here comes between the two. */
const FIRST = ["read-cached", "read-batch", "read-direct", "read-direct-large"];
/** They leave many files behind that are not on the disk yet, or deleted ones, which none may come after: lib/fresh.ts. */
const LAST = ["small-write", "copy-tree", "remove-nested", "remove-flat"];
const rank = (name: string): number =>
  FIRST.includes(name) ? FIRST.indexOf(name) - FIRST.length : LAST.indexOf(name) + 1;
const known = readdirSync(join(import.meta.dir, "workloads"))
  .map((file) => basename(file, ".ts"))
  .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));

async function wanted(): Promise<string[]> {
  if (options.all) return known;
  if (!options.fio && !options.check) return positionals;
  const workloads = await Promise.all(known.map(async (name) => ({ name, workload: await loadWorkload(name) })));
  const fits = workloads.filter(({ workload }) =>
    options.fio ? workload.fio !== undefined : workload.shape === "rate",
  );
  return fits.map(({ name }) => name);
}

const names = await wanted();
if (names.length === 0 || names.some((name) => !known.includes(name))) {
  console.error(`${USAGE}\nnames: ${known.join(" ")}`);
  process.exit(2);
}

if (options.check && !existsSync(REFERENCE_FILE)) {
  console.error("there is no committed run to compare with: make bench, then make bench-report");
  process.exit(2);
}

const settings: Settings = {
  roundCount: Number(options.rounds ?? 5),
  jobRoundCount: Number(options.rounds ?? 3),
  roundMs: Number(options.ms ?? (options.fio ? 500 : 60)),
  node: options.node || positionals.length > 0 ? Bun.which("node") : null,
  fio: options.fio,
};

const temporary = mkdtempSync(join(tmpdir(), "bun-uring-bench-"));
spreadBelow(temporary);
process.on("exit", () => {
  rmSync(temporary, { recursive: true, force: true });
  // Deleted inodes are in the way of new files for a minute once they are on the disk, for six as long as they are not.
  Bun.spawnSync(["sync", "-f", tmpdir()]);
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

const environment = environmentOf(temporary, settings.node);
printEnvironment(environment);
if (settings.node !== null) await bundleForNode(names);
const groups: Group[] = [];
for (const name of names) {
  for await (const group of measureWorkload(name, temporary, settings)) {
    printGroup(group);
    groups.push(group);
  }
}

const { roundMs, roundCount } = settings;
const results: Results = { environment, roundMs, roundCount, groups };
const mode = options.all ? "all" : options.fio ? "fio" : options.check ? "check" : names.join("+");
const out = options.out ?? join(RESULTS_FOLDER, `${mode}.local.json`);
writeFileSync(out, `${JSON.stringify(results, null, 1)}\n`);
console.log(`results: ${relative(process.cwd(), out)}`);

if (options.check) {
  const slower = regressions(groups, (JSON.parse(readFileSync(REFERENCE_FILE, "utf8")) as Results).groups);
  for (const line of slower) console.log(line);
  console.log(slower.length === 0 ? "no ratio fell below 0.8 of the committed one" : `${slower.length} slower`);
  process.exit(slower.length === 0 ? 0 : 1);
}
process.exit(0);
