// `make bench-serve`: serveFile beside Bun's own ways and nginx, under wrk with 64 connections, alternating in one run.
// Assumes wrk; nginx where it is installed (one worker, sendfile, a table of open files), hono and elysia where PEERS names a
// folder that has them, with @elysiajs/static; WAYS=a,b leaves out the others. A round is one second after a warm-up; shown are medians: requests a second, and
// the server's processor time for one request, which is the steadier. argv: a part of the name of one kind of work.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";

const ROUNDS = Number(process.env["ROUNDS"] ?? 5);
const CONNECTIONS = 64;
const PEERS = process.env["PEERS"] ?? "";
const KIB = 1024;
const dir = mkdtempSync(join(tmpdir(), "bench-serve-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const bytes = (length: number): Uint8Array => crypto.getRandomValues(new Uint8Array(Math.min(length, 65536)));

for (const [name, kib] of [["1k", 1], ["64k", 64], ["256k", 256], ["1m", 1024]] as const) // biome-ignore format: short
  writeFileSync(join(dir, name), Buffer.concat(Array.from({ length: Math.ceil(kib / 64) }, () => bytes(kib * KIB))));
for (let i = 0; i < 1000; i++) writeFileSync(join(dir, `f${i}`), bytes(KIB));
const many = join(dir, "many.lua");
writeFileSync(many, `request = function() return wrk.format("GET", "/f" .. math.random(0, 999)) end\n`);
const unchanged = join(dir, "unchanged.lua");

// A site as public benchmarks of static files have it: twenty files, most of them with siblings that brotli and gzip have made.
const site = ["html", "css", "css", "css", "js", "js", "js", "js", "js", "js", "json", "json", "svg", "svg", "txt"].map((ending, i) => [`s${i}.${ending}`, [3, 12, 30, 64, 8, 20, 45, 90, 150, 300, 5, 25, 2, 10, 1][i]!] as const); // biome-ignore format: a table
const pictures = [6, 18, 40, 80, 120].map((kib, i) => [`p${i}.webp`, kib] as const);
for (const [name, kib] of site) {
  const text = Buffer.from(Array.from({ length: kib * 16 }, (_, i) => `const name${i * 7919} = ${(i * 31) % 97};`.padEnd(63).concat("\n")).join("")); // biome-ignore format: short
  writeFileSync(join(dir, name), text);
  writeFileSync(join(dir, `${name}.br`), brotliCompressSync(text));
  writeFileSync(join(dir, `${name}.gz`), gzipSync(text));
}
for (const [name, kib] of pictures) writeFileSync(join(dir, name), Buffer.concat(Array.from({ length: kib }, () => bytes(KIB)))); // biome-ignore format: short
const pages = join(dir, "pages.lua");
writeFileSync(
  pages,
  `local names = { ${[...site, ...pictures].map(([name]) => JSON.stringify(name)).join(", ")} }
   wrk.headers["Accept-Encoding"] = "gzip, br"
   request = function() return wrk.format("GET", "/" .. names[math.random(#names)]) end\n`,
);

interface Work {
  name: string;
  path: string;
  script?: string;
}
const WORK: Work[] = [
  { name: "one file, 1 KiB", path: "/1k" },
  { name: "1,000 files, 1 KiB", path: "/f0", script: many },
  { name: "64 KiB", path: "/64k" },
  { name: "256 KiB", path: "/256k" },
  { name: "1 MiB", path: "/1m" },
  { name: "304", path: "/1k", script: unchanged },
  { name: "a site of 20 files, brotli", path: "/s0.html", script: pages },
];

interface Server {
  way: string;
  port: number;
  pids: number[];
  stop(): void;
}

async function start(way: string): Promise<Server> {
  if (way === "nginx") return startNginx();
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "serve-child.ts"), way, dir, PEERS], {
    stdout: "pipe",
  });
  const { value } = await child.stdout.getReader().read();
  return { way, port: Number(new TextDecoder().decode(value)), pids: [child.pid], stop: () => child.kill() };
}

async function startNginx(): Promise<Server> {
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const conf = join(dir, "nginx.conf");
  writeFileSync(
    conf,
    `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log /dev/null; events { worker_connections 256; }
     http { access_log off; sendfile on; keepalive_requests 1000000000; gzip_static on; open_file_cache max=2000; etag on;
       server { listen 127.0.0.1:${port}; root ${dir}; add_header Cache-Control "public, max-age=60"; } }`,
  );
  // nginx's worker reads as another user.
  Bun.spawnSync(["chmod", "755", dir]);
  const child = Bun.spawn([nginx!, "-c", conf], { stderr: "ignore" });
  await Bun.sleep(300);
  const workers = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ").map(Number);
  return { way: "nginx", port, pids: [child.pid, ...workers], stop: () => child.kill() };
}

/** User and system time so far, in µs. */
function cpuOf(pids: number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10_000;
}

async function round(server: Server, work: Work, seconds: number): Promise<{ rate: number; cpu: number }> {
  const before = cpuOf(server.pids);
  const script = work.script === undefined ? [] : ["-s", work.script];
  const url = `http://127.0.0.1:${server.port}${work.path}`;
  const wrk = Bun.spawn(["wrk", "-t1", `-c${CONNECTIONS}`, `-d${seconds}`, ...script, url], { stdout: "pipe" });
  const text = await new Response(wrk.stdout).text();
  const requests = Number(/(\d+) requests in/.exec(text)?.[1]);
  return { rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]), cpu: (cpuOf(server.pids) - before) / requests };
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const nginx = Bun.which("nginx") ?? Bun.which("nginx", { PATH: "/usr/sbin" });
const all = ["serveFile", "{ dir }", "Bun.file", "staticRoutes", "2 Workers", ...(nginx ? ["nginx"] : []), ...(PEERS ? ["hono", "elysia"] : [])]; // biome-ignore format: short
const ways = all.filter((way, i) => i < 3 || (process.env["WAYS"] ?? all.join()).split(",").includes(way)); // biome-ignore format: short
const servers = await Promise.all(ways.map(start));
const only = process.argv[2];

console.log(
  `${readdirSync("/sys/devices/system/cpu").filter((name) => /^cpu\d/.test(name)).length} processors, Bun ${Bun.version}, ${ROUNDS} rounds of 1 s, ${CONNECTIONS} connections`,
);
console.log(`| | ${ways.join(" | ")} | rate to { dir }, Bun.file | CPU to { dir }, Bun.file |`);
console.log(`|---|${"---|".repeat(ways.length + 2)}`);
for (const work of WORK) {
  if (only !== undefined && !work.name.includes(only)) continue;
  const results = servers.map(() => ({ rates: [] as number[], cpus: [] as number[] }));
  for (let i = -1; i < ROUNDS; i++) {
    for (let at = 0; at < servers.length; at++) {
      const index = (at + i + 1) % servers.length;
      const server = servers[index]!;
      if (work.script === unchanged) {
        const etag = (await fetch(`http://127.0.0.1:${server.port}${work.path}`)).headers.get("etag") ?? '"none"';
        writeFileSync(unchanged, `wrk.headers["If-None-Match"] = ${JSON.stringify(etag)}\n`);
      }
      const { rate, cpu } = await round(server, work, 1);
      if (i < 0) continue; // warm-up
      results[index]!.rates.push(rate);
      results[index]!.cpus.push(cpu);
    }
  }
  const shown = results.map(({ rates, cpus }) => ({ rate: median(rates), cpu: median(cpus) }));
  const [ours, folder, file] = shown as [(typeof shown)[0], (typeof shown)[0], (typeof shown)[0]];
  const ratio = (a: number, b: number): string => (a / b).toFixed(2);
  const cells = shown.map(({ rate, cpu }) => `${Math.round(rate)} · ${cpu.toFixed(1)} µs`);
  console.log(
    `| ${work.name} | ${cells.join(" | ")} | ${ratio(ours.rate, folder.rate)}, ${ratio(ours.rate, file.rate)} | ${ratio(ours.cpu, folder.cpu)}, ${ratio(ours.cpu, file.cpu)} |`,
  );
}
for (const server of servers) server.stop();
