// fs.Stats and fs.BigIntStats objects made from the kernel's struct statx.
// Assumes the 256-byte layout of linux/stat.h in little-endian order, held in a Uint32Array.
// Never asks the kernel anything, except once for the class of BigIntStats, which node:fs does not export.

import { type BigIntStats, Stats, statSync } from "node:fs";
import { withRoundedDates } from "./rounded-dates.ts";

// Offsets in struct statx, in 32-bit words. A timestamp is s64 seconds, u32 nanoseconds, 4 bytes of padding.
const BLKSIZE = 1;
const NLINK = 4;
const UID = 5;
const GID = 6;
const MODE = 7; // the low 16 bits
const INO = 8;
const SIZE = 10;
const BLOCKS = 12;
const ATIME = 16;
const BTIME = 20;
const CTIME = 24;
const MTIME = 28;
const RDEV = 32; // major, minor
const DEV = 34; // major, minor

// Plain functions that carry the prototypes of Bun's classes: what they make is an instance of those in every respect
// (instanceof, is*() and the Date accessors) at a fifth of the cost of `new fs.Stats(…)`. Keys in the order of Bun's own.
function NumberStats(this: Stats, words: Uint32Array, at: number): void {
  this.dev = deviceNumber(words[at + DEV], words[at + DEV + 1]);
  this.ino = unsigned64(words, at + INO);
  this.mode = words[at + MODE] & 0xffff;
  this.nlink = words[at + NLINK];
  this.uid = words[at + UID];
  this.gid = words[at + GID];
  this.rdev = deviceNumber(words[at + RDEV], words[at + RDEV + 1]);
  this.size = unsigned64(words, at + SIZE);
  this.blksize = words[at + BLKSIZE];
  this.blocks = unsigned64(words, at + BLOCKS);
  this.atimeMs = milliseconds(words, at + ATIME);
  this.mtimeMs = milliseconds(words, at + MTIME);
  this.ctimeMs = milliseconds(words, at + CTIME);
  this.birthtimeMs = milliseconds(words, at + BTIME);
}
NumberStats.prototype = withRoundedDates(Stats.prototype);
const makeStats = NumberStats as unknown as new (words: Uint32Array, at: number) => Stats;

function BigStats(this: BigIntStats, words: Uint32Array, at: number): void {
  const atimeNs = nanoseconds(words, at + ATIME);
  const mtimeNs = nanoseconds(words, at + MTIME);
  const ctimeNs = nanoseconds(words, at + CTIME);
  const birthtimeNs = nanoseconds(words, at + BTIME);
  this.dev = BigInt(deviceNumber(words[at + DEV], words[at + DEV + 1]));
  this.ino = bigUnsigned64(words, at + INO);
  this.mode = BigInt(words[at + MODE] & 0xffff);
  this.nlink = BigInt(words[at + NLINK]);
  this.uid = BigInt(words[at + UID]);
  this.gid = BigInt(words[at + GID]);
  this.rdev = BigInt(deviceNumber(words[at + RDEV], words[at + RDEV + 1]));
  this.size = bigUnsigned64(words, at + SIZE);
  this.blksize = BigInt(words[at + BLKSIZE]);
  this.blocks = bigUnsigned64(words, at + BLOCKS);
  this.atimeMs = atimeNs / 1_000_000n;
  this.mtimeMs = mtimeNs / 1_000_000n;
  this.ctimeMs = ctimeNs / 1_000_000n;
  this.birthtimeMs = birthtimeNs / 1_000_000n;
  this.atimeNs = atimeNs;
  this.mtimeNs = mtimeNs;
  this.ctimeNs = ctimeNs;
  this.birthtimeNs = birthtimeNs;
}
let makeBigIntStats: (new (words: Uint32Array, at: number) => BigIntStats) | undefined;

function bigIntStats(words: Uint32Array, at: number): BigIntStats {
  if (makeBigIntStats === undefined) {
    BigStats.prototype = withRoundedDates(Object.getPrototypeOf(statSync("/", { bigint: true })));
    makeBigIntStats = BigStats as unknown as new (words: Uint32Array, at: number) => BigIntStats;
  }
  return new makeBigIntStats(words, at);
}

/**
 * The Stats (or, with `bigint`, the BigIntStats) that a struct statx describes.
 * `words` holds the struct from u32 index `index` on; it is only read, and nothing of it is kept.
 */
export function statsFromStatx(words: Uint32Array, index: number, bigint: false): Stats;
export function statsFromStatx(words: Uint32Array, index: number, bigint: true): BigIntStats;
export function statsFromStatx(words: Uint32Array, index: number, bigint: boolean): Stats | BigIntStats;
export function statsFromStatx(words: Uint32Array, index: number, bigint: boolean): Stats | BigIntStats {
  return bigint ? bigIntStats(words, index) : new makeStats(words, index);
}

/** The C library's makedev(), for the kernel's majors of 12 bits and minors of 20. */
function deviceNumber(major: number, minor: number): number {
  return (minor & 0xff) + major * 2 ** 8 + (minor >>> 8) * 2 ** 20;
}

/** Loses precision beyond 2^53, as fs.Stats does. */
function unsigned64(words: Uint32Array, at: number): number {
  return words[at] + words[at + 1] * 2 ** 32;
}

function bigUnsigned64(words: Uint32Array, at: number): bigint {
  const high = words[at + 1];
  if (high < 0x200000) return BigInt(words[at] + high * 2 ** 32);
  return (BigInt(high) << 32n) | BigInt(words[at]);
}

/** Seconds are signed: files can be older than 1970. */
function seconds(words: Uint32Array, at: number): number {
  return words[at] + (words[at + 1] | 0) * 2 ** 32;
}

function milliseconds(words: Uint32Array, at: number): number {
  return seconds(words, at) * 1000 + words[at + 2] / 1e6;
}

function nanoseconds(words: Uint32Array, at: number): bigint {
  return BigInt(seconds(words, at)) * 1_000_000_000n + BigInt(words[at + 2]);
}
