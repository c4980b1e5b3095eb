// The call forms of FileHandle.read and write, and of fs.read and fs.write, brought into one: a view, a range of its bytes, a position.
// Assumes nothing of its arguments. Throws what Node throws, in Node's order; never queues anything.

import type { Limits } from "./abort.ts";
import {
  invalidArgType,
  positionOrCurrent,
  refuseDetached,
  validateBuffer,
  validateFunction,
  validateInteger,
  validateObject,
  validatePosition,
  validateReadRange,
  validateWriteBounds,
  validateWriteRange,
} from "./arguments.ts";
import { flushOption, limitsIn, stringBytes, type TransferOptions } from "./options.ts";
import { byteLengthOf, isView } from "./views.ts";

type View = NodeJS.ArrayBufferView;

/** A checked transfer; `offset` and `length` in bytes, `position` -1 for the file's own. */
interface Transfer {
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
    typeof offset === "number" &&
    offset >>> 0 === offset &&
    typeof length === "number" &&
    length >>> 0 === length &&
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

type Callback = (...values: any[]) => void;

/**
 * What follows the descriptor in fs.read: (callback), (options, callback), (view, callback), (view, options, callback) or
 * (view, offset, length, position, callback), told apart by their number. Unlike in FileHandle.read a length that is none is 0.
 */
export function readCall(given: readonly any[]): Transfer & { callback: Callback } {
  let [view, offset, length, position, callback] = given;
  if (given.length < 4) {
    callback = given.at(-1);
    const hasView = given.length === 3 || (given.length === 2 && isView(view));
    const options = given.length === (hasView ? 3 : 2) ? given.at(-2) : {};
    validateObject(options, "options", true);
    const range = (options ?? {}) as Range;
    if (!hasView) ({ buffer: view = Buffer.alloc(READ_BYTES) } = range);
    ({ offset = 0, length, position = null } = range);
    if (length === undefined && isView(view)) length = byteLengthOf(view) - offset;
  }
  validateBuffer(view);
  validateFunction(callback, "cb");
  if (offset === null || offset === undefined) offset = 0;
  else validateInteger(offset, "offset", 0);
  length |= 0;
  if (length !== 0) validateReadRange(view, offset, length);
  return { view: view as View, offset, length, position: validatePosition(position, "position", length), callback };
}

/**
 * What follows the descriptor in fs.write: (view, callback), (view, options, callback), (view, offset, length, position,
 * callback), of which the last ones may be left out, or (string, position, encoding, callback).
 */
export function writeCall(data: unknown, given: readonly any[]): Transfer & { callback: Callback } {
  let [offset, length, position, callback] = given;
  if (!isView(data)) {
    if (typeof data !== "string") throw invalidArgType("buffer", ["string", "Buffer", "TypedArray", "DataView"], data);
    const isPlace = typeof offset !== "function";
    callback = typeof position === "function" ? position : isPlace ? length : offset;
    const view = stringBytes(data, typeof position === "function" ? length : "utf8");
    validateFunction(callback, "cb");
    return { view, offset: 0, length: view.length, position: isPlace ? numberOrCurrent(offset) : -1, callback };
  }
  callback ||= position || length || offset;
  validateFunction(callback, "cb");
  if (typeof offset === "object") ({ offset = 0, length, position = null } = (offset ?? {}) as Range);
  if (offset === null || offset === undefined || typeof offset === "function") offset = 0;
  else validateInteger(offset, "offset", 0);
  if (typeof length !== "number") length = byteLengthOf(data) - offset;
  validateWriteBounds(data, offset, length);
  return { view: data as View, offset, length, position: numberOrCurrent(position), callback };
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
