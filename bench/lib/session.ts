// Starts contenders, ceilings and commands, and asks each for one round at a time, so that rounds can be interleaved.
// Assumes Linux's /proc for the peak memory of a child. Never lets two of them work at the same moment.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command, FioJob, Round } from "./workload.ts";

/** Something that can be asked for a round; closed when the workload is done. */
export interface Session {
  /** `scratch` is the round's own folder. */
  round(ms: number, scratch: string): Promise<Round>;
  close(): Promise<void>;
}

const benchFolder = join(import.meta.dir, "..");
const buildFolder = join(benchFolder, "..", "build", "bench");
const nodeFolder = join(buildFolder, "node");

const PATIENCE_MS = 60_000;

/** A child process that answers a line with a line. */
class LineProcess {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #lines: AsyncIterator<string>;

  constructor(argv: readonly string[]) {
    this.#child = Bun.spawn([...argv], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    this.#lines = linesOf(this.#child.stdout);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The next line. A child that ended, or said nothing for a minute, is an error that tells its last words. */
  async read(): Promise<string> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#child.kill("SIGKILL");
    }, PATIENCE_MS);
    const { value, done } = await this.#lines.next();
    clearTimeout(timer);
    if (!done) return value;
    if (late) throw new Error(`no answer in ${PATIENCE_MS / 1000} s`);
    const words = (await new Response(this.#child.stderr).text()).trim().split("\n");
    throw new Error(words.find((line) => /error|:/i.test(line)) ?? words.at(-1) ?? "ended without a word");
  }

  async ask(line: string): Promise<string> {
    this.#child.stdin.write(`${line}\n`);
    await this.#child.stdin.flush();
    return await this.read();
  }

  async end(): Promise<void> {
    await this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 5000);
    await this.#child.exited;
    clearTimeout(timer);
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream as unknown as AsyncIterable<Uint8Array>) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** Sets the kernel's high-water mark of a process's memory back to what it uses now. */
function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

function peakBytes(pid: number): number {
  const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) * 1024;
}

async function withPeak(pid: number, round: () => Promise<Round>): Promise<Round> {
  resetPeak(pid);
  const measured = await round();
  return { ...measured, peakRssBytes: peakBytes(pid) };
}

async function scriptSession(child: LineProcess): Promise<Session> {
  return {
    round: (ms, scratch) => withPeak(child.pid, async () => JSON.parse(await child.ask(`${ms} ${scratch}`))),
    close: () => child.end(),
  };
}

/** A contender under this Bun. */
export async function contenderSession(
  workload: string,
  index: number,
  depth: number,
  folder: string,
): Promise<Session> {
  const module = join(benchFolder, "workloads", `${workload}.ts`);
  const script = join(import.meta.dir, "contender.ts");
  const child = new LineProcess([process.execPath, script, module, `${index}`, `${depth}`, folder]);
  await child.read();
  return await scriptSession(child);
}

/** The same contender under Node, from a bundle. */
export async function nodeSession(
  node: string,
  workload: string,
  index: number,
  depth: number,
  folder: string,
): Promise<Session> {
  const module = join(nodeFolder, "workloads", `${workload}.js`);
  const script = join(nodeFolder, "lib", "contender.js");
  const child = new LineProcess([node, "--expose-gc", script, module, `${index}`, `${depth}`, folder]);
  await child.read();
  return await scriptSession(child);
}

/** Bundles what Node has to run, since it may be too old to read TypeScript. */
export async function bundleForNode(workloads: readonly string[]): Promise<void> {
  await Bun.build({
    entrypoints: [
      join(import.meta.dir, "contender.ts"),
      ...workloads.map((name) => join(benchFolder, "workloads", `${name}.ts`)),
    ],
    root: benchFolder,
    outdir: nodeFolder,
    target: "node",
    splitting: true,
    external: ["../../src/*"],
  });
  writeFileSync(join(nodeFolder, "package.json"), '{ "type": "module" }\n');
}

/** The C program. */
export async function ceilingSession(program: string, depth: number, folder: string): Promise<Session> {
  const child = new LineProcess([join(buildFolder, "ceiling"), program, folder, `${depth}`]);
  const round = async (ms: number): Promise<Round> => {
    const { ns_per_op: nsPerOp, cpu_ns_per_op: cpuNsPerOp } = JSON.parse(await child.ask(`${ms}`));
    return { nsPerOp, cpuNsPerOp };
  };
  return { round: (ms) => withPeak(child.pid, () => round(ms)), close: () => child.end() };
}

/** A command, started anew for every round. */
export function commandSession(command: Command, folder: string, operations: number): Session {
  return {
    async round(_ms, scratch) {
      const start = Bun.nanoseconds();
      const child = Bun.spawn([...command.argv(folder, scratch)], {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
      });
      const code = await child.exited;
      const elapsed = Bun.nanoseconds() - start;
      if (code !== 0) throw new Error((await new Response(child.stderr).text()).trim());
      // Not its peak memory: a child's begins with what its parent had when it was forked.
      return {
        nsPerOp: elapsed / operations,
        cpuNsPerOp: (Number(child.resourceUsage()!.cpuTime.total) * 1000) / operations,
      };
    },
    close: async () => {},
  };
}

/** fio, started anew for every round; its own start-up is not part of what it reports. */
export function fioSession(job: FioJob, depth: number, folder: string): Session {
  return {
    async round(ms) {
      const argv = ["fio", "--name=bench", "--ioengine=io_uring", "--direct=1", "--fixedbufs", "--registerfiles"];
      argv.push(`--filename=${join(folder, job.file)}`, `--rw=${job.mode}`, `--bs=${job.block}`, `--iodepth=${depth}`);
      argv.push(
        "--time_based",
        `--runtime=${Math.round(ms)}ms`,
        "--output-format=json",
        "--norandommap",
        "--invalidate=0",
      );
      const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
      const output = await new Response(child.stdout).text();
      if ((await child.exited) !== 0) throw new Error((await new Response(child.stderr).text()).trim());
      const [result] = JSON.parse(output.slice(output.indexOf("{"))).jobs;
      const side = job.mode === "randread" ? result.read : result.write;
      const elapsed = side.runtime * 1e6;
      const busy = (result.usr_cpu + result.sys_cpu) / 100;
      return {
        nsPerOp: elapsed / side.total_ios,
        cpuNsPerOp: (elapsed * busy) / side.total_ios,
        p50Ns: side.clat_ns.percentile["50.000000"],
        p99Ns: side.clat_ns.percentile["99.000000"],
      };
    },
    close: async () => {},
  };
}
