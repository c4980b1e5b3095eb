// Errors of what ends when its caller is no longer on the stack: they name the async functions that wait for it, as
// Bun's own do. JavaScriptCore collects those frames only for an error that is made in an async function, which every call
// would have to be; and for what a native promise rejects with, if that has no frames yet. So an operation that fails, and
// only one that fails, hands its promise to a native one: the read of a stream, which then errors.
// Assumes that what is made here is made by nobody's call: the frames that stood on the stack would be the completion loop's.

import { queueMicrotask } from "./clock.ts";
import { isExiting } from "./exit.ts";

// As they were at load: nothing of the program's may run where operations end.
const { ReadableStream } = globalThis;
const { getReader } = ReadableStream.prototype;
const { read } = globalThis.ReadableStreamDefaultReader.prototype;
const { error: errorStream } = globalThis.ReadableStreamDefaultController.prototype;
const descriptorOf = Object.getOwnPropertyDescriptor;

let controllerOfLast: ReadableStreamDefaultController | null = null;
const SOURCE: object = Object.assign(Object.create(null), {
  start: (controller: ReadableStreamDefaultController) => {
    controllerOfLast = controller;
  },
});

/** An error without frames, to which `rejection` gives those of who waits. */
export function late<E>(make: () => E): E {
  const limit = descriptorOf(Error, "stackTraceLimit");
  if (limit?.writable !== true) return make(); // a program has frozen it, or looks at who reads it
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = limit.value;
  }
}

/**
 * Rejects with `error` some microtasks later, when it is known who waits: resolve the operation's promise with it, or return it
 * from a callback of `then`. An error that has frames keeps them.
 */
export function rejection(error: unknown): Promise<never> {
  try {
    const stream = new ReadableStream(SOURCE);
    const controller = controllerOfLast!;
    controllerOfLast = null;
    const result = read.call(getReader.call(stream) as ReadableStreamDefaultReader);
    result.then(undefined, ignore); // the operation's promise may have settled before
    // One microtask until the promise that is resolved with this follows it, at most two.
    queueMicrotask(() => queueMicrotask(() => end(controller, error)));
    return result as Promise<never>;
  } catch {
    return Promise.reject(error); // no memory for all this
  }
}

/** Ends an operation with an error; at the end of the thread at once, since no microtask comes any more. */
export function fail(
  { resolve, reject }: { resolve: (value: any) => void; reject: (reason: unknown) => void },
  make: () => unknown,
): void {
  if (isExiting()) reject(make());
  else resolve(lateRejection(make));
}

/** `rejection` of an error that is made here. */
export function lateRejection(make: () => unknown): Promise<never> {
  return rejection(late(make));
}

/**
 * A failed system call's error once more and without frames, for another promise than that which rejected with it: work was
 * shared, or what stands between ends by its own rules. Anything else is returned as it is.
 */
export function renewed(error: unknown): unknown {
  const { errno, message } = error as NodeJS.ErrnoException;
  return typeof errno === "number" ? late(() => Object.assign(new Error(message), error)) : error;
}

/** `rejection` of an error that another promise has rejected with. */
export function passedOn(error: unknown): Promise<never> {
  return rejection(renewed(error));
}

const ignore = (): void => {};

function end(controller: ReadableStreamDefaultController, error: unknown): void {
  errorStream.call(controller, error);
  try {
    // Nobody waits in an async function: Node's error has its first line all the same.
    if (error instanceof Error && error.stack === undefined)
      Object.defineProperty(error, "stack", { value: String(error), writable: true, configurable: true });
  } catch {
    // the program's own prepareStackTrace has thrown
  }
}
