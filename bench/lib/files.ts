// Makes the files that workloads read, and the orders they are read in. The same seed gives the same order every time.
// Assumes a folder on a real disk file system. Blocking calls on purpose: nothing here is measured.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";

export const KIB = 1024;
export const MIB: number = 1024 * KIB;
export const GIB: number = 1024 * MIB;
export const BLOCK = 4096;
export const SMALL_FILES = 10_000;

/** xorshift32; never 0. */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const ORDER = 65_536;

/** Numbers below `limit` in random order, for ever, at the cost of an array access. */
export function randomOrder(limit: number, seed = 1): () => number {
  const next = randomNumbers(seed);
  const order = Uint32Array.from({ length: ORDER }, () => next() % limit);
  let at = 0;
  return () => order[at++ & (ORDER - 1)];
}

/** A file of bytes that do not compress, written through to the disk, and in the page cache afterwards. */
export function makeFile(path: string, byteLength: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.size === byteLength) {
    Bun.spawnSync(["cat", path], { stdout: "ignore" });
    return;
  }
  const piece = new Uint32Array(MIB / 4);
  const next = randomNumbers(byteLength);
  for (let i = 0; i < piece.length; i++) piece[i] = next();
  const fd = openSync(path, "w");
  for (let written = 0; written < byteLength; written += MIB) {
    piece[0] = written;
    writeSync(fd, new Uint8Array(piece.buffer, 0, Math.min(MIB, byteLength - written)));
  }
  fsyncSync(fd);
  closeSync(fd);
}

/** The gigabyte that several workloads read. */
export const largeFile = (folder: string): string => join(folder, "large.bin");
export const makeLargeFile = (folder: string): void => makeFile(largeFile(folder), GIB);

/** Drops a file's clean pages from the page cache. */
export function evict(path: string): void {
  const dropped = Bun.spawnSync([
    "dd",
    `of=${path}`,
    "oflag=nocache",
    "conv=notrunc,fdatasync",
    "count=0",
    "status=none",
  ]);
  if (!dropped.success) throw new Error(`dd could not evict ${path}: ${dropped.stderr.toString()}`);
}

/** `count` files of one block each below `folder/name`, if that is not there yet; named by their number; in sub-folders of `perFolder` if given. */
export function makeSmallFiles(folder: string, name: string, count: number, perFolder: number = count): void {
  const base = join(folder, name);
  if (existsSync(base)) return;
  mkdirSync(base);
  const bytes = new Uint8Array(BLOCK).fill(0x78);
  for (let i = 0; i < count; i++) {
    if (perFolder < count && i % perFolder === 0) mkdirSync(join(base, `${i / perFolder}`));
    const fd = openSync(join(base, perFolder < count ? `${Math.floor(i / perFolder)}/${i}` : `${i}`), "w");
    writeSync(fd, bytes);
    closeSync(fd);
  }
}

/** The paths of makeSmallFiles(folder, "small", SMALL_FILES), in random order for ever. */
export function smallPaths(folder: string): () => string {
  const paths = Array.from({ length: SMALL_FILES }, (_, i) => join(folder, "small", `${i}`));
  const order = randomOrder(SMALL_FILES);
  return () => paths[order()];
}

/** The same paths, each once, in random order. */
export function shuffledSmallPaths(folder: string): string[] {
  const paths = Array.from({ length: SMALL_FILES }, (_, i) => join(folder, "small", `${i}`));
  const next = randomNumbers(3);
  for (let i = paths.length - 1; i > 0; i--) {
    const j = next() % (i + 1);
    [paths[i], paths[j]] = [paths[j], paths[i]];
  }
  return paths;
}

/** One page-aligned buffer per lane, as O_DIRECT wants it. WebAssembly's memory begins at a page, and never moves. */
export function alignedBuffers(depth: number, byteLength: number): Uint8Array[] {
  const pages = Math.ceil((depth * byteLength) / (64 * KIB));
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  return Array.from({ length: depth }, (_, lane) => new Uint8Array(memory.buffer, lane * byteLength, byteLength));
}
