// Argument checks with Node's ERR_* classes, codes and texts, and the errors themselves.
// Assumes nothing about its arguments: they come straight from the user.
// Never converts a wrong value into a right one, and never touches a file.

import type { InspectOptions } from "node:util";
import { isSignal } from "./signal.ts";
import { byteLengthOf, isDetached, isView } from "./views.ts";

type Coded<E extends Error> = E & { code: string };

// Importing node:util costs more than the rest of this package together, and only error texts need it.
function inspect(value: unknown, options?: InspectOptions): string {
  return process.getBuiltinModule("node:util").inspect(value, options);
}

/** ERR_FEATURE_UNAVAILABLE_ON_PLATFORM: the call needs io_uring, or an opcode that this kernel lacks. */
export function unavailable(what: string, reason: string): Error & { code: string } {
  return codedError(Error, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM", `${what} is unavailable: ${reason}`);
}

/** Builds an error as Node does: own enumerable `code`, plain `name`, and the code shown by toString() and the stack. */
export function codedError<E extends Error>(Base: new (message: string) => E, code: string, message: string): Coded<E> {
  const error = new Base(message) as Coded<E>;
  const name = error.name;
  Object.defineProperty(error, "toString", {
    value: () => `${name} [${code}]: ${message}`,
    enumerable: false,
    writable: true,
    configurable: true,
  });
  // The stack's first line takes the name of the moment it is captured.
  error.name = `${name} [${code}]`;
  Error.captureStackTrace(error, codedError);
  void error.stack;
  delete (error as { name?: string }).name;
  error.code = code;
  return error;
}

const primitiveTypes = new Set([
  "string",
  "function",
  "number",
  "object",
  "Function",
  "Object",
  "boolean",
  "bigint",
  "symbol",
]);
const className = /^[A-Z][a-zA-Z0-9]*$/;

function orList(items: string[]): string {
  if (items.length < 3) return items.join(" or ");
  return `${items.slice(0, -1).join(", ")}, or ${items[items.length - 1]}`;
}

/** "of type string or an instance of Buffer or URL": primitive types, then classes, then whatever else was named. */
function describeExpected(expected: string | string[]): string {
  const types: string[] = [];
  const instances: string[] = [];
  const others: string[] = [];
  for (const item of typeof expected === "string" ? [expected] : expected) {
    if (primitiveTypes.has(item)) types.push(item.toLowerCase());
    else if (className.test(item)) instances.push(item);
    else others.push(item);
  }
  if (instances.length > 0 && types.includes("object")) {
    types.splice(types.indexOf("object"), 1);
    instances.push("Object");
  }
  const parts: string[] = [];
  if (types.length > 0) parts.push(`${types.length > 1 ? "one of type" : "of type"} ${orList(types)}`);
  if (instances.length > 0) parts.push(`an instance of ${orList(instances)}`);
  if (others.length > 1) parts.push(`one of ${orList(others)}`);
  else if (others.length === 1) parts.push(others[0].toLowerCase() === others[0] ? others[0] : `an ${others[0]}`);
  return parts.join(" or ");
}

function describeReceived(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "function") return `function ${value.name}`;
  if (typeof value === "object") {
    const made: unknown = value.constructor;
    return typeof made === "function" ? `an instance of ${made.name}` : inspect(value, { depth: -1 });
  }
  if (typeof value === "string") {
    const text = value.length > 28 ? `${value.slice(0, 25)}...` : value;
    return `type string (${text.includes("'") ? JSON.stringify(text) : `'${text}'`})`;
  }
  if (typeof value === "bigint") return `type bigint (${value}n)`;
  return `type ${typeof value} (${Object.is(value, -0) ? "-0" : String(value)})`;
}

function argumentOrProperty(name: string): string {
  return name.includes(".") ? "property" : "argument";
}

/** ERR_INVALID_ARG_TYPE. `expected` names primitive types ("string"), classes ("Buffer") or any other wording. */
export function invalidArgType(name: string, expected: string | string[], actual: unknown): Coded<TypeError> {
  const subject = name.endsWith(" argument") ? name : `"${name}" ${argumentOrProperty(name)}`;
  const message = `The ${subject} must be ${describeExpected(expected)}. Received ${describeReceived(actual)}`;
  return codedError(TypeError, "ERR_INVALID_ARG_TYPE", message);
}

/** ERR_INVALID_ARG_VALUE. The value is shown as util.inspect shows it, at most 128 characters of it. */
export function invalidArgValue(name: string, value: unknown, reason = "is invalid"): Coded<TypeError> {
  let text = inspect(value);
  if (text.length > 128) text = `${text.slice(0, 128)}...`;
  const message = `The ${argumentOrProperty(name)} '${name}' ${reason}. Received ${text}`;
  return codedError(TypeError, "ERR_INVALID_ARG_VALUE", message);
}

const separatorLimit = 2 ** 32;

/** The bits that access and copyFile take, refused in the words of Node's own check; a fraction is cut off. */
export function lowMode(mode: unknown): number {
  if (mode === undefined || mode === null) return 0;
  if (typeof mode !== "number")
    throw codedError(TypeError, "ERR_INVALID_ARG_TYPE", "mode must be int32 or null/undefined");
  if (!Number.isFinite(mode)) throw codedError(RangeError, "ERR_OUT_OF_RANGE", "mode is out of range");
  const bits = Math.trunc(mode);
  if (bits < 0 || bits > 7) throw codedError(RangeError, "ERR_OUT_OF_RANGE", "mode is out of range: >= 0 && <= 7");
  return bits;
}

/** ERR_OUT_OF_RANGE. `range` completes "It must be …". Integers beyond 2^32 are shown with separators: 4_294_967_297. */
export function outOfRange(name: string, range: string, value: unknown): Coded<RangeError> {
  let text: string;
  if (typeof value === "bigint") {
    const beyond = value > BigInt(separatorLimit) || value < -BigInt(separatorLimit);
    text = `${beyond ? separated(String(value)) : String(value)}n`;
  } else if (Number.isInteger(value) && Math.abs(value as number) > separatorLimit) {
    text = separated(String(value));
  } else {
    text = inspect(value);
  }
  const message = `The value of "${name}" is out of range. It must be ${range}. Received ${text}`;
  return codedError(RangeError, "ERR_OUT_OF_RANGE", message);
}

function separated(digits: string): string {
  const start = digits.startsWith("-") ? 1 : 0;
  let end = digits.length;
  let groups = "";
  for (; end >= start + 4; end -= 3) groups = `_${digits.slice(end - 3, end)}${groups}`;
  return digits.slice(0, end) + groups;
}

/** An integer number, by default a safe one. */
export function validateInteger(
  value: unknown,
  name: string,
  min: number = Number.MIN_SAFE_INTEGER,
  max: number = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (typeof value !== "number") throw invalidArgType(name, "number", value);
  if (!Number.isInteger(value)) throw outOfRange(name, "an integer", value);
  if (value < min || value > max) throw outOfRange(name, `>= ${min} && <= ${max}`, value);
}

/** A 32-bit signed integer. */
export function validateInt32(
  value: unknown,
  name: string,
  min: number = -2147483648,
  max: number = 2147483647,
): asserts value is number {
  validateInteger(value, name, min, max);
}

/** A 32-bit unsigned integer; with `positive`, not 0. */
export function validateUint32(value: unknown, name: string, positive = false): asserts value is number {
  validateInteger(value, name, positive ? 1 : 0, 4294967295);
}

/** Owner and group: -1 leaves one as it is. */
export function validateIds(uid: unknown, gid: unknown): void {
  validateInteger(uid, "uid", -1, 2 ** 32 - 1);
  validateInteger(gid, "gid", -1, 2 ** 32 - 1);
}

export function validateBoolean(value: unknown, name: string): asserts value is boolean {
  if (typeof value !== "boolean") throw invalidArgType(name, "boolean", value);
}

export function validateString(value: unknown, name: string): asserts value is string {
  if (typeof value !== "string") throw invalidArgType(name, "string", value);
}

export function validateFunction(value: unknown, name: string): asserts value is (...args: any[]) => unknown {
  if (typeof value !== "function") throw invalidArgType(name, "Function", value);
}

/** Checks options all in the same way, each by its name; what is absent is nobody's mistake. */
export function validateEach(check: (value: unknown, name: string) => void, options: object): void {
  for (const [name, value] of Object.entries(options)) if (value !== undefined) check(value, `options.${name}`);
}

/** An object that is no array and no function; null only with `nullable`. */
export function validateObject(value: unknown, name: string, nullable = false): asserts value is object {
  if (value === null ? nullable : typeof value === "object" && !Array.isArray(value)) return;
  throw invalidArgType(name, "Object", value);
}

/** undefined or an AbortSignal: a real one, as for Bun. What only looks like one could not be listened to later. */
export function validateAbortSignal(signal: unknown, name: string): asserts signal is AbortSignal | undefined {
  if (signal === undefined) return;
  if (!isSignal(signal)) throw invalidArgType(name, "AbortSignal", signal);
}

/** An encoding option: anything falsy, or a name Buffer knows. */
export function validateEncoding(encoding: unknown, name = "encoding"): asserts encoding is BufferEncoding | undefined {
  if (encoding && !Buffer.isEncoding(encoding as string)) throw invalidArgValue(name, encoding, "is invalid encoding");
}

/** A string that is to be written: an odd number of hex digits is an error in Node, other encodings always fit. */
export function validateStringData(data: string, encoding: unknown): void {
  if (data.length % 2 !== 0 && typeof encoding === "string" && encoding.toLowerCase() === "hex") {
    throw invalidArgValue("encoding", encoding, `is invalid for data of length ${data.length}`);
  }
}

/** One of a list of values, compared by identity. */
export function validateOneOf<T>(value: unknown, name: string, allowed: readonly T[]): asserts value is T {
  if (allowed.includes(value as T)) return;
  const list = allowed.map((item) => (typeof item === "string" ? `'${item}'` : String(item))).join(", ");
  throw invalidArgValue(name, value, `must be one of: ${list}`);
}

/** Any view of bytes: Buffer, typed array, DataView. */
export function validateBuffer(value: unknown, name = "buffer"): asserts value is ArrayBufferView {
  if (!isView(value)) throw invalidArgType(name, ["Buffer", "TypedArray", "DataView"], value);
}

/** What readv and writev take, as an array of our own: the caller may change theirs at once. */
export function bufferList(value: unknown, name = "buffers"): NodeJS.ArrayBufferView[] {
  if (!Array.isArray(value)) throw invalidArgType(name, "ArrayBufferView[]", value);
  const count = value.length;
  const list = new Array<NodeJS.ArrayBufferView>(count);
  for (let i = 0; i < count; i++) {
    const view: unknown = value[i]; // once: a getter may say something else the next time
    if (!isView(view)) throw invalidArgType(name, "ArrayBufferView[]", value);
    list[i] = view;
  }
  return list;
}

/** Node's range check of a read: 0 <= offset, 0 <= length, offset + length <= byteLength. All are bytes. */
function validateOffsetLength(offset: number, length: number, byteLength: number): void {
  if (offset < 0) throw outOfRange("offset", ">= 0", offset);
  if (length < 0) throw outOfRange("length", ">= 0", length);
  if (offset + length > byteLength) throw outOfRange("length", `<= ${byteLength - offset}`, length);
}

/**
 * The range of a read into `buffer`, after its defaults were filled in. A length of 0 is fine whatever the offset: such a
 * read does nothing. Throws as Node's FileHandle.read does, and for a detached buffer ERR_INVALID_ARG_VALUE.
 */
export function validateReadRange(buffer: ArrayBufferView, offset: unknown, length: unknown): void {
  validateInteger(offset, "offset", 0, Number.MAX_SAFE_INTEGER);
  const byteLength = byteLengthOf(buffer);
  if (byteLength === 0) refuseDetached(buffer);
  if (length === 0) return;
  if (typeof length !== "number") throw invalidArgType("length", "number", length);
  if (!Number.isInteger(length)) throw outOfRange("length", "an integer", length);
  if (byteLength === 0) throw invalidArgValue("buffer", buffer, "is empty and cannot be written");
  validateOffsetLength(offset, length, byteLength);
}

/**
 * The range of a write from `buffer`, after its defaults were filled in. An empty buffer is fine whatever the range: such
 * a write does nothing. Throws as Node's FileHandle.write does, and for a detached buffer ERR_INVALID_ARG_VALUE.
 */
export function validateWriteRange(buffer: ArrayBufferView, offset: unknown, length: unknown): void {
  const byteLength = byteLengthOf(buffer);
  if (byteLength === 0) {
    refuseDetached(buffer);
    return;
  }
  validateWriteBounds(buffer, offset, length);
}

/** The same, for fs.write: an empty buffer is no excuse. */
export function validateWriteBounds(buffer: ArrayBufferView, offset: unknown, length: unknown): void {
  const byteLength = byteLengthOf(buffer);
  if (byteLength === 0) refuseDetached(buffer);
  validateInteger(offset, "offset", 0, Number.MAX_SAFE_INTEGER);
  if (offset > byteLength) throw outOfRange("offset", `<= ${byteLength}`, offset);
  if (typeof length !== "number") throw invalidArgType("length", "number", length);
  if (length > byteLength - offset) throw outOfRange("length", `<= ${byteLength - offset}`, length);
  if (length < 0) throw outOfRange("length", ">= 0", length);
  validateInteger(length, "length", 0, 2147483647);
}

/** Refuses a view whose ArrayBuffer was transferred away. Costs nothing to ask of views that have bytes: they have one. */
export function refuseDetached(buffer: ArrayBufferView, name = "buffer"): void {
  if (isDetached(buffer)) throw invalidArgValue(name, buffer, "must not be detached");
}

const maxInt64 = 2n ** 63n - 1n;

/**
 * The position of a read: null, undefined and -1 mean the file's own (-1); else an integer >= 0, number or bigint.
 * A bigint must leave room for `length` bytes below 2^63; one that is a safe integer comes back as a number.
 */
export function validatePosition(position: unknown, name = "position", length = 0): number | bigint {
  if (position === null || position === undefined) return -1;
  if (typeof position === "number") {
    validateInteger(position, name, -1, Number.MAX_SAFE_INTEGER);
    return position;
  }
  if (typeof position !== "bigint") throw invalidArgType(name, ["integer", "bigint"], position);
  const max = maxInt64 - BigInt(length);
  if (position < -1n || position > max) throw outOfRange(name, `>= -1 && <= ${max}`, position);
  return position <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(position) : position;
}

/**
 * The position of write, writev and readv, which Node does not check: a safe integer >= 0, or a bigint in the same range
 * as validatePosition's, is used; all else means the file's own position (-1).
 */
export function positionOrCurrent(position: unknown): number | bigint {
  if (typeof position === "number") return Number.isSafeInteger(position) && position >= 0 ? position : -1;
  return typeof position === "bigint" ? validatePosition(position) : -1;
}

/** What a write whose data was taken away meanwhile rejects with. */
export function dataTaken(): Error {
  return codedError(TypeError, "ERR_INVALID_STATE", "The data was detached or resized while it was written");
}

/** What a transfer whose buffer was taken away meanwhile rejects with; `user` is its system call, or a ring. */
export function bufferTaken(user: string): Error {
  const message = `The buffer was detached or resized while a ${user} used it; its contents are undefined`;
  return codedError(TypeError, "ERR_INVALID_STATE", message);
}
