// Owns strace for the tests: failing chosen system calls of a child, and counting its calls between two marks.
// Assumes strace and the right to trace. The log goes to a folder that Strace.remove() takes away.
// Never counts what the child did before or after its own marks.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface StraceOptions {
  /** System calls to log (default io_uring_enter). Those of `inject` are logged as well. */
  trace?: string[];
  /** strace's own words, e.g. "io_uring_enter:error=EAGAIN:when=3..20+3". */
  inject?: string[];
  /** Only calls on this file, as /proc/<pid>/fd shows it: "anon_inode:[io_uring]" for the rings. Marks do not work then. */
  path?: string;
}

export interface Strace {
  /** Put before a command. The process id seen is strace's; the exit code is the command's. */
  readonly prefix: readonly string[];
  /** The logged lines, all of them once the child has ended. */
  lines(): string[];
  /** How often each call was made between mark("begin") and mark("end") of the child (cases.ts). */
  counts(): Record<string, number>;
  remove(): void;
}

const MARK_CALLS = ["access", "faccessat", "faccessat2"];

export function strace({ trace = ["io_uring_enter"], inject = [], path }: StraceOptions = {}): Strace {
  const dir = mkdtempSync(join(tmpdir(), "bun-uring-strace-"));
  const log = join(dir, "log");
  const calls = new Set([...trace, ...inject.map((rule) => rule.split(":")[0]!), ...MARK_CALLS]);
  // A kernel's architecture may lack one of the names; "?" lets strace pass over it.
  const traced = [...calls].map((name) => `?${name}`).join(",");
  const lines = (): string[] => (existsSync(log) ? readFileSync(log, "latin1").split("\n") : []);
  return {
    prefix: [
      ...["strace", "-f", "-qq", "-o", log, "-e", `trace=${traced}`, "-e", "signal=none"],
      ...(path === undefined ? [] : ["-P", path]),
      ...inject.flatMap((rule) => ["-e", `inject=${rule}`]),
    ],
    lines,
    counts: () => countBetweenMarks(lines()),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

function countBetweenMarks(lines: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  let inside = false;
  for (const line of lines) {
    if (line.includes("/bun-uring-mark/")) inside = line.includes("/bun-uring-mark/begin");
    else if (inside) {
      const call = /^\d+ +(\w+)\(/.exec(line)?.[1]; // "<… resumed>" lines are the same call again.
      if (call) counts[call] = (counts[call] ?? 0) + 1;
    }
  }
  return counts;
}
