// Owns the loops around transfers that do less than was asked for, and ranges of a file that are worked on one after another.
// Assumes a backend over bytes in memory, which does what the test says. On real files: test/contract, changing-files.test.ts.

import { describe, expect, test } from "bun:test";
import type { Backend, OpenFile } from "../../src/backend/interface.ts";
import { readToEnd, truncatesLate, writeAll, writeLongVector, writeThenSync } from "../../src/backend/loops.ts";
import { Ranges } from "../../src/backend/range-lock.ts";
import { constants } from "../../src/kernel/constants.ts";
import { systemError } from "../../src/node/errors.ts";
import { rejection } from "../helpers/expect-error.ts";
import { patternBytes } from "../helpers/tmp.ts";

const EIO = -5;

/** A file in memory with a position of its own, which moves `most` bytes at a time. */
class Memory {
  bytes: Buffer = Buffer.alloc(0);
  position = 0;
  /** Bytes that the next transfers move, one after another; then all. */
  most: number[] = [];
  /** What it says its size is; what is read is what there is. */
  says: number | null = null;
  isFile = true;
  readonly calls: string[] = [];

  readonly backend = {
    read: async (_: OpenFile, buffer: Buffer, offset: number, length: number, position: number) => {
      const from = position < 0 ? this.position : position;
      const bytesRead = this.bytes.copy(buffer, offset, from, from + Math.min(length, this.#most(length)));
      if (position < 0) this.position += bytesRead;
      return { bytesRead, buffer };
    },
    write: async (_: OpenFile, buffer: Uint8Array, offset: number, length: number, position: number) => {
      const bytesWritten = this.#put(buffer.subarray(offset, offset + Math.min(length, this.#most(length))), position);
      this.calls.push(`write ${bytesWritten}`);
      return { bytesWritten, buffer };
    },
    writev: async (_: OpenFile, buffers: Uint8Array[], position: number) => {
      const all = Buffer.concat(buffers);
      const bytesWritten = this.#put(all.subarray(0, this.#most(all.length)), position);
      this.calls.push(`writev ${buffers.length}: ${bytesWritten}`);
      return { bytesWritten, buffers };
    },
    fdatasync: async () => {
      this.calls.push("fdatasync");
    },
    fstat: async () => ({ isFile: () => this.isFile, size: this.says ?? this.bytes.length }),
  } as unknown as Backend;

  #most(length: number): number {
    return this.most.shift() ?? length;
  }

  #put(bytes: Uint8Array, position: number): number {
    const from = position < 0 ? this.position : position;
    const grown = Buffer.alloc(Math.max(this.bytes.length, from + bytes.length));
    this.bytes.copy(grown);
    grown.set(bytes, from);
    this.bytes = grown;
    if (position < 0) this.position += bytes.length;
    return bytes.length;
  }
}

const file = {} as OpenFile;
const data = patternBytes(100_000, 7);

describe("reading to the end", () => {
  async function readOf(change: (memory: Memory) => void): Promise<boolean> {
    const memory = new Memory();
    memory.bytes = data;
    change(memory);
    return (await readToEnd(memory.backend, file)).equals(data);
  }

  test("short reads are no end", async () => {
    expect(await readOf(() => {})).toBe(true);
    expect(await readOf((memory) => (memory.most = [1, 7, 16_000, 3, 1, 50_000, 9]))).toBe(true);
    expect(await readOf((memory) => Object.assign(memory, { isFile: false, most: [1, 100, 99_000] }))).toBe(true);
  });

  test("whatever the file says of its size: it may grow or shrink meanwhile", async () => {
    for (const says of [0, 10, 16 * 1024, 20_000, 99_999, 100_001, 500_000])
      expect(await readOf((memory) => (memory.says = says))).toBe(true);
  });

  test("around the first chunk", async () => {
    for (const length of [0, 1, 8191, 8193, 16_383, 16_384, 16_385]) {
      const memory = new Memory();
      memory.bytes = data.subarray(0, length);
      expect((await readToEnd(memory.backend, file)).equals(memory.bytes)).toBe(true);
    }
  });
});

describe("writing all", () => {
  test("short writes are gone on with, and counted", async () => {
    const memory = new Memory();
    memory.most = [1, 1000, 5];
    const progress = { bytesWritten: 0 };
    await writeAll(memory.backend, file, data, null, progress);
    expect([memory.bytes.equals(data), progress.bytesWritten]).toEqual([true, data.length]);
  });

  test("a write that takes nothing is full, and data that is taken away between two writes is told", async () => {
    const full = new Memory();
    full.most = [5, 0, 1];
    const progress = { bytesWritten: 0 };
    expect(await rejection(writeAll(full.backend, file, data, null, progress))).toMatchObject({
      code: "ENOSPC",
      syscall: "write",
    });
    expect(progress.bytesWritten).toBe(5);
    const memory = new Memory();
    const { write } = memory.backend;
    const view = new Uint8Array(5000);
    memory.most = [100];
    memory.backend.write = async (...args) => {
      const written = await write(...args);
      structuredClone(view.buffer, { transfer: [view.buffer] });
      return written;
    };
    expect(await rejection(writeAll(memory.backend, file, view))).toMatchObject({ code: "ERR_INVALID_STATE" });
  });

  const parts = [data.subarray(0, 10), data.subarray(10, 5000), data.subarray(5000)];
  for (const at of [-1, 0, 77]) {
    for (const most of [[], [3], [10], [10, 100], [5000, 1, 1], [99_999]]) {
      test(`durably, at ${at}, the first of ${most.join()} bytes: each byte once, then one sync`, async () => {
        const memory = new Memory();
        memory.most = [...most];
        const progress = { bytesWritten: 0 };
        await writeThenSync(memory.backend, file, parts, at, progress);
        expect(memory.bytes.subarray(Math.max(0, at)).equals(data)).toBe(true);
        expect([progress.bytesWritten, memory.calls.filter((call) => call === "fdatasync").length]).toEqual([
          data.length,
          1,
        ]);
        expect(memory.calls.at(-1)).toBe("fdatasync");
      });
    }
  }

  test("durably, behind what is written already", async () => {
    const memory = new Memory();
    memory.most = [10];
    const progress = { bytesWritten: 500 };
    await writeThenSync(memory.backend, file, [data.subarray(0, 40)], 20, progress);
    expect(memory.bytes.subarray(20).equals(data.subarray(0, 40))).toBe(true);
    expect(progress.bytesWritten).toBe(540);
  });

  test("what takes nothing and says nothing is full; it is not synced", async () => {
    const memory = new Memory();
    memory.most = [5, 0];
    expect(await rejection(writeThenSync(memory.backend, file, [data], 0, { bytesWritten: 0 }))).toMatchObject({
      code: "ENOSPC",
      syscall: "write",
    });
    expect(memory.calls).not.toContain("fdatasync");
  });

  test("a long vector goes out in parts, up to a short one", async () => {
    for (const at of [-1, 50]) {
      const memory = new Memory();
      const views = Array.from({ length: 2500 }, (_, i) => data.subarray(i * 4, i * 4 + 4));
      expect(await writeLongVector(memory.backend, file, views, at)).toBe(10_000);
      expect(memory.bytes.subarray(Math.max(0, at)).equals(data.subarray(0, 10_000))).toBe(true);
      expect(memory.calls).toEqual(["writev 1024: 4096", "writev 1024: 4096", "writev 452: 1808"]);
      const short = new Memory();
      short.most = [4096, 100];
      expect(await writeLongVector(short.backend, file, views, at)).toBe(4196);
      expect(short.calls.length).toBe(2);
    }
  });
});

test("which flags let a file be cut after the write", () => {
  const { O_TRUNC, O_WRONLY, O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_RDONLY } = constants;
  const late = (flags: number, length = 1): boolean => truncatesLate(flags, length);
  expect([late(O_WRONLY | O_TRUNC), late(O_RDWR | O_TRUNC), late(O_WRONLY | O_TRUNC | O_CREAT)]).toEqual([
    true,
    true,
    true,
  ]);
  const not = [
    late(O_WRONLY | O_TRUNC, 0),
    late(O_WRONLY),
    late(O_RDONLY | O_TRUNC),
    late(O_WRONLY | O_TRUNC | O_APPEND),
    late(O_WRONLY | O_TRUNC | O_CREAT | O_EXCL),
  ];
  expect(not).toEqual(not.map(() => false));
});

describe("ranges", () => {
  /** Work that the test ends; what has begun, in order. */
  function ranges() {
    const all = new Ranges();
    const begun: string[] = [];
    const ends: Record<string, PromiseWithResolvers<void>> = {};
    const run = (name: string, start: number, end: number, alone: boolean): Promise<void> => {
      ends[name] = Promise.withResolvers<void>();
      return all.run(start, end, alone, () => {
        begun.push(name);
        return ends[name]!.promise;
      });
    };
    return { all, begun, ends, run };
  }
  const settled = (): Promise<void> => Bun.sleep(1);

  test("one byte in common is enough to wait for who is alone; neighbours do not meet", async () => {
    const { begun, ends, run } = ranges();
    void run("a", 0, 10, true);
    void run("touches", 9, 12, false);
    void run("neighbour", 10, 20, false);
    void run("shares", 15, 30, false);
    await settled();
    expect(begun).toEqual(["a", "neighbour", "shares"]);
    ends["a"]!.resolve();
    await settled();
    expect(begun).toEqual(["a", "neighbour", "shares", "touches"]);
  });

  test("who comes after one that waits waits for it, too; a failure lets the next one in", async () => {
    const { all, begun, ends, run } = ranges();
    void run("reads", 0, 10, false);
    const failing = rejection(run("alone", 0, 10, true));
    void run("later", 5, 6, false);
    await settled();
    expect(begun).toEqual(["reads"]);
    ends["reads"]!.resolve();
    await settled();
    expect(begun).toEqual(["reads", "alone"]);
    ends["alone"]!.reject(systemError(EIO, "write"));
    expect(await failing).toMatchObject({ code: "EIO" });
    await settled();
    expect(begun).toEqual(["reads", "alone", "later"]);
    let isIdle = false;
    void all.idle()!.then(() => {
      isIdle = true;
    });
    await settled();
    expect(isIdle).toBe(false);
    ends["later"]!.resolve();
    await settled();
    expect([isIdle, all.idle()]).toEqual([true, null]);
  });
});
