// Owns `cache: "bypass"` of open, copyFile, writeFileAtomic, receive and AppendLog: the same bytes whatever the file system says to the
// flag, and, where it takes it, pages that leave the page cache. Assumes python3 (to ask the kernel itself whether it takes the
// flag) and fincore for the latter. Never measures time.

import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AppendLog, writeFileAtomic } from "../../src/durable.ts";
import * as library from "../../src/index.ts";
import { receive } from "../../src/server.ts";
import { expectArgumentError } from "../helpers/expect-error.ts";
import { patternBytes, scratch, tmpDir } from "../helpers/tmp.ts";

const tmp = scratch();
const { open, copyFile } = library;
const BYTES = 4 * 1024 * 1024 + 1000;
const content = patternBytes(BYTES);

/** Whether writes with RWF_DONTCACHE are taken in this folder, as the kernel says to somebody else. */
function takesFlag(folder: string): boolean {
  const probe = "import os, sys; os.pwritev(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), [b'x'], 0, 0x80)";
  const file = join(folder, "dontcache-probe");
  const { success } = Bun.spawnSync(["python3", "-c", probe, file], { stderr: "ignore" });
  rmSync(file, { force: true });
  return success;
}

/** Bytes of a file in the page cache. */
function cachedBytes(path: string): number {
  const { stdout } = Bun.spawnSync(["fincore", "--bytes", "--noheadings", "--output", "RES", path]);
  return Number(stdout.toString().trim());
}

const tools = ["python3", "fincore"].every((tool) => Bun.which(tool) !== null);
const taken = library.backend === "io_uring" && tools && takesFlag(tmpDir());
const why = taken ? "" : " [skipped: no ring, no RWF_DONTCACHE, no fincore or no python3]";

/** Folders of two file systems: one that takes the flag on new kernels, one that never does. */
const folders: [string, () => string][] = [["the temporary folder", () => tmpDir()]];
if (existsSync("/dev/shm")) folders.push(["tmpfs", () => mkdtempSync("/dev/shm/bun-uring-bypass-")]);

for (const [name, make] of folders) {
  test(`on ${name} the bytes are the same`, async () => {
    const folder = make();
    try {
      const path = join(folder, "file");
      await using handle = await open(path, "w+", { cache: "bypass" });
      // At once, so that several are refused where the first is.
      const parts = [0, 1, 2, 3].map((i) => content.subarray(i * 1024 * 1024, (i + 1) * 1024 * 1024));
      await Promise.all(parts.map((part, i) => handle.write(part, 0, part.length, i * 1024 * 1024)));
      const tail = content.subarray(4 * 1024 * 1024);
      await handle.writev([tail.subarray(0, 300), tail.subarray(300)], 4 * 1024 * 1024);
      await handle.datasync();
      expect(readFileSync(path).equals(content)).toBe(true);
      const into = Buffer.alloc(BYTES);
      const reads = [0, 1, 2, 3, 4].map((i) =>
        handle.read(into, i * 1024 * 1024, Math.min(1024 * 1024, BYTES - i * 1024 * 1024), i * 1024 * 1024),
      );
      expect((await Promise.all(reads)).reduce((sum, { bytesRead }) => sum + bytesRead, 0)).toBe(BYTES);
      expect(into.equals(content)).toBe(true);
      const vector = [Buffer.alloc(10), Buffer.alloc(20)];
      expect((await handle.readv(vector, 5)).bytesRead).toBe(30);
      expect(Buffer.concat(vector).equals(content.subarray(5, 35))).toBe(true);
      await handle.write(Buffer.from("durable"), { position: 0, flush: true } as object);
      expect(readFileSync(path, "latin1").slice(0, 7)).toBe("durable");

      await copyFile(path, join(folder, "copy"), { cache: "bypass" });
      expect(readFileSync(join(folder, "copy")).equals(readFileSync(path))).toBe(true);
      await writeFileAtomic(join(folder, "atomic"), content, { cache: "bypass", durability: "data" });
      expect(readFileSync(join(folder, "atomic")).equals(content)).toBe(true);
      for (const offset of [undefined, BYTES]) {
        const got = await receive(new Request("http://x/", { method: "POST", body: content }), join(folder, "upload"), {
          cache: "bypass",
          offset,
        });
        expect(got.bytes).toBe(BYTES);
      }
      expect(readFileSync(join(folder, "upload")).equals(Buffer.concat([content, content]))).toBe(true);
      for (const durability of ["data", "none"] as const) {
        await using log = await AppendLog.open(join(folder, `log-${durability}`), {
          framing: "lines",
          durability,
          cache: "bypass",
        });
        await Promise.all(["one", "two", "three"].map((line) => log.append(line)));
        await log.flush();
        expect(readFileSync(join(folder, `log-${durability}`), "utf8")).toBe("one\ntwo\nthree\n");
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test.skipIf(!taken)(`what was written, copied or read leaves the page cache${why}`, async () => {
  const [kept, path, copy] = [tmp.path(), tmp.path(), tmp.path()];
  const write = async (to: string, cache: "keep" | "bypass"): Promise<void> => {
    await using handle = await open(to, "w", { cache });
    await handle.writeFile(content);
    await handle.datasync();
  };
  await write(kept, "keep");
  await write(path, "bypass");
  expect(cachedBytes(kept)).toBeGreaterThanOrEqual(BYTES);
  expect(cachedBytes(path)).toBeLessThan(BYTES / 4);
  await copyFile(path, copy, { cache: "bypass" });
  await using handle = await open(copy, "r+");
  await handle.datasync();
  expect(cachedBytes(copy)).toBeLessThan(BYTES / 4);
  expect(cachedBytes(path)).toBeLessThan(BYTES / 4);
  expect(readFileSync(copy).equals(content)).toBe(true);
});

test("another word is refused", async () => {
  const path = tmp.path();
  writeFileSync(path, "x");
  for (const cache of ["no", 1, null] as any[]) {
    await expectArgumentError(open(path, "r", { cache }), "ERR_INVALID_ARG_VALUE");
    await expectArgumentError(copyFile(path, `${path}2`, { cache }), "ERR_INVALID_ARG_VALUE");
    await expectArgumentError(writeFileAtomic(path, "y", { cache }), "ERR_INVALID_ARG_VALUE");
    await expectArgumentError(AppendLog.open(path, { cache }), "ERR_INVALID_ARG_VALUE");
  }
  expect(readFileSync(path, "utf8")).toBe("x");
});
