// The bench runner: `bun bench/run.ts --all`, or the names of some workloads. Everything of one row is measured side by
// side in one run: each contender in its own process, one round of each in turn, medians over the rounds.
// Assumes the shim and build/bench are built (`make bench` does), and about 2.5 GiB free below TMPDIR, on a real disk.
// Never leaves a file or a process behind, also when it is interrupted.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { environmentOf } from "./lib/environment.ts";
import { type Group, type Missing, type Results, type Row, type RowKind, ratiosOf, rowOf } from "./lib/results.ts";
import {
  bundleForNode,
  ceilingSession,
  commandSession,
  contenderSession,
  nodeSession,
  type Session,
} from "./lib/session.ts";
import { printEnvironment, printGroup } from "./lib/table.ts";
import type { Round, Workload } from "./lib/workload.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: "boolean", default: false },
    rounds: { type: "string", default: "5" },
    ms: { type: "string", default: "100" },
    out: { type: "string" },
  },
});

const workloadFolder = join(import.meta.dir, "workloads");
const known = readdirSync(workloadFolder).map((file) => basename(file, ".ts"));
const names = options.all ? known.sort() : positionals;
const unknown = names.filter((name) => !known.includes(name));
if (names.length === 0 || unknown.length > 0) {
  console.error(
    `usage: bun bench/run.ts --all | NAME…   [--rounds 5] [--ms 100] [--out FILE]\nnames: ${known.join(" ")}`,
  );
  process.exit(2);
}

const roundCount = Number(options.rounds);
const roundMs = Number(options.ms);
const node = Bun.which("node");
const temporary = mkdtempSync(join(tmpdir(), "bun-uring-bench-"));
const removeTemporary = (): void => rmSync(temporary, { recursive: true, force: true });
process.on("exit", removeTemporary);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

/** A session to be, and what its row will be called. */
interface Entry {
  readonly label: string;
  readonly kind: RowKind;
  readonly reference: boolean;
  open(): Session | Promise<Session>;
}

/** Who takes part at this depth, in the order of the table. */
function entriesOf(name: string, workload: Workload, depth: number, folder: string): Entry[] {
  const at = ({ depths }: { depths?: readonly number[] }): boolean => depths === undefined || depths.includes(depth);
  const entries: Entry[] = [];
  for (const [index, contender] of workload.contenders.entries()) {
    if (!at(contender)) continue;
    const { label, kind } = contender;
    entries.push({ label, kind, reference: false, open: () => contenderSession(name, index, depth, folder) });
    if (contender.node && node !== null) {
      const open = (): Promise<Session> => nodeSession(node, name, index, depth, folder);
      entries.push({ label: `${label}, under Node`, kind: "node", reference: false, open });
    }
  }
  for (const ceiling of workload.ceilings ?? []) {
    if (!at(ceiling)) continue;
    const open = (): Promise<Session> => ceilingSession(ceiling.program, depth, folder);
    entries.push({ label: ceiling.label, kind: "ceiling", reference: ceiling.reference ?? false, open });
  }
  for (const command of workload.commands ?? []) {
    const open = (): Session => commandSession(command, folder, workload.operations ?? 1);
    entries.push({ label: command.label, kind: "command", reference: false, open });
  }
  return entries;
}

/** One contender while its rounds are collected; a contender that fails once has no row. */
class Collected {
  readonly rounds: Round[] = [];
  session: Session | undefined;
  why: string | undefined;

  constructor(readonly entry: Entry) {}

  async attempt(work: () => Promise<void>): Promise<void> {
    if (this.why !== undefined) return;
    try {
      await work();
    } catch (error) {
      this.why = (error as Error).message;
    }
  }
}

async function measureGroup(name: string, workload: Workload, depth: number, folder: string): Promise<Group> {
  const all = entriesOf(name, workload, depth, folder).map((entry) => new Collected(entry));
  for (const one of all) {
    await one.attempt(async () => {
      one.session = await one.entry.open();
    });
  }
  // Round 0 warms every one of them up and is thrown away; jobs are long enough to do without.
  for (let round = workload.shape === "rate" ? 0 : 1; round <= roundCount; round++) {
    for (const one of all) {
      if (one.why !== undefined) continue;
      await workload.prepare?.(folder);
      await one.attempt(async () => {
        const measured = await one.session!.round(round === 0 ? roundMs / 3 : roundMs);
        if (round > 0) one.rounds.push(measured);
      });
    }
  }
  for (const one of all) await one.session?.close();

  const rows: Row[] = [];
  const missing: Missing[] = [];
  for (const { entry, rounds, why } of all) {
    if (why === undefined) rows.push(rowOf(entry.label, entry.kind, rounds, workload, entry.reference));
    else missing.push({ label: entry.label, why });
  }
  const { title, conditions } = workload;
  const target = workload.targets?.[depth] ?? {};
  return { workload: name, title, conditions, depth, rows, missing, ratios: ratiosOf(rows), target };
}

async function measureWorkload(name: string): Promise<Group[]> {
  const { default: workload } = (await import(join(workloadFolder, `${name}.ts`))) as { default: Workload };
  const folder = join(temporary, name);
  mkdirSync(folder);
  await workload.setup(folder);
  const groups: Group[] = [];
  for (const depth of workload.depths) {
    const group = await measureGroup(name, workload, depth, folder);
    printGroup(group);
    groups.push(group);
  }
  rmSync(folder, { recursive: true, force: true });
  // What this one left dirty is written now, not in the middle of the next one.
  Bun.spawnSync(["sync", "-f", temporary]);
  return groups;
}

const environment = environmentOf(temporary, node);
printEnvironment(environment);
if (node !== null) await bundleForNode(names);
const groups: Group[] = [];
for (const name of names) groups.push(...(await measureWorkload(name)));

const results: Results = { environment, roundMs, roundCount, groups };
const out = options.out ?? join(import.meta.dir, "results", `${options.all ? "all" : names.join("+")}.local.json`);
mkdirSync(join(import.meta.dir, "results"), { recursive: true });
writeFileSync(out, `${JSON.stringify(results, null, 1)}\n`);
console.log(`results: ${out.replace(`${process.cwd()}/`, "")}`);
process.exit(0);
