// Owns what the tests on the kernel can't see of Draft and of slots with many CQEs: the words of 64-bit offsets, memory that
// comes back, CQEs of earlier lives. Assumes io_uring for the ring's cells; nothing is submitted here but to use them.

import { describe, expect, test } from "bun:test";
import { backend, Opcode, Ring } from "../../src/index.ts";
import { Draft } from "../../src/raw/encode.ts";
import { ringThread } from "../../src/ring/context.ts";
import { highOfMany, indexOfMany, lowOfMany, MAX_MANY, OperationTable } from "../../src/ring/operation.ts";
import type { Ring as InnerRing } from "../../src/ring/ring.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";

describeUnless(backend !== "io_uring" && "no ring", "Draft", () => {
  const thread = ringThread();

  test("writes offsets beyond 2^53 exactly", () => {
    if (!("cells" in thread)) throw new Error(thread.message);
    const context = {
      ring: thread.ring,
      shared: true,
      cells: thread.cells,
      opcodes: thread.setup.opcodes,
      slots: new Set<number>(),
      userDataOf: () => null,
    };
    const draft = new Draft(context);
    draft.add({ opcode: Opcode.READ, fd: 0, buffer: Buffer.alloc(8), offset: 2n ** 62n + 2n ** 33n + 5n });
    draft.add({ opcode: Opcode.READ, fd: 0, buffer: Buffer.alloc(8), offset: -1n });
    draft.add({ opcode: Opcode.READ, fd: 0, buffer: Buffer.alloc(8), offset: 2 ** 40 + 3 });
    const offsetAt = (n: number): number[] => [...draft.words.subarray(n * 16 + 2, n * 16 + 4)];
    expect([offsetAt(0), offsetAt(1), offsetAt(2)]).toEqual([
      [5, 2 ** 30 + 2],
      [0xffff_ffff, 0xffff_ffff],
      [3, 2 ** 8],
    ]);
    draft.release();
  });

  testUnless(lacking("UNLINKAT"), "gives every cell back, also after a mistake", async () => {
    if (!("cells" in thread)) throw new Error(thread.message);
    const { cells } = thread;
    let out = 0;
    const acquire = cells.acquire.bind(cells);
    const release = cells.release.bind(cells);
    cells.acquire = () => {
      out++;
      return acquire();
    };
    cells.release = (cell) => {
      out--;
      release(cell);
    };
    try {
      const ring = Ring.current();
      const unlink = { opcode: Opcode.UNLINKAT, path: "/nowhere/at/all" };
      await ring.batch([unlink, unlink, { opcode: Opcode.TIMEOUT, timeoutMs: 0 }]);
      await ring.batch([unlink, unlink, { opcode: Opcode.READ, fd: 0 }]).catch(() => {});
      await ring.submit(unlink, { signal: AbortSignal.abort() }).catch(() => {});
      expect(out).toBe(0);
    } finally {
      Object.assign(cells, { acquire, release });
    }
  });
});

describe("slots with many CQEs", () => {
  const nothing = (): void => {};

  test("find their operation by slot and life, whatever the index", () => {
    const table = new OperationTable({} as InnerRing);
    table.acquire(nothing, 1);
    const many = table.acquireMany(nothing, 3);
    const [low, high] = [lowOfMany(many), highOfMany(many)];
    for (const index of [0, 1, MAX_MANY - 1]) {
      expect(table.findMany(low, high + index)).toBe(many);
      expect(indexOfMany(high + index)).toBe(index);
      expect(table.find(low, high + index)).toBeNull();
    }
  });

  test("know CQEs of earlier lives, over all bits of a life", () => {
    const table = new OperationTable({} as InnerRing);
    const seen = new Set<string>();
    for (let life = 0; life < 10_000; life++) {
      const many = table.acquireMany(nothing, 1);
      expect(many.slot).toBe(0);
      const words: [number, number] = [lowOfMany(many), highOfMany(many)];
      seen.add(words.join());
      expect(table.findMany(...words)).toBe(many);
      table.releaseMany(many);
      expect(table.findMany(...words)).toBeNull();
      const next = table.acquireMany(nothing, 1);
      expect(table.findMany(...words)).toBeNull();
      table.releaseMany(next);
    }
    expect(seen.size).toBe(10_000);
  });

  test("are never taken for ordinary ones, nor the other way round", () => {
    const table = new OperationTable({} as InnerRing);
    const many = table.acquireMany(nothing, 1);
    table.releaseMany(many);
    const ordinary = table.acquire(nothing, 1);
    expect(ordinary.slot).not.toBe(many.slot);
    expect(table.findMany(ordinary.slot, ordinary.generation)).toBeNull();
    expect(table.find(many.slot, 1)).toBeNull();
  });
});
