// node:fs/promises: its names, and nothing but them: what checks arguments and does the work is loaded by the first call that needs
// it. While a process has done little (backend/early-calls.ts) plain calls are Bun's own, and none of it is needed.

import { constants } from "node:fs";
import type * as node from "node:fs/promises";
import { isOver } from "./backend/early.ts";
import * as early from "./backend/early-calls.ts";
import type { FileHandle } from "./handle/file-handle.ts";
import { later } from "./node/loading.ts";
import { named, withLength } from "./node/named.ts";
import type * as self from "./promises.ts";
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
export { constants };

/* ---- loaded by the first call ------------------------------------------------------------------------------------- */

// Parsing all of the package takes longer than a short program runs. `require`, since a call begins before it returns.

type Whole = typeof import("./fs/whole-file.ts");
type OnPaths = typeof import("./fs/on-paths.ts");
type Opening = typeof import("./fs/open.ts");
type Directory = typeof import("./fs/directory.ts");
type Delegated = typeof import("./fs/delegated.ts");
type CopyFile = typeof import("./tree/copy-file.ts");
type Cp = typeof import("./tree/cp.ts");
type Disposable = typeof import("./tree/mkdtemp-disposable.ts");
type Opendir = typeof import("./fs/opendir.ts");
type Rm = typeof import("./tree/rm.ts");
type Watch = typeof import("./fs/watch.ts");
type Module = Record<string, (...args: any[]) => any>;

const whole = later(() => require("./fs/whole-file.ts") as Whole);
const onPaths = later(() => require("./fs/on-paths.ts") as OnPaths);
const handles = later(() => require("./fs/open.ts") as Opening);
const directory = later(() => require("./fs/directory.ts") as Directory);
const disposable = later(() => require("./tree/mkdtemp-disposable.ts") as Disposable);
const opendirCode = later(() => require("./fs/opendir.ts") as Opendir);
const delegated = later(() => require("./fs/delegated.ts") as Delegated);
const copyFileCode = later(() => require("./tree/copy-file.ts") as CopyFile);
const cpCode = later(() => require("./tree/cp.ts") as Cp);
const rmCode = later(() => require("./tree/rm.ts") as Rm);
const watchCode = later(() => require("./fs/watch.ts") as Watch);

filesComeWith(handles);

/**
 * The function `name` of what `load` gives; `length` is Node's `Function.length`: promisify and others look at it. None takes
 * more than three arguments, or looks at their number.
 */
function deferred<T, K extends keyof T & string>(load: () => T, name: K, length: number): T[K] {
  const call = (first: any, second: any, third: any): any => run(load, name, first, second, third);
  return withLength(call, length) as T[K];
}

/** The same for what gives an iterator. */
function iterating<T, K extends keyof T & string>(load: () => T, name: K, length: number): T[K] {
  return withLength((...args: any[]): any => (load() as Module)[name]!(...args), length) as T[K];
}

/** What can't be loaded is a rejection. */
function run(load: () => unknown, name: string, first: any, second: any, third: any): any {
  let loaded: Module;
  try {
    loaded = load() as Module;
  } catch (error) {
    return Promise.reject(error);
  }
  return loaded[name]!(first, second, third);
}

/* ---- early, by Bun -------------------------------------------------------------------------------------------------- */

type Early = (long: early.Long, first: any, second: any, third: any) => Promise<unknown> | null;

/** Options whose values have been read, once: what comes later looks at the copy. */
type Take = (options: any) => unknown;

// By their names, not in a loop: a program of few calls runs this before it is compiled.
const ofFile: Take = ({ encoding, flag, mode, flush, buffer, signal, timeoutMs }) => {
  return { encoding, flag, mode, flush, buffer, signal, timeoutMs };
};
const ofFolder: Take = (options) => {
  const { encoding, recursive, withFileTypes, bufferSize, signal, timeoutMs } = options;
  return { encoding, recursive, withFileTypes, bufferSize, signal, timeoutMs };
};
const ofStat: Take = ({ bigint, throwIfNoEntry, signal, timeoutMs }) => ({ bigint, throwIfNoEntry, signal, timeoutMs });
const ofMkdir: Take = ({ recursive, mode }) => ({ recursive, mode });
/** As Node takes those of rm, by what is the object's own. */
const ofRm: Take = (options) => ({ ...options });

/**
 * The function `name` of what `load` gives; by `direct` as long as that will have the call. The second argument may be
 * options.
 */
function quick<T, K extends keyof T & string>(
  load: () => T,
  name: K,
  length: number,
  direct: Early,
  take: Take | null = null,
): T[K] {
  const long: early.Long = (first, second, third) => run(load, name, first, second, third);
  const call = (first: any, second: any, third: any): any => {
    if (isOver || typeof first !== "string") return run(load, name, first, second, third);
    try {
      if (take !== null && typeof second === "object") second = once(take, second);
      return direct(long, first, second, third) ?? long(first, second, third);
    } catch (error) {
      return Promise.reject(error); // of a getter of the caller's
    }
  };
  return withLength(call, length) as T[K];
}

/** The same for what has data before its options. */
function writing<T, K extends keyof T & string>(load: () => T, name: K, direct: Early): T[K] {
  const long: early.Long = (first, second, third) => run(load, name, first, second, third);
  const call = (path: any, data: any, options: any): any => {
    if (isOver || typeof path !== "string") return run(load, name, path, data, options);
    try {
      if (typeof options === "object") options = once(ofFile, options);
      return direct(long, path, data, options) ?? long(path, data, options);
    } catch (error) {
      return Promise.reject(error);
    }
  };
  return withLength(call, 3) as T[K];
}

/** Options as they have been read. An array is a mistake or of no use, and stays what it is. */
const once = (take: Take, options: object | null): unknown =>
  options !== null && !Array.isArray(options) ? take(options) : options;

/** Resolves if the path may be used as `mode` asks (F_OK by default), else rejects. */
export const access: Delegated["access"] = quick(delegated, "access", 1, early.access);
/** As writeFile, with the flag "a": creates the file if it is missing, and writes at its end. */
export const appendFile: Whole["appendFile"] = writing(whole, "appendFile", early.appendFile);
/** Sets the mode of what the path leads to: a number, or a string of octal digits. */
export const chmod: Delegated["chmod"] = quick(delegated, "chmod", 2, early.chmod);
/** Sets owner and group of what the path leads to; −1 keeps one. */
export const chown: Delegated["chown"] = deferred(delegated, "chown", 3);
/**
 * Copies a file. A third argument may be Node's `mode` or `{ mode, signal, onProgress, direct, … }`; holes stay
 * holes.
 */
export const copyFile: CopyFile["copyFile"] = quick(copyFileCode, "copyFile", 3, early.copyFile);
/** Copies files and, with `recursive`, trees. */
export const cp: Cp["cp"] = quick(cpCode, "cp", 3, early.cp);
/** Async iterator of the paths below `cwd` that match a pattern, or any of several. */
export const glob: Directory["glob"] = iterating(directory, "glob", 2);
/** As in Node: rejects on Linux, where links have no mode. */
export const lchmod: Delegated["lchmod"] = deferred(delegated, "lchmod", 2);
/** Sets owner and group of a link itself. */
export const lchown: Delegated["lchown"] = deferred(delegated, "lchown", 3);
/** Gives a file a second name. */
export const link: Delegated["link"] = quick(delegated, "link", 2, early.link);
/** The Stats of a path, of the link itself where it is a symbolic one; BigIntStats with `bigint`. */
export const lstat: OnPaths["lstat"] = quick(onPaths, "lstat", 1, early.lstat, ofStat);
/** Sets the times of a link itself. */
export const lutimes: Delegated["lutimes"] = deferred(delegated, "lutimes", 3);
/**
 * Makes a folder; `mode` is 0o777 by default, less the umask. With `recursive` also those above it that are missing, and
 * a folder that is there already is no error; resolves to the first one made, or undefined.
 */
export const mkdir: OnPaths["mkdir"] = quick(onPaths, "mkdir", 2, early.mkdir, ofMkdir);
/** Makes a folder of mode 0o700 with six random characters after the prefix. Resolves to its path. */
export const mkdtemp: Directory["mkdtemp"] = quick(directory, "mkdtemp", 2, early.mkdtemp, ofFile);
/** As `mkdtemp`; the folder is removed at the end of `await using`. */
export const mkdtempDisposable: Disposable["mkdtempDisposable"] = deferred(disposable, "mkdtempDisposable", 2);
/**
 * Opens a file. `flags` is a string ("r" by default) or a number of O_*; `mode` (default 0o666, less the umask) is for a
 * file that is created. The descriptor is close-on-exec.
 */
export const open: Opening["openAsNode"] = deferred(handles, "openAsNode", 3);
/** Opens a folder to be read entry by entry. */
export const opendir: Opendir["opendir"] = deferred(opendirCode, "opendir", 3);
/**
 * Reads a whole file, up to 2 GiB - 1: as a Buffer, or as a string if an encoding is given. `flag` is "r" by default.
 * With `buffer`, a view or a function from the file's size to one, reads into it and resolves to the part that was
 * filled. A FileHandle is read from its position on and stays open.
 */
export const readFile: Whole["readFile"] = quick(whole, "readFile", 2, early.readFile, ofFile);
/**
 * The names of a folder, in no order; Dirents with `withFileTypes`, with `recursive` the whole tree, as paths from it
 * (links are listed, not entered).
 */
export const readdir: Directory["readdir"] = quick(directory, "readdir", 2, early.readdir, ofFolder);
/** The text of a symbolic link. */
export const readlink: Delegated["readlink"] = quick(delegated, "readlink", 2, early.readlink, ofFile);
/** The path without links, `.` and `..`. */
export const realpath: Delegated["realpath"] = quick(delegated, "realpath", 2, early.realpath, ofFile);
/** Gives a file or folder another name, in place of a file that has it. */
export const rename: OnPaths["rename"] = quick(onPaths, "rename", 2, early.rename);
/** Removes files and, with `recursive`, trees; never leaves the tree by a link that is swapped meanwhile. */
export const rm: Rm["rm"] = quick(rmCode, "rm", 2, early.rm, ofRm);
/** Removes an empty folder. The option `recursive` that once was there is refused, as by Node 26. */
export const rmdir: OnPaths["rmdir"] = quick(onPaths, "rmdir", 2, early.rmdir);
/**
 * The Stats of what a path leads to; BigIntStats with `bigint`. With `throwIfNoEntry: false` resolves to undefined if
 * nothing is there.
 */
export const stat: OnPaths["stat"] = quick(onPaths, "stat", 1, early.stat, ofStat);
/** Size and free space of the file system. */
export const statfs: Delegated["statfs"] = deferred(delegated, "statfs", 1);
/** Makes a symbolic link at `path` with `target` as its text. */
export const symlink: Delegated["symlink"] = quick(delegated, "symlink", 3, early.symlink);
/** Cuts or extends a file (default 0 bytes; negative is 0), with zeros where it grows. */
export const truncate: Delegated["truncate"] = deferred(delegated, "truncate", 1);
/** Removes a name of a file, or a symbolic link. */
export const unlink: OnPaths["unlink"] = quick(onPaths, "unlink", 1, early.unlink);
/** Sets access and modification time: seconds, or Dates. */
export const utimes: Delegated["utimes"] = quick(delegated, "utimes", 3, early.utimes);
/** Async iterator of the changes of a file or folder. */
export const watch: Watch["watch"] = iterating(watchCode, "watch", 1);
/**
 * Writes a whole file: a string (`encoding`, utf8 by default), a view, or anything that is iterated, also
 * asynchronously, and yields those. `flag` is "w" and `mode` 0o666 by default; `flush` syncs before the file is closed.
 * A FileHandle is written from its position on, without truncating, and stays open.
 */
export const writeFile: Whole["writeFile"] = writing(whole, "writeFile", early.writeFile);

/* ---- as Node has it -------------------------------------------------------------------------------------------------- */

/** Node's name for the module's own object: what `import fs from "bun-uring/promises"` gives. */
const promises: Omit<typeof self, "default"> = {
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

named(promises);

// The types that go by a name of the default: `promises.FileHandle`.
declare namespace promises {
  /** What `watch` yields. */
  type FileChangeInfo<T extends string | Buffer> = node.FileChangeInfo<T>;
  /** How a file is opened. */
  type FlagAndOpenMode = node.FlagAndOpenMode;
  /** What `FileHandle.read` resolves to. */
  type FileReadResult<T extends NodeJS.ArrayBufferView> = node.FileReadResult<T>;
  /** Options of `FileHandle.read`. */
  type FileReadOptions<T extends NodeJS.ArrayBufferView = Buffer> = node.FileReadOptions<T>;
  /** Options of `FileHandle.createReadStream`. */
  type CreateReadStreamOptions = node.CreateReadStreamOptions;
  /** Options of `FileHandle.createWriteStream`. */
  type CreateWriteStreamOptions = node.CreateWriteStreamOptions;
  /** Options of `FileHandle.readableWebStream`. */
  type ReadableWebStreamOptions = node.ReadableWebStreamOptions;
  /** Options of `FileHandle.pull`. */
  type PullOptions = node.PullOptions;
  /** Options of `FileHandle.writer`. */
  type WriterOptions = node.WriterOptions;
  /** An open file. */
  type FileHandle = import("./handle/file-handle.ts").FileHandle;
  /** What `mkdtempDisposable` resolves to. */
  type DisposableTempDir = node.DisposableTempDir;
  /** Options of `watch`. */
  type WatchOptions = node.WatchOptions;
  /** Options of `watch` with names as bytes. */
  type WatchOptionsWithBufferEncoding = node.WatchOptionsWithBufferEncoding;
  /** Options of `watch` with names as strings. */
  type WatchOptionsWithStringEncoding = node.WatchOptionsWithStringEncoding;
}

export default promises;
