// Blocking calls for the end of a thread, when no callback comes any more: of what waits for no other process. And whether the
// thread pool has done what it had, which nobody tells then.
// Assumes that what the calls do is done anew: they may come upon what has been done in part.

import { bunFs } from "./bun-fs.ts";

type Path = string | Buffer;

/** Longer copies take too long then. */
const COPIED_BYTES = 64 * 1024 * 1024;

/** Whether a path is free, or a regular file's: what a blocking call can open without waiting for another process. */
export function isFreeOrFile(path: Path): boolean {
  const there = bunFs.statSync(path, { throwIfNoEntry: false });
  return there === undefined || there.isFile();
}

/** A copy from the beginning, of what can wait for nobody and does not take long. */
export function copyHere(from: Path, to: Path, mode?: number): void {
  const source = bunFs.statSync(from);
  if (source.isFile() && source.size <= COPIED_BYTES && isFreeOrFile(to)) bunFs.copyFileSync(from, to, mode);
}

/** What Bun's thread pool does: unknown where it can't be seen, and before it has a thread. */
export const PoolState = { unknown: 0, quiet: 1, busy: 2 } as const;
export type PoolState = (typeof PoolState)[keyof typeof PoolState];

/** Busy: one of its threads runs, or waits for a disk. One that waits for another process (a FIFO) does not count. */
export function poolState(): PoolState {
  let state: PoolState = PoolState.unknown;
  for (const thread of others()) {
    if (thread.isNew || thread.comm.startsWith("Bun Pool")) {
      if (/[RD]/.test(thread.state)) return PoolState.busy;
      if (!thread.isNew) state = PoolState.quiet;
    }
  }
  return state;
}

/** Whether a thread that works for others is running: Bun's pool, the kernel's for rings, the shim's helper. */
export function isWorkRunning(): boolean {
  for (const { comm, state, isNew } of others())
    if (state === "R" && (isNew || /^(Bun Pool|iou-wrk-|bun-uring)/.test(comm))) return true;
  return false;
}

interface Thread {
  comm: string;
  state: string;
  /** It has its maker's name until it runs. */
  isNew: boolean;
}

function* others(): Generator<Thread> {
  const [id, own] = threadAt("/proc/thread-self");
  for (const name of listed("/proc/self/task")) {
    const [other, comm, state] = threadAt(`/proc/self/task/${name}`);
    if (other !== id) yield { comm, state, isNew: comm === own && other !== String(process.pid) };
  }
}

/** Number, name and state of a thread, from "12 (Bun Pool 0) S 1 …"; empty for one that has ended. */
function threadAt(folder: string): [id: string, comm: string, state: string] {
  try {
    const stat = bunFs.readFileSync(`${folder}/stat`, "latin1");
    const [open, close] = [stat.indexOf("("), stat.lastIndexOf(")")];
    return [stat.slice(0, open - 1), stat.slice(open + 1, close), stat[close + 2]!];
  } catch {
    return ["", "", ""];
  }
}

function listed(folder: string): string[] {
  try {
    return bunFs.readdirSync(folder);
  } catch {
    return []; // no /proc
  }
}
