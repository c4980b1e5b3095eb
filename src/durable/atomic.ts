// writeFileAtomic: a file that is, at every moment and after every crash, the old one or the new one. A temporary name beside
// the target, write, sync, rename, sync of the folder; with `overwrite: false` a link in place of the rename, which refuses
// a name that is taken, to a file that has had no name, where the file system has such.
// Never leaves a temporary name behind but in a crash; `sweepTemp` removes those. Nobody can read it before it has its permissions.

import { constants, type Stats } from "node:fs";
import { isAbsolute } from "node:path";
import { bypassCache, currentBackend } from "../backend/choose.ts";
import { type Backend, OpenFile } from "../backend/interface.ts";
import { adopt, type CacheUse, isBypass } from "../fs/open.ts";
import { thenClose } from "../fs/whole-file.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { throwIfAborted } from "../node/abort.ts";
import { dataTaken, validateAbortSignal, validateBoolean, validateObject, validateOneOf } from "../node/arguments.ts";
import { bunFs } from "../node/bun-fs.ts";
import { systemError } from "../node/errors.ts";
import { finishAtExit } from "../node/exit.ts";
import { folderOf } from "../node/folder-of.ts";
import { FILE_MODE, parseMode } from "../node/open-flags.ts";
import { type DataChunks, fileOptions, isChunks, viewOf, type WholeData } from "../node/options.ts";
import { pathIn, toPath } from "../node/path.ts";
import { bytesOf } from "../node/views.ts";
import { writeAllSync } from "./at-exit.ts";
import { syncFolderHere, syncFolderOf } from "./directory-sync.ts";
import { keepFromSweeps, temporaryBeside } from "./temporary.ts";

/** Of a file that gets its permissions when it is whole: what it replaces may be nobody else's to read. */
const UNFINISHED_MODE = 0o600;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** A new file up to this length is opened, written and closed in one go: nothing of it is to be seen meanwhile, or stopped. */
const AT_ONCE_BYTES = 1024 * 1024;
/** With and without set-user-ID and set-group-ID, which are the owner's alone. */
const [ALL_MODE_BITS, PERMISSIONS, GROUP_BITS] = [0o7777, 0o777, 0o070];
/** Backend.keepXattrs: the access control list is not to be had. */
const NO_LIST = 8;

/** What is on the device when a call resolves: nothing for sure, the data, or the data and the name. */
export type Durability = "none" | "data" | "full";
const DURABILITIES: Durability[] = ["none", "data", "full"];

export const validateDurability = (value: Durability): void => validateOneOf(value, "options.durability", DURABILITIES);

/** How `writeFileAtomic` replaces, and how much survives a power cut. */
export interface AtomicOptions {
  /**
   * "full" (default): after a power cut the new file is there; "data": the old or the new one, whole; "none": whole for every
   * process, but a power cut may leave an empty file.
   */
  durability?: Durability | undefined;
  /** Permissions; default those of the file that is replaced, else 0o666 less the umask. */
  mode?: number | string | undefined;
  /** Owner and group; default those of the file that is replaced, where that is allowed. */
  owner?: { uid: number; gid: number } | undefined;
  /** false: a file that is there is not replaced, the call rejects with EEXIST. Default true. */
  overwrite?: boolean | undefined;
  encoding?: BufferEncoding | undefined;
  /** "bypass": what was written leaves the page cache, as with `open`. Default "keep". */
  cache?: CacheUse | undefined;
  signal?: AbortSignal | undefined;
}

/** AtomicOptions as they were read and checked; what is absent has its default. */
export interface Replacing extends Omit<AtomicOptions, "encoding" | "cache"> {
  mode?: number | undefined;
  bypass?: boolean | undefined;
}

/** Reads each option once: at the end of the thread nothing of the caller's runs. */
export function atomicOptions(options: AtomicOptions, byDefault: Durability = "full"): Replacing {
  const { durability = byDefault, mode, owner, overwrite = true, cache, signal } = options;
  validateDurability(durability);
  validateBoolean(overwrite, "options.overwrite");
  const bypass = isBypass(cache);
  validateAbortSignal(signal, "options.signal");
  const permissions = mode === undefined ? undefined : parseMode(mode, "options.mode", FILE_MODE);
  return { durability, mode: permissions, owner, overwrite, bypass, signal };
}

/** What an attempt has left, if it does not come to its end: the temporary file. */
interface Progress {
  temporary: string | Buffer | null;
}

/** Writes a whole file in one step: see the file's head. Follows no link at the target: a link is replaced. */
export async function writeFileAtomic(
  path: string | Uint8Array | URL,
  data: WholeData | DataChunks,
  options: AtomicOptions = {},
): Promise<void> {
  const target = fromHere(toPath(path));
  validateObject(options, "options");
  const { encoding } = fileOptions({ encoding: options.encoding });
  const bytes = isChunks(data) ? null : bytesOf(viewOf(data, "data", encoding));
  const length = bytes?.length;
  const checked = atomicOptions(options);
  const progress: Progress = { temporary: null };
  const work = replaceBy(
    target,
    checked,
    bytes ?? ((handle, signal) => handle.writeFile(data, { encoding, signal })),
    progress,
  );
  if (bytes === null || checked.signal) return work;
  await finishAtExit(work, () => {
    if (bytes.length === length) replaceHere(target, bytes, checked, progress); // else it was taken away
  });
}

/** At the end of the thread, again from the beginning, by blocking calls; what the unfinished attempt has left goes. */
function replaceHere(
  target: string | Buffer,
  bytes: Uint8Array,
  { durability, mode, owner, overwrite }: Replacing,
  { temporary: left }: Progress,
): void {
  const temporary = temporaryBeside(target);
  const old = bunFs.lstatSync(target, { throwIfNoEntry: false });
  try {
    const fd = bunFs.openSync(temporary, CREATE, old?.isFile() || mode !== undefined ? UNFINISHED_MODE : FILE_MODE);
    try {
      writeAllSync(fd, [bytes], null);
      let isOldOwners = owner === undefined || (owner.uid === old?.uid && owner.gid === old.gid);
      if (owner !== undefined) bunFs.fchownSync(fd, owner.uid, owner.gid);
      else if (old?.isFile()) isOldOwners = giveTo(fd, old);
      const found = old?.isFile() ? (currentBackend().keepXattrs(target, new OpenFile(fd), true) as number) : 0;
      if (mode !== undefined) bunFs.fchmodSync(fd, mode);
      else if (old?.isFile()) bunFs.fchmodSync(fd, modeLike(old, isOldOwners, found));
      if (durability !== "none") bunFs.fsyncSync(fd);
    } finally {
      bunFs.closeSync(fd);
    }
    if (overwrite) bunFs.renameSync(temporary, target);
    else bunFs.linkSync(temporary, target);
    if (durability === "full") syncFolderHere(target);
  } finally {
    for (const path of [temporary, left]) if (path !== null) bunFs.rmSync(path, { force: true });
  }
}

function giveTo(fd: number, { uid, gid }: Stats): boolean {
  const own = bunFs.fstatSync(fd);
  if (own.uid === uid && own.gid === gid) return true;
  try {
    bunFs.fchownSync(fd, uid, gid);
    return true;
  } catch {
    return false; // not allowed to all
  }
}

/** Fills the open file. */
type Fill = (handle: FileHandle, signal: AbortSignal | undefined) => Promise<unknown>;

/** The same, with the content from whoever fills the open file, or with bytes that nobody changes meanwhile. */
export async function replaceBy(
  path: string | Buffer,
  { durability = "full", mode, owner, overwrite = true, bypass = false, signal }: Replacing,
  content: Fill | Uint8Array,
  progress: Progress = { temporary: null },
): Promise<void> {
  throwIfAborted(signal);
  const backend = currentBackend();
  const target = fromHere(path);
  const bytes = typeof content === "function" ? null : content;
  const length = bytes?.length ?? 0;
  const fill =
    typeof content === "function"
      ? content
      : (handle: FileHandle) => handle.writeFile(untaken(content, length), { signal });
  const old = await statOf(backend, target);
  const isNew = old === null && mode === undefined && owner === undefined;
  const isAtOnce = isNew && !bypass && bytes !== null && length <= AT_ONCE_BYTES;
  const firstMode = isNew ? FILE_MODE : UNFINISHED_MODE;
  // What takes a while has no name until it is whole, and nothing is left of it; but no rename puts such a file in another's place.
  const unnamed =
    overwrite || isAtOnce ? null : await backend.openUnnamed(folderOf(target), firstMode).catch(() => null);
  const temporary = temporaryBeside(target);
  progress.temporary = unnamed === null ? temporary : null;
  let isThere = isAtOnce;
  let letSweep = (): void => {};
  try {
    if (isAtOnce) {
      letSweep = keepFromSweeps(backend, temporary);
      const flush = durability !== "none";
      const data = untaken(bytes, length);
      await backend.writeFile(temporary, data, CREATE, FILE_MODE, { flush, signal }).catch((error) => {
        isThere = error.syscall !== "open";
        throw error;
      });
    } else {
      const file = unnamed ?? (await backend.open(temporary, CREATE, firstMode));
      isThere = unnamed === null;
      if (bypass) bypassCache(file);
      if (isThere) letSweep = keepFromSweeps(backend, file);
      const handle = await adopt(file);
      const filled = async (): Promise<void> => {
        await fill(handle, signal);
        await keepAttributes(backend, file, handle, target, { old, mode, owner });
        // Not only the data: permissions are to survive as well.
        if (durability !== "none") await handle.sync();
        throwIfAborted(signal);
        if (unnamed !== null) await backend.linkUnnamed(file, target);
      };
      // What close says (a file server's quota) comes before the old file is gone.
      await thenClose(handle, filled());
    }
    if (unnamed === null) {
      throwIfAborted(signal);
      if (overwrite) {
        await backend.rename(temporary, target);
        isThere = false;
      } else {
        await backend.link(temporary, target);
      }
    }
  } finally {
    letSweep();
    if (isThere) await backend.unlink(temporary).catch(() => {});
  }
  if (durability === "full") await syncFolderOf(target);
}

/** The bytes, unless their memory was taken away since they had that length. */
function untaken(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length !== length) throw dataTaken();
  return bytes;
}

/** Where a relative path leads now: the program may go to another folder before the last of the steps. */
function fromHere<P extends string | Buffer>(path: P): P {
  if (isAbsolute(path.toString("latin1"))) return path;
  return pathIn(process.cwd(), path) as P;
}

/** The file that is to be replaced; null where there is none. Whose permissions can't be told is not replaced. */
async function statOf(backend: Backend, path: string | Buffer): Promise<Stats | null> {
  try {
    const stats = (await backend.lstat(path, false)) as Stats;
    return stats.isFile() ? stats : null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    return null; // opening says what is wrong
  }
}

/** What a file that takes another's place gets from that, or from who writes it. */
interface Attributes {
  old: Stats | null;
  mode: number | undefined;
  owner: { uid: number; gid: number } | undefined;
}

async function keepAttributes(
  backend: Backend,
  file: OpenFile,
  handle: FileHandle,
  target: string | Buffer,
  { old, mode, owner }: Attributes,
): Promise<void> {
  let isOldOwners = owner === undefined || (owner.uid === old?.uid && owner.gid === old.gid);
  if (owner !== undefined) {
    await handle.chown(owner.uid, owner.gid);
  } else if (old !== null) {
    const own = await handle.stat();
    if (own.uid !== old.uid || own.gid !== old.gid)
      // Not allowed to all: then the file is the writer's, as an editor's would be.
      await handle.chown(old.uid, old.gid).catch(() => {
        isOldOwners = false;
      });
  }
  // Before the permissions, which say what the list's entries are worth.
  const found = old === null ? 0 : await backend.keepXattrs(target, file, false);
  if (found < 0) throw systemError(found, "fsetxattr");
  if (mode !== undefined)
    await handle.chmod(mode); // whatever the umask is
  else if (old !== null) await handle.chmod(modeLike(old, isOldOwners, found));
}

/** The old file's mode. Without its access control list (`found` says so) the group has no more than that left it. */
function modeLike({ mode }: Stats, isOldOwners: boolean, found: number): number {
  const bits = mode & (isOldOwners ? ALL_MODE_BITS : PERMISSIONS);
  return found < NO_LIST ? bits : (bits & ~GROUP_BITS) | ((found & 7) << 3);
}
