// FileInfo by STATX, without a Stats object (0.1 against 0.5 µs). At once where everything is in the dentry cache.

import type { BigIntStats } from "node:fs";
import { AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS } from "../../kernel/constants.ts";
import { AT_FDCWD, Opcode } from "../../kernel/sqe.ts";
import { EAGAIN, EINTR } from "../../node/errno.ts";
import { type FileInfo, infoFromStats } from "../../node/file-info.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { CELL_HALF, type Cell, putPath } from "../../ring/scratch.ts";
import type { OpenFile, Path } from "../interface.ts";
import { fstat } from "./read-write.ts";
import { begin, end, honest, pathAddress, pathFlag, stage, thread } from "./request.ts";

const TWO_32 = 2 ** 32;

/** Words of a struct statx (statx(2)). */
function infoFromStatx(words: Uint32Array, at: number): FileInfo {
  const wide = (word: number): number => words[at + word + 1]! * TWO_32 + words[at + word]!;
  const seconds = (word: number): number => (words[at + word + 1]! | 0) * TWO_32 + words[at + word]!;
  return {
    mode: words[at + 7]! & 0xffff,
    size: wide(10),
    blocks: wide(12),
    identity: `${words[at + 34]}:${words[at + 35]}:${words[at + 9]}:${words[at + 8]}`,
    uid: words[at + 5]!,
    gid: words[at + 6]!,
    accessSeconds: seconds(16),
    accessNanoseconds: words[at + 18]!,
    modificationSeconds: seconds(28),
    modificationNanoseconds: words[at + 30]!,
  };
}

function stageInfo(operation: Operation): void {
  const t = thread();
  const cell = operation.cell!;
  const path = operation.path!;
  const address = pathAddress(operation, cell, 0, path);
  const { offset: atFlags } = operation;
  const into = cell.address + CELL_HALF;
  stage(t, operation, Opcode.STATX, pathFlag(t, operation, path), AT_FDCWD, into, address, STATX_BASIC_STATS, atFlags);
}

function finishInfo(operation: Operation, res: number): void {
  if (res === EINTR) {
    operation.pending = 1;
    return stageInfo(operation);
  }
  const { resolve } = operation;
  const cell = operation.cell as Cell;
  const info = res < 0 ? honest(res) : infoFromStatx(cell.words, cell.halfWord);
  end(operation);
  resolve(info);
}

/** What is known of a path if all of it is cached, or -errno: -EAGAIN where it is not, or may not be asked here. */
export function cachedInfo(path: Path, noFollow: boolean): FileInfo | number {
  const t = thread();
  if (noFollow ? t.mounts.holdsName(path) : t.mounts.holdsPath(path)) return EAGAIN;
  const cell = t.cells.acquire();
  const address = putPath(cell, 0, path);
  const rc = address < 0 ? EAGAIN : t.native.statCached(address, noFollow ? 1 : 0, cell.address + CELL_HALF);
  const info = rc < 0 ? rc : infoFromStatx(cell.words, cell.halfWord);
  t.cells.release(cell);
  return info;
}

/** Backend.lookup: no promise is made where the answer is at hand. */
export function lookup(path: Path, noFollow: boolean): FileInfo | number | Promise<FileInfo | number> {
  const cached = cachedInfo(path, noFollow);
  if (cached !== EAGAIN) return cached;
  const t = thread();
  const operation = begin(t, finishInfo, "statx", null);
  operation.cell = t.cells.acquire();
  operation.path = path;
  operation.offset = noFollow ? AT_SYMLINK_NOFOLLOW : 0;
  stageInfo(operation);
  return promiseFor(operation);
}

/** Backend.info. */
export async function info(file: OpenFile): Promise<FileInfo> {
  return infoFromStats((await fstat(file, true)) as BigIntStats);
}
