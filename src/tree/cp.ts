// cp: Node's options, order of checks, refusals and results; a folder's entries are copied many at once (tree/cp-tree.ts).
// Assumes nothing of its arguments. What Node refuses before it copies anything is refused here, in Node's order.

import type { CopyOptions } from "node:fs";
import { dirname, parse, resolve } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import { makePath } from "../fs/mkdir-recursive.ts";
import {
  codedError,
  invalidArgType,
  validateBoolean,
  validateFunction,
  validateInteger,
  validateObject,
} from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { refusal } from "../node/cp-errors.ts";
import { told } from "../node/errors.ts";
import { isDirectory } from "../node/file-info.ts";
import { FOLDER_MODE } from "../node/open-flags.ts";
import { toPath } from "../node/path.ts";
import { CopyRun, type CpRequest, refusePair, statOf } from "./cp-tree.ts";
import { intoItself, isWithin, realTarget } from "./overlap.ts";

const FLAGS = ["dereference", "errorOnExist", "force", "preserveTimestamps", "recursive", "verbatimSymlinks"] as const;
const DEFAULTS: CpRequest = {
  dereference: false,
  errorOnExist: false,
  filter: undefined,
  force: true,
  mode: 0,
  preserveTimestamps: false,
  recursive: false,
  verbatimSymlinks: false,
};

/**
 * Copies a file, a symbolic link or, with `recursive`, a folder with all in it; missing folders above `dest` are made.
 * - `dereference` (false): copies what symbolic links lead to. `verbatimSymlinks` (false): keeps relative targets of
 *   copied links as they are; else they are made absolute. Not both.
 * - `force` (true): replaces files that are there. Without it they stay, or with `errorOnExist` (false) are refused.
 * - `filter`: called with each source and target, may be asynchronous; what it is not true for is left out.
 * - `mode` (0): COPYFILE_EXCL, COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE for each file.
 * - `preserveTimestamps` (false): files and folders keep their times; links get new ones.
 * Rejects with the first failure, when everything that was going on has ended: ERR_FS_EISDIR for a folder without
 * `recursive`, ERR_FS_CP_* for what would end badly, else the error of the system.
 */
export async function cp(src: string | URL, dest: string | URL, options?: CopyOptions): Promise<void> {
  const request = cpRequest(options);
  const from = textPath(src, "src");
  const to = textPath(dest, "dest");
  if (request.filter !== undefined && !(await request.filter(from, to))) return;
  const backend = currentBackend();
  const info = await statOf(backend, from, request, true);
  const there = await statOf(backend, to, request, false);
  refusePair(info, there, from, to);
  if (isDirectory(info) && isWithin(to, from)) throw intoItself(from, to);
  await refuseAncestor(info.identity, from, to);
  if (isDirectory(info)) await refuseAlias(from, to);
  const parent = dirname(to);
  if ((await statOf(backend, parent, FOLLOWING, false)) === null) await makePath(backend, parent, FOLDER_MODE);
  if (isDirectory(info) && !request.recursive)
    throw refusal("ERR_FS_EISDIR", "cp", "EISDIR", `${from} is a directory (not copied)`, from);
  await new CopyRun(backend, request, from, to).run(info, there);
}

const FOLLOWING = { dereference: true };

function cpRequest(options: unknown): CpRequest {
  if (options === undefined) return DEFAULTS;
  validateObject(options, "options");
  const request: CpRequest = { ...DEFAULTS, ...options };
  for (const flag of FLAGS) validateBoolean(request[flag], `options.${flag}`);
  request.mode ??= 0;
  validateInteger(request.mode, "mode", 0, 7);
  if (request.dereference && request.verbatimSymlinks) {
    const message = 'Option "dereference" cannot be used in combination with option "verbatimSymlinks"';
    throw codedError(TypeError, "ERR_INCOMPATIBLE_OPTION_PAIR", message);
  }
  if (request.filter !== undefined) validateFunction(request.filter, "options.filter");
  return request;
}

/** cp compares paths, and so, in Node too, takes no bytes. */
function textPath(path: unknown, name: string): string {
  const checked = toPath(path, name);
  if (typeof checked !== "string") throw invalidArgType("path", "string", checked);
  return checked;
}

/**
 * No folder above `to` may be the source, by whatever name: links make that possible. (Node stops looking at the first that
 * is missing, and then copies the tree into itself until names are too long.)
 */
async function refuseAncestor(identity: string, from: string, to: string): Promise<void> {
  const stop = resolve(dirname(from));
  let parent = resolve(dirname(to));
  // Node names the folder that was looked at last, not `to` itself.
  for (let below = to; parent !== stop && parent !== parse(parent).root; parent = dirname(parent)) {
    const info = await statOf(currentBackend(), parent, FOLLOWING, false);
    if (info?.identity === identity) throw intoItself(from, below);
    below = parent;
  }
}

/** Nor may it lie in the source by a link to a folder within that. (Node and Bun copy such a tree until paths are too long.) */
async function refuseAlias(from: string, to: string): Promise<void> {
  const source = await told("realpath", from, bun.realpath(from, { encoding: "buffer" }));
  if (isWithin(await realTarget(to), source)) throw intoItself(from, to);
}
