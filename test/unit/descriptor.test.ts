// The table of direct descriptors: no slot twice, nobody overtaken, and however many wait, no recursion.
// Assumes no kernel: pure bookkeeping.

import { describe, expect, test } from "bun:test";
import { DirectTable } from "../../src/ring/direct-descriptors.ts";

test("slots are given once, then those who ask wait in line", () => {
  const table = new DirectTable(3);
  const taken = [table.tryAcquire(), table.tryAcquire(), table.tryAcquire()];
  expect(taken.toSorted()).toEqual([0, 1, 2]);
  expect(table.tryAcquire()).toBe(-1);
  expect(table.used).toBe(3);
  const got: [string, number][] = [];
  table.acquire((slot) => got.push(["first", slot]));
  table.acquire((slot) => got.push(["second", slot]));
  table.release(1);
  table.release(0);
  table.release(2);
  expect(got).toEqual([
    ["first", 1],
    ["second", 0],
  ]);
  expect(table.used).toBe(2);
});

test("who comes late does not overtake those who wait", () => {
  const table = new DirectTable(1);
  const order: string[] = [];
  table.acquire(() => order.push("holder"));
  table.acquire((slot) => {
    order.push("waiting");
    table.release(slot);
    expect(table.tryAcquire()).toBe(-1);
    table.acquire(() => order.push("asked last"));
  });
  table.acquire((slot) => {
    order.push("waiting too");
    table.release(slot);
  });
  table.release(0);
  expect(order).toEqual(["holder", "waiting", "waiting too", "asked last"]);
});

test("200,000 that give their slot back at once are served without one inside the other", () => {
  const table = new DirectTable(2);
  const slots = [table.tryAcquire(), table.tryAcquire()];
  let served = 0;
  for (let i = 0; i < 200_000; i++)
    table.acquire((slot) => {
      served++;
      table.release(slot);
    });
  for (const slot of slots) table.release(slot);
  expect(served).toBe(200_000);
  expect(table.used).toBe(0);
});

test("a callback that throws leaves the table in order", () => {
  const table = new DirectTable(1);
  const slot = table.tryAcquire();
  table.acquire(() => {
    throw new Error("not mine");
  });
  let later = -1;
  table.acquire((given) => {
    later = given;
  });
  expect(() => table.release(slot)).toThrow("not mine");
  table.release(slot);
  expect(later).toBe(0);
});

test("who steps out of the line is not called, and is not in the way", () => {
  const table = new DirectTable(1);
  const slot = table.tryAcquire();
  const got: string[] = [];
  const second = (): void => void got.push("second");
  table.acquire(() => got.push("first"));
  table.acquire(second);
  table.acquire(() => got.push("third"));
  table.leave(second);
  table.leave(second);
  table.release(slot);
  table.release(slot);
  expect(got).toEqual(["first", "third"]);
  expect(table.used).toBe(1);
});

test("where the kernel closes late nothing is written here, and reads are bounded", () => {
  const late = new DirectTable(8, false);
  expect(late.forWriting).toBe(false);
  const reads = Array.from({ length: 1000 }, () => late.forReading());
  expect(reads.filter(Boolean).length).toBe(256);
  const atOnce = new DirectTable(8);
  expect(atOnce.forWriting && Array.from({ length: 1000 }, () => atOnce.forReading()).every(Boolean)).toBe(true);
  const none = new DirectTable(0);
  expect([none.forWriting, none.forReading()]).toEqual([false, false]);
});

test("the end of the ring refuses who waits, each once, and who comes later", () => {
  const table = new DirectTable(2);
  table.acquire(() => {});
  table.acquire(() => {});
  const told: string[] = [];
  const refuse = (name: string) => (error: Error) => void told.push(`${name}: ${error.message}`);
  table.acquire(() => told.push("served"), refuse("package"));
  table.acquireForUser(1, true, () => told.push("served"), refuse("user"));
  table.stop(new Error("over"));
  table.stop(new Error("again"));
  table.release(0);
  table.acquire(() => told.push("served"), refuse("late"));
  expect(told).toEqual(["package: over", "user: over", "late: over"]);
  expect(table.tryAcquire()).toBe(-1);
});

describe("the user's requests", () => {
  const ignore = (): void => {};

  test("say what is missing where there is no table", () => {
    const ask = (): void => new DirectTable(0).acquireForUser(1, false, ignore, ignore);
    expect(ask).toThrow("a direct descriptor is unavailable: this ring has no table");
  });

  test("get all of their slots at once or none, and at most half of the table", () => {
    const table = new DirectTable(8);
    const got: number[][] = [];
    expect(() => table.acquireForUser(5, false, ignore, ignore)).toThrow("ENFILE");
    table.acquireForUser(3, false, (slots) => got.push(slots), ignore);
    table.acquireForUser(2, false, (slots) => got.push(slots), ignore); // 5 would be more than half
    expect(got.map(({ length }) => length)).toEqual([3]);
    expect(() => table.acquireForUser(1, true, ignore, ignore)).toThrow("ENFILE"); // 3 held, 2 wanted
    table.release(got[0]![0]!);
    expect(got.map(({ length }) => length)).toEqual([3, 2]);
    expect(new Set(got.flat()).size).toBe(5 - 1);
    expect(table.users.size).toBe(4);
  });

  test("never keep the package's own from a slot", () => {
    const table = new DirectTable(4);
    const held = [table.tryAcquire(), table.tryAcquire(), table.tryAcquire()];
    const order: string[] = [];
    table.acquireForUser(2, false, () => order.push("two"), ignore);
    table.acquireForUser(1, false, () => order.push("one"), ignore);
    table.acquire(() => order.push("package"));
    expect(order).toEqual(["package"]); // one was free, and the user wants two
    table.acquire(() => order.push("late"));
    table.release(held[0]!);
    expect(order).toEqual(["package", "late"]);
    table.release(held[1]!);
    table.release(held[2]!);
    expect(order).toEqual(["package", "late", "two"]); // two is half
  });

  test("that leave the line make room for those behind", () => {
    const table = new DirectTable(4);
    const held = [table.tryAcquire(), table.tryAcquire(), table.tryAcquire()];
    const order: string[] = [];
    const big = (): void => void order.push("big");
    table.acquireForUser(2, false, big, ignore);
    table.acquireForUser(1, false, () => order.push("small"), ignore);
    expect(order).toEqual([]);
    table.leave(big);
    expect(order).toEqual(["small"]);
    expect(held).toHaveLength(3);
  });
});
