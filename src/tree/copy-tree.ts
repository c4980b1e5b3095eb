// copyTree: a folder with everything in it, walked by open folders (tree/walk.ts): here is what is promised about it, what
// is in the way, and what is counted.
// Never follows a symbolic link within the trees, whoever exchanges names in them meanwhile.

import { currentBackend } from "../backend/choose.ts";
import type { Backend, CopyHow, Path } from "../backend/interface.ts";
import { makePath } from "../fs/mkdir-recursive.ts";
import { type Limits, limited, throwIfAborted } from "../node/abort.ts";
import { validateBoolean, validateFunction, validateInteger, validateObject } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { clockMs } from "../node/clock.ts";
import { ENOENT } from "../node/errno.ts";
import { abortError, errnoOf, systemError } from "../node/errors.ts";
import { type FileInfo, isDirectory, isRegular, isSymbolicLink, permissions } from "../node/file-info.ts";
import { folderOf } from "../node/folder-of.ts";
import { lateRejection } from "../node/late-error.ts";
import { FOLDER_MODE } from "../node/open-flags.ts";
import { validateLimits } from "../node/options.ts";
import { pathIn, toPath } from "../node/path.ts";
import { timesOf } from "../node/set-attributes.ts";
import { type CopyRequest, copyOpened, DEFAULT_REQUEST, NOT_A_FILE } from "./copy-file.ts";
import { refuseOverlap } from "./overlap.ts";
import { clearAway, type FolderPair, type Place, type Plan, told } from "./plan.ts";
import { Walk } from "./walk.ts";

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
  /** Called at most every 20 ms, and at the end, with the counts so far. What it throws ends the copy. */
  onProgress?: ((counts: TreeCounts) => void) | undefined;
  /** Whether to copy an entry; a folder that is refused is not entered. */
  filter?: ((source: string, destination: string) => boolean | Promise<boolean>) | undefined;
  /** As copyFile's. */
  direct?: boolean | undefined;
}

const PROGRESS_EVERY_MS = 20;
const HOW: CopyHow = { follow: false, overwrite: true, times: true, accessed: false, dropSetId: true };

/**
 * Copies a folder (or file, or symbolic link) to `dest`: contents, permissions, times, symbolic links as they are. Folders
 * that exist are merged, files overwritten, links replaced; missing folders above `dest` are made. Hard links become
 * files of their own; set-id bits are left out where the copy does not belong to whom the source does. Resolves to the
 * counts; rejects with the first failure, when everything that was going on has ended.
 */
export async function copyTree(
  src: string | Buffer | URL,
  dest: string | Buffer | URL,
  options: CopyTreeOptions = {},
): Promise<TreeCounts> {
  const from = toPath(src, "src");
  const to = toPath(dest, "dest");
  validateObject(options, "options");
  const { concurrency = 64, onProgress, signal, filter, direct, timeoutMs } = options;
  validateInteger(concurrency, "options.concurrency", 1, 256);
  if (onProgress !== undefined) validateFunction(onProgress, "options.onProgress");
  validateLimits({ signal, timeoutMs });
  if (filter !== undefined) validateFunction(filter, "options.filter");
  if (direct !== undefined) validateBoolean(direct, "options.direct");
  throwIfAborted(signal);
  const backend = currentBackend();
  await refuseOverlap(from, to);
  await makePath(backend, folderOf(to), FOLDER_MODE);
  const request = { ...DEFAULT_REQUEST, direct: direct ?? false };
  const run = (until: AbortSignal | undefined): Promise<TreeCounts> =>
    new TreeCopy(backend, { concurrency, onProgress, filter }, request, until ?? null).run(from, to);
  return timeoutMs === undefined ? run(signal) : limited({ signal, timeoutMs }, "cp", run, from, to);
}

type Callbacks = Pick<CopyTreeOptions, "onProgress" | "filter"> & { concurrency: number };

class TreeCopy implements Plan {
  readonly how: CopyHow = HOW;
  readonly signal: AbortSignal | null;
  readonly concurrency: number;
  readonly request: CopyRequest;
  readonly alone: boolean;
  readonly filter: Plan["filter"];
  readonly join: Plan["join"] = pathIn;
  readonly #backend: Backend;
  readonly #onProgress: CopyTreeOptions["onProgress"];
  readonly #counts: TreeCounts = { files: 0, directories: 0, symlinks: 0, bytes: 0, skipped: 0 };
  #toldAt = 0;

  constructor(backend: Backend, callbacks: Callbacks, request: CopyRequest, signal: AbortSignal | null) {
    const { concurrency, onProgress, filter } = callbacks;
    this.#backend = backend;
    this.#onProgress = onProgress;
    this.signal = signal;
    this.concurrency = concurrency;
    this.request = { ...request, signal };
    this.alone = request.direct;
    this.filter = filter === undefined ? null : (from, to) => filter(String(from), String(to));
  }

  async run(from: Path, to: Path): Promise<TreeCounts> {
    const info = await this.#backend.lookup(from, true);
    if (typeof info === "number") return lateRejection(() => systemError(info, "lstat", from));
    if (this.filter === null || (await this.filter(from, to))) {
      const [source, target] = [from, to].map((path) => ({ real: path, shown: path })) as [Place, Place];
      if (isDirectory(info)) await new Walk(this.#backend, this).folder(from, to);
      else if (isRegular(info)) await this.#file(source, target);
      else await this.special(source, target, info, false);
    }
    if (this.signal?.aborted) throw abortError(this.signal);
    this.#onProgress?.({ ...this.#counts });
    return this.#counts;
  }

  async #file(from: Place, to: Place): Promise<void> {
    const wish = { ...this.request, within: { ...HOW, regularOnly: true } };
    const bytes = await copyOpened(this.#backend, from.real, to.real, wish, false);
    if (bytes === NOT_A_FILE) throw systemError(errnoOf("ELOOP"), "copyfile", from.shown, to.shown);
    this.copied(bytes);
  }

  /** Only the root may be a link to a folder: that is opened so. */
  async merge(from: Place, to: Place): Promise<{ follow: boolean }> {
    const follow = to.real === to.shown;
    const there = await this.#backend.lookup(to.real, !follow);
    if (typeof there === "number") throw systemError(there, "lstat", to.shown); // It has gone since mkdir met it.
    if (!isDirectory(there)) throw systemError(errnoOf("ENOTDIR"), "cp", from.shown, to.shown);
    return { follow };
  }

  copied(size: number): void {
    this.#counts.files++;
    this.#counts.bytes += size;
    this.#tell();
  }

  async clear(): Promise<boolean> {
    return false; // everything is overwritten
  }

  /** FIFOs, sockets and devices are passed over. */
  async special(from: Place, to: Place, info: FileInfo, fresh: boolean): Promise<void> {
    if (!isSymbolicLink(info)) {
      this.#counts.skipped++;
      return;
    }
    if (!fresh) await this.#makeWay(from, to);
    const target = await told(() => bun.readlink(from.real, { encoding: "buffer" }), "readlink", from.shown);
    await told(() => this.#backend.symlink(target, to.real), "symlink", target, to.shown);
    await told(() => bun.lutimes(to.real, ...timesOf(info)), "lutime", to.shown);
    this.#counts.symlinks++;
    this.#tell();
  }

  /** Anything in the way of a link goes, unless it is a folder. */
  async #makeWay(from: Place, to: Place): Promise<void> {
    const there = await this.#backend.lookup(to.real, true);
    if (there === ENOENT) return;
    if (typeof there === "number") throw systemError(there, "lstat", to.shown);
    if (isDirectory(there)) throw systemError(errnoOf("EISDIR"), "cp", from.shown, to.shown);
    await clearAway(this.#backend, to);
  }

  attributes({ info, target }: FolderPair, mode: number): { info: FileInfo; mode: number | null } {
    return { info: info!, mode: permissions(target!) === mode ? null : mode };
  }

  folderDone(): void {
    this.#counts.directories++;
    this.#tell();
  }

  #tell(): void {
    if (this.#onProgress === undefined) return;
    const now = clockMs();
    if (now - this.#toldAt < PROGRESS_EVERY_MS) return;
    this.#toldAt = now;
    this.#onProgress({ ...this.#counts });
  }
}
