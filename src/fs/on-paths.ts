// The functions of node:fs/promises on paths alone: stat, lstat, mkdir, rename, unlink, rmdir. Validates, then calls the backend.
// The usual calls of stat return the backend's promise itself; an argument error is a rejection, as it is of Node's async
// functions, and nothing has been queued then. What each does is said in promises.ts.

import type { PathLike } from "node:fs";
import type * as node from "node:fs/promises";
import { cancellable, currentBackend } from "../backend/choose.ts";
import { abortable, type Limits, limited, throwIfAborted } from "../node/abort.ts";
import { invalidArgValue, validateBoolean, validateObject } from "../node/arguments.ts";
import { FOLDER_MODE, parseMode } from "../node/open-flags.ts";
import { statOptions } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { makePath } from "./mkdir-recursive.ts";

type NodePromises = typeof node;

export const stat: NodePromises["stat"] = (path: unknown, options?: unknown): Promise<any> => {
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
};

/** One operation on a path, within its limits if it has some. */
function within<T>(limits: Limits | null, syscall: string, path: string | Buffer, start: () => Promise<T>): Promise<T> {
  if (limits === null) return start();
  return limited(limits, syscall, (signal) => abortable(cancellable(start, signal), signal), path);
}

function undefinedIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
}

export const lstat: NodePromises["lstat"] = (path: unknown, options?: unknown): Promise<any> => {
  try {
    if (options === undefined) return currentBackend().lstat(toPath(path), false);
    const { bigint, limits } = statOptions(options);
    throwIfAborted(limits?.signal);
    const checked = toPath(path);
    return within(limits, "lstat", checked, () => currentBackend().lstat(checked, bigint));
  } catch (error) {
    return Promise.reject(error);
  }
};

export const mkdir: NodePromises["mkdir"] = (path: unknown, options?: unknown): Promise<any> => {
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
};

export function rename(oldPath: PathLike, newPath: PathLike): Promise<void> {
  try {
    const from = toPath(oldPath, "oldPath");
    return currentBackend().rename(from, toPath(newPath, "newPath"));
  } catch (error) {
    return Promise.reject(error);
  }
}

export function unlink(path: PathLike): Promise<void> {
  try {
    return currentBackend().unlink(toPath(path));
  } catch (error) {
    return Promise.reject(error);
  }
}

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
