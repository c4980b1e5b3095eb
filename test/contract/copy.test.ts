// Owns what copyFile adds to Node's: progress, abort, O_DIRECT, queue depth and chunk size, holes kept, nothing half left.
// Assumes root for the full file system (else those tests are skipped). Runs on the backend of the process; the oracle has
// none of this. Node's own contract is copy-file.test.ts.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { currentBackend } from "../../src/backend/choose.ts";
import { backend, capabilities, copyFile, copyTree, cp } from "../../src/index.ts";
import { copyOpened, DEFAULT_REQUEST } from "../../src/tree/copy-file.ts";
import { asUser, NOBODY } from "../helpers/as-user.ts";
import { expectSystemError, rejection } from "../helpers/expect-error.ts";
import { type Mount, mountTmpfs } from "../helpers/mounts.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const KIB = 1024;
const MIB = 1024 * KIB;
const coded = (code: string): object => expect.objectContaining({ code });
const isRoot = process.getuid?.() === 0;

describe("sizes around the borders of chain, chunk and page", () => {
  const sizes = [0, 1, 511, 4096, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 256 * KIB, MIB - 1, MIB, 3 * MIB + 5];
  for (const options of [{}, { direct: true }, { queueDepth: 1, chunkSize: 4096 }, { queueDepth: 3, chunkSize: MIB }]) {
    test(`${JSON.stringify(options)}: every byte, the mode, and no descriptor left`, async () => {
      for (const size of sizes) {
        const data = patternBytes(size, size + 1);
        const source = tmp.file(data);
        chmodSync(source, 0o640);
        for (const dest of [tmp.path(), tmp.file(patternBytes(size + 9, 3))]) {
          await copyFile(source, dest, options);
          expect(readFileSync(dest).equals(data)).toBe(true);
          expect(statSync(dest).mode & 0o7777).toBe(0o640);
        }
      }
      expect(tmp.openFiles()).toEqual([]);
    });
  }
});

test("the umask, which only changing it would tell, is never asked for", async () => {
  const source = tmp.file("x");
  chmodSync(source, 0o666);
  const { umask } = process;
  const before = umask(0o027);
  process.umask = (() => {
    throw new Error("process.umask() was called");
  }) as typeof umask;
  try {
    for (let i = 0; i < 2; i++) {
      const to = tmp.path();
      await copyFile(source, to);
      expect(statSync(to).mode & 0o777).toBe(0o666);
      const tree = tmp.folder();
      await copyFile(source, join(tree, "f"));
      for (const copy of [copyTree, (a: string, b: string) => cp(a, b, { recursive: true })]) {
        const there = tmp.path();
        await copy(tree, there);
        expect(statSync(join(there, "f")).mode & 0o777).toBe(0o666);
      }
    }
  } finally {
    process.umask = umask;
    umask(before);
  }
});

test("the mode is the source's to the last bit, whatever the umask and the target's were", async () => {
  for (const size of [10, 300 * KIB]) {
    for (const mode of [0o777, 0o666, 0o4755, 0o444]) {
      const source = tmp.file(patternBytes(size));
      chmodSync(source, mode);
      const existing = tmp.file("old");
      chmodSync(existing, 0o600);
      for (const dest of [tmp.path(), existing]) {
        await copyFile(source, dest);
        expect(statSync(dest).mode & 0o7777).toBe(mode);
        expect(readFileSync(dest).equals(readFileSync(source))).toBe(true);
      }
    }
  }
});

describe("holes", () => {
  /** A file of `size` with `chunk` at each of the offsets and nothing between. */
  function sparse(size: number, offsets: number[], chunk: Buffer): string {
    const path = tmp.path("sparse");
    const fd = openSync(path, "w");
    for (const offset of offsets) writeSync(fd, chunk, 0, chunk.length, offset);
    ftruncateSync(fd, size);
    fsyncSync(fd);
    closeSync(fd);
    return path;
  }

  const shapes: [string, number, number[]][] = [
    ["in the middle", 20 * MIB + 3, [0, 20 * MIB]],
    ["at the start", 8 * MIB, [7 * MIB + 4096]],
    ["at the end", 8 * MIB + 100, [4096]],
    ["everywhere", 8 * MIB, []],
  ];
  for (const [where, size, offsets] of shapes) {
    for (const direct of [false, true]) {
      test(`${where}${direct ? ", O_DIRECT" : ""}: kept, and the bytes are equal`, async () => {
        const source = sparse(size, offsets, patternBytes(3));
        const dest = tmp.path();
        await copyFile(source, dest, { direct });
        expect(statSync(dest).size).toBe(size);
        expect(readFileSync(dest).equals(readFileSync(source))).toBe(true);
        const fd = openSync(dest, "r");
        fsyncSync(fd);
        closeSync(fd);
        // The node backend sees holes as whole chunks of zeros.
        expect(statSync(dest).blocks * 512).toBeLessThanOrEqual(offsets.length * 256 * KIB);
      });
    }
  }

  // Where there is no ring, holes are read to be seen: half a minute for this one.
  testUnless(
    backend !== "io_uring" && "no ring",
    "beyond 4 GiB",
    async () => {
      const size = 5 * 1024 * MIB + 17;
      const last = size - 3;
      const source = sparse(size, [0, last], patternBytes(3));
      const dest = tmp.path();
      const seen: number[] = [];
      await copyFile(source, dest, { onProgress: ({ bytesCopied }) => seen.push(bytesCopied) });
      expect([statSync(dest).size, seen.at(-1)]).toEqual([size, size]);
      expect(statSync(dest).blocks * 512).toBeLessThan(MIB);
      const fd = openSync(dest, "r");
      const bytes = Buffer.alloc(6);
      readSync(fd, bytes, 0, 3, 0);
      readSync(fd, bytes, 3, 3, last);
      closeSync(fd);
      expect(bytes.equals(Buffer.concat([patternBytes(3), patternBytes(3)]))).toBe(true);
    },
    60_000,
  );
});

describe("onProgress", () => {
  test("what it throws is the rejection, and nothing is left", async () => {
    for (const size of [0, 1000, 3_000_000]) {
      const to = tmp.path();
      const copying = copyFile(tmp.file(Buffer.alloc(size, 1)), to, {
        onProgress() {
          throw new Error("mine");
        },
      });
      await expect(copying).rejects.toThrow("mine");
      expect(existsSync(to)).toBe(false);
    }
  });

  test("grows to the size, and comes at least once", async () => {
    for (const size of [0, 100, 2 * MIB + 1]) {
      const seen: { bytesCopied: number; totalBytes: number }[] = [];
      await copyFile(tmp.file(patternBytes(size)), tmp.path(), {
        onProgress: (progress) => seen.push({ ...progress }),
      });
      const copied = seen.map(({ bytesCopied }) => bytesCopied);
      expect(copied).toEqual(copied.toSorted((a, b) => a - b));
      expect(seen.at(-1)).toEqual({ bytesCopied: size, totalBytes: size });
      if (size > MIB) expect(seen.length).toBeGreaterThan(4);
    }
  });
});

describe("signal", () => {
  test("aborted before: nothing is touched", async () => {
    const dest = tmp.path();
    const failure = await copyFile(tmp.file("x"), dest, { signal: AbortSignal.abort("why") }).catch((error) => error);
    expect([failure.name, failure.code, failure.cause]).toEqual(["AbortError", "ABORT_ERR", "why"]);
    expect(existsSync(dest)).toBe(false);
  });

  for (const existing of [false, true]) {
    test(`aborted on the way: the unfinished target is removed${existing ? ", also one that was there" : ""}`, async () => {
      const abort = new AbortController();
      const source = tmp.file(patternBytes(8 * MIB));
      const dest = existing ? tmp.file("old") : tmp.path();
      let calls = 0;
      const copying = copyFile(source, dest, {
        signal: abort.signal,
        chunkSize: 64 * KIB,
        onProgress: () => void (++calls === 5 && abort.abort()),
      });
      await expect(copying).rejects.toEqual(coded("ABORT_ERR"));
      expect(existsSync(dest)).toBe(false);
      expect(calls).toBe(5);
      await Bun.sleep(50); // what was in the kernel ends behind the scenes
      expect([existsSync(dest), tmp.openFiles()]).toEqual([false, []]);
    });
  }

  test("aborted at any moment: AbortError and no target, or a whole copy", async () => {
    for (let i = 0; i < 60; i++) {
      const data = patternBytes(i % 2 === 0 ? 3000 : 700 * KIB, i);
      const source = tmp.file(data);
      const dest = tmp.path();
      const abort = new AbortController();
      const copying = copyFile(source, dest, { signal: abort.signal }).then(
        () => "copied",
        (error) => error.code,
      );
      if (i % 3 === 0) abort.abort();
      else setTimeout(() => abort.abort(), i / 20);
      const outcome = await copying;
      await Bun.sleep(2);
      if (outcome === "copied") expect(readFileSync(dest).equals(data)).toBe(true);
      else expect([outcome, existsSync(dest)]).toEqual(["ABORT_ERR", false]);
    }
    expect(tmp.openFiles()).toEqual([]);
  });
});

describe("failures", () => {
  test("a target that can't be opened is left as it was", async () => {
    const dest = tmp.folder();
    const path = tmp.file(patternBytes(MIB));
    await expectSystemError(copyFile(path, dest, {}), { code: "EISDIR", syscall: "copyfile", path, dest });
    expect(statSync(dest).isDirectory()).toBe(true);
  });

  test("the same file under another name is left whole", async () => {
    const data = patternBytes(MIB);
    const path = tmp.file(data);
    const other = tmp.path();
    linkSync(path, other);
    for (const options of [{}, { direct: true }]) await copyFile(path, other, options);
    expect(readFileSync(path).equals(data)).toBe(true);
  });

  testUnless(!isRoot && "not root", "a full disk: ENOSPC, the target is removed, and the next copy works", async () => {
    const full: Mount = mountTmpfs(4 * MIB);
    try {
      for (const [size, fill] of [
        [8 * MIB, 0],
        [64 * KIB, 4 * MIB],
      ] as const) {
        const filler = join(full.path, "filler");
        if (fill > 0) expect(() => writeFileSync(filler, patternBytes(fill + 1))).toThrow("ENOSPC");
        const path = tmp.file(patternBytes(size));
        const dest = join(full.path, "copy");
        await expectSystemError(copyFile(path, dest), { code: "ENOSPC", syscall: "copyfile", path, dest });
        expect(existsSync(dest)).toBe(false);
        if (fill > 0) truncateSync(filler, 0);
      }
      const data = patternBytes(2 * MIB);
      await copyFile(tmp.file(data), join(full.path, "copy"));
      expect(readFileSync(join(full.path, "copy")).equals(data)).toBe(true);
    } finally {
      await full.unmount();
    }
  });
});

test("streams: from a FIFO to a file, and to /dev/null, which stays", async () => {
  const data = patternBytes(MIB + 1);
  const fifo = tmp.fifo();
  const dest = tmp.path();
  const copying = copyFile(fifo, dest);
  const feeder = Bun.spawn(["dd", `of=${fifo}`, "bs=64k", "status=none"], { stdin: data });
  await Promise.all([copying, feeder.exited]);
  expect(readFileSync(dest).equals(data)).toBe(true);
  await copyFile(dest, "/dev/null");
  expect(statSync("/dev/null").isCharacterDevice()).toBe(true);
});

const SYMBOLS = "/proc/kallsyms"; // some megabytes
testUnless(!existsSync(SYMBOLS) && `no ${SYMBOLS}`, "a file without a size, in chunks behind each other", async () => {
  const dest = tmp.path();
  const before = readFileSync(SYMBOLS);
  await copyFile(SYMBOLS, dest);
  const copied = readFileSync(dest);
  // A module or a program of BPF may have come or gone meanwhile.
  expect(copied.equals(before) || copied.equals(readFileSync(SYMBOLS))).toBe(true);
});

describe("options that are wrong", () => {
  const cases: [object, string][] = [
    [{ mode: 8 }, "ERR_OUT_OF_RANGE"],
    [{ queueDepth: 0 }, "ERR_OUT_OF_RANGE"],
    [{ chunkSize: 5000 }, "ERR_INVALID_ARG_VALUE"],
    [{ chunkSize: 0 }, "ERR_OUT_OF_RANGE"],
    [{ direct: 1 }, "ERR_INVALID_ARG_TYPE"],
    [{ onProgress: 1 }, "ERR_INVALID_ARG_TYPE"],
    [{ signal: 1 }, "ERR_INVALID_ARG_TYPE"],
  ];
  for (const [options, code] of cases) {
    test(`${JSON.stringify(options)}: ${code}`, async () => {
      const dest = tmp.path();
      await expect(copyFile(tmp.file(), dest, options)).rejects.toEqual(coded(code));
      expect(existsSync(dest)).toBe(false);
    });
  }
});

const { limits, lateClose } = capabilities();
const noChains = backend !== "io_uring" || limits.directDescriptors === 0 || lateClose;

testUnless(
  noChains && "no chains here",
  "a small file takes one chain, no matter how many at once, or where it is alone one call",
  async () => {
    await Bun.sleep(1100); // what another umask took is forgotten
    const { stats } = await import("../../src/index.ts");
    const sources = Array.from({ length: 50 }, (_, i) => tmp.file(patternBytes(1000 + i, i)));
    const before = stats().submitted;
    await Promise.all(sources.map((source) => copyFile(source, tmp.path())));
    // The first has no company yet: the helper may have it. A file server that others have mounted changes nothing: it once
    // made all take the long way, as the targets' names are not cached.
    expect(stats().submitted - before).toBeLessThanOrEqual(50 * 5);
    expect(stats().submitted - before).toBeGreaterThanOrEqual(49 * 5);
    const between = stats().submitted;
    await copyFile(tmp.file(), tmp.path());
    expect(stats().submitted - between).toBeLessThanOrEqual(4); // nothing to write
  },
);

test("a folder is refused, and the file in the target's place stays as it was", async () => {
  const target = tmp.file("kept");
  const copying = copyFile(tmp.folder(), target, { direct: true });
  expect(await rejection(copying)).toMatchObject({ code: "EISDIR", syscall: "copyfile" });
  expect(readFileSync(target, "utf8")).toBe("kept");
});

test("a sparse file onto itself, and onto another name of it, stays as it was", async () => {
  const path = tmp.path();
  const fd = openSync(path, "w");
  writeSync(fd, "begin", 0);
  writeSync(fd, "end", MIB);
  closeSync(fd);
  const before = readFileSync(path);
  const alias = tmp.path();
  linkSync(path, alias);
  for (const to of [path, alias]) await copyFile(path, to, { queueDepth: 2 });
  expect(readFileSync(path).equals(before)).toBe(true);
});

test("a link that is put in the target's place just then is not followed", async () => {
  const [source, victim, link] = [tmp.file(patternBytes(MIB, 2)), tmp.file("victim"), tmp.path()];
  symlinkSync(victim, link);
  const real = currentBackend();
  let looks = 0;
  const fooled: typeof real = Object.create(real, {
    // A file, when it was looked at; then it has gone.
    lookup: { value: () => (looks++ === 0 ? real.lookup(victim, true) : Promise.resolve(-5)) },
  });
  const within = { overwrite: true, follow: false, times: false, accessed: false, dropSetId: false, regularOnly: true };
  const copying = copyOpened(fooled, source, link, { ...DEFAULT_REQUEST, within }, false);
  expect(await rejection(copying)).toMatchObject({ code: "EIO" });
  expect([readFileSync(victim, "utf8"), looks]).toEqual(["victim", 2]);
});

testUnless(!isRoot && "not root", "set-id bits are there after a copy by who has no privileges", () => {
  const folder = tmp.folder();
  chmodSync(tmp.dir, 0o755);
  chownSync(folder, NOBODY, NOBODY);
  const [source, target] = [join(folder, "source"), join(folder, "target")];
  writeFileSync(source, patternBytes(MIB, 5));
  chownSync(source, NOBODY, NOBODY);
  chmodSync(source, 0o4755);
  const program =
    "const { copyFile } = await import(process.argv[1]); await copyFile(process.argv[2], process.argv[3]);";
  const index = join(import.meta.dir, "../../src/index.ts");
  const run = Bun.spawnSync([...asUser(), process.execPath, "-e", program, index, source, target], {
    env: process.env,
  });
  expect(run.stderr.toString()).toBe("");
  expect(statSync(target).mode & 0o7777).toBe(0o4755);
});
