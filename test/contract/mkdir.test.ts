// Owns mkdir: modes, recursion and what it resolves to.
// Assumes folders are checked with node:fs's synchronous calls.
// Never covers mkdtemp.

import { expect } from "bun:test";
import { existsSync, statSync, symlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const mkdir = fs.mkdir as (path: any, options?: any) => Promise<any>;
  const isFolder = (path: string): boolean => statSync(path).isDirectory();

  it("makes a folder and resolves to undefined", async () => {
    const path = tmp.path();
    expect(await mkdir(path)).toBeUndefined();
    expect(isFolder(path)).toBe(true);
    const other = tmp.path();
    expect(await mkdir(other, { recursive: false })).toBeUndefined();
    expect(await mkdir(tmp.path(), null)).toBeUndefined();
    expect(await mkdir(tmp.path(), {})).toBeUndefined();
  });

  it("takes the mode as a number, an octal string and an option, 0o777 by default", async () => {
    const umask = process.umask();
    const cases: [options: any, bits: number][] = [
      [undefined, 0o777],
      [0o700, 0o700],
      ["750", 0o750],
      [{ mode: 0o711 }, 0o711],
      [{ mode: "705" }, 0o705],
      [{ mode: 0o700, recursive: true }, 0o700],
    ];
    for (const [options, bits] of cases) {
      const path = tmp.path();
      await mkdir(path, options);
      expect(statSync(path).mode & 0o777).toBe(bits & ~umask);
    }
  });

  it("recursive resolves to the first folder it made", async () => {
    const top = tmp.path();
    expect(await mkdir(join(top, "a/b/c"), { recursive: true })).toBe(top);
    expect(isFolder(join(top, "a/b/c"))).toBe(true);
    expect(await mkdir(join(top, "a/x/y"), { recursive: true })).toBe(join(top, "a/x"));
  });

  it("recursive resolves to undefined when all exist", async () => {
    const path = tmp.folder();
    expect(await mkdir(path, { recursive: true })).toBeUndefined();
    expect(await mkdir(`${path}/`, { recursive: true })).toBeUndefined();
    expect(await mkdir("/", { recursive: true })).toBeUndefined();
  });

  it("recursive takes a relative path, a Buffer and a URL", async () => {
    const top = tmp.path();
    const local = relative(process.cwd(), top);
    expect(await mkdir(join(local, "r/s"), { recursive: true })).toBe(local);
    expect(String(await mkdir(Buffer.from(join(top, "b/c")), { recursive: true }))).toBe(join(top, "b"));
    expect(await mkdir(pathToFileURL(join(top, "u/v w")), { recursive: true })).toBe(join(top, "u"));
    expect(isFolder(join(top, "u/v w"))).toBe(true);
  });

  it("recursive goes through doubled and trailing slashes", async () => {
    const top = tmp.path();
    await mkdir(`${top}//a///b//`, { recursive: true });
    expect(isFolder(join(top, "a/b"))).toBe(true);
  });

  it("recursive goes through a symbolic link to a folder", async () => {
    const link = tmp.path("link");
    const folder = tmp.folder();
    symlinkSync(folder, link);
    await mkdir(join(link, "a/b"), { recursive: true });
    expect(isFolder(join(folder, "a/b"))).toBe(true);
  });

  it("recursive makes 50 paths with common parents at once", async () => {
    const top = tmp.path();
    const paths = Array.from({ length: 50 }, (_, i) => join(top, "x", "y", `z${i % 5}`, `w${i}`));
    await Promise.all(paths.map((path) => mkdir(path, { recursive: true })));
    expect(paths.every(isFolder)).toBe(true);
  });

  it("recursive makes a path 60 folders deep", async () => {
    const top = tmp.path();
    const path = join(top, ...Array.from({ length: 60 }, (_, i) => `d${i}`));
    expect(await mkdir(path, { recursive: true })).toBe(top);
    expect(isFolder(path)).toBe(true);
  });

  it("fails like mkdir(2)", async () => {
    const file = tmp.file();
    const folder = tmp.folder();
    const nowhere = join(tmp.path(), "x");
    for (const path of [file, folder]) await expectSystemError(mkdir(path), { code: "EEXIST", syscall: "mkdir", path });
    await expectSystemError(mkdir(nowhere), { code: "ENOENT", syscall: "mkdir", path: nowhere });
    await expectSystemError(mkdir(`${file}/x`), { code: "ENOTDIR", syscall: "mkdir", path: `${file}/x` });
    await expectSystemError(mkdir(""), { code: "ENOENT", syscall: "mkdir", path: "" });
  });

  it("recursive fails where a file is in the way", async () => {
    const file = tmp.file();
    await expectSystemError(mkdir(file, { recursive: true }), { code: "EEXIST", syscall: "mkdir", path: file });
    for (const path of [`${file}/x`, `${file}/x/y`]) {
      await expectSystemError(mkdir(path, { recursive: true }), { code: "ENOTDIR", syscall: "mkdir", path });
    }
  });

  it("recursive fails where the kernel forbids it", async () => {
    const error = await rejection(mkdir("/proc/bun-uring-test/x", { recursive: true }));
    expect(error.code).toBe("ENOENT");
    expect(error.syscall).toBe("mkdir");
  });

  const MODE = "The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received";
  const RANGE = 'The value of "mode" is out of range. It must be';
  const invalid: [title: string, options: any, code: any, message: string][] = [
    [
      "recursive of a number",
      { recursive: 1 },
      "ERR_INVALID_ARG_TYPE",
      'The "options.recursive" property must be of type boolean. Received type number (1)',
    ],
    [
      "recursive of null",
      { recursive: null },
      "ERR_INVALID_ARG_TYPE",
      'The "options.recursive" property must be of type boolean. Received null',
    ],
    ["a mode of a word", "x", "ERR_INVALID_ARG_VALUE", `${MODE} 'x'`],
    ["an options.mode of a word", { mode: "x" }, "ERR_INVALID_ARG_VALUE", `${MODE} 'x'`],
    ["a negative mode", -1, "ERR_OUT_OF_RANGE", `${RANGE} >= 0 && <= 4294967295. Received -1`],
    ["a mode that is no integer", 1.5, "ERR_OUT_OF_RANGE", `${RANGE} an integer. Received 1.5`],
    [
      "an options.mode of an object",
      { mode: {} },
      "ERR_INVALID_ARG_TYPE",
      'The "mode" argument must be of type number. Received an instance of Object',
    ],
  ];
  for (const [title, options, code, message] of invalid) {
    it(`refuses ${title}, and makes nothing`, async () => {
      const path = tmp.path();
      await expectArgumentError(() => mkdir(path, options), code, message);
      expect(existsSync(path)).toBe(false);
    });
  }
}, "mkdir");
