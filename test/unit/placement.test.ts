// Owns where an operation runs, by what is under way: budgets of one submit and of one turn, who waits, when a helper is started.
// Assumes a ring and a loop that say what the test says. What it is worth is measured in bench/.

import { expect, test } from "bun:test";
import { SqeFlag } from "../../src/kernel/sqe.ts";
import type { Loop } from "../../src/ring/loop.ts";
import { Placement } from "../../src/ring/placement.ts";
import type { Ring } from "../../src/ring/ring.ts";
import type { Cells } from "../../src/ring/scratch.ts";

/** A placement, and what it sees. */
function placed() {
  const seen = { underWay: 0, isFirst: true, mayAnswer: true, started: [] as number[][] };
  const ring = {
    nativeCalls: 0,
    hasHelper: false,
    address: 1,
    native: { helperStart: (_: number, ...limits: number[]) => void seen.started.push(limits) },
  };
  const loop = { firstOfTurn: () => seen.isFirst, mayAnswerInline: () => seen.mayAnswer } as unknown as Loop;
  const cells = { hasPathsUnderWay: (few: number) => seen.underWay > few } as unknown as Cells;
  return { seen, ring, placement: new Placement(ring as unknown as Ring, loop, cells) };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("one submit copies so many bytes; the next one as many again", () => {
  const { placement, ring } = placed();
  const half = placement.inlineBytes / 2;
  const round = (): number[] => [half, half, 1, 1].map((length) => placement.transfer(length));
  expect(round()).toEqual([0, 0, SqeFlag.ASYNC, SqeFlag.ASYNC]);
  expect(round()).toEqual(Array(4).fill(SqeFlag.ASYNC));
  ring.nativeCalls++;
  expect(round()).toEqual([0, 0, SqeFlag.ASYNC, SqeFlag.ASYNC]);
});

test("alone is who is first of a turn and has little company", () => {
  const { placement, seen } = placed();
  const alone = (underWay: number, isFirst: boolean): boolean => {
    Object.assign(seen, { underWay, isFirst });
    return placement.isAlone();
  };
  expect([alone(0, true), alone(3, true), alone(4, true), alone(0, false)]).toEqual([true, true, false, false]);
});

test("who asks for later is served in order, in as many turns as it takes", async () => {
  const { placement, seen } = placed();
  const order: number[] = [];
  seen.mayAnswer = false; // one in each turn
  for (let i = 0; i < 4; i++) placement.callLater(1, () => order.push(i));
  expect([order.length, placement.hasLater]).toEqual([0, true]);
  await settled();
  expect(order).toEqual([0]);
  placement.callLater(1, () => order.push(4));
  for (let i = 0; i < 10 && placement.hasLater; i++) await settled();
  expect([order, placement.hasLater]).toEqual([[0, 1, 2, 3, 4], false]);
  seen.mayAnswer = true;
  for (let i = 5; i < 8; i++) placement.callLater(1, () => order.push(i));
  await settled();
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test("a helper is started when it would have had work for some time, and fewer of them than processors", () => {
  const { placement, ring, seen } = placed();
  for (let i = 0; i < 11; i++) expect(placement.punted()).toBe(0);
  expect(seen.started).toEqual([]);
  placement.punted();
  expect(seen.started.length).toBe(1);
  const [limit, processors] = seen.started[0] as [number, number];
  expect(limit).toBe(Math.min(3, Math.max(1, processors - 1)));
  ring.hasHelper = true;
  expect([placement.punted(), placement.mayWait()]).toEqual([SqeFlag.HELPER, true]);
  seen.isFirst = false;
  expect(placement.mayWait()).toBe(false);
});
