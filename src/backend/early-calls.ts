// The functions of a process that has done little (early.ts): Bun's own, as directly as Node's behaviour allows. Null where a call
// is not plain (a path that is no string, a signal, a flag …), or it is no longer early: the caller has it done in the long
// way. Never makes of one operation two that could be told apart.

import type { BigIntStats, Dirent, Stats } from "node:fs";
import { bun, bunFs } from "../node/bun-fs.ts";
import { endsInDot } from "../node/dots.ts";
import { systemError } from "../node/errors.ts";
import { finishAtExit } from "../node/exit.ts";
import { copyHere, isFreeOrFile } from "../node/exit-calls.ts";
import { late } from "../node/late-error.ts";
import { roundDates } from "../node/rounded-dates.ts";
import { byteLengthOf, isView } from "../node/views.ts";
import { alone, isDirect } from "./early.ts";
import { beginChange, endChange, enterPool, leavePool } from "./node-pool.ts";

type Failure = NodeJS.ErrnoException & { dest?: string };

/* ---- what is plain ------------------------------------------------------------------------------------------------ */

/** Longer ones Bun refuses by itself, in its own way. */
const PLAIN_PATH = 1024;

export const isPlain = (path: unknown): path is string =>
  typeof path === "string" && path.length > 0 && path.length < PLAIN_PATH && !path.includes("\0");

const isText = (encoding: unknown): boolean => encoding === "utf8" || encoding === "utf-8";
const isMode = (mode: unknown): mode is number =>
  Number.isInteger(mode) && (mode as number) >= 0 && (mode as number) < 0o1000;

/* ---- how it ends -------------------------------------------------------------------------------------------------- */

/** Codes of which Bun's errors have libuv's name and text. */
const USUAL = new Set(["ENOENT", "EEXIST", "ENOTDIR", "EISDIR", "EACCES", "EPERM", "ENOTEMPTY"]);

/** The error of one of Bun's functions as Node's, whose keys come in another order. Its stack names who has waited. */
function nodeError(error: Failure, syscall: string, path: string, dest?: string): unknown {
  const { errno, code, message } = error;
  if (typeof errno !== "number") return error;
  const isUsual = USUAL.has(code!) && error.syscall === syscall && error.path === path && error.dest === dest;
  if (!isUsual) return systemError(errno, syscall, path, dest);
  const bare = late(() => new Error(message)); // frames of ours would be looked up in our source maps: 3 ms at the first
  const made = Object.assign(bare, { errno, code, syscall, path }, dest === undefined ? null : { dest });
  // Made when it is asked for: text, lines by their source maps, take longer than the operation.
  Object.defineProperty(made, "stack", {
    configurable: true,
    get: () => error.stack ?? `Error: ${message}`, // Bun gives none where no function awaits
    set: (value: unknown) => Object.defineProperty(made, "stack", { value, writable: true, configurable: true }),
  });
  return made;
}

// A program of few operations waits longer for functions that are compiled than for what they do: so few are made for each
// operation, and what all can share is shared.

const ended = <T>(value: T): T => {
  alone.end();
  return value;
};
const endedStats = (stats: Stats | BigIntStats): Stats | BigIntStats => {
  alone.end();
  return roundDates(stats);
};
/** What changes something has ended. */
const changed = <T>(value: T): T => {
  alone.end();
  endChange();
  return value;
};
const nothing = (): void => alone.end();
const changedNothing = (): void => void changed(undefined);

/** What only looks, with Node's errors. `given` counts it as ended, and says what becomes of the value. */
function looking<T, R>(operation: Promise<T>, syscall: string, path: string, given: (value: T) => R): Promise<R> {
  alone.begin();
  return operation.then(given, (error: Failure) => {
    alone.end();
    throw nodeError(error, syscall, path);
  });
}

/** What changes something and gives nothing, with Node's errors. */
function plainly(operation: Promise<unknown>, syscall: string, path: string, dest?: string): Promise<void> {
  alone.begin();
  beginChange();
  return operation.then(changedNothing, (error: Failure) => {
    changedNothing();
    throw nodeError(error, syscall, path, dest);
  });
}

/** What changes something, and is done `again` if it fails. */
function anyhow<T>(operation: Promise<T>, again: Again): Promise<T> {
  alone.begin();
  beginChange();
  return operation.then(changed, () => {
    changedNothing();
    return again();
  });
}

/** What `settle`, which leaves the pool, may do anew at the end of the thread. */
function changing<T>(
  operation: Promise<T>,
  settle: () => void,
  bytes: number,
  failed: (error: Failure) => any,
): Promise<T> {
  alone.begin();
  enterPool(settle, bytes);
  return operation.then(
    (value) => {
      leavePool(settle);
      return ended(value);
    },
    (error: Failure) => {
      leavePool(settle);
      alone.end();
      return failed(error);
    },
  );
}

/* ---- the functions: null where a call is not plain, or it is no longer early --------------------------------------- */

/** An options object of which every value has been read, once. */
export type Given = Readonly<Record<string, unknown>>;
type Options = Given | string | null | undefined;
type Result<T> = Promise<T> | null;
/** The long way. */
type Again = () => Promise<any>;

const NONE: Given = {};
/** What is no options object, and no encoding, is wrong as an encoding. */
const given = (options: Options): Given =>
  options === undefined || options === null ? NONE : typeof options === "object" ? options : { encoding: options };

const isObject = (value: unknown): value is Given =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isUnlimited = ({ signal, timeoutMs }: Given): boolean => signal === undefined && timeoutMs === undefined;
const isPlainText = (encoding: unknown): boolean => encoding === undefined || encoding === null || isText(encoding);

/** Neither is there anything but an encoding, nor is that another than utf8. */
const isBare = (options: Given): boolean => isPlainText(options["encoding"]) && isUnlimited(options);

function stats(
  look: (path: string, options: { bigint: boolean }) => Promise<Stats | BigIntStats>,
  syscall: string,
  path: unknown,
  options: Given | undefined,
): Result<Stats | BigIntStats> {
  if (options !== undefined && !isObject(options)) return null;
  const { bigint, throwIfNoEntry } = options ?? NONE;
  if (!isPlain(path) || (options !== undefined && !(isUnlimited(options) && (throwIfNoEntry ?? true) === true)))
    return null;
  if (!isDirect()) return null;
  return looking(look(path, { bigint: bigint === true }), syscall, path, endedStats);
}

export const stat = (_: Again, path: unknown, options: Given | undefined): Result<Stats | BigIntStats> =>
  stats(bun.stat as never, "stat", path, options);
export const lstat = (_: Again, path: unknown, options: Given | undefined): Result<Stats | BigIntStats> =>
  stats(bun.lstat as never, "lstat", path, options);

export function access(_: Again, path: unknown, mode: unknown): Result<void> {
  const wish = mode ?? 0;
  if (!isPlain(path) || !Number.isInteger(wish) || (wish as number) < 0 || (wish as number) > 7) return null;
  if (!isDirect()) return null;
  return looking(bun.access(path, wish as number), "access", path, nothing);
}

export function readdir(_: Again, path: unknown, options: Options): Result<string[] | Dirent[]> {
  const all = given(options);
  const { withFileTypes, recursive } = all;
  if (!isPlain(path) || !isBare(all) || recursive || !isDirect()) return null;
  return withFileTypes
    ? looking(bun.readdir(path, { withFileTypes: true }), "scandir", path, ended)
    : looking(bun.readdir(path), "scandir", path, ended);
}

export function realpath(_: Again, path: unknown, options: Options): Result<string> {
  if (!isPlain(path) || !isBare(given(options)) || !isDirect()) return null;
  return looking(bun.realpath(path), "realpath", path, ended);
}

export function readlink(_: Again, path: unknown, options: Options): Result<string> {
  return isPlain(path) && isBare(given(options)) && isDirect()
    ? looking(bun.readlink(path), "readlink", path, ended)
    : null;
}

/** Bytes beyond which Node refuses, and Bun does not. */
const NODE_LIMIT = 2 ** 31 - 1;

/** `again` is the long way: it says what is wrong where that is more than a file which can't be opened. */
export function readFile(again: Again, path: unknown, options: Options): Result<string | Buffer> {
  const all = given(options);
  const { encoding, flag, buffer } = all;
  if (!isPlain(path) || !isBare(all) || (flag ?? "r") !== "r" || buffer !== undefined || !isDirect()) return null;
  const reading: Promise<string | Buffer> = encoding ? bun.readFile(path, "utf8") : bun.readFile(path);
  alone.begin();
  return reading.then(
    (content) => (ended(content).length > NODE_LIMIT ? again() : content),
    (error: Failure) => {
      alone.end();
      if (error.syscall === "open") throw nodeError(error, "open", path);
      return again();
    },
  );
}

/** The flags that neither read nor wait for the disk. */
const WRITING = new Set<unknown>(["w", "wx", "a", "ax"]);

/**
 * By Bun's own writeFile: one visit to a thread. What fails after the file was opened, and was not to be appended, is
 * done `again`, for what is left then is to be what was written.
 */
function write(again: Again, path: unknown, data: unknown, options: Options, defaultFlag: string): Result<void> {
  const all = given(options);
  const { mode = 0o666, flag = defaultFlag, flush = false, buffer } = all;
  if (!isPlain(path) || !isBare(all) || !WRITING.has(flag) || !isMode(mode) || flush !== false || buffer !== undefined)
    return null;
  const isPlainData =
    typeof data === "string" || (data instanceof Uint8Array && isView(data) && byteLengthOf(data) > 0);
  if (!isPlainData || !isDirect()) return null;
  const how = { flag: flag as string, mode };
  const byteLength = typeof data === "string" ? data.length : byteLengthOf(data as Uint8Array);
  const writing = bun.writeFile(path, data as Uint8Array, how);
  // At the end of the thread: the same bytes to the same places as the pool may be writing, where a file takes them so.
  const settle = (): void => {
    if (flag !== "w") return;
    leavePool(settle);
    if (typeof data !== "string" && byteLengthOf(data as Uint8Array) !== byteLength) return;
    if (isFreeOrFile(path)) bunFs.writeFileSync(path, data as Uint8Array, how);
  };
  return changing(writing, settle, byteLength, (error) => {
    if (error.syscall === "open") throw nodeError(error, "open", path);
    if (flag === "w" || typeof error.errno !== "number") return again();
    throw systemError(error.errno, "write");
  });
}

export const writeFile = (again: Again, path: unknown, data: unknown, options: Options): Result<void> =>
  write(again, path, data, options, "w");
export const appendFile = (again: Again, path: unknown, data: unknown, options: Options): Result<void> =>
  write(again, path, data, options, "a");

export function mkdir(again: Again, path: unknown, options: unknown): Result<string | undefined> {
  if (options !== undefined && typeof options !== "number" && !isObject(options)) return null;
  const { recursive = false, mode = 0o777 } = typeof options === "number" ? { mode: options } : (options ?? NONE);
  if (!isPlain(path) || !isMode(mode) || typeof recursive !== "boolean") return null;
  if (!recursive) return isDirect() ? (plainly(bun.mkdir(path, mode), "mkdir", path) as Promise<undefined>) : null;
  if (!isTidy(path) || !isDirect()) return null;
  const settle = (): void => {
    leavePool(settle);
    bunFs.mkdirSync(path, { recursive, mode });
  };
  return changing(bun.mkdir(path, { recursive, mode }), settle, 0, again);
}

/** Of such a path Bun tells the first folder made as Node does. */
const isTidy = (path: string): boolean => !/\/\/|\/$|(^|\/)\.\.?(\/|$)/.test(path);

export function rename(_: Again, from: unknown, to: unknown): Result<void> {
  return isPlain(from) && isPlain(to) && isDirect() ? plainly(bun.rename(from, to), "rename", from, to) : null;
}

export function link(_: Again, from: unknown, to: unknown): Result<void> {
  return isPlain(from) && isPlain(to) && isDirect() ? plainly(bun.link(from, to), "link", from, to) : null;
}

export function symlink(_: Again, target: unknown, path: unknown, type: unknown): Result<void> {
  if (type !== undefined || !isPlain(target) || !isPlain(path) || !isDirect()) return null;
  return plainly(bun.symlink(target, path), "symlink", target, path);
}

export function unlink(_: Again, path: unknown): Result<void> {
  return isPlain(path) && isDirect() ? plainly(bun.unlink(path), "unlink", path) : null;
}

export function rmdir(_: Again, path: unknown, options: unknown): Result<void> {
  return isPlain(path) && options === undefined && isDirect() ? plainly(bun.rmdir(path), "rmdir", path) : null;
}

/** A regular file without holes, which Bun would fill. */
const isDense = ({ mode, size, blocks }: Stats): boolean => (mode & S_IFMT) === S_IFREG && blocks * 512 >= size;
const [S_IFMT, S_IFREG] = [0o170000, 0o100000];
/** A clone where the file system has those, else a copy. */
const COPYFILE_FICLONE = 2;

/** By Bun's own copyFile, once the source has been looked at: it would open a FIFO. What fails is tried `again`. */
export function copyFile(again: Again, from: unknown, to: unknown, mode: unknown): Result<void> {
  const isAnew = mode === undefined || mode === 0 || mode === COPYFILE_FICLONE;
  if (!isPlain(from) || !isPlain(to) || !isAnew || !isDirect()) return null;
  const atEnd = (): void => copyHere(from, to, mode as number | undefined);
  const copy = (stats: Stats): Promise<void> => {
    alone.end();
    if (!isDense(stats)) return again();
    const settle = (): void => {
      leavePool(settle);
      atEnd();
    };
    return changing(bun.copyFile(from, to, mode as number | undefined), settle, stats.size, again);
  };
  alone.begin();
  const copying = bun.stat(from).then(copy, () => {
    alone.end();
    return again();
  });
  return finishAtExit(copying, atEnd);
}

export function chmod(_: Again, path: unknown, mode: unknown): Result<void> {
  return isPlain(path) && isMode(mode) && isDirect() ? plainly(bun.chmod(path, mode), "chmod", path) : null;
}

const { getTime } = Date.prototype;

/** Seconds since 1970 of a number or Date; null of what is no such, or lies before. */
function secondsOf(time: unknown): number | null {
  if (typeof time === "number") return time >= 0 && time < Infinity ? time : null;
  try {
    const ms = getTime.call(time as Date);
    return ms >= 0 ? ms / 1000 : null;
  } catch {
    return null;
  }
}

export function utimes(_: Again, path: unknown, atime: unknown, mtime: unknown): Result<void> {
  const [accessed, modified] = [secondsOf(atime), secondsOf(mtime)];
  if (!isPlain(path) || accessed === null || modified === null || !isDirect()) return null;
  return plainly(bun.utimes(path, accessed, modified), "utime", path);
}

const isCount = (value: unknown): boolean => value === undefined || (Number.isInteger(value) && (value as number) >= 0);

/** What can't be removed at once is removed `again`, with all that Node says about it: what is gone by then is no matter. */
export function rm(again: Again, path: unknown, options: Given | undefined): Result<void> {
  if (options !== undefined && !isObject(options)) return null;
  const { recursive = false, force = false, maxRetries, retryDelay } = options ?? NONE;
  if (!isPlain(path) || typeof recursive !== "boolean" || typeof force !== "boolean") return null;
  if (!isCount(maxRetries) || !isCount(retryDelay) || endsInDot(path) || !isDirect()) return null;
  const removing = recursive ? bun.rm(path, { recursive, force }) : bun.unlink(path);
  return anyhow(removing, again);
}

export function mkdtemp(again: Again, prefix: unknown, options: Options): Result<string> {
  if (!isPlain(prefix) || !isBare(given(options)) || !isDirect()) return null;
  return anyhow(bun.mkdtemp(prefix), again);
}
