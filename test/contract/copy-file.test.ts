// Owns copyFile as node:fs/promises documents it: contents, mode flags, links, failures.
// Assumes COPYFILE_FICLONE falls back silently where the file system cannot clone.
// Never covers the package's own options of copyFile (progress, direct, queue depth); test/unit does.

import { expect } from "bun:test";
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const { COPYFILE_EXCL, COPYFILE_FICLONE } = fs.constants;

  for (const size of [0, 1, 4095, 4096, 65_536, 262_145, 5_000_001]) {
    it(`copies ${size} bytes`, async () => {
      const data = patternBytes(size, size + 3);
      const dest = tmp.path();
      expect(await fs.copyFile(tmp.file(data), dest)).toBeUndefined();
      expect(readFileSync(dest).equals(data)).toBe(true);
      expect(tmp.openFiles()).toEqual([]);
    });
  }

  it("copies large files, three at once, into nothing and over something longer", async () => {
    const sources = [9, 10, 11].map((mib, i) => patternBytes((mib << 20) + i, i + 1));
    const targets = [tmp.path(), tmp.file(patternBytes(30 << 20, 9)), tmp.path()];
    const copies = sources.map((data, i) => fs.copyFile(tmp.file(data), targets[i]!));
    await Promise.all(copies);
    for (const [i, data] of sources.entries()) expect(readFileSync(targets[i]!).equals(data)).toBe(true);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("a large file that grows while it is copied gives what it had at some moment", async () => {
    const data = patternBytes(24 << 20, 4);
    const src = tmp.file(data.subarray(0, 16 << 20));
    const dest = tmp.path();
    const fd = openSync(src, "a");
    const copy = fs.copyFile(src, dest);
    for (let at = 16 << 20; at < data.length; at += 1 << 20) {
      writeSync(fd, data, at, 1 << 20);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await copy;
    closeSync(fd);
    const copied = readFileSync(dest);
    expect(copied.length).toBeGreaterThanOrEqual(16 << 20);
    expect(copied.equals(data.subarray(0, copied.length))).toBe(true);
  });

  it("replaces a longer target", async () => {
    const dest = tmp.file("a much longer content");
    await fs.copyFile(tmp.file("short"), dest);
    expect(readFileSync(dest, "utf8")).toBe("short");
  });

  it("gives a new target the source's mode", async () => {
    const src = tmp.file("x");
    await fs.chmod(src, 0o750);
    const dest = tmp.path();
    await fs.copyFile(src, dest);
    expect(statSync(dest).mode & 0o777).toBe(0o750 & ~process.umask());
  });

  it("COPYFILE_EXCL refuses an existing target and leaves it", async () => {
    const path = tmp.file("new");
    const dest = tmp.file("old");
    await expectSystemError(fs.copyFile(path, dest, COPYFILE_EXCL), {
      code: "EEXIST",
      syscall: "copyfile",
      path,
      dest,
    });
    expect(readFileSync(dest, "utf8")).toBe("old");
    await fs.copyFile(path, tmp.path(), COPYFILE_EXCL);
  });

  it("COPYFILE_FICLONE copies where it cannot clone", async () => {
    const dest = tmp.path();
    await fs.copyFile(tmp.file("content"), dest, COPYFILE_FICLONE);
    expect(readFileSync(dest, "utf8")).toBe("content");
    await fs.copyFile(tmp.file("again"), tmp.path(), COPYFILE_FICLONE | COPYFILE_EXCL);
  });

  it("takes null and undefined for the mode, Buffers and URLs for the paths", async () => {
    const src = tmp.file("content");
    for (const mode of [null, undefined, 0] as any[]) {
      const dest = tmp.path("with space");
      await fs.copyFile(Buffer.from(src), pathToFileURL(dest), mode);
      expect(readFileSync(dest, "utf8")).toBe("content");
    }
  });

  it("follows symbolic links on both sides", async () => {
    const src = tmp.path("link");
    symlinkSync(tmp.file("content"), src);
    const target = tmp.file("old");
    const dest = tmp.path("link");
    symlinkSync(target, dest);
    await fs.copyFile(src, dest);
    expect(readFileSync(target, "utf8")).toBe("content");
    expect(statSync(dest).isFile()).toBe(true);
  });

  it("copies a file onto itself and onto its own hard link without loss", async () => {
    const path = tmp.file("content");
    await fs.copyFile(path, path);
    expect(readFileSync(path, "utf8")).toBe("content");
    const link = tmp.path();
    linkSync(path, link);
    await fs.copyFile(path, link);
    expect(readFileSync(path, "utf8")).toBe("content");
  });

  it("copies holes as zeros, to the full length", async () => {
    const src = tmp.path("sparse");
    const fd = openSync(src, "w");
    writeSync(fd, "start", 0);
    writeSync(fd, "end", 3 << 20);
    closeSync(fd);
    const dest = tmp.path();
    await fs.copyFile(src, dest);
    expect(readFileSync(dest).equals(readFileSync(src))).toBe(true);
  });

  it("copies files of /proc whose size says 0", async () => {
    const dest = tmp.path();
    await fs.copyFile("/proc/version", dest);
    expect(readFileSync(dest, "utf8")).toBe(readFileSync("/proc/version", "utf8"));
  });

  it("copies 100 files at once", async () => {
    const sources = Array.from({ length: 100 }, (_, i) => tmp.file(`content ${i}`));
    const targets = sources.map(() => tmp.path());
    await Promise.all(sources.map((source, i) => fs.copyFile(source, targets[i]!)));
    expect(targets.map((path) => readFileSync(path, "utf8"))).toEqual(sources.map((_, i) => `content ${i}`));
    expect(tmp.openFiles()).toEqual([]);
  });

  it("fails with both paths and the syscall copyfile", async () => {
    const file = tmp.file("x");
    const folder = tmp.folder();
    const missing = tmp.path();
    const cases: [path: string, dest: string, code: string][] = [
      [missing, tmp.path(), "ENOENT"],
      [file, join(missing, "x"), "ENOENT"],
      [file, folder, "EISDIR"],
      [`${file}/x`, tmp.path(), "ENOTDIR"],
    ];
    for (const [path, dest, code] of cases) {
      await expectSystemError(fs.copyFile(path, dest), { code, syscall: "copyfile", path, dest });
      if (dest !== folder) expect(existsSync(dest)).toBe(false);
    }
    expect(tmp.openFiles()).toEqual([]);
  });

  it("refuses a directory as the source, and leaves no target", async () => {
    const path = tmp.folder();
    mkdirSync(join(path, "sub"));
    const dest = tmp.path();
    await expectSystemError(fs.copyFile(path, dest), { code: "EISDIR", syscall: "copyfile", path, dest });
    expect(existsSync(dest)).toBe(false);
  });

  it("refuses a mode out of range or of another type", async () => {
    const src = tmp.file();
    for (const mode of [-1, 8]) {
      await expectArgumentError(() => fs.copyFile(src, tmp.path(), mode), "ERR_OUT_OF_RANGE");
    }
    await expectArgumentError(() => fs.copyFile(src, tmp.path(), "x" as any), "ERR_INVALID_ARG_TYPE");
    await fs.copyFile(src, tmp.path(), 0.5); // cut off
  });

  it("names the argument it refuses", async () => {
    const wanted = "must be of type string or an instance of Buffer or URL. Received";
    const copyFile = fs.copyFile as any;
    await expectArgumentError(() => copyFile(), "ERR_INVALID_ARG_TYPE", `The "src" argument ${wanted} undefined`);
    await expectArgumentError(() => copyFile("a"), "ERR_INVALID_ARG_TYPE", `The "dest" argument ${wanted} undefined`);
  });
}, "copy-file");
