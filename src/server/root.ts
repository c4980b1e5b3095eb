// Root: file operations that can't leave a folder, whatever names they are given and whatever is swapped meanwhile.
// The kernel does the keeping: every open is OPENAT2 with RESOLVE_BENEATH from the folder's descriptor. What has no such form
// (mkdir, unlink, rename …) opens the parent that way and then acts on the last component, which is never followed.
// Never resolves a name by itself, never compares paths, and has no weaker way for where the kernel has none.

import type { Dir, Dirent, OpenMode, ReadStream, RmOptions, Stats, WriteStream } from "node:fs";
import { currentBackend } from "../backend/choose.ts";
import type { Backend, OpenFile, Path } from "../backend/interface.ts";
import { withFile } from "../backend/loops.ts";
import { type AtomicOptions, writeFileAtomic } from "../durable/atomic.ts";
import { sweepOnce } from "../durable/temporary.ts";
import { readdir } from "../fs/directory.ts";
import { direntsOf } from "../fs/dirent.ts";
import { makeEach } from "../fs/mkdir-recursive.ts";
import { adopt } from "../fs/open.ts";
import { opendir } from "../fs/opendir.ts";
import { thenClose } from "../fs/whole-file.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import {
  constants,
  O_PATH,
  O_TMPFILE,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "../kernel/constants.ts";
import { invalidArgValue, validateObject, validateOneOf } from "../node/arguments.ts";
import { EINVAL } from "../node/errno.ts";
import { retold, systemError } from "../node/errors.ts";
import { FILE_MODE, FOLDER_MODE, parseFlags, parseMode } from "../node/open-flags.ts";
import type { DataChunks, HandleReadOptions, WholeData } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { createReadStream, createWriteStream } from "../streams/node-stream.ts";
import { copyFile } from "../tree/copy-file.ts";
import { rm } from "../tree/rm.ts";
import { checkName, type Name, named, OutsideRootError, procPath, rootClosed, splitName } from "./names.ts";
import { type Received, type ReceiveOptions, receiveBody } from "./receive-body.ts";
import type {
  RootOptions,
  RootReaddirOptions,
  RootReadStreamOptions,
  RootWriteOptions,
  RootWriteStreamOptions,
} from "./root-options.ts";
import { streamBeneath } from "./root-streams.ts";

const { COPYFILE_EXCL, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
/** How often a look-up that raced with a rename is repeated before EAGAIN is the answer. */
const MAX_RACES = 16;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Roots that were never closed give their descriptor back when they have been collected. */
const collected = new FinalizationRegistry<OpenFile>((file) => {
  currentBackend()
    .close(file)
    .catch(() => {});
});

/**
 * Opens a folder as a root. Rejects with the folder's own error, and with ERR_FEATURE_UNAVAILABLE_ON_PLATFORM where neither
 * io_uring nor openat2(2) (Linux 5.6) can be had: containment is the kernel's, or there is no root.
 */
export async function openRoot(folder: string | Uint8Array | URL, options: RootOptions = {}): Promise<Root> {
  const path = toPath(folder, "folder");
  validateObject(options, "options");
  const { symlinks = "inside" } = options;
  validateOneOf(symlinks, "options.symlinks", ["inside", "never"]);
  const backend = currentBackend();
  const file = await backend.open(path, O_PATH | O_DIRECTORY, 0);
  const root = new Root(backend, file, symlinks);
  try {
    await root.stat(".");
  } catch (error) {
    await root.close();
    throw error;
  }
  sweepOnce(path); // what a crash has left of files that were to be published
  return root;
}

/** What `serveFile` and the writers of this room need of a root beyond its methods. */
interface RootInternals {
  readonly backend: Backend;
  /** The folder's descriptor (O_PATH). */
  readonly folder: OpenFile;
  /** RESOLVE_ flags of every open. */
  readonly resolve: number;
  /** Opens a name for reading, or as `flags` say, with the root's own errors. */
  readonly open: (name: string, flags: number) => Promise<OpenFile>;
  /** Called once, when the root is closed. */
  readonly onClose: Set<() => void>;
}

/** Runs an operation on a name's last component, by a path through its open parent: for what writes beneath a root. */
export let inParentOf: <T>(root: Root, name: string | Buffer, act: (path: Path) => Promise<T>) => Promise<T>;

/** The state behind a root; throws if it is closed. */
export let internalsOf: (root: Root) => RootInternals;

/**
 * A folder that no operation leaves. Names are relative to it; absolute ones, `..` that leads out, NUL bytes and links that
 * lead out are refused with ERR_OUTSIDE_ROOT (`cause`: the kernel's error). Other errors are Node's, with the name as `path`.
 */
export class Root {
  readonly #backend: Backend;
  readonly #folder: OpenFile;
  readonly #resolve: number;
  readonly #onClose: Set<() => void> = new Set();
  /** Who keeps names inside: always the kernel (openat2(2), RESOLVE_BENEATH). */
  readonly containment = "kernel";
  readonly symlinks: "inside" | "never";

  static {
    inParentOf = (root, name, act) => root.#inParent(name, act);
    internalsOf = (root) => {
      if (root.#folder.fd < 0) throw rootClosed();
      return {
        backend: root.#backend,
        folder: root.#folder,
        resolve: root.#resolve,
        open: (name, flags) => root.#open(checkName(name), flags, 0),
        onClose: root.#onClose,
      };
    };
  }

  /** Roots come from `openRoot`. */
  constructor(backend: Backend, folder: OpenFile, symlinks: "inside" | "never") {
    this.#backend = backend;
    this.#folder = folder;
    this.symlinks = symlinks;
    this.#resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (symlinks === "never" ? RESOLVE_NO_SYMLINKS : 0);
    collected.register(this, folder, folder);
  }

  /** Opens a file. `flags` as node:fs takes them (default "r"); the handle's `procPath` names it for Bun's own APIs. */
  async open(name: Name, flags?: OpenMode | null, mode?: number | string | null): Promise<FileHandle> {
    return adopt(await this.#open(checkName(name), parseFlags(flags), parseMode(mode, "mode", FILE_MODE)));
  }

  /** A whole file: a Buffer, or a string if an encoding is given. */
  readFile(name: Name, options?: (HandleReadOptions & { encoding?: null | undefined }) | null): Promise<Buffer>;
  readFile(name: Name, options: (HandleReadOptions & { encoding: BufferEncoding }) | BufferEncoding): Promise<string>;
  async readFile(name: Name, options?: HandleReadOptions | BufferEncoding | null): Promise<Buffer | string> {
    const handle = await this.open(name);
    return thenClose(handle, handle.readFile(options));
  }

  /** Writes a whole file, in place of what it had. See `writeFileAtomic` for one that is never half written. */
  async writeFile(
    name: Name,
    data: WholeData | DataChunks,
    options: RootWriteOptions | BufferEncoding | null = {},
  ): Promise<void> {
    const given = typeof options === "string" ? { encoding: options } : { ...options };
    const { flag = "w", mode, ...rest } = given as RootWriteOptions;
    const handle = await this.open(name, flag, mode);
    await thenClose(handle, handle.writeFile(data, rest));
  }

  /** Adds to the end of a file, which is made if it is not there; never through a link out of the root. */
  appendFile(
    name: Name,
    data: WholeData | DataChunks,
    options: RootWriteOptions | BufferEncoding | null = {},
  ): Promise<void> {
    const given = typeof options === "string" ? { encoding: options } : options;
    return this.writeFile(name, data, { flag: "a", ...given });
  }

  /** A whole file in one step: the old one or the new one, at every moment. Options as `writeFileAtomic` of bun-uring/durable. */
  async writeFileAtomic(name: Name, data: WholeData | DataChunks, options?: AtomicOptions): Promise<void> {
    await this.#inParent(checkName(name), (path) => writeFileAtomic(path, data, options));
  }

  /** A request's body to a file, published when it is whole. Options and errors as `receive`. */
  async receive(request: Request | Response, name: Name, options?: ReceiveOptions): Promise<Received> {
    const checked = checkName(name);
    return receiveBody(request, (act) => this.#inParent(checked, (path) => act(String(path))), options);
  }

  /** A Readable of a file, which is opened in a later tick. Options as fs.createReadStream, less `fd` and `fs`. */
  createReadStream(name: Name, options?: RootReadStreamOptions | BufferEncoding): ReadStream {
    const checked = checkName(name);
    return streamBeneath(createReadStream, checked, options, (flags, mode) => this.#open(checked, flags, mode));
  }

  /** A Writable into a file, which is opened in a later tick, and emptied unless `flags` say else. */
  createWriteStream(name: Name, options?: RootWriteStreamOptions | BufferEncoding): WriteStream {
    const checked = checkName(name);
    return streamBeneath(createWriteStream, checked, options, (flags, mode) => this.#open(checked, flags, mode));
  }

  /** The Stats of what a name leads to. */
  async stat(name: Name): Promise<Stats> {
    return this.#stat(checkName(name), 0);
  }

  /** The same of the link itself, where the name is one's. */
  async lstat(name: Name): Promise<Stats> {
    return this.#stat(checkName(name), O_NOFOLLOW);
  }

  #stat(name: string | Buffer, flags: number): Promise<Stats> {
    return this.#with(name, O_PATH | flags, 0, (file) => this.#backend.fstat(file, false) as Promise<Stats>);
  }

  /** Whether a name leads to something inside. */
  async exists(name: Name): Promise<boolean> {
    const checked = checkName(name);
    try {
      await this.#backend.close(await this.#open(checked, O_PATH, 0));
      return true;
    } catch {
      return false;
    }
  }

  /** The entries of a folder; links in it are listed, never entered. */
  readdir(
    name?: Name,
    options?: (RootReaddirOptions & { withFileTypes?: false | undefined }) | null,
  ): Promise<string[]>;
  readdir(name: Name, options: RootReaddirOptions & { withFileTypes: true }): Promise<Dirent[]>;
  readdir(name?: Name, options?: RootReaddirOptions | null): Promise<(string | Dirent | Buffer)[]>;
  async readdir(name: Name = ".", options?: RootReaddirOptions | null): Promise<any> {
    const checked = checkName(name);
    return this.#with(checked, O_DIRECTORY, 0, async (file) => {
      const { encoding, recursive = false, withFileTypes } = options ?? {};
      if (withFileTypes) return direntsOf(file, { path: checked, encoding, recursive });
      return named(checked, readdir(procPath(file), { encoding, recursive } as object));
    });
  }

  /** A folder's entries one after another. */
  async opendir(name: Name = "."): Promise<Dir> {
    const checked = checkName(name);
    return this.#with(checked, O_DIRECTORY, 0, (file) => named(checked, opendir(procPath(file))));
  }

  /** Makes a folder; with `recursive` also those above it. Resolves to the first one made, with `recursive`. */
  async mkdir(
    name: Name,
    options: { recursive?: boolean | undefined; mode?: number | string | undefined } = {},
  ): Promise<string | undefined> {
    const checked = checkName(name);
    validateObject(options, "options");
    const { recursive = false, mode } = options;
    const bits = parseMode(mode, "mode", FOLDER_MODE);
    const make = (part: Path): Promise<void> => this.#inParent(part, (path) => this.#backend.mkdir(path, bits));
    if (recursive) return makeEach({ mkdir: make, stat: (part) => this.#stat(part, 0) }, checked, bits);
    await make(checked);
    return undefined;
  }

  /** Removes a file, a link or, with `recursive`, a folder with all in it. The root itself is refused (EINVAL). */
  async rm(name: Name, options: RmOptions = {}): Promise<void> {
    const checked = checkName(name);
    validateObject(options, "options");
    const own = { ...options };
    try {
      await this.#inParent(checked, (path) => rm(path as string, own));
    } catch (error) {
      // The parent is missing, too.
      if (own.force !== true || codeOf(error) !== "ENOENT") throw error;
    }
  }

  /** Removes a name that is no folder; a link itself, not what it leads to. */
  async unlink(name: Name): Promise<void> {
    await this.#inParent(checkName(name), (path) => this.#backend.unlink(path));
  }

  /** Removes an empty folder. */
  async rmdir(name: Name): Promise<void> {
    await this.#inParent(checkName(name), (path) => this.#backend.rmdir(path));
  }

  /** Gives another name, in place of a file that has it. Neither name's last component is followed. */
  async rename(from: Name, to: Name): Promise<void> {
    const [source, target] = [checkName(from), checkName(to)];
    await this.#inParent(source, (oldPath) =>
      this.#inParent(target, (newPath) => named(source, this.#backend.rename(oldPath, newPath), target)),
    );
  }

  /** Copies a file's content and mode. `mode`: COPYFILE_EXCL refuses a target that exists. */
  async copyFile(from: Name, to: Name, mode = 0): Promise<void> {
    const [source, target] = [checkName(from), checkName(to)];
    if (mode !== 0 && mode !== COPYFILE_EXCL) throw invalidArgValue("mode", mode, "must be 0 or COPYFILE_EXCL");
    await this.#with(source, 0, 0, async (input) => {
      const stats = (await this.#backend.fstat(input, false)) as Stats;
      const flags = O_WRONLY | O_CREAT | (mode === COPYFILE_EXCL ? O_EXCL : 0);
      await this.#with(target, flags, stats.mode & 0o777, (output) =>
        named(source, copyFile(procPath(input), procPath(output)), target),
      );
    });
  }

  /** Closes the root's descriptor. Handles that it gave stay open; calls that begin later reject with ERR_ROOT_CLOSED. */
  async close(): Promise<void> {
    collected.unregister(this.#folder);
    for (const leave of this.#onClose) leave();
    this.#onClose.clear();
    await this.#backend.close(this.#folder);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Opens beneath the folder; a look-up that raced with a rename is repeated. */
  async #open(name: string | Buffer, flags: number, mode: number): Promise<OpenFile> {
    if (this.#folder.fd < 0) throw rootClosed();
    // openat2 refuses a mode where nothing can be created.
    const bits = (flags & O_CREAT) !== 0 || (flags & O_TMPFILE) === O_TMPFILE ? mode : 0;
    for (let races = 0; ; races++) {
      try {
        return await this.#backend.openBeneath(this.#folder.fd, name, flags, bits, this.#resolve);
      } catch (error) {
        const code = codeOf(error);
        if (code === "EAGAIN" && races < MAX_RACES) continue;
        if (code === "EXDEV") throw new OutsideRootError(name, "leads out of the root", error);
        if (code === "ELOOP" && this.symlinks === "never")
          throw new OutsideRootError(name, "is, or goes through, a symbolic link", error);
        throw error;
      }
    }
  }

  /** Opens a name, as `#open`, for as long as `act` takes. */
  #with<T>(name: string | Buffer, flags: number, mode: number, act: (file: OpenFile) => Promise<T>): Promise<T> {
    return withFile(this.#backend, this.#open(name, flags, mode), act);
  }

  /** Runs an operation on the last component of a name, by a path that leads through the open parent to it. */
  async #inParent<T>(name: string | Buffer, act: (path: Path) => Promise<T>): Promise<T> {
    const { folder, base } = splitName(name);
    if (base.length === 0 || String(base) === ".") throw systemError(EINVAL, "open", name);
    const opening = this.#open(folder, O_PATH | O_DIRECTORY, 0).catch((error) => {
      throw retold(error, "open", name);
    });
    return withFile(this.#backend, opening, (parent) => {
      const place = `${procPath(parent)}/`;
      return named(name, act(typeof base === "string" ? place + base : Buffer.concat([Buffer.from(place), base])));
    });
  }
}
