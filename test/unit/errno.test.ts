// The errors of failed system calls: libuv's names and texts, Node's shape.
// Oracles: real failing calls of node:fs in this process and, where there is a node, its whole errno table.

import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { abortError, closedError, errnoCode, errnoOf, systemError } from "../../src/node/errors.ts";
import { testUnless } from "../helpers/skip.ts";
import { tmpDir } from "../helpers/tmp.ts";

const dir = tmpDir();

describe("names and texts", () => {
  // Numbers of Linux on x64 and arm64; the texts are libuv's, not the C library's.
  test.each([
    [1, "EPERM", "operation not permitted"],
    [2, "ENOENT", "no such file or directory"],
    [4, "EINTR", "interrupted system call"],
    [5, "EIO", "i/o error"],
    [6, "ENXIO", "no such device or address"],
    [7, "E2BIG", "argument list too long"],
    [9, "EBADF", "bad file descriptor"],
    [11, "EAGAIN", "resource temporarily unavailable"],
    [12, "ENOMEM", "not enough memory"],
    [13, "EACCES", "permission denied"],
    [14, "EFAULT", "bad address in system call argument"],
    [16, "EBUSY", "resource busy or locked"],
    [17, "EEXIST", "file already exists"],
    [18, "EXDEV", "cross-device link not permitted"],
    [19, "ENODEV", "no such device"],
    [20, "ENOTDIR", "not a directory"],
    [21, "EISDIR", "illegal operation on a directory"],
    [22, "EINVAL", "invalid argument"],
    [23, "ENFILE", "file table overflow"],
    [24, "EMFILE", "too many open files"],
    [25, "ENOTTY", "inappropriate ioctl for device"],
    [26, "ETXTBSY", "text file is busy"],
    [27, "EFBIG", "file too large"],
    [28, "ENOSPC", "no space left on device"],
    [29, "ESPIPE", "invalid seek"],
    [30, "EROFS", "read-only file system"],
    [31, "EMLINK", "too many links"],
    [32, "EPIPE", "broken pipe"],
    [36, "ENAMETOOLONG", "name too long"],
    [38, "ENOSYS", "function not implemented"],
    [39, "ENOTEMPTY", "directory not empty"],
    [40, "ELOOP", "too many symbolic links encountered"],
    [75, "EOVERFLOW", "value too large for defined data type"],
    [95, "ENOTSUP", "operation not supported on socket"],
    [110, "ETIMEDOUT", "connection timed out"],
    [125, "ECANCELED", "operation canceled"],
  ])("%i is %s", (errno, code, message) => {
    for (const signed of [errno, -errno]) {
      expect(errnoCode(signed)).toBe(code);
      expect(systemError(signed, "x").message).toBe(`${code}: ${message}, x`);
    }
    expect(errnoOf(code)).toBe(errno);
  });

  test("an errno libuv does not know (EDQUOT) is named by its number", () => {
    expect(errnoCode(122)).toBe("Unknown system error -122");
    expect(errnoOf("EDQUOT")).toBe(0);
    expect(systemError(122, "write").message).toBe("Unknown system error -122: Unknown system error -122, write");
  });

  const node = Bun.which("node");
  testUnless(node === null && "no node", "agree with node's table", () => {
    const script = "process.stdout.write(JSON.stringify([...require('util').getSystemErrorMap()]))";
    const { stdout, exitCode } = Bun.spawnSync([node!, "-e", script]);
    expect(exitCode).toBe(0);
    const table: [number, [string, string]][] = JSON.parse(stdout.toString());
    expect(table.length).toBeGreaterThan(70);
    for (const [errno, [code, message]] of table) {
      expect([errno, systemError(errno, "x").message]).toEqual([errno, `${code}: ${message}, x`]);
    }
  });
});

describe("systemError", () => {
  test("has Node's keys in Node's order, and only those it was given", () => {
    expect(Object.entries(systemError(-9, "write"))).toEqual([
      ["errno", -9],
      ["code", "EBADF"],
      ["syscall", "write"],
    ]);
    expect(Object.entries(systemError(2, "open", "/x"))).toEqual([
      ["errno", -2],
      ["code", "ENOENT"],
      ["syscall", "open"],
      ["path", "/x"],
    ]);
    expect(Object.entries(systemError(2, "rename", "/a", "/b"))).toEqual([
      ["errno", -2],
      ["code", "ENOENT"],
      ["syscall", "rename"],
      ["path", "/a"],
      ["dest", "/b"],
    ]);
  });

  test("is a plain Error with a stack that leads here", () => {
    const error = systemError(2, "open", "/x");
    expect(error.constructor).toBe(Error);
    expect(error.name).toBe("Error");
    expect(error.stack).toStartWith("Error: ENOENT: no such file or directory, open '/x'\n");
    expect(error.stack).toContain("errno.test.ts");
  });

  test("shows paths as they are, empty ones too, and bytes as UTF-8", () => {
    expect(systemError(2, "open", "").message).toBe("ENOENT: no such file or directory, open ''");
    expect(Object.keys(systemError(2, "open", ""))).toContain("path");
    expect(systemError(2, "open", "it's").message).toBe("ENOENT: no such file or directory, open 'it's'");
    const error = systemError(17, "symlink", Buffer.from([0x2f, 0xff, 0x61]), Buffer.from("ü"));
    expect(error.message).toBe("EEXIST: file already exists, symlink '/\ufffda' -> 'ü'");
    expect([error.path, error.dest]).toEqual(["/\ufffda", "ü"]);
  });

  const file = join(dir, "file");
  const full = join(dir, "full");
  const loop = join(dir, "loop");
  fs.writeFileSync(file, "x");
  fs.mkdirSync(join(full, "child"), { recursive: true });
  fs.symlinkSync("loop", loop);
  const calls: [string, string, () => unknown][] = [
    ["ENOENT", "open", () => fs.openSync(join(dir, "none"), "r")],
    ["ENOENT", "rename", () => fs.renameSync(join(dir, "none"), join(dir, "other"))],
    ["ENOENT", "stat", () => fs.statSync(join(dir, "none"))],
    ["ENOENT", "link", () => fs.linkSync(join(dir, "none"), join(dir, "other"))],
    ["EEXIST", "mkdir", () => fs.mkdirSync(dir)],
    ["EEXIST", "symlink", () => fs.symlinkSync("target", file)],
    ["ENOTDIR", "open", () => fs.openSync(join(file, "below"), "r")],
    ["EISDIR", "open", () => fs.openSync(dir, "w")],
    ["ENOTEMPTY", "rmdir", () => fs.rmdirSync(full)],
    ["ELOOP", "open", () => fs.openSync(loop, "r")],
    ["ENAMETOOLONG", "open", () => fs.openSync(join(dir, "n".repeat(300)), "r")],
    ["EINVAL", "rename", () => fs.renameSync(full, join(full, "child", "deeper"))],
    ["EBADF", "fsync", () => fs.fsyncSync(999_999)],
  ];
  test.each(calls)("equals what the runtime throws: %s from %s", (code, syscall, call) => {
    let thrown: (NodeJS.ErrnoException & { dest?: string }) | undefined;
    try {
      call();
    } catch (error) {
      thrown = error as NodeJS.ErrnoException;
    }
    expect([thrown?.code, thrown?.syscall]).toEqual([code, syscall]);
    const made = systemError(thrown!.errno!, syscall, thrown!.path, thrown!.dest);
    expect(made.message).toBe(thrown!.message);
    expect({ ...made }).toEqual({ ...thrown } as typeof made);
  });
});

test("closedError says what Node says of a closed handle, without an errno", () => {
  const error = closedError("read");
  expect(error.constructor).toBe(Error);
  expect(error.message).toBe("file closed");
  expect(Object.entries(error)).toEqual([
    ["code", "EBADF"],
    ["syscall", "read"],
  ]);
});

describe("abortError", () => {
  test("is Node's AbortError with the signal's reason as its cause", () => {
    const reason = { why: "enough" };
    const error = abortError(AbortSignal.abort(reason));
    expect(error).toBeInstanceOf(Error);
    expect([error.name, error.code, error.message]).toEqual(["AbortError", "ABORT_ERR", "The operation was aborted"]);
    expect(error.cause).toBe(reason);
    expect(Object.keys(error)).toEqual(["code", "name"]);
    expect(String(error)).toBe("AbortError: The operation was aborted");
  });

  test("has no cause without a signal", () => {
    expect("cause" in abortError()).toBe(false);
  });
});
