// Values of SQE fields that need more than a word: 64-bit offsets, and the structs that an SQE points to, in its cell.
// Each is checked here, and read once.

import { invalidArgType, outOfRange, validateInteger, validateObject, validateUint32 } from "../node/arguments.ts";
import { CELL_HALF, type Cell } from "../ring/scratch.ts";
import type { Sqe } from "./sqe-fields.ts";

const TWO_32 = 4294967296;

export function offsetOf(offset: number | bigint, min: number): number | bigint {
  if (typeof offset !== "bigint") {
    validateInteger(offset, "sqe.offset", min);
    return offset;
  }
  if (offset < BigInt(min) || offset >= 2n ** 63n) throw outOfRange("sqe.offset", `>= ${min} && < 2^63`, offset);
  return offset;
}

/** A struct __kernel_timespec in the cell's second half. Returns its address. */
export function putTime(cell: Cell, ms: number): number {
  if (typeof ms !== "number") throw invalidArgType("sqe.timeoutMs", "number", ms);
  if (!(ms >= 0 && ms <= Number.MAX_SAFE_INTEGER)) throw outOfRange("sqe.timeoutMs", ">= 0", ms);
  const seconds = Math.floor(ms / 1000);
  cell.words.set([seconds, Math.floor(seconds / TWO_32), Math.floor((ms - seconds * 1000) * 1e6), 0], cell.halfWord);
  return cell.address + CELL_HALF;
}

/** A struct open_how in the cell's second half. Returns its address. */
export function putHow(cell: Cell, sqe: Sqe): number {
  const { how } = sqe;
  validateObject(how, "sqe.how");
  const { flags, mode = 0, resolve = 0 } = how!;
  validateUint32(flags, "sqe.how.flags");
  validateUint32(mode, "sqe.how.mode");
  validateUint32(resolve, "sqe.how.resolve");
  cell.words.set([flags, 0, mode, 0, resolve, 0], cell.halfWord);
  return cell.address + CELL_HALF;
}
