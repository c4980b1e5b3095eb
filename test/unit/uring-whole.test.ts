// Owns what only the ring's ways to read and write whole files can get wrong: results of single links that the chain's
// end would hide, and which way a file of which size takes. Assumes /dev/null, which takes every write and refuses fsync
// with EINVAL. The behaviour in common is in test/contract.

import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { constants, readFileSync, writeFileSync } from "node:fs";
import { backend, Opcode, Ring, shutdown } from "../../src/index.ts";
import { readFile, writeFile } from "../../src/promises.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const LANE = 64 * 1024;
const INLINE = 1024 * 1024;
const MIB = 1024 * 1024;

testUnless(
  backend !== "io_uring" && "no ring",
  "a sync that fails in the chain is not hidden by the close after it",
  async () => {
    const error = await writeFile("/dev/null", "data", { flush: true }).then(
      () => null,
      (reason) => reason,
    );
    expect(error).toMatchObject({ code: "EINVAL", syscall: "fsync" });
    await writeFile("/dev/null", "data");
  },
);

test("files around every size at which the way changes, one at a time and all at once, cached and not", async () => {
  const sizes = [0, 1, LANE - 1, LANE, LANE + 1, 2 * LANE, INLINE - 1, INLINE, INLINE + 1, 2 * INLINE];
  const files = sizes.map((size, i) => {
    const data = patternBytes(size, i + 1);
    return { data, path: tmp.file(data) };
  });
  const evict = (): void => {
    for (const { path } of files)
      execFileSync("dd", [`of=${path}`, "oflag=nocache,sync", "conv=notrunc,fdatasync", "count=0", "status=none"]);
  };
  // Large ones make every file of a turn go the way of the large ones; small ones lead back.
  for (const lead of [files, [...files].reverse()]) {
    for (const { path, data } of lead) {
      expect((await readFile(path)).equals(data)).toBe(true);
      expect(await readFile(path, "latin1")).toBe(data.toString("latin1"));
    }
    const results = await Promise.all([...lead, ...lead].map(({ path }) => readFile(path)));
    expect(results.every((bytes, i) => bytes.equals(lead[i % lead.length]!.data))).toBe(true);
    evict();
  }
  for (const { path, data } of files) expect((await readFile(path)).equals(data)).toBe(true);
  expect(tmp.openFiles()).toEqual([]);
});

testUnless(
  lacking("plain calls that can't block"),
  "however large the inline budget, one plain call reads 64 MiB at most",
  async () => {
    const ring = Ring.current();
    const before = ring.tune();
    ring.tune({ inlineBytes: Number.POSITIVE_INFINITY, inlineUs: Number.POSITIVE_INFINITY });
    try {
      const submitted: boolean[] = [];
      for (const size of [64 * MIB, 64 * MIB + 1]) {
        const data = Buffer.alloc(size, "0123456789abcdef");
        const path = tmp.file(data);
        await readFile(path); // so that the next one's way is the one of large files
        const soFar = ring.stats.submitted;
        expect((await readFile(path)).equals(data)).toBe(true);
        submitted.push(ring.stats.submitted > soFar);
      }
      expect(submitted).toEqual([false, true]);
    } finally {
      ring.tune(before);
    }
  },
);

test("a write over a file that is aborted leaves the file, or nothing but what was written", async () => {
  const path = tmp.path();
  for (const length of [4096, 3 * MIB]) {
    for (let turns = 0; turns < 12; turns++) {
      writeFileSync(path, Buffer.alloc(4 * MIB, "o"));
      const controller = new AbortController();
      const { signal } = controller;
      const ended = writeFile(path, Buffer.alloc(length, "n"), { signal }).then(
        () => null,
        (error) => error,
      );
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
      const error = await ended;
      const left = readFileSync(path);
      const written = left.filter((byte) => byte === 0x6e).length;
      if (error === null) expect([left.length, written]).toEqual([length, length]);
      else if (written > 0 || left.length !== 4 * MIB) expect(left.length).toBe(written);
    }
  }
}, 60_000);

test("what flags of their own empty is as empty as ever", async () => {
  const { O_WRONLY, O_RDWR, O_TRUNC, O_APPEND, O_CREAT, O_EXCL } = constants;
  for (const flag of [O_WRONLY | O_TRUNC, O_RDWR | O_TRUNC, O_WRONLY | O_TRUNC | O_APPEND]) {
    for (const data of ["", "new", Buffer.alloc(2 * MIB, "n")]) {
      const path = tmp.file("what was here before");
      await writeFile(path, data, { flag, flush: true });
      expect(readFileSync(path).equals(Buffer.from(data as string))).toBe(true);
    }
  }
  const path = tmp.file("kept");
  const refused = await writeFile(path, "x", { flag: O_WRONLY | O_TRUNC | O_CREAT | O_EXCL }).catch(
    (error) => error.code,
  );
  expect([refused, readFileSync(path, "latin1")]).toEqual(["EEXIST", "kept"]);
});

testUnless(
  lacking("plain calls that can't block"),
  "large cached files, many at once: in turns of the event loop, without the ring",
  async () => {
    const data = patternBytes(512 * 1024, 3);
    const path = tmp.file(data);
    const ring = Ring.current();
    const before = ring.tune();
    ring.tune({ inlineUs: 300 }); // some of them a turn
    try {
      for (let i = 0; i < 8; i++) await readFile(path); // their way is the one of large files
      const { submitted } = ring.stats;
      let turns = 0;
      const counter = setInterval(() => turns++, 0);
      const name = Buffer.from(path);
      const controller = new AbortController();
      const reads = Array.from({ length: 60 }, () => readFile(name));
      const aborted = readFile(path, { signal: controller.signal }).catch((error) => error.name);
      name.fill(0x78); // who waits for its turn has the path of the call
      controller.abort();
      const results = await Promise.all(reads);
      clearInterval(counter);
      expect(results.every((bytes) => bytes.equals(data))).toBe(true);
      expect(await aborted).toBe("AbortError");
      expect(turns).toBeGreaterThan(1);
      expect(ring.stats.submitted).toBe(submitted);
    } finally {
      ring.tune(before);
    }
    expect(tmp.openFiles()).toEqual([]);
  },
);

testUnless(
  backend !== "io_uring" && "no ring",
  "a shutdown does not lose large reads that wait for their turn",
  async () => {
    const data = patternBytes(512 * 1024, 4);
    const path = tmp.file(data);
    for (let i = 0; i < 8; i++) await readFile(path);
    const reads = Array.from({ length: 60 }, () => readFile(path));
    await shutdown();
    const results = await Promise.all(reads);
    expect(results.every((bytes) => bytes.equals(data))).toBe(true);
    expect(tmp.openFiles()).toEqual([]);
  },
);

testUnless(
  lacking("plain calls that can't block"),
  "cached files that are read one after another stay off the ring, however slow the caller and whatever else is pending",
  async () => {
    const path = tmp.file(patternBytes(4096, 5));
    for (let i = 0; i < 8; i++) await readFile(path);
    const ring = Ring.current();
    const ending = new AbortController();
    const pending = Array.from({ length: 4 }, () =>
      ring.submit({ opcode: Opcode.TIMEOUT, timeoutMs: 60_000 }, { signal: ending.signal }).catch(() => {}),
    );
    await Bun.sleep(1);
    const { submitted } = ring.stats;
    for (let i = 0; i < 100; i++) {
      await readFile(path);
      for (const end = performance.now() + 0.2; performance.now() < end; );
    }
    expect(ring.stats.submitted).toBe(submitted);
    ending.abort();
    await Promise.all(pending);
  },
);
