// One listener for all that wait for a signal, as long as anybody does.
// And what an abort through it must not do: keep the event loop from its turn.
// Assumes a temporary folder.

import { expect, spyOn, test } from "bun:test";
import { open, readFile, writeFile } from "../../src/index.ts";
import { offAbort, onAbort } from "../../src/node/signal.ts";
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
  const add = spyOn(signal, "addEventListener");
  const remove = spyOn(signal, "removeEventListener");
  const callbacks = Array.from({ length: 100 }, () => () => {});
  for (const callback of callbacks) onAbort(signal, callback);
  expect(add).toHaveBeenCalledTimes(1);
  for (const callback of callbacks) offAbort(signal, callback);
  expect(remove).toHaveBeenCalledTimes(1);
  expect(remove.mock.calls[0]![1]).toBe(add.mock.calls[0]![1]);
  onAbort(signal, callbacks[0]!);
  expect(add).toHaveBeenCalledTimes(2);
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
