// The call forms of FileHandle.read and write, brought into one: a view, a range of its bytes, a position.
// Assumes nothing of its arguments. Throws what Node throws, in Node's order; never queues anything.

import type { Limits } from "./abort.ts";
import {
  positionOrCurrent,
  refuseDetached,
  validateBuffer,
  validateInteger,
  validateObject,
  validatePosition,
  validateReadRange,
  validateWriteRange,
} from "./arguments.ts";
import { flushOption, limitsIn, type TransferOptions } from "./options.ts";
import { byteLengthOf, isView } from "./views.ts";

type View = NodeJS.ArrayBufferView;

/** A checked transfer; `offset` and `length` in bytes, `position` -1 for the file's own. */
export interface Transfer {
  view: View;
  offset: number;
  length: number;
  position: number | bigint;
}

/** What is asked of a write beside its data and position. */
export interface WriteRequest {
  flush: boolean;
  limits: Limits | null;
}

/** What may be given beside or in place of the arguments after the view. */
interface Range {
  buffer?: unknown;
  offset?: any;
  length?: any;
  position?: unknown;
  signal?: AbortSignal;
  timeoutMs?: number;
}

/** The size of the buffer that read makes if none is given, in bytes. */
const READ_BYTES = 16 * 1024;

/** True for arguments that need no default, no conversion and no error: the usual positioned read or write. */
export function isPlain(view: unknown, offset: unknown, length: unknown, position: unknown): boolean {
  return (
    typeof position === "number" &&
    position >= 0 &&
    Number.isSafeInteger(position) &&
    isView(view) &&
    (offset as number) >>> 0 === offset &&
    (length as number) >>> 0 === length &&
    length !== 0 &&
    length <= 0x7fff_ffff &&
    offset + length <= byteLengthOf(view)
  );
}

/** read(view, offset, length, position), read(view, options) or read(options). */
export function readTransfer(
  first: unknown,
  second: any,
  third: any,
  fourth: unknown,
): Transfer & { limits: Limits | null } {
  let view = first;
  let offset = second;
  let length = third;
  let position = fourth;
  let limits: Limits | null = null;
  if (!isView(first)) {
    if (first !== undefined) validateObject(first, "options", true);
    const range = (first ?? {}) as Range;
    ({ buffer: view = Buffer.alloc(READ_BYTES), offset = 0, length, position = null } = range);
    limits = limitsIn(range);
    validateBuffer(view);
  } else if (offset !== null && typeof offset === "object") {
    ({ offset = 0, length, position = null } = second as Range);
    limits = limitsIn(second as Range);
  }
  if (offset === null || offset === undefined) offset = 0;
  else validateInteger(offset, "offset", 0);
  const checked = view as View;
  length ??= byteLengthOf(checked) - offset;
  const at = validatePosition(position, "position", Number.isInteger(length) ? length : 0);
  validateReadRange(checked, offset, length);
  return { view: checked, offset, length, position: at, limits };
}

/** The limits that options hold; null if they hold none. */
export function limitsOf(options: Limits | null | undefined): Limits | null {
  if (options === null || typeof options !== "object") return null;
  return limitsIn(options);
}

/** The options of a write; null if nothing is asked for. */
export function writeRequest(options: unknown): WriteRequest | null {
  if (options === null || typeof options !== "object") return null;
  const flush = flushOption(options);
  const limits = limitsOf(options as TransferOptions);
  return flush || limits !== null ? { flush, limits } : null;
}

/** write(view, offset, length, position) or write(view, options). A position that is no number is the file's own. */
export function writeTransfer(view: View, second: any, third: any, fourth: unknown): Transfer {
  let offset = second;
  let length = third;
  let position = fourth;
  const byteLength = byteLengthOf(view);
  if (byteLength === 0) {
    refuseDetached(view);
    return { view, offset: 0, length: 0, position: -1 };
  }
  if (typeof second === "object") ({ offset = 0, length, position = null } = (second ?? {}) as Range);
  offset ??= 0;
  if (typeof length !== "number") length = byteLength - offset;
  validateWriteRange(view, offset, length);
  return { view, offset, length, position: numberOrCurrent(position) };
}

/** The position of write, writev and readv: unlike read's, a bigint is none. */
export function numberOrCurrent(position: unknown): number {
  return typeof position === "number" ? (positionOrCurrent(position) as number) : -1;
}
