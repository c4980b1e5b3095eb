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
import { later } from "../node/loading.ts";
import { roundDates } from "../node/rounded-dates.ts";
import { byteLengthOf, isView } from "../node/views.ts";
import { begin, end, isEarly, isPlain } from "./early.ts";
import { beginChange, endChange, enterPool, leavePool } from "./node-pool.ts";

type Failure = NodeJS.ErrnoException & { dest?: string };

/* ---- what is plain ------------------------------------------------------------------------------------------------ */

/** With the bits of a file's type, too, as Stats have it: the kernel passes over them. */
const isMode = (mode: unknown): mode is number =>
  Number.isInteger(mode) && (mode as number) >= 0 && (mode as number) <= 0o177777;

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

// A program of few operations waits longer for functions that are compiled than for what they do, and each that an operation calls
// is compiled after some dozen of them, again where it is inlined. So there are few of them, and what all can share is shared.

const ended = <T>(value: T): T => {
  end();
  return value;
};
const endedStats = (stats: Stats | BigIntStats): Stats | BigIntStats => {
  end();
  return roundDates(stats);
};
/** What changes something has ended. */
const changed = <T>(value: T): T => {
  end();
  endChange();
  return value;
};
const nothing = (): void => end();
const changedNothing = (): void => {
  end();
  endChange();
};

/** What only looks, with Node's errors. `given` counts it as ended, and says what becomes of the value. */
function looking<T, R>(operation: Promise<T>, syscall: string, path: string, given: (value: T) => R): Promise<R> {
  begin();
  return operation.then(given, (error: Failure) => {
    end();
    throw nodeError(error, syscall, path);
  });
}

/** What changes something and gives nothing, with Node's errors. */
function plainly(operation: Promise<unknown>, syscall: string, path: string, dest?: string): Promise<void> {
  begin();
  beginChange();
  return operation.then(changedNothing, (error: Failure) => {
    changedNothing();
    throw nodeError(error, syscall, path, dest);
  });
}

/** What changes something, and is done in the long way if it fails. */
function anyhow<T>(operation: Promise<T>, long: Long, path: string, options: unknown): Promise<T> {
  begin();
  beginChange();
  return operation.then(changed, () => {
    changedNothing();
    return long(path, options);
  });
}

/** What `settle`, which leaves the pool, may do anew at the end of the thread. */
function changing<T>(
  operation: Promise<T>,
  settle: () => void,
  bytes: number,
  failed: (error: Failure) => any,
): Promise<T> {
  begin();
  enterPool(settle, bytes);
  return operation.then(
    (value) => {
      leavePool(settle);
      end();
      return value;
    },
    (error: Failure) => {
      leavePool(settle);
      end();
      return failed(error);
    },
  );
}

/* ---- the functions: null where a call is not plain, or it is no longer early --------------------------------------- */

/** An options object of which every value has been read, once. */
type Given = Readonly<Record<string, unknown>>;
type Options = Given | string | null | undefined;
type Result<T> = Promise<T> | null;
/** The long way, for the same arguments. */
export type Long = (first: unknown, second?: unknown, third?: unknown) => Promise<any>;

const NONE: Given = {};
/** What is no options object, and no encoding, is wrong as an encoding. */
const given = (options: Options): Given =>
  options === undefined || options === null ? NONE : typeof options === "object" ? options : { encoding: options };

const isObject = (value: unknown): value is Given =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Neither is there anything but an encoding, nor is that another than utf8. */
function isBare(options: Given): boolean {
  const { encoding, signal, timeoutMs } = options;
  const isText = encoding === undefined || encoding === null || encoding === "utf8" || encoding === "utf-8";
  return isText && signal === undefined && timeoutMs === undefined;
}

type Look = (path: string, options: { bigint: boolean }) => Promise<Stats | BigIntStats>;
type Stat = (_: Long, path: unknown, options: Given | undefined) => Result<Stats | BigIntStats>;
const [AS_NUMBERS, AS_BIGINTS] = [{ bigint: false }, { bigint: true }];

const statBy =
  (look: Look, syscall: string): Stat =>
  (_, path, options) => {
    let how = AS_NUMBERS;
    if (options !== undefined) {
      if (!isObject(options)) return null;
      const { bigint, throwIfNoEntry, signal, timeoutMs } = options;
      if (signal !== undefined || timeoutMs !== undefined || (throwIfNoEntry ?? true) !== true) return null;
      if (bigint === true) how = AS_BIGINTS;
    }
    return isEarly(path) ? looking(look(path, how), syscall, path, endedStats) : null;
  };

export const stat: Stat = statBy(bun.stat as Look, "stat");
export const lstat: Stat = statBy(bun.lstat as Look, "lstat");

export function access(_: Long, path: unknown, mode: unknown): Result<void> {
  const wish = mode ?? 0;
  if (!Number.isInteger(wish) || (wish as number) < 0 || (wish as number) > 7 || !isEarly(path)) return null;
  return looking(bun.access(path, wish as number), "access", path, nothing);
}

export function readdir(_: Long, path: unknown, options: Options): Result<string[] | Dirent[]> {
  if (options === undefined)
    return isEarly(path) ? looking(bun.readdir(path), "scandir", path, ended as (names: string[]) => string[]) : null;
  const all = given(options);
  const { withFileTypes, recursive } = all;
  if (recursive || !isBare(all) || !isEarly(path)) return null;
  return withFileTypes
    ? looking(bun.readdir(path, { withFileTypes: true }), "scandir", path, ended)
    : looking(bun.readdir(path), "scandir", path, ended);
}

export function realpath(_: Long, path: unknown, options: Options): Result<string> {
  return isBare(given(options)) && isEarly(path) ? looking(bun.realpath(path), "realpath", path, ended) : null;
}

export function readlink(_: Long, path: unknown, options: Options): Result<string> {
  return isBare(given(options)) && isEarly(path) ? looking(bun.readlink(path), "readlink", path, ended) : null;
}

/** Bytes beyond which Node refuses, and Bun does not. */
const NODE_LIMIT = 2 ** 31 - 1;

/** The long way says what is wrong where that is more than a file which can't be opened. */
export function readFile(long: Long, path: unknown, options: Options): Result<string | Buffer> {
  const all = given(options);
  const { encoding, flag, buffer } = all;
  if (!isBare(all) || (flag ?? "r") !== "r" || buffer !== undefined || !isEarly(path)) return null;
  const reading: Promise<string | Buffer> = encoding ? bun.readFile(path, "utf8") : bun.readFile(path);
  begin();
  return reading.then(
    (content) => {
      end();
      return content.length > NODE_LIMIT ? long(path, options) : content;
    },
    (error: Failure) => {
      end();
      if (error.syscall === "open") throw nodeError(error, "open", path);
      return long(path, options);
    },
  );
}

/** The flags that neither read nor wait for the disk. */
const isWriting = (flag: unknown): boolean => flag === "w" || flag === "a" || flag === "wx" || flag === "ax";

/**
 * By Bun's own writeFile: one visit to a thread. What fails after the file was opened, and was not to be appended, is
 * done in the long way, for what is left then is to be what was written.
 */
const writeBy =
  (defaultFlag: string) =>
  (long: Long, path: unknown, data: unknown, options: Options): Result<void> => {
    let [mode, flag]: [unknown, unknown] = [0o666, defaultFlag];
    if (options !== undefined) {
      const all = given(options);
      const { flush = false, buffer } = all;
      if (!isBare(all) || flush !== false || buffer !== undefined) return null;
      mode = all["mode"] === undefined ? mode : all["mode"];
      flag = all["flag"] === undefined ? flag : all["flag"];
      if (!isWriting(flag) || !isMode(mode)) return null;
    }
    const isString = typeof data === "string";
    if (!(isString || (data instanceof Uint8Array && isView(data) && byteLengthOf(data) > 0)) || !isEarly(path))
      return null;
    const how = { flag: flag as string, mode: mode as number };
    const byteLength = isString ? data.length : byteLengthOf(data as Uint8Array);
    const writing = bun.writeFile(path, data as Uint8Array, how);
    // At the end of the thread: the same bytes to the same places as the pool may be writing, where a file takes them so.
    const settle = (): void => {
      if (flag !== "w") return;
      leavePool(settle);
      if (!isString && byteLengthOf(data as Uint8Array) !== byteLength) return;
      if (isFreeOrFile(path)) bunFs.writeFileSync(path, data as Uint8Array, how);
    };
    return changing(writing, settle, byteLength, (error) => {
      if (error.syscall === "open") throw nodeError(error, "open", path);
      if (flag === "w" || typeof error.errno !== "number") return long(path, data, options);
      throw systemError(error.errno, "write");
    });
  };

type Write = (long: Long, path: unknown, data: unknown, options: Options) => Result<void>;
export const writeFile: Write = writeBy("w");
export const appendFile: Write = writeBy("a");

export function mkdir(long: Long, path: unknown, options: unknown): Result<string | undefined> {
  let [recursive, mode]: [unknown, unknown] = [false, 0o777];
  if (typeof options === "number") mode = options;
  else if (options !== undefined) {
    if (!isObject(options)) return null;
    if (options["recursive"] !== undefined) ({ recursive } = options);
    if (options["mode"] !== undefined) ({ mode } = options);
    if (typeof recursive !== "boolean") return null;
  }
  if (!isMode(mode)) return null;
  if (!recursive) return isEarly(path) ? (plainly(bun.mkdir(path, mode), "mkdir", path) as Promise<undefined>) : null;
  if (!isPlain(path) || !isTidy(path) || !isEarly(path)) return null;
  const settle = (): void => {
    leavePool(settle);
    bunFs.mkdirSync(path, { recursive: true, mode });
  };
  return changing(bun.mkdir(path, { recursive: true, mode }), settle, 0, () => long(path, options));
}

/** Of such a path Bun tells the first folder made as Node does. */
function isTidy(path: string): boolean {
  const names = path[0] === "/" ? `${path}/` : `/${path}/`; // a first regular expression takes a millisecond
  return !(names.includes("//") || names.includes("/./") || names.includes("/../"));
}

export function rename(_: Long, from: unknown, to: unknown): Result<void> {
  return isPlain(to) && isEarly(from) ? plainly(bun.rename(from, to), "rename", from, to) : null;
}

export function link(_: Long, from: unknown, to: unknown): Result<void> {
  return isPlain(to) && isEarly(from) ? plainly(bun.link(from, to), "link", from, to) : null;
}

export function symlink(_: Long, target: unknown, path: unknown, type: unknown): Result<void> {
  if (type !== undefined || !isPlain(target) || !isEarly(path)) return null;
  return plainly(bun.symlink(target, path), "symlink", target, path);
}

export function unlink(_: Long, path: unknown): Result<void> {
  return isEarly(path) ? plainly(bun.unlink(path), "unlink", path) : null;
}

export function rmdir(_: Long, path: unknown, options: unknown): Result<void> {
  return options === undefined && isEarly(path) ? plainly(bun.rmdir(path), "rmdir", path) : null;
}

/** A regular file without holes, which Bun would fill. */
const isDense = ({ mode, size, blocks }: Stats): boolean => (mode & S_IFMT) === S_IFREG && blocks * 512 >= size;
const [S_IFMT, S_IFREG] = [0o170000, 0o100000];
/** A clone where the file system has those, else a copy. */
const COPYFILE_FICLONE = 2;

/** By Bun's own copyFile, once the source has been looked at: it would open a FIFO. What fails is tried in the long way. */
export function copyFile(long: Long, from: unknown, to: unknown, mode: unknown): Result<void> {
  const isAnew = mode === undefined || mode === 0 || mode === COPYFILE_FICLONE;
  if (!isAnew || !isPlain(to) || !isEarly(from)) return null;
  const again = (): Promise<void> => long(from, to, mode);
  const atEnd = (): void => copyHere(from, to, mode as number | undefined);
  const copy = (stats: Stats): Promise<void> => {
    end();
    if (!isDense(stats)) return again();
    const settle = (): void => {
      leavePool(settle);
      atEnd();
    };
    return changing(bun.copyFile(from, to, mode as number | undefined), settle, stats.size, again);
  };
  begin();
  const copying = bun.stat(from).then(copy, () => {
    end();
    return again();
  });
  return finishAtExit(copying, atEnd);
}

type Tree = typeof import("./early-tree.ts");
const treeCode = later(() => require("./early-tree.ts") as Tree);

/** What cp's options are if they are not given. */
const COPY_DEFAULTS: Given = {
  dereference: false,
  errorOnExist: false,
  force: true,
  mode: 0,
  preserveTimestamps: false,
  verbatimSymlinks: false,
};

/** A small tree, or a file, to where nothing is; anything else in the long way. */
export function cp(long: Long, from: unknown, to: unknown, options: unknown): Result<void> {
  let own = NONE;
  if (options !== undefined) {
    if (!isObject(options)) return null;
    own = { ...options }; // its own, as Node takes them; read once
  }
  for (const name in own)
    if (own[name] !== COPY_DEFAULTS[name] && !(name === "recursive" && own[name] === true)) return long(from, to, own);
  if (!isPlain(to) || !isEarly(from)) return long(from, to, own);
  const copying = treeCode().copyTree(from, to, own["recursive"] === true);
  return copying.then((isDone) => (isDone ? undefined : long(from, to, own)));
}

export function chmod(_: Long, path: unknown, mode: unknown): Result<void> {
  return isMode(mode) && isEarly(path) ? plainly(bun.chmod(path, mode), "chmod", path) : null;
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

export function utimes(_: Long, path: unknown, atime: unknown, mtime: unknown): Result<void> {
  const [accessed, modified] = [secondsOf(atime), secondsOf(mtime)];
  if (accessed === null || modified === null || !isEarly(path)) return null;
  return plainly(bun.utimes(path, accessed, modified), "utime", path);
}

const isCount = (value: unknown): boolean => value === undefined || (Number.isInteger(value) && (value as number) >= 0);

/** What can't be removed at once is removed in the long way, with all that Node says about it: what is gone by then is no matter. */
export function rm(long: Long, path: unknown, options: Given | undefined): Result<void> {
  if (options !== undefined && !isObject(options)) return null;
  const { recursive = false, force = false, maxRetries, retryDelay } = options ?? NONE;
  if (typeof recursive !== "boolean" || typeof force !== "boolean" || !isCount(maxRetries) || !isCount(retryDelay))
    return null;
  if (!isPlain(path) || endsInDot(path) || !isEarly(path)) return null;
  const removing = recursive ? bun.rm(path, { recursive, force }) : bun.unlink(path);
  return anyhow(removing, long, path, options);
}

export function mkdtemp(long: Long, prefix: unknown, options: Options): Result<string> {
  return isBare(given(options)) && isEarly(prefix) ? anyhow(bun.mkdtemp(prefix), long, prefix, options) : null;
}
