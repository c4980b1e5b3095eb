// Owns what the tests hold about errors: Node's shape and libuv's words, compared field by field.
// Assumes the promise is already made; a value instead of a rejection is itself a failure.
// Never compares a message by pattern where Node's documentation or libuv fixes the whole text.

import { expect } from "bun:test";
import { constants } from "node:os";

const LIBUV_TEXT: Record<string, string> = {
  EAGAIN: "resource temporarily unavailable",
  EACCES: "permission denied",
  EBADF: "bad file descriptor",
  EEXIST: "file already exists",
  EFBIG: "file too large",
  EINVAL: "invalid argument",
  EISDIR: "illegal operation on a directory",
  ELOOP: "too many symbolic links encountered",
  ENAMETOOLONG: "name too long",
  ENOENT: "no such file or directory",
  ENOSPC: "no space left on device",
  ENOTDIR: "not a directory",
  ENOTSUP: "operation not supported on socket",
  ENOTEMPTY: "directory not empty",
  ENXIO: "no such device or address",
  EPERM: "operation not permitted",
  ESPIPE: "invalid seek",
  ETXTBSY: "text file is busy",
  EXDEV: "cross-device link not permitted",
};

export interface SystemErrorShape {
  code: string;
  syscall: string;
  path?: string;
  dest?: string;
}

/** The value a promise (or an async function that throws at once) rejects with. */
export async function rejection(action: Promise<unknown> | (() => unknown)): Promise<any> {
  try {
    await (typeof action === "function" ? action() : action);
  } catch (error) {
    return error;
  }
  throw new Error("expected a rejection, but the promise was fulfilled");
}

/** Holds a failed system call to Node's shape: class, text, and exactly the own enumerable keys Node gives. */
export async function expectSystemError(
  action: Promise<unknown> | (() => unknown),
  { code, syscall, path, dest }: SystemErrorShape,
): Promise<void> {
  const error = await rejection(action);
  const from = path === undefined ? "" : ` '${path}'`;
  const to = dest === undefined ? "" : ` -> '${dest}'`;
  expect(error.message).toBe(`${code}: ${LIBUV_TEXT[code]}, ${syscall}${from}${to}`);
  expect({ ...error }).toEqual({
    errno: -(constants.errno as Record<string, number>)[code]!,
    code,
    syscall,
    ...(path === undefined ? {} : { path }),
    ...(dest === undefined ? {} : { dest }),
  });
  expect(error).toBeInstanceOf(Error);
  expect(error.constructor).toBe(Error);
}

type ArgumentErrorCode = "ERR_INVALID_ARG_TYPE" | "ERR_INVALID_ARG_VALUE" | "ERR_OUT_OF_RANGE";

const ARGUMENT_ERRORS: Record<ArgumentErrorCode, ErrorConstructor> = {
  ERR_INVALID_ARG_TYPE: TypeError,
  ERR_INVALID_ARG_VALUE: TypeError,
  ERR_OUT_OF_RANGE: RangeError,
};

/** Holds a refused argument to Node's class, code and, where its documentation or all its versions fix it, message. */
export async function expectArgumentError(
  action: Promise<unknown> | (() => unknown),
  code: ArgumentErrorCode,
  message?: string,
): Promise<void> {
  const error = await rejection(action);
  expect({ code: error.code, message: error.message }).toEqual({ code, message: message ?? error.message });
  expect(error).toBeInstanceOf(ARGUMENT_ERRORS[code]);
  expect(error.name).toBe(ARGUMENT_ERRORS[code].name);
}

/** Holds an aborted operation to Node's AbortError, with the signal's reason as its cause. */
export async function expectAbortError(action: Promise<unknown> | (() => unknown), cause?: unknown): Promise<void> {
  const error = await rejection(action);
  expect({ name: error.name, code: error.code, message: error.message }).toEqual({
    name: "AbortError",
    code: "ABORT_ERR",
    message: "The operation was aborted",
  });
  if (cause !== undefined) expect(error.cause).toBe(cause);
}

/** Holds an operation on a closed handle to Node's "file closed". */
export async function expectClosed(action: Promise<unknown> | (() => unknown), syscall: string): Promise<void> {
  const error = await rejection(action);
  expect({ message: error.message, code: error.code, syscall: error.syscall }).toEqual({
    message: "file closed",
    code: "EBADF",
    syscall,
  });
}
