// Owns open({ direct: true }): any offset, length and memory on an O_DIRECT handle gives what a buffered one gives.
// Assumes a temporary folder whose file system takes O_DIRECT; where it does not, the handle must say so and still agree.
// Never measures: what is straight and what is copied is seen in strace, not here.

import { describe, expect, test } from "bun:test";
import { readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { currentBackend } from "../../src/backend/choose.ts";
import * as library from "../../src/index.ts";
import { constants } from "../../src/kernel/constants.ts";
import { expectArgumentError, rejection } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const { alignedBuffer, open } = library;

/** Numbers from 0 up to `below`, the same in each run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** What most of the temporary folders' file systems take. */
async function takesDirect(): Promise<boolean> {
  await using handle = await open(tmp.path(), "w+", { direct: true });
  return handle.direct;
}

test("O_DIRECT is had where these tests mean to test it", async () => {
  expect(await takesDirect()).toBe(true);
});

for (const seed of [1, 2]) {
  test(`1,000 random reads and writes equal those of a buffered handle (seed ${seed})`, async () => {
    const [direct, buffered] = [tmp.path(), tmp.path()];
    const next = random(seed);
    await using one = await open(direct, "w+", { direct: true });
    await using two = await open(buffered, "w+");
    const UNITS = [1, 512, 4096];
    const any = (below: number): number => {
      const unit = UNITS[next(3)]!;
      return Math.floor(next(below) / unit) * unit;
    };
    for (let i = 0; i < 1000; i++) {
      const length = 1 + any(i % 20 === 0 ? 700_000 : 20_000);
      const position = any(1_500_000);
      const offset = any(5000);
      const view = (): Buffer => (i % 3 === 0 ? alignedBuffer(offset + length) : Buffer.alloc(offset + length));
      if (next(2) === 0) {
        const data = view();
        data.set(patternBytes(length, i + 1), offset);
        const written = await Promise.all([one, two].map((handle) => handle.write(data, offset, length, position)));
        expect(written[0]!.bytesWritten).toBe(length);
      } else {
        const [a, b] = [view(), view()];
        const x = await one.read(a, offset, length, position);
        const y = await two.read(b, offset, length, position);
        expect(x.bytesRead).toBe(y.bytesRead);
        if (!a.equals(b)) throw new Error(`read ${i} differs: ${length} bytes at ${position}, into ${offset}`);
      }
      const sizes = await Promise.all([one, two].map((handle) => handle.stat()));
      expect(sizes[0]!.size).toBe(sizes[1]!.size);
    }
    await Promise.all([one.close(), two.close()]);
    expect(statSync(direct).size).toBe(statSync(buffered).size);
    expect(readFileSync(direct).equals(readFileSync(buffered))).toBe(true);
  }, 60_000);
}

test("unaligned writes that overlap and touch, all at once, lose nothing", async () => {
  const path = tmp.path();
  await using handle = await open(path, "w+", { direct: true });
  const data = patternBytes(100_000, 9);
  const writes: Promise<unknown>[] = [];
  // Neighbours share blocks; the last grow the file.
  for (let at = 0; at < data.length; at += 777) {
    writes.push(handle.write(data, at, Math.min(777, data.length - at), at));
  }
  // And whole blocks in the middle of them, with the same bytes.
  const block = alignedBuffer(4096);
  block.set(data.subarray(8192, 12_288));
  writes.push(handle.write(block, 0, 4096, 8192), handle.read(Buffer.alloc(5000), 0, 5000, 50_001));
  await Promise.all(writes);
  expect((await handle.stat()).size).toBe(data.length);
  expect(readFileSync(path).equals(data)).toBe(true);
});

test("whole blocks behind a padded end are not cut off with it", async () => {
  const [small, block] = [Buffer.alloc(100, 1), alignedBuffer(4096)];
  for (let i = 0; i < 20; i++) {
    await using handle = await open(tmp.path(), "w+", { direct: true });
    await Promise.all([handle.write(small, 0, 100, 0), handle.write(block, 0, 4096, 4096)]);
    expect((await handle.stat()).size).toBe(8192);
  }
});

describe("memory that is taken away", () => {
  const taken = (length: number): [view: Uint8Array<ArrayBuffer>, take: () => void] => {
    const view = new Uint8Array(new ArrayBuffer(length)).fill(9);
    return [view, () => void structuredClone(view.buffer, { transfer: [view.buffer] })];
  };
  const contents = patternBytes(600_000, 4);

  for (const [title, length] of [
    ["in one part", 8191],
    ["in several", 548_863],
  ] as const) {
    test(`a read ${title} rejects, also one that waits for its turn`, async () => {
      await using handle = await open(tmp.file(contents), "r+", { direct: true });
      const [view, take] = taken(length);
      const reading = handle.read(view, 0, length, 1);
      take();
      expect(await rejection(reading)).toMatchObject({ name: "TypeError", code: "ERR_INVALID_STATE" });
      const writing = handle.write(contents, 1, length, 1);
      const [later, takeLater] = taken(length);
      const waiting = handle.read(later, 0, length, 1);
      takeLater();
      expect(await rejection(waiting)).toMatchObject({ name: "TypeError", code: "ERR_INVALID_STATE" });
      expect((await writing).bytesWritten).toBe(length);
    });

    test(`a write ${title} rejects, also one that waits, and puts nothing foreign into the file`, async () => {
      const path = tmp.file(contents);
      await using dirty = await open(tmp.path(), "w+", { direct: true });
      await dirty.write(Buffer.alloc(600_000, 0xee), 0, 600_000, 1);
      await using handle = await open(path, "r+", { direct: true });
      const [view, take] = taken(length);
      const writing = handle.write(view, 0, length, 1);
      take();
      expect(await rejection(writing)).toMatchObject({ name: "TypeError", code: "ERR_INVALID_STATE" });
      expect(readFileSync(path).equals(contents)).toBe(true);
      const [later, takeLater] = taken(length);
      const before = handle.write(contents, 1, length, 1);
      const waiting = handle.write(later, 0, length, 1);
      takeLater();
      expect(await rejection(waiting)).toMatchObject({ name: "TypeError", code: "ERR_INVALID_STATE" });
      await before;
      await handle.close();
      expect(readFileSync(path).equals(contents)).toBe(true);
    });
  }
});

test("what was in memory before never gets into a file", async () => {
  await using dirty = await open(tmp.path(), "w+", { direct: true });
  await dirty.write(Buffer.alloc(200_000, 0xff), 0, 200_000, 1);
  const path = tmp.path();
  await using handle = await open(path, "w+", { direct: true });
  await handle.write(Buffer.from("x"), 0, 1, 10);
  await handle.write(Buffer.from("y"), 0, 1, 5000);
  await handle.truncate(8192);
  const expected = Buffer.alloc(8192);
  expected[10] = 120;
  expected[5000] = 121;
  expect(readFileSync(path).equals(expected)).toBe(true);
});

test("reads beside padded writes never see past the file's end", async () => {
  await using handle = await open(tmp.path(), "w+", { direct: true });
  const big = Buffer.alloc(65_536);
  for (let size = 100; size < 3000; size += 100) {
    const write = handle.write(Buffer.alloc(100, 1), 0, 100, size - 100);
    const reads = await Promise.all([handle.read(big, 0, 65_536, 0), handle.read(big, 1, 60_000, 0), write]);
    for (const result of reads) if ("bytesRead" in result) expect([size - 100, size]).toContain(result.bytesRead);
  }
});

test("the file's own position: in order, and shared with readFile and streams", async () => {
  const path = tmp.path();
  const data = patternBytes(300_000, 4);
  await using handle = await open(path, "w+", { direct: true });
  await Promise.all([handle.write(data.subarray(0, 1000)), handle.write(data.subarray(1000, 200_001))]);
  await handle.writeFile(data.subarray(200_001));
  expect(readFileSync(path).equals(data)).toBe(true);
  expect((await handle.read(Buffer.alloc(10))).bytesRead).toBe(0);
  await handle.close();

  await using again = await open(path, "r", { direct: true });
  expect((await again.read(Buffer.alloc(7))).buffer.equals(data.subarray(0, 7))).toBe(true);
  const chunks: Buffer[] = [];
  for await (const chunk of again.createReadStream({ end: 99_999, autoClose: false })) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).equals(data.subarray(7, 100_007))).toBe(true);
  expect((await again.readFile()).equals(data.subarray(100_007))).toBe(true);
});

test("vectors, batches, truncate and data in chunks", async () => {
  const path = tmp.path();
  await using handle = await open(path, "w+", { direct: true });
  const data = patternBytes(70_000, 5);
  const parts = [data.subarray(0, 3), data.subarray(3, 50_000), data.subarray(50_000)];
  expect((await handle.writev(parts, 11)).bytesWritten).toBe(70_000);
  const into = [Buffer.alloc(40_000), Buffer.alloc(40_000)];
  expect((await handle.readv(into, 11)).bytesRead).toBe(70_000);
  expect(Buffer.concat(into).subarray(0, 70_000).equals(data)).toBe(true);

  const one = Buffer.alloc(300);
  const results = await handle.readBatch({ offsets: [11, 111, 70_000], lengths: 100, into: one });
  expect([...results]).toEqual([100, 100, 11]);
  expect(one.subarray(0, 200).equals(data.subarray(0, 200))).toBe(true);
  const aligned = alignedBuffer(8192);
  expect([...(await handle.readBatch({ offsets: [4096, 0], lengths: 4096, into: aligned }))]).toEqual([4096, 4096]);
  expect(aligned.subarray(0, 4096).equals(data.subarray(4096 - 11, 8192 - 11))).toBe(true);

  await handle.truncate(12_345);
  expect(statSync(path).size).toBe(12_345);
  await handle.writeFile(
    (async function* () {
      yield "abc";
      yield data.subarray(0, 5000);
    })(),
  );
  expect(
    readFileSync(path)
      .subarray(0, 5003)
      .equals(Buffer.concat([Buffer.from("abc"), data.subarray(0, 5000)])),
  ).toBe(true);
});

test("flush, signal and timeoutMs are obeyed", async () => {
  const path = tmp.path();
  await using handle = await open(path, "w+", { direct: true });
  const { bytesWritten } = await handle.write(Buffer.alloc(5001, 7), 0, 5001, 3, { flush: true, timeoutMs: 20_000 });
  expect(bytesWritten).toBe(5001);
  expect(statSync(path).size).toBe(5004);
  const refused = handle.write(Buffer.alloc(10), 0, 10, 0, { signal: AbortSignal.abort("no") });
  expect(await rejection(refused)).toMatchObject({ name: "AbortError", cause: "no" });
});

test("a handle for writing only does not read, though it can", async () => {
  const path = tmp.file(patternBytes(10_000, 6));
  await using handle = await open(path, "r+", { direct: true });
  await using writer = await open(tmp.path(), "w", { direct: true });
  expect(writer.direct).toBe(true);
  expect((await writer.write("0123456789", 3)).bytesWritten).toBe(10);
  expect(await rejection(writer.read(Buffer.alloc(512), 0, 512, 0))).toMatchObject({ code: "EBADF", syscall: "read" });
  expect((await handle.read(Buffer.alloc(10), 0, 10, 9_995)).bytesRead).toBe(5);
});

test("what takes no O_DIRECT is opened buffered, and the handle says so", async () => {
  await using proc = await open("/proc/self/status", "r", { direct: true });
  expect(proc.direct).toBe(false);
  expect((await proc.readFile("utf8")).startsWith("Name:")).toBe(true);
  await using nothing = await open("/dev/null", "r+", { direct: true });
  expect(nothing.direct).toBe(false);
  expect((await nothing.write("abc")).bytesWritten).toBe(3);
  const path = tmp.file("one ");
  await using appending = await open(path, "a", { direct: true });
  expect(appending.direct).toBe(false);
  await appending.write("two");
  expect(readFileSync(path, "utf8")).toBe("one two");
  await using plain = await open(path);
  expect(plain.direct).toBe(false);
});

test("a new file without O_DIRECT is the one that was made, whoever puts another in its place", async () => {
  const victim = tmp.file("somebody else's");
  const path = tmp.path();
  const backend = currentBackend() as { open: ReturnType<typeof currentBackend>["open"] };
  const { open: original } = backend;
  // A file system that takes no O_DIRECT: the file is made, then comes EINVAL, and by then the name is a link.
  backend.open = (async (at: string, flags: number, mode: number, ...rest: []) => {
    if ((flags & constants.O_DIRECT) === 0) return original(at, flags, mode, ...rest);
    if ((flags & constants.O_CREAT) !== 0) writeFileSync(at, "", { flag: "wx" });
    rmSync(path, { force: true });
    symlinkSync(victim, path);
    throw Object.assign(new Error("EINVAL"), { code: "EINVAL" });
  }) as typeof original;
  try {
    await using handle = await open(path, "wx", { direct: true });
    expect(handle.direct).toBe(false);
    await handle.write("mine");
  } finally {
    backend.open = original;
  }
  expect(readFileSync(victim, "utf8")).toBe("somebody else's");
});

test("open's arguments: options in the mode's place or after it, and what is wrong with them", async () => {
  const path = tmp.path();
  await using made = await open(path, "w", { mode: 0o640, direct: true });
  expect(statSync(path).mode & 0o777).toBe(0o640 & ~process.umask());
  await using other = await open(tmp.path(), "wx+", 0o600, { direct: true });
  expect([made.direct, other.direct]).toEqual([true, true]);
  expect(await rejection(open(path, "wx", { direct: true }))).toMatchObject({ code: "EEXIST", syscall: "open", path });
  expect(await rejection(open("/nowhere/x", "r", { direct: true }))).toMatchObject({ code: "ENOENT" });
  await expectArgumentError(open(path, "r", { direct: 1 as never }), "ERR_INVALID_ARG_TYPE");
  await expectArgumentError(open(path, "r", 0o600, { timeoutMs: 0 }), "ERR_OUT_OF_RANGE");
});

test("close waits for what is under way, in whatever steps", async () => {
  const path = tmp.path();
  const handle = await open(path, "w+", { direct: true });
  const data = patternBytes(600_001, 8);
  const write = handle.write(data, 0, data.length, 1);
  await handle.close();
  expect((await write).bytesWritten).toBe(data.length);
  expect(readFileSync(path).subarray(1).equals(data)).toBe(true);
  expect(await rejection(handle.write(data, 0, 1, 0))).toMatchObject({ code: "EBADF" });
  expect(tmp.openFiles()).toEqual([]);
});

test("alignedBuffer: where it lies, and what it refuses", () => {
  const { ptr } = require("bun:ffi") as typeof import("bun:ffi");
  for (const alignment of [1, 512, 4096, 65_536]) {
    const buffer = alignedBuffer(100_000, alignment);
    expect([buffer.length, Number(ptr(buffer)) % alignment]).toEqual([100_000, 0]);
    expect(buffer.every((byte) => byte === 0)).toBe(true);
  }
  const many = Array.from({ length: 50 }, (_, i) => alignedBuffer(100 + i));
  for (const buffer of many) expect(Number(ptr(buffer)) % 4096).toBe(0);
  expect(alignedBuffer(0)).toHaveLength(0);
  expect(() => alignedBuffer(10, 3)).toThrow("power of two");
  expect(() => alignedBuffer(-1)).toThrow("size");
  expect(() => alignedBuffer("10" as never)).toThrow("number");
});
