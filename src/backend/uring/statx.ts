// What a copy must know of a file: its type and mode, size, identity and times, exact to the nanosecond and the last bit of
// the inode number, without a Stats object (0.1 against 0.5 µs). At once where everything is in the dentry cache.

import type { BigIntStats } from "node:fs";
import { AT_SYMLINK_NOFOLLOW, constants, STATX_BASIC_STATS } from "../../kernel/constants.ts";
import { AT_FDCWD, Opcode } from "../../kernel/sqe.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { CELL_HALF, type Cell, putPath } from "../../ring/scratch.ts";
import type { Backend, OpenFile, Path } from "../interface.ts";
import { begin, EAGAIN, EINTR, end, pathAddress, puntFlag, stage, thread } from "./request.ts";

/** Facts of one file. */
export interface Facts {
  /** Type and permission bits, as in `st_mode`. */
  mode: number;
  size: number;
  /** Blocks of 512 bytes that hold data. */
  blocks: number;
  /** Device and inode: equal for two names of one file. */
  identity: string;
  accessSeconds: number;
  accessNanoseconds: number;
  modificationSeconds: number;
  modificationNanoseconds: number;
}

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = constants;
export const isRegular = (facts: Facts): boolean => (facts.mode & S_IFMT) === S_IFREG;
export const isDirectory = (facts: Facts): boolean => (facts.mode & S_IFMT) === S_IFDIR;
export const isSymbolicLink = (facts: Facts): boolean => (facts.mode & S_IFMT) === S_IFLNK;
/** Permission bits, those for set-id and sticky included. */
export const permissions = (facts: Facts): number => facts.mode & 0o7777;

const TWO_32 = 2 ** 32;

/** Words of a struct statx (statx(2)). */
function factsFromStatx(words: Uint32Array, at: number): Facts {
  const wide = (word: number): number => words[at + word + 1]! * TWO_32 + words[at + word]!;
  const seconds = (word: number): number => (words[at + word + 1]! | 0) * TWO_32 + words[at + word]!;
  return {
    mode: words[at + 7]! & 0xffff,
    size: wide(10),
    blocks: wide(12),
    identity: `${words[at + 34]}:${words[at + 35]}:${words[at + 9]}:${words[at + 8]}`,
    accessSeconds: seconds(16),
    accessNanoseconds: words[at + 18]!,
    modificationSeconds: seconds(28),
    modificationNanoseconds: words[at + 30]!,
  };
}

const BILLION = 1_000_000_000n;
const floorSeconds = (ns: bigint): bigint => (ns - (((ns % BILLION) + BILLION) % BILLION)) / BILLION;

function factsFromStats(stats: BigIntStats): Facts {
  const access = floorSeconds(stats.atimeNs);
  const modification = floorSeconds(stats.mtimeNs);
  return {
    mode: Number(stats.mode),
    size: Number(stats.size),
    blocks: Number(stats.blocks),
    identity: `${stats.dev}:${stats.ino}`,
    accessSeconds: Number(access),
    accessNanoseconds: Number(stats.atimeNs - access * BILLION),
    modificationSeconds: Number(modification),
    modificationNanoseconds: Number(stats.mtimeNs - modification * BILLION),
  };
}

/** Facts of an open file. */
export async function factsOfFile(backend: Backend, file: OpenFile): Promise<Facts> {
  return factsFromStats((await backend.fstat(file, true)) as BigIntStats);
}

function stageFacts(operation: Operation): void {
  const t = thread();
  const cell = operation.cell!;
  const path = operation.path!;
  const address = pathAddress(operation, cell, 0, path);
  const { offset: atFlags } = operation;
  const into = cell.address + CELL_HALF;
  stage(t, operation, Opcode.STATX, puntFlag(t, path), AT_FDCWD, into, address, STATX_BASIC_STATS, atFlags);
}

function finishFacts(operation: Operation, res: number): void {
  if (res === EINTR) {
    operation.pending = 1;
    return stageFacts(operation);
  }
  const { resolve } = operation;
  const cell = operation.cell as Cell;
  const facts = res < 0 ? res : factsFromStatx(cell.words, cell.halfWord);
  end(operation);
  resolve(facts);
}

/** Facts of a path if everything about it is cached, or -errno: -EAGAIN where it is not, or may not be asked here. */
export function cachedFacts(path: Path, noFollow: boolean): Facts | number {
  const t = thread();
  if (t.mounts.any && t.mounts.holdsPath(path)) return EAGAIN;
  const cell = t.cells.take();
  const address = putPath(cell, 0, path);
  const rc = address < 0 ? EAGAIN : t.native.statCached(address, noFollow ? 1 : 0, cell.address + CELL_HALF);
  const facts = rc < 0 ? rc : factsFromStatx(cell.words, cell.halfWord);
  t.cells.give(cell);
  return facts;
}

/** Facts of a path through the ring, or -errno: no promise is made where the answer is at hand. */
function uringFacts(path: Path, noFollow: boolean): Facts | number | Promise<Facts | number> {
  const cached = cachedFacts(path, noFollow);
  if (cached !== EAGAIN) return cached;
  const t = thread();
  const operation = begin(t, finishFacts, "statx", null);
  operation.cell = t.cells.takeForPath();
  operation.path = path;
  operation.offset = noFollow ? AT_SYMLINK_NOFOLLOW : 0;
  stageFacts(operation);
  return promiseFor(operation);
}

/** Facts of a path on any backend, or -errno. */
export function factsOf(backend: Backend, path: Path, noFollow: boolean): Facts | number | Promise<Facts | number> {
  if (backend.name === "io_uring") return uringFacts(path, noFollow);
  return (noFollow ? backend.lstat(path, true) : backend.stat(path, true)).then(
    (stats) => factsFromStats(stats as BigIntStats),
    (error: NodeJS.ErrnoException) => {
      if (typeof error.errno !== "number") throw error;
      return error.errno;
    },
  );
}
