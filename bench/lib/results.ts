// Turns rounds into rows, rows into ratios, and both into the JSON that is kept.
// Assumes that round i of every contender of a row was measured right after each other's. Prints nothing.

import { join } from "node:path";
import type { Environment } from "./environment.ts";
import type { ContenderKind, Round, Target, Workload } from "./workload.ts";

export const RESULTS_FOLDER: string = join(import.meta.dir, "..", "results");
/** The committed run: what the README shows, and what `make bench-check` compares with. */
export const REFERENCE_FILE: string = join(RESULTS_FOLDER, "reference.json");

export type RowKind = ContenderKind | "node" | "ceiling" | "fio" | "command";

/** One contender at one depth: medians over its rounds. */
export interface Row extends Round {
  readonly label: string;
  readonly kind: RowKind;
  /** The ceiling or peer that ours is compared with. */
  readonly reference?: boolean;
  readonly mbPerS?: number;
  /** `loopGapMs` is the largest of all rounds; this is their median, which one hiccup of the machine leaves alone. */
  readonly usualGapMs?: number;
  /** Slowest round over the fastest one: how quiet the machine was. */
  readonly spread: number;
  /** nsPerOp of each. */
  readonly rounds: readonly number[];
  /** cpuNsPerOp of each. */
  readonly cpuRounds: readonly number[];
}

/** Why a contender has no row. */
export interface Missing {
  readonly label: string;
  readonly why: string;
}

/** Ours against the others: medians of the ratios of rounds that were measured beside each other. */
export interface Ratios {
  /** The best peer's time over ours: larger is better. */
  readonly peer?: number;
  readonly peerLabel?: string;
  /** Our CPU time over that peer's. */
  readonly cpu?: number;
  /** Our p99 over that peer's. */
  readonly p99?: number;
  /** Our time over that of the first blocking call. */
  readonly sync?: number;
  /** Our time over the ceiling's. */
  readonly ceiling?: number;
  readonly ceilingLabel?: string;
  /** Our time over the command's. */
  readonly command?: number;
  /** Our rate over fio's. */
  readonly fio?: number;
}

export interface Group {
  readonly workload: string;
  readonly title: string;
  readonly conditions: string;
  readonly shape: Workload["shape"];
  readonly depth: number;
  readonly rows: readonly Row[];
  readonly missing: readonly Missing[];
  readonly ratios: Ratios;
  readonly target: Target;
}

export interface Results {
  readonly environment: Environment;
  readonly roundMs: number;
  readonly roundCount: number;
  readonly groups: readonly Group[];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function medianOf(rounds: readonly Round[], key: keyof Round): number | undefined {
  const values = rounds.map((round) => round[key]).filter((value) => value !== undefined);
  return values.length === 0 ? undefined : median(values);
}

function largestOf(rounds: readonly Round[], key: keyof Round): number | undefined {
  const values = rounds.map((round) => round[key]).filter((value) => value !== undefined);
  return values.length === 0 ? undefined : Math.max(...values);
}

export function rowOf(
  label: string,
  kind: RowKind,
  rounds: readonly Round[],
  workload: Workload,
  reference: boolean,
): Row {
  const times = rounds.map(({ nsPerOp }) => nsPerOp);
  const nsPerOp = median(times);
  const bytesPerOp = workload.bytes / (workload.operations ?? 1);
  return {
    label,
    kind,
    ...(reference ? { reference } : {}),
    nsPerOp,
    cpuNsPerOp: medianOf(rounds, "cpuNsPerOp")!,
    p50Ns: medianOf(rounds, "p50Ns"),
    p99Ns: medianOf(rounds, "p99Ns"),
    // The worst of all rounds: a gap that was seen once was there.
    loopGapMs: largestOf(rounds, "loopGapMs"),
    usualGapMs: medianOf(rounds, "loopGapMs"),
    peakRssBytes: largestOf(rounds, "peakRssBytes"),
    mbPerS: bytesPerOp === 0 ? undefined : (bytesPerOp * 1e3) / nsPerOp,
    spread: Math.max(...times) / Math.min(...times),
    rounds: times.map(tenths),
    cpuRounds: rounds.map(({ cpuNsPerOp }) => tenths(cpuNsPerOp)),
  };
}

const tenths = (value: number): number => Math.round(value * 10) / 10;

/**
 * Median over the rounds of one row's time divided by another's in the same round. What slows a machine down for a second
 * slows both: from run to run this moved by 14 % on a busy one, the ratio of the two medians by 25 %, of the two minima
 * by 15 %.
 */
function ratioOf(above: Row, below: Row, key: "rounds" | "cpuRounds" = "rounds"): number {
  const count = Math.min(above[key].length, below[key].length);
  return median(Array.from({ length: count }, (_, i) => above[key][i] / below[key][i]));
}

function fastest(rows: readonly Row[]): Row | undefined {
  return rows.reduce<Row | undefined>((best, row) => (best && best.nsPerOp <= row.nsPerOp ? best : row), undefined);
}

export function ratiosOf(rows: readonly Row[]): Ratios {
  const mine = rows.find(({ kind }) => kind === "ours");
  if (mine === undefined) return {};
  const chosen = (wanted: RowKind): Row | undefined => {
    const those = rows.filter(({ kind }) => kind === wanted);
    return those.find(({ reference }) => reference) ?? fastest(those);
  };
  const peer = chosen("peer");
  const ceiling = chosen("ceiling");
  const sync = rows.find(({ kind }) => kind === "sync");
  const command = fastest(rows.filter(({ kind }) => kind === "command"));
  const fio = rows.find(({ kind }) => kind === "fio");
  return {
    ...(peer && { peer: ratioOf(peer, mine), peerLabel: peer.label, cpu: ratioOf(mine, peer, "cpuRounds") }),
    ...(peer?.p99Ns && mine.p99Ns && { p99: mine.p99Ns / peer.p99Ns }),
    ...(sync && { sync: ratioOf(mine, sync) }),
    ...(ceiling && { ceiling: ratioOf(mine, ceiling), ceilingLabel: ceiling.label }),
    ...(command && { command: ratioOf(mine, command) }),
    ...(fio && { fio: ratioOf(fio, mine) }),
  };
}

/** The targets of a group that were not reached, in words; empty when all were. */
export function missedTargets({ ratios, target, rows }: Group): string[] {
  const missed: string[] = [];
  const round = (value: number): number => Math.round(value * 100) / 100;
  const below = (name: string, value: number | undefined, least: number | undefined): void => {
    if (value !== undefined && least !== undefined && value < least)
      missed.push(`${name} ${value.toFixed(2)} < ${round(least)}`);
  };
  const above = (name: string, value: number | undefined, most: number | undefined): void => {
    if (value !== undefined && most !== undefined && value > most)
      missed.push(`${name} ${value.toFixed(2)} > ${round(most)}`);
  };
  below("times the best peer", ratios.peer, target.peer);
  below("of fio's rate", ratios.fio, target.fio);
  above("of its CPU", ratios.cpu, target.cpu);
  above("of its p99", ratios.p99, target.p99);
  above("times the blocking call", ratios.sync, target.sync);
  above("times C", ratios.ceiling, target.ceiling);
  above("times the command", ratios.command, target.command);
  above("ms loop gap", rows.find(({ kind }) => kind === "ours")?.loopGapMs, 5);
  return missed;
}

const ALLOWED = 0.8;

/** Groups whose ratio to the best peer fell below 0.8 of what it was, in words. A group that has gone counts too. */
export function regressions(now: readonly Group[], before: readonly Group[]): string[] {
  const lines: string[] = [];
  for (const { workload, depth, ratios } of now) {
    const old = before.find((group) => group.workload === workload && group.depth === depth)?.ratios.peer;
    if (old === undefined) continue;
    const name = `${workload} at ${depth}`;
    if (ratios.peer === undefined)
      lines.push(`${name}: was ${old.toFixed(2)} × the best peer, could not be measured now`);
    else if (ratios.peer < old * ALLOWED) {
      lines.push(`${name}: was ${old.toFixed(2)} × the best peer, is ${ratios.peer.toFixed(2)}`);
    }
  }
  return lines;
}
