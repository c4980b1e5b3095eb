// What io_uring has for files and Node's API has not: space, advice, partial sync, rename with conditions.
// Assumes nothing of its arguments. On the node backend, which has no such calls, each rejects and says so.

import { currentBackend } from "../backend/choose.ts";
import type { OpenFile } from "../backend/interface.ts";
import * as uringPath from "../backend/uring/path.ts";
import { begin, finishVoid, remoteFlag, stage, thread } from "../backend/uring/request.ts";
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  POSIX_FADV_DONTNEED,
  POSIX_FADV_NOREUSE,
  POSIX_FADV_NORMAL,
  POSIX_FADV_RANDOM,
  POSIX_FADV_SEQUENTIAL,
  POSIX_FADV_WILLNEED,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
} from "../kernel/constants.ts";
import { OPCODE_SINCE, Opcode, type OpcodeName } from "../kernel/sqe.ts";
import {
  codedError,
  invalidArgValue,
  outOfRange,
  validateBoolean,
  validateInteger,
  validateObject,
  validateOneOf,
} from "../node/arguments.ts";
import { closedError } from "../node/errors.ts";
import { toPath } from "../node/path.ts";
import { promiseFor } from "../ring/operation.ts";

type PathLike = string | Uint8Array | URL;

/** ERR_FEATURE_UNAVAILABLE_ON_PLATFORM: the call needs io_uring, or an opcode that this kernel lacks. */
export function unavailable(what: string, reason: string): Error & { code: string } {
  return codedError(Error, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM", `${what} is unavailable: ${reason}`);
}

/** Throws unless the ring is in use and has the opcode. */
export function needRing(what: string, opcode: OpcodeName | null): void {
  if (currentBackend().name !== "io_uring")
    throw unavailable(what, "this process runs on the node backend, and node:fs has no such call");
  if (opcode !== null && thread().setup.opcodes[Opcode[opcode]] !== 1)
    throw unavailable(what, `this kernel has no IORING_OP_${opcode} (Linux ${OPCODE_SINCE[opcode]} and newer have it)`);
}

/** An operation on a range of an open file, without a value. */
function onRange(
  file: OpenFile,
  opcode: OpcodeName,
  syscall: string,
  offset: number,
  address: number,
  length: number,
  opFlags: number,
): Promise<void> {
  needRing(syscall, opcode);
  if (file.fd < 0) throw closedError(syscall);
  const t = thread();
  const operation = begin(t, finishVoid, syscall, file);
  stage(
    t,
    operation,
    Opcode[opcode],
    file.slow ? remoteFlag(t, operation) : 0,
    file.fd,
    offset,
    address,
    length,
    opFlags,
  );
  return promiseFor(operation);
}

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
  validateBoolean(keepSize, "options.keepSize");
  validateBoolean(punchHole, "options.punchHole");
  validateBoolean(zeroRange, "options.zeroRange");
  if (punchHole && zeroRange) throw invalidArgValue("options", options, "can't have both punchHole and zeroRange");
  const mode =
    (keepSize || punchHole ? FALLOC_FL_KEEP_SIZE : 0) |
    (punchHole ? FALLOC_FL_PUNCH_HOLE : 0) |
    (zeroRange ? FALLOC_FL_ZERO_RANGE : 0);
  return onRange(file, "FALLOCATE", "fallocate", offset, length, mode, 0);
}

/** What is going to be done with a range of a file: posix_fadvise(2). */
export type Advice = "normal" | "random" | "sequential" | "willneed" | "dontneed" | "noreuse";

const ADVICE: Readonly<Record<Advice, number>> = {
  normal: POSIX_FADV_NORMAL,
  random: POSIX_FADV_RANDOM,
  sequential: POSIX_FADV_SEQUENTIAL,
  willneed: POSIX_FADV_WILLNEED,
  dontneed: POSIX_FADV_DONTNEED,
  noreuse: POSIX_FADV_NOREUSE,
};

/**
 * Tells the kernel how a range is going to be used: "sequential" doubles read-ahead, "random" turns it off, "willneed"
 * reads it into the page cache now, "dontneed" drops it from there. `length` 0 is up to the end of the file; a range is
 * at most 4 GiB - 1 long.
 */
export async function advise(file: OpenFile, offset: number, length: number, advice: Advice): Promise<void> {
  validateInteger(offset, "offset", 0);
  validateInteger(length, "length", 0, 0xffff_ffff);
  validateOneOf(advice, "advice", Object.keys(ADVICE) as Advice[]);
  return onRange(file, "FADVISE", "fadvise", offset, 0, length, ADVICE[advice]);
}

/** WAIT_BEFORE, WRITE, WAIT_AFTER of sync_file_range(2). */
const WRITE_AND_WAIT = 0b111;

/**
 * Writes a range's dirty pages to the disk and waits for that. It bounds what a later fsync has to do and is none itself:
 * neither metadata nor the disk's own cache are flushed. `length` 0 is up to the end of the file, at most 4 GiB - 1.
 */
export async function syncRange(file: OpenFile, offset: number, length: number): Promise<void> {
  validateInteger(offset, "offset", 0);
  validateInteger(length, "length", 0, 0xffff_ffff);
  return onRange(file, "SYNC_FILE_RANGE", "sync_file_range", offset, 0, length, WRITE_AND_WAIT);
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
  validateBoolean(noReplace, "options.noReplace");
  validateBoolean(exchange, "options.exchange");
  if (noReplace && exchange) throw outOfRange("options", "one of noReplace and exchange", options);
  if (!noReplace && !exchange) return currentBackend().rename(oldPath, newPath);
  needRing("rename with options", "RENAMEAT");
  return uringPath.rename(oldPath, newPath, noReplace ? RENAME_NOREPLACE : RENAME_EXCHANGE);
}
