// The functions of node:fs/promises for which io_uring has no opcode (docs/architecture.md D12): arguments are checked here, Bun's own
// API does the work, and its errors are given Node's shape. Also access, chmod, truncate, link, symlink, readlink and realpath, which
// are the backend's.
// Assumes nothing of its arguments. What each function does is said in promises.ts; folders are in fs/directory.ts.

import { constants, type Mode, type PathLike, type StatFsOptions, type TimeLike } from "node:fs";
import type * as node from "node:fs/promises";
import { currentBackend } from "../backend/choose.ts";
import { codedError, lowMode, validateIds, validateInteger, validateObject, validateOneOf } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { told } from "../node/errors.ts";
import { parseMode } from "../node/open-flags.ts";
import { fileOptions } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { done, inSteps, type Steps } from "../node/steps.ts";
import { type BunTime, bunTimes } from "../node/times.ts";

type NodePromises = typeof node;

export async function access(path: PathLike, mode?: number): Promise<void> {
  const checked = toPath(path);
  const wish = lowMode(mode);
  await currentBackend().access(checked, wish);
}

export async function chmod(path: PathLike, mode: Mode): Promise<void> {
  const checked = toPath(path);
  const bits = parseMode(mode, "mode");
  await currentBackend().chmod(checked, bits);
}

/** Linux has no permissions of symbolic links. */
export async function lchmod(_path: PathLike, _mode: Mode): Promise<void> {
  throw codedError(Error, "ERR_METHOD_NOT_IMPLEMENTED", "The lchmod() method is not implemented");
}

type SetOwner = (path: PathLike, uid: number, gid: number) => Promise<void>;

const ownerBy =
  (name: "chown" | "lchown"): SetOwner =>
  async (path, uid, gid) => {
    const checked = toPath(path);
    validateIds(uid, gid);
    await told(name, checked, bun[name](checked, uid, gid));
  };

export const chown: SetOwner = ownerBy("chown");
export const lchown: SetOwner = ownerBy("lchown");

type SetTimes = (path: PathLike, atime: TimeLike, mtime: TimeLike) => Promise<void>;

/** libuv's names for the calls have no "s". */
const timesBy =
  (name: "utimes" | "lutimes", look: "stat" | "lstat"): SetTimes =>
  async (path, atime, mtime) => {
    const checked = toPath(path);
    const withTimes = bunTimes(atime, mtime);
    const set = (accessed: BunTime, modified: BunTime): Promise<void> => bun[name](checked, accessed, modified);
    const done = withTimes(() => bun[look](checked), set);
    await told(name.slice(0, -1), checked, done);
  };

export const utimes: SetTimes = timesBy("utimes", "stat");
export const lutimes: SetTimes = timesBy("lutimes", "lstat");

export async function link(existingPath: PathLike, newPath: PathLike): Promise<void> {
  const existing = toPath(existingPath, "existingPath");
  await currentBackend().link(existing, toPath(newPath, "newPath"));
}

export async function symlink(target: PathLike, path: PathLike, type?: string | null): Promise<void> {
  validateOneOf(type, "type", ["dir", "file", "junction", null, undefined]);
  const text = toPath(target, "target");
  await currentBackend().symlink(text, toPath(path, "path"));
}

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

export const readlink: NodePromises["readlink"] = async (path: PathLike, options?: unknown): Promise<any> => {
  const { encoding } = fileOptions(options);
  const checked = toPath(path, "oldPath"); // so Node names it
  return currentBackend().readlink(checked, encoding);
};

export const realpath: NodePromises["realpath"] = async (path: PathLike, options?: unknown): Promise<any> => {
  const { encoding } = fileOptions(options);
  const checked = toPath(path);
  return currentBackend().realpath(checked, encoding);
};

export const statfs: NodePromises["statfs"] = async (path: PathLike, options: StatFsOptions = {}): Promise<any> => {
  const checked = toPath(path);
  if (options === null) validateObject(options, "options"); // and anything else is none, as in Node
  const bigint = options.bigint === true;
  return told("statfs", checked, bun.statfs(checked, { bigint }));
};
