// Owns rm, cp, mkdtemp and mkdtempDisposable.
// Assumes trees are checked with node:fs's synchronous calls.
// Never measures time; benchmarks do.

import { expect } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

/** a (content "a"), b/c (content "c"), b/d/, link -> a */
function plant(folder: string): string {
  mkdirSync(join(folder, "b/d"), { recursive: true });
  writeFileSync(join(folder, "a"), "a");
  writeFileSync(join(folder, "b/c"), "c");
  symlinkSync(join(folder, "a"), join(folder, "link"));
  return folder;
}
const tree = (folder: string): string[] => (readdirSync(folder, { recursive: true }) as string[]).sort();
const TREE = ["a", "b", "b/c", "b/d", "link"];

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const rm = fs.rm as (path: any, options?: any) => Promise<void>;
  const cp = fs.cp as (src: any, dest: any, options?: any) => Promise<void>;

  it("rm removes a file and a symbolic link, not its target", async () => {
    const path = tmp.file();
    const link = tmp.path("link");
    symlinkSync(path, link);
    expect(await rm(link)).toBeUndefined();
    expect(existsSync(path)).toBe(true);
    await rm(path);
    expect(existsSync(path)).toBe(false);
  });

  it("rm recursive removes a tree, and nothing behind its links", async () => {
    const outside = tmp.folder();
    writeFileSync(join(outside, "keep"), "");
    const folder = plant(tmp.folder());
    symlinkSync(outside, join(folder, "b/outside"));
    expect(await rm(folder, { recursive: true })).toBeUndefined();
    expect(existsSync(folder)).toBe(false);
    expect(existsSync(join(outside, "keep"))).toBe(true);
  });

  it("rm recursive removes a symbolic link to a folder only itself", async () => {
    const folder = plant(tmp.folder());
    const link = tmp.path("link");
    symlinkSync(folder, link);
    await rm(link, { recursive: true });
    expect(existsSync(link)).toBe(false);
    expect(tree(folder)).toEqual(TREE);
  });

  it("rm recursive of a path that ends in a dot removes nothing, since the folder itself can't be", async () => {
    const folder = tmp.folder();
    mkdirSync(join(folder, "a"));
    writeFileSync(join(folder, "a/f"), "still");
    for (const path of [`${folder}/a/.`, `${folder}/a/./`, Buffer.from(`${folder}/.`)]) {
      for (const force of [false, true]) {
        await expectSystemError(() => rm(path, { recursive: true, force }), {
          code: "EINVAL",
          syscall: "rmdir",
          path: `${path}`,
        });
      }
    }
    expect(tree(folder)).toEqual(["a", "a/f"]);
    expect(await rm(`${folder}/none/.`, { recursive: true, force: true })).toBeUndefined();
  });

  it("rm recursive removes a wide and deep tree", async () => {
    const folder = tmp.folder();
    for (let i = 0; i < 30; i++) {
      const sub = join(folder, `d${i}`, ...Array.from({ length: 10 }, (_, j) => `e${j}`));
      mkdirSync(sub, { recursive: true });
      for (let j = 0; j < 20; j++) writeFileSync(join(folder, `d${i}`, `f${j}`), "");
    }
    await rm(folder, { recursive: true });
    expect(existsSync(folder)).toBe(false);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("rm force is silent about what is missing, and only about that", async () => {
    const missing = tmp.path();
    expect(await rm(missing, { force: true })).toBeUndefined();
    expect(await rm(missing, { force: true, recursive: true })).toBeUndefined();
    await expectSystemError(rm(missing), { code: "ENOENT", syscall: "lstat", path: missing });
  });

  it("rm of a folder without recursive fails with Node's own error", async () => {
    const folder = tmp.folder();
    const error = await rejection(rm(folder));
    expect(error.code).toBe("ERR_FS_EISDIR");
    expect(error.name).toBe("SystemError");
    expect(error.message).toBe(`Path is a directory: rm returned EISDIR (is a directory) ${folder}`);
    expect(existsSync(folder)).toBe(true);
    expect((await rejection(rm(folder, { force: true }))).code).toBe("ERR_FS_EISDIR");
  });

  const badRm: [title: string, options: any, code: any, message: string][] = [
    [
      "recursive",
      { recursive: 1 },
      "ERR_INVALID_ARG_TYPE",
      'The "options.recursive" property must be of type boolean. Received type number (1)',
    ],
    [
      "force",
      { force: 1 },
      "ERR_INVALID_ARG_TYPE",
      'The "options.force" property must be of type boolean. Received type number (1)',
    ],
    [
      "retryDelay",
      { retryDelay: -1 },
      "ERR_OUT_OF_RANGE",
      'The value of "options.retryDelay" is out of range. It must be >= 0 && <= 2147483647. Received -1',
    ],
    [
      "maxRetries",
      { maxRetries: -1 },
      "ERR_OUT_OF_RANGE",
      'The value of "options.maxRetries" is out of range. It must be >= 0 && <= 4294967295. Received -1',
    ],
    ["options null", null, "ERR_INVALID_ARG_TYPE", 'The "options" argument must be of type object. Received null'],
    [
      "options of a string",
      "x",
      "ERR_INVALID_ARG_TYPE",
      `The "options" argument must be of type object. Received type string ('x')`,
    ],
  ];
  for (const [title, options, code, message] of badRm) {
    it(`rm refuses a bad ${title}, and removes nothing`, async () => {
      const path = tmp.file();
      await expectArgumentError(() => rm(path, options), code, message);
      expect(existsSync(path)).toBe(true);
    });
  }

  it("cp copies a file, and makes the folders above its target", async () => {
    const src = tmp.file("content");
    const dest = join(tmp.path(), "x/y");
    expect(await cp(src, dest)).toBeUndefined();
    expect(readFileSync(dest, "utf8")).toBe("content");
  });

  it("cp recursive copies a tree with modes and links", async () => {
    const src = plant(tmp.folder());
    chmodSync(join(src, "b/c"), 0o750);
    const dest = tmp.path();
    expect(await cp(src, dest, { recursive: true })).toBeUndefined();
    expect(tree(dest)).toEqual(TREE);
    expect(readFileSync(join(dest, "b/c"), "utf8")).toBe("c");
    expect(statSync(join(dest, "b/c")).mode & 0o777).toBe(0o750);
    expect(lstatSync(join(dest, "link")).isSymbolicLink()).toBe(true);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("cp recursive merges into a folder that exists", async () => {
    const src = plant(tmp.folder());
    const dest = tmp.folder();
    mkdirSync(join(dest, "b"));
    writeFileSync(join(dest, "b/c"), "old");
    writeFileSync(join(dest, "b/mine"), "mine");
    await cp(src, dest, { recursive: true });
    expect(readFileSync(join(dest, "b/c"), "utf8")).toBe("c");
    expect(readFileSync(join(dest, "b/mine"), "utf8")).toBe("mine");
  });

  it("cp force: false keeps what is there, errorOnExist refuses it", async () => {
    const src = tmp.file("new");
    const dest = tmp.file("old");
    await cp(src, dest, { force: false });
    expect(readFileSync(dest, "utf8")).toBe("old");
    const error = await rejection(cp(src, dest, { force: false, errorOnExist: true }));
    expect(error.code).toBe("ERR_FS_CP_EEXIST");
    expect(error.message).toBe(`Target already exists: cp returned EEXIST (${dest} already exists) ${dest}`);
    expect(readFileSync(dest, "utf8")).toBe("old");
    await cp(src, dest, { errorOnExist: true });
    expect(readFileSync(dest, "utf8")).toBe("new");
  });

  it("cp filters, also by a promise, with both paths", async () => {
    const src = plant(tmp.folder());
    for (const wrap of [(value: boolean) => value, (value: boolean) => Promise.resolve(value)]) {
      const dest = tmp.path();
      const seen: string[] = [];
      const filter = (from: string, to: string) => {
        seen.push(from.slice(src.length));
        expect(to).toBe(dest + from.slice(src.length));
        return wrap(!from.endsWith("/b"));
      };
      await cp(src, dest, { recursive: true, filter });
      expect(tree(dest)).toEqual(["a", "link"]);
      expect(seen.sort()).toEqual(["", "/a", "/b", "/link"]);
    }
  });

  it("cp dereference copies what links point at", async () => {
    const src = plant(tmp.folder());
    const dest = tmp.path();
    await cp(src, dest, { recursive: true, dereference: true });
    expect(lstatSync(join(dest, "link")).isFile()).toBe(true);
    expect(readFileSync(join(dest, "link"), "utf8")).toBe("a");
  });

  it("cp makes relative link targets absolute, and verbatimSymlinks keeps them", async () => {
    const src = tmp.folder();
    writeFileSync(join(src, "a"), "a");
    symlinkSync("a", join(src, "link"));
    const plain = tmp.path();
    await cp(src, plain, { recursive: true });
    expect(readlinkSync(join(plain, "link"))).toBe(join(src, "a"));
    const verbatim = tmp.path();
    await cp(src, verbatim, { recursive: true, verbatimSymlinks: true });
    expect(readlinkSync(join(verbatim, "link"))).toBe("a");
  });

  it("cp preserveTimestamps keeps the times", async () => {
    const src = tmp.file("x");
    utimesSync(src, 1000, 2000);
    const dest = tmp.path();
    await cp(src, dest, { preserveTimestamps: true });
    expect(statSync(dest).mtimeMs).toBe(2_000_000);
  });

  it("cp refuses what Node refuses, with its errors", async () => {
    const folder = plant(tmp.folder());
    const file = tmp.file("x");
    const missing = tmp.path();
    await expectSystemError(cp(missing, tmp.path()), { code: "ENOENT", syscall: "lstat", path: missing });
    const cases: [src: string, dest: string, options: any, code: string][] = [
      [folder, tmp.path(), {}, "ERR_FS_EISDIR"],
      [folder, join(folder, "sub"), { recursive: true }, "ERR_FS_CP_EINVAL"],
      [folder, folder, { recursive: true }, "ERR_FS_CP_EINVAL"],
      [file, file, {}, "ERR_FS_CP_EINVAL"],
      [folder, file, { recursive: true }, "ERR_FS_CP_DIR_TO_NON_DIR"],
      [file, folder, {}, "ERR_FS_CP_NON_DIR_TO_DIR"],
    ];
    for (const [src, dest, options, code] of cases) expect((await rejection(cp(src, dest, options))).code).toBe(code);
  });

  it("cp says in Node's words what it refused", async () => {
    const folder = tmp.folder();
    const sub = join(folder, "sub");
    const inside = await rejection(cp(folder, sub, { recursive: true }));
    expect(inside.message).toBe(
      `Invalid src or dest: cp returned EINVAL (cannot copy ${folder} to a subdirectory of self ${sub}) ${sub}`,
    );
    const plain = await rejection(cp(folder, tmp.path()));
    expect(plain.message).toBe(
      `Path is a directory: cp returned EISDIR (${folder} is a directory (not copied)) ${folder}`,
    );
    expect(plain.name).toBe("SystemError");
  });

  const badCp: [title: string, options: any, code: any, message: string][] = [
    [
      "mode",
      { mode: 99 },
      "ERR_OUT_OF_RANGE",
      'The value of "mode" is out of range. It must be >= 0 && <= 7. Received 99',
    ],
    [
      "filter",
      { filter: 1 },
      "ERR_INVALID_ARG_TYPE",
      'The "options.filter" property must be of type function. Received type number (1)',
    ],
    [
      "recursive",
      { recursive: 1 },
      "ERR_INVALID_ARG_TYPE",
      'The "options.recursive" property must be of type boolean. Received type number (1)',
    ],
    ["options null", null, "ERR_INVALID_ARG_TYPE", 'The "options" argument must be of type object. Received null'],
    [
      "options of a number",
      1,
      "ERR_INVALID_ARG_TYPE",
      'The "options" argument must be of type object. Received type number (1)',
    ],
  ];
  for (const [title, options, code, message] of badCp) {
    it(`cp refuses a bad ${title}, and copies nothing`, async () => {
      const dest = tmp.path();
      await expectArgumentError(() => cp(tmp.file(), dest, options), code, message);
      expect(existsSync(dest)).toBe(false);
    });
  }

  it("cp refuses dereference with verbatimSymlinks", async () => {
    const error = await rejection(() => cp(tmp.file(), tmp.path(), { dereference: true, verbatimSymlinks: true }));
    expect(error.code).toBe("ERR_INCOMPATIBLE_OPTION_PAIR");
  });

  it("mkdtemp makes a folder of mode 0700 with six characters behind the prefix", async () => {
    const prefix = join(tmp.dir, "näme-");
    const paths = await Promise.all(Array.from({ length: 30 }, () => fs.mkdtemp(prefix)));
    expect(new Set(paths).size).toBe(30);
    for (const path of paths) {
      expect(path).toStartWith(prefix);
      expect(path.slice(prefix.length)).toMatch(/^[A-Za-z0-9]{6}$/);
      expect(statSync(path).isDirectory()).toBe(true);
      expect(statSync(path).mode & 0o777).toBe(0o700);
    }
  });

  it("mkdtemp with an empty prefix makes a folder in the working one", async () => {
    const before = process.cwd();
    process.chdir(tmp.folder());
    try {
      const name = await fs.mkdtemp("");
      expect(name).toMatch(/^[A-Za-z0-9]{6}$/);
      expect(statSync(name).isDirectory()).toBe(true);
      expect(await fs.mkdtemp("", "buffer")).toBeInstanceOf(Buffer);
    } finally {
      process.chdir(before);
    }
  });

  it("mkdtemp takes encodings and Buffers", async () => {
    const prefix = join(tmp.dir, "t-");
    expect(Buffer.isBuffer(await fs.mkdtemp(prefix, "buffer" as any))).toBe(true);
    expect(Buffer.isBuffer(await fs.mkdtemp(prefix, { encoding: "buffer" }))).toBe(true);
    expect(await fs.mkdtemp(Buffer.from(prefix) as any)).toStartWith(prefix);
    await expectArgumentError(
      () => fs.mkdtemp(prefix, "nope" as any),
      "ERR_INVALID_ARG_VALUE",
      "The argument 'encoding' is invalid encoding. Received 'nope'",
    );
  });

  it("mkdtempDisposable removes its folder with all in it", async () => {
    let path: string;
    {
      await using dir = await fs.mkdtempDisposable(join(tmp.dir, "d-"));
      path = dir.path;
      expect(statSync(path).isDirectory()).toBe(true);
      plant(path);
    }
    expect(existsSync(path)).toBe(false);
    const other = await fs.mkdtempDisposable(join(tmp.dir, "d-"));
    await other.remove();
    expect(existsSync(other.path)).toBe(false);
  });

  it("mkdtempDisposable takes encodings", async () => {
    for (const encoding of ["buffer", "hex"] as const) {
      const folder = tmp.folder();
      const prefix = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff])]);
      const dir = await fs.mkdtempDisposable(prefix as any, { encoding: encoding as any });
      const path = encoding === "hex" ? Buffer.from(dir.path, "hex") : (dir.path as unknown as Buffer);
      expect(Buffer.isBuffer(dir.path)).toBe(encoding === "buffer");
      expect(path.subarray(0, prefix.length).equals(prefix)).toBe(true);
      expect(statSync(path).isDirectory()).toBe(true);
      await dir.remove();
      expect(readdirSync(folder)).toEqual([]);
    }
  });

  it("mkdtempDisposable removes the folder it made, wherever the process is by then", async () => {
    const before = process.cwd();
    const folder = tmp.folder();
    try {
      process.chdir(folder);
      const dir = await fs.mkdtempDisposable("relative-");
      process.chdir(before);
      await dir.remove();
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      process.chdir(before);
    }
  });
}, "rm-cp-mkdtemp");
