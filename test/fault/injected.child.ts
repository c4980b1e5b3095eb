// Owns the cases of injected.test.ts: every public function with its 1st completion gone wrong, then its 2nd, … until a
// run sees no fault; and a look, after each run, at all tables of the ring for what was not given back.
// Assumes the fault build as this process's shim, and io_uring.
// Never shares a folder between runs: what a failed call left behind is not the next one's business.

import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { thread } from "../../src/backend/uring/request.ts";
import * as fs from "../../src/index.ts";
import { errnoCode } from "../../src/node/errors.ts";
import { existingThread, type RingThread } from "../../src/ring/context.ts";
import { runCases } from "../helpers/cases.ts";
import { clearFaults, type FaultAction, faultHits, setFaults } from "../helpers/fault-shim.ts";
import { openFds } from "../helpers/fds.ts";
import { FUNCTIONS, Wrong } from "./functions.ts";

export interface Plan {
  dir: string;
  action: FaultAction;
  /** Only completions of this opcode. */
  opcode?: number;
  /** From the nth on all, not only the nth. */
  forGood?: boolean;
  /** Names of functions; all by default, but for those that this kernel lacks. */
  only?: string[];
  lacking?: string[];
  seed?: number;
  chance?: number;
}

export interface Report {
  /** What was not as it must be, each with the function and the number of the completion. */
  wrong: string[];
  /** Runs in which a completion was hit. */
  hits: number;
  /** Of these, the ones in which the function said so. */
  rejected: number;
  /** Functions that resolved though a completion of theirs had failed. */
  untold?: string[];
}

const MOST = 400;
const [EAGAIN, ECANCELED] = [-11, -125];

/** Eventfds of ended jobs that a ring keeps for the next ones: SPARE_WAKES of the shim. How many there are just now depends on
 * how many jobs have run at once, so that only more than these are left over. */
const SPARE_WAKES = 4;
const isEventfd = (target: string): boolean => target === "anon_inode:[eventfd]";
const eventfds = (): number => [...openFds().values()].filter(isEventfd).length;
const eventfdsAtStart = eventfds();

/** What the ring's tables have out, and the process's descriptors. */
function held(t: RingThread): Record<string, number> {
  const { inFlight, queued } = t.ring.stats();
  const wakes = eventfds();
  return {
    inFlight,
    queued,
    slots: t.ring.operations.used,
    cells: t.cells.used,
    readBuffers: t.readBuffers.used,
    direct: t.direct.used,
    directFiles: filesInTable(),
    fds: openFds().size - wakes,
    wakes: Math.max(0, wakes - eventfdsAtStart - SPARE_WAKES),
  };
}

/** Files in the rings' tables of direct descriptors, as the kernel shows them. */
function filesInTable(): number {
  let files = 0;
  for (const [fd, target] of openFds()) {
    if (target !== "anon_inode:[io_uring]") continue;
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, "latin1");
    const table = /^UserFiles:.*\n((?: +\d+: .*\n)*)/m.exec(info)?.[1] ?? "";
    files += table.split("\n").filter((line) => /: (?!<none>)\S/.test(line)).length;
  }
  return files;
}

/** Waits, not for ever, until all is as it was; what is not. */
async function leftOver(t: RingThread, before: Record<string, number>): Promise<string[]> {
  for (let round = 0; ; round++) {
    const now = held(t);
    const more = Object.keys(now).filter((name) => now[name]! > before[name]!);
    if (more.length === 0 || round === 100) return more.map((name) => `${name} ${before[name]} -> ${now[name]}`);
    await Bun.sleep(round < 20 ? 1 : 20);
  }
}

/** The ring of this thread, told to answer nothing without a completion. */
async function ringOnly(): Promise<RingThread> {
  const t = thread();
  t.loop.limits.inlineUs = 0;
  (t.native as { readCached: unknown }).readCached = () => EAGAIN; // nor by plain calls in the loop's next turn
  // The doorbell is made at the first sleep: before descriptors are counted.
  for (let i = 0; i < 200 && fs.capabilities().doorbell === null; i++) {
    const { resolve, promise } = Promise.withResolvers<void>();
    void fs.Ring.current()
      .submit({ opcode: fs.Opcode.TIMEOUT, timeoutMs: 5 })
      .then(() => resolve());
    await promise;
  }
  return t;
}

/** What a promise came to, counted: more than one settlement is impossible, none is not. */
type End = { value: unknown } | { error: any } | "pending";

function ended(promise: Promise<unknown>, ms: number): Promise<End> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("pending"), ms);
    const settle = (end: End): void => {
      clearTimeout(timer);
      resolve(end);
    };
    promise.then(
      (value) => settle({ value }),
      (error) => settle({ error }),
    );
  });
}

/** Why the error is not what this fault must look like; null if it is. */
function misfit(error: any, action: FaultAction): string | null {
  if (error instanceof Wrong) return error.message;
  if (!("result" in action)) return `rejected: ${error?.stack ?? error}`;
  // ECANCELED that nobody asked for is told as EAGAIN, a thread was wanting; but for a Ring's own results.
  const told = action.result === ECANCELED && error?.syscall !== "ring" ? EAGAIN : action.result;
  const code = errnoCode(told);
  const { errno, syscall, message } = error ?? {};
  const fits =
    error instanceof Error &&
    error.name !== "AbortError" &&
    (error as any).code === code &&
    errno === told &&
    typeof syscall === "string" &&
    message.startsWith(`${code}: `);
  return fits ? null : `rejected with ${error?.name} ${error?.code} ${errno} ${syscall} "${message}"`;
}

let folders = 0;
function folder(parent: string): string {
  const dir = `${parent}/run${folders++}`;
  mkdirSync(dir);
  return dir;
}

const chosen = ({ only, lacking }: Plan): [string, (dir: string) => Promise<void>][] =>
  Object.entries(FUNCTIONS).filter(([name]) => !lacking?.includes(name) && (only === undefined || only.includes(name)));

await runCases({
  /** A fault that a call survives or is told of. */
  async settling(plan: Plan): Promise<Report> {
    const t = await ringOnly();
    const report: Report = { wrong: [], hits: 0, rejected: 0 };
    const untold = new Set<string>();
    for (const [name, scenario] of chosen(plan)) {
      await scenario(folder(plan.dir)); // once without a fault: caches and pools that stay are made
      for (let nth = 1; nth <= MOST; nth++) {
        const dir = folder(plan.dir);
        const before = held(t);
        const { action, opcode = -1, forGood } = plan;
        setFaults(t.ring, [{ ...action, opcode, nth, times: forGood ? Number.POSITIVE_INFINITY : 1 }]);
        const end = await ended(scenario(dir), 15_000);
        const hits = faultHits(t.ring);
        clearFaults(t.ring);
        const where = `${name}, completion ${nth}`;
        if (end === "pending") report.wrong.push(`${where}: has not settled`);
        else if ("error" in end) {
          report.rejected++;
          const why = hits === 0 ? `rejected without a fault: ${end.error?.stack}` : misfit(end.error, plan.action);
          if (why !== null) report.wrong.push(`${where}: ${why}`);
        } else if (hits > 0) untold.add(name);
        for (const what of await leftOver(t, before)) report.wrong.push(`${where}: left ${what}`);
        if (t.ring.poisoned !== null) report.wrong.push(`${where}: ${t.ring.poisoned}`);
        rmSync(dir, { recursive: true, force: true });
        if (hits === 0) break;
        report.hits++;
      }
      if (report.wrong.length > 20) break;
    }
    return { ...report, untold: [...untold].toSorted() };
  },

  /** A completion that never comes: the call waits, all others go on, and shutdown() ends both. */
  async dropped(plan: Plan): Promise<Report> {
    const report: Report = { wrong: [], hits: 0, rejected: 0 };
    for (const [name, scenario] of chosen(plan)) {
      for (let nth = 1; nth <= MOST; nth++) {
        const dir = folder(plan.dir);
        await fs.shutdown();
        const fds = openFds().size;
        const t = thread();
        t.loop.limits.inlineUs = 0;
        setFaults(t.ring, [{ drop: true, nth }]);
        const call = ended(scenario(dir), 15_000);
        let over = false;
        void call.then(() => {
          over = true;
        });
        while (!over && faultHits(t.ring) === 0) await Bun.sleep(1);
        const hits = faultHits(t.ring);
        clearFaults(t.ring);
        const where = `${name}, completion ${nth}`;
        const other = await ended(fs.readFile(import.meta.path), 5000);
        if (!(other !== "pending" && "value" in other))
          report.wrong.push(`${where}: another call ${JSON.stringify(other)}`);
        const down = await ended(fs.shutdown({ timeoutMs: 10 }), 5000);
        if (down === "pending") report.wrong.push(`${where}: shutdown() has not ended`);
        const end = await call;
        if (end === "pending") report.wrong.push(`${where}: has not settled`);
        else if ("error" in end) report.rejected++;
        await fs.shutdown({ timeoutMs: 10 });
        const after = openFds().size;
        if (after !== fds) report.wrong.push(`${where}: fds ${fds} -> ${after}: ${[...openFds().values()].slice(-4)}`);
        rmSync(dir, { recursive: true, force: true });
        if (hits === 0) break;
        report.hits++;
      }
      if (report.wrong.length > 20) break;
    }
    return report;
  },

  /** A completion that can't be: the ring stops, everything rejects saying so, and after shutdown() all is well. */
  async impossible(plan: Plan): Promise<Report> {
    const report: Report = { wrong: [], hits: 0, rejected: 0 };
    for (const [name, scenario] of chosen(plan)) {
      for (let nth = 1; nth <= MOST; nth++) {
        const dir = folder(plan.dir);
        await fs.shutdown();
        const fds = openFds().size;
        const t = thread();
        t.loop.limits.inlineUs = 0;
        setFaults(t.ring, [{ ...plan.action, nth }]);
        const beside = [ended(fs.stat(dir), 15_000), ended(fs.readFile(import.meta.path), 15_000)];
        const end = await ended(scenario(dir), 15_000);
        const hits = faultHits(t.ring);
        const where = `${name}, completion ${nth}`;
        if (end === "pending") report.wrong.push(`${where}: has not settled`);
        else if ("error" in end) {
          report.rejected++;
          const { message } = end.error;
          if (!/an invariant broke|closed/.test(message))
            report.wrong.push(`${where}: rejected with ${end.error?.stack}`);
        }
        for (const one of await Promise.all(beside))
          if (one === "pending") report.wrong.push(`${where}: a call beside it hangs`);
        if (hits > 0 && existingThread() === t) {
          if (t.ring.poisoned === null) await ended(fs.stat(dir), 5000); // the late one comes with the next
          if (t.ring.poisoned === null) report.wrong.push(`${where}: the ring goes on`);
          const next = await ended(fs.stat(dir), 5000);
          if (next === "pending" || !("error" in next) || !/an invariant broke/.test(next.error?.message))
            report.wrong.push(`${where}: the next call ended ${JSON.stringify(next)}`);
        }
        if ((await ended(fs.shutdown({ timeoutMs: 10 }), 5000)) === "pending")
          report.wrong.push(`${where}: shutdown() hangs`);
        const again = await ended(fs.mkdir(`${dir}/again`), 5000);
        if (again === "pending" || "error" in again) report.wrong.push(`${where}: afterwards ${JSON.stringify(again)}`);
        await fs.shutdown();
        const after = openFds().size;
        // An open that the kernel had done when the ring stopped has brought a descriptor that nobody heard of.
        if (after > fds + 1)
          report.wrong.push(`${where}: fds ${fds} -> ${after}: ${[...openFds().values()].slice(-4)}`);
        rmSync(dir, { recursive: true, force: true });
        if (hits === 0) break;
        report.hits++;
      }
      if (report.wrong.length > 20) break;
    }
    return report;
  },

  /** Completions gone wrong by chance, many calls at once. The seed names the run. */
  async storm({ dir, seed = 1, chance = 20_000, ...plan }: Plan): Promise<Report & { seen: number }> {
    const t = await ringOnly();
    const report = { wrong: [] as string[], hits: 0, rejected: 0, seen: 0 };
    const scenarios = chosen({ dir, ...plan });
    for (const [, scenario] of scenarios) await scenario(folder(dir));
    const before = held(t);
    const results = [-5, -12, -4, -11, -28].map((result) => ({
      result,
      nth: 0,
      chance,
      times: Number.POSITIVE_INFINITY,
    }));
    const delays = [{ delayMs: 2, nth: 0, chance: chance * 2, times: Number.POSITIVE_INFINITY }];
    const shorts = [{ shortTo: 700, nth: 0, chance: chance * 2, times: Number.POSITIVE_INFINITY }];
    setFaults(t.ring, [...results, ...delays, ...shorts], seed);
    for (let round = 0; round < 6; round++) {
      const ends = await Promise.all(scenarios.map(([, scenario]) => ended(scenario(folder(dir)), 15_000)));
      ends.forEach((end, i) => {
        report.seen++;
        if (end === "pending") report.wrong.push(`${scenarios[i]![0]}: has not settled (seed ${seed})`);
        else if ("error" in end) {
          report.rejected++;
          if (end.error instanceof Wrong || !["EIO", "ENOMEM", "EINTR", "EAGAIN", "ENOSPC"].includes(end.error?.code))
            report.wrong.push(`${scenarios[i]![0]}: ${end.error?.stack} (seed ${seed})`);
        }
      });
    }
    for (let i = 0; i < 7; i++) report.hits += faultHits(t.ring, i);
    clearFaults(t.ring);
    for (const what of await leftOver(t, before)) report.wrong.push(`left ${what} (seed ${seed})`);
    for (const name of readdirSync(dir)) rmSync(`${dir}/${name}`, { recursive: true, force: true });
    return report;
  },
});
