// The end of a thread: process.exit(), in the process or in a Worker. What was asked for just before is begun then, and
// what can end soon is waited for, as a thread pool does it by chance: a logger's last line, a lock file's removal.
// Nothing of the user's runs here: promises are resolved, but no microtask comes any more. Work in several steps goes on
// (node/steps.ts), or is finished by blocking calls.

import { clockMs, queueMicrotask } from "./clock.ts";
import { isWorkRunning } from "./exit-calls.ts";

/** What a task has to say: it has nothing under way that is worth waiting for; it waits; it has done something. */
export const Moved = { idle: 0, waits: 1, moves: 2 } as const;
export type Moved = (typeof Moved)[keyof typeof Moved];

/** Does what it can do now. */
type Task = (elapsedMs: number) => Moved;

/** So long nothing may move, and so long all together may take. */
const [LIMIT_MS, TOTAL_MS] = [100, 1000];
/** Rounds after which it ends although no time has passed: the clock is a fake. */
const MAX_ROUNDS = 2000;

const tasks: Task[] = [];
const unfinished: Set<() => void> = new Set();
const cell = new Int32Array(new SharedArrayBuffer(4));
/** Known by other copies of the package, or each would go behind the other for ever. */
const OURS = Symbol.for("bun-uring.exit");
/** What `isExiting` says, for those who ask at every call. */
export let exiting = false;

/** Whether the thread is at its end: what is asked for now is done before the call returns, or never. */
export function isExiting(): boolean {
  return exiting;
}

const end = Object.assign(
  (): void => {
    exiting = true;
    const start = clockMs();
    let movedAt = 0;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const elapsedMs = clockMs() - start;
      let moved: Moved = Moved.idle;
      for (const task of tasks) moved = Math.max(moved, task(elapsedMs)) as Moved;
      const isOverdue = elapsedMs - movedAt > LIMIT_MS;
      // On a machine that has others to run, too, what is being done has not come to its end yet.
      if (moved === Moved.moves || (moved === Moved.waits && isOverdue && isWorkRunning())) movedAt = elapsedMs;
      if (moved === Moved.idle || elapsedMs - movedAt > LIMIT_MS || elapsedMs > TOTAL_MS) break;
      Atomics.wait(cell, 0, 0, round < 20 ? 0.05 : 0.5);
    }
    for (const finish of unfinished) {
      if (clockMs() - start > TOTAL_MS) break;
      try {
        finish();
      } catch {
        // nobody is left to hear of it
      }
    }
  },
  { [OURS]: true },
);

/** Before the listeners that there are: what they ask for is done by blocking calls, and not left to a pool that may be full. */
const begin = Object.assign(
  (): void => {
    exiting = true;
  },
  { [OURS]: true },
);

let isListening = false;
let isMoving = false;

/** Behind the listeners that there are: what they ask for counts, too. */
function goLast(): void {
  isMoving = false;
  process.off("exit", end);
  process.on("exit", end);
}

function listen(): void {
  if (isListening) return;
  isListening = true;
  process.prependListener("exit", begin);
  process.on("exit", end);
  process.on("newListener", (name: string | symbol, listener: object) => {
    if (name !== "exit" || OURS in listener || isMoving) return;
    isMoving = true;
    queueMicrotask(goLast);
  });
}

/**
 * Has `task` run at the end of this thread, again and again while one of the tasks has something under way: up to 100 ms
 * in which nothing moves.
 */
export function atExit(task: Task): void {
  tasks.push(task);
  listen();
}

/**
 * Has `finish`, a function of its own, do the whole of some work at the end of the thread by blocking calls, unless the work
 * has ended by then: when nothing moves any more, what is done already included. What it throws is passed over.
 */
export function finishAtExit<T>(work: Promise<T>, finish: () => void): Promise<T> {
  const ended = (): void => void unfinished.delete(finish);
  unfinished.add(finish);
  listen();
  work.then(ended, ended);
  return work;
}
