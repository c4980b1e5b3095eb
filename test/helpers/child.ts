// Owns running one case of a fixture file (cases.ts) in a process of its own: where a fault may hang or crash, it does it there.
// Assumes Linux with util-linux' setpriv. A child dies with the test process, and with its whole group at the timeout.
// Never lets a child outlive its test: finished() or kill() is always awaited.

import { readLines } from "./lines.ts";

/** How many times as long as usual a child and its test may take: BUN_URING_PATIENCE, where processors are emulated. */
export const patience: number = Number(process.env.BUN_URING_PATIENCE ?? 1);
const diesWithParent = ["setpriv", "--pdeathsig=KILL", "--"];

export interface ChildOptions {
  /** What the case is called with (JSON). */
  input?: unknown;
  env?: Record<string, string | undefined>;
  /** Launchers before Bun: strace, seccomp, limits, another user, a cgroup. */
  prefix?: readonly string[];
  /** Bun's own flags. */
  flags?: readonly string[];
  /** Milliseconds until the child and its group are killed (default 20,000). */
  timeoutMs?: number;
}

export interface ChildEnd<T> {
  /** What the case returned; undefined when it did not come to that. */
  value: T | undefined;
  /** What the case threw. */
  error: { name: string; message: string; code?: string; stack?: string } | undefined;
  stdout: string;
  stderr: string;
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  wallMs: number;
  /** User and system time of the child, its threads and the launchers. */
  cpuMs: number;
}

export interface Child<T> {
  /** Process id: Bun's own, as all launchers but strace exec. */
  readonly pid: number;
  /** The value of the next event of this name; throws when the child ends without it. */
  event(name: string): Promise<any>;
  /** What has come from its stdout by now. */
  stdoutSoFar(): string;
  /** A signal to the process (not to its group). */
  kill(signal: NodeJS.Signals): void;
  finished(): Promise<ChildEnd<T>>;
}

export function startCase<T>(fixture: string, name: string, options: ChildOptions = {}): Child<T> {
  const { input = null, env = {}, prefix = [], flags = [], timeoutMs = 20_000 } = options;
  const launchers = prefix.length === 0 ? diesWithParent : [...diesWithParent, ...prefix];
  const startedMs = performance.now();
  const child = Bun.spawn([...launchers, process.execPath, ...flags, fixture, name, JSON.stringify(input)], {
    env: { ...process.env, HOME: "/tmp", BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true, // A group of its own, so that the timeout reaches grandchildren and strace's tracee.
  });
  const lines = readLines(child.stdout);
  const errors = readLines(child.stderr);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
  }, timeoutMs * patience);

  const end = async (): Promise<ChildEnd<T>> => {
    await child.exited;
    clearTimeout(timer);
    await Promise.all([lines.ended, errors.ended]);
    const stdout = lines.text();
    const usage = child.resourceUsage();
    return {
      value: message(stdout, "@result"),
      error: message(stdout, "@error"),
      stdout,
      stderr: errors.text(),
      exitCode: child.exitCode,
      signal: child.signalCode as NodeJS.Signals | null,
      timedOut,
      wallMs: performance.now() - startedMs,
      cpuMs: usage ? Number(usage.cpuTime.total) / 1000 : 0,
    };
  };
  const ended = end();

  return {
    pid: child.pid,
    async event(wanted) {
      const start = `@event ${wanted} `;
      const line = await lines.until((text) => text.startsWith(start));
      if (line === null) throw new Error(`the child ended before "${wanted}": ${describe(await ended)}`);
      return JSON.parse(line.slice(start.length));
    },
    stdoutSoFar: () => lines.text(),
    kill: (signal) => child.kill(signal),
    finished: () => ended,
  };
}

/** Runs a case to its end and gives its value; throws, with everything the child said, when it did not end well. */
export async function runCase<T>(fixture: string, name: string, options: ChildOptions = {}): Promise<T> {
  const end = await startCase<T>(fixture, name, options).finished();
  if (end.value === undefined || end.exitCode !== 0) throw new Error(`case ${name}: ${describe(end)}`);
  return end.value;
}

function message(stdout: string, kind: string): any {
  const line = stdout.split("\n").findLast((text) => text.startsWith(`${kind} `));
  return line === undefined ? undefined : JSON.parse(line.slice(kind.length + 1));
}

function describe({ exitCode, signal, timedOut, error, stdout, stderr }: ChildEnd<unknown>): string {
  const how = timedOut ? "timed out" : signal ? `killed by ${signal}` : `exit code ${exitCode}`;
  return [
    how,
    error?.stack ?? error?.message ?? "",
    `stdout: ${stdout.slice(-2000)}`,
    `stderr: ${stderr.slice(-2000)}`,
  ].join("\n");
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of it is gone.
  }
}
