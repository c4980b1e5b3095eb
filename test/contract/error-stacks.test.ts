// An error says who called: its stack names the async functions that wait for it, for every way to fail that is found out
// after the call has returned. Bun's own functions do so, too, except for cp and opendir, which are looked at on ours only.
// Assumes nothing of the frames of this package in between.

import { beforeAll, describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { type Fs, forEachImplementation, ours } from "../helpers/backends.ts";
import { tmpDir } from "../helpers/tmp.ts";

const dir = tmpDir();
const none = join(dir, "none", "x");
beforeAll(() => {
  mkdirSync(join(dir, "folder"));
  writeFileSync(join(dir, "folder", "file"), "x");
  writeFileSync(join(dir, "file"), "abc");
});

async function theCaller(call: () => Promise<unknown>): Promise<void> {
  await call();
}

const failureOf = (call: () => Promise<unknown>): Promise<any> =>
  theCaller(call).then(
    () => expect.unreachable("it did not fail"),
    (error) => error,
  );

/** An async function with a name of its own. */
const callerNumber = (i: number): typeof theCaller =>
  new Function(`return async function caller${i}(call) { await call(); }`)();

type Call = (fs: Fs) => Promise<unknown>;
const onPaths: Record<string, Call> = {
  access: (fs) => fs.access(none),
  appendFile: (fs) => fs.appendFile(none, "x"),
  chmod: (fs) => fs.chmod(none, 0o644),
  copyFile: (fs) => fs.copyFile(none, none),
  link: (fs) => fs.link(none, none),
  lstat: (fs) => fs.lstat(none),
  mkdir: (fs) => fs.mkdir(none),
  "mkdir recursive": (fs) => fs.mkdir(join(dir, "file", "a", "b"), { recursive: true }),
  mkdtemp: (fs) => fs.mkdtemp(join(none, "a")),
  open: (fs) => fs.open(none),
  readFile: (fs) => fs.readFile(none),
  "readFile of a folder": (fs) => fs.readFile(dir),
  readdir: (fs) => fs.readdir(none),
  "readdir recursive": (fs) => fs.readdir(none, { recursive: true }),
  "readdir with types": (fs) => fs.readdir(none, { withFileTypes: true }),
  readlink: (fs) => fs.readlink(none),
  realpath: (fs) => fs.realpath(none),
  rename: (fs) => fs.rename(none, none),
  rm: (fs) => fs.rm(none),
  rmdir: (fs) => fs.rmdir(join(dir, "folder")),
  stat: (fs) => fs.stat(none),
  statfs: (fs) => fs.statfs(none),
  symlink: (fs) => fs.symlink("x", none),
  truncate: (fs) => fs.truncate(none),
  unlink: (fs) => fs.unlink(join(dir, "folder")),
  utimes: (fs) => fs.utimes(none, 1, 1),
  writeFile: (fs) => fs.writeFile(none, "x"),
  "writeFile of 2 MiB": (fs) => fs.writeFile(none, Buffer.alloc(2 << 20)),
  "writeFile of chunks": (fs) => fs.writeFile(none, ["a", "b"]),
  "writeFile to a full device": (fs) => fs.writeFile("/dev/full", "x"),
};

type Use = (handle: FileHandle) => Promise<unknown>;
const onHandles: Record<string, [flags: string, Use]> = {
  read: ["w", (handle) => handle.read(Buffer.alloc(4))],
  "read elsewhere": ["w", (handle) => handle.read(Buffer.alloc(4), 0, 4, 0)],
  readv: ["w", (handle) => handle.readv([Buffer.alloc(4)])],
  readFile: ["w", (handle) => handle.readFile()],
  write: ["r", (handle) => handle.write("abc")],
  "write elsewhere": ["r", (handle) => handle.write(Buffer.from("abc"), 0, 3, 0)],
  writev: ["r", (handle) => handle.writev([Buffer.from("abc")])],
  writeFile: ["r", (handle) => handle.writeFile("abc")],
  appendFile: ["r", (handle) => handle.appendFile("abc")],
  truncate: ["r", (handle) => handle.truncate(1)],
};
const onClosed: Record<string, Use> = {
  stat: (handle) => handle.stat(),
  sync: (handle) => handle.sync(),
  datasync: (handle) => handle.datasync(),
  chmod: (handle) => handle.chmod(0o600),
  chown: (handle) => handle.chown(0, 0),
  utimes: (handle) => handle.utimes(0, 0),
};

forEachImplementation((fs, _name, it) => {
  for (const [name, call] of Object.entries(onPaths))
    it(`${name}: the stack names the caller`, async () => {
      expect((await failureOf(() => call(fs))).stack).toContain("theCaller");
    });

  for (const [name, [flags, use]] of Object.entries(onHandles))
    it(`handle.${name}: the stack names the caller`, async () => {
      await using opened = await fs.open(join(dir, "file"), flags === "w" ? "a" : flags);
      expect((await failureOf(() => use(opened))).stack).toContain("theCaller");
    });

  for (const [name, use] of Object.entries(onClosed))
    it(`handle.${name}: the stack names the caller`, async () => {
      const opened = await fs.open(join(dir, "file"));
      closeSync(opened.fd);
      expect((await failureOf(() => use(opened))).stack).toContain("theCaller");
      await opened.close().catch(() => {});
    });
}, "error-stacks");

describe("bun-uring", () => {
  const fs = ours!;

  test("cp, opendir and an abort name the caller, too", async () => {
    for (const call of [
      () => fs.cp(none, join(dir, "to")),
      () => fs.cp(none, join(dir, "to"), { recursive: true }),
      () => fs.opendir(none),
      () => fs.readFile("/dev/zero", { signal: AbortSignal.timeout(1) }),
    ])
      expect((await failureOf(call)).stack).toContain("theCaller");
  });

  test("of many at once each names its own", async () => {
    const errors = await Promise.all(
      Array.from({ length: 100 }, (_, i) => {
        return callerNumber(i)(() => fs.stat(join(none, String(i)))).catch((error) => error);
      }),
    );
    const silent = errors.flatMap(({ stack }, i) => (stack.includes(`caller${i} `) ? [] : [i]));
    expect(silent).toEqual([]);
  });

  test("writes that wait for one another never name another's caller", async () => {
    await using handle = await fs.open(join(dir, "file"), "r");
    const errors = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        return callerNumber(i)(() => handle.write("x")).catch((error) => error);
      }),
    );
    const others = errors.flatMap(({ stack }, i) => (/caller\d/.test(stack.replaceAll(`caller${i} `, "")) ? [i] : []));
    expect(others).toEqual([]);
  });

  test("who waits in no async function gets the first line, and nothing is left unhandled", async () => {
    const error: any = await new Promise((resolve) =>
      fs
        .stat(none)
        .finally(() => {})
        .then(resolve, resolve),
    );
    expect(error.stack).toStartWith("Error: ENOENT: no such file or directory, stat ");
    expect(Object.keys(error)).toEqual(["errno", "code", "syscall", "path"]);
  });

  test("a program that has frozen Error gets its errors all the same", () => {
    const program = `Object.freeze(Error); const fs = (await import(${JSON.stringify(join(import.meta.dir, "../../src/promises.ts"))})).default;
      for (const call of [fs.stat, fs.open, fs.mkdir]) await call("/none/x").catch(({ code, stack }) => console.log(code, typeof stack));`;
    const { stdout, stderr } = Bun.spawnSync([process.execPath, "-e", program], { env: process.env });
    expect(stderr.toString()).toBe("");
    expect(stdout.toString()).toBe("ENOENT string\n".repeat(3));
  });
});
