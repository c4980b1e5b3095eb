// node:fs/promises: its names, arguments, defaults and errors. Validates, then calls the backend.
// The usual calls of open, stat and readFile return the backend's promise itself; an argument error is a rejection, as
// it is of Node's async functions, and nothing has been queued then.

import type {
  BigIntStats,
  MakeDirectoryOptions,
  Mode,
  OpenMode,
  PathLike,
  ReadFileOptionsWithBuffer,
  StatOptions,
  Stats,
} from "node:fs";
import type { FileHandle as NodeFileHandle } from "node:fs/promises";
import { abortable, throwIfAborted, unlessAborted } from "./abort.ts";
import { currentBackend } from "./backend.ts";
import type { OpenFile } from "./backend-interface.ts";
import { constants } from "./constants.ts";
import { copyFile } from "./copy.ts";
import {
  access,
  chmod,
  chown,
  lchmod,
  lchown,
  link,
  lutimes,
  readlink,
  realpath,
  statfs,
  symlink,
  truncate,
  utimes,
} from "./delegated.ts";
import { glob, mkdtemp, mkdtempDisposable, opendir, readdir } from "./directory.ts";
import { validateReadFileBuffer } from "./file-content.ts";
import { FileHandle, kinOf } from "./file-handle.ts";
import { parseFlags, parseMode } from "./flags.ts";
import { kinMet, meetKin } from "./kin.ts";
import { makePath } from "./make-path.ts";
import {
  type DataPieces,
  type FileOptions,
  fileOptions,
  flushOption,
  isPieces,
  statOptions,
  viewOf,
  type WholeData,
} from "./options.ts";
import { toPath } from "./path.ts";
import { rm } from "./remove.ts";
import { invalidArgValue, validateBoolean, validateObject } from "./validate.ts";
import { watch } from "./watch.ts";

export {
  access,
  chmod,
  chown,
  constants,
  copyFile,
  glob,
  lchmod,
  lchown,
  link,
  lutimes,
  mkdtemp,
  mkdtempDisposable,
  opendir,
  readdir,
  readlink,
  realpath,
  rm,
  statfs,
  symlink,
  truncate,
  utimes,
  watch,
};

type View = NodeJS.ArrayBufferView;
/** A path, or a handle that `open` of this package gave. */
type FileLike = PathLike | FileHandle | NodeFileHandle;

interface ReadOptions {
  encoding?: BufferEncoding | null | undefined;
  flag?: OpenMode | undefined;
  signal?: AbortSignal | undefined;
}
interface WriteOptions extends ReadOptions {
  mode?: Mode | undefined;
  flush?: boolean | undefined;
}

const FILE_MODE = 0o666;
const FOLDER_MODE = 0o777;

const handleFor = (file: OpenFile): FileHandle => new FileHandle(file);

/**
 * Opens a file. `flags` is a string ("r" by default) or a number of O_*; `mode` (default 0o666, less the umask) is for a
 * file that is created. The descriptor is close-on-exec.
 */
export function open(path: PathLike, flags?: OpenMode | null, mode?: Mode | null): Promise<FileHandle> {
  try {
    const checked = toPath(path);
    const handle = currentBackend().open(checked, parseFlags(flags), parseMode(mode, "mode", FILE_MODE), handleFor);
    return kinMet ? handle : Promise.all([handle, meetKin(FileHandle.prototype, kinOf)]).then(([opened]) => opened);
  } catch (error) {
    return Promise.reject(error);
  }
}

/**
 * Reads a whole file, up to 2 GiB - 1: as a Buffer, or as a string if an encoding is given. `flag` is "r" by default.
 * With `buffer`, a view or a function from the file's size to one, reads into it and resolves to the part that was
 * filled. A FileHandle is read from its position on and stays open.
 */
export function readFile<T extends View>(
  file: FileLike,
  options: ReadFileOptionsWithBuffer<T>,
): Promise<Buffer<T["buffer"]>>;
export function readFile(
  file: FileLike,
  options?: (ReadOptions & { encoding?: null | undefined }) | null,
): Promise<Buffer<ArrayBuffer>>;
export function readFile(
  file: FileLike,
  options: (ReadOptions & { encoding: BufferEncoding }) | BufferEncoding,
): Promise<string>;
export function readFile(
  file: FileLike,
  options?: ReadOptions | BufferEncoding | null,
): Promise<string | Buffer<ArrayBuffer>>;
export function readFile(file: unknown, options?: unknown): Promise<any> {
  try {
    if (file instanceof FileHandle) return file.readFile(options as ReadOptions);
    const checked = fileOptions(options);
    const { encoding, signal } = checked;
    validateReadFileBuffer(checked);
    throwIfAborted(signal);
    const path = toPath(file);
    const flags = parseFlags(checked.flag || "r", "options.flag");
    if (checked.buffer !== undefined) return readIntoCallers(path, flags, checked);
    const content = currentBackend().readFile(path, flags, { encoding: encoding || null, signal });
    return signal === undefined ? content : abortable(content, signal);
  } catch (error) {
    return Promise.reject(error);
  }
}

async function readIntoCallers(path: string | Buffer, flags: number, options: FileOptions): Promise<Buffer> {
  await using handle = await currentBackend().open(path, flags, FILE_MODE, handleFor);
  return handle.readFile(options as ReadFileOptionsWithBuffer<View>);
}

/**
 * Writes a whole file: a string (`encoding`, utf8 by default), a view, or anything that is iterated, also
 * asynchronously, and yields those. `flag` is "w" and `mode` 0o666 by default; `flush` syncs before the file is closed.
 * A FileHandle is written from its position on, without truncating, and stays open.
 */
export function writeFile(
  file: FileLike,
  data: WholeData | DataPieces,
  options?: WriteOptions | BufferEncoding | null,
): Promise<void> {
  return write(file, data, options, "w");
}

/** As writeFile, with the flag "a": creates the file if it is missing, and writes at its end. */
export function appendFile(
  file: FileLike,
  data: WholeData | DataPieces,
  options?: WriteOptions | BufferEncoding | null,
): Promise<void> {
  return write(file, data, options, "a");
}

function write(file: unknown, data: unknown, options: unknown, defaultFlag: string): Promise<void> {
  try {
    if (file instanceof FileHandle) return file.writeFile(data as WholeData, options as WriteOptions);
    const checked = fileOptions(options);
    const { signal } = checked;
    const flush = flushOption(checked);
    const mode = parseMode(checked.mode, "mode", FILE_MODE);
    const whole = isPieces(data) ? null : viewOf(data, "data", checked.encoding);
    throwIfAborted(signal);
    const path = toPath(file);
    const flags = parseFlags(checked.flag || defaultFlag, "options.flag");
    if (whole === null) return writePieces(path, data as DataPieces, flags, mode, checked);
    const written = currentBackend().writeFile(path, whole, flags, mode, { signal, flush });
    return signal === undefined ? written : unlessAborted(written, signal);
  } catch (error) {
    return Promise.reject(error);
  }
}

async function writePieces(
  path: string | Buffer,
  pieces: DataPieces,
  flags: number,
  mode: number,
  options: FileOptions,
): Promise<void> {
  await using handle = await currentBackend().open(path, flags, mode, handleFor);
  await handle.writeFile(pieces, options as WriteOptions);
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
    const { bigint, throwIfNoEntry, signal } = statOptions(options);
    throwIfAborted(signal);
    const stats = currentBackend().stat(toPath(path), bigint);
    const found = throwIfNoEntry ? stats : stats.catch(undefinedIfMissing);
    return signal === undefined ? found : abortable(found, signal);
  } catch (error) {
    return Promise.reject(error);
  }
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
    const { bigint, signal } = statOptions(options);
    throwIfAborted(signal);
    const stats = currentBackend().lstat(toPath(path), bigint);
    return signal === undefined ? stats : abortable(stats, signal);
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
    return recursive ? makePath(backend, checked, bits) : backend.mkdir(checked, bits);
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

/** Node's name for the module's own object: what `import fs from "bun-uring/promises"` gives. */
const promises: {
  access: typeof access;
  appendFile: typeof appendFile;
  chmod: typeof chmod;
  chown: typeof chown;
  constants: typeof constants;
  copyFile: typeof copyFile;
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

export default promises;
