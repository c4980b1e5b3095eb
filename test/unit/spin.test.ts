// How long a completion is looked for: learned from times, so that is all that is given here.
// Assumes no clock and no ring.

import { expect, test } from "bun:test";
import { Spin } from "../../src/ring/spin.ts";

/** Waits in turn for what takes `latencyUs`, where a sleep adds `wakeUs`; looks every `roundUs`. Returns the times looked out. */
function waits(patience: Spin, count: number, latencyUs: number, wakeUs: number, roundUs = 1): number {
  let lookedOut = 0;
  for (let i = 0; i < count; i++) {
    patience.begin(0);
    let atUs = 0;
    while (atUs < latencyUs && patience.maySpin(atUs / 1000)) atUs += roundUs;
    if (atUs >= latencyUs) {
      patience.seen(atUs / 1000);
      lookedOut++;
    } else patience.slept((latencyUs + wakeUs) / 1000);
  }
  return lookedOut;
}

test("what comes soon is looked for, what takes long is slept for but for a few", () => {
  expect(waits(new Spin(), 1000, 12, 10)).toBe(1000);
  const long = waits(new Spin(), 1000, 150, 10);
  expect(long).toBeGreaterThan(10);
  expect(long).toBeLessThan(100);
  expect(waits(new Spin(), 1000, 5000, 10)).toBe(0);
});

test("dear wake-ups do not make a quick thing look slow", () => {
  const patience = new Spin();
  waits(patience, 100, 900, 100); // something slow, slept for
  waits(patience, 200, 20, 100); // then something quick: the waits that are looked out show it
  expect(waits(patience, 100, 20, 100)).toBe(100);
});

test("where a wake-up is dear, longer ones are looked for; never longer than the bound", () => {
  const dear = new Spin();
  waits(dear, 600, 90, 150);
  expect(waits(dear, 100, 90, 150)).toBe(100);
  const cheap = new Spin();
  waits(cheap, 600, 90, 5);
  expect(waits(cheap, 100, 90, 5)).toBeLessThan(10);
  const bounded = new Spin();
  waits(bounded, 600, 300, 1000);
  expect(waits(bounded, 100, 300, 1000)).toBe(0);
});

test("bounds of zero and infinity hold", () => {
  const never = new Spin();
  never.spinUs = never.maxSpinUs = 0;
  expect(waits(never, 200, 5, 100)).toBe(0);
  const always = new Spin();
  always.spinUs = Number.POSITIVE_INFINITY;
  expect(waits(always, 50, 20_000, 1)).toBe(50);
});

test("a few that are late do not end the looking", () => {
  const patience = new Spin();
  waits(patience, 100, 20, 20);
  for (let i = 0; i < 100; i++) {
    expect(waits(patience, 1, i % 3 === 0 ? 190 : 20, 20)).toBe(i % 3 === 0 ? 0 : 1);
  }
});
