// Memory that the kernel fills late: it outlives the ring that was closed over the operation, and is nobody else's meanwhile.
// Assumes a child per case; a file server of our own gives the late answers.

import { afterAll, expect, test } from "bun:test";
import { backend, shutdown, stat } from "../../src/index.ts";
import type { Native } from "../../src/kernel/shim.ts";
import { existingThread } from "../../src/ring/context.ts";
import { type KernelBuffer, KernelMemory, PinnedBuffer } from "../../src/ring/kernel-memory.ts";
import { acquireLeased } from "../../src/ring/lease.ts";
import { runCase } from "../helpers/child.ts";
import { faultTest } from "../helpers/requirements.ts";
import { describeUnless } from "../helpers/skip.ts";

const fixture = `${import.meta.dir}/late-memory.child.ts`;
const options = { needs: ["ioUring", "fuse"] as const, timeoutMs: 60_000 };
const env = { BUN_URING_BACKEND: "uring" };
const timeoutMs = 25_000;
afterAll(() => shutdown());

faultTest("O_DIRECT: a late read does not come into another file", options, async () => {
  expect(await runCase<string>(fixture, "bounce", { env, timeoutMs })).toBe("B");
});

faultTest("a user's own memory is not written to after its read was given up", options, async () => {
  const seen = await runCase<string[]>(fixture, "users", { env, timeoutMs });
  expect(seen).toEqual(["ECANCELED", "ECANCELED", "u", "u", "u"]);
});

describeUnless(backend !== "io_uring" && "no ring", "the ring's own memory", () => {
  test("is aligned to its size or a page, never given twice, and used again", async () => {
    await stat("/");
    const { memory } = existingThread()!;
    const taken: KernelBuffer[] = [];
    for (const length of [
      0,
      1,
      1000,
      1024,
      1025,
      4096,
      16_000,
      65_536,
      131_072,
      500_000,
      1 << 20,
      (1 << 20) + 1,
      5 << 20,
    ])
      for (let i = 0; i < 3; i++) taken.push(memory.acquire(length));
    const spans = taken.map(({ address, bytes }) => [address, address + bytes.length] as const);
    for (const { address, bytes } of taken) expect(address % Math.min(4096, bytes.length)).toBe(0);
    const sorted = spans.toSorted(([a], [b]) => a - b);
    for (let i = 1; i < sorted.length; i++) expect(sorted[i]![0]).toBeGreaterThanOrEqual(sorted[i - 1]![1]);
    const known = new Set(taken.map(({ address }) => address));
    for (const buffer of taken) {
      buffer.bytes.fill(1);
      buffer.release();
    }
    expect(known.has(memory.acquire(1000).address)).toBe(true);
  });

  test("is kept in part when it is large, and of a closed ring not touched", async () => {
    await stat("/");
    const { native, ring } = existingThread()!;
    const freed: number[] = [];
    const seen: Native = {
      ...native,
      regionFree: (at, address) => {
        freed.push(address);
        return native.regionFree(at, address);
      },
    };
    const place = { address: ring.address, release: ring.release, closed: false };
    const memory = new KernelMemory(seen, place);
    const MIB = 1 << 20;
    const huge = memory.acquire(MIB + 1);
    const large = Array.from({ length: 10 }, () => memory.acquire(MIB));
    huge.release();
    expect(freed).toEqual([huge.address]);
    for (const buffer of large) buffer.release();
    expect(freed.length).toBe(1 + 8); // two of them are kept
    const last = memory.acquire(2 * MIB);
    place.closed = true;
    last.release();
    expect(freed.length).toBe(1 + 8);
    native.regionFree(ring.address, last.address);
  });

  test("waits for the operations that have it as a view", async () => {
    await stat("/");
    const { memory } = existingThread()!;
    const pinned = new PinnedBuffer(memory, 5000);
    const { bytes } = pinned;
    const operations = [acquireLeased(bytes.subarray(1, 2))!, acquireLeased(bytes)!];
    pinned.release();
    operations[0]!.release();
    const others = Array.from({ length: 20 }, () => memory.acquire(131_072));
    expect(others.some((other) => other.bytes.buffer === bytes.buffer)).toBe(false);
    operations[1]!.release();
    expect(memory.acquire(131_072).bytes.buffer).toBe(bytes.buffer);
    for (const other of others) other.release();
  });

  test("can be looked at after the ring's end", async () => {
    await stat("/");
    const buffers = [10, 200_000, 3 << 20].map((length) => existingThread()!.memory.acquire(length));
    for (const { bytes } of buffers) bytes.fill(7);
    await shutdown();
    for (const { bytes } of buffers) expect(bytes.every((byte) => byte === 7)).toBe(true);
    for (const buffer of buffers) buffer.release();
  });
});
