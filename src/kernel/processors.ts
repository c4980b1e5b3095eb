// How many processors this process can keep busy: what its affinity and the quotas of its cgroups leave of the machine's.
// Reads files of /proc and /sys each time it is asked; what can't be read limits nothing.

import { readFileSync } from "node:fs";
import { cpus } from "node:os";

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Processors in a list such as "0-3,8" (cpuset(7)); 0 for what is none. */
function countOfList(list: string): number {
  let count = 0;
  for (const range of list.trim().split(",")) {
    const [first, last = first] = range.split("-").map(Number);
    if (first !== undefined && Number.isInteger(first) && Number.isInteger(last)) count += last! - first + 1;
  }
  return count;
}

/** Processors that a quota is worth: "max 100000" or "50000 100000" (version 2), or the two files of version 1 in one. */
function processorsOfQuota(text: string): number {
  const [quota, period] = text.trim().split(/\s+/).map(Number);
  return quota! > 0 && period! > 0 ? quota! / period! : Number.POSITIVE_INFINITY;
}

/** The folder and those above it, up to the root of the hierarchy. */
function* upwards(root: string, path: string): Generator<string> {
  for (let rest = path; ; rest = rest.slice(0, rest.lastIndexOf("/"))) {
    yield root + (rest === "/" ? "" : rest);
    if (rest === "" || rest === "/") return;
  }
}

/** The smallest quota of this process's cgroups, in processors. */
function quota(): number {
  let least = Number.POSITIVE_INFINITY;
  for (const line of textOf("/proc/self/cgroup").split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    if (controllers === "") {
      for (const folder of upwards("/sys/fs/cgroup", path))
        least = Math.min(least, processorsOfQuota(textOf(`${folder}/cpu.max`)));
    } else if (controllers!.split(",").includes("cpu")) {
      for (const folder of upwards(`/sys/fs/cgroup/${controllers}`, path)) {
        const texts = [textOf(`${folder}/cpu.cfs_quota_us`), textOf(`${folder}/cpu.cfs_period_us`)];
        least = Math.min(least, processorsOfQuota(texts.join(" ")));
      }
    }
  }
  return least;
}

/** Whole processors that this process may use at a time, at least 1. */
export function availableProcessors(): number {
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(textOf("/proc/self/status"))?.[1];
  const own = allowed === undefined ? cpus().length : countOfList(allowed);
  return Math.max(1, Math.min(own, Math.floor(quota())));
}
