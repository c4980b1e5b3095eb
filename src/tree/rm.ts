// rm: removes a file, a link or a whole folder, with Node's options, retries and errors. The backend removes; here is what
// Node promises about it.
// Assumes nothing of its arguments.

import type { PathLike, RmOptions } from "node:fs";
import { currentBackend } from "../backend/choose.ts";
import type { Backend, Path } from "../backend/interface.ts";
import { validateBoolean, validateInteger, validateObject } from "../node/arguments.ts";
import { refusal } from "../node/cp-errors.ts";
import { endsInDot } from "../node/dots.ts";
import { errnoOf, systemError } from "../node/errors.ts";
import { toPath } from "../node/path.ts";

/** Errors that may pass when somebody else is at work in the same tree. */
const RETRIED = new Set(["EBUSY", "EMFILE", "ENFILE", "ENOTEMPTY", "EPERM"]);
const DEFAULTS = { force: false, recursive: false, retryDelay: 100, maxRetries: 0 };

/**
 * Removes a file or symbolic link; with `recursive` also a folder with all in it. `force` is silent about what is
 * missing. EBUSY, EMFILE, ENFILE, ENOTEMPTY and EPERM are tried again `maxRetries` times (default 0), waiting `retryDelay`
 * (default 100) milliseconds longer each time; only with `recursive`, as in Node. Nothing outside the tree is touched,
 * whoever exchanges its folders for links meanwhile. Rejects with the first failure.
 */
export async function rm(path: PathLike, options: RmOptions = {}): Promise<void> {
  const checked = toPath(path);
  validateObject(options, "options");
  const { force, recursive, retryDelay, maxRetries } = { ...DEFAULTS, ...options };
  validateBoolean(force, "options.force");
  validateBoolean(recursive, "options.recursive");
  validateInteger(retryDelay, "options.retryDelay", 0, 2 ** 31 - 1);
  validateInteger(maxRetries, "options.maxRetries", 0, 2 ** 32 - 1);
  const backend = currentBackend();
  try {
    if (recursive && endsInDot(checked)) await removeDot(backend, checked);
    else if (recursive) await persist(() => backend.removeTree(checked), maxRetries, retryDelay);
    else await removeEntry(backend, checked);
  } catch (error) {
    if (!force || !isMissing(error)) throw error;
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;
/** The path itself was not there when it was looked at first. */
const isMissing = (error: unknown): boolean =>
  codeOf(error) === "ENOENT" && (error as NodeJS.ErrnoException).syscall === "lstat";

/** Nothing is removed: the folder itself could not be, in the end. */
async function removeDot(backend: Backend, path: Path): Promise<never> {
  await backend.lstat(path, false);
  throw systemError(errnoOf("EINVAL"), "rmdir", path);
}

async function removeEntry(backend: Backend, path: Path): Promise<void> {
  if ((await backend.lstat(path, false)).isDirectory())
    throw refusal("ERR_FS_EISDIR", "rm", "EISDIR", "is a directory", path);
  try {
    await backend.unlink(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error; // gone meanwhile
  }
}

/** What may pass is tried again, as often as `maxRetries` for each path that stands in the way. */
async function persist(remove: () => Promise<void>, maxRetries: number, retryDelay: number): Promise<void> {
  let stuck: string | undefined;
  for (let tries = 1; ; tries++) {
    try {
      return await remove();
    } catch (error) {
      const { code, path } = error as NodeJS.ErrnoException;
      if (stuck !== undefined && isMissing(error)) return; // somebody else has done it meanwhile
      if (path !== stuck) tries = 1;
      stuck = path;
      if (tries > maxRetries || !RETRIED.has(code!)) throw error;
      await Bun.sleep(retryDelay * tries);
    }
  }
}
