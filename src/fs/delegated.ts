// The functions of node:fs/promises for which io_uring has no opcode (docs/architecture.md D12): arguments are checked here, Bun's own
// API does the work, and its errors are given Node's shape. Also access, chmod, truncate, link, symlink, readlink and realpath, which
// are the backend's.
// Assumes nothing of its arguments. Folders are in fs/directory.ts.

import { constants, type Mode, type PathLike, type StatFsOptions, type TimeLike } from "node:fs";
import type * as node from "node:fs/promises";
import { currentBackend } from "../backend/choose.ts";
import { codedError, lowMode, validateInteger, validateObject, validateOneOf } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { told } from "../node/errors.ts";
import { parseMode } from "../node/open-flags.ts";
import { fileOptions } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { done, inSteps, type Steps } from "../node/steps.ts";
import { type BunTime, bunTimes } from "../node/times.ts";

type NodePromises = typeof node;

/** The largest uid_t and gid_t. */
const MAX_ID = 2 ** 32 - 1;

/** Whether this process may use a path: `mode` is F_OK (default) or R_OK, W_OK, X_OK combined. */
export async function access(path: PathLike, mode?: number): Promise<void> {
  const checked = toPath(path);
  const wish = lowMode(mode);
  await currentBackend().access(checked, wish);
}

/** Changes permissions: a number, or a string of octal digits. */
export async function chmod(path: PathLike, mode: Mode): Promise<void> {
  const checked = toPath(path);
  const bits = parseMode(mode, "mode");
  await currentBackend().chmod(checked, bits);
}

/** Linux has no permissions of symbolic links. */
export async function lchmod(_path: PathLike, _mode: Mode): Promise<void> {
  throw codedError(Error, "ERR_METHOD_NOT_IMPLEMENTED", "The lchmod() method is not implemented");
}

/** Changes owner and group; -1 leaves one as it is. */
export async function chown(path: PathLike, uid: number, gid: number): Promise<void> {
  const checked = toPath(path);
  validateIds(uid, gid);
  await told("chown", checked, bun.chown(checked, uid, gid));
}

/** As chown, for the symbolic link itself. */
export async function lchown(path: PathLike, uid: number, gid: number): Promise<void> {
  const checked = toPath(path);
  validateIds(uid, gid);
  await told("lchown", checked, bun.lchown(checked, uid, gid));
}

function validateIds(uid: unknown, gid: unknown): void {
  validateInteger(uid, "uid", -1, MAX_ID);
  validateInteger(gid, "gid", -1, MAX_ID);
}

/** Sets the times of access and modification: seconds since 1970 as a number or string, or a Date. */
export async function utimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Promise<void> {
  const checked = toPath(path);
  const withTimes = bunTimes(atime, mtime);
  const set = (accessed: BunTime, modified: BunTime): Promise<void> => bun.utimes(checked, accessed, modified);
  await told(
    "utime",
    checked,
    withTimes(() => bun.stat(checked), set),
  );
}

/** As utimes, for the symbolic link itself. */
export async function lutimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Promise<void> {
  const checked = toPath(path);
  const withTimes = bunTimes(atime, mtime);
  const set = (accessed: BunTime, modified: BunTime): Promise<void> => bun.lutimes(checked, accessed, modified);
  await told(
    "lutime",
    checked,
    withTimes(() => bun.lstat(checked), set),
  );
}

/** Gives a file a further name. */
export async function link(existingPath: PathLike, newPath: PathLike): Promise<void> {
  const existing = toPath(existingPath, "existingPath");
  await currentBackend().link(existing, toPath(newPath, "newPath"));
}

/** Makes a symbolic link at `path` with `target` as its text. `type` matters on Windows only. */
export async function symlink(target: PathLike, path: PathLike, type?: string | null): Promise<void> {
  validateOneOf(type, "type", ["dir", "file", "junction", null, undefined]);
  const text = toPath(target, "target");
  await currentBackend().symlink(text, toPath(path, "path"));
}

/** Makes the file `length` bytes long (default 0; negative is 0), with zeros where it grows. */
export async function truncate(path: PathLike, length: number = 0): Promise<void> {
  const checked = toPath(path);
  const backend = currentBackend();
  validateInteger(length, "len");
  return inSteps(function* (): Steps<void> {
    const file = yield* done(backend.open(checked, constants.O_RDWR, 0o666));
    try {
      yield* done(backend.ftruncate(file, Math.max(0, length)));
    } finally {
      yield* done(backend.close(file));
    }
  });
}

/** The text of a symbolic link. */
export const readlink: NodePromises["readlink"] = async (path: PathLike, options?: unknown): Promise<any> => {
  const { encoding } = fileOptions(options);
  const checked = toPath(path, "oldPath"); // so Node names it
  return currentBackend().readlink(checked, encoding);
};

/** The path without symbolic links, `.` and `..`. */
export const realpath: NodePromises["realpath"] = async (path: PathLike, options?: unknown): Promise<any> => {
  const { encoding } = fileOptions(options);
  const checked = toPath(path);
  return currentBackend().realpath(checked, encoding);
};

/** What statfs(2) says of the file system that a path lies on; with `bigint` as BigInts. */
export const statfs: NodePromises["statfs"] = async (path: PathLike, options: StatFsOptions = {}): Promise<any> => {
  const checked = toPath(path);
  if (options === null) validateObject(options, "options"); // and anything else is none, as in Node
  const bigint = options.bigint === true;
  return told("statfs", checked, bun.statfs(checked, { bigint }));
};
