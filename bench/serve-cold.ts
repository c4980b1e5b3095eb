// Second part of `make bench-serve`: large files that are not in the page cache, four at once to four clients, beside Bun's own ways.
// Alternated; the files' pages are dropped before each round. Shown are medians: megabytes a second, and the server's processor
// time. Assumes curl and dd, and a disk: where /tmp is memory, TMPDIR has to name another folder.

import { closeSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROUNDS = Number(process.env["ROUNDS"] ?? 5);
const MIB = 1024 * 1024;
const CLIENTS = 4;
const dir = mkdtempSync(join(tmpdir(), "bench-cold-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));

const files = (mib: number): string[] => Array.from({ length: CLIENTS }, (_, i) => `${mib}m-${i}`);
const SIZES = [32, 128];
const chunk = crypto.getRandomValues(new Uint8Array(65536));
for (const mib of SIZES)
  for (const name of files(mib)) {
    const fd = openSync(join(dir, name), "w");
    for (let i = 0; i < mib * 16; i++) writeSync(fd, chunk);
    fsyncSync(fd);
    closeSync(fd);
  }

/** Takes a file's pages out of the page cache. */
const forget = (name: string): void =>
  void Bun.spawnSync(["dd", `of=${join(dir, name)}`, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"]); // biome-ignore format: a command

async function start(way: string) {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "serve-child.ts"), way, dir], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  return { way, port: Number(new TextDecoder().decode(value)), child };
}

function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" "); // biome-ignore format: short
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const servers = await Promise.all(["serveFile", "Bun.file", "{ dir }"].map(start));
console.log(`| cold, four at once | ${servers.map(({ way }) => way).join(" | ")} | rate to Bun.file, { dir } |`);
console.log("|---|---|---|---|---|");
for (const mib of SIZES) {
  const results = servers.map(() => ({ rates: [] as number[], cpus: [] as number[] }));
  for (let i = 0; i < ROUNDS; i++)
    for (let at = 0; at < servers.length; at++) {
      const index = (at + i) % servers.length;
      const { port, child } = servers[index]!;
      files(mib).forEach(forget);
      const [cpu, begun] = [cpuOf(child.pid), performance.now()];
      const clients = files(mib).map((name) => {
        const url = `http://127.0.0.1:${port}/${name}`;
        return Bun.spawn(["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", url], { stdout: "pipe" });
      });
      const sizes = await Promise.all(clients.map(({ stdout }) => new Response(stdout).text()));
      if (sizes.some((size) => Number(size) !== mib * MIB)) throw new Error(`sizes: ${sizes}`);
      results[index]!.rates.push((CLIENTS * mib) / ((performance.now() - begun) / 1000));
      results[index]!.cpus.push(cpuOf(child.pid) - cpu);
    }
  const rates = results.map((result) => median(result.rates));
  const cells = results.map(({ cpus }, i) => `${Math.round(rates[i]!)} MiB/s · ${median(cpus)} ms`);
  const [ours, file, folder] = rates as [number, number, number];
  console.log(`| ${mib} MiB | ${cells.join(" | ")} | ${(ours / file).toFixed(2)}, ${(ours / folder).toFixed(2)} |`);
}
for (const { child } of servers) child.kill();
