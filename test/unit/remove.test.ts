// Owns what rm does beyond Node's documented cases: many and long names, bytes that are no UTF-8, retries, rights.
// Assumes a file system that stores names as bytes. Runs on the backend of the process; the child asks both.
// Never uses rm to clean up after itself.

import { expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { rm } from "../../src/tree/rm.ts";
import { asUser, NOBODY } from "../helpers/as-user.ts";
import { expectSystemError, rejection } from "../helpers/expect-error.ts";
import { faultTest } from "../helpers/requirements.ts";
import { testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const bytes = (folder: string, name: string): Buffer =>
  Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, "latin1")]);

test("more names than are in flight at once, longer than their paths have room for", async () => {
  const folder = tmp.folder();
  for (let i = 0; i < 1500; i++) writeFileSync(join(folder, `${i}`.padEnd(250, "x")), "");
  await rm(folder, { recursive: true });
  expect(existsSync(folder)).toBe(false);
});

test("many folders, some full, some empty, with links out of the tree", async () => {
  const folder = tmp.folder();
  const outside = tmp.folder();
  writeFileSync(join(outside, "keep"), "");
  for (let i = 0; i < 300; i++) {
    mkdirSync(join(folder, `${i}/a/b`), { recursive: true });
    if (i % 3 > 0) writeFileSync(join(folder, `${i}/a/file`), "");
    if (i % 3 > 1) symlinkSync(outside, join(folder, `${i}/a/b/out`));
  }
  await rm(folder, { recursive: true });
  expect(existsSync(folder)).toBe(false);
  expect(readdirSync(outside)).toEqual(["keep"]);
});

test("paths of thousands of bytes", async () => {
  const folder = tmp.folder();
  let deepest = folder;
  for (let i = 0; i < 18; i++) deepest = join(deepest, "d".repeat(200));
  mkdirSync(deepest, { recursive: true });
  for (let i = 0; i < 40; i++) writeFileSync(join(deepest, `${i}`.padEnd(120, "ü")), "");
  await rm(folder, { recursive: true });
  expect(existsSync(folder)).toBe(false);
});

test("names that are no UTF-8, beside others and above them", async () => {
  const folder = tmp.folder();
  mkdirSync(bytes(folder, "\xff"));
  writeFileSync(Buffer.concat([bytes(folder, "\xff"), Buffer.from("/näme")]), "");
  writeFileSync(bytes(folder, "\xfe\xff"), "");
  writeFileSync(join(folder, "näme"), "");
  // A name that really has the character which stands for such bytes.
  writeFileSync(join(folder, "\ufffd"), "");
  await rm(folder, { recursive: true });
  expect(existsSync(folder)).toBe(false);
});

test("a path of bytes, and one with a slash at its end", async () => {
  const folder = tmp.folder();
  mkdirSync(join(folder, "a/b"), { recursive: true });
  mkdirSync(bytes(folder, "\xff"));
  await rm(bytes(folder, "\xff"), { recursive: true });
  await rm(join(folder, "a/"), { recursive: true });
  expect(readdirSync(folder)).toEqual([]);
});

test("the same tree removed three times at once is gone: nobody fails but who comes when it is", async () => {
  const folder = tmp.folder();
  for (let i = 0; i < 20; i++) {
    mkdirSync(join(folder, `${i}`));
    for (let j = 0; j < 20; j++) writeFileSync(join(folder, `${i}/${j}`), "");
  }
  const results = await Promise.allSettled([1, 2, 3].map(() => rm(folder, { recursive: true })));
  expect(results.some(({ status }) => status === "fulfilled")).toBe(true);
  for (const result of results)
    if (result.status === "rejected")
      expect(result.reason).toMatchObject({ code: "ENOENT", syscall: "lstat", path: folder });
  expect(existsSync(folder)).toBe(false);
});

test("a tree deeper than PATH_MAX, with few descriptors open at once", async () => {
  const folder = tmp.folder();
  // Two halves, one hung below the other: no path leads to the lower one's end.
  const half = (root: string): string => {
    let deepest = root;
    for (let i = 0; i < 60; i++) {
      deepest = join(deepest, "d".repeat(55));
      mkdirSync(join(`${deepest}2`), { recursive: true });
      mkdirSync(deepest);
      writeFileSync(join(deepest, "file"), "");
    }
    return deepest;
  };
  const lower = tmp.folder();
  half(lower);
  renameSync(lower, join(half(folder), "lower"));
  const before = openCount();
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, openCount());
  });
  await rm(folder, { recursive: true }).finally(() => clearInterval(watch));
  expect(existsSync(folder)).toBe(false);
  expect(most - before).toBeLessThan(60);
});

const openCount = (): number => readdirSync("/proc/self/fd").length;

// Exchanges two names (RENAME_EXCHANGE) until it is killed.
const swapper = `
  const { dlopen, FFIType: T } = require("bun:ffi");
  const types = [T.i32, T.cstring, T.i32, T.cstring, T.u32];
  const { renameat2 } = dlopen("libc.so.6", { renameat2: { args: types, returns: T.i32 } }).symbols;
  const [a, b] = process.argv.slice(1).map((path) => Buffer.from(path + "\\0"));
  console.log("ready");
  for (;;) {
    renameat2(-100, a, -100, b, 2);
    for (const since = performance.now(); performance.now() - since < 0.1; );
  }
`;

test("a folder that is exchanged for a link meanwhile leads nobody out of the tree", async () => {
  const FILES = 200;
  for (let round = 0; round < 6; round++) {
    const [tree, outside, own] = [tmp.folder(), tmp.folder(), tmp.folder()];
    mkdirSync(join(tree, "sub"));
    for (let i = 0; i < FILES; i++)
      for (const folder of [outside, join(tree, "sub")]) writeFileSync(join(folder, `${i}`), "");
    symlinkSync(outside, join(own, "link"));
    const swap = Bun.spawn([process.execPath, "-e", swapper, join(tree, "sub"), join(own, "link")], { stdout: "pipe" });
    await swap.stdout.getReader().read();
    await rm(tree, { recursive: true, force: true }).catch(() => {});
    swap.kill(9);
    await swap.exited;
    expect(readdirSync(outside).length).toBe(FILES);
  }
});

test("undefined is no value for an option, as in Node", async () => {
  const path = tmp.file();
  const error = await rejection(rm(path, { force: undefined }));
  expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
  expect(existsSync(path)).toBe(true);
});

test("a folder without recursive is refused with Node's SystemError", async () => {
  const folder = tmp.folder();
  const error = await rejection(rm(folder));
  const info = { code: "EISDIR", errno: 21, message: "is a directory", path: folder, syscall: "rm" };
  expect({ ...error }).toEqual({ code: "ERR_FS_EISDIR", info, errno: 21, syscall: "rm", path: folder });
  expect(String(error)).toBe(`SystemError [ERR_FS_EISDIR]: ${error.message}`);
});

const closing = `
  const { rm } = await import(process.argv[1]);
  const { ringThread } = await import(process.argv[2]);
  const removal = rm(process.argv[3], { recursive: true }).then(() => "gone", (error) => error.message);
  await Bun.sleep(2);
  await ringThread().shutDown(0);
  console.log(await removal);
`;

faultTest("a ring that is closed meanwhile ends the removal, and the process ends", { needs: ["ioUring"] }, () => {
  const folder = tmp.folder();
  for (let i = 0; i < 3000; i++) writeFileSync(join(folder, `${i}`), "");
  const sources = ["tree/rm", "ring/context"].map((name) => join(import.meta.dir, `../../src/${name}.ts`));
  const run = Bun.spawnSync([process.execPath, "-e", closing, ...sources, folder], {
    env: { ...process.env, BUN_URING_BACKEND: "uring" },
    timeout: 10_000,
  });
  expect(run.stderr.toString()).toBe("");
  expect(["gone", "bun-uring: the ring was closed before the operation ended"]).toContain(run.stdout.toString().trim());
  expect(run.exitCode).toBe(0);
});

/** Whether a file can be made immutable here: then even root can't unlink it (EPERM), until it is made mutable again. */
const immutable = (path: string, on: boolean): boolean =>
  Bun.spawnSync(["chattr", on ? "+i" : "-i", path], { stderr: "ignore" }).exitCode === 0;
const probe = tmp.file();
const canFreeze = Bun.which("chattr") !== null && immutable(probe, true) && immutable(probe, false);

testUnless(
  !canFreeze && "no way to freeze a file",
  "what can't be removed is told with its path, and the rest of its tree stays",
  async () => {
    const folder = tmp.folder();
    const stuck = join(folder, "a/stuck");
    mkdirSync(join(folder, "a"));
    writeFileSync(stuck, "");
    immutable(stuck, true);
    try {
      await expectSystemError(rm(folder, { recursive: true }), { code: "EPERM", syscall: "unlink", path: stuck });
      expect(existsSync(stuck)).toBe(true);
    } finally {
      immutable(stuck, false);
    }
  },
);

testUnless(
  !canFreeze && "no way to freeze a file",
  "what passes in time is tried again, in a folder and alone",
  async () => {
    const folder = tmp.folder();
    const alone = tmp.file();
    const inside = join(folder, "stuck");
    writeFileSync(inside, "");
    for (const path of [alone, inside]) immutable(path, true);
    setTimeout(() => [alone, inside].map((path) => immutable(path, false)), 50);
    const options = { recursive: true, maxRetries: 100, retryDelay: 1 };
    await Promise.all([rm(folder, options), rm(alone, options)]);
    expect([existsSync(folder), existsSync(alone)]).toEqual([false, false]);
  },
);

const child = `
  const { rm } = await import(process.argv[1]);
  const outcome = (path) => rm(path, { recursive: true }).then(() => "gone", ({ code, syscall, path }) => [code, syscall, path]);
  console.log(JSON.stringify(await Promise.all(process.argv.slice(2).map(outcome))));
`;

for (const backend of ["uring", "node"])
  faultTest(
    `without rights: what can go goes, the rest as rmdir and scandir tell it (${backend})`,
    { needs: ["otherUser"] },
    () => {
      const folder = tmp.folder();
      const own = (path: string, mode: number): string => {
        mkdirSync(path);
        chownSync(path, NOBODY, NOBODY);
        chmodSync(path, mode);
        return path;
      };
      chmodSync(tmp.dir, 0o755);
      chownSync(folder, NOBODY, NOBODY);
      const emptyUnreadable = own(join(folder, "empty"), 0);
      const unreadable = own(join(folder, "full"), 0o300);
      writeFileSync(join(unreadable, "x"), "");
      const unwritable = own(join(folder, "fixed"), 0o700);
      own(join(unwritable, "sub"), 0o700);
      const parent = own(join(folder, "parent"), 0o700);
      const unreadableToo = own(join(parent, "full"), 0o300);
      writeFileSync(join(unreadableToo, "x"), "");
      chmodSync(parent, 0o500);
      chmodSync(unwritable, 0o500);
      const command = [...asUser(), process.execPath, "-e", child, join(import.meta.dir, "../../src/tree/rm.ts")];
      const run = Bun.spawnSync([...command, emptyUnreadable, unreadable, unwritable, unreadableToo], {
        env: { ...process.env, BUN_URING_BACKEND: backend },
      });
      expect(run.stderr.toString()).toBe("");
      expect(JSON.parse(run.stdout.toString())).toEqual([
        "gone",
        ["EACCES", "scandir", unreadable],
        ["EACCES", "rmdir", join(unwritable, "sub")],
        ["EACCES", "rmdir", unreadableToo],
      ]);
    },
  );
