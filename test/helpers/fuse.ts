// Owns a mounted file system whose answers a test can spoil: errors, short transfers, slowness, silence (fuse-server.c).
// Assumes root and /dev/fuse. The mount goes when stop() is called, when this process dies, and when the server is killed.
// Never touch the mount synchronously from the test's own thread while a hanging mode is on: use a child process.

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readLines } from "./lines.ts";
import { tool } from "./tools.ts";

export type FuseOperation = "read" | "write" | "fsync" | "open" | "getattr" | "lookup" | "rename" | "unlink" | "flush";

/** How requests are answered from now on. */
export interface FuseMode {
  /** error: `errno`. short: half of what was asked. slow: true, after `ms`. hang: not before the mode changes, an
   *  interrupt gets EINTR. hang-ignore: not even then. */
  mode: "ok" | "error" | "short" | "slow" | "hang" | "hang-ignore";
  /** For error: a positive number (default EIO). */
  errno?: number;
  /** For slow: milliseconds (default 100). */
  ms?: number;
  /** Which requests (default read, write and fsync). */
  ops?: FuseOperation[];
  /** Answer so many of them truly first (default 0). */
  after?: number;
  /** Spoil so many, then no more (default all). */
  count?: number;
}

export interface FuseStats {
  read: number;
  write: number;
  fsync: number;
  open: number;
  interrupt: number;
  /** Requests waiting for their answer. */
  held: number;
}

export interface Fuse {
  /** The mount point: one flat, empty directory to begin with, held in the server's memory. Files whose names begin with
   *  "cached" go through the page cache, where the kernel may make a reader wait; the others are answered as they come. */
  readonly path: string;
  readonly serverPid: number;
  mode(mode: FuseMode): Promise<void>;
  /** How long the kernel may keep names that it looks up from now on, in seconds (default 0). */
  cacheNames(seconds: number): Promise<void>;
  stats(): Promise<FuseStats>;
  /** Answers what is held with an error, unmounts, and waits for the server's end: by itself where it is held `using`. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startFuse(): Promise<Fuse> {
  const path = mkdtempSync(join(tmpdir(), "bun-uring-fuse-"));
  const server = Bun.spawn([tool("fuse-server"), path], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  const lines = readLines(server.stdout);
  if ((await lines.next()) !== "ready") {
    throw new Error(`fuse-server did not start: ${await new Response(server.stderr).text()}`);
  }
  const ask = async (line: string): Promise<string> => {
    server.stdin.write(`${line}\n`);
    await server.stdin.flush();
    const reply = await lines.next();
    if (reply === null) throw new Error(`fuse-server is gone: ${await new Response(server.stderr).text()}`);
    return reply;
  };
  const tell = async (line: string): Promise<void> => {
    const reply = await ask(line);
    if (reply !== "ok") throw new Error(`fuse-server: ${reply}`);
  };
  const stop = async (): Promise<void> => {
    await server.stdin.end();
    await server.exited;
  };
  return {
    path,
    serverPid: server.pid,
    mode: (mode) => tell(modeLine(mode)),
    cacheNames: (seconds) => tell(`cache ${seconds}`),
    async stats() {
      const pairs = (await ask("stats")).split(" ").map((pair) => pair.split("="));
      return Object.fromEntries(pairs.map(([name, value]) => [name, Number(value)])) as unknown as FuseStats;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function modeLine({ mode, errno, ms, ops, after, count }: FuseMode): string {
  const options = { errno, ms, ops: ops?.join(","), after, count };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return ["mode", mode, ...given.map(([name, value]) => `${name}=${value}`)].join(" ");
}
