// Owns running a command with less: as another user, under resource limits, with io_uring refused.
// Assumes util-linux (setpriv, prlimit) and, for another user, root. Every prefix execs: the process id stays the child's own.
// Never changes this process.

import { constants } from "node:os";
import { tool } from "./tools.ts";

/** nobody: a user with no files and no processes of its own here. */
export const NOBODY = 65534;

/** The command runs as this user, without root's capabilities, and dies with its parent. */
export function asUser(uid: number = NOBODY): string[] {
  return ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--pdeathsig=KILL", "--"];
}

/** prlimit's names. */
export interface Limits {
  /** Open files. */
  nofile?: number;
  /** Tasks of the user (root is not counted). */
  nproc?: number;
  /** Bytes of locked memory (not for root). */
  memlock?: number;
  /** Bytes of a file. */
  fsize?: number;
}

/** The command runs under these limits, soft and hard. */
export function withLimits(limits: Limits): string[] {
  return ["prlimit", ...Object.entries(limits).map(([name, value]) => `--${name}=${value}`)];
}

/** System calls that can be refused: `register:N` is one operation of io_uring_register; the rest: seccomp-launch.c's words. */
type Refusable =
  | "setup"
  | "enter"
  | "register"
  | `register:${number}`
  | "openat2"
  | `${number}`
  | `${number}+`
  | `${number}@${string}`;

/**
 * The command's calls fail with these error codes, as under a container's seccomp profile; "kill" ends the process, "allow"
 * takes a call out of the rules that follow.
 */
export function refusingIoUring(calls: Partial<Record<Refusable, string>>): string[] {
  const numbers = constants.errno as Record<string, number>;
  const rules = Object.entries(calls).map(([call, code]) => `${call}=${numbers[code!] ?? code}`);
  return [tool("seccomp-launch"), ...rules, "--"];
}
