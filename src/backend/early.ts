// The beginning of a process, for "auto": whether it has done no more than a few operations, and those few by Bun's own functions, as
// directly as Node's behaviour allows. Making a ring costs as much as thousands of operations gain, most programs do no more, and
// what they would wait for first is code that has to be read: so nothing here needs any of the rest of the package.
// Assumes nothing of its arguments: what is not plain (a path that is no string, a signal, a flag …) is `null` here, for the caller
// to have done in the long way. Never makes of one operation two that could be told apart.

import type { BigIntStats, Dirent, Stats } from "node:fs";
import { bun, bunFs } from "../node/bun-fs.ts";
import { clockMs, setImmediate } from "../node/clock.ts";
import { endsInDot } from "../node/dots.ts";
import { systemError } from "../node/errors.ts";
import { finishAtExit, isExiting } from "../node/exit.ts";
import { copyHere, isFreeOrFile } from "../node/exit-calls.ts";
import { late } from "../node/late-error.ts";
import { roundDates } from "../node/rounded-dates.ts";
import { byteLengthOf, isView } from "../node/views.ts";
import { presence } from "../ring/presence.ts";
import { inPool } from "./node-pool.ts";

type Failure = NodeJS.ErrnoException & { dest?: string };

/* ---- whether it is early still ------------------------------------------------------------------------------------ */

/**
 * Operations after which a process is none of a few, where those on open files count more. Loading the ring's code, making a
 * ring and having both warm takes 25 to 80 ms of processor time; then a look costs 5 to 10 µs less than one by a thread, a read or
 * write of an open file 15, and what changes a folder nothing less.
 */
const FIRST_OPERATIONS = 20_000;
/** One that takes this long (milliseconds) may wait for ever, and hold one of the pool's threads: the next goes to a ring. */
const STUCK_MS = 20;
let operations = 0;
let isAsked = false;
/** No longer early: then nothing here is of any use. */
export let isOver = false;

/** Operations that Bun's pool has of this thread. */
class Pending {
  count = 0;
  /** When the last began or ended. */
  at = 0;

  readonly begin = (): void => {
    this.count++;
    this.at = clockMs();
  };

  readonly end = (): void => {
    this.count--;
    this.at = clockMs();
  };

  /** Counts an operation until it has ended. */
  watch(operation: Promise<unknown>): void {
    this.begin();
    operation.then(this.end, this.end);
  }
}

export const alone: Pending = new Pending();

export function endBeginning(): void {
  isOver = true;
}

/** Whether an operation is one of the first few; counts it as so many. Null: not before the event loop has turned can that be said. */
export function isFirst(weight: number = 1): boolean | null {
  if (!isAsked) {
    isAsked = true;
    if ((process.env["BUN_URING_BACKEND"] || "auto") !== "auto") isOver = true;
  }
  if (isOver) return false;
  const { count, at } = alone;
  operations += weight;
  if (operations > FIRST_OPERATIONS || isStuck || presence.cancelling > 0 || presence.ring !== null) return false;
  return count > 0 && clockMs() - at > STUCK_MS && !isExiting() ? null : true;
}

let isStuck = false;

/**
 * Waits for the event loop, in case it was this thread that was busy and did not hear what the pool has done. If nothing
 * has come by then, the pool is stuck.
 */
export async function lookAtPool(): Promise<void> {
  const { at } = alone;
  for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
  if (alone.count > 0 && alone.at === at) isStuck = true;
}

/** Whether an operation is one of them, and may be had from Bun in the direct way. */
const isDirect = (): boolean => !isExiting() && isFirst() === true;

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

/** Counts what the pool does until it has ended; `given` and `failed` say what becomes of a value and of an error. */
function counted<T, R>(
  operation: Promise<T>,
  given: (value: T) => R,
  failed: (error: Failure) => any,
): Promise<Awaited<R>> {
  alone.begin();
  return operation.then(
    (value) => {
      alone.end();
      return given(value);
    },
    (error: Failure) => {
      alone.end();
      return failed(error);
    },
  ) as Promise<Awaited<R>>;
}

/** The same for what changes something: `atEnd` does at the thread's end what may be done anew then. */
function changing<T>(
  operation: Promise<unknown>,
  given: (value: any) => T,
  failed: (error: Failure) => any,
  atEnd: (() => void) | null = null,
  bytes: number = 0,
): Promise<T> {
  const left = inPool(() => {
    if (atEnd === null) return;
    left();
    atEnd();
  }, bytes);
  const ended = (value: unknown): T => {
    left();
    return given(value);
  };
  return counted(operation, ended, (error) => {
    left();
    return failed(error);
  }) as Promise<T>;
}

const same = <T>(value: T): T => value;

/** What only looks, with Node's errors. */
function looking<T, R = T>(operation: Promise<T>, syscall: string, path: string, given?: (value: T) => R): Promise<R> {
  return counted(operation, given ?? (same as never), (error) => {
    throw nodeError(error, syscall, path);
  }) as Promise<R>;
}

/** What changes something and gives nothing, with Node's errors. */
function plainly(operation: Promise<unknown>, syscall: string, path: string, dest?: string): Promise<void> {
  return changing(operation, nothing, (error) => {
    throw nodeError(error, syscall, path, dest);
  });
}

const nothing = (): void => {};

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
  return looking(look(path, { bigint: bigint === true }), syscall, path, roundDates);
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
    ? looking(bun.readdir(path, { withFileTypes: true }), "scandir", path)
    : looking(bun.readdir(path), "scandir", path);
}

export function realpath(_: Again, path: unknown, options: Options): Result<string> {
  if (!isPlain(path) || !isBare(given(options)) || !isDirect()) return null;
  return looking(bun.realpath(path), "realpath", path);
}

export function readlink(_: Again, path: unknown, options: Options): Result<string> {
  return isPlain(path) && isBare(given(options)) && isDirect() ? looking(bun.readlink(path), "readlink", path) : null;
}

/** Bytes beyond which Node refuses, and Bun does not. */
const NODE_LIMIT = 2 ** 31 - 1;

/** `again` is the long way: it says what is wrong where that is more than a file which can't be opened. */
export function readFile(again: Again, path: unknown, options: Options): Result<string | Buffer> {
  const all = given(options);
  const { encoding, flag, buffer } = all;
  if (!isPlain(path) || !isBare(all) || (flag ?? "r") !== "r" || buffer !== undefined || !isDirect()) return null;
  const reading: Promise<string | Buffer> = encoding ? bun.readFile(path, "utf8") : bun.readFile(path);
  const checked = (content: string | Buffer): any => (content.length > NODE_LIMIT ? again() : content);
  return counted(reading, checked, (error) => {
    if (error.syscall === "open") throw nodeError(error, "open", path);
    return again();
  });
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
  const atEnd = (): void => {
    if (typeof data !== "string" && byteLengthOf(data as Uint8Array) !== byteLength) return;
    if (isFreeOrFile(path)) bunFs.writeFileSync(path, data as Uint8Array, how);
  };
  const failed = (error: Failure): Promise<void> => {
    if (error.syscall === "open") throw nodeError(error, "open", path);
    if (flag === "w" || typeof error.errno !== "number") return again();
    throw systemError(error.errno, "write");
  };
  return changing(writing, nothing, failed, flag === "w" ? atEnd : null, byteLength);
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
  const making = bun.mkdir(path, { recursive, mode });
  return changing(making, same, again, () => void bunFs.mkdirSync(path, { recursive, mode }));
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
    if (!isDense(stats)) return again();
    return changing(bun.copyFile(from, to, mode as number | undefined), nothing, again, atEnd, stats.size);
  };
  return finishAtExit(counted(bun.stat(from), copy, again), atEnd);
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
  return changing(removing, nothing, again);
}

export function mkdtemp(again: Again, prefix: unknown, options: Options): Result<string> {
  if (!isPlain(prefix) || !isBare(given(options)) || !isDirect()) return null;
  return changing(bun.mkdtemp(prefix), same, again);
}
