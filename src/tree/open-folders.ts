// The folders of a tree that is walked, by descriptors: each is opened O_NOFOLLOW beneath its parent, and names in it are
// reached through its descriptor. A bounded number is open at a time; one that is closed is opened again the same way, and
// must be the same folder then.
// Assumes /proc, through which node:fs and the ring reach a name in an open folder alike.

import type { Backend, OpenFile, Path } from "../backend/interface.ts";
import { orClose } from "../backend/loops.ts";
import { errnoOf, systemError } from "../node/errors.ts";
import { constants } from "../node/file-info.ts";
import { pathIn } from "../node/path.ts";

export type Name = string | Buffer;

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
/** Folders that are open although nobody uses them just now. */
const IDLE = 64;

/** One folder of a tree. */
export class TreeFolder {
  readonly parent: TreeFolder | null;
  readonly name: Name;
  /** The path that users see. */
  readonly shown: Path;
  /** Its last name may be a link: at the root, or where links are followed. */
  readonly follow: boolean;
  identity: string | null = null;
  file: OpenFile | null = null;
  opening: Promise<OpenFile> | null = null;
  users = 0;

  constructor(parent: TreeFolder | null, name: Name, shown: Path, follow: boolean) {
    this.parent = parent;
    this.name = name;
    this.shown = shown;
    this.follow = follow;
  }
}

/** How a name in a folder that is in use is reached, whatever the folder's path leads to by now. */
export const beneath = (folder: TreeFolder, name: Name): Path => pathIn(`/proc/self/fd/${folder.file!.fd}`, name);

export class OpenFolders {
  readonly #backend: Backend;
  /** Open and not in use, the longest idle first. */
  readonly #idle: Set<TreeFolder> = new Set();
  readonly #closing: Set<Promise<unknown>> = new Set();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** The open folder, until `release`. Rejects with `scandir` and the path that users see. */
  async use(folder: TreeFolder): Promise<OpenFile> {
    folder.users++;
    this.#idle.delete(folder);
    if (folder.file !== null) return folder.file;
    folder.opening ??= this.#open(folder).finally(() => {
      folder.opening = null;
    });
    try {
      return await folder.opening;
    } catch (error) {
      folder.users--;
      throw error;
    }
  }

  /** Acts while the folder is in use. */
  async whileOpen<T>(folder: TreeFolder, act: (file: OpenFile) => Promise<T>): Promise<T> {
    const file = await this.use(folder);
    try {
      return await act(file);
    } finally {
      this.release(folder);
    }
  }

  release(folder: TreeFolder): void {
    if (--folder.users > 0) return;
    this.#idle.add(folder);
    if (this.#idle.size <= IDLE) return;
    for (const oldest of this.#idle) return this.#shut(oldest);
  }

  /** Nothing in the folder is left to be done. */
  forget(folder: TreeFolder): void {
    if (folder.users === 0 && folder.file !== null) this.#shut(folder);
  }

  /** Closes all. Resolves when they are closed. */
  async end(): Promise<void> {
    for (const folder of this.#idle) this.#shut(folder);
    await Promise.all(this.#closing);
  }

  #shut(folder: TreeFolder): void {
    const { file } = folder;
    folder.file = null;
    this.#idle.delete(folder);
    if (file === null) return;
    const closing: Promise<unknown> = this.#backend
      .close(file)
      .catch(() => {})
      .then(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  async #open(folder: TreeFolder): Promise<OpenFile> {
    const { parent, name, shown, follow } = folder;
    const flags = O_RDONLY | O_DIRECTORY | (follow ? 0 : O_NOFOLLOW);
    let file: OpenFile;
    try {
      file = await (parent === null
        ? this.#backend.open(name, flags, 0)
        : this.whileOpen(parent, () => this.#backend.open(beneath(parent, name), flags, 0)));
    } catch (error) {
      const { errno, syscall } = error as NodeJS.ErrnoException;
      throw typeof errno === "number" && syscall === "open" ? systemError(errno, "scandir", shown) : error;
    }
    const { identity } = await orClose(this.#backend, file, async () => {
      const info = await this.#backend.info(file);
      if (folder.identity === null || folder.identity === info.identity) return info;
      throw systemError(errnoOf("EBUSY"), "scandir", shown); // another one has come into its place
    });
    folder.identity = identity;
    folder.file = file;
    return file;
  }
}
