// Owns small writes that wait at a file's own position: each call's own result, whatever is written together.
// Assumes a temporary folder on a file system that keeps data (ext4, tmpfs …). On both backends; system calls are counted
// where the ring counts them.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { appendFile, backend, type FileHandle, open, readFile, stats } from "../../src/index.ts";
import { rejection } from "../helpers/expect-error.ts";
import { mountTmpfs } from "../helpers/mounts.ts";
import { missing } from "../helpers/requirements.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const flush = true;
const data = patternBytes(100_000, 5);

/** What a file holds after `body`, opened with `flags`. */
async function written(body: (handle: FileHandle) => Promise<unknown>, flags = "w+"): Promise<Buffer> {
  const path = tmp.file("");
  await using handle = await open(path, flags);
  await body(handle);
  return readFileSync(path);
}

describe("small writes that wait", () => {
  for (const flags of ["w+", "a"]) {
    test(`200 in one turn, opened with ${flags}: in order, each with its own result`, async () => {
      const content = await written(async (handle) => {
        const calls = Array.from({ length: 200 }, (_, i) => {
          const view = data.subarray(i * 100, (i + 1) * 100);
          return handle.write(view).then(({ bytesWritten, buffer }) => {
            expect(bytesWritten).toBe(100);
            expect(buffer).toBe(view);
          });
        });
        await Promise.all(calls);
      }, flags);
      expect(content.equals(data.subarray(0, 20_000))).toBe(true);
    });
  }

  test("strings, views, vectors, long writes and reads keep the order of the calls", async () => {
    const path = tmp.file("");
    await using handle = await open(path, "w+");
    const read = Buffer.alloc(4);
    const calls: Promise<unknown>[] = [];
    for (let round = 0; round < 5; round++) {
      calls.push(handle.write("één "), handle.write(data, 10, 20), handle.write(new Uint16Array([1, 2, 3])));
      calls.push(handle.writev([data.subarray(0, 5), data.subarray(5, 9)]), handle.write("x"), handle.write("yz"));
      calls.push(
        handle.write(data, 0, 50_000),
        handle.write("after"),
        handle.write("flushed", null, "utf8", { flush }),
      );
    }
    calls.push(handle.read(read, 0, 4, null));
    await Promise.all(calls);
    const round = [
      Buffer.from("één "),
      data.subarray(10, 30),
      Buffer.from(new Uint16Array([1, 2, 3]).buffer),
      data.subarray(0, 9),
      Buffer.from("xyz"),
      data.subarray(0, 50_000),
      Buffer.from("afterflushed"),
    ];
    expect(readFileSync(path).equals(Buffer.concat([...round, ...round, ...round, ...round, ...round]))).toBe(true);
  });

  test("the file of a kernel interface gets each write by itself", async () => {
    const path = "/proc/self/oom_score_adj";
    const before = readFileSync(path, "utf8");
    await using handle = await open(path, "r+");
    const base = Math.max(Number(before), 10);
    const results = await Promise.all([base, base + 1, base + 2].map((score) => handle.write(`${score}`)));
    expect(results.map(({ bytesWritten }) => bytesWritten)).toEqual(
      [`${base}`, `${base + 1}`, `${base + 2}`].map(({ length }) => length),
    );
    expect(Number(readFileSync(path, "utf8"))).toBe(base + 2);
  });

  testUnless(
    backend !== "io_uring" && "no ring",
    "a FIFO gets each write by itself, though ext4 and tmpfs have it",
    async () => {
      const path = tmp.fifo();
      await using handle = await open(path, "r+");
      await handle.write("zero ");
      const before = stats().submitted;
      await Promise.all(["one ", "two ", "three"].map((word) => handle.write(word)));
      expect(stats().submitted - before).toBe(3);
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(100));
      expect(buffer.toString("utf8", 0, bytesRead)).toBe("zero one two three");
    },
  );

  test("a view that is taken away before its turn fails by itself", async () => {
    const content = await written(async (handle) => {
      const [first, taken, last] = [Buffer.alloc(2000, "a"), new Uint8Array(2000), Buffer.alloc(2000, "c")];
      const calls = [handle.write(first), handle.write(first), handle.write(taken), handle.write(last)];
      structuredClone(taken.buffer, { transfer: [taken.buffer] });
      expect(await rejection(calls[2]!)).toMatchObject({ code: "ERR_INVALID_STATE" });
      await Promise.all([calls[0], calls[1], calls[3]]);
    });
    expect(content.toString()).toBe("a".repeat(4000) + "c".repeat(2000));
  });

  test("a long one that is taken away before its turn is told so, the next one is written", async () => {
    const content = await written(async (handle) => {
      const taken = new Uint8Array(100_000);
      const calls = [handle.write(Buffer.alloc(100_000, "a")), handle.write(taken), handle.write("c")];
      structuredClone(taken.buffer, { transfer: [taken.buffer] });
      expect(await rejection(calls[1]!)).toMatchObject({ code: "ERR_INVALID_STATE" });
      await Promise.all([calls[0], calls[2]]);
    });
    expect(content.toString()).toBe(`${"a".repeat(100_000)}c`);
  });

  test("close() waits for all of them", async () => {
    const path = tmp.file("");
    const handle = await open(path, "a");
    const calls = Array.from({ length: 50 }, (_, i) =>
      handle.write(data, i * 10, 10, null, i % 3 === 0 ? { flush } : null),
    );
    await handle.close();
    expect(readFileSync(path).equals(data.subarray(0, 500))).toBe(true);
    await Promise.all(calls);
  });

  testUnless(
    backend !== "io_uring" && "no ring",
    "64 of them are two writes; with a sync each, two syncs more",
    async () => {
      const path = tmp.file("");
      await using handle = await open(path, "a");
      await handle.write("x");
      const submittedBy = async (work: () => Promise<unknown>): Promise<number> => {
        const before = stats().submitted;
        await work();
        return stats().submitted - before;
      };
      const all = (options: object | null): Promise<unknown> =>
        Promise.all(Array.from({ length: 64 }, () => handle.write(data, 0, 100, null, options)));
      expect(await submittedBy(() => all(null))).toBe(2);
      expect(await submittedBy(() => all({ flush }))).toBe(4);
      expect((await readFile(path)).length).toBe(1 + 2 * 6400);
    },
  );

  const reason = missing(["tmpfs"]);
  testUnless(reason, "where the space ends, each says what it got: whole, in part, or ENOSPC", async () => {
    await using small = mountTmpfs(256 << 10);
    for (const options of [null, { flush }]) {
      const path = `${small.path}/file`;
      await using handle = await open(path, "w");
      const calls = Array.from({ length: 40 }, () => handle.write(data, 0, 10_000, null, options));
      const settled = await Promise.allSettled(calls);
      const counts = settled.map((one) => {
        if (one.status === "fulfilled") return one.value.bytesWritten;
        expect(one.reason).toMatchObject({ code: "ENOSPC", syscall: "write" });
        return one.reason.bytesWritten ?? 0;
      });
      const whole = counts.findIndex((count) => count < 10_000);
      expect(whole).toBeGreaterThan(20);
      expect(counts.slice(whole + 1).every((count) => count === 0)).toBe(true);
      const content = readFileSync(path);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(content.length);
      for (let i = 0; i < whole; i++)
        expect(content.subarray(i * 10_000, (i + 1) * 10_000).equals(data.subarray(0, 10_000))).toBe(true);
      await handle.truncate(0);
    }
  });
});

test("appendFile on one handle, many at once", async () => {
  const content = await written(async (handle) => {
    await Promise.all(Array.from({ length: 30 }, (_, i) => appendFile(handle, `${String(i).padStart(4, "0")}\n`)));
  }, "a");
  expect(content.toString()).toBe(Array.from({ length: 30 }, (_, i) => `${String(i).padStart(4, "0")}\n`).join(""));
});
