// Stats made from what the kernel's statx() really wrote, beside what node:fs makes of the same file.
// statx is called through the C library here, so that nothing of this package stands between.

import { dlopen, ptr } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { deepStrictEqual } from "node:assert";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, STATX_BTIME } from "../../src/kernel/constants.ts";
import { statsFromStatx } from "../../src/node/stats.ts";
import { tmpDir } from "../helpers/tmp.ts";

const symbols = { statx: { args: ["i32", "cstring", "i32", "u32", "ptr"], returns: "i32" } } as const;
const libc = ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`]
  .map((name) => {
    try {
      return dlopen(name, symbols).symbols;
    } catch {
      return undefined;
    }
  })
  .find((found) => found !== undefined)!;

/** The struct at u32 index 64 of 192: what lies before and behind it is filled with ones that must not be read. */
function statx(path: string, flags = 0): Uint32Array {
  const words = new Uint32Array(192).fill(0xffffffff);
  const bytes = Buffer.from(`${path}\0`);
  words.fill(0, 64, 128);
  const result = libc.statx(AT_FDCWD, bytes as never, flags, STATX_BASIC_STATS | STATX_BTIME, ptr(words, 256));
  if (result !== 0) throw new Error(`statx failed for ${path}`);
  return words;
}

const dir = tmpDir();
const at = (name: string): string => join(dir, name);
fs.writeFileSync(at("file"), "content");
fs.writeFileSync(at("empty"), "");
fs.mkdirSync(at("folder"), 0o750);
fs.symlinkSync("file", at("link"));
fs.linkSync(at("file"), at("second-name"));
fs.writeFileSync(at("mode"), "");
fs.chmodSync(at("mode"), 0o4711);
Bun.spawnSync(["mkfifo", at("fifo")]);
fs.writeFileSync(at("sparse"), "");
fs.truncateSync(at("sparse"), 5 * 2 ** 40); // beyond 32 bits
for (const [name, date] of [
  ["old", "1969-12-31T23:59:58.250000001Z"],
  ["ancient", "1901-12-13T20:45:53.999999999Z"],
  ["epoch", "1970-01-01T00:00:00.000000000Z"],
  ["nanoseconds", "2001-09-09T01:46:40.123456789Z"],
  ["far", "2242-03-16T12:56:32.987654321Z"],
]) {
  fs.writeFileSync(at(name), "");
  expect(Bun.spawnSync(["touch", "-d", date, at(name)]).exitCode).toBe(0);
}

const files: [string, string][] = [
  ["a file", at("file")],
  ["an empty file", at("empty")],
  ["a directory", at("folder")],
  ["a file with two names", at("second-name")],
  ["odd mode bits", at("mode")],
  ["a FIFO", at("fifo")],
  ["5 TiB of nothing", at("sparse")],
  ["a time before 1970", at("old")],
  ["the earliest time", at("ancient")],
  ["the epoch", at("epoch")],
  ["nanoseconds", at("nanoseconds")],
  ["a time beyond 2038", at("far")],
  ["a character device", "/dev/null"],
  ["another device", "/dev/full"],
  ["/proc", "/proc/self/stat"],
  ["/sys", "/sys/kernel"],
  ["the root", "/"],
  ...blockDevices(),
];

function blockDevices(): [string, string][] {
  return fs
    .readdirSync("/dev")
    .filter((name) => fs.lstatSync(join("/dev", name), { throwIfNoEntry: false })?.isBlockDevice())
    .slice(0, 2)
    .map((name) => [`block device ${name}`, join("/dev", name)]);
}

const predicates = [
  "isFile",
  "isDirectory",
  "isSymbolicLink",
  "isFIFO",
  "isSocket",
  "isBlockDevice",
  "isCharacterDevice",
] as const;
const dates = ["atime", "mtime", "ctime", "birthtime"] as const;

/** Keys first, before a Date accessor adds its own property; then everything else that can be asked. */
function describeStats(stats: fs.Stats | fs.BigIntStats, isBuns = false): unknown {
  return {
    entries: Object.entries(stats),
    json: JSON.stringify(stats, (_key, value) => (typeof value === "bigint" ? `${value}n` : value)),
    predicates: predicates.filter((name) => stats[name]()),
    // Node rounds the milliseconds to the nearest, Bun cuts them off.
    dates: dates.map((name) =>
      isBuns ? stats[name] && Math.round(Number(stats[`${name}Ms`])) : stats[name].getTime(),
    ),
    keysAfterDates: Object.keys(stats),
  };
}

/** atime and, in /proc, everything changes between two calls; take the pair in which nothing did. */
function pair<T extends fs.Stats | fs.BigIntStats>(ours: () => T, theirs: () => T): [T, T] {
  for (let attempt = 0; ; attempt++) {
    const before = theirs();
    const made = ours();
    const after = theirs();
    const same =
      before.mtimeMs === after.mtimeMs && before.ctimeMs === after.ctimeMs && before.atimeMs === after.atimeMs;
    if (same || attempt === 50) return [made, after];
  }
}

describe("equals the runtime's own", () => {
  test.each(files)("%s", (_what, path) => {
    const [ours, theirs] = pair(
      () => statsFromStatx(statx(path), 64, false),
      () => fs.statSync(path),
    );
    expect(describeStats(ours)).toEqual(describeStats(theirs, true));
    const [oursBig, theirsBig] = pair(
      () => statsFromStatx(statx(path), 64, true),
      () => fs.statSync(path, { bigint: true }),
    );
    expect(describeStats(oursBig)).toEqual(describeStats(theirsBig, true));
  });

  test("a symbolic link", () => {
    const words = statx(at("link"), AT_SYMLINK_NOFOLLOW);
    expect(describeStats(statsFromStatx(words, 64, false))).toEqual(describeStats(fs.lstatSync(at("link")), true));
    expect(describeStats(statsFromStatx(words, 64, true))).toEqual(
      describeStats(fs.lstatSync(at("link"), { bigint: true }), true),
    );
    expect(statsFromStatx(words, 64, false).isSymbolicLink()).toBe(true);
  });

  test("a socket", async () => {
    const server = createServer().listen(at("socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    const stats = statsFromStatx(statx(at("socket")), 64, false);
    expect(describeStats(stats)).toEqual(describeStats(fs.statSync(at("socket")), true));
    expect(stats.isSocket()).toBe(true);
    server.close();
  });

  test("as deepStrictEqual sees it: same prototype, same properties", () => {
    deepStrictEqual(statsFromStatx(statx(at("file")), 64, false), fs.statSync(at("file")));
    deepStrictEqual(statsFromStatx(statx(at("file")), 64, true), fs.statSync(at("file"), { bigint: true }));
  });
});

test("instances of the runtime's classes", () => {
  const words = statx(at("file"));
  const stats = statsFromStatx(words, 64, false);
  expect(stats).toBeInstanceOf(fs.Stats);
  expect(stats.constructor).toBe(fs.Stats);
  const BigIntStats = fs.statSync("/", { bigint: true }).constructor;
  const big = statsFromStatx(words, 64, true);
  expect(big).toBeInstanceOf(BigIntStats);
  expect(big.constructor).toBe(BigIntStats);
  expect(big).not.toBeInstanceOf(fs.Stats);
  expect(Object.prototype.toString.call(stats)).toBe(Object.prototype.toString.call(fs.statSync("/")));
});

test("dates can be set, and properties are the user's to change", () => {
  const stats = statsFromStatx(statx(at("file")), 64, false);
  const date = new Date(5);
  stats.mtime = date;
  expect(stats.mtime).toBe(date);
  stats.size = 1;
  expect(stats.size).toBe(1);
  expect(stats.atime).toBe(stats.atime);
});

test("nothing of the words is kept", () => {
  const words = statx(at("file"));
  const stats = statsFromStatx(words, 64, false);
  const big = statsFromStatx(words, 64, true);
  words.fill(0);
  expect([stats.size, stats.isFile(), big.size, big.isFile()]).toEqual([7, true, 7n, true]);
});

describe("numbers no file here has", () => {
  /** A struct with one field set; the offsets are linux/stat.h's, in bytes. */
  function made(fields: [byteOffset: number, value: number][]): Uint32Array {
    const words = new Uint32Array(64);
    for (const [offset, value] of fields) words[offset / 4] = value;
    return words;
  }

  test("64-bit inode, size and blocks", () => {
    const words = made([
      [32, 0xfffffffe],
      [36, 0xffffffff],
      [40, 1],
      [44, 0x200000],
      [48, 0xffffffff],
      [52, 0x1fffff],
    ]);
    const big = statsFromStatx(words, 0, true);
    expect([big.ino, big.size, big.blocks]).toEqual([2n ** 64n - 2n, 2n ** 53n + 1n, 2n ** 53n - 1n]);
    const stats = statsFromStatx(words, 0, false);
    expect([stats.ino, stats.size, stats.blocks]).toEqual([2 ** 64, 2 ** 53, 2 ** 53 - 1]);
  });

  test("device numbers as the C library packs them", () => {
    const words = made([
      [128, 0xfff],
      [132, 0xfffff],
      [136, 259],
      [140, 0x12345],
    ]);
    const pack = (major: bigint, minor: bigint): bigint =>
      ((minor & 0xfff00n) << 12n) | (major << 8n) | (minor & 0xffn);
    const big = statsFromStatx(words, 0, true);
    expect(big.dev).toBe(pack(259n, 0x12345n));
    expect(big.rdev).toBe(pack(0xfffn, 0xfffffn));
    expect(statsFromStatx(words, 0, false).dev).toBe(Number(pack(259n, 0x12345n)));
  });

  test("owner, group and names, at any u32 index", () => {
    const words = made([
      [4, 512],
      [16, 3],
      [20, 1000],
      [24, 0xfffffffe],
    ]);
    const shifted = new Uint32Array(67);
    shifted.set(words, 3);
    for (const [array, index] of [
      [words, 0],
      [shifted, 3],
    ] as const) {
      const stats = statsFromStatx(array, index, false);
      expect([stats.blksize, stats.nlink, stats.uid, stats.gid]).toEqual([512, 3, 1000, 0xfffffffe]);
      const big = statsFromStatx(array, index, true);
      expect([big.blksize, big.nlink, big.uid, big.gid]).toEqual([512n, 3n, 1000n, 0xfffffffen]);
    }
  });

  test("the mode is 16 bits; the padding behind it is not read", () => {
    expect(statsFromStatx(made([[28, 0xffff81a4]]), 0, false).mode).toBe(0o100644);
    expect(statsFromStatx(made([[28, 0xffff81a4]]), 0, true).mode).toBe(0o100644n);
  });
});
