// Owns looking at a process from outside: open descriptors, threads, CPU time, resident memory; and comparing two looks.
// Assumes /proc. Never counts the descriptor that the look itself used.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface Snapshot {
  /** Descriptor → what it points at. */
  fds: Map<number, string>;
  /** Thread id → name. */
  threads: Map<number, string>;
}

/** What a process holds now (default this one). */
export function snapshot(pid: number | "self" = "self"): Snapshot {
  return { fds: openFds(pid), threads: threads(pid) };
}

/** What `after` has more than `before`, as text to show in a failed assertion; empty lists when nothing is left over. */
export function leftOver(before: Snapshot, after: Snapshot): { fds: string[]; threads: string[] } {
  return { fds: added(before.fds, after.fds), threads: added(before.threads, after.threads) };
}

function added(before: Map<number, string>, after: Map<number, string>): string[] {
  return [...after].filter(([id, what]) => before.get(id) !== what).map(([id, what]) => `${id} ${what}`);
}

export function openFds(pid: number | "self" = "self"): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      found.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`));
    } catch {
      // The descriptor of this readdir: closed again by now.
    }
  }
  return found;
}

export function threads(pid: number | "self" = "self"): Map<number, string> {
  const found = new Map<number, string>();
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    try {
      found.set(Number(tid), readFileSync(`/proc/${pid}/task/${tid}/comm`, "latin1").trim());
    } catch {
      // It ended between the two calls.
    }
  }
  return found;
}

/** Names of threads but for those that come and go by themselves: Bun's pools, JavaScriptCore's helpers, io-wq's
 *  workers, and the package's helper, which ends when it has idled (lifetime/helper.test.ts). */
export function lastingThreads(pid: number | "self" = "self"): string[] {
  return [...threads(pid).values()]
    .filter((name) => !/^(Bun Pool|JIT|JSC|Heap|iou-|bun-uring)|ollector Thread/.test(name))
    .toSorted();
}

/** io-wq's worker threads: the kernel's helpers of a ring, seen as threads of the process. */
export function ioWorkers(pid: number | "self" = "self"): string[] {
  return [...threads(pid).values()].filter((name) => name.startsWith("iou-wrk"));
}

/** CPU time used so far by all threads that live, in milliseconds, exact to the nanosecond (proc(5), schedstat). */
export function cpuMs(pid: number): number {
  let ns = 0;
  for (const tid of threads(pid).keys()) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, "latin1").split(" ")[0]);
    } catch {
      // It ended between the two calls.
    }
  }
  return ns / 1e6;
}

/** Resident memory in bytes. */
export function residentBytes(pid: number | "self" = "self"): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * 4096;
}

/** Where the kernel has an open file's own position. */
export const positionOf = (fd: number): number =>
  Number(/pos:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))![1]);
