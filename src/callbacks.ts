// What node:fs has of this package beside `promises`: its streams, the callback functions, and Dates of synchronous stats.
// Callback functions on paths are the promise functions with a callback; those on descriptors are here.
// Assumes nothing of its arguments. A descriptor may be anybody's and may be closed by anybody, at any time, as in Node:
// nothing is kept of it, and each call makes its own OpenFile. What uses the file's own position takes a thread of Bun's,
// where the kernel keeps such calls apart (read(2) holds the position's lock, io_uring does not).

import { resolve } from "node:path";
import { currentBackend } from "./backend/choose.ts";
import { type Backend, OpenFile, type ReadResult } from "./backend/interface.ts";
import { MAX_VECTOR } from "./backend/loops.ts";
import { nodeBackend } from "./backend/node.ts";
import * as attributes from "./handle/attributes.ts";
import { disown } from "./handle/finalizer.ts";
import "./handle/file-handle.ts"; // says to the streams how files are opened
import {
  bufferList,
  invalidArgType,
  validateBoolean,
  validateFunction,
  validateInt32,
  validateInteger,
} from "./node/arguments.ts";
import { bunFs } from "./node/bun-fs.ts";
import { callbackAt, callSoon, nothing, refusal, result, settle, type Values, withCallback } from "./node/callback.ts";
import { errnoOf, systemError } from "./node/errors.ts";
import { named, withLengths } from "./node/named.ts";
import { FILE_MODE, parseFlags, parseMode } from "./node/open-flags.ts";
import { folderOptions, statOptions } from "./node/options.ts";
import { toPath } from "./node/path.ts";
import { numberOrCurrent, readCall, writeCall } from "./node/read-write-arguments.ts";
import { roundDates } from "./node/rounded-dates.ts";
import { isView } from "./node/views.ts";
import promises from "./promises.ts";
import { createReadStream, createWriteStream, ReadStream, WriteStream } from "./streams/node-stream.ts";

type NodeFs = typeof import("node:fs");
type Function = (...args: any[]) => any;
type View = NodeJS.ArrayBufferView;

const promisifyCustom = Symbol.for("nodejs.util.promisify.custom");

/* ---- by path --------------------------------------------------------------------------------------------------------- */

const LAST = { isLast: true };

/** Those that tell of a file take anything for no options, where the promise functions refuse it. */
const telling =
  (call: Function): Function =>
  (path, options) =>
    call(path, typeof options === "object" && !Array.isArray(options) ? (options ?? {}) : {});

/** Those that write a file take it whole, where the promise functions take it chunk by chunk, too. */
function refuseChunks(data: unknown): void {
  if (typeof data !== "string" && !isView(data)) {
    throw invalidArgType("data", ["string", "Buffer", "TypedArray", "DataView"], data);
  }
}

function readdir(path: unknown, options?: unknown): Promise<unknown> {
  const given = typeof options === "object" && options !== null ? folderOptions(options) : null;
  if (given !== null) validateBoolean(given.recursive ?? false, "options.recursive");
  return promises.readdir(path as string, (given ?? options) as object);
}

/**
 * Unlike its `native`, it goes from name to name: what `..` takes back is never looked at, and an error says which name
 * it was.
 */
function realpath(path: unknown, options?: unknown): Promise<unknown> {
  const checked = toPath(path);
  const whole = typeof checked === "string" ? resolve(checked) : checked;
  const found = promises.realpath(whole, options as object);
  if (refusal(found) !== null) return found;
  return found.catch(async (error) => {
    await lookAlong(`${whole}`);
    throw error;
  });
}

async function lookAlong(path: string): Promise<void> {
  let at = "/";
  for (const name of path.split("/")) {
    at = resolve(at, name);
    if (!(await promises.lstat(at)).isSymbolicLink()) continue;
    await promises.stat(at);
    at = await promises.realpath(at);
  }
}

/** The functions that take a path or, as a number, a descriptor: then they are Bun's own. */
function orDescriptor(name: "readFile" | "writeFile" | "appendFile", call: Function): Function {
  return (path: unknown, ...rest: unknown[]) => {
    if (name !== "readFile") refuseChunks(rest[0]);
    if (typeof path !== "number") return call(path, ...rest);
    return new Promise((resolve, reject) => {
      const done = (error: Error | null, value: unknown): void => (error ? reject(error) : resolve(value));
      (bunFs[name] as Function)(path, ...rest, done);
    });
  };
}

async function exists(path: unknown): Promise<boolean> {
  try {
    await promises.access(path as string);
    return true;
  } catch {
    return false;
  }
}

function open(path: unknown, flags?: unknown, mode?: unknown): Promise<number> {
  try {
    const checked = toPath(path);
    const bits = parseMode(mode, "mode", FILE_MODE);
    return currentBackend().open(checked, parseFlags(flags), bits, disown); // the caller's from now on
  } catch (error) {
    return Promise.reject(error);
  }
}

/* ---- by descriptor --------------------------------------------------------------------------------------------------- */

/** `remote`: nobody knows what a number stands for, and a plain call may wait for it. */
function fileOf(fd: unknown): OpenFile {
  validateInt32(fd, "fd", 0);
  const file = new OpenFile(fd);
  file.remote = true;
  return file;
}

/** What does a transfer at `position`. */
function backendFor(position: number | bigint): Backend {
  return position >= 0 ? currentBackend() : nodeBackend;
}

/** A function of a descriptor, whose errors are thrown if they are the arguments'. */
const onFile =
  (call: (file: OpenFile, ...args: any[]) => Promise<unknown>) =>
  (fd: unknown, ...args: unknown[]): Promise<any> => {
    try {
      return call(fileOf(fd), ...args);
    } catch (error) {
      return Promise.reject(error);
    }
  };

const fstat = onFile((file, options) => currentBackend().fstat(file, statOptions(options).bigint));
const fchmod = onFile(({ fd }, mode) => attributes.fchmod(fd, mode));
const fchown = onFile(({ fd }, uid, gid) => attributes.fchown(fd, uid, gid));
const futimes = onFile(({ fd }, atime, mtime) => attributes.futimes(fd, atime, mtime));
const fsync = onFile((file) => currentBackend().fsync(file));
const fdatasync = onFile((file) => currentBackend().fdatasync(file));
const ftruncate = onFile((file, length = 0) => {
  validateInteger(length, "len");
  return currentBackend().ftruncate(file, Math.max(0, length));
});

function truncate(path: unknown, ...length: unknown[]): Promise<void> {
  return typeof path === "number" ? ftruncate(path, ...length) : promises.truncate(path as string, ...(length as []));
}

function read(fd: unknown, ...given: any[]): void {
  const file = fileOf(fd);
  const { view, offset, length, position, callback } = readCall(given);
  const work: Promise<ReadResult<View>> =
    length === 0
      ? Promise.resolve({ bytesRead: 0, buffer: view })
      : backendFor(position).read(file, view, offset, length, position);
  settle(work, callback, bytesRead);
}

function write(fd: unknown, data: unknown, ...given: any[]): void {
  const file = fileOf(fd);
  const { view, offset, length, position, callback } = writeCall(data, given);
  const work =
    length === 0
      ? Promise.resolve({ bytesWritten: 0 })
      : backendFor(position).write(file, view, offset, length, position);
  settle(work, callback, ({ bytesWritten }) => [bytesWritten, data]);
}

const readv = onFile((file, buffers, position) => {
  const views = bufferList(buffers).slice(0, MAX_VECTOR);
  const at = numberOrCurrent(position);
  if (views.length === 0) return Promise.reject(systemError(errnoOf("EINVAL"), "read"));
  return backendFor(at).readv(file, views, at, buffers);
});

const writev = onFile((file, buffers, position) => {
  const views = bufferList(buffers).slice(0, MAX_VECTOR);
  const at = numberOrCurrent(position);
  if (views.length === 0) return Promise.resolve({ bytesWritten: 0, buffers });
  return backendFor(at).writev(file, views, at, buffers);
});

const bytesRead: Values = ({ bytesRead, buffer, buffers }) => [bytesRead, buffer ?? buffers];
const bytesWritten: Values = ({ bytesWritten, buffer, buffers }) => [bytesWritten, buffer ?? buffers];

/** What util.promisify makes of `callback`. */
function promisified(callback: Function, call: Function): Function {
  Object.defineProperty(callback, promisifyCustom, { value: call, configurable: true });
  return callback;
}

/** As in Node, util.promisify gives an object of both results. */
const withBoth = (callback: Function, count: string, memory: string): Function =>
  promisified(callback, (...args: unknown[]) => {
    return new Promise((resolve, reject) => {
      callback(...args, (error: Error | null, number: number, value: unknown) =>
        error ? reject(error) : resolve({ [count]: number, [memory]: value }),
      );
    });
  });

/** Without a callback, an error is an uncaught exception. */
function close(fd: unknown, callback: unknown = rethrow): void {
  validateFunction(callback, "cb");
  settle(currentBackend().close(fileOf(fd)), callback, () => []);
}

function rethrow(error: Error | null): void {
  if (error !== null) throw error;
}

/** Node's one callback that gets no error. */
function existsThen(path: unknown, callback: unknown): void {
  validateFunction(callback, "cb");
  exists(path).then((there) => callSoon(callback, there));
}

/** A pattern's matches, all at once. */
function glob(pattern: string, ...given: any[]): void {
  const at = callbackAt(given, 0, 2);
  const options = given.slice(0, at);
  const matches = async (): Promise<unknown[]> =>
    Array.fromAsync(promises.glob(pattern, ...(options as [object])) as any);
  settle(matches(), given[at], result);
}

/* ---- without a callback ---------------------------------------------------------------------------------------------- */

/** Stats of Bun's own synchronous function, with the Dates that the others' have: a program compares them. */
const rounded =
  (name: "statSync" | "lstatSync" | "fstatSync"): Function =>
  (...args) => {
    const stats = (bunFs[name] as Function)(...args);
    return stats === undefined ? stats : roundDates(stats);
  };

/* ---- all of them ----------------------------------------------------------------------------------------------------- */

const functions: Partial<Record<keyof NodeFs, Function>> = {
  access: withCallback(promises.access, 1, 2),
  appendFile: withCallback(orDescriptor("appendFile", promises.appendFile), 2, 3, nothing, LAST),
  chmod: withCallback(promises.chmod, 2, 2),
  chown: withCallback(promises.chown, 3, 3),
  close,
  copyFile: withCallback(promises.copyFile, 2, 3),
  cp: withCallback(promises.cp, 2, 3),
  exists: promisified(existsThen, exists),
  fchmod: withCallback(fchmod, 2, 2),
  fchown: withCallback(fchown, 3, 3),
  fdatasync: withCallback(fdatasync, 1, 1),
  fstat: withCallback(telling(fstat), 1, 2, result),
  fstatSync: rounded("fstatSync"),
  fsync: withCallback(fsync, 1, 1),
  ftruncate: withCallback(ftruncate, 1, 2),
  futimes: withCallback(futimes, 3, 3),
  glob,
  lchown: withCallback(promises.lchown, 3, 3),
  link: withCallback(promises.link, 2, 2),
  lstat: withCallback(telling(promises.lstat), 1, 2, result),
  lstatSync: rounded("lstatSync"),
  lutimes: withCallback(promises.lutimes, 3, 3),
  mkdir: withCallback(promises.mkdir, 1, 2, (made) => (made === undefined ? [] : [made])),
  mkdtemp: withCallback(promises.mkdtemp, 1, 2, result),
  open: withCallback(open, 1, 3, result, LAST),
  opendir: withCallback(promises.opendir, 1, 2, result, { name: "callback" }),
  read: withBoth(read, "bytesRead", "buffer"),
  readFile: withCallback(orDescriptor("readFile", promises.readFile), 1, 2, result, LAST),
  readdir: withCallback(readdir, 1, 2, result),
  readlink: withCallback(promises.readlink, 1, 2, result),
  readv: withBoth(withCallback(readv, 2, 3, bytesRead, LAST), "bytesRead", "buffers"),
  realpath: withCallback(realpath, 1, 2, result),
  rename: withCallback(promises.rename, 2, 2),
  rm: withCallback(promises.rm, 1, 2),
  rmdir: withCallback(promises.rmdir, 1, 2),
  stat: withCallback(telling(promises.stat), 1, 2, result),
  statSync: rounded("statSync"),
  statfs: withCallback(telling(promises.statfs), 1, 2, result),
  symlink: withCallback(promises.symlink, 2, 3, nothing, LAST),
  truncate: withCallback(truncate, 1, 2),
  unlink: withCallback(promises.unlink, 1, 1),
  utimes: withCallback(promises.utimes, 3, 3),
  write: withBoth(write, "bytesWritten", "buffer"),
  writeFile: withCallback(orDescriptor("writeFile", promises.writeFile), 2, 3, nothing, LAST),
  writev: withBoth(withCallback(writev, 2, 3, bytesWritten, LAST), "bytesWritten", "buffers"),
};
Object.assign(functions.realpath!, { native: withCallback(promises.realpath, 1, 2, result) });

// Where Node's lengths leave out what follows the first optional argument.
withLengths(functions, {
  close: 1,
  exists: 2,
  fstat: 1,
  fstatSync: 1,
  ftruncate: 1,
  glob: 3,
  lstat: 1,
  lstatSync: 1,
  read: 6,
  stat: 1,
  statSync: 1,
  statfs: 1,
  write: 6,
});

named(functions);

/** What takes the place of Bun's own in node:fs, beside `promises`, by Node's names. */
export const own: Readonly<Record<string, unknown>> = {
  ...functions,
  createReadStream,
  createWriteStream,
  ReadStream,
  WriteStream,
  FileReadStream: ReadStream,
  FileWriteStream: WriteStream,
};
