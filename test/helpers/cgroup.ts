// Owns the control groups (v1) of the tests: how many tasks, how much memory a child may have.
// Assumes root and the v1 hierarchies at /sys/fs/cgroup/{pids,memory}. A group goes with remove() and when this process dies.
// Never touches a group it did not make.

import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onDeath } from "./on-death.ts";

export interface Cgroup {
  /** Put before a command: it runs inside the group. */
  readonly prefix: readonly string[];
  /** Sets the limit: a number of tasks, or of bytes. */
  limit(value: number): void;
  /** What the group uses now, in the same unit. */
  usage(): number;
  /** Kills what is left inside and removes the group. */
  remove(): Promise<void>;
}

/** A limit on tasks: processes and threads, io-wq workers included. */
export function pidsCgroup(): Cgroup {
  return cgroup("pids", "pids.max", "pids.current");
}

/** A limit on memory, page cache included. */
export function memoryCgroup(): Cgroup {
  return cgroup("memory", "memory.limit_in_bytes", "memory.usage_in_bytes");
}

let made = 0;

function cgroup(controller: "pids" | "memory", limitFile: string, usageFile: string): Cgroup {
  const dir = `/sys/fs/cgroup/${controller}/bun-uring-test-${process.pid}-${made++}`;
  mkdirSync(dir);
  const emptied = 'while read -r p; do kill -9 "$p"; done < "$1/cgroup.procs"; sleep 0.2; rmdir "$1"';
  const guard = onDeath(emptied, dir);
  return {
    prefix: ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', dir],
    limit: (value) => writeFileSync(join(dir, limitFile), String(value)),
    usage: () => Number(readFileSync(join(dir, usageFile), "utf8")),
    async remove() {
      for (let tries = 0; tries < 100; tries++) {
        for (const pid of readFileSync(join(dir, "cgroup.procs"), "utf8").split("\n").filter(Boolean))
          kill(Number(pid));
        if (tryRemove(dir)) break;
        await Bun.sleep(20); // A killed task leaves its group only once it is reaped.
      }
      await guard.standDown();
    },
  };
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone by itself in the meantime.
  }
}

function tryRemove(dir: string): boolean {
  try {
    rmdirSync(dir);
    return true;
  } catch {
    return false;
  }
}
