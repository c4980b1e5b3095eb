// Owns copies of what changes, has holes, has no size, or fails on the way: on both backends the target is what the source was, or gone.
// Assumes a temporary folder on a file system with holes; a device needs root. Faults of single completions: test/fault/told.

import { describe, expect, spyOn, test } from "bun:test";
import { execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createReadStream } from "../../src/fs.ts";
import { backend, copyFile, open } from "../../src/index.ts";
import { rejection } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const MIB = 1024 * 1024;
const data = patternBytes(4 * MIB + 12_345, 3);

describe(`copyFile (${backend})`, () => {
  /** A copy whose source is changed when the first chunk is done, one chunk at a time. */
  async function copied(change: (source: string) => void): Promise<{ from: string; to: string }> {
    const [from, to] = [tmp.file(data), tmp.path()];
    let isChanged = false;
    const onProgress = (): void => {
      if (!isChanged) change(from);
      isChanged = true;
    };
    await copyFile(from, to, { queueDepth: 1, onProgress });
    return { from, to };
  }

  for (const length of [0, 100, MIB, MIB + 100, 4 * MIB]) {
    test(`a source that shrinks to ${length} bytes leaves no zeros behind its end`, async () => {
      const { to } = await copied((source) => truncateSync(source, length));
      const read = Math.max(length, 256 * 1024); // the first chunk had been read
      expect(readFileSync(to).equals(data.subarray(0, read))).toBe(true);
    });
  }

  test("a source that grows is copied as long as it was", async () => {
    const { to } = await copied((source) => appendFileSync(source, data));
    expect(readFileSync(to).equals(data)).toBe(true);
  });

  test("holes stay holes, and what begins with zeros is none", async () => {
    for (const plan of [
      {
        length: 6 * MIB,
        parts: [
          [2 * MIB, 100],
          [5 * MIB + 5000, 30_000],
        ],
      },
      { length: 3 * MIB, parts: [] },
      { length: 3 * MIB + 77, parts: [[0, 5000]] },
      {
        length: 4 * MIB,
        parts: [
          [MIB + 1, 4096],
          [2 * MIB - 1, 2],
        ],
      },
    ] as { length: number; parts: [number, number][] }[]) {
      const from = tmp.file("");
      const fd = openSync(from, "r+");
      ftruncateSync(fd, plan.length);
      for (const [at, length] of plan.parts) writeSync(fd, data, 1, length, at);
      const { blocks } = fstatSync(fd);
      closeSync(fd);
      for (const to of [tmp.path(), tmp.file(Buffer.alloc(5 * MIB, "!"))]) {
        await copyFile(from, to);
        expect(readFileSync(to).equals(readFileSync(from))).toBe(true);
        expect(statSync(to).size).toBe(plan.length);
        // Not more than its data, in whole chunks.
        expect(statSync(to).blocks).toBeLessThanOrEqual(blocks + (plan.parts.length * 2 * 256 * 1024) / 512);
      }
    }
  });

  test("what has no size is copied to its end, in order", async () => {
    const path = tmp.fifo();
    const source = tmp.file(data);
    const writer = spawn("sh", ["-c", 'cat "$1" > "$2"', "sh", source, path]);
    const to = tmp.path();
    await copyFile(path, to);
    writer.kill();
    expect(readFileSync(to).equals(data)).toBe(true);
  });

  test("a copy that another way began and gave up is made anew", async () => {
    // What Bun.write does between two descriptors is not this package's to trust.
    const big = Buffer.concat([data, data, data]);
    const [from, to] = [tmp.file(big), tmp.path()];
    const write = spyOn(Bun, "write").mockImplementation((async () => 5) as never);
    await copyFile(from, to).finally(() => write.mockRestore());
    expect(readFileSync(to).equals(big)).toBe(true);
  });

  test("an abort between two chunks ends it, and the target is gone", async () => {
    const [from, to] = [tmp.file(data), tmp.path()];
    const controller = new AbortController();
    let told = 0;
    const onProgress = (): void => {
      told++;
      controller.abort();
    };
    const copy = copyFile(from, to, { queueDepth: 1, signal: controller.signal, onProgress });
    expect(await rejection(copy)).toMatchObject({ name: "AbortError" });
    expect([told, existsSync(to), tmp.openFiles()]).toEqual([1, false, []]);
  });

  test("a callback that throws ends it, and the target is gone, large or small", async () => {
    for (const content of [data, "small"]) {
      const [from, to] = [tmp.file(content), tmp.path()];
      const onProgress = (): void => {
        throw new RangeError("mine");
      };
      expect(await rejection(copyFile(from, to, { onProgress }))).toMatchObject({ message: "mine" });
      expect([existsSync(to), tmp.openFiles()]).toEqual([false, []]);
    }
  });

  test("onto itself, by another name: nothing is emptied, nothing removed", async () => {
    const [from, to] = [tmp.file(data), tmp.path()];
    execFileSync("ln", [from, to]);
    await copyFile(from, to);
    const { signal } = new AbortController();
    await copyFile(from, to, { signal, onProgress: () => {} });
    expect([readFileSync(from).equals(data), readFileSync(to).equals(data)]).toEqual([true, true]);
  });

  test("permissions go along, set-id bits too, over a file that is there", async () => {
    for (const mode of [0o640, 0o4755, 0o2755, 0o400]) {
      for (const content of [data, "small"]) {
        const [from, to] = [tmp.file(content), tmp.file("before")];
        chmodSync(from, mode);
        await copyFile(from, to);
        expect((statSync(to).mode & 0o7777).toString(8)).toBe(mode.toString(8));
      }
    }
  });

  test("a folder is no file, on either side, and stays", async () => {
    const [folder, file] = [tmp.folder(), tmp.file(data)];
    expect(await rejection(copyFile(folder, tmp.path()))).toMatchObject({ code: "EISDIR", syscall: "copyfile" });
    expect(await rejection(copyFile(file, folder))).toMatchObject({ code: "EISDIR", syscall: "copyfile" });
    expect([lstatSync(folder).isDirectory(), tmp.openFiles()]).toEqual([true, []]);
  });

  const isRoot = process.getuid!() === 0;
  test.skipIf(!isRoot)(`a device that is full is told, and stays${isRoot ? "" : " [skipped: not root]"}`, async () => {
    const device = tmp.path("device");
    execFileSync("mknod", [device, "c", "1", "7"]); // /dev/full
    for (const content of [data, "small"]) {
      expect(await rejection(copyFile(tmp.file(content), device))).toMatchObject({
        code: "ENOSPC",
        syscall: "copyfile",
      });
      expect(lstatSync(device).isCharacterDevice()).toBe(true);
    }
    const aborted = AbortSignal.abort();
    await rejection(copyFile(tmp.file(data), device, { signal: aborted }));
    expect(lstatSync(device).isCharacterDevice()).toBe(true);
  });
});

describe(`streams (${backend})`, () => {
  test("a file that grows while it is read is read to its new end", async () => {
    const path = tmp.file(data);
    const parts: Buffer[] = [];
    let isGrown = false;
    for await (const chunk of createReadStream(path)) {
      parts.push(chunk as Buffer);
      if (!isGrown) appendFileSync(path, "and more");
      isGrown = true;
    }
    expect(Buffer.concat(parts).equals(Buffer.concat([data, Buffer.from("and more")]))).toBe(true);
  });

  test("a file that shrinks while it is read ends where it does then", async () => {
    const path = tmp.file(data);
    let length = 0;
    for await (const chunk of createReadStream(path, { highWaterMark: 4096 })) {
      const bytes = chunk as Buffer;
      expect(bytes.equals(data.subarray(length, length + bytes.length))).toBe(true);
      if (length === 0) truncateSync(path, 3 * MIB);
      length += bytes.length;
    }
    expect(length).toBe(3 * MIB);
  });

  test("a handle whose file is cut reads what there is", async () => {
    const path = tmp.file(data);
    await using handle = await open(path, "r+");
    truncateSync(path, 1000);
    expect((await handle.readFile()).equals(data.subarray(0, 1000))).toBe(true);
    writeFileSync(path, data);
    expect((await handle.read(Buffer.alloc(10), 0, 10, data.length - 3)).bytesRead).toBe(3);
  });
});
