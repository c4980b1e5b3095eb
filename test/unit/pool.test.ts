// Owns BufferPool as its callers see it: sizes, alignment, the line of waiters, what a lease is after its end, wrong options.
// Assumes one backend per process. What happens with operations on handles in flight and with lost leases is test/lifetime's.

import { ptr } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, promises, readFileSync, readSync } from "node:fs";
import { BufferPool } from "../../src/memory/pool.ts";
import { open, writeFile } from "../../src/promises.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const addressOf = (view: Uint8Array): number => Number(ptr(view));
const coded = (code: string): object => expect.objectContaining({ code });

describe("buffers", () => {
  test("have the size and alignment that were asked for, and do not overlap", async () => {
    for (const alignment of [1, 512, 4096, 65_536]) {
      using pool = new BufferPool({ size: 5000, count: 4, alignment });
      const leases = await Promise.all(Array.from({ length: 4 }, () => pool.acquire()));
      const starts = leases.map(({ bytes }) => addressOf(bytes)).sort((a, b) => a - b);
      expect(leases.map(({ bytes }) => bytes.length)).toEqual([5000, 5000, 5000, 5000]);
      expect(starts.map((start) => start % alignment)).toEqual([0, 0, 0, 0]);
      for (let i = 1; i < 4; i++) expect(starts[i]! - starts[i - 1]!).toBeGreaterThanOrEqual(5000);
      leases.forEach(({ bytes }, i) => {
        bytes.fill(i + 1);
      });
      expect(leases.map(({ bytes }) => bytes.every((byte) => byte === bytes[0]))).toEqual([true, true, true, true]);
      for (const lease of leases) lease.release();
    }
  });

  test("the default alignment is 4096", async () => {
    using pool = new BufferPool({ size: 100, count: 2 });
    using lease = await pool.acquire();
    expect([pool.alignment, addressOf(lease.bytes) % 4096]).toEqual([4096, 0]);
  });
});

describe("lending", () => {
  test("available counts, tryAcquire gives null when all are out", () => {
    using pool = new BufferPool({ size: 64, count: 2 });
    const first = pool.tryAcquire()!;
    const second = pool.tryAcquire()!;
    expect([pool.available, pool.tryAcquire()]).toEqual([0, null]);
    second.release();
    expect(pool.available).toBe(1);
    first.release();
    expect(pool.available).toBe(2);
  });

  test("those who wait are served in order, and nobody overtakes them", async () => {
    using pool = new BufferPool({ size: 64, count: 1 });
    const order: number[] = [];
    const holder = await pool.acquire();
    const waiting = [1, 2, 3].map(async (n) => {
      using _lease = await pool.acquire();
      order.push(n);
      await null;
    });
    holder.release();
    expect(pool.tryAcquire()).toBeNull();
    await Promise.all(waiting);
    expect(order).toEqual([1, 2, 3]);
    expect(pool.available).toBe(1);
  });

  test("a signal ends the waiting and leaves the line to the others", async () => {
    using pool = new BufferPool({ size: 64, count: 1 });
    const holder = await pool.acquire();
    const abort = new AbortController();
    const gone = pool.acquire({ signal: abort.signal });
    const stays = pool.acquire();
    abort.abort("enough");
    expect(await gone.catch((error) => [error.name, error.code, error.cause])).toEqual([
      "AbortError",
      "ABORT_ERR",
      "enough",
    ]);
    holder.release();
    (await stays).release();
    await expect(pool.acquire({ signal: abort.signal })).rejects.toEqual(coded("ABORT_ERR"));
    expect(pool.available).toBe(1);
  });
});

describe("after its end a lease", () => {
  test("gives no bytes, can't be released again, and its views are empty", () => {
    using pool = new BufferPool({ size: 2048, count: 1 });
    const lease = pool.tryAcquire()!;
    const { bytes } = lease;
    const part = bytes.subarray(10, 20);
    lease.release();
    expect(() => lease.bytes).toThrow(coded("ERR_INVALID_STATE"));
    expect(() => lease.release()).toThrow(coded("ERR_INVALID_STATE"));
    expect([bytes.length, part.length]).toEqual([0, 0]);
    lease[Symbol.dispose]();
    const next = pool.tryAcquire()!;
    expect(next.generation).toBeGreaterThan(lease.generation);
    next.release();
  });

  test("using releases, also one that was released by hand", async () => {
    using pool = new BufferPool({ size: 64, count: 1 });
    {
      using lease = await pool.acquire();
      lease.bytes[0] = 1;
    }
    expect(pool.available).toBe(1);
    {
      using lease = await pool.acquire();
      lease.release();
    }
    expect(pool.available).toBe(1);
  });
});

describe("memory that a whole file is written from", () => {
  const size = 1 << 20;
  const options: Record<string, () => object> = {
    plainly: () => ({}),
    "with flush": () => ({ flush: true }),
    "with a signal": () => ({ signal: new AbortController().signal }),
  };
  for (const [title, how] of Object.entries(options)) {
    for (const length of [size, 1000])
      test(`is lent to nobody else meanwhile: ${length} bytes, ${title}`, async () => {
        using pool = new BufferPool({ size, count: 1 });
        for (let round = 0; round < 10; round++) {
          const lease = await pool.acquire();
          lease.bytes.fill(round + 1);
          const path = tmp.path();
          const writing = writeFile(path, lease.bytes.subarray(0, length), how());
          lease.release();
          expect(pool.tryAcquire()).toBeNull();
          await writing;
          expect(readFileSync(path).equals(Buffer.alloc(length, round + 1))).toBe(true);
          using again = await pool.acquire();
          await using handle = await open(path, "r");
          expect((await handle.read(again.bytes, 0, length, 0)).bytesRead).toBe(length); // the memory that the ring knows
        }
      });
  }

  test("by Bun's own function is lent again when that has let it go", async () => {
    using pool = new BufferPool({ size, count: 1 });
    const fifo = tmp.fifo();
    const reader = openSync(fifo, constants.O_RDWR);
    const write = (): Promise<void> => {
      using lease = pool.tryAcquire()!;
      lease.bytes.fill(7);
      return promises.writeFile(fifo, lease.bytes);
    };
    const writing = write();
    const next = pool.acquire();
    const into = Buffer.alloc(size);
    for (let at = 0; at < size; at += readSync(reader, into, at, size - at, null)) await Bun.sleep(0);
    closeSync(reader);
    await writing;
    expect(into.equals(Buffer.alloc(size, 7))).toBe(true);
    const collecting = setInterval(() => Bun.gc(true), 10);
    using again = await next;
    clearInterval(collecting);
    await using handle = await open(tmp.file(into), "r");
    expect((await handle.read(again.bytes, 0, size, 0)).bytesRead).toBe(size);
  });
});

describe("close", () => {
  test("refuses further leases and those who wait; what is out can still be used and released", async () => {
    const pool = new BufferPool({ size: 64, count: 1 });
    const lease = await pool.acquire();
    const waiting = pool.acquire();
    pool.close();
    pool.close();
    await expect(waiting).rejects.toEqual(coded("ERR_INVALID_STATE"));
    await expect(pool.acquire()).rejects.toThrow("closed");
    expect(() => pool.tryAcquire()).toThrow("closed");
    lease.bytes.fill(7);
    expect(lease.bytes[63]).toBe(7);
    lease.release();
    expect(pool.registered).toBe(false);
  });
});

describe("wrong options", () => {
  const good = { size: 64, count: 1 };
  const cases: [unknown, string][] = [
    [undefined, "ERR_INVALID_ARG_TYPE"],
    [{ ...good, size: 0 }, "ERR_OUT_OF_RANGE"],
    [{ ...good, size: 1.5 }, "ERR_OUT_OF_RANGE"],
    [{ ...good, size: "64" }, "ERR_INVALID_ARG_TYPE"],
    [{ ...good, count: 0 }, "ERR_OUT_OF_RANGE"],
    [{ size: 64 }, "ERR_INVALID_ARG_TYPE"],
    [{ ...good, alignment: 3000 }, "ERR_INVALID_ARG_VALUE"],
    [{ ...good, alignment: 0 }, "ERR_OUT_OF_RANGE"],
  ];
  for (const [options, code] of cases) {
    test(`${JSON.stringify(options)}: ${code}`, () => {
      expect(() => new BufferPool(options as any)).toThrow(coded(code));
    });
  }

  test("acquire names a signal that is none", async () => {
    using pool = new BufferPool(good);
    await expect(pool.acquire({ signal: {} as any })).rejects.toEqual(coded("ERR_INVALID_ARG_TYPE"));
  });
});

test("a lease that outlives its pool's close is good for operations until it is released", async () => {
  const path = tmp.file(Buffer.alloc(4096, "x"));
  await using handle = await open(path, "r");
  const pool = new BufferPool({ size: 8192, count: 2 });
  const lease = await pool.acquire();
  pool.close();
  using another = new BufferPool({ size: 8192, count: 2 }); // has the fixed buffer, if that is free
  expect((await handle.read(lease.bytes, 0, 4096, 0)).bytesRead).toBe(4096);
  expect(lease.bytes.subarray(0, 4096).every((byte) => byte === 120)).toBe(true);
  lease.release();
  expect(another.available).toBe(2);
});
