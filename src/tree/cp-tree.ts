// What cp copies: files, links and folders, many at once, with Node's rules for what is there already. Folders are walked a
// few at a time, so that files being created lie in different ones (the kernel locks a folder for each).
// Assumes that cp has checked the pair it was called with. Into a folder that it has made, nothing is looked for.

import { dirname, join, resolve } from "node:path";
import type { Backend, Path } from "../backend/interface.ts";
import { onRemote, SMALL_FILE_BYTES } from "../backend/uring/copy-small.ts";
import { type Facts, factsOf, isDirectory, isRegular, isSymbolicLink, permissions } from "../backend/uring/statx.ts";
import { delegate } from "../fs/delegated.ts";
import { constants } from "../kernel/constants.ts";
import { bun } from "../node/bun-fs.ts";
import { clockMs, setImmediate } from "../node/clock.ts";
import { refusal } from "../node/cp-errors.ts";
import { systemError } from "../node/errors.ts";
import { type Attributes, attributesBelow, KEEP_MODE } from "./attributes.ts";
import { ANOTHER_WAY, copyKnown, copyOpened, copyPath, DEFAULT_REQUEST, INCOMPLETE } from "./copy-file.ts";
import { type Name, namesIn, pathIn } from "./listing.ts";

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

/** Files and links being copied at once, those beyond the small ones, and folders being listed. */
const ENTRIES = 64;
const LARGE = 4;
const FOLDERS = 4;
/** Milliseconds of listing after which the event loop gets its turn. */
const SLICE_MS = 1;
const [ENOENT, EINVAL] = [-2, -22];
/** For utimensat(2): this time stays. */
const UTIME_OMIT = 0x3fff_fffe;
const { S_IFMT, S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } = constants;

/** Facts of a path, of a link itself unless it is to be followed. If it is missing: null, or an error if it must be there. */
export function statOf(
  backend: Backend,
  path: Path,
  how: { dereference: boolean },
  required: true,
): Facts | Promise<Facts>;
export function statOf(
  backend: Backend,
  path: Path,
  how: { dereference: boolean },
  required: false,
): Facts | null | Promise<Facts | null>;
export function statOf(
  backend: Backend,
  path: Path,
  { dereference }: { dereference: boolean },
  required: boolean,
): Facts | null | Promise<Facts | null> {
  const check = (facts: Facts | number): Facts | null => {
    if (typeof facts !== "number") return facts;
    if (facts === ENOENT && !required) return null;
    throw systemError(facts, dereference ? "stat" : "lstat", path);
  };
  const facts = factsOf(backend, path, !dereference);
  return facts instanceof Promise ? facts.then(check) : check(facts);
}

/** Refuses to copy a file onto itself, a folder onto a file, and a file onto a folder. */
export function refusePair(facts: Facts, there: Facts | null, from: Path, to: Path): void {
  if (there === null) return;
  if (there.identity === facts.identity)
    throw refusal("ERR_FS_CP_EINVAL", "cp", "EINVAL", "src and dest cannot be the same", to);
  if (isDirectory(facts) && !isDirectory(there)) {
    const message = `cannot overwrite non-directory ${to} with directory ${from}`;
    throw refusal("ERR_FS_CP_DIR_TO_NON_DIR", "cp", "EISDIR", message, to);
  }
  if (!isDirectory(facts) && isDirectory(there)) {
    const message = `cannot overwrite directory ${to} with non-directory ${from}`;
    throw refusal("ERR_FS_CP_NON_DIR_TO_DIR", "cp", "ENOTDIR", message, to);
  }
}

/** What makes the paths of a folder's names, without `.` and `..` as node:path's join does. */
function pathsIn(folder: Path): (name: Name) => Path {
  const prefix = typeof folder === "string" ? join(folder, "x").slice(0, -1) : null;
  return (name) => (prefix !== null && typeof name === "string" ? prefix + name : pathIn(folder, name));
}

/** The bytes of a path as characters, which node:path can work on. */
const latin1 = (path: Path): string => Buffer.from(path as string).toString("latin1");
const absolute = (...paths: Path[]): string => resolve(latin1(process.cwd()), ...paths.map(latin1));

/** Whether `inner` is `outer` or below it, by their names alone. */
export function isWithin(inner: Path, outer: Path): boolean {
  const above = absolute(outer);
  const below = absolute(inner);
  return below === above || below.startsWith(above === "/" ? above : `${above}/`);
}

/** A number of places; who finds none waits, the last to come for the shortest time. */
class Places {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Null if there was a place. */
  take(): Promise<void> | null {
    if (this.#free-- > 0) return null;
    return new Promise((go) => this.#waiting.push(go));
  }

  give(): void {
    if (this.#free++ < 0) this.#waiting.pop()!();
  }
}

/** One call of cp. */
export class CopyRun {
  readonly #backend: Backend;
  readonly #request: CpRequest;
  readonly #from: string;
  readonly #to: string;
  readonly #attributes: Attributes;
  /** Both sides are local and the backend is the ring: small files go by chains, attributes are set in batches. */
  readonly #chains: boolean;
  readonly #umask: number = process.umask();
  readonly #entries: Places = new Places(ENTRIES);
  readonly #large: Places = new Places(LARGE);
  readonly #folders: Places = new Places(FOLDERS);
  #failure: { reason: unknown } | null = null;
  #sliceStart = clockMs();

  constructor(backend: Backend, request: CpRequest, from: string, to: string) {
    this.#backend = backend;
    this.#request = request;
    this.#from = from;
    this.#to = to;
    this.#chains = backend.name === "io_uring" && !onRemote(from, to);
    this.#attributes = attributesBelow(backend, to);
  }

  /** Copies; `there` is what is at the target. Rejects with the first failure, when all has ended. */
  async run(facts: Facts, there: Facts | null): Promise<void> {
    if (isDirectory(facts)) await this.#folder(this.#from, this.#to, facts, there);
    else await this.#leaf(this.#from, this.#to, facts, there);
    if (this.#failure !== null) throw this.#failure.reason;
    this.#attributes.flush();
  }

  /** Never rejects: the first failure stops everything. */
  async #folder(from: Path, to: Path, facts: Facts, there: Facts | null): Promise<void> {
    const begun: Promise<void>[] = [];
    try {
      const wait = this.#folders.take();
      if (wait !== null) await wait;
      try {
        if (this.#failure === null) await this.#enter(from, to, facts, there, begun);
      } finally {
        this.#folders.give();
      }
      await Promise.all(begun);
      if (this.#failure === null) await this.#finishFolder(to, facts, there === null);
    } catch (reason) {
      this.#failure ??= { reason };
    }
    await Promise.all(begun);
  }

  /** Makes the target folder unless it is there, and begins to copy what is in the source. */
  async #enter(from: Path, to: Path, facts: Facts, there: Facts | null, begun: Promise<void>[]): Promise<void> {
    const { errorOnExist, force, filter } = this.#request;
    // Writable for us until it is full.
    if (there === null) await this.#backend.mkdir(to, permissions(facts) | 0o700);
    else if (errorOnExist && !force) throw alreadyExists(to);
    const sourceOf = pathsIn(from);
    const targetOf = pathsIn(to);
    for (const name of await namesIn(from)) {
      if (clockMs() - this.#sliceStart > SLICE_MS) await this.#pause();
      if (this.#failure !== null) return;
      const source = sourceOf(name);
      const target = targetOf(name);
      if (filter !== undefined && !(await filter(String(source), String(target)))) continue;
      await this.#begin(source, target, there !== null, begun);
    }
  }

  /** Begins to copy one entry of a folder. Waits only if it must. */
  async #begin(from: Path, to: Path, mayExist: boolean, begun: Promise<void>[]): Promise<void> {
    const looked = statOf(this.#backend, from, this.#request, true);
    const facts = looked instanceof Promise ? await looked : looked;
    let there: Facts | null = null;
    if (mayExist) {
      const target = statOf(this.#backend, to, this.#request, false);
      there = target instanceof Promise ? await target : target;
      refusePair(facts, there, from, to);
    }
    if (isDirectory(facts)) {
      begun.push(this.#folder(from, to, facts, there));
      return;
    }
    const wait = this.#entries.take();
    if (wait !== null) await wait;
    begun.push(this.#leaf(from, to, facts, there).finally(() => this.#entries.give()));
  }

  #pause(): Promise<void> {
    return new Promise((resume) =>
      setImmediate(() => {
        this.#sliceStart = clockMs();
        resume();
      }),
    );
  }

  async #finishFolder(to: Path, facts: Facts, fresh: boolean): Promise<void> {
    const mode = permissions(facts);
    const made = (mode | 0o700) & ~this.#umask & 0o777;
    await this.#setAttributes(to, facts, fresh && made !== mode ? mode : KEEP_MODE);
  }

  /** Copies what is not a folder. Never rejects. */
  async #leaf(from: Path, to: Path, facts: Facts, there: Facts | null): Promise<void> {
    try {
      if (this.#failure !== null) return;
      if (isSymbolicLink(facts)) await this.#link(from, to, there);
      else if (isCopied(facts)) await this.#file(from, to, facts, there);
      else throw specialFile(facts, to);
    } catch (reason) {
      this.#failure ??= { reason };
    }
  }

  async #file(from: Path, to: Path, facts: Facts, there: Facts | null): Promise<void> {
    const { force, errorOnExist, mode } = this.#request;
    if (there !== null) {
      if (!force && errorOnExist) throw alreadyExists(to);
      if (!force) return;
      await this.#backend.unlink(to);
    }
    const small = isRegular(facts) && facts.size <= SMALL_FILE_BYTES;
    let copied = ANOTHER_WAY;
    if (small && this.#chains && mode === 0) copied = await copyKnown(from, to, facts, false);
    if (copied >= 0) {
      const wanted = permissions(facts);
      const made = wanted & ~this.#umask & 0o777;
      const set = this.#setAttributes(to, facts, made === wanted ? KEEP_MODE : wanted);
      if (set !== undefined) await set;
      return;
    }
    await this.#largeFile(from, to, small, copied === INCOMPLETE);
    await this.#setAttributes(to, facts, KEEP_MODE);
  }

  /** The way that does everything, permissions too; `made`: the target is an unfinished copy of ours. */
  async #largeFile(from: Path, to: Path, small: boolean, made: boolean): Promise<void> {
    const { mode } = this.#request;
    const wait = small ? null : this.#large.take();
    if (wait !== null) await wait;
    try {
      if (mode !== 0) await copyPath(this.#backend, from, to, { ...DEFAULT_REQUEST, mode });
      else await copyOpened(this.#backend, from, to, DEFAULT_REQUEST, made);
    } finally {
      if (!small) this.#large.give();
    }
  }

  /** Permissions unless KEEP_MODE, and times if they are to be preserved. */
  #setAttributes(path: Path, facts: Facts, mode: number): void | Promise<void> {
    if (this.#request.preserveTimestamps) return this.#attributes.set(path, facts, mode);
    if (mode === KEEP_MODE) return;
    if (!this.#chains) return delegate("chmod", path, () => bun.chmod(path, mode));
    const times = { accessNanoseconds: UTIME_OMIT, modificationNanoseconds: UTIME_OMIT };
    return this.#attributes.set(path, { ...facts, ...times }, mode);
  }

  async #link(from: Path, to: Path, there: Facts | null): Promise<void> {
    const text = await readLink(from);
    const isAbsolute = text[0] === SLASH;
    const target =
      this.#request.verbatimSymlinks || isAbsolute ? text : Buffer.from(absolute(dirnameOf(from), text), "latin1");
    if (there !== null) await this.#replaceLink(from, to, target);
    await this.#backend.symlink(target, to);
  }

  /** Removes the link that is where one is to be made, unless what it leads to and what the new one does lie in each other. */
  async #replaceLink(from: Path, to: Path, target: Path): Promise<void> {
    const old = await readLink(to).catch((error: NodeJS.ErrnoException) => {
      if (error.errno === EINVAL) return null; // no link: symlink says that it exists
      throw error;
    });
    if (old === null) return;
    const oldTarget = Buffer.from(absolute(dirnameOf(to), old), "latin1");
    const source = await statOf(this.#backend, from, { dereference: true }, true);
    if (isDirectory(source) && !(await this.#isHarmless(from, target, oldTarget))) {
      if (isWithin(oldTarget, target)) {
        const message = `cannot copy ${target} to a subdirectory of self ${oldTarget}`;
        throw refusal("ERR_FS_CP_EINVAL", "cp", "EINVAL", message, to);
      }
      if (isWithin(target, oldTarget)) {
        const message = `cannot overwrite ${oldTarget} with ${target}`;
        throw refusal("ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY", "cp", "EINVAL", message, to);
      }
    }
    await this.#backend.unlink(to);
  }

  /** Both links lead to the same folder, and it does not hold the tree that is being written. */
  async #isHarmless(from: Path, target: Path, oldTarget: Path): Promise<boolean> {
    if (latin1(target) !== latin1(oldTarget)) return false;
    const real = (path: Path): Promise<Path> =>
      delegate("realpath", path, () => bun.realpath(path, { encoding: "buffer" }) as Promise<Path>);
    return !isWithin(await real(this.#to), await real(from));
  }
}

const SLASH = 0x2f;
const dirnameOf = (path: Path): Buffer => Buffer.from(dirname(latin1(path)), "latin1");

function readLink(path: Path): Promise<Buffer> {
  return delegate("readlink", path, () => bun.readlink(path, { encoding: "buffer" }) as Promise<Buffer>);
}

const alreadyExists = (path: Path): Error =>
  refusal("ERR_FS_CP_EEXIST", "cp", "EEXIST", `${path} already exists`, path);

function isCopied(facts: Facts): boolean {
  const type = facts.mode & S_IFMT;
  return isRegular(facts) || type === S_IFCHR || type === S_IFBLK;
}

function specialFile(facts: Facts, to: Path): Error {
  const type = facts.mode & S_IFMT;
  if (type === S_IFSOCK) return refusal("ERR_FS_CP_SOCKET", "cp", "EINVAL", `cannot copy a socket file: ${to}`, to);
  if (type === S_IFIFO) return refusal("ERR_FS_CP_FIFO_PIPE", "cp", "EINVAL", `cannot copy a FIFO pipe: ${to}`, to);
  return refusal("ERR_FS_CP_UNKNOWN", "cp", "EINVAL", `cannot copy an unknown file type: ${to}`, to);
}
