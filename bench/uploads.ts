// `make bench-uploads`: receive beside Bun's own ways and a server in C, alternating in one run: 1 GiB over one connection, and 500
// times 1 MiB over 32. The client is a C program that sends by sendfile. Shown are medians; peak RSS is the worst of the rounds.
// Assumes a folder on a real disk file system with room for twice 1 GiB. Every upload of the first round is compared with what was sent.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environmentOf } from "./lib/environment.ts";

const ROUNDS = Number(process.env["ROUNDS"] ?? 5);
const MIB = 1024 * 1024;
const program = join(import.meta.dir, "..", "build", "bench", "upload");
const dir = mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "bench-uploads-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));

interface Work {
  title: string;
  bytes: number;
  count: number;
  connections: number;
  ways: string[];
}
const IN_C = "C: read 256 KiB, write";
const WORK: Work[] = [
  {
    title: "1 GiB, one connection",
    bytes: 1024 * MIB,
    count: 1,
    connections: 1,
    ways: [IN_C, "receive", "receive, sha256", "FileSink", "Bun.write(path, request)", "nothing kept"],
  },
  {
    title: "500 × 1 MiB, 32 connections",
    bytes: MIB,
    count: 500,
    connections: 32,
    ways: [IN_C, "receive", "receive, sha256", "Bun.write(path, await bytes())", "Bun.write(path, request)"],
  },
];
/** What is asked of receive: its rate as a share of another way's. */
const GOALS: Record<string, [way: string, than: string, least: number][]> = {
  "1 GiB, one connection": [
    ["receive", IN_C, 0.65],
    ["receive", "FileSink", 1],
    ["receive, sha256", "receive", 0.8],
  ],
  "500 × 1 MiB, 32 connections": [
    ["receive", "Bun.write(path, await bytes())", 0.9],
    ["receive, sha256", "receive", 0.8],
  ],
};

interface Server {
  way: string;
  port: number;
  folder: string;
  child: Bun.Subprocess;
}

async function start(way: string): Promise<Server> {
  const folder = mkdtempSync(join(dir, "server-"));
  const argv =
    way === IN_C ? [program, "sink", folder] : [process.execPath, `${import.meta.dir}/uploads-child.ts`, way, folder];
  const child = Bun.spawn(argv, { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  return { way, folder, child, port: Number(new TextDecoder().decode(value)) };
}

/** Resident memory at its highest since it was last asked for, in MiB (proc(5), VmHWM and clear_refs). */
function peakMib({ child: { pid } }: Server): number {
  const kib = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
  return kib / 1024;
}

const statsOf = async ({ way, port }: Server): Promise<{ cpuMs: number; gapMs: number }> =>
  way === IN_C ? { cpuMs: 0, gapMs: 0 } : ((await fetch(`http://127.0.0.1:${port}/`)).json() as never);

interface Round {
  mbPerS: number;
  cpuMs: number;
  gapMs: number;
  peak: number;
}

async function round(server: Server, { bytes, count, connections }: Work, verify: boolean): Promise<Round> {
  peakMib(server);
  await statsOf(server);
  const argv = [program, "send", server.port, source, bytes, count, connections].map(String);
  const client = Bun.spawn(argv, { stdout: "pipe" });
  const ns = Number(await client.stdout.text());
  if ((await client.exited) !== 0) throw new Error(`${server.way}: the client failed`);
  const { cpuMs, gapMs } = await statsOf(server);
  const peak = peakMib(server);
  const names = readdirSync(server.folder);
  if (server.way !== "nothing kept" && names.length !== count) throw new Error(`${server.way}: ${names.length} files`);
  if (verify)
    for (const name of names)
      if (!readFileSync(join(server.folder, name)).equals(content.subarray(0, bytes)))
        throw new Error(`${server.way}: another content`);
  // Before the disk has had to take it: what is measured is the way to the page cache.
  for (const name of names) rmSync(join(server.folder, name));
  return { mbPerS: (bytes * count) / (ns / 1e9) / 1e6, cpuMs, gapMs, peak };
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

const source = join(dir, "source");
const block = crypto.getRandomValues(new Uint8Array(65_536));
const content = Buffer.concat(Array.from({ length: 16 * 1024 }, () => block));
for (let at = 0; at < content.length; at += 4096) content.writeUInt32LE(at / 4096, at);
writeFileSync(source, content);

const { cpu, cores, kernel, fileSystem, device, bun } = environmentOf(dir, null);
console.log(
  `${cpu}, ${cores} processors, ${kernel}, ${fileSystem} on ${device}, Bun ${bun}; medians of ${ROUNDS} rounds`,
);
let missed = 0;
for (const work of WORK) {
  if (process.argv[2] !== undefined && !work.title.startsWith(process.argv[2])) continue;
  const results = new Map<string, Round[]>(work.ways.map((way) => [way, []]));
  const servers = await Promise.all(work.ways.map(start));
  for (let i = -1; i < ROUNDS; i++)
    for (let at = 0; at < servers.length; at++) {
      const server = servers[(at + i + 1) % servers.length]!;
      const result = await round(server, work, i < 0);
      if (i >= 0) results.get(server.way)!.push(result); // the first is to warm up, and for the contents
    }
  for (const { child } of servers) child.kill();
  console.log(`\n| ${work.title} | MB/s | least, most | CPU, ms | loop gap, ms | peak RSS, MiB |`);
  console.log("|---|---|---|---|---|---|");
  const rates = new Map<string, number>();
  for (const [way, rounds] of results) {
    const all = rounds.map(({ mbPerS }) => mbPerS);
    rates.set(way, median(all));
    const of = (field: (round: Round) => number): string => median(rounds.map(field)).toFixed(0);
    const [cpuMs, gapMs] = way === IN_C ? ["", ""] : [of(({ cpuMs }) => cpuMs), of(({ gapMs }) => gapMs)];
    const span = `${Math.min(...all).toFixed(0)}, ${Math.max(...all).toFixed(0)}`;
    const peak = Math.max(...rounds.map(({ peak }) => peak)).toFixed(0);
    console.log(`| ${way} | ${median(all).toFixed(0)} | ${span} | ${cpuMs} | ${gapMs} | ${peak} |`);
  }
  for (const [way, than, least] of GOALS[work.title]!) {
    // Round by round, so that what disturbs the machine for a while disturbs both.
    const ratio = median(results.get(way)!.map(({ mbPerS }, i) => mbPerS / results.get(than)![i]!.mbPerS));
    if (ratio < least) missed++;
    console.log(`${way}: ${ratio.toFixed(2)} × ${than} (goal: ${least})${ratio < least ? " MISSED" : ""}`);
  }
}
process.exitCode = missed > 0 ? 1 : 0;
