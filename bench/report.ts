// Makes the table of docs/benchmarks.md, the README's short one and the charts from one full run. `make bench-report` takes the
// last full run on this machine, if there is one, as the new reference; then it draws from the reference.
// Assumes both pages with the two marker lines below. Rounds, but never leaves a row out of the page: losses are shown like wins.

import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bar, barChart } from "./lib/chart.ts";
import { type Group, REFERENCE_FILE, RESULTS_FOLDER, type Results, type Row } from "./lib/results.ts";
import { depthText, duration, gaps, nameOf } from "./lib/table.ts";

const BEGIN = "<!-- bench: made by `make bench-report`, do not edit -->";
const END = "<!-- bench: end -->";
/** What the README shows, wins and losses: workload and depth. */
const HEADLINES: readonly (readonly [workload: string, depth: number])[] = [
  ["read-cached", 64],
  ["read-direct", 64],
  ["small-read", 1],
  ["small-read", 64],
  ["small-write", 64],
  ["datasync", 64],
  ["copy-tree", 1],
  ["stream-web", 1],
];
const root = join(import.meta.dir, "..");
const chartFolder = join(root, "docs", "charts");

const lastRun = join(RESULTS_FOLDER, "all.local.json");
if (existsSync(lastRun)) copyFileSync(lastRun, REFERENCE_FILE);
const results = JSON.parse(readFileSync(REFERENCE_FILE, "utf8")) as Results;

const find = (group: Group, test: (row: Row) => boolean): Row | undefined => group.rows.find(test);
const times = (value: number | undefined): string => (value === undefined ? "" : `${value.toFixed(2)} ×`);
const bold = (text: string, on: boolean): string => (on ? `**${text}**` : text);

function tableLine(group: Group): string {
  const { ratios } = group;
  const mine = find(group, ({ kind }) => kind === "ours");
  const peer = find(group, ({ label }) => label === ratios.peerLabel);
  const sync = find(group, ({ kind }) => kind === "sync");
  const ceiling = find(group, ({ label }) => label === ratios.ceilingLabel);
  const command = find(group, ({ kind }) => kind === "command");
  return [
    nameOf(group),
    duration(mine?.nsPerOp),
    peer === undefined ? "" : `${duration(peer.nsPerOp)} (${peer.label})`,
    bold(times(ratios.peer), (ratios.peer ?? 0) >= 1),
    times(ratios.cpu),
    sync === undefined ? "" : duration(sync.nsPerOp),
    duration((ceiling ?? command)?.nsPerOp) +
      (ceiling === undefined && command !== undefined ? ` (${command.label})` : ""),
    mine === undefined ? "" : gaps(mine),
    peer === undefined ? "" : gaps(peer),
  ].join(" | ");
}

const HEADING = [
  "work",
  "bun-uring",
  "Bun's best async",
  "as fast as that",
  "its CPU",
  "blocking call",
  "C or command",
  "loop gap",
  "Bun's",
];
const SHORT_COLUMNS = 5;

function table(groups: readonly Group[], columns: number): string {
  const { environment } = results;
  const heading = HEADING.slice(0, columns);
  const line = (group: Group): string => tableLine(group).split(" | ").slice(0, columns).join(" | ");
  return [
    `| ${heading.join(" | ")} |`,
    `| :-- | ${heading.slice(1).fill("--:").join(" | ")} |`,
    ...groups.map((group) => `| ${line(group)} |`),
    "",
    `Measured ${environment.date} on ${environment.cores} cores of ${environment.cpu}, Linux ${environment.kernel}, ` +
      `${environment.fileSystem.split(",")[0]} on a ${environment.device.split(",")[0]} disk, Bun ${environment.bun}: medians of ` +
      `${results.roundCount} rounds, side by side in one run; time is per operation.`,
  ].join("\n");
}

function writeCharts(): void {
  const groups = results.groups.filter(({ ratios }) => ratios.peer !== undefined);
  const barsOf = (value: (group: Group) => number): Bar[] =>
    groups
      .map((group) => ({ label: nameOf(group), series: depthText(group) || "one long job", value: value(group) }))
      .sort((a, b) => b.value - a.value);
  mkdirSync(chartFolder, { recursive: true });
  const speed = barChart({
    title: "How many times as fast as the best asynchronous function of Bun",
    note: "1 is equal; a shorter bar is a loss",
    bars: barsOf(({ ratios }) => ratios.peer!),
  });
  const cpu = barChart({
    title: "CPU time per operation, as a part of that function's",
    note: "1 is equal; shorter is better",
    bars: barsOf(({ ratios }) => ratios.cpu!),
  });
  writeFileSync(join(chartFolder, "speed.svg"), speed);
  writeFileSync(join(chartFolder, "cpu.svg"), cpu);
}

/** Puts `text` between the marker lines of a page. */
function fill(page: string, text: string): void {
  const path = join(root, page);
  const old = readFileSync(path, "utf8");
  const begin = old.indexOf(BEGIN);
  const end = old.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${page} needs the lines\n${BEGIN}\n${END}`);
  writeFileSync(path, `${old.slice(0, begin)}${BEGIN}\n\n${text}\n\n${old.slice(end)}`);
}

const headlines = HEADLINES.flatMap(([workload, depth]) =>
  results.groups.filter((group) => group.workload === workload && group.depth === depth),
);
writeCharts();
fill("README.md", table(headlines, SHORT_COLUMNS));
fill("docs/benchmarks.md", table(results.groups, HEADING.length));
console.log(
  `README.md, docs/benchmarks.md and docs/charts are those of ${results.environment.date}, commit ${results.environment.commit}`,
);
