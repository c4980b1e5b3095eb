// rm: removes a file, a link or a whole folder, many entries at once, with Node's options, retries and errors.
// Assumes nothing of its arguments. Never follows a symbolic link: what is not a folder is unlinked by its name.

import type { PathLike, RmOptions } from "node:fs";
import * as bun from "node:fs/promises";
import { currentBackend } from "./backend.ts";
import type { Backend, Path } from "./backend-interface.ts";
import { delegate, ownPath } from "./delegated.ts";
import { errnoOf } from "./errno.ts";
import { codedError, validateBoolean, validateInteger, validateObject } from "./validate.ts";

/** Entries of one folder that are being removed at a time, and folders: 2 × 64 operations never fill the ring. */
const LANES = 64;
const FOLDERS = 8;
/** Errors that may pass when somebody else is at work in the same tree. */
const RETRIED = new Set(["EBUSY", "EMFILE", "ENFILE", "ENOTEMPTY", "EPERM"]);
/** How JavaScript shows bytes that are no UTF-8: such names have to be read again as they are. */
const REPLACED = "\ufffd";

interface Removal {
  backend: Backend;
  maxRetries: number;
  retryDelay: number;
}

/**
 * Removes a file or symbolic link; with `recursive` also a folder with all in it. `force` is silent about what is
 * missing. EBUSY, EMFILE, ENFILE, ENOTEMPTY and EPERM are tried again `maxRetries` times (default 0), waiting `retryDelay`
 * (default 100) milliseconds longer each time; only with `recursive`, as in Node.
 */
export async function rm(path: PathLike, options: RmOptions = {}): Promise<void> {
  const checked = ownPath(path);
  validateObject(options, "options");
  const { force = false, recursive = false, retryDelay = 100, maxRetries = 0 } = options;
  validateBoolean(force, "options.force");
  validateBoolean(recursive, "options.recursive");
  validateInteger(retryDelay, "options.retryDelay", 0, 2 ** 31 - 1);
  validateInteger(maxRetries, "options.maxRetries", 0, 2 ** 32 - 1);
  const backend = currentBackend();
  let isFolder: boolean;
  try {
    isFolder = (await backend.lstat(checked, false)).isDirectory();
  } catch (error) {
    if (force && codeOf(error) === "ENOENT") return;
    throw error;
  }
  if (isFolder && !recursive) throw isDirectory(checked);
  const removal = { backend, maxRetries: recursive ? maxRetries : 0, retryDelay };
  if (isFolder) await removeFolder(removal, checked);
  else await removeEntry(removal, checked);
}

function isDirectory(path: Path): Error {
  const message = `Path is a directory: rm returned EISDIR (is a directory) ${path}`;
  const info = {
    code: "EISDIR",
    message: "is a directory",
    path: String(path),
    syscall: "rm",
    errno: -errnoOf("EISDIR"),
  };
  const error = codedError(Error, "ERR_FS_EISDIR", message);
  return Object.assign(error, { name: "SystemError", info, errno: info.errno, syscall: info.syscall, path: info.path });
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Runs `attempt`; what is gone already is done, what may pass is tried again. */
async function persist(removal: Removal, attempt: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOENT") return;
      if (tries > removal.maxRetries || !RETRIED.has(code ?? "")) throw error;
      await Bun.sleep(removal.retryDelay * tries);
    }
  }
}

/** Removes what is not known to be a folder. */
function removeEntry(removal: Removal, path: Path): Promise<void> {
  return persist(removal, () => removal.backend.unlink(path));
}

/** Removes a folder: its entries, many at a time, then the folders in it, then itself. */
async function removeFolder(removal: Removal, folder: Path): Promise<void> {
  await persist(removal, async () => {
    const paths = await entriesOf(folder);
    const folders: Path[] = [];
    // unlink says of a folder that it is one: cheaper than asking for the type of every entry first.
    await inLanes(paths, LANES, async (path) => {
      try {
        await removeEntry(removal, path);
      } catch (error) {
        if (codeOf(error) !== "EISDIR") throw error;
        folders.push(path);
      }
    });
    await inLanes(folders, FOLDERS, (path) => removeFolder(removal, path));
    await removal.backend.rmdir(folder);
  });
}

async function entriesOf(folder: Path): Promise<Path[]> {
  const names = await delegate("scandir", folder, () => bun.readdir(folder));
  if (typeof folder === "string" && !names.some((name) => name.includes(REPLACED)))
    return names.map((name) => `${folder}/${name}`);
  const raw = await delegate("scandir", folder, () => bun.readdir(folder, { encoding: "buffer" }));
  const prefix = Buffer.concat([Buffer.from(folder), Buffer.from("/")]);
  return (raw as Buffer[]).map((name) => Buffer.concat([prefix, name]));
}

/** Calls `work` for each item, `width` at a time. After a failure no more are begun; rejects when all begun have ended. */
async function inLanes<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failure: { error: unknown } | null = null;
  const lane = async (): Promise<void> => {
    while (next < items.length && failure === null) {
      try {
        await work(items[next++]!);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  if (failure !== null) throw (failure as { error: unknown }).error;
}
