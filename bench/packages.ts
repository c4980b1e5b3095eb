// Published packages with Bun's own node:fs/promises and with this one in its place, alternating: `make bench-packages`.
// The packages are pinned in bench/packages/package.json and installed into build/packages when this runs first; they are no
// dependencies. Measures dist/, which is what is published, as "auto" does it. Fails if a result depends on whose functions they were.
// usage: bun bench/packages.ts [--rounds N] [--markdown] [NAME…]

import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

interface Round {
  ms: number;
  cpuMs: number;
  digest: string;
}

const root = join(import.meta.dir, "..");
const folder = join(root, "build/packages");
const args = process.argv.slice(2);
const rounds = args.includes("--rounds") ? Number(args[args.indexOf("--rounds") + 1]) : 5;
const asMarkdown = args.includes("--markdown");
const chosen = args.filter((arg, i) => !arg.startsWith("--") && args[i - 1] !== "--rounds");

function install(): void {
  mkdirSync(folder, { recursive: true });
  const manifest = readFileSync(join(import.meta.dir, "packages/package.json"), "utf8");
  const isThere =
    existsSync(join(folder, "node_modules")) &&
    existsSync(join(folder, "package.json")) &&
    readFileSync(join(folder, "package.json"), "utf8") === manifest;
  cpSync(join(import.meta.dir, "packages"), folder, { recursive: true });
  if (isThere) return;
  const { exitCode } = Bun.spawnSync(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], {
    cwd: folder,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (exitCode !== 0) {
    rmSync(join(folder, "node_modules"), { recursive: true, force: true });
    throw new Error("the packages could not be installed");
  }
}

function once(name: string, target: string): Round {
  const dir = mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "bun-uring-packages-"));
  const env = { ...process.env, PROMISES: target, BUN_URING_BACKEND: "auto" };
  const child = Bun.spawnSync([process.execPath, "--preload", "./in-place.mjs", "jobs.mjs", name, dir], {
    cwd: folder,
    env,
    stderr: "inherit",
  });
  rmSync(dir, { recursive: true, force: true });
  const line = child.stdout.toString().trimEnd().split("\n").at(-1) ?? "";
  if (child.exitCode !== 0 || !line.startsWith("{")) throw new Error(`${name} failed: ${line}`);
  return JSON.parse(line) as Round;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;
const mean = (values: number[]): number =>
  Math.exp(values.reduce((sum, one) => sum + Math.log(one), 0) / values.length);

install();
const jobs = readFileSync(join(folder, "jobs.mjs"), "utf8");
const names = [...jobs.matchAll(/^ {2}async "?([^"(]+)"?\(\)/gm)].map((match) => match[1]!);
const ours = join(root, "dist/promises.js");
const ratios: number[] = [];
let wrong = 0;
console.log(
  asMarkdown
    ? "| package | Bun | bun-uring | as fast as that | its CPU |"
    : "package, ms of Bun's and ours, ratio, CPU",
);
if (asMarkdown) console.log("| :-- | --: | --: | --: | --: |");
for (const name of chosen.length > 0 ? chosen : names) {
  const [bun, own]: [Round[], Round[]] = [[], []];
  for (let i = 0; i < rounds; i++) {
    // In turns, each the first every second time.
    if (i % 2 === 0) bun.push(once(name, ""));
    own.push(once(name, ours));
    if (i % 2 === 1) bun.push(once(name, ""));
  }
  if (new Set([...bun, ...own].map(({ digest }) => digest)).size > 1) {
    wrong++;
    console.log(`${name}: the results differ`);
    continue;
  }
  const of = (all: Round[], key: "ms" | "cpuMs"): number => median(all.map((round) => round[key]));
  const [theirs, mine, cpu] = [of(bun, "ms"), of(own, "ms"), of(own, "cpuMs") / of(bun, "cpuMs")];
  const ratio = theirs / mine;
  ratios.push(ratio);
  const cells = [
    name,
    `${theirs.toFixed(1)} ms`,
    `${mine.toFixed(1)} ms`,
    `${ratio.toFixed(2)} ×`,
    `${cpu.toFixed(2)} ×`,
  ];
  console.log(asMarkdown ? `| ${cells.join(" | ")} |` : cells.join("  "));
}
console.log(`\ngeometric mean ${mean(ratios).toFixed(2)}, median ${median(ratios).toFixed(2)}`);
process.exit(wrong > 0 ? 1 : 0);
