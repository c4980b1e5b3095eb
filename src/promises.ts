// node:fs/promises: its names, arguments, defaults and errors. Validates, then calls the backend.
// The usual calls of open, stat and readFile return the backend's promise itself; an argument error is a rejection, as
// it is of Node's async functions, and nothing has been queued then.

import type { BigIntStats, MakeDirectoryOptions, Mode, OpenMode, PathLike, StatOptions, Stats } from "node:fs";
import { cancellable, currentBackend } from "./backend/choose.ts";
import { appendFile, readFile, writeFile } from "./fs/whole-file.ts";
import type { FileHandle } from "./handle/file-handle.ts";
import { constants } from "./kernel/constants.ts";
import { abortable, type Limits, limited, throwIfAborted } from "./node/abort.ts";
import { invalidArgValue, validateBoolean, validateObject } from "./node/arguments.ts";
import "./node/bun-fs.ts"; // as it is now: what is loaded by a later call must not see another in its place
import { named, withLengths } from "./node/named.ts";
import { parseFlags, parseMode } from "./node/open-flags.ts";
import { statOptions } from "./node/options.ts";
import { toPath } from "./node/path.ts";
import { filesComeWith } from "./streams/files.ts";

// Every type that node:fs/promises has (test/types.test.ts); the handle is ours.
export type {
  CreateReadStreamOptions,
  CreateWriteStreamOptions,
  DisposableTempDir,
  FileChangeInfo,
  FileReadOptions,
  FileReadResult,
  FlagAndOpenMode,
  PullOptions,
  ReadableWebStreamOptions,
  WatchOptions,
  WatchOptionsWithBufferEncoding,
  WatchOptionsWithStringEncoding,
  WriterOptions,
} from "node:fs/promises";
export type { FileHandle };
export { appendFile, constants, readFile, writeFile };

/* ---- loaded by the first call ------------------------------------------------------------------------------------- */

// Parsing all of the package takes longer than a short program runs. `require`, since a call begins before it returns.

type Directory = typeof import("./fs/directory.ts");
type Delegated = typeof import("./fs/delegated.ts");
type CopyFile = typeof import("./tree/copy-file.ts");
type Cp = typeof import("./tree/cp.ts");
type Disposable = typeof import("./tree/mkdtemp-disposable.ts");
type Opendir = typeof import("./fs/opendir.ts");
type Rm = typeof import("./tree/rm.ts");
type Watch = typeof import("./fs/watch.ts");
type Module = Record<string, (...args: any[]) => any>;

const handles = later(() => require("./fs/open.ts") as typeof import("./fs/open.ts"));
const folders = later(() => require("./fs/mkdir-recursive.ts") as typeof import("./fs/mkdir-recursive.ts"));
const directory = later(() => require("./fs/directory.ts") as Directory);
const disposable = later(() => require("./tree/mkdtemp-disposable.ts") as Disposable);
const opendirCode = later(() => require("./fs/opendir.ts") as Opendir);
const delegated = later(() => require("./fs/delegated.ts") as Delegated);
const copyFileCode = later(() => require("./tree/copy-file.ts") as CopyFile);
const cpCode = later(() => require("./tree/cp.ts") as Cp);
const rmCode = later(() => require("./tree/rm.ts") as Rm);
const watchCode = later(() => require("./fs/watch.ts") as Watch);

function later<T>(load: () => T): () => T {
  let loaded: T | null = null;
  return () => {
    loaded ??= load();
    return loaded;
  };
}

filesComeWith(handles);

/** The function `name` of what `load` gives. */
function deferred<T, K extends keyof T & string>(load: () => T, name: K): T[K] {
  const call = (...args: any[]): any => (load() as Module)[name]!(...args);
  return call as T[K];
}

/** Resolves if the path may be used as `mode` asks (F_OK by default), else rejects. */
export const access: Delegated["access"] = deferred(delegated, "access");
/** Sets the mode of what the path leads to. */
export const chmod: Delegated["chmod"] = deferred(delegated, "chmod");
/** Sets owner and group of what the path leads to; −1 keeps one. */
export const chown: Delegated["chown"] = deferred(delegated, "chown");
/** As in Node: rejects on Linux, where links have no mode. */
export const lchmod: Delegated["lchmod"] = deferred(delegated, "lchmod");
/** Sets owner and group of a link itself. */
export const lchown: Delegated["lchown"] = deferred(delegated, "lchown");
/** Gives a file a second name. */
export const link: Delegated["link"] = deferred(delegated, "link");
/** Sets the times of a link itself. */
export const lutimes: Delegated["lutimes"] = deferred(delegated, "lutimes");
/** The text of a symbolic link. */
export const readlink: Delegated["readlink"] = deferred(delegated, "readlink");
/** The path without links, `.` and `..`. */
export const realpath: Delegated["realpath"] = deferred(delegated, "realpath");
/** Size and free space of the file system. */
export const statfs: Delegated["statfs"] = deferred(delegated, "statfs");
/** Makes a symbolic link. */
export const symlink: Delegated["symlink"] = deferred(delegated, "symlink");
/** Cuts or extends a file (default 0 bytes). */
export const truncate: Delegated["truncate"] = deferred(delegated, "truncate");
/** Sets access and modification time: seconds, or Dates. */
export const utimes: Delegated["utimes"] = deferred(delegated, "utimes");
/** Async iterator of the paths that match. */
export const glob: Directory["glob"] = deferred(directory, "glob");
/** Makes a folder with six random characters after the prefix. */
export const mkdtemp: Directory["mkdtemp"] = deferred(directory, "mkdtemp");
/** As `mkdtemp`; the folder is removed at the end of `await using`. */
export const mkdtempDisposable: Disposable["mkdtempDisposable"] = deferred(disposable, "mkdtempDisposable");
/** Opens a folder to be read piece by piece. */
export const opendir: Opendir["opendir"] = deferred(opendirCode, "opendir");
/**
 * The names of a folder; Dirents with `withFileTypes`, the whole tree with `recursive` (links are listed, not
 * entered).
 */
export const readdir: Directory["readdir"] = deferred(directory, "readdir");
/**
 * Copies a file. A third argument may be Node's `mode` or `{ mode, signal, onProgress, direct, … }`; holes stay
 * holes.
 */
export const copyFile: CopyFile["copyFile"] = deferred(copyFileCode, "copyFile");
/** Copies files and, with `recursive`, trees. */
export const cp: Cp["cp"] = deferred(cpCode, "cp");
/** Removes files and, with `recursive`, trees; never leaves the tree by a link that is swapped meanwhile. */
export const rm: Rm["rm"] = deferred(rmCode, "rm");
/** Async iterator of the changes of a file or folder. */
export const watch: Watch["watch"] = deferred(watchCode, "watch");

/* ---- the rest ----------------------------------------------------------------------------------------------------- */

const FILE_MODE = 0o666;
const FOLDER_MODE = 0o777;

/**
 * Opens a file. `flags` is a string ("r" by default) or a number of O_*; `mode` (default 0o666, less the umask) is for a
 * file that is created. The descriptor is close-on-exec.
 */
export function open(path: PathLike, flags?: OpenMode | null, mode?: Mode | null): Promise<FileHandle> {
  try {
    return handles().openHandle(toPath(path), parseFlags(flags), parseMode(mode, "mode", FILE_MODE));
  } catch (error) {
    return Promise.reject(error);
  }
}

/**
 * The Stats of what a path leads to; BigIntStats with `bigint`. With `throwIfNoEntry: false` resolves to undefined if
 * nothing is there.
 */
export function stat(
  path: PathLike,
  options?: StatOptions & { bigint?: false | undefined; throwIfNoEntry?: true | undefined },
): Promise<Stats>;
export function stat(
  path: PathLike,
  options: StatOptions & { bigint: true; throwIfNoEntry?: true | undefined },
): Promise<BigIntStats>;
export function stat(
  path: PathLike,
  options: StatOptions & { bigint?: false | undefined; throwIfNoEntry: false },
): Promise<Stats | undefined>;
export function stat(
  path: PathLike,
  options: StatOptions & { bigint: true; throwIfNoEntry: false },
): Promise<BigIntStats | undefined>;
export function stat(
  path: PathLike,
  options: StatOptions & { throwIfNoEntry?: true | undefined },
): Promise<Stats | BigIntStats>;
export function stat(path: PathLike, options?: StatOptions): Promise<Stats | BigIntStats | undefined>;
export function stat(path: unknown, options?: unknown): Promise<any> {
  try {
    if (options === undefined) return currentBackend().stat(toPath(path), false);
    const { bigint, throwIfNoEntry, limits } = statOptions(options);
    throwIfAborted(limits?.signal);
    const checked = toPath(path);
    const stats = within(limits, "stat", checked, () => currentBackend().stat(checked, bigint));
    return throwIfNoEntry ? stats : stats.catch(undefinedIfMissing);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** One operation on a path, within its limits if it has some. */
function within<T>(limits: Limits | null, syscall: string, path: string | Buffer, start: () => Promise<T>): Promise<T> {
  if (limits === null) return start();
  return limited(limits, syscall, (signal) => abortable(cancellable(start, signal), signal), path);
}

function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
}

/** The Stats of a path, of the link itself where it is a symbolic one; BigIntStats with `bigint`. */
export function lstat(path: PathLike, options?: StatOptions & { bigint?: false | undefined }): Promise<Stats>;
export function lstat(path: PathLike, options: StatOptions & { bigint: true }): Promise<BigIntStats>;
export function lstat(path: PathLike, options?: StatOptions): Promise<Stats | BigIntStats>;
export function lstat(path: unknown, options?: unknown): Promise<any> {
  try {
    if (options === undefined) return currentBackend().lstat(toPath(path), false);
    const { bigint, limits } = statOptions(options);
    throwIfAborted(limits?.signal);
    const checked = toPath(path);
    return within(limits, "lstat", checked, () => currentBackend().lstat(checked, bigint));
  } catch (error) {
    return Promise.reject(error);
  }
}

/**
 * Makes a folder; `mode` is 0o777 by default, less the umask. With `recursive` also those above it that are missing, and
 * a folder that is there already is no error; resolves to the first one made, or undefined.
 */
export function mkdir(path: PathLike, options: MakeDirectoryOptions & { recursive: true }): Promise<string | undefined>;
export function mkdir(
  path: PathLike,
  options?: Mode | (MakeDirectoryOptions & { recursive?: false | undefined }) | null,
): Promise<void>;
export function mkdir(path: PathLike, options?: Mode | MakeDirectoryOptions | null): Promise<string | undefined>;
export function mkdir(path: unknown, options?: unknown): Promise<any> {
  try {
    const given = typeof options === "number" || typeof options === "string" ? { mode: options } : options;
    const { recursive = false, mode } = (given || {}) as { recursive?: unknown; mode?: unknown };
    const checked = toPath(path);
    validateBoolean(recursive, "options.recursive");
    const bits = parseMode(mode, "mode", FOLDER_MODE);
    const backend = currentBackend();
    return recursive ? folders().makePath(backend, checked, bits) : backend.mkdir(checked, bits);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Gives a file or folder another name, in place of a file that has it. */
export function rename(oldPath: PathLike, newPath: PathLike): Promise<void> {
  try {
    const from = toPath(oldPath, "oldPath");
    return currentBackend().rename(from, toPath(newPath, "newPath"));
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Removes a name of a file, or a symbolic link. */
export function unlink(path: PathLike): Promise<void> {
  try {
    return currentBackend().unlink(toPath(path));
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Removes an empty folder. The option `recursive` that once was there is refused, as by Node 26. */
export function rmdir(path: PathLike, options?: object): Promise<void> {
  try {
    const checked = toPath(path);
    validateRmdirOptions(options);
    return currentBackend().rmdir(checked);
  } catch (error) {
    return Promise.reject(error);
  }
}

function validateRmdirOptions(options: unknown): void {
  if (options === undefined) return;
  const recursive = (options as { recursive?: unknown } | null)?.recursive;
  if (recursive !== undefined) throw invalidArgValue("options.recursive", recursive, "is no longer supported");
  validateObject(options, "options");
}

/* ---- as Node has it -------------------------------------------------------------------------------------------------- */

/** Node's name for the module's own object: what `import fs from "bun-uring/promises"` gives. */
const promises: {
  access: typeof access;
  appendFile: typeof appendFile;
  chmod: typeof chmod;
  chown: typeof chown;
  constants: typeof constants;
  copyFile: typeof copyFile;
  cp: typeof cp;
  glob: typeof glob;
  lchmod: typeof lchmod;
  lchown: typeof lchown;
  link: typeof link;
  lstat: typeof lstat;
  lutimes: typeof lutimes;
  mkdir: typeof mkdir;
  mkdtemp: typeof mkdtemp;
  mkdtempDisposable: typeof mkdtempDisposable;
  open: typeof open;
  opendir: typeof opendir;
  readFile: typeof readFile;
  readdir: typeof readdir;
  readlink: typeof readlink;
  realpath: typeof realpath;
  rename: typeof rename;
  rm: typeof rm;
  rmdir: typeof rmdir;
  stat: typeof stat;
  statfs: typeof statfs;
  symlink: typeof symlink;
  truncate: typeof truncate;
  unlink: typeof unlink;
  utimes: typeof utimes;
  watch: typeof watch;
  writeFile: typeof writeFile;
} = {
  access,
  appendFile,
  chmod,
  chown,
  constants,
  copyFile,
  cp,
  glob,
  lchmod,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  mkdtemp,
  mkdtempDisposable,
  open,
  opendir,
  readFile,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  symlink,
  truncate,
  unlink,
  utimes,
  watch,
  writeFile,
};

/** Node's `Function.length`s: promisify, callbackify and others look at them. */
const LENGTHS: Record<Exclude<keyof typeof promises, "constants">, number> = {
  access: 1,
  appendFile: 3,
  chmod: 2,
  chown: 3,
  copyFile: 3,
  cp: 3,
  glob: 2,
  lchmod: 2,
  lchown: 3,
  link: 2,
  lstat: 1,
  lutimes: 3,
  mkdir: 2,
  mkdtemp: 2,
  mkdtempDisposable: 2,
  open: 3,
  opendir: 3,
  readFile: 2,
  readdir: 2,
  readlink: 2,
  realpath: 2,
  rename: 2,
  rm: 2,
  rmdir: 2,
  stat: 1,
  statfs: 1,
  symlink: 3,
  truncate: 1,
  unlink: 1,
  utimes: 3,
  watch: 1,
  writeFile: 3,
};
named(promises);
withLengths(promises, LENGTHS);

export default promises;
