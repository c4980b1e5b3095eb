// The operation table: a slot serves one life at a time, and a CQE of another life finds nobody (docs/architecture.md 3.6).
// Assumes no kernel: pure bookkeeping.

import { describe, expect, test } from "bun:test";
import {
  end,
  highOfMany,
  indexOfMany,
  lowOfMany,
  OperationTable,
  promiseFor,
  SLOT_MASK,
} from "../../src/ring/operation.ts";
import type { Ring as InnerRing } from "../../src/ring/ring.ts";

const ignore = (): void => {};

test("an operation that ends gives back all that it had, and lets its file close", () => {
  const given: string[] = [];
  const table = new OperationTable({} as InnerRing);
  const operation = table.acquire(ignore, 1);
  const note = (what: string) => (): void => void given.push(what);
  Object.assign(operation, {
    ring: { operations: table },
    owner: { inFlight: 1, closing: note("file") },
    cell: { cells: { release: note("cell") } },
    lease: { release: note("lease") },
    standIn: { release: note("stand-in") },
    remote: { leave: note("remote") },
  });
  end(operation);
  expect(given.toSorted()).toEqual(["cell", "file", "lease", "remote", "stand-in"]);
  expect(table.used).toBe(0);
});

describe("ordinary slots", () => {
  test("a slot is found by slot and generation while it waits, by any link", () => {
    const table = new OperationTable({} as InnerRing);
    const operation = table.acquire(ignore, 2);
    expect(table.find(operation.slot, operation.generation)).toBe(operation);
    expect(table.find(operation.slot | (3 << 24), operation.generation)).toBe(operation);
  });

  test("no slot is found that is unknown, of another life, or waits for nothing", () => {
    const table = new OperationTable({} as InnerRing);
    const operation = table.acquire(ignore, 1);
    const { slot, generation } = operation;
    expect(table.find(slot + 1, generation)).toBeNull();
    expect(table.find(SLOT_MASK, generation)).toBeNull();
    expect(table.find(slot, generation + 1)).toBeNull();
    operation.pending = 0;
    expect(table.find(slot, generation)).toBeNull();
  });

  test("a freed slot is used again under another generation", () => {
    const table = new OperationTable({} as InnerRing);
    const first = table.acquire(ignore, 1);
    const { generation } = first;
    table.release(first);
    const second = table.acquire(ignore, 1);
    expect(second).toBe(first);
    expect(second.generation).not.toBe(generation);
    expect(table.find(second.slot, generation)).toBeNull();
  });

  test("generations stay what a CQE's 32 bits bring back, also when they wrap", () => {
    const table = new OperationTable({} as InnerRing);
    const operation = table.acquire(ignore, 1);
    operation.generation = 0x7fff_ffff;
    table.release(operation);
    expect(table.acquire(ignore, 1).generation).toBe(new Int32Array(Uint32Array.of(0x8000_0000).buffer)[0]!);
  });

  test("nothing of an earlier life stays reachable", () => {
    const table = new OperationTable({} as InnerRing);
    const operation = table.acquire(ignore, 1);
    const fresh = { ...operation };
    promiseFor(operation);
    Object.assign(operation, {
      owner: { inFlight: 1, closing: null },
      view: new Uint8Array(1),
      path: "a",
      dest: "b",
      memory: Buffer.alloc(1),
      state: {},
      again: () => {},
      retries: 3,
      syscall: "read",
      cancelled: true,
      isSync: true,
      cell: {},
      standIn: {},
      remote: {},
      lease: {},
      claim: {},
      whenStopped: () => {},
    });
    table.release(operation);
    expect({ ...operation, finish: 0, resolve: 0, reject: 0 }).toEqual({
      ...fresh,
      finish: 0,
      resolve: 0,
      reject: 0,
      generation: fresh.generation + 1,
      pending: 0,
    });
  });

  test("outstanding operations have slots of their own, and waiting() names exactly those", () => {
    const table = new OperationTable({} as InnerRing);
    const all = Array.from({ length: 1000 }, () => table.acquire(ignore, 1));
    expect(new Set(all.map(({ slot }) => slot)).size).toBe(1000);
    for (const operation of all.filter((_, i) => i % 3 !== 0)) table.release(operation);
    expect([...table.waiting()]).toEqual(all.filter((_, i) => i % 3 === 0));
  });
});

describe("slots with many CQEs", () => {
  test("a CQE finds its life and names its index", () => {
    const table = new OperationTable({} as InnerRing);
    const operation = table.acquireMany(ignore, 3);
    const low = lowOfMany(operation);
    const high = highOfMany(operation) + 1_000_000;
    expect(table.findMany(low, high)).toBe(operation);
    expect(indexOfMany(high)).toBe(1_000_000);
  });

  test("a CQE of an earlier life finds nobody, through all that user_data can tell apart", () => {
    const table = new OperationTable({} as InnerRing);
    const seen = new Set<string>();
    for (let life = 0; life < 10_000; life++) {
      const operation = table.acquireMany(ignore, 1);
      seen.add(`${lowOfMany(operation)}:${highOfMany(operation)}`);
      table.releaseMany(operation);
    }
    expect(seen.size).toBe(10_000);
    const operation = table.acquireMany(ignore, 1);
    const low = lowOfMany(operation);
    const high = highOfMany(operation);
    table.releaseMany(operation);
    table.acquireMany(ignore, 1);
    expect(table.findMany(low, high)).toBeNull();
  });

  test("the two kinds never share a slot nor find each other", () => {
    const table = new OperationTable({} as InnerRing);
    const many = table.acquireMany(ignore, 1);
    table.releaseMany(many);
    const one = table.acquire(ignore, 1);
    expect(one.slot).not.toBe(many.slot);
    expect(table.findMany(one.slot, one.generation)).toBeNull();
    const again = table.acquireMany(ignore, 1);
    expect(again).toBe(many);
    expect(table.find(lowOfMany(again), highOfMany(again))).toBeNull();
  });
});
