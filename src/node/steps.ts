// Work in several steps that must not stop halfway where the thread ends: what is to be written is written on. As an async
// function, but its steps also go on when no microtask runs any more: then the end of the thread looks at the promise that
// is waited for, and takes the next step itself. Nothing of the user's is ever run in steps.
// Assumes that what is waited for settles without a microtask: an operation's own promise, or that of other steps.

import { atExit, Moved } from "./exit.ts";
import { fail, renewed } from "./late-error.ts";

/** What `await` is in an async function: `yield* done(promise)`. */
export type Steps<T> = Generator<Wait, T, unknown>;

interface Wait {
  readonly promise: Promise<unknown>;
  /** The value at the end of the thread, where the promise would not settle; null: it will. */
  readonly instead: { readonly value: unknown } | null;
}

const { peek } = Bun;
const underWay: Set<Run<any>> = new Set();
let isEndSeen = false;

export function* done<T>(promise: Promise<T>): Generator<Wait, T, unknown> {
  return (yield { promise, instead: null }) as T;
}

/** As `done`; at the end of the thread goes on with `value` while the promise is pending. */
export function* doneOr<T>(promise: Promise<T>, value: T): Generator<Wait, T, unknown> {
  return (yield { promise, instead: { value } }) as T;
}

/** Waits, and tells a failure as a value: it is to be passed over. */
export function* settled(promise: Promise<unknown>): Generator<Wait, void, unknown> {
  try {
    yield* done(promise);
  } catch {
    // passed over
  }
}

class Run<T> {
  readonly #steps: Steps<T>;
  #wait: Wait | null = null;
  resolve!: (value: T) => void;
  reject!: (reason: unknown) => void;

  constructor(steps: Steps<T>) {
    this.#steps = steps;
  }

  go(value: unknown, isError: boolean): void {
    let result: IteratorResult<Wait, T>;
    this.#wait = null;
    try {
      result = isError ? this.#steps.throw(value) : this.#steps.next(value);
    } catch (error) {
      underWay.delete(this);
      return fail(this, () => renewed(error));
    }
    if (result.done) {
      underWay.delete(this);
      return this.resolve(result.value);
    }
    const wait = result.value;
    this.#wait = wait;
    wait.promise.then(
      (fulfilled) => {
        if (this.#wait === wait) this.go(fulfilled, false);
      },
      (reason) => {
        if (this.#wait === wait) this.go(reason, true);
      },
    );
  }

  /** At the end of the thread. Returns whether a step was taken. */
  goOn(): boolean {
    const { promise, instead } = this.#wait!;
    const status = peek.status(promise);
    if (status === "pending" && instead === null) return false;
    this.go(status === "pending" ? instead!.value : peek(promise), status === "rejected");
    return true;
  }
}

/** Begins work in steps, or what `work` gives; the first step is taken at once. */
export function inSteps<T>(work: Steps<T> | (() => Steps<T>)): Promise<T> {
  const run = new Run(typeof work === "function" ? work() : work);
  const promise = new Promise<T>((resolve, reject) => {
    run.resolve = resolve;
    run.reject = reject;
  });
  if (!isEndSeen) {
    isEndSeen = true;
    atExit(takeSteps);
  }
  underWay.add(run);
  run.go(undefined, false);
  return promise;
}

/** At the end of the thread: the steps that can be taken now. */
export function takeSteps(): Moved {
  let moved: Moved = Moved.idle;
  for (let wentOn = true; wentOn; ) {
    wentOn = false;
    for (const run of [...underWay]) wentOn = run.goOn() || wentOn;
    if (wentOn) moved = Moved.moves;
  }
  return moved;
}
