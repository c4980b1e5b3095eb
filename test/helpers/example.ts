// Runs a program of examples/ as its user would, and waits for the address that it prints where it is a server.
// Assumes that it takes its port from PORT. Ends with the test that started it: by `await using`, or by SIGKILL.

import { join } from "node:path";
import { readLines } from "./lines.ts";

export interface Example extends AsyncDisposable {
  child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  /** Without the slash at its end; empty for what is no server. */
  url: string;
  port: number;
  lines: ReturnType<typeof readLines>;
}

export interface ExampleOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** Prints an address when it listens (default true). */
  serves?: boolean;
}

export async function startExample(name: string, args: string[], options: ExampleOptions = {}): Promise<Example> {
  const { env = {}, cwd, serves = true } = options;
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "..", "..", "examples", name), ...args], {
    env: { ...process.env, PORT: "0", ...env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
    ...(cwd !== undefined && { cwd }),
  });
  const lines = readLines(child.stdout);
  const address = serves ? await lines.next() : "";
  if (address === null) throw new Error(`${name} ended with ${await child.exited}`);
  return {
    child,
    url: address.trim().replace(/\/$/, ""),
    port: Number(/:(\d+)/.exec(address)?.[1]),
    lines,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
