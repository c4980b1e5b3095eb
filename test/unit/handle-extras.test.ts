// Owns what FileHandle and Ring have beyond Node and its streams: advice, space, attributes, io-wq limits, limits of waiting.
// Assumes a temporary folder with user.* attributes. On the node backend: that each says that it can't be had.

import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import {
  BufferPool,
  backend,
  capabilities,
  copyTree,
  getxattr,
  listxattr,
  Opcode,
  open,
  Ring,
  readFile,
  removexattr,
  rename,
  setxattr,
} from "../../src/index.ts";
import { rejection } from "../helpers/expect-error.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const UNAVAILABLE = { code: "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM" };

describeUnless(backend !== "io_uring" && "no ring", "on a ring", () => {
  test("handles allocate, punch holes, advise and write ranges out", async () => {
    const data = patternBytes(20_000);
    const path = tmp.file(data);
    await using handle = await open(path, "r+");
    await handle.allocate(0, 30_000);
    await handle.allocate(4096, 4096, { punchHole: true });
    await handle.advise(0, 0, "random");
    await handle.syncRange(0, 0);
    expect(readFileSync(path).equals(Buffer.concat([data, Buffer.alloc(10_000)]).fill(0, 4096, 8192))).toBe(true);
    await handle.close();
    expect(await rejection(handle.allocate(0, 1))).toMatchObject({ code: "EBADF", syscall: "fallocate" });
  });

  testUnless(lacking("SETXATTR"), "extended attributes by path are those of its handles", async () => {
    const path = tmp.file("x");
    await using handle = await open(path);
    await handle.setxattr("user.one", "1");
    await setxattr(path, "user.two", Buffer.from("2"), { create: true });
    expect((await listxattr(path)).sort()).toEqual(["user.one", "user.two"]);
    expect((await handle.listxattr()).sort()).toEqual(["user.one", "user.two"]);
    expect(await getxattr(path, "user.one", { encoding: "utf8" })).toBe("1");
    expect((await handle.getxattr("user.two")).toString()).toBe("2");
    await handle.removexattr("user.two");
    await removexattr(path, "user.one");
    expect(await rejection(handle.getxattr("user.one"))).toMatchObject({ code: "ENODATA", syscall: "fgetxattr" });
  });

  testUnless(lacking("RENAMEAT"), "rename keeps what is there, or changes places with it", async () => {
    const [a, b] = [tmp.file("a"), tmp.file("b")];
    expect(await rejection(rename(a, b, { noReplace: true }))).toMatchObject({ code: "EEXIST", path: a, dest: b });
    await rename(a, b, { exchange: true });
    expect([await readFile(a, "utf8"), await readFile(b, "utf8")]).toEqual(["b", "a"]);
  });

  test("tune shows the bounds, sets those that are given, and refuses what is none", () => {
    const ring = Ring.current();
    const before = ring.tune();
    try {
      expect(ring.tune({ spinUs: 7, inlineBytes: 1000 })).toEqual({ ...before, spinUs: 7, inlineBytes: 1000 });
      expect(ring.tune({ maxInlineMs: 0, maxInlineRounds: Number.POSITIVE_INFINITY })).toMatchObject({
        spinUs: 7,
        maxInlineMs: 0,
      });
      for (const wrong of [-1, Number.NaN, "1", null])
        expect(() => ring.tune({ inlineUs: 1, maxSpinUs: wrong as number })).toThrow(
          '"bounds.maxSpinUs" is out of range',
        );
      expect(ring.tune().inlineUs).toBe(before.inlineUs); // nothing is half done
    } finally {
      ring.tune(before);
    }
    expect(ring.tune()).toEqual(before);
  });

  testUnless(
    lacking("limits of io-wq"),
    "setIowqWorkers sets the kernel's limits, and capabilities() shows them",
    () => {
      const ring = Ring.current();
      const before = ring.workers;
      expect(before.bounded).toBeGreaterThan(0);
      try {
        ring.setIowqWorkers({ bounded: 1, unbounded: 3 });
        expect(capabilities().limits.workers).toEqual({ bounded: 1, unbounded: 3 });
        for (const wrong of [0, 1.5, 70_000])
          expect(() => ring.setIowqWorkers({ bounded: wrong, unbounded: 1 })).toThrow();
        expect(() => ring.setIowqWorkers({ bounded: 1 } as never)).toThrow("limits.unbounded");
      } finally {
        ring.setIowqWorkers(before);
      }
      expect(capabilities().limits.workers).toEqual(before);
    },
  );

  test("an SQE that does not end times out, and is given back", async () => {
    await using ring = new Ring({ entries: 8 });
    const error = await rejection(ring.submit({ opcode: Opcode.TIMEOUT, timeoutMs: 60_000 }, { timeoutMs: 30 }));
    expect(error).toMatchObject({ code: "ETIMEDOUT", syscall: "io_uring_enter" });
    expect(ring.stats.inFlight).toBe(0);
  });
});

testUnless(backend === "io_uring" && "there is a ring", "without a ring each says so", async () => {
  await using handle = await open(tmp.file("x"), "r+");
  for (const call of [
    () => handle.allocate(0, 10),
    () => handle.advise(0, 0, "normal"),
    () => handle.syncRange(0, 0),
    () => handle.setxattr("user.x", "1"),
    () => handle.getxattr("user.x"),
    () => handle.listxattr(),
    () => handle.removexattr("user.x"),
    () => rename("a", "b", { exchange: true }),
  ]) {
    expect(await rejection(call)).toMatchObject(UNAVAILABLE);
  }
  expect(() => Ring.current()).toThrow("io_uring is not available");
});

test("waiting for a pool's buffer times out, and the next gets it", async () => {
  using pool = new BufferPool({ size: 4096, count: 1 });
  const lease = await pool.acquire({ timeoutMs: 1000 });
  expect(await rejection(pool.acquire({ timeoutMs: 20 }))).toMatchObject({ code: "ETIMEDOUT", syscall: "acquire" });
  const next = pool.acquire({ timeoutMs: 20_000 });
  lease.release();
  (await next).release();
  expect(pool.available).toBe(1);
});

test("a copied tree has its time, too", async () => {
  const from = tmp.folder();
  for (let i = 0; i < 300; i++) await Bun.write(`${from}/f${i}`, `${i}`);
  const to = tmp.path();
  await copyTree(from, to, { timeoutMs: 60_000 });
  expect(statSync(`${to}/f299`).size).toBe(3);
  const slow = copyTree(from, tmp.path(), {
    timeoutMs: 1,
    concurrency: 1,
    filter: () => Bun.sleep(5).then(() => true),
  });
  expect(await rejection(slow)).toMatchObject({ code: "ETIMEDOUT", syscall: "cp", path: from });
});
