// Owns stat and lstat, and the Stats and BigIntStats objects of every function that gives one.
// Assumes node:fs's statSync as the reference for numbers, taken right before or after on a file nobody touches.
// Never covers statfs.

import { expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import fsSync, { linkSync, mkdirSync, statSync, symlinkSync, utimesSync } from "node:fs";
import { createServer } from "node:net";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

const NUMBERS = [
  "dev",
  "mode",
  "nlink",
  "uid",
  "gid",
  "rdev",
  "blksize",
  "ino",
  "size",
  "blocks",
  "atimeMs",
  "mtimeMs",
  "ctimeMs",
  "birthtimeMs",
];
/** Busybox's takes whole seconds only. */
const touchTakesFractions =
  spawnSync("touch", ["-c", "-d", "2020-09-13 12:26:40.7507 UTC", "/dev/null/none"])
    .stderr?.toString()
    .includes("invalid") !== true;
const NANOSECONDS = ["atimeNs", "mtimeNs", "ctimeNs", "birthtimeNs"];
const DATES = ["atime", "mtime", "ctime", "birthtime"];
const KINDS = [
  "isFile",
  "isDirectory",
  "isSymbolicLink",
  "isFIFO",
  "isSocket",
  "isCharacterDevice",
  "isBlockDevice",
] as const;

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const stat = fs.stat as (path: any, options?: any) => Promise<any>;
  const lstat = fs.lstat as (path: any, options?: any) => Promise<any>;

  it("gives every field of stat(2) as a number", async () => {
    const path = tmp.file("x".repeat(5000));
    const expected: any = statSync(path);
    for (const stats of [await stat(path), await lstat(path), await fs.open(path).then(statAndClose)]) {
      for (const field of NUMBERS) {
        expect(typeof stats[field]).toBe("number");
        if (field !== "birthtimeMs") expect(`${field} ${stats[field]}`).toBe(`${field} ${expected[field]}`);
      }
      expect(stats.size).toBe(5000);
    }
  });

  it("gives every field as a bigint on request, with nanoseconds", async () => {
    const path = tmp.file("x".repeat(5000));
    const expected: any = statSync(path, { bigint: true });
    for (const stats of [await stat(path, { bigint: true }), await lstat(path, { bigint: true })]) {
      for (const field of [...NUMBERS, ...NANOSECONDS]) {
        expect(typeof stats[field]).toBe("bigint");
        if (!field.startsWith("birth")) expect(`${field} ${stats[field]}`).toBe(`${field} ${expected[field]}`);
      }
      expect(stats.mtimeNs / 1_000_000n).toBe(stats.mtimeMs);
    }
  });

  it("gives Dates", async () => {
    const path = tmp.file("x");
    utimesSync(path, 1_000_000.25, 1_600_000_000.75);
    for (const stats of [await stat(path), await stat(path, { bigint: true })]) {
      for (const field of DATES) {
        expect(stats[field]).toBeInstanceOf(Date);
        expect(Math.abs(stats[field].getTime() - Number(stats[`${field}Ms`]))).toBeLessThan(1);
      }
      expect(stats.mtime.toISOString()).toBe("2020-09-13T12:26:40.750Z");
      expect(stats.atime.getTime()).toBe(1_000_000_250);
    }
  });

  const rounding = touchTakesFractions ? it : test.skip;
  rounding(
    `rounds Dates to the nearest millisecond${touchTakesFractions ? "" : " [skipped: busybox's touch]"}`,
    async () => {
      const path = tmp.file("x");
      execFileSync("touch", ["-m", "-d", "2020-09-13 12:26:40.7507 UTC", path]);
      const stats = await stat(path);
      expect(stats.mtimeMs).toBe(1_600_000_000_750.7);
      expect(stats.mtime.getTime()).toBe(1_600_000_000_751);
      expect((await stat(path, { bigint: true })).mtime.getTime()).toBe(1_600_000_000_750);
    },
  );

  it("gives times before 1970", async () => {
    const path = tmp.file("x");
    utimesSync(path, new Date(-1500), new Date(-100_000_250));
    const stats = await stat(path);
    expect(stats.mtimeMs).toBe(-100_000_250);
    expect(stats.atimeMs).toBe(-1500);
    expect((await stat(path, { bigint: true })).mtimeNs).toBe(-100_000_250_000_000n);
  });

  it("keeps the fraction of a millisecond in the number form", async () => {
    const path = tmp.file("x");
    const { mtimeNs } = await stat(path, { bigint: true });
    expect((await stat(path)).mtimeMs).toBe(Number(mtimeNs / 1_000_000n) + Number(mtimeNs % 1_000_000n) / 1e6);
  });

  it("gives instances of node:fs's own classes", async () => {
    const path = tmp.file("x");
    expect(await stat(path)).toBeInstanceOf(fsSync.Stats);
    expect(await lstat(path)).toBeInstanceOf(fsSync.Stats);
    const big = statSync(path, { bigint: true }).constructor as any;
    expect(await stat(path, { bigint: true })).toBeInstanceOf(big);
    await using handle = await fs.open(path);
    expect(await handle.stat()).toBeInstanceOf(fsSync.Stats);
    expect(await handle.stat({ bigint: true })).toBeInstanceOf(big);
  });

  it("has the own keys of statSync's result, in the same order", async () => {
    const path = tmp.file("x");
    expect(Object.keys(await stat(path))).toEqual(Object.keys(statSync(path)));
    expect(Object.keys(await stat(path, { bigint: true }))).toEqual(Object.keys(statSync(path, { bigint: true })));
  });

  it("tells the kinds of file apart", async () => {
    const path = tmp.file();
    const link = tmp.path("link");
    symlinkSync(path, link);
    const fifo = tmp.fifo();
    const socket = tmp.path("socket");
    const server = createServer().listen(socket);
    await new Promise((resolve) => server.once("listening", resolve));
    const cases: [path: string, kind: (typeof KINDS)[number]][] = [
      [path, "isFile"],
      [tmp.folder(), "isDirectory"],
      [link, "isSymbolicLink"],
      [fifo, "isFIFO"],
      [socket, "isSocket"],
      ["/dev/null", "isCharacterDevice"],
    ];
    for (const [at, kind] of cases) {
      for (const stats of [await lstat(at), await lstat(at, { bigint: true })]) {
        expect(KINDS.filter((name) => stats[name]())).toEqual([kind]);
      }
    }
    await new Promise((resolve) => server.close(resolve));
  });

  it("stat follows a symbolic link, lstat does not", async () => {
    const path = tmp.file("four");
    const link = tmp.path("link");
    symlinkSync(path, link);
    expect((await stat(link)).size).toBe(4);
    expect((await stat(link)).isFile()).toBe(true);
    expect((await lstat(link)).isSymbolicLink()).toBe(true);
    expect((await lstat(link)).size).toBe(path.length);
  });

  it("sees changes at once", async () => {
    const path = tmp.file("1");
    expect((await stat(path)).size).toBe(1);
    await fs.writeFile(path, "12");
    expect((await stat(path)).size).toBe(2);
    linkSync(path, tmp.path());
    expect((await stat(path)).nlink).toBe(2);
    await fs.unlink(path);
    await expectSystemError(stat(path), { code: "ENOENT", syscall: "stat", path });
    mkdirSync(path);
    expect((await stat(path)).isDirectory()).toBe(true);
  });

  it("gives device numbers as stat(2) does", async () => {
    const { rdev, dev } = statSync("/dev/null");
    expect(await stat("/dev/null")).toMatchObject({ rdev, dev });
    expect(await stat("/proc/self")).toMatchObject({ dev: statSync("/proc/self").dev });
  });

  it("stats 300 files at once", async () => {
    const paths = Array.from({ length: 300 }, (_, i) => tmp.file("x".repeat(i)));
    const all = await Promise.all(paths.map((path) => stat(path)));
    expect(all.map(({ size }) => size)).toEqual(paths.map((_, i) => i));
  });

  it("fails like stat(2) and lstat(2)", async () => {
    const missing = tmp.path();
    const under = `${tmp.file()}/x`;
    const dangling = tmp.path("dangling");
    symlinkSync(missing, dangling);
    for (const [call, syscall] of [
      [stat, "stat"],
      [lstat, "lstat"],
    ] as const) {
      await expectSystemError(call(missing), { code: "ENOENT", syscall, path: missing });
      await expectSystemError(call(missing, { bigint: true }), { code: "ENOENT", syscall, path: missing });
      await expectSystemError(call(under), { code: "ENOTDIR", syscall, path: under });
      await expectSystemError(call(""), { code: "ENOENT", syscall, path: "" });
    }
    await expectSystemError(stat(dangling), { code: "ENOENT", syscall: "stat", path: dangling });
    expect((await lstat(dangling)).isSymbolicLink()).toBe(true);
  });

  it("throwIfNoEntry: false makes stat resolve to undefined for a missing file", async () => {
    const missing = tmp.path();
    expect(await stat(missing, { throwIfNoEntry: false })).toBeUndefined();
    expect(await stat(missing, { throwIfNoEntry: false, bigint: true })).toBeUndefined();
    expect(await stat(`${tmp.file()}/x`, { throwIfNoEntry: false })).toBeUndefined();
    await expectSystemError(stat(missing, { throwIfNoEntry: true }), {
      code: "ENOENT",
      syscall: "stat",
      path: missing,
    });
  });

  it("throwIfNoEntry: false does not hide other failures", async () => {
    const loop = tmp.path("loop");
    symlinkSync(loop, loop);
    await expectSystemError(stat(loop, { throwIfNoEntry: false }), { code: "ELOOP", syscall: "stat", path: loop });
  });

  it("refuses options that are no object", async () => {
    const wanted = 'The "options" argument must be of type object. Received';
    for (const [options, received] of [
      [null, "null"],
      [1, "type number (1)"],
      ["x", "type string ('x')"],
    ] as const) {
      await expectArgumentError(() => stat(tmp.file(), options), "ERR_INVALID_ARG_TYPE", `${wanted} ${received}`);
    }
  });
}, "stat-lstat");

async function statAndClose(handle: { stat(): Promise<any>; close(): Promise<void> }): Promise<any> {
  const stats = await handle.stat();
  await handle.close();
  return stats;
}
