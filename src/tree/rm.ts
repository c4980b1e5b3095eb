// rm: removes a file, a link or a whole folder, many entries at once, with Node's options, retries and errors.
// Names are not asked for their type: unlink says of a folder that it is one (EISDIR), for less than a stat costs.
// Assumes nothing of its arguments. Never follows a symbolic link: what is not a folder is unlinked by its name.

import type { PathLike, RmOptions } from "node:fs";
import { currentBackend } from "../backend/choose.ts";
import type { Backend, Path } from "../backend/interface.ts";
import { unlinkMany } from "../backend/uring/unlink-many.ts";
import { validateBoolean, validateInteger, validateObject } from "../node/arguments.ts";
import { refusal } from "../node/cp-errors.ts";
import { toPath } from "../node/path.ts";
import { type Name, namesIn, pathIn } from "./listing.ts";

/** Entries of one folder that are being removed at a time, where that goes one by one. */
const LANES = 64;
/** Folders whose names are read or removed at a time. */
const FOLDERS = 128;
/** Errors that may pass when somebody else is at work in the same tree. */
const RETRIED = new Set(["EBUSY", "EMFILE", "ENFILE", "ENOTEMPTY", "EPERM"]);
/** What rmdir says of a folder that has something in it (or can't be removed: then its entries may tell more). */
const NOT_EMPTY = new Set(["ENOTEMPTY", "EEXIST", "EPERM"]);
const DEFAULTS = { force: false, recursive: false, retryDelay: 100, maxRetries: 0 };

/**
 * Removes a file or symbolic link; with `recursive` also a folder with all in it. `force` is silent about what is
 * missing. EBUSY, EMFILE, ENFILE, ENOTEMPTY and EPERM are tried again `maxRetries` times (default 0), waiting `retryDelay`
 * (default 100) milliseconds longer each time; only with `recursive`, as in Node. Rejects with the first failure, when
 * everything that was going on has ended.
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
  let isFolder: boolean;
  try {
    isFolder = (await backend.lstat(checked, false)).isDirectory();
  } catch (error) {
    if (force && codeOf(error) === "ENOENT") return;
    throw error;
  }
  if (isFolder && !recursive) throw refusal("ERR_FS_EISDIR", "rm", "EISDIR", "is a directory", checked);
  const removal = new Removal(backend, recursive ? maxRetries : 0, retryDelay);
  await (isFolder ? removal.tree(checked) : removal.entry(checked));
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "";

class Removal {
  readonly #backend: Backend;
  readonly #maxRetries: number;
  readonly #retryDelay: number;
  #failure: { error: unknown } | null = null;
  /** Folders being read or emptied, and those that wait for it: the last to come is the first to go, so that few wait. */
  #busy = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(backend: Backend, maxRetries: number, retryDelay: number) {
    this.#backend = backend;
    this.#maxRetries = maxRetries;
    this.#retryDelay = retryDelay;
  }

  /** Removes what was no folder a moment ago. */
  entry(path: Path): Promise<void> {
    return this.#persist(() => this.#backend.unlink(path));
  }

  async tree(path: Path): Promise<void> {
    await this.#folder(path);
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Runs `attempt`; what is gone already is done, what may pass is tried again. */
  async #persist(attempt: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt();
      } catch (error) {
        const code = codeOf(error);
        if (code === "ENOENT") return;
        if (tries > this.#maxRetries || !RETRIED.has(code) || this.#failure !== null) throw error;
        await Bun.sleep(this.#retryDelay * tries);
      }
    }
  }

  /** Removes a folder: the names in it, then the folders in it, then itself. Never rejects; a failure stops everything. */
  async #folder(path: Path): Promise<void> {
    try {
      await this.#persist(async () => {
        const folders = await this.#empty(path);
        if (folders === null) return;
        await Promise.all(folders.map((folder) => this.#folder(folder)));
        if (this.#failure === null) await this.#backend.rmdir(path);
      });
    } catch (error) {
      this.#failure ??= { error };
    }
  }

  /** Removes all names in a folder but those of folders, which are returned. Null if the folder itself is gone, too. */
  async #empty(path: Path): Promise<Path[] | null> {
    if (this.#busy >= FOLDERS) await new Promise<void>((go) => this.#waiting.push(go));
    else this.#busy++;
    try {
      if (this.#failure !== null) return null;
      const names = await this.#namesIn(path);
      if (names === null || this.#failure !== null) return null;
      const folders: Path[] = [];
      const many = this.#backend.name === "io_uring" ? unlinkMany(path, names) : null;
      if (many === null) {
        await this.#inLanes(names, (name) => this.#unlinkUnlessFolder(pathIn(path, name), folders));
        return folders;
      }
      const unlinked = await many;
      if (unlinked.removed) return null;
      for (const i of unlinked.folders) folders.push(pathIn(path, names[i]!));
      // Again the plain way, which has the retries and says what is wrong.
      await this.#inLanes(unlinked.failed, (i) => this.#unlinkUnlessFolder(pathIn(path, names[i]!), folders));
      return folders;
    } finally {
      const next = this.#waiting.pop();
      if (next === undefined) this.#busy--;
      else next();
    }
  }

  /** The names in a folder; null if it could be removed although it can't be read. */
  async #namesIn(path: Path): Promise<readonly Name[] | null> {
    try {
      return await namesIn(path);
    } catch (error) {
      if (codeOf(error) === "ENOENT") throw error;
      try {
        await this.#backend.rmdir(path);
        return null;
      } catch (reason) {
        throw NOT_EMPTY.has(codeOf(reason)) ? error : reason;
      }
    }
  }

  async #unlinkUnlessFolder(path: Path, folders: Path[]): Promise<void> {
    try {
      await this.entry(path);
    } catch (error) {
      if (codeOf(error) !== "EISDIR") {
        // Without the right to change the folder, unlink doesn't say what a name is. Of a folder, rmdir's error counts.
        const stats = await this.#backend.lstat(path, false).catch(() => null);
        if (!stats?.isDirectory()) throw error;
        await this.#backend.rmdir(path).catch((reason: unknown) => {
          if (!NOT_EMPTY.has(codeOf(reason))) throw reason;
          folders.push(path);
        });
        return;
      }
      folders.push(path);
    }
  }

  /** Calls `work` for each item, some at a time. After a failure no more are begun; rejects when all begun have ended. */
  async #inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    let next = 0;
    const failures: unknown[] = [];
    const lane = async (): Promise<void> => {
      while (next < items.length && failures.length === 0 && this.#failure === null) {
        try {
          await work(items[next++]!);
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(LANES, items.length) }, lane));
    if (failures.length > 0) throw failures[0];
  }
}
