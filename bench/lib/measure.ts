// Measures one workload: opens everybody who takes part, asks each for one round in turn, and makes rows of the rounds.
// Assumes that the folder it is given is the run's own, and removes nothing there. Prints nothing; a contender that fails is a note, not the end of the run.

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { freshFolder, spreadBelow } from "./fresh.ts";
import { type Group, type Missing, type Row, type RowKind, ratiosOf, rowOf } from "./results.ts";
import { ceilingSession, commandSession, contenderSession, fioSession, nodeSession, type Session } from "./session.ts";
import type { Round, Workload } from "./workload.ts";

const WARM_UP_MS = 400;
/** Where a warm-up leaves files behind. */
const SHORT_WARM_UP_MS = 150;

export interface Settings {
  readonly roundCount: number;
  /** Jobs are long: fewer rounds of them. */
  readonly jobRoundCount: number;
  readonly roundMs: number;
  /** The node command, or null to leave Node out. */
  readonly node: string | null;
  /** With fio beside the C program, where it does the same work. */
  readonly fio: boolean;
}

/** A session to be, and what its row will be called. */
interface Entry {
  readonly label: string;
  readonly kind: RowKind;
  readonly reference: boolean;
  open(): Session | Promise<Session>;
}

/** Who takes part at this depth, in the order of the table. */
function entriesOf(name: string, workload: Workload, depth: number, folder: string, settings: Settings): Entry[] {
  const { node, fio } = settings;
  const at = ({ depths }: { depths?: readonly number[] }): boolean => depths === undefined || depths.includes(depth);
  const entries: Entry[] = [];
  for (const [index, contender] of workload.contenders.entries()) {
    if (!at(contender)) continue;
    const { label, kind, reference = false } = contender;
    entries.push({ label, kind, reference, open: () => contenderSession(name, index, depth, folder) });
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
  if (fio && workload.fio !== undefined) {
    const job = workload.fio;
    const open = (): Session => fioSession(job, depth, folder);
    entries.push({ label: "fio, io_uring", kind: "fio", reference: false, open });
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

async function measureGroup(
  name: string,
  workload: Workload,
  depth: number,
  folder: string,
  rounds: string,
  settings: Settings,
): Promise<Group> {
  const { roundMs } = settings;
  const warmUpMs = workload.scratch ? SHORT_WARM_UP_MS : WARM_UP_MS;
  const roundCount = workload.shape === "rate" ? settings.roundCount : settings.jobRoundCount;
  const all = entriesOf(name, workload, depth, folder, settings).map((entry) => new Collected(entry));
  for (const one of all) {
    await one.attempt(async () => {
      one.session = await one.entry.open();
    });
  }
  // Round 0 is thrown away: the JIT has compiled what is hot by then. Jobs are long enough to do without.
  for (let round = workload.shape === "rate" ? 0 : 1; round <= roundCount; round++) {
    // Each is the first of a round in turn: who comes after the others finds what they left in the caches and to be written.
    for (const one of [...all.slice(round % all.length), ...all.slice(0, round % all.length)]) {
      if (one.why !== undefined) continue;
      const scratch = workload.scratch ? freshFolder(rounds, "round") : folder;
      await workload.prepare?.(folder, scratch);
      await one.attempt(async () => {
        const measured = await one.session!.round(round === 0 ? warmUpMs : roundMs, scratch);
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
  const { title, conditions, shape } = workload;
  const target = workload.targets?.[depth] ?? {};
  return { workload: name, title, conditions, shape, depth, rows, missing, ratios: ratiosOf(rows), target };
}

export async function loadWorkload(name: string): Promise<Workload> {
  return ((await import(join(import.meta.dir, "..", "workloads", `${name}.ts`))) as { default: Workload }).default;
}

/** Folders that workloads share, by the name they have for them. */
const shared = new Map<string, string>();

function folderOf(name: string, { files }: Workload, temporary: string): string {
  const folder = shared.get(files ?? name) ?? freshFolder(temporary, files ?? name);
  shared.set(files ?? name, folder);
  return folder;
}

/** All depths of one workload, each as soon as it is done. Its files are below `temporary`, and stay. */
export async function* measureWorkload(name: string, temporary: string, settings: Settings): AsyncGenerator<Group> {
  const workload = await loadWorkload(name);
  const folder = folderOf(name, workload, temporary);
  const rounds = mkdtempSync(join(temporary, "rounds-"));
  spreadBelow(rounds);
  await workload.setup(folder);
  for (const depth of workload.depths) yield await measureGroup(name, workload, depth, folder, rounds, settings);
  // What this one left dirty is written now, not in the middle of the next one; but of many small files that would take
  // long, and deleting them afterwards seven times as long as it does before.
  if (!workload.scratch) Bun.spawnSync(["sync", "-f", temporary]);
}
