// One listener for all that wait for a signal, as long as anybody does.
// And what an abort through it must not do: keep the event loop from its turn.
// Assumes a temporary folder.

import { expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { open, readFile, writeFile } from "../../src/index.ts";
import { isAborted, isSignal, offAbort, onAbort, reasonOf } from "../../src/node/signal.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();

test("all are called once, in their order, those taken back not at all", () => {
  const controller = new AbortController();
  const called: number[] = [];
  const callbacks = [0, 1, 2, 3].map((i) => () => void called.push(i));
  for (const callback of callbacks) onAbort(controller.signal, callback);
  offAbort(controller.signal, callbacks[1]!);
  controller.abort();
  controller.abort();
  expect(called).toEqual([0, 2, 3]);
  for (const callback of callbacks) offAbort(controller.signal, callback);
});

test("one that is taken back by another's call is not called", () => {
  const controller = new AbortController();
  let called = 0;
  const last = (): void => void called++;
  onAbort(controller.signal, () => offAbort(controller.signal, last));
  onAbort(controller.signal, last);
  onAbort(controller.signal, () => called++);
  controller.abort();
  expect(called).toBe(1);
});

test("there is one listener while anybody waits, and none after", () => {
  const { signal } = new AbortController();
  const listeners = (): number => getEventListeners(signal, "abort").length;
  const callbacks = Array.from({ length: 100 }, () => () => {});
  for (const callback of callbacks) onAbort(signal, callback);
  expect(listeners()).toBe(1);
  for (const callback of callbacks) offAbort(signal, callback);
  expect(listeners()).toBe(0);
  onAbort(signal, callbacks[0]!);
  expect(listeners()).toBe(1);
});

test("a signal's own properties are not asked", () => {
  const controller = new AbortController();
  const { signal } = controller;
  const fail = (): never => {
    throw new Error("the user's code ran");
  };
  for (const name of ["aborted", "reason", "addEventListener", "removeEventListener"])
    Object.defineProperty(signal, name, { get: fail });
  expect(isSignal(signal)).toBe(true);
  let called = 0;
  onAbort(signal, () => called++);
  onAbort(signal, fail);
  offAbort(signal, fail);
  expect(isAborted(signal)).toBe(false);
  controller.abort("why");
  expect([called, isAborted(signal), reasonOf(signal)]).toEqual([1, true, "why"]);
});

test("a program that aborts what it asks for, again and again, gives the event loop its turn", async () => {
  const path = tmp.file("content");
  await using handle = await open(path);
  const aborted = async (start: (signal: AbortSignal) => Promise<unknown>): Promise<number> => {
    let turns = 0;
    let going = true;
    const count = (): void => {
      turns++;
      if (going) setImmediate(count);
    };
    setImmediate(count);
    for (let i = 0; i < 200; i++) {
      const controller = new AbortController();
      const started = start(controller.signal);
      controller.abort();
      await expect(started).rejects.toMatchObject({ name: "AbortError" });
    }
    going = false;
    return turns;
  };
  expect(await aborted((signal) => readFile(path, { signal }))).toBeGreaterThan(50);
  expect(await aborted((signal) => handle.read({ buffer: Buffer.alloc(8), signal }))).toBeGreaterThan(50);
  // A write ends when its CQEs have come, within the rounds that the loop gives to microtasks.
  expect(await aborted((signal) => writeFile(path, "content", { signal }))).toBeGreaterThan(2);
});
