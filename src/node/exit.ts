// The end of a thread: process.exit(), in the process or in a Worker. What was asked for just before is begun then, and
// what can end soon is waited for, as a thread pool does it by chance: a logger's last line, a lock file's removal.
// Nothing of the user's runs here: promises are resolved, but no microtask comes any more.

import { clockMs, queueMicrotask } from "./clock.ts";

/** Does what it can do now. Returns whether something is still under way that is worth waiting for. */
type Task = (elapsedMs: number) => boolean;

/** All that is waited for together. */
const LIMIT_MS = 100;
/** Rounds after which it ends although no time has passed: the clock is a fake. */
const MAX_ROUNDS = 2000;

const tasks: Task[] = [];
const last: (() => void)[] = [];
const cell = new Int32Array(new SharedArrayBuffer(4));
/** Known by other copies of the package, or each would go behind the other for ever. */
const OURS = Symbol.for("bun-uring.exit");
let exiting = false;

/** Whether the thread is at its end: what is asked for now is done before the call returns, or never. */
export function isExiting(): boolean {
  return exiting;
}

const end = Object.assign(
  (): void => {
    exiting = true;
    const start = clockMs();
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const elapsedMs = clockMs() - start;
      let isBusy = false;
      for (const task of tasks) isBusy = task(elapsedMs) || isBusy;
      if (!isBusy || elapsedMs > LIMIT_MS) break;
      Atomics.wait(cell, 0, 0, round < 20 ? 0.05 : 0.5);
    }
    for (const finish of last) finish();
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
  process.on("exit", end);
  process.on("newListener", (name: string | symbol, listener: object) => {
    if (name !== "exit" || OURS in listener || isMoving) return;
    isMoving = true;
    queueMicrotask(goLast);
  });
}

/** Has `task` run at the end of this thread, again and again while one of the tasks has something under way, up to 100 ms. */
export function atExit(task: Task): void {
  tasks.push(task);
  listen();
}

/** Has `finish` run once, when all tasks are done or their time is over. */
export function afterTasks(finish: () => void): void {
  last.push(finish);
  listen();
}
