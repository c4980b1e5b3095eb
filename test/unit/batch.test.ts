// Owns readMany, statMany and FileHandle.readBatch: every byte right, errors beside results, refusals, abort, no descriptor
// left, and how few system calls a batch takes. Runs on both backends; what only the ring has is skipped on node.
// Assumes strace for the counting.

import { describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, writeFileSync, writeSync } from "node:fs";
import { BufferPool, backend, open, readMany, statMany } from "../../src/index.ts";
import { ringThread } from "../../src/ring/context.ts";
import { runCase } from "../helpers/child.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { testUnless } from "../helpers/skip.ts";
import { strace } from "../helpers/strace.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const DATA = patternBytes(300_000);
const FIXTURE = new URL("./ring.child.ts", import.meta.url).pathname;
const onRing = backend === "io_uring";

async function reasonOf(promise: Promise<unknown>): Promise<NodeJS.ErrnoException> {
  return promise.then(
    () => {
      throw new Error("it did not reject");
    },
    (reason) => reason,
  );
}

describe("readMany", () => {
  test("gives every file in order, and each failure in its place", async () => {
    const contents = Array.from({ length: 500 }, (_, i) => DATA.subarray(i, i + ((i * 613) % 9000)));
    const paths: string[] = contents.map((content) => tmp.file(content));
    paths[17] = tmp.path("missing");
    paths[400] = tmp.folder();
    const results = await readMany(paths, { concurrency: 16 });
    results.forEach((one, i) => {
      if (i === 17) expect(one).toMatchObject({ status: "rejected", reason: { code: "ENOENT", path: paths[17] } });
      else if (i === 400)
        expect(one).toMatchObject({ status: "rejected", reason: { code: "EISDIR", syscall: "read" } });
      else if (one.status !== "fulfilled" || !one.value.equals(contents[i]!)) throw new Error(`file ${i} is wrong`);
    });
    expect(tmp.openFiles()).toEqual([]);
  });

  test("takes an encoding, URLs, bytes and any iterable", async () => {
    const paths = [tmp.file("één"), tmp.file("twee")];
    const given = new Set([new URL(`file://${paths[0]}`), Buffer.from(paths[1]!)]);
    const results = await readMany(given, { encoding: "utf8" });
    expect(results).toEqual([
      { status: "fulfilled", value: "één" },
      { status: "fulfilled", value: "twee" },
    ]);
    expect(await readMany([])).toEqual([]);
  });

  test("never has more than `concurrency` files open", async () => {
    // A FIFO read stays open until it is written to: with one lane, the file behind it must wait.
    const fifo = tmp.fifo();
    const after = tmp.file("after");
    let done = false;
    const all = readMany([fifo, after], { concurrency: 1, encoding: "utf8" }).then((results) => {
      done = true;
      return results;
    });
    await Bun.sleep(5);
    expect(done).toBe(false);
    writeFileSync(after, "changed meanwhile");
    const writer = openSync(fifo, constants.O_WRONLY);
    writeSync(writer, "first");
    closeSync(writer);
    expect(await all).toEqual([
      { status: "fulfilled", value: "first" },
      { status: "fulfilled", value: "changed meanwhile" },
    ]);
  });

  test("rejects as a whole when aborted, and for wrong arguments", async () => {
    const paths = Array.from({ length: 200 }, () => tmp.file(DATA));
    const controller = new AbortController();
    const all = readMany(paths, { concurrency: 2, signal: controller.signal });
    controller.abort("enough");
    expect(await reasonOf(all)).toMatchObject({ name: "AbortError", cause: "enough" });
    expect((await reasonOf(readMany(paths, { signal: controller.signal }))).code).toBe("ABORT_ERR");
    expect((await reasonOf(readMany("path" as never))).code).toBe("ERR_INVALID_ARG_TYPE");
    expect((await reasonOf(readMany([5 as never]))).message).toContain("paths[0]");
    expect((await reasonOf(readMany([], { concurrency: 0 }))).code).toBe("ERR_OUT_OF_RANGE");
    expect((await reasonOf(readMany([], { encoding: "nope" as never }))).code).toBe("ERR_INVALID_ARG_VALUE");
  });

  testUnless(
    lacking("plain calls that can't block") || (Bun.which("strace") === null && "no strace"),
    "10,000 small files: every byte right, at most one system call for 16 files",
    async () => {
      const folder = tmp.folder();
      const count = 10_000;
      for (let i = 0; i < count; i++) writeFileSync(`${folder}/${i}`, `file ${i} `.repeat((i % 50) + 1));
      const trace = strace();
      const options = { prefix: trace.prefix, input: { folder, count }, timeoutMs: 60_000 };
      expect(await runCase<number>(FIXTURE, "readMany", options)).toBe(count);
      expect(trace.counts()["io_uring_enter"] ?? 0).toBeLessThanOrEqual(count / 16);
      trace.remove();
    },
    90_000,
  );
});

describe("statMany", () => {
  test("gives Stats in order, failures in their place, follows links", async () => {
    const file = tmp.file(DATA);
    const link = tmp.path();
    Bun.spawnSync(["ln", "-s", file, link]);
    const missing = tmp.path();
    const results = await statMany([file, link, missing, tmp.dir]);
    expect(results[0]).toMatchObject({ status: "fulfilled", value: { size: DATA.length } });
    expect(results[1]).toMatchObject({ status: "fulfilled", value: { size: DATA.length } });
    expect(results[2]).toMatchObject({
      status: "rejected",
      reason: { code: "ENOENT", syscall: "stat", path: missing },
    });
    expect(results[3]!.status === "fulfilled" && results[3]!.value.isDirectory()).toBe(true);
    const [big] = await statMany([file], { bigint: true });
    expect(big).toMatchObject({ status: "fulfilled", value: { size: BigInt(DATA.length) } });
  });
});

describe("FileHandle.readBatch", () => {
  test("brings each read's bytes to its place, in one view or in one each", async () => {
    await using handle = await open(tmp.file(DATA));
    const count = 2000; // more than the ring's SQ and CQ
    const offsets = Array.from({ length: count }, (_, i) => (i * 7919) % 290_000);
    const lengths = Uint32Array.from(offsets, (offset) => offset % 101);
    const into = Buffer.alloc(count * 101);
    const results = await handle.readBatch({ offsets, lengths, into });
    expect(results).toBeInstanceOf(Int32Array);
    expect([...results]).toEqual([...lengths]);
    let at = 0;
    offsets.forEach((offset, i) => {
      const [part, wanted] = [into.subarray(at, at + lengths[i]!), DATA.subarray(offset, offset + lengths[i]!)];
      if (!part.equals(wanted)) throw new Error(`read ${i} is wrong`);
      at += lengths[i]!;
    });
    const views = offsets.slice(0, 300).map(() => Buffer.alloc(64));
    const each = await handle.readBatch({
      offsets: Float64Array.from(offsets.slice(0, 300)),
      lengths: 50,
      into: views,
    });
    expect(each.every((res) => res === 50)).toBe(true);
    expect(views.every((view, i) => view.subarray(0, 50).equals(DATA.subarray(offsets[i]!, offsets[i]! + 50)))).toBe(
      true,
    );
  });

  test("says where a read was short or failed", async () => {
    await using handle = await open(tmp.file(DATA));
    const into = Buffer.alloc(300);
    const offsets = [DATA.length - 10, DATA.length + 5, 0];
    expect([...(await handle.readBatch({ offsets, lengths: 100, into }))]).toEqual([10, 0, 100]);
    expect(into.subarray(200).equals(DATA.subarray(0, 100))).toBe(true);
    await using folder = await open(tmp.folder());
    const EISDIR = -21;
    expect([...(await folder.readBatch({ offsets: [0, 0], lengths: 10, into }))]).toEqual([EISDIR, EISDIR]);
    expect([...(await handle.readBatch({ offsets: [], lengths: 10, into }))]).toEqual([]);
  });

  test("large reads, and reads of a pool's memory", async () => {
    await using handle = await open(tmp.file(DATA));
    const into = Buffer.alloc(40 * 100_000);
    const offsets = Array.from({ length: 40 }, (_, i) => i * 5000);
    const results = await handle.readBatch({ offsets, lengths: 100_000, into });
    expect(results.every((res) => res === 100_000)).toBe(true);
    expect(
      offsets.every((offset, i) => into.subarray(i * 1e5, (i + 1) * 1e5).equals(DATA.subarray(offset, offset + 1e5))),
    ).toBe(true);
    const pool = new BufferPool({ size: 8192, count: 1 });
    const lease = await pool.acquire();
    const { bytes } = lease;
    const reads = handle.readBatch({ offsets: [10, 5000], lengths: 4000, into: bytes });
    expect([...(await reads)]).toEqual([4000, 4000]);
    expect(bytes.subarray(0, 4000).equals(DATA.subarray(10, 4010))).toBe(true);
    expect(bytes.subarray(4000, 8000).equals(DATA.subarray(5000, 9000))).toBe(true);
    lease.release();
    expect(pool.tryAcquire()).not.toBeNull(); // the batch does not hold it any more
    await pool.close();
  });

  test("refuses wrong arguments before it reads anything", async () => {
    const handle = await open(tmp.file(DATA));
    const into = Buffer.alloc(100);
    const cases: [object, string][] = [
      [{ offsets: 5, lengths: 1, into }, "ERR_INVALID_ARG_TYPE"],
      [{ offsets: [0, -1], lengths: 1, into }, "ERR_OUT_OF_RANGE"],
      [{ offsets: [0, 1.5], lengths: 1, into }, "ERR_OUT_OF_RANGE"],
      [{ offsets: [0, "1"], lengths: 1, into }, "ERR_INVALID_ARG_TYPE"],
      [{ offsets: [0, 1], lengths: [1], into }, "ERR_INVALID_ARG_TYPE"],
      [{ offsets: [0, 1], lengths: [1, -1], into }, "ERR_OUT_OF_RANGE"],
      [{ offsets: [0, 1], lengths: 51, into }, "ERR_OUT_OF_RANGE"],
      [{ offsets: [0, 1], lengths: 1, into: [into] }, "ERR_OUT_OF_RANGE"],
      [{ offsets: [0], lengths: 101, into: [into] }, "ERR_OUT_OF_RANGE"],
      [{ offsets: [0], lengths: 1, into: 4096 }, "ERR_INVALID_ARG_TYPE"],
      [
        { offsets: [0], lengths: 1, into: new Uint8Array(new ArrayBuffer(9, { maxByteLength: 10 })) },
        "ERR_INVALID_ARG_TYPE",
      ],
    ];
    for (const [options, code] of cases) expect((await reasonOf(handle.readBatch(options as never))).code).toBe(code);
    expect(into.every((byte) => byte === 0)).toBe(true);
    await handle.close();
    expect(await reasonOf(handle.readBatch({ offsets: [0], lengths: 1, into }))).toMatchObject({
      code: "EBADF",
      syscall: "read",
    });
  });

  test("close() waits for it", async () => {
    const handle = await open(tmp.file(DATA));
    const into = Buffer.alloc(600 * 400);
    const order: string[] = [];
    const reads = handle.readBatch({ offsets: Array(600).fill(0), lengths: 400, into }).then((results) => {
      order.push("read");
      return results;
    });
    const closed = handle.close().then(() => order.push("closed"));
    expect((await reads).every((res) => res === 400)).toBe(true);
    await closed;
    expect(order).toEqual(["read", "closed"]);
  });

  test("abort rejects at once and once; the slot is free when the kernel is done", async () => {
    const handle = await open(tmp.file(DATA));
    const controller = new AbortController();
    const into = Buffer.alloc(4_000_000);
    const reads = handle.readBatch({ offsets: Array(40_000).fill(1), lengths: 100, into, signal: controller.signal });
    controller.abort("enough");
    expect(await reasonOf(reads)).toMatchObject({ name: "AbortError", code: "ABORT_ERR", cause: "enough" });
    await handle.close();
    if (!onRing) return;
    const thread = ringThread();
    if (!("ring" in thread)) throw new Error("no ring");
    while (thread.ring.inFlight > 0) await Bun.sleep(1);
    expect([...thread.ring.operations.waiting()]).toEqual([]);
    expect(into.subarray(100 * 5000).every((byte) => byte === 0)).toBe(true); // not all 40,000 were still read
  });

  testUnless(!onRing && "no ring", "notices memory that was taken away meanwhile", async () => {
    await using handle = await open(tmp.file(DATA));
    const into = new Uint8Array(200_000);
    const reads = handle.readBatch({ offsets: [0, 0], lengths: 100_000, into });
    const kept = into.buffer.transfer();
    expect((await reasonOf(reads)).code).toBe("ERR_INVALID_STATE");
    expect(kept.byteLength).toBe(200_000);
  });
});
