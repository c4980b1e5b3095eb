// One listener for all that wait for a signal, as long as anybody does.
// Assumes bun:test only.

import { expect, spyOn, test } from "bun:test";
import { offAbort, onAbort } from "../../src/signal.ts";

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
