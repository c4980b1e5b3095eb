// What cp copies: files, links and folders, walked by open folders (tree/walk.ts), with Node's rules for what is there
// already.
// Assumes that cp has checked the pair it was called with. Into a folder that it has made, nothing is looked for.

import { join } from "node:path";
import { type Backend, type CopyHow, INCOMPLETE, type Path } from "../backend/interface.ts";
import { bun } from "../node/bun-fs.ts";
import { refusal } from "../node/cp-errors.ts";
import { EINVAL, ENOENT } from "../node/errno.ts";
import { systemError } from "../node/errors.ts";
import { constants, type FileInfo, isDirectory, isRegular, isSymbolicLink, permissions } from "../node/file-info.ts";
import { folderOf } from "../node/folder-of.ts";
import { lateRejection } from "../node/late-error.ts";
import { latin1, pathIn, SLASH } from "../node/path.ts";
import { UTIME_OMIT } from "../node/set-attributes.ts";
import { type CopyRequest, copyOpened, copyPath, DEFAULT_REQUEST } from "./copy-file.ts";
import type { Name } from "./open-folders.ts";
import { absolute, isWithin } from "./overlap.ts";
import { clearAway, type FolderPair, type Place, type Plan, told } from "./plan.ts";
import { Walk } from "./walk.ts";

/** cp's options, checked. */
export interface CpRequest {
  dereference: boolean;
  errorOnExist: boolean;
  filter: ((source: string, destination: string) => boolean | Promise<boolean>) | undefined;
  force: boolean;
  mode: number;
  preserveTimestamps: boolean;
  recursive: boolean;
  verbatimSymlinks: boolean;
}

/** Files at once where they are copied one by one. */
const CONCURRENCY = 64;
const { S_IFMT, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK, COPYFILE_FICLONE_FORCE } = constants;

/** What is known of a path, of a link itself unless it is to be followed. If it is missing: null, or an error if it must be there. */
export function statOf(
  backend: Backend,
  path: Path,
  how: { dereference: boolean },
  required: true,
): FileInfo | Promise<FileInfo>;
export function statOf(
  backend: Backend,
  path: Path,
  how: { dereference: boolean },
  required: false,
): FileInfo | null | Promise<FileInfo | null>;
export function statOf(
  backend: Backend,
  path: Path,
  { dereference }: { dereference: boolean },
  required: boolean,
): FileInfo | null | Promise<FileInfo | null> {
  const check = (info: FileInfo | number): FileInfo | null | Promise<never> => {
    if (typeof info !== "number") return info;
    if (info === ENOENT && !required) return null;
    return lateRejection(() => systemError(info, dereference ? "stat" : "lstat", path));
  };
  const found = backend.lookup(path, !dereference);
  return found instanceof Promise ? found.then(check) : check(found);
}

/** Refuses to copy a file onto itself, a folder onto a file, and a file onto a folder. */
export function refusePair(info: FileInfo, there: FileInfo | null, from: Path, to: Path): void {
  if (there === null) return;
  if (there.identity === info.identity)
    throw refusal("ERR_FS_CP_EINVAL", "cp", "EINVAL", "src and dest cannot be the same", to);
  if (isDirectory(info) && !isDirectory(there)) {
    const message = `cannot overwrite non-directory ${to} with directory ${from}`;
    throw refusal("ERR_FS_CP_DIR_TO_NON_DIR", "cp", "EISDIR", message, to);
  }
  if (!isDirectory(info) && isDirectory(there)) {
    const message = `cannot overwrite directory ${to} with non-directory ${from}`;
    throw refusal("ERR_FS_CP_NON_DIR_TO_DIR", "cp", "ENOTDIR", message, to);
  }
}

/** The path of a name in a folder, without `.` and `..` as node:path's join makes it. */
function joined(folder: Path, name: Name): Path {
  return typeof folder === "string" && typeof name === "string" ? join(folder, name) : pathIn(folder, name);
}

/** One call of cp. */
export class CopyRun implements Plan {
  readonly how: CopyHow;
  readonly signal: null = null;
  readonly concurrency: number = CONCURRENCY;
  readonly request: CopyRequest = DEFAULT_REQUEST;
  /** A clone that has to be one goes by paths. */
  readonly alone: boolean;
  readonly filter: Plan["filter"];
  readonly join: Plan["join"] = joined;
  readonly #backend: Backend;
  readonly #request: CpRequest;
  readonly #from: string;
  readonly #to: string;

  constructor(backend: Backend, request: CpRequest, from: string, to: string) {
    const { dereference, preserveTimestamps, filter, mode } = request;
    this.#backend = backend;
    this.#request = request;
    this.#from = from;
    this.#to = to;
    this.how = {
      follow: dereference,
      overwrite: false,
      times: preserveTimestamps,
      accessed: true,
      dropSetId: false,
    };
    this.alone = (mode & COPYFILE_FICLONE_FORCE) !== 0;
    this.filter = filter === undefined ? null : (source, target) => filter(String(source), String(target));
  }

  /** Copies; `there` is what is at the target. Rejects with the first failure, when all has ended. */
  async run(info: FileInfo, there: FileInfo | null): Promise<void> {
    if (isDirectory(info)) return new Walk(this.#backend, this).folder(this.#from, this.#to);
    const [from, to] = [this.#from, this.#to].map((path) => ({ real: path, shown: path })) as [Place, Place];
    if (!isRegular(info)) return this.special(from, to, info, there === null);
    if (there !== null && !(await this.#clear(info, there, from, to))) return;
    await this.#file(from, to, true);
  }

  /** A file by itself; `regularOnly`: what is no device. */
  async #file(from: Place, to: Place, regularOnly: boolean): Promise<void> {
    const { mode } = this.#request;
    if (this.alone) {
      await told(
        () => copyPath(this.#backend, from.real, to.real, { ...DEFAULT_REQUEST, mode }),
        "copyfile",
        from.shown,
        to.shown,
      );
      return;
    }
    if (regularOnly && !this.#request.preserveTimestamps) {
      const copied = await this.#backend.copySmall(from.real, to.real, true, !this.how.follow);
      if (copied >= 0) return;
      if (copied === INCOMPLETE) await clearAway(this.#backend, to);
    }
    const wish = { ...this.request, within: { ...this.how, regularOnly } };
    await told(() => copyOpened(this.#backend, from.real, to.real, wish, false), "copyfile", from.shown, to.shown);
  }

  async merge(from: Place, to: Place): Promise<{ follow: boolean }> {
    const { dereference, errorOnExist, force } = this.#request;
    const isRoot = to.real === to.shown;
    const info = await statOf(this.#backend, from.real, { dereference: true }, true);
    const there = await statOf(this.#backend, to.real, { dereference }, false);
    refusePair(info, there, from.shown, to.shown);
    if (errorOnExist && !force) throw alreadyExists(to.shown);
    return { follow: isRoot || dereference };
  }

  copied(): void {}

  async clear(from: Place, to: Place): Promise<boolean> {
    const info = await statOf(this.#backend, from.real, this.#request, true);
    const there = await statOf(this.#backend, to.real, this.#request, false);
    if (there !== null) return this.#clear(info, there, from, to);
    // A link to nothing is nothing where links are followed, and in the way all the same.
    if (this.#request.dereference) await clearAway(this.#backend, to);
    return true;
  }

  /** Whether a file may be copied to where another one is. */
  async #clear(info: FileInfo, there: FileInfo, from: Place, to: Place): Promise<boolean> {
    const { force, errorOnExist } = this.#request;
    refusePair(info, there, from.shown, to.shown);
    if (!force && errorOnExist) throw alreadyExists(to.shown);
    if (!force) return false;
    await clearAway(this.#backend, to);
    return true;
  }

  async special(from: Place, to: Place, info: FileInfo, fresh: boolean): Promise<void> {
    const there = fresh ? null : await statOf(this.#backend, to.real, this.#request, false);
    refusePair(info, there, from.shown, to.shown);
    if (isSymbolicLink(info)) return this.#link(from, to, there);
    if (!isDevice(info)) throw specialFile(info, to.shown);
    if (there !== null && !(await this.#clear(info, there, from, to))) return;
    await this.#file(from, to, false);
  }

  attributes({ info, target, fresh }: FolderPair, mode: number): { info: FileInfo; mode: number | null } | null {
    const wanted = fresh && permissions(target!) !== mode ? mode : null;
    if (this.#request.preserveTimestamps) return { info: info!, mode: wanted };
    if (wanted === null) return null;
    return { info: { ...info!, accessNanoseconds: UTIME_OMIT, modificationNanoseconds: UTIME_OMIT }, mode: wanted };
  }

  folderDone(): void {}

  async #link(from: Place, to: Place, there: FileInfo | null): Promise<void> {
    const text = await readLink(from);
    const isAbsolute = text[0] === SLASH;
    const target =
      this.#request.verbatimSymlinks || isAbsolute ? text : Buffer.from(absolute(folderOf(from.shown), text), "latin1");
    if (there !== null) await this.#replaceLink(from, to, target);
    await told(() => this.#backend.symlink(target, to.real), "symlink", target, to.shown);
  }

  /** Removes the link that is where one is to be made, unless what it leads to and what the new one does lie in each other. */
  async #replaceLink(from: Place, to: Place, target: Path): Promise<void> {
    const old = await readLink(to).catch((error: NodeJS.ErrnoException) => {
      if (error.errno === EINVAL) return null; // no link: symlink says that it exists
      throw error;
    });
    if (old === null) return;
    const oldTarget = Buffer.from(absolute(folderOf(to.shown), old), "latin1");
    const source = await statOf(this.#backend, from.real, { dereference: true }, true);
    if (isDirectory(source) && !(await this.#isHarmless(from.real, target, oldTarget))) {
      if (isWithin(oldTarget, target)) {
        const message = `cannot copy ${target} to a subdirectory of self ${oldTarget}`;
        throw refusal("ERR_FS_CP_EINVAL", "cp", "EINVAL", message, to.shown);
      }
      if (isWithin(target, oldTarget)) {
        const message = `cannot overwrite ${oldTarget} with ${target}`;
        throw refusal("ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY", "cp", "EINVAL", message, to.shown);
      }
    }
    await clearAway(this.#backend, to);
  }

  /** Both links lead to the same folder, and it does not hold the tree that is being written. */
  async #isHarmless(from: Path, target: Path, oldTarget: Path): Promise<boolean> {
    if (latin1(target) !== latin1(oldTarget)) return false;
    const real = (path: Path): Promise<Path> =>
      told(() => bun.realpath(path, { encoding: "buffer" }), "realpath", path);
    return !isWithin(await real(this.#to), await real(from));
  }
}

const readLink = ({ real, shown }: Place): Promise<Buffer> =>
  told(() => bun.readlink(real, { encoding: "buffer" }), "readlink", shown);

const alreadyExists = (path: Path): Error =>
  refusal("ERR_FS_CP_EEXIST", "cp", "EEXIST", `${path} already exists`, path);

function isDevice({ mode }: FileInfo): boolean {
  const type = mode & S_IFMT;
  return type === S_IFCHR || type === S_IFBLK;
}

function specialFile(info: FileInfo, to: Path): Error {
  const type = info.mode & S_IFMT;
  if (type === S_IFSOCK) return refusal("ERR_FS_CP_SOCKET", "cp", "EINVAL", `cannot copy a socket file: ${to}`, to);
  if (type === S_IFIFO) return refusal("ERR_FS_CP_FIFO_PIPE", "cp", "EINVAL", `cannot copy a FIFO pipe: ${to}`, to);
  return refusal("ERR_FS_CP_UNKNOWN", "cp", "EINVAL", `cannot copy an unknown file type: ${to}`, to);
}
