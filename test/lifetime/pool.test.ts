// Owns what keeps a pool's memory safe: a release with an operation in flight, a lost lease, a buffer that is taken away,
// the ring's end while leases are out, fixed buffers used by themselves. Runs on the backend of the process.
// Never waits for the collector with a deadline of less than seconds.

import { describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { BufferPool, backend, open, shutdown, stats } from "../../src/index.ts";
import { Opcode } from "../../src/kernel/sqe.ts";
import { existingThread } from "../../src/ring/context.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();

/** A FIFO whose read waits until `feed` is called. */
async function slowRead(
  bytes: Buffer,
): Promise<{ done: Promise<unknown>; feed: (text: string) => void; end: () => Promise<void> }> {
  const path = tmp.fifo();
  const writer = openSync(path, constants.O_RDWR);
  const handle = await open(path, "r");
  const done = handle.read(bytes, 0, 5, null);
  return {
    done,
    feed: (text) => void writeSync(writer, text),
    async end() {
      closeSync(writer);
      await handle.close();
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) {
    Bun.gc(true);
    await Bun.sleep(10);
  }
}

describe("a release with an operation in flight", () => {
  test("keeps the memory from others until the operation has ended", async () => {
    using pool = new BufferPool({ size: 4096, count: 1 });
    const lease = await pool.acquire();
    const { bytes } = lease;
    const slow = await slowRead(bytes);
    lease.release();
    expect([pool.available, pool.tryAcquire(), bytes.length]).toEqual([0, null, 4096]);
    const next = pool.acquire();
    await Bun.sleep(20);
    slow.feed("12345");
    await slow.done;
    const second = await next;
    expect(bytes.length).toBe(0);
    expect(second.bytes.subarray(0, 5).toString()).toBe("12345"); // the same memory, after the kernel was done
    second.release();
    await slow.end();
  });

  test("also for a vectored read", async () => {
    using pool = new BufferPool({ size: 4096, count: 2 });
    const leases = [await pool.acquire(), await pool.acquire()];
    const path = tmp.fifo();
    const writer = openSync(path, constants.O_RDWR);
    const handle = await open(path, "r");
    const reading = handle.readv(
      leases.map(({ bytes }) => bytes),
      null,
    );
    for (const lease of leases) lease.release();
    expect(pool.available).toBe(0);
    writeSync(writer, "x");
    await reading;
    expect(pool.available).toBe(2);
    closeSync(writer);
    await handle.close();
  });
});

describe("a lost lease", () => {
  test("is reported once, and its buffer comes back", async () => {
    const warnings: string[] = [];
    const listen = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", listen);
    using pool = new BufferPool({ size: 4096, count: 3 });
    const lose = (): void => {
      for (let i = 0; i < 3; i++) pool.tryAcquire()!.bytes.fill(9);
    };
    lose();
    await until(() => pool.available === 3);
    expect(pool.available).toBe(3);
    lose();
    await until(() => pool.available === 3);
    expect(pool.available).toBe(3);
    await Bun.sleep(5);
    process.off("warning", listen);
    expect(warnings.filter((text) => text.includes("lost without release"))).toHaveLength(1);
    using lease = await pool.acquire();
    expect(lease.bytes).toHaveLength(4096);
  });

  test("is not lost while a view of its memory is held", async () => {
    using pool = new BufferPool({ size: 4096, count: 1 });
    const hold = (): Buffer => pool.tryAcquire()!.bytes.subarray(1, 3);
    const view = hold();
    for (let i = 0; i < 10; i++) {
      Bun.gc(true);
      await Bun.sleep(5);
    }
    expect([pool.available, view.length]).toEqual([0, 2]);
  });
});

test("a buffer that was transferred away is never lent again", async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error): void => void warnings.push(warning);
  process.on("warning", listen);
  using pool = new BufferPool({ size: 4096, count: 2 });
  const lease = await pool.acquire();
  const taken = (lease.bytes.buffer as ArrayBuffer).transfer();
  lease.release();
  const rest = [pool.tryAcquire(), pool.tryAcquire()].filter((each) => each !== null);
  for (const each of rest) each.bytes.fill(1);
  expect(new Uint8Array(taken).every((byte) => byte === 0)).toBe(true);
  expect(rest).toHaveLength(backend === "io_uring" ? 1 : 2);
  for (const each of rest) each.release();
  await Bun.sleep(5);
  process.off("warning", listen);
  expect(warnings).toHaveLength(backend === "io_uring" ? 1 : 0);
});

describe("a lease that is lost while its memory was handed on", () => {
  const SIZE = 1 << 20;
  /** Lends a block, fills it with 1, hands its memory on and forgets the lease. */
  const handOn = (pool: BufferPool): { memory: ArrayBuffer | null } => {
    const { bytes } = pool.tryAcquire()!;
    bytes.fill(1);
    return { memory: (bytes.buffer as ArrayBuffer).transfer() };
  };
  /** Without a pool's ring the block is a part of the memory. */
  const isWhole = ({ memory }: ReturnType<typeof handOn>): boolean =>
    new Uint8Array(memory!).reduce((ones, byte) => ones + (byte === 1 ? 1 : 0), 0) === SIZE;
  const collect = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      Bun.gc(true);
      await Bun.sleep(3);
    }
  };

  test("is lent again only when nobody has the memory any more", async () => {
    using pool = new BufferPool({ size: SIZE, count: 1 });
    const mine = handOn(pool);
    await collect();
    if (backend === "io_uring") expect(pool.tryAcquire()).toBeNull();
    else pool.tryAcquire()!.bytes.fill(7); // other memory
    expect(isWhole(mine)).toBe(true);
    if (backend !== "io_uring") return;
    let served = false;
    const waiting = pool.acquire().then((lease) => {
      served = true;
      lease.release();
    });
    await collect();
    expect([served, isWhole(mine)]).toEqual([false, true]);
    mine.memory = null;
    await until(() => served);
    await waiting;
  });

  test("keeps its memory when the pool is closed, twice, and its ring shut down", async () => {
    const pool = new BufferPool({ size: SIZE, count: 3 });
    const mine = handOn(pool);
    const second = pool.tryAcquire()!;
    const third = pool.tryAcquire()!;
    third.bytes.fill(3);
    await collect();
    pool.close();
    pool.close();
    second.release();
    await shutdown();
    await collect();
    expect(third.bytes.every((byte) => byte === 3)).toBe(true);
    third.release();
    await collect();
    expect(isWhole(mine)).toBe(true);
  });
});

describeUnless(backend !== "io_uring" && "no ring", "registered memory", () => {
  /** Opcodes staged while `work` runs, one letter each. */
  async function staged(work: () => Promise<unknown>): Promise<number[]> {
    const { ring } = existingThread()!;
    const seen: number[] = [];
    const turn = ring.turn.bind(ring);
    ring.turn = (rounds) => {
      for (let i = 0; i < ring.queued; i++) seen.push(ring.words[i * 16]! & 0xff);
      return turn(rounds);
    };
    await work();
    delete (ring as any).turn;
    return seen;
  }

  testUnless(
    lacking("fixed buffers"),
    "reads and writes on a lease and its views use the fixed opcodes, and only they",
    async () => {
      using pool = new BufferPool({ size: 8192, count: 2 });
      expect(pool.registered).toBe(true);
      const data = patternBytes(8192);
      await using handle = await open(tmp.file(data), "r+");
      using lease = await pool.acquire();
      const opcodes = await staged(async () => {
        await handle.read(lease.bytes, 0, 8192, 0);
        await handle.read(lease.bytes.subarray(100, 200), 0, 100, 100);
        await handle.write(lease.bytes, 0, 8192, 8192);
        await handle.read(Buffer.alloc(2000), 0, 10, 0);
      });
      expect(opcodes).toEqual([Opcode.READ_FIXED, Opcode.READ_FIXED, Opcode.WRITE_FIXED, Opcode.READ]);
      expect(lease.bytes.equals(data)).toBe(true);
      expect((await handle.readFile()).equals(Buffer.concat([data, data]))).toBe(true);
    },
  );

  testUnless(
    lacking("fixed buffers"),
    "the table's slots are given back: 200 pools one after another are all registered",
    async () => {
      for (let i = 0; i < 200; i++) {
        using pool = new BufferPool({ size: 4096, count: 1 });
        if (!pool.registered) throw new Error(`pool ${i} is not registered`);
      }
    },
  );

  test("a 65th pool works without", async () => {
    const pools = Array.from({ length: 70 }, () => new BufferPool({ size: 4096, count: 1 }));
    const last = pools.at(-1)!;
    expect(last.registered).toBe(false);
    await using handle = await open(tmp.file("content"), "r");
    using lease = await last.acquire();
    expect((await handle.read(lease.bytes, 0, 7, 0)).buffer.subarray(0, 7).toString()).toBe("content");
    for (const pool of pools) pool.close();
  });
});

testUnless(backend !== "io_uring" && "no ring", "leases outlive the ring that their pool was made for", async () => {
  const pool = new BufferPool({ size: 1 << 20, count: 2 });
  const lease = await pool.acquire();
  lease.bytes.fill(5);
  await shutdown();
  expect([pool.registered, pool.orphaned]).toEqual([false, true]);
  expect(lease.bytes.every((byte) => byte === 5)).toBe(true);
  await using handle = await open(tmp.file("after"), "r"); // on a new ring
  await handle.read(lease.bytes, 0, 5, 0);
  expect(lease.bytes.subarray(0, 5).toString()).toBe("after");
  lease.release();
  pool.close();
  Bun.gc(true);
  expect(stats().inFlight).toBe(0);
});
