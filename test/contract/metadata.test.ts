// Owns access, chmod, chown, lchown, utimes, lutimes, link, symlink, readlink, realpath, truncate, statfs, and their handle forms.
// Assumes root's rights where an owner is changed; without them those tests keep the owner as it is.
// Never covers failures that errors.test.ts tables for every function.

import { expect } from "bun:test";
import {
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statfsSync,
  statSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

const isRoot = process.getuid?.() === 0;

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const any = fs as any;

  it("access resolves to undefined for what is allowed", async () => {
    const path = tmp.file();
    const { F_OK, R_OK, W_OK, X_OK } = fs.constants;
    for (const mode of [undefined, null, F_OK, R_OK, W_OK, R_OK | W_OK]) {
      expect(await any.access(path, mode)).toBeUndefined();
    }
    await expectSystemError(fs.access(path, X_OK), { code: "EACCES", syscall: "access", path });
    await fs.chmod(path, 0o755);
    await fs.access(path, X_OK);
  });

  it("access refuses a mode out of range or of another type", async () => {
    const path = tmp.file();
    await expectArgumentError(() => fs.access(path, -1), "ERR_OUT_OF_RANGE");
    await expectArgumentError(() => fs.access(path, 8), "ERR_OUT_OF_RANGE");
    await expectArgumentError(() => any.access(path, "x"), "ERR_INVALID_ARG_TYPE");
    await expectArgumentError(() => fs.access(path, Number.NaN), "ERR_OUT_OF_RANGE");
    await fs.access(path, 1.5 - 1); // cut off
  });

  it("chmod takes a number and an octal string, by path and by handle", async () => {
    const path = tmp.file();
    const mode = (): number => statSync(path).mode & 0o7777;
    expect(await fs.chmod(path, 0o600)).toBeUndefined();
    expect(mode()).toBe(0o600);
    await fs.chmod(path, "755");
    expect(mode()).toBe(0o755);
    await using handle = await fs.open(path);
    expect(await handle.chmod(0o640)).toBeUndefined();
    expect(mode()).toBe(0o640);
    await handle.chmod("611");
    expect(mode()).toBe(0o611);
    await fs.chmod(path, 0o4755);
    expect(mode()).toBe(0o4755);
  });

  it("chmod follows a symbolic link", async () => {
    const path = tmp.file();
    const link = tmp.path("link");
    symlinkSync(path, link);
    await fs.chmod(link, 0o600);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("chmod refuses a bad mode, by path and by handle", async () => {
    const path = tmp.file();
    await using handle: any = await fs.open(path);
    const octal = "The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received 'x'";
    const range = 'The value of "mode" is out of range. It must be >= 0 && <= 4294967295. Received -1';
    const type = 'The "mode" argument must be of type number. Received undefined';
    for (const call of [(mode?: any) => any.chmod(path, mode), (mode?: any) => handle.chmod(mode)]) {
      await expectArgumentError(() => call("x"), "ERR_INVALID_ARG_VALUE", octal);
      await expectArgumentError(() => call(-1), "ERR_OUT_OF_RANGE", range);
      await expectArgumentError(() => call(), "ERR_INVALID_ARG_TYPE", type);
    }
  });

  it("lchmod is not implemented on Linux", async () => {
    const error = await rejection(() => fs.lchmod(tmp.file(), 0o644));
    expect({ code: error.code, message: error.message }).toEqual({
      code: "ERR_METHOD_NOT_IMPLEMENTED",
      message: "The lchmod() method is not implemented",
    });
  });

  it("chown and lchown change the owner; -1 leaves it", async () => {
    const path = tmp.file();
    const link = tmp.path("link");
    symlinkSync(path, link);
    const [uid, gid] = isRoot ? [1234, 4321] : [process.getuid!(), process.getgid!()];
    expect(await fs.chown(path, uid, gid)).toBeUndefined();
    expect(statSync(path)).toMatchObject({ uid, gid });
    await fs.chown(path, -1, -1);
    expect(statSync(path)).toMatchObject({ uid, gid });
    expect(await fs.lchown(link, uid, gid)).toBeUndefined();
    expect(lstatSync(link)).toMatchObject({ uid, gid });
    await using handle = await fs.open(path);
    const other = isRoot ? 77 : uid;
    expect(await handle.chown(other, gid)).toBeUndefined();
    expect(statSync(path)).toMatchObject({ uid: other, gid });
  });

  it("chown refuses bad ids", async () => {
    const path = tmp.file();
    await using handle: any = await fs.open(path);
    const calls = [
      (...ids: any[]) => any.chown(path, ...ids),
      (...ids: any[]) => any.lchown(path, ...ids),
      (...ids: any[]) => handle.chown(...ids),
    ];
    const range = 'The value of "uid" is out of range. It must be >= -1 && <= 4294967295. Received -2';
    for (const call of calls) {
      await expectArgumentError(() => call(-2, 1), "ERR_OUT_OF_RANGE", range);
      await expectArgumentError(
        () => call("1", 1),
        "ERR_INVALID_ARG_TYPE",
        `The "uid" argument must be of type number. Received type string ('1')`,
      );
      await expectArgumentError(
        () => call(1),
        "ERR_INVALID_ARG_TYPE",
        'The "gid" argument must be of type number. Received undefined',
      );
    }
  });

  it("utimes takes numbers, strings and Dates, by path and by handle", async () => {
    const path = tmp.file();
    await using handle = await fs.open(path);
    const calls = [(a: any, m: any) => fs.utimes(path, a, m), (a: any, m: any) => handle.utimes(a, m)];
    for (const call of calls) {
      const cases: [atime: any, mtime: any, atimeMs: number, mtimeMs: number][] = [
        [100, 200, 100_000, 200_000],
        [1.5, 2.25, 1500, 2250],
        ["300", "400.5", 300_000, 400_500],
        [new Date(5000), new Date(6000), 5000, 6000],
        [new Date(-5000), new Date(-1), -5000, -1],
      ];
      for (const [atime, mtime, atimeMs, mtimeMs] of cases) {
        expect(await call(atime, mtime)).toBeUndefined();
        const stats = statSync(path);
        expect([stats.atimeMs, stats.mtimeMs]).toEqual([atimeMs, mtimeMs]);
      }
    }
  });

  it("lutimes changes the link, utimes its target", async () => {
    const path = tmp.file();
    const link = tmp.path("link");
    symlinkSync(path, link);
    expect(await fs.lutimes(link, 10, 20)).toBeUndefined();
    await fs.utimes(link, 30, 40);
    expect(lstatSync(link).mtimeMs).toBe(20_000);
    expect(statSync(path).mtimeMs).toBe(40_000);
  });

  it("utimes refuses what is no time", async () => {
    const path = tmp.file();
    await using handle: any = await fs.open(path);
    for (const value of [undefined, {}, "x", Number.NaN, true]) {
      for (const call of [any.utimes.bind(fs, path), any.lutimes.bind(fs, path), handle.utimes.bind(handle)]) {
        await expectArgumentError(() => call(value, 1), "ERR_INVALID_ARG_TYPE");
        await expectArgumentError(() => call(1, value), "ERR_INVALID_ARG_TYPE");
      }
    }
  });

  it("utimes leaves a time that is an invalid Date as it is, and takes an infinite string for now", async () => {
    const path = tmp.file();
    await using handle: any = await fs.open(path);
    for (const call of [any.utimes.bind(fs, path), any.lutimes.bind(fs, path), handle.utimes.bind(handle)]) {
      utimesSync(path, 1000, 2000);
      await call(new Date(Number.NaN), 3000);
      expect([statSync(path).atimeMs, statSync(path).mtimeMs]).toEqual([1_000_000, 3_000_000]);
      await call(4000, new Date(Number.NaN));
      expect([statSync(path).atimeMs, statSync(path).mtimeMs]).toEqual([4_000_000, 3_000_000]);
      const before = Date.now();
      await call("Infinity", "-Infinity");
      for (const time of [statSync(path).atimeMs, statSync(path).mtimeMs]) {
        expect(time).toBeGreaterThanOrEqual(before - 1000);
      }
    }
  });

  it("link gives a file a second name", async () => {
    const path = tmp.file("content");
    const other = tmp.path();
    expect(await fs.link(path, other)).toBeUndefined();
    expect(statSync(other).ino).toBe(statSync(path).ino);
    const link = tmp.path("link");
    symlinkSync(path, link);
    const third = tmp.path();
    await fs.link(link, third);
    expect(lstatSync(third).isSymbolicLink()).toBe(true);
  });

  it("symlink and readlink keep the target as it is, type or not", async () => {
    for (const type of [undefined, null, "file", "dir", "junction"] as any[]) {
      const link = tmp.path("link");
      expect(await fs.symlink("../some/where", link, type)).toBeUndefined();
      expect(readlinkSync(link)).toBe("../some/where");
      expect(await fs.readlink(link)).toBe("../some/where");
    }
  });

  it("symlink refuses an unknown type", async () => {
    for (const [type, shown] of [
      ["bad", "'bad'"],
      [1, "1"],
    ] as const) {
      await expectArgumentError(
        () => any.symlink("t", tmp.path(), type),
        "ERR_INVALID_ARG_VALUE",
        `The argument 'type' must be one of: 'dir', 'file', 'junction', null, undefined. Received ${shown}`,
      );
    }
  });

  it("readlink and realpath take encodings", async () => {
    const link = tmp.path("link");
    symlinkSync("tä", link);
    expect(await fs.readlink(link, "buffer")).toEqual(Buffer.from("tä"));
    expect(await fs.readlink(link, { encoding: "buffer" })).toEqual(Buffer.from("tä"));
    expect(await fs.readlink(link, "hex")).toBe(Buffer.from("tä").toString("hex"));
    const path = tmp.file();
    expect(await fs.realpath(path, "buffer")).toEqual(Buffer.from(realpathSync(path)));
    expect(await fs.realpath(path, { encoding: "base64" })).toBe(Buffer.from(realpathSync(path)).toString("base64"));
    for (const call of [any.readlink.bind(fs, link), any.realpath.bind(fs, path)]) {
      await expectArgumentError(
        () => call("nope"),
        "ERR_INVALID_ARG_VALUE",
        "The argument 'encoding' is invalid encoding. Received 'nope'",
      );
      await expectArgumentError(
        () => call(1),
        "ERR_INVALID_ARG_TYPE",
        'The "options" argument must be one of type string or object. Received type number (1)',
      );
    }
  });

  it("readlink reads a long target", async () => {
    const link = tmp.path("link");
    const target = "t/".repeat(2000);
    symlinkSync(target, link);
    expect(await fs.readlink(link)).toBe(target);
  });

  it("realpath resolves links, dots and a relative path", async () => {
    const folder = tmp.folder();
    mkdirSync(join(folder, "sub"));
    const link = tmp.path("link");
    symlinkSync(join(folder, "sub"), link);
    const real = realpathSync(join(folder, "sub"));
    expect(await fs.realpath(link)).toBe(real);
    expect(await fs.realpath(`${link}/../sub/.`)).toBe(real);
    expect(await fs.realpath(`${dirname(link)}//${basename(link)}/`)).toBe(real);
    expect(await fs.realpath(".")).toBe(process.cwd());
  });

  it("truncate shortens, lengthens, is 0 by default and for a negative length", async () => {
    const path = tmp.file("0123456789");
    const text = (): string => readFileSync(path, "latin1");
    expect(await fs.truncate(path, 4)).toBeUndefined();
    expect(text()).toBe("0123");
    await fs.truncate(path, 6);
    expect(text()).toBe("0123\0\0");
    await fs.truncate(path, -3);
    expect(text()).toBe("");
    await fs.truncate(path, 3);
    await fs.truncate(path);
    expect(text()).toBe("");
    expect(tmp.openFiles()).toEqual([]);
  });

  it("truncate of a folder fails at open", async () => {
    const path = tmp.folder();
    await expectSystemError(fs.truncate(path), { code: "EISDIR", syscall: "open", path });
  });

  it("truncate refuses a bad length, and opens nothing", async () => {
    const path = tmp.file("abc");
    const type = 'The "len" argument must be of type number. Received';
    await expectArgumentError(() => any.truncate(path, "1"), "ERR_INVALID_ARG_TYPE", `${type} type string ('1')`);
    await expectArgumentError(() => any.truncate(path, null), "ERR_INVALID_ARG_TYPE", `${type} null`);
    await expectArgumentError(
      () => fs.truncate(path, 1.5),
      "ERR_OUT_OF_RANGE",
      'The value of "len" is out of range. It must be an integer. Received 1.5',
    );
    expect(readFileSync(path, "latin1")).toBe("abc");
    expect(tmp.openFiles()).toEqual([]);
  });

  it("statfs gives what statfs(2) says", async () => {
    const expected = statfsSync("/proc");
    expect(await fs.statfs("/proc")).toMatchObject({ type: expected.type, bsize: expected.bsize });
    const big = await fs.statfs(tmp.dir, { bigint: true });
    for (const field of ["type", "bsize", "blocks", "bfree", "bavail", "files", "ffree"] as const) {
      expect(typeof big[field]).toBe("bigint");
      expect(typeof (await fs.statfs(tmp.dir))[field]).toBe("number");
    }
    expect(Number(big.blocks)).toBe(statfsSync(tmp.dir).blocks);
  });
}, "metadata");
