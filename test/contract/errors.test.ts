// Owns the shape of failures across all functions: syscall names, path and dest, key order, class, rejection and not a throw.
// Assumes a missing path and a file in the place of a folder as causes that every user can make.
// Never covers argument errors of single functions; their own files do.

import { expect } from "bun:test";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectSystemError, rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

type OnePath = [name: string, syscall: string, call: (fs: any, path: string) => Promise<unknown>];
const ONE_PATH: OnePath[] = [
  ["access", "access", (fs, path) => fs.access(path)],
  ["chmod", "chmod", (fs, path) => fs.chmod(path, 0o644)],
  ["chown", "chown", (fs, path) => fs.chown(path, 0, 0)],
  ["lchown", "lchown", (fs, path) => fs.lchown(path, 0, 0)],
  ["lstat", "lstat", (fs, path) => fs.lstat(path)],
  ["lutimes", "lutime", (fs, path) => fs.lutimes(path, 0, 0)],
  ["open", "open", (fs, path) => fs.open(path)],
  ["opendir", "opendir", (fs, path) => fs.opendir(path)],
  ["readFile", "open", (fs, path) => fs.readFile(path)],
  ["readdir", "scandir", (fs, path) => fs.readdir(path)],
  ["readdir with types", "scandir", (fs, path) => fs.readdir(path, { withFileTypes: true })],
  ["readlink", "readlink", (fs, path) => fs.readlink(path)],
  ["realpath", "realpath", (fs, path) => fs.realpath(path)],
  ["rm", "lstat", (fs, path) => fs.rm(path)],
  ["rm recursive", "lstat", (fs, path) => fs.rm(path, { recursive: true })],
  ["rmdir", "rmdir", (fs, path) => fs.rmdir(path)],
  ["stat", "stat", (fs, path) => fs.stat(path)],
  ["stat bigint", "stat", (fs, path) => fs.stat(path, { bigint: true })],
  ["statfs", "statfs", (fs, path) => fs.statfs(path)],
  ["truncate", "open", (fs, path) => fs.truncate(path)],
  ["unlink", "unlink", (fs, path) => fs.unlink(path)],
  ["utimes", "utime", (fs, path) => fs.utimes(path, 0, 0)],
];

/** Those that make what is missing fail only where the parent is missing. */
const MAKES: OnePath[] = [
  ["appendFile", "open", (fs, path) => fs.appendFile(path, "x")],
  ["mkdir", "mkdir", (fs, path) => fs.mkdir(path)],
  ["open w", "open", (fs, path) => fs.open(path, "w")],
  ["writeFile", "open", (fs, path) => fs.writeFile(path, "x")],
];

type TwoPaths = [name: string, syscall: string, call: (fs: any, path: string, dest: string) => Promise<unknown>];
const TWO_PATHS: TwoPaths[] = [
  ["copyFile", "copyfile", (fs, path, dest) => fs.copyFile(path, dest)],
  ["link", "link", (fs, path, dest) => fs.link(path, dest)],
  ["rename", "rename", (fs, path, dest) => fs.rename(path, dest)],
];

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();

  for (const [name, syscall, call] of [...ONE_PATH, ...MAKES]) {
    it(`${name} of a missing path`, async () => {
      const path = join(tmp.path(), "x");
      await expectSystemError(call(fs, path), { code: "ENOENT", syscall, path });
    });

    it(`${name} of a path below a file`, async () => {
      const path = join(tmp.file(), "x");
      await expectSystemError(call(fs, path), { code: "ENOTDIR", syscall, path });
    });

    it(`${name} of a path through a loop of links`, async () => {
      const loop = tmp.path("loop");
      symlinkSync(loop, loop);
      const path = join(loop, "x");
      await expectSystemError(call(fs, path), { code: "ELOOP", syscall, path });
    });
  }

  for (const [name, syscall, call] of TWO_PATHS) {
    it(`${name} of a missing path`, async () => {
      const [path, dest] = [tmp.path(), tmp.path()];
      await expectSystemError(call(fs, path, dest), { code: "ENOENT", syscall, path, dest });
    });

    it(`${name} to a path below a file`, async () => {
      const [path, dest] = [tmp.file(), join(tmp.file(), "x")];
      await expectSystemError(call(fs, path, dest), { code: "ENOTDIR", syscall, path, dest });
    });
  }

  it("symlink names target and link", async () => {
    const dest = tmp.file();
    await expectSystemError(fs.symlink("target", dest), { code: "EEXIST", syscall: "symlink", path: "target", dest });
    const nowhere = join(tmp.path(), "x");
    await expectSystemError(fs.symlink("target", nowhere), {
      code: "ENOENT",
      syscall: "symlink",
      path: "target",
      dest: nowhere,
    });
  });

  it("link to an existing name", async () => {
    const [path, dest] = [tmp.file(), tmp.file()];
    await expectSystemError(fs.link(path, dest), { code: "EEXIST", syscall: "link", path, dest });
    const folder = tmp.folder();
    const fresh = tmp.path();
    await expectSystemError(fs.link(folder, fresh), { code: "EPERM", syscall: "link", path: folder, dest: fresh });
  });

  it("readlink of what is no link", async () => {
    const path = tmp.file();
    await expectSystemError(fs.readlink(path), { code: "EINVAL", syscall: "readlink", path });
  });

  it("readdir and opendir of a file", async () => {
    const path = tmp.file();
    await expectSystemError(fs.readdir(path), { code: "ENOTDIR", syscall: "scandir", path });
    await expectSystemError(fs.opendir(path), { code: "ENOTDIR", syscall: "opendir", path });
  });

  it("mkdtemp below nothing names the path with its six characters", async () => {
    const prefix = join(tmp.path(), "x-");
    const error = await rejection(fs.mkdtemp(prefix));
    expect({ code: error.code, syscall: error.syscall, errno: error.errno }).toEqual({
      code: "ENOENT",
      syscall: "mkdtemp",
      errno: -2,
    });
    expect(error.path).toStartWith(prefix);
    expect(error.path).toHaveLength(prefix.length + 6);
    expect(error.message).toBe(`ENOENT: no such file or directory, mkdtemp '${error.path}'`);
  });

  it("own keys come in Node's order", async () => {
    const order = async (action: Promise<unknown>): Promise<string[]> => Object.keys(await rejection(action));
    expect(await order(fs.stat(tmp.path()))).toEqual(["errno", "code", "syscall", "path"]);
    expect(await order(fs.readFile(tmp.path()))).toEqual(["errno", "code", "syscall", "path"]);
    expect(await order(fs.rename(tmp.path(), tmp.path()))).toEqual(["errno", "code", "syscall", "path", "dest"]);
    await using handle = await fs.open(tmp.file());
    expect(await order(handle.write("x"))).toEqual(["errno", "code", "syscall"]);
  });

  it("errors carry a stack that starts with the message", async () => {
    const error = await rejection(fs.stat(tmp.path()));
    expect(error.stack).toStartWith(`Error: ${error.message}`);
  });

  it("argument errors are own-coded, and shown with their code", async () => {
    const error = await rejection(() => fs.stat(1 as any));
    expect(error.name).toBe("TypeError");
    expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
    expect(error.toString()).toBe(`TypeError [ERR_INVALID_ARG_TYPE]: ${error.message}`);
  });

  it("every function rejects; none throws at the call", async () => {
    for (const [, , call] of [...ONE_PATH, ...MAKES]) {
      let result: unknown;
      expect(() => {
        // To Bun a number is a descriptor: not 1, which may be a terminal, where a read waits for the keyboard.
        result = call(fs, 999_999 as any);
      }).not.toThrow();
      expect(result).toBeInstanceOf(Promise);
      await rejection(result as Promise<unknown>);
    }
  });

  it("100 failures and successes at once each get their own result", async () => {
    const file = tmp.file("x");
    const missing = Array.from({ length: 50 }, () => tmp.path());
    const results = await Promise.allSettled(missing.flatMap((path) => [fs.readFile(path), fs.readFile(file, "utf8")]));
    for (const [i, result] of results.entries()) {
      if (i % 2 === 1) expect(result).toEqual({ status: "fulfilled", value: "x" });
      else expect((result as PromiseRejectedResult).reason.path).toBe(missing[i / 2]!);
    }
  });
}, "errors");
