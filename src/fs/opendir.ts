// opendir: a Dir of node:fs over the folder that was opened, whatever its path leads to later. It is listed at the first
// read, by its descriptor; links are entries and are never entered.
// Assumes nothing of its arguments.

import type { Dir, Dirent, OpenDirOptions, PathLike } from "node:fs";
import { currentBackend } from "../backend/choose.ts";
import type { OpenFile } from "../backend/interface.ts";
import { disown } from "../handle/finalizer.ts";
import { codedError, validateFunction, validateInteger } from "../node/arguments.ts";
import { bunFs } from "../node/bun-fs.ts";
import { nextTick } from "../node/clock.ts";
import { retold } from "../node/errors.ts";
import { folderOptions } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { direntsOf, direntsOfSync, type Listing } from "./dirent.ts";

// As they were at load: a program may put others in their place.
const { O_RDONLY, O_DIRECTORY } = bunFs.constants;
const { closeSync } = bunFs;
/** A descriptor that Bun's own Dir never closes. */
const NOBODYS = 2;

/** Opens a folder to be read entry by entry: a Dir of node:fs, which is iterated and closes itself at the end. */
export async function opendir(path: PathLike, options?: OpenDirOptions): Promise<Dir> {
  const checked = toPath(path);
  const { encoding, bufferSize, recursive } = folderOptions(options) as OpenDirOptions & { encoding: string };
  if (bufferSize !== undefined) validateInteger(bufferSize, "options.bufferSize", 1, 2 ** 32 - 1);
  let folder: OpenFile;
  try {
    folder = await currentBackend().open(checked, O_RDONLY | O_DIRECTORY, 0);
  } catch (error) {
    throw retold(error, "opendir", checked);
  }
  return new OpenedDir(folder, { path: checked, encoding, recursive: Boolean(recursive) });
}

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void;

const unclosed = new FinalizationRegistry((folder: OpenFile) => {
  if (folder.fd >= 0) closeSync(disown(folder));
});

// Bun's, so that it is an instance of fs.Dir; all that it does is done anew.
class OpenedDir extends (bunFs.Dir as unknown as new (fd: number, path: unknown, options: object) => Dir) {
  readonly #folder: OpenFile;
  readonly #listing: Listing;
  #entries: Dirent[] | null = null;
  #next = 0;
  #closed = false;
  /** Asynchronous calls that have not ended; each waits for the one before it. */
  #pending = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(folder: OpenFile, listing: Listing) {
    super(NOBODYS, listing.path, {});
    this.#folder = folder;
    this.#listing = listing;
    unclosed.register(this, folder, folder);
  }

  override read(done?: Done<Dirent | null>): any {
    const read = async (): Promise<Dirent | null> => {
      this.#mustBeOpen();
      this.#entries ??= await this.#list();
      return this.#take();
    };
    return this.#ask(read, done);
  }

  override readSync(): Dirent | null {
    this.#mustBeAlone();
    this.#entries ??= this.#listSync();
    return this.#take();
  }

  override close(done?: Done<void>): any {
    const close = async (): Promise<void> => {
      this.#forget();
      await currentBackend().close(this.#folder);
    };
    return this.#ask(close, done);
  }

  override closeSync(): void {
    this.#mustBeAlone();
    this.#forget();
    closeSync(disown(this.#folder));
  }

  override async *[Symbol.asyncIterator](): NodeJS.AsyncIterator<Dirent> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry;
    } finally {
      await this[Symbol.asyncDispose]();
    }
  }

  override [Symbol.dispose](): void {
    if (!this.#closed) this.closeSync();
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) await this.close();
  }

  #take(): Dirent | null {
    return this.#entries![this.#next++] ?? null;
  }

  async #list(): Promise<Dirent[]> {
    try {
      return await direntsOf(this.#folder, this.#listing);
    } catch (error) {
      throw this.#told(error);
    }
  }

  /** An error below the folder carries the path from it. */
  #told(error: unknown): unknown {
    const { syscall, path } = error as NodeJS.ErrnoException;
    const top = this.#listing.path.toString();
    return retold(error, syscall!, path === undefined ? top : `${top}/${path}`);
  }

  #listSync(): Dirent[] {
    try {
      return direntsOfSync(this.#folder.fd, this.#listing);
    } catch (error) {
      throw retold(error, "scandir", this.#listing.path);
    }
  }

  /** Runs after what was asked before it. With a callback, wrong use is thrown, as in Node. */
  #ask<T>(work: () => Promise<T>, done?: Done<T>): Promise<T> | undefined {
    if (done !== undefined && done !== null) {
      validateFunction(done, "callback");
      this.#mustBeOpen();
    }
    this.#pending++;
    const result = this.#last.then(work).finally(() => {
      this.#pending--;
    });
    this.#last = result.catch(() => {});
    if (done === undefined || done === null) return result;
    const tell = (...told: unknown[]): void => nextTick(() => (done as (...told: unknown[]) => void)(...told));
    result.then(
      (value) => (value === undefined ? tell(null) : tell(null, value)),
      (error: Error) => tell(error),
    );
    return undefined;
  }

  #mustBeOpen(): void {
    if (this.#closed) throw codedError(Error, "ERR_DIR_CLOSED", "Directory handle was closed");
  }

  #mustBeAlone(): void {
    this.#mustBeOpen();
    if (this.#pending === 0) return;
    const message = "Cannot do synchronous work on directory handle with concurrent asynchronous operations";
    throw codedError(Error, "ERR_DIR_CONCURRENT_OPERATION", message);
  }

  #forget(): void {
    this.#mustBeOpen();
    this.#closed = true;
    unclosed.unregister(this.#folder);
  }
}
Object.defineProperty(OpenedDir, "name", { value: "Dir" });
