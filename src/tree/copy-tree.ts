// copyTree: a folder with everything in it, many operations at once. Folders are walked a few at a time, so that the files
// being created lie in different ones (the kernel locks a folder for each); attributes of a folder come when it is full.
// Assumes that nobody else changes either tree meanwhile. Never follows a symbolic link within them.

import { basename, dirname, resolve } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import type { Backend, Path } from "../backend/interface.ts";
import { onRemote, SMALL_FILE_BYTES } from "../backend/uring/copy-small.ts";
import { type Facts, factsOf, isDirectory, isRegular, isSymbolicLink, permissions } from "../backend/uring/statx.ts";
import { type Limits, limited } from "../node/abort.ts";
import { codedError, validateBoolean, validateFunction, validateInteger, validateObject } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { clockMs, setImmediate } from "../node/clock.ts";
import { abortError, errnoOf, systemError } from "../node/errors.ts";
import { validateLimits } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { type Attributes, attributesBelow, KEEP_MODE } from "./attributes.ts";
import { type CopyRequest, copyKnown, copyOpened, DEFAULT_REQUEST, INCOMPLETE } from "./copy-file.ts";

/** What copyTree has copied. */
export interface TreeCounts {
  files: number;
  directories: number;
  symlinks: number;
  /** Bytes of the files. */
  bytes: number;
  /** FIFOs, sockets and devices: they are passed over. */
  skipped: number;
}

/** What ends the copy early leaves the files that are complete; those in the making are removed. */
export interface CopyTreeOptions extends Limits {
  /** Files being copied at once, 1 to 256. Default 64. */
  concurrency?: number | undefined;
  /** Called at most every 20 ms, and at the end, with the counts so far. It must not throw. */
  onProgress?: ((counts: TreeCounts) => void) | undefined;
  /** Whether to copy an entry; a folder that is refused is not entered. */
  filter?: ((source: string, destination: string) => boolean | Promise<boolean>) | undefined;
  /** As copyFile's. */
  direct?: boolean | undefined;
}

interface Folder {
  parent: Folder | null;
  from: Path;
  to: Path;
  facts: Facts;
  /** Made by us: nothing can be in the way in it. */
  fresh: boolean;
  /** Entries that are not done, and 1 while the folder is being listed. */
  pending: number;
}

/** Folders being listed at once, and files beyond the small ones being copied at once. */
const FOLDERS_AT_ONCE = 4;
const LARGE_AT_ONCE = 4;
const PROGRESS_EVERY_MS = 20;
/** Milliseconds of listing after which the event loop gets its turn. */
const SLICE_MS = 1;
const ENOENT = -2;

/**
 * Copies a folder (or file, or symbolic link) to `dest`: contents, permissions, times, symbolic links as they are. Folders
 * that exist are merged, files overwritten, links replaced; missing folders above `dest` are made. Hard links become
 * files of their own. Resolves to the counts; rejects with the first failure, when everything that was going on has ended.
 */
export async function copyTree(
  src: string | Buffer | URL,
  dest: string | Buffer | URL,
  options: CopyTreeOptions = {},
): Promise<TreeCounts> {
  const from = toPath(src, "src");
  const to = toPath(dest, "dest");
  validateObject(options, "options");
  const { concurrency = 64, onProgress, signal, filter, direct } = options;
  validateInteger(concurrency, "options.concurrency", 1, 256);
  if (onProgress !== undefined) validateFunction(onProgress, "options.onProgress");
  validateLimits(options);
  if (filter !== undefined) validateFunction(filter, "options.filter");
  if (direct !== undefined) validateBoolean(direct, "options.direct");
  if (signal?.aborted) throw abortError(signal);
  const backend = currentBackend();
  await refuseOverlap(from, to);
  await bun.mkdir(dirname(text(to)), { recursive: true });
  const request = { ...DEFAULT_REQUEST, direct: direct ?? false };
  const run = (until: AbortSignal | undefined): Promise<TreeCounts> =>
    new TreeCopy(backend, to, concurrency, request, { ...options, signal: until }).run(from, to);
  return options.timeoutMs === undefined ? run(signal) : limited(options, "cp", run, from, to);
}

const text = (path: Path): string => (typeof path === "string" ? path : path.toString());

/** Neither tree may hold the other. */
async function refuseOverlap(from: Path, to: Path): Promise<void> {
  const real = async (path: Path): Promise<string> =>
    (await bun.realpath(path, { encoding: "buffer" })).toString("latin1");
  // The entry itself is not followed: only where it lies.
  const source = await real(from).catch(() => null);
  if (source === null) return; // dangling link, or missing: that is said later
  const target = await realTarget(resolve(text(to)), real);
  const within = (inner: string, outer: string): boolean =>
    inner === outer || inner.startsWith(outer === "/" ? outer : `${outer}/`);
  if (!(within(target, source) || within(source, target))) return;
  const relation =
    target === source ? "itself" : within(target, source) ? "a folder within itself" : "a folder it lies in";
  throw Object.assign(
    codedError(
      Error,
      "ERR_FS_CP_EINVAL",
      `Invalid src or dest: cannot copy '${text(from)}' to ${relation}, '${text(to)}'`,
    ),
    { errno: -errnoOf("EINVAL"), syscall: "cp", path: text(from), dest: text(to) },
  );
}

/** Where an absolute path will lie, of which a part may not exist yet. */
async function realTarget(path: string, real: (path: Path) => Promise<string>): Promise<string> {
  try {
    return await real(path);
  } catch (error) {
    const parent = dirname(path);
    if (parent === path) throw error;
    const above = await realTarget(parent, real);
    return `${above === "/" ? "" : above}/${Buffer.from(basename(path)).toString("latin1")}`;
  }
}

function join(folder: Path, name: string | Buffer): Path {
  if (typeof folder === "string" && typeof name === "string") return `${folder}/${name}`;
  return Buffer.concat([Buffer.from(folder as string), Buffer.from("/"), Buffer.from(name as string)]);
}

/** The names in a folder; as bytes where one is not UTF-8. */
async function namesIn(folder: Path): Promise<(string | Buffer)[]> {
  try {
    const names = await bun.readdir(folder);
    return names.some((name) => name.includes("\ufffd")) ? await bun.readdir(folder, { encoding: "buffer" }) : names;
  } catch (error) {
    throw systemError((error as NodeJS.ErrnoException).errno!, "scandir", folder);
  }
}

class TreeCopy {
  readonly #backend: Backend;
  readonly #concurrency: number;
  readonly #request: CopyRequest;
  readonly #options: CopyTreeOptions;
  readonly #attributes: Attributes;
  readonly #counts: TreeCounts = { files: 0, directories: 0, symlinks: 0, bytes: 0, skipped: 0 };
  readonly #umask: number = process.umask();
  readonly #folders: Folder[] = [];
  #chains = false;
  #listing = 0;
  #entries = 0;
  #large = 0;
  readonly #waitingEntries: (() => void)[] = [];
  readonly #waitingLarge: (() => void)[] = [];
  #failure: { reason: unknown } | null = null;
  #finished: () => void = () => {};
  #toldAt = 0;
  #sliceStart = clockMs();

  constructor(backend: Backend, dest: Path, concurrency: number, request: CopyRequest, options: CopyTreeOptions) {
    this.#backend = backend;
    this.#concurrency = concurrency;
    this.#request = { ...request, signal: options.signal ?? null };
    this.#options = options;
    this.#attributes = attributesBelow(backend, dest);
  }

  async run(from: Path, to: Path): Promise<TreeCounts> {
    const { signal } = this.#options;
    this.#chains = this.#backend.name === "io_uring" && !this.#request.direct && !onRemote(from, to);
    const onAbort = (): void => this.#fail(abortError(signal!));
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const finished = new Promise<void>((done) => {
        this.#finished = done;
      });
      this.#entries++;
      void this.#root(from, to).then(
        () => this.#entryDone(null),
        (error: unknown) => {
          this.#fail(error);
          this.#entryDone(null);
        },
      );
      await finished;
      if (this.#failure !== null) throw this.#failure.reason;
      this.#attributes.flush();
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
    this.#options.onProgress?.({ ...this.#counts });
    return this.#counts;
  }

  async #root(from: Path, to: Path): Promise<void> {
    const facts = await this.#factsOf(from);
    if (!(await this.#wanted(from, to))) return;
    if (isDirectory(facts)) this.#folders.push({ parent: null, from, to, facts, fresh: false, pending: 1 });
    else await this.#leaf(from, to, facts, false);
  }

  async #factsOf(path: Path): Promise<Facts> {
    const facts = await factsOf(this.#backend, path, true);
    if (typeof facts === "number") throw systemError(facts, "lstat", path);
    return facts;
  }

  async #wanted(from: Path, to: Path): Promise<boolean> {
    const { filter } = this.#options;
    return filter === undefined || (await filter(text(from), text(to)));
  }

  #fail(reason: unknown): void {
    this.#failure ??= { reason };
    for (const wake of this.#waitingEntries.splice(0)) wake();
    for (const wake of this.#waitingLarge.splice(0)) wake();
    this.#pump();
  }

  /** Starts what may start; notices the end. */
  #pump(): void {
    if (this.#failure !== null) this.#folders.length = 0;
    while (this.#listing < FOLDERS_AT_ONCE && this.#folders.length > 0) {
      this.#listing++;
      const folder = this.#folders.pop()!;
      void this.#folder(folder)
        .catch((error: unknown) => this.#fail(error))
        .then(() => {
          this.#listing--;
          this.#oneLess(folder);
          this.#pump();
        });
    }
    if (this.#listing === 0 && this.#entries === 0 && this.#folders.length === 0) this.#finished();
  }

  #entryDone(folder: Folder | null): void {
    this.#entries--;
    if (folder !== null) this.#oneLess(folder);
    this.#waitingEntries.shift()?.();
    this.#tell();
    if (this.#listing < FOLDERS_AT_ONCE) this.#pump();
  }

  #tell(): void {
    const { onProgress } = this.#options;
    if (onProgress === undefined || this.#failure !== null) return;
    const now = clockMs();
    if (now - this.#toldAt < PROGRESS_EVERY_MS) return;
    this.#toldAt = now;
    onProgress({ ...this.#counts });
  }

  /** One entry of the folder, or its listing, is done. The last one gives it its attributes. */
  #oneLess(folder: Folder): void {
    for (let at: Folder | null = folder; at !== null && --at.pending === 0; at = at.parent) {
      if (this.#failure !== null) continue;
      this.#counts.directories++;
      const mode = permissions(at.facts);
      const made = (mode | 0o700) & ~this.#umask;
      void this.#setAttributes(at.to, at.facts, at.fresh && made === mode ? KEEP_MODE : mode);
    }
  }

  /** Sets attributes; counts as an entry while that takes time. */
  #setAttributes(path: Path, facts: Facts, mode: number): void {
    try {
      const setting = this.#attributes.set(path, facts, mode);
      if (setting === undefined) return;
      this.#entries++;
      setting.catch((error: unknown) => this.#fail(error)).then(() => this.#entryDone(null));
    } catch (error) {
      this.#fail(error);
    }
  }

  async #folder(folder: Folder): Promise<void> {
    folder.fresh = await this.#makeFolder(folder);
    for (const name of await namesIn(folder.from)) {
      if (this.#failure !== null) return;
      if (clockMs() - this.#sliceStart > SLICE_MS) await this.#pause();
      const from = join(folder.from, name);
      const to = join(folder.to, name);
      // No await where the answer is at hand: most of the time.
      let facts = factsOf(this.#backend, from, true);
      if (facts instanceof Promise) facts = await facts;
      if (typeof facts === "number") throw systemError(facts, "lstat", from);
      if (this.#options.filter !== undefined && !(await this.#wanted(from, to))) continue;
      if (isDirectory(facts)) {
        folder.pending++;
        this.#folders.push({ parent: folder, from, to, facts, fresh: false, pending: 1 });
        continue;
      }
      while (this.#entries >= this.#concurrency && this.#failure === null)
        await new Promise<void>((wake) => this.#waitingEntries.push(wake));
      if (this.#failure !== null) return;
      this.#entries++;
      folder.pending++;
      void this.#leaf(from, to, facts, folder.fresh)
        .catch((error: unknown) => this.#fail(error))
        .then(() => this.#entryDone(folder));
    }
  }

  #pause(): Promise<void> {
    return new Promise((resume) =>
      setImmediate(() => {
        this.#sliceStart = clockMs();
        resume();
      }),
    );
  }

  /** Makes the target folder, writable for us until it is full. False if it was there. */
  async #makeFolder({ parent, to, from, facts }: Folder): Promise<boolean> {
    try {
      await this.#backend.mkdir(to, permissions(facts) | 0o700);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    // Only the root may be a link to a folder.
    const there = await factsOf(this.#backend, to, parent !== null);
    if (typeof there === "number" || !isDirectory(there)) throw systemError(errnoOf("ENOTDIR"), "cp", from, to);
    return false;
  }

  async #leaf(from: Path, to: Path, facts: Facts, fresh: boolean): Promise<void> {
    if (!isRegular(facts) && !isSymbolicLink(facts)) {
      this.#counts.skipped++;
      return;
    }
    const there = fresh ? null : await this.#makeWay(from, to, facts);
    if (isSymbolicLink(facts)) return this.#link(from, to, facts);
    const bytes = there?.identity === facts.identity ? facts.size : await this.#file(from, to, facts, there);
    this.#counts.files++;
    this.#counts.bytes += bytes;
  }

  /** What a file is to overwrite; anything else in the way goes, unless it is a folder. */
  async #makeWay(from: Path, to: Path, facts: Facts): Promise<Facts | null> {
    const there = await factsOf(this.#backend, to, true);
    if (there === ENOENT) return null;
    if (typeof there === "number") throw systemError(there, "lstat", to);
    if (isDirectory(there)) throw systemError(errnoOf("EISDIR"), "cp", from, to);
    if (isRegular(there) && isRegular(facts)) return there;
    await this.#backend.unlink(to);
    return null;
  }

  async #link(from: Path, to: Path, facts: Facts): Promise<void> {
    await this.#backend.symlink(await bun.readlink(from, { encoding: "buffer" }), to);
    this.#counts.symlinks++;
    this.#setAttributes(to, facts, KEEP_MODE);
  }

  async #file(from: Path, to: Path, facts: Facts, there: Facts | null): Promise<number> {
    const small = facts.size <= SMALL_FILE_BYTES;
    let made = false;
    if (this.#chains && small) {
      const bytes = await copyKnown(from, to, facts, there !== null);
      if (bytes >= 0) {
        const mode = permissions(facts);
        const has = there === null ? mode & ~this.#umask & 0o777 : permissions(there);
        this.#setAttributes(to, facts, has === mode ? KEEP_MODE : mode);
        return bytes;
      }
      made = bytes === INCOMPLETE;
    }
    while (!small && this.#large >= LARGE_AT_ONCE && this.#failure === null)
      await new Promise<void>((wake) => this.#waitingLarge.push(wake));
    if (this.#failure !== null) throw this.#failure.reason;
    if (!small) this.#large++;
    try {
      const bytes = await copyOpened(this.#backend, from, to, this.#request, made);
      this.#setAttributes(to, facts, KEEP_MODE);
      return bytes;
    } finally {
      if (!small) this.#large--;
      this.#waitingLarge.shift()?.();
    }
  }
}
