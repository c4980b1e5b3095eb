// File operations beyond Node's API: fallocate, fadvise, sync_file_range, renameat2.
// Assumes nothing of its arguments. On the node backend, which has no such calls, each rejects and says so.

import { currentBackend } from "../backend/choose.ts";
import type { Advice, OpenFile } from "../backend/interface.ts";
import {
  invalidArgValue,
  outOfRange,
  validateBoolean,
  validateEach,
  validateInteger,
  validateObject,
  validateOneOf,
} from "../node/arguments.ts";
import { toPath } from "../node/path.ts";

export type { Advice };

type PathLike = string | Uint8Array | URL;

/** What `FileHandle.allocate` does besides reserving space; flags of fallocate(2). */
export interface AllocateOptions {
  /** The file's size stays as it is. */
  keepSize?: boolean;
  /** Gives the range's space back; it reads as zeros. The size stays as it is. */
  punchHole?: boolean;
  /** The range reads as zeros, without being written where the file system can do that. */
  zeroRange?: boolean;
}

/**
 * Reserves space for a range of the file, so that writing it can't fail with ENOSPC; or, with an option, makes a hole or
 * zeros of it. `offset` and `length` in bytes, `length` above 0. fallocate(2).
 * Rejects with ENOTSUP where the file system lacks what is asked.
 */
export async function allocate(
  file: OpenFile,
  offset: number,
  length: number,
  options: AllocateOptions = {},
): Promise<void> {
  validateInteger(offset, "offset", 0);
  validateInteger(length, "length", 1);
  validateObject(options, "options");
  const { keepSize = false, punchHole = false, zeroRange = false } = options;
  validateEach(validateBoolean, { keepSize, punchHole, zeroRange });
  if (punchHole && zeroRange) throw invalidArgValue("options", options, "can't have both punchHole and zeroRange");
  return currentBackend().allocate(file, offset, length, { keepSize, punchHole, zeroRange });
}

const ADVICE: readonly Advice[] = ["normal", "random", "sequential", "willneed", "dontneed", "noreuse"];

/**
 * Tells the kernel how a range is going to be used: "sequential" doubles read-ahead, "random" turns it off, "willneed"
 * reads it into the page cache now, "dontneed" drops it from there. `length` 0 is up to the end of the file; a range is
 * at most 4 GiB - 1 long.
 */
export async function advise(file: OpenFile, offset: number, length: number, advice: Advice): Promise<void> {
  validateInteger(offset, "offset", 0);
  validateInteger(length, "length", 0, 0xffff_ffff);
  validateOneOf(advice, "advice", ADVICE as Advice[]);
  return currentBackend().advise(file, offset, length, advice);
}

/**
 * Writes a range's dirty pages to the disk and waits for that. It bounds what a later fsync has to do and is none itself:
 * neither metadata nor the disk's own cache are flushed. `length` 0 is up to the end of the file, at most 4 GiB - 1.
 */
export async function syncRange(file: OpenFile, offset: number, length: number): Promise<void> {
  validateInteger(offset, "offset", 0);
  validateInteger(length, "length", 0, 0xffff_ffff);
  return currentBackend().syncRange(file, offset, length);
}

/** The two flags of renameat2(2) that `rename` takes; both need Linux 3.15 and a file system that has them. */
export interface RenameOptions {
  /** Rejects with EEXIST if there is something at the new path. */
  noReplace?: boolean;
  /** Both paths must exist; they change places in one step. */
  exchange?: boolean;
}

/** Renames under a condition: renameat2(2). Without an option it is the plain `rename`, on either backend. */
export async function rename(from: PathLike, to: PathLike, options: RenameOptions = {}): Promise<void> {
  const oldPath = toPath(from, "oldPath");
  const newPath = toPath(to, "newPath");
  validateObject(options, "options");
  const { noReplace = false, exchange = false } = options;
  validateEach(validateBoolean, { noReplace, exchange });
  if (noReplace && exchange) throw outOfRange("options", "one of noReplace and exchange", options);
  if (!noReplace && !exchange) return currentBackend().rename(oldPath, newPath);
  return currentBackend().renameWith(oldPath, newPath, noReplace ? "noReplace" : "exchange");
}
