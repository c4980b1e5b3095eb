// The ring on its own, with 8 entries, so that every edge is near: order, room, whole chains, overflow, poison, the end.
// Assumes a kernel that gives rings. What a CQE may claim is forged by NOPs with a user_data of the test's choice.

import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SQE_WORDS } from "../../src/kernel/abi.ts";
import { stableAddress } from "../../src/kernel/address.ts";
import { AT_FDCWD, Opcode, SqeFlag, writeSqe } from "../../src/kernel/sqe.ts";
import type { RingThread } from "../../src/ring/context.ts";
import { LeasedMemory } from "../../src/ring/lease.ts";
import { highOfMany, LINK_SHIFT, lowOfMany, promiseFor } from "../../src/ring/operation.ts";
import type { Ring } from "../../src/ring/ring.ts";
import { run } from "../helpers/mounts.ts";
import {
  endThread,
  nop,
  outcomeWithin,
  parkRead,
  smallThread,
  stageForged,
  submitChain,
  submitOne,
  waitingOf,
} from "../helpers/small-ring.ts";
import { tmpDir } from "../helpers/tmp.ts";

const dir = tmpDir();
const EBADF = -9;
const ECANCELED = -125;
let names = 0;
let t: RingThread | null = null;
let fds: number[] = [];

function make(options?: { entries: number; cqEntries: number }): Ring {
  t = smallThread(options);
  return t.ring;
}

function fifo(): { path: string; feed(text: string): void } {
  const path = join(dir, `fifo-${names++}`);
  run("mkfifo", path);
  const fd = openSync(path, "r+");
  fds.push(fd);
  return { path, feed: (text) => void writeSync(fd, text) };
}

function park(ring: Ring, path: string): Promise<number> {
  const { read, fd } = parkRead(ring, path);
  fds.push(fd);
  return read;
}

afterEach(() => {
  if (t !== null) endThread(t);
  t = null;
  for (const fd of fds) closeSync(fd);
  fds = [];
});

describe("room", () => {
  test("10,000 operations on a ring of 8 all end, first in first out, and never more than the CQ holds at once", async () => {
    const ring = make();
    const order: number[] = [];
    let most = 0;
    const all = Array.from({ length: 10_000 }, async (_, i) => {
      const res = await nop(ring);
      most = Math.max(most, ring.inFlight);
      order.push(i);
      return res;
    });
    expect(new Set(await Promise.all(all))).toEqual(new Set([0]));
    expect(order).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
    expect(most).toBeLessThanOrEqual(ring.cqEntries);
    expect(ring.stats()).toMatchObject({ inFlight: 0, queued: 0, overflows: 0 });
    expect(ring.submitted).toBe(ring.completed);
    expect(waitingOf(ring)).toEqual([]);
  });

  test("what is queued behind parked reads waits for their CQEs, and loses nothing", async () => {
    const ring = make();
    const pipes = Array.from({ length: 8 }, fifo);
    const reads = pipes.map(({ path }) => park(ring, path));
    const later = Array.from({ length: 20 }, () => nop(ring));
    await Bun.sleep(20);
    expect(ring.stats()).toMatchObject({ inFlight: 8, queued: 20 });
    pipes[3]!.feed("x");
    expect(await reads[3]).toBe(1);
    expect(await Promise.all(later)).toEqual(Array(20).fill(0));
    for (const [i, pipe] of pipes.entries()) if (i !== 3) pipe.feed("yz");
    expect(await Promise.all(reads)).toEqual([2, 2, 2, 1, 2, 2, 2, 2]);
  });

  test("a cancellation gets through when the CQ is spoken for", async () => {
    const ring = make();
    const reads = Array.from({ length: 8 }, () => park(ring, fifo().path));
    await Bun.sleep(5);
    expect(ring.inFlight).toBe(8);
    const { slot, generation } = waitingOf(ring)[2]!;
    ring.cancel(slot, generation);
    expect(await reads[2]).toBe(ECANCELED);
    const rest = [0, 1, 3, 4, 5, 6, 7];
    for (const operation of waitingOf(ring)) ring.cancel(operation.slot, operation.generation);
    expect(await Promise.all(rest.map((i) => reads[i]))).toEqual(rest.map(() => ECANCELED));
  });
});

describe("chains", () => {
  test("are never cut, wherever the SQ ends", async () => {
    const ring = make();
    // Cut off from the READ that fails, a NOP would succeed instead of being cancelled.
    const links = [
      { opcode: Opcode.READ, fd: -1, view: Buffer.alloc(8) },
      { opcode: Opcode.NOP },
      { opcode: Opcode.NOP },
    ];
    for (let offset = 0; offset < 8; offset++) {
      const before = Array.from({ length: offset }, () => nop(ring));
      const chains = Array.from({ length: 30 }, () => submitChain(ring, links));
      for (const results of await Promise.all(chains)) expect(results).toEqual([EBADF, ECANCELED, ECANCELED]);
      await Promise.all(before);
    }
  });

  test("wait until there is room for all of their links", async () => {
    const ring = make();
    const pipes = Array.from({ length: 6 }, fifo);
    const reads = pipes.map(({ path }) => park(ring, path));
    const chain = submitChain(ring, [{ opcode: Opcode.READ }, { opcode: Opcode.NOP }, { opcode: Opcode.NOP }]);
    await Bun.sleep(10);
    expect(ring.stats()).toMatchObject({ inFlight: 6, queued: 3 });
    pipes[0]!.feed("1");
    expect(await chain).toEqual([EBADF, ECANCELED, ECANCELED]);
    for (const pipe of pipes.slice(1)) pipe.feed("1");
    await Promise.all(reads);
  });

  test("longer than the SQ stop the ring instead of waiting for ever", async () => {
    const ring = make();
    const chain = submitChain(
      ring,
      Array.from({ length: 9 }, () => ({ opcode: Opcode.NOP })),
    );
    expect(await outcomeWithin(chain)).toContain("a chain is longer than the SQ's 8 entries");
  });
});

test("a CQ that overflows gives every CQE in the end", async () => {
  const ring = make();
  (ring as { cqEntries: number }).cqEntries = 1000; // as if there were room: only so can it overflow
  const { path, feed } = fifo();
  const reads = Array.from({ length: 64 }, () => park(ring, path));
  await Bun.sleep(20);
  expect(ring.inFlight).toBe(64);
  feed("12345678".repeat(64));
  expect(await Promise.all(reads)).toEqual(Array(64).fill(8));
  expect(ring.stats().overflows).toBeGreaterThan(0);
  expect(ring.stats()).toMatchObject({ inFlight: 0, queued: 0 });
});

describe("an invariant broken", () => {
  const forgeries: [string, (ring: Ring) => Promise<void> | void][] = [
    ["a CQE of an earlier life", (ring) => stageForged(ring, waitingOf(ring)[0]!.slot, -5)],
    [
      "a second CQE",
      async (ring) => {
        const operation = ring.acquire((ended) => ring.operations.release(ended), 1);
        const { slot, generation } = operation;
        stageForged(ring, slot, generation);
        stageForged(ring, slot, generation);
      },
    ],
    ["a CQE for a slot that was never given out", (ring) => stageForged(ring, 0x12_3456, 1)],
  ];
  for (const [what, forge] of forgeries)
    test(`${what} stops the ring: what waits rejects, nobody gets another's result`, async () => {
      const ring = make();
      const pipe = fifo();
      const parked = park(ring, pipe.path);
      await Bun.sleep(5);
      await forge(ring);
      expect(await outcomeWithin(parked)).toMatch(
        /rejected: .*the ring is stopped, an invariant broke: a CQE for slot/,
      );
      expect(() => ring.acquire(() => {}, 1)).toThrow("the ring is stopped");
      expect(ring.poisoned).not.toBeNull();
      const { queued } = ring;
      ring.cancel(0, 1);
      expect(ring.queued).toBe(queued);
    });
});

describe("an operation that throws when it ends", () => {
  test("rejects alone; what comes with it and after it ends as ever, and its owner can close", async () => {
    const ring = make();
    const cause = new Error("mine");
    const owner = { inFlight: 1, closing: null as (() => void) | null };
    let closed = 0;
    owner.closing = () => closed++;
    const broken = ring.acquire(() => {
      throw cause;
    }, 1);
    broken.owner = owner;
    const told = promiseFor(broken);
    const before = nop(ring);
    stageForged(ring, broken.slot, broken.generation);
    const [behind, many] = [nop(ring), nop(ring)];
    expect(await told.catch((reason: Error) => reason)).toBe(cause);
    expect(await Promise.all([before, behind, many])).toEqual([0, 0, 0]);
    expect([ring.poisoned, closed, ring.operations.used]).toEqual([null, 1, 0]);
    expect(await nop(ring)).toBe(0);
  });

  test("of a batch: the batch rejects when all of it is back, and its slot is free", async () => {
    const ring = make();
    let calls = 0;
    const broken = ring.acquireMany(() => {
      if (++calls === 1) throw new Error("mine");
    }, 2);
    const told = promiseFor(broken);
    for (const index of [0, 1]) stageForged(ring, lowOfMany(broken), highOfMany(broken) + index);
    expect(await told.catch((reason: Error) => reason.message)).toBe("mine");
    expect(await nop(ring)).toBe(0);
    expect([ring.poisoned, calls]).toEqual([null, 2]);
  });

  test("one that throws after it has begun again, or ended, is not ended twice", async () => {
    const ring = make();
    let calls = 0;
    const broken = ring.acquire((operation) => {
      if (++calls === 2) ring.operations.release(operation);
      else {
        operation.pending = 1;
        stageForged(ring, operation.slot, operation.generation);
      }
      throw new Error(`call ${calls}`);
    }, 1);
    const told = promiseFor(broken);
    stageForged(ring, broken.slot, broken.generation);
    expect(await told.catch((reason: Error) => reason.message)).toBe("call 1");
    expect(await nop(ring)).toBe(0);
    expect([calls, ring.poisoned, ring.operations.used]).toEqual([2, null, 0]);
  });
});

describe("close", () => {
  test("cancels what is in the kernel, rejects it and what was never submitted, and lets files close", async () => {
    const ring = make();
    const pipe = fifo();
    const owner = { inFlight: 0, closing: null as (() => void) | null };
    const fd = openSync(pipe.path, "r+");
    fds.push(fd);
    const view = Buffer.alloc(8);
    const parked = submitOne(ring, { opcode: Opcode.READ, fd, view }, owner);
    await Bun.sleep(5);
    let closed = 0;
    owner.closing = () => closed++;
    const staged = nop(ring);
    expect(ring.close(1000)).toBe(0);
    expect(await outcomeWithin(parked)).toContain("the ring was closed before the operation ended");
    expect(await outcomeWithin(staged)).toContain("the ring was closed before the operation ended");
    expect(closed).toBe(1);
    expect(owner.inFlight).toBe(0);
    pipe.feed("late");
    await Bun.sleep(20);
    expect(view.every((byte) => byte === 0)).toBe(true);
  });

  for (const lost of [0, 1])
    test(`pool memory of ${lost === 0 ? "what was cancelled is free" : "what the kernel kept stays lent"}`, async () => {
      const ring = make();
      const memory = new LeasedMemory({ ring: null, fixedIndex: -1 });
      const reads = [park(ring, fifo().path), park(ring, fifo().path)];
      for (const operation of waitingOf(ring)) {
        operation.lease = memory;
        memory.inFlight++;
      }
      const { close } = ring.native;
      ring.native.close = (address, deadlineMs) => close(address, deadlineMs) || lost;
      expect(ring.close(1000)).toBe(lost);
      expect(memory.inFlight).toBe(lost === 0 ? 0 : 2);
      await Promise.allSettled(reads);
    });

  test("a second close does nothing, statistics stay readable, new operations are refused", () => {
    const ring = make();
    expect(ring.close(0)).toBe(0);
    expect(ring.close(0)).toBe(0);
    expect(ring.stats()).toMatchObject({ inFlight: 0, enters: 0 });
    expect(() => ring.acquire(() => {}, 1)).toThrow("this ring is closed");
  });

  test("a cancellation that comes too late reaches no kernel and no freed memory", async () => {
    const ring = make();
    const reads = Array.from({ length: 8 }, () => park(ring, fifo().path));
    await Bun.sleep(5);
    ring.close(1000);
    await Promise.allSettled(reads);
    const { queued } = ring;
    ring.cancel(0, 1);
    expect(ring.queued).toBe(queued);
  });
});

test("the staging area grows and keeps its order while SQEs wait in its middle", async () => {
  const ring = make({ entries: 8, cqEntries: 16 });
  const results: number[] = [];
  for (let wave = 0; wave < 50; wave++) {
    const some = Array.from({ length: 97 }, (_, i) => nop(ring).then(() => results.push(wave * 97 + i)));
    if (wave % 5 === 4) await Promise.all(some);
    else await Promise.resolve();
  }
  while (results.length < 50 * 97) await Bun.sleep(1);
  expect(results).toEqual(Array.from({ length: 50 * 97 }, (_, i) => i));
  expect(ring.words.length / 16).toBeGreaterThanOrEqual(256);
});

test("SQEs that belong together lie together, wherever the staging area ends", async () => {
  for (let before = 250; before <= 260; before++) {
    const ring = make();
    const nops = Array.from({ length: before }, () => nop(ring));
    const pair = ring.acquire((operation) => {
      if (operation.pending > 0) return;
      const { resolve } = operation;
      ring.operations.release(operation);
      resolve("both");
    }, 2);
    const both = promiseFor(pair);
    const { slot, generation } = pair;
    const first = ring.nextMany(2);
    for (let i = 0; i < 2; i++) {
      const flags = i === 0 ? SqeFlag.IO_LINK : 0;
      writeSqe(
        ring.words,
        first + i * SQE_WORDS,
        Opcode.NOP,
        flags,
        -1,
        0,
        0,
        0,
        0,
        slot | (i << LINK_SHIFT),
        generation,
      );
    }
    expect(ring.words.length).toBeGreaterThanOrEqual(first + 2 * SQE_WORDS);
    await Promise.all([...nops, both]);
    expect(ring.operations.used).toBe(0);
    endThread(t!);
    t = null;
  }
});

test("a forced thread does what the ring would have done itself", async () => {
  const ring = make();
  expect(await submitOne(ring, { opcode: Opcode.NOP, flags: SqeFlag.ASYNC })).toBe(0);
});

describe("what the helper gives back", () => {
  test("an open that has to wait is submitted in the next turn, not when something else is", async () => {
    const ring = make();
    const path = join(dir, `fifo-${names++}`);
    run("mkfifo", path);
    const address = stableAddress(Buffer.from(`${path}\0`.padEnd(1024, "\0")), 0);
    expect(ring.native.helperStart(ring.address, 64, 2)).toBe(0);
    const opening = ring.acquire((operation, res) => {
      ring.operations.release(operation);
      fds.push(res);
    }, 1);
    const i = ring.next();
    const { slot, generation } = opening;
    writeSqe(
      ring.words,
      i,
      Opcode.OPENAT,
      SqeFlag.HELPER,
      AT_FDCWD,
      0,
      address,
      0,
      constants.O_WRONLY,
      slot,
      generation,
    );
    const { enters } = ring.stats();
    while (ring.unsubmitted === 0 && ring.stats().enters === enters) ring.turn(1);
    expect(ring.unsubmitted).toBe(1); // the loop does not sleep upon it
    fds.push(openSync(path, "r+"));
    while (ring.inFlight > 0) ring.turn(1);
    expect(fds.at(-1)).toBeGreaterThan(0);
  });
});
