// Prints groups of rows for people: one block per workload and depth, ours first, the ratios underneath.
// Assumes a terminal of 110 columns; colour only where stdout is one. Never computes a result.

import type { Environment } from "./environment.ts";
import { type Group, missedTargets, type Row } from "./results.ts";

const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code: number) => (text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
const bold = paint(1);
const dim = paint(2);
const green = paint(32);
const red = paint(31);

/** Three significant digits with the unit that fits. */
export function duration(ns: number | undefined): string {
  if (ns === undefined) return "";
  const [value, unit] =
    ns < 1e3 ? [ns, "ns"] : ns < 1e6 ? [ns / 1e3, "µs"] : ns < 1e9 ? [ns / 1e6, "ms"] : [ns / 1e9, "s"];
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
}

function rate(mbPerS: number | undefined): string {
  return mbPerS === undefined ? "" : `${mbPerS.toFixed(0)}`;
}

const COLUMNS: readonly [heading: string, width: number, cell: (row: Row) => string][] = [
  ["time/op", 10, (row) => duration(row.nsPerOp)],
  ["p50", 10, (row) => duration(row.p50Ns)],
  ["p99", 10, (row) => duration(row.p99Ns)],
  ["CPU/op", 10, (row) => duration(row.cpuNsPerOp)],
  ["MB/s", 7, (row) => rate(row.mbPerS)],
  ["loop gap", 16, gaps],
  ["peak RSS", 9, (row) => (row.peakRssBytes === undefined ? "" : `${Math.round(row.peakRssBytes / 2 ** 20)} MiB`)],
];

const LABEL_WIDTH = 40;

/** The longest loop gap of a round: the median of the rounds, and the worst one. */
export function gaps({ usualGapMs, loopGapMs }: Row): string {
  return loopGapMs === undefined ? "" : `${(usualGapMs ?? loopGapMs).toFixed(1)} (${loopGapMs.toFixed(1)}) ms`;
}

export function depthText({ shape, depth }: Group): string {
  return shape === "job" ? "" : depth === 1 ? "1 at a time" : `${depth} at once`;
}

/** A group's name in one line. */
export function nameOf(group: Group): string {
  return [group.title, depthText(group)].filter((text) => text !== "").join(", ");
}

export function printEnvironment(environment: Environment): void {
  const { kernel, cpu, cores, memoryGib, governor, fileSystem, device, bun, node, commit } = environment;
  console.log(`${cpu}, ${cores} cores, ${memoryGib} GiB, governor ${governor}; Linux ${kernel}`);
  console.log(`${fileSystem} on ${device}; Bun ${bun}, Node ${node}; commit ${commit}`);
  console.log(
    `loop gap: the longest that the event loop stood still in a round, less the time it waited for a processor: median of rounds (worst)\n`,
  );
}

export function printGroup(group: Group): void {
  console.log(`${bold(nameOf(group))}  ${dim(group.conditions)}`);
  console.log(dim("".padEnd(LABEL_WIDTH) + COLUMNS.map(([heading, width]) => heading.padStart(width)).join("")));
  for (const row of group.rows) {
    const line = row.label.padEnd(LABEL_WIDTH) + COLUMNS.map(([, width, cell]) => cell(row).padStart(width)).join("");
    console.log(row.kind === "ours" ? bold(line) : ["ceiling", "fio", "sync"].includes(row.kind) ? dim(line) : line);
  }
  for (const { label, why } of group.missing) console.log(dim(`${label.padEnd(LABEL_WIDTH)}  not measured: ${why}`));
  const words = ratioWords(group);
  if (words !== "") console.log(`  ${words}`);
  const missed = missedTargets(group);
  if (missed.length > 0) console.log(red(`  target missed: ${missed.join("; ")}`));
  else if (Object.keys(group.target).length > 0 && words !== "") console.log(green("  targets reached"));
  console.log();
}

function ratioWords({ ratios }: Group): string {
  const words: string[] = [];
  if (ratios.peer !== undefined) {
    words.push(`${ratios.peer.toFixed(2)} × as fast as ${ratios.peerLabel}, with ${ratios.cpu!.toFixed(2)} of its CPU`);
  }
  if (ratios.sync !== undefined) words.push(`${ratios.sync.toFixed(2)} × the time of the blocking call`);
  if (ratios.ceiling !== undefined) words.push(`${ratios.ceiling.toFixed(2)} × the time of ${ratios.ceilingLabel}`);
  if (ratios.command !== undefined) words.push(`${ratios.command.toFixed(2)} × the time of the command`);
  if (ratios.fio !== undefined) words.push(`${ratios.fio.toFixed(2)} of fio's rate`);
  return words.join("; ");
}
