// What io_uring has for open files and paths beyond Node's API: space, advice, partial sync, rename with conditions, memory
// for O_DIRECT, and claims at a file's own position.
// Assumes validated arguments. What the kernel has no opcode for is refused, not replaced.

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
} from "../../kernel/constants.ts";
import { OPCODE_SINCE, Opcode, type OpcodeName } from "../../kernel/sqe.ts";
import { unavailable } from "../../node/arguments.ts";
import { PinnedBuffer } from "../../ring/kernel-memory.ts";
import type { Advice, Claimed, Lent, OpenFile, Path, Space } from "../interface.ts";
import * as own from "./own-position.ts";
import { rename } from "./path.ts";
import { onFile } from "./read-write.ts";
import { thread } from "./request.ts";

/** Throws unless the kernel has the opcode. */
export function needOpcode(what: string, opcode: OpcodeName): void {
  if (thread().setup.opcodes[Opcode[opcode]] !== 1)
    throw unavailable(what, `this kernel has no IORING_OP_${opcode} (Linux ${OPCODE_SINCE[opcode]} and newer have it)`);
}

export function allocate(file: OpenFile, offset: number, length: number, space: Space): Promise<void> {
  const { keepSize, punchHole, zeroRange } = space;
  const mode =
    (keepSize || punchHole ? FALLOC_FL_KEEP_SIZE : 0) |
    (punchHole ? FALLOC_FL_PUNCH_HOLE : 0) |
    (zeroRange ? FALLOC_FL_ZERO_RANGE : 0);
  needOpcode("fallocate", "FALLOCATE");
  return onFile(file, Opcode.FALLOCATE, "fallocate", offset, length, mode, 0);
}

const ADVICE: Readonly<Record<Advice, number>> = {
  normal: POSIX_FADV_NORMAL,
  random: POSIX_FADV_RANDOM,
  sequential: POSIX_FADV_SEQUENTIAL,
  willneed: POSIX_FADV_WILLNEED,
  dontneed: POSIX_FADV_DONTNEED,
  noreuse: POSIX_FADV_NOREUSE,
};

export function advise(file: OpenFile, offset: number, length: number, advice: Advice): Promise<void> {
  needOpcode("fadvise", "FADVISE");
  return onFile(file, Opcode.FADVISE, "fadvise", offset, 0, length, ADVICE[advice]);
}

/** WAIT_BEFORE, WRITE, WAIT_AFTER of sync_file_range(2). */
const WRITE_AND_WAIT = 0b111;

export function syncRange(file: OpenFile, offset: number, length: number): Promise<void> {
  needOpcode("sync_file_range", "SYNC_FILE_RANGE");
  return onFile(file, Opcode.SYNC_FILE_RANGE, "sync_file_range", offset, 0, length, WRITE_AND_WAIT);
}

export function renameWith(from: Path, to: Path, condition: "noReplace" | "exchange"): Promise<void> {
  needOpcode("rename with options", "RENAMEAT");
  return rename(from, to, condition === "noReplace" ? RENAME_NOREPLACE : RENAME_EXCHANGE);
}

/* ---- O_DIRECT ------------------------------------------------------------------------------------------------------ */

/** The ring's memory: given back only when the kernel has, whatever becomes of the promise of the operation. */
export const alignedMemory = (length: number): Lent => new PinnedBuffer(thread().memory, length);

export function claim(file: OpenFile, length: number, isRead: boolean): Claimed {
  const claimed = own.claim(file.fd, length, isRead);
  return { start: claimed.start, settle: (moved) => own.settleClaim(claimed, moved) };
}
