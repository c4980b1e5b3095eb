// Trees on the node backend: Bun's own rm and readdir, with what they don't tell. Where a folder must stay the one that was
// opened, its names are reached through its descriptor, as /proc/self/fd/N/name: node:fs has no dirfd.
// Assumes validated paths. Nothing here is tuned.

import type * as fs from "node:fs";
import { bun, bunFs } from "../node/bun-fs.ts";
import { closedError, retold } from "../node/errors.ts";
import { isRegular } from "../node/file-info.ts";
import { lateRejection, passedOn } from "../node/late-error.ts";
import { pathIn } from "../node/path.ts";
import {
  ANOTHER_WAY,
  type Backend,
  type Named,
  type NamesAs,
  OpenFile,
  type Path,
  type VisitNames,
} from "./interface.ts";

type Failure = NodeJS.ErrnoException;
type Name = string | Buffer;

const { lstatSync } = bunFs;
const { lstat, readdir, rm, rmdir, unlink, open } = bun;
const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, S_IFMT } = bunFs.constants;
/** Folders that are listed at a time. */
const FOLDERS = 4;
/** Levels below which an error is told as Bun tells it: each costs a descriptor. */
const MAX_DEPTH = 200;
const REPLACED = "\ufffd";
/** What rmdir says of a folder that has something in it (or can't be removed: then its entries may tell more). */
const NOT_EMPTY = new Set(["ENOTEMPTY", "EEXIST", "EPERM"]);

/** A folder's own path while it is open: names below it are looked up in that folder, whatever its name leads to by then. */
const pathOfOpen = (fd: number): string => `/proc/self/fd/${fd}`;

/* ---- removing ------------------------------------------------------------------------------------------------------ */

/** Backend.removeTree. Bun's rm tells the root only: what stands in the way is found by removing what it has left. */
export async function removeTree(path: Path): Promise<void> {
  await lstat(path).catch((error: unknown) => lateRejection(() => retold(error, "lstat", path)));
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (typeof (error as Failure).errno !== "number") throw error;
    await removeFolder(path, path, 0, error);
  }
}

/** `real` is how the folder is reached, `shown` its path; names in it are reached through its descriptor. */
async function removeFolder(real: Path, shown: Path, depth: number, reason: unknown): Promise<void> {
  if (depth > MAX_DEPTH) throw reason;
  const folder = await open(real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).catch((error: Failure) => error);
  if (folder instanceof Error) {
    if (folder.code === "ENOENT") return;
    if (folder.code === "ENOTDIR" || folder.code === "ELOOP") return attempt("unlink", shown, () => unlink(real));
    return removeUnreadable(real, shown, folder);
  }
  try {
    const beneath = pathOfOpen(folder.fd);
    for (const name of await readdir(beneath, { encoding: "buffer" })) {
      const entry = pathIn(Buffer.from(beneath), name);
      await removeEntry(entry, pathIn(Buffer.from(shown as string), name), depth, reason);
    }
    await attempt("rmdir", shown, () => rmdir(real));
  } finally {
    await folder.close();
  }
}

async function removeEntry(real: Path, shown: Path, depth: number, reason: unknown): Promise<void> {
  const stats = await lstat(real).catch((error: Failure) => error);
  if (stats instanceof Error) {
    if (stats.code === "ENOENT") return;
    throw retold(stats, "lstat", shown);
  }
  if (stats.isDirectory()) await removeFolder(real, shown, depth + 1, reason);
  else await attempt("unlink", shown, () => unlink(real));
}

/** What is gone already is removed. */
async function attempt(syscall: string, shown: Path, call: () => Promise<void>): Promise<void> {
  try {
    await call();
  } catch (error) {
    if ((error as Failure).code !== "ENOENT") throw retold(error, syscall, shown);
  }
}

async function removeUnreadable(real: Path, shown: Path, unreadable: Failure): Promise<void> {
  try {
    await rmdir(real);
  } catch (error) {
    const { code } = error as Failure;
    if (code === "ENOENT") return;
    throw NOT_EMPTY.has(code!) ? retold(unreadable, "scandir", shown) : retold(error, "rmdir", shown);
  }
}

/** Told by /proc, where there is one. */
const isOpen = (fd: number): boolean => lstatSync(pathOfOpen(fd), { throwIfNoEntry: false }) !== undefined;

/* ---- listing ------------------------------------------------------------------------------------------------------- */

/** Backend.list. */
export async function list<N extends NamesAs>(
  where: Path | OpenFile,
  recursive: boolean,
  namesAs: N,
  visit: VisitNames<N>,
): Promise<void> {
  const file = where instanceof OpenFile ? where : null;
  if (file !== null && file.fd < 0) throw closedError("scandir");
  const root = file === null ? (where as Path) : pathOfOpen(file.fd);
  const waiting: Name[] = [""];
  let busy = 0;
  const one = async (folder: Name): Promise<void> => {
    const [names, types] = await namesOf(pathIn(root, folder), namesAs).catch((error: unknown) => {
      // An open folder that has been removed holds nothing. Below the root: gone, or something else by now.
      if (file !== null && folder.length === 0 && (error as Failure).code === "ENOENT" && isOpen(file.fd))
        return [[], []] as const;
      if (folder.length > 0 && ["ENOENT", "ENOTDIR", "ELOOP"].includes((error as Failure).code!))
        return [[], []] as const;
      throw retold(error, "scandir", file === null ? pathIn(root, folder) : folder.length > 0 ? folder : undefined);
    });
    if (recursive)
      for (const [i, type] of types.entries()) if (type === DT_DIR) waiting.push(pathIn(folder, names[i]!));
    if (names.length > 0) visit(as(folder, namesAs), names as Named<N>[], Uint8Array.from(types));
  };
  const worker = async (): Promise<void> => {
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      busy++;
      await one(folder).finally(() => busy--);
    }
  };
  if (file !== null) file.inFlight++;
  try {
    // The last worker to find nothing waiting may have been overtaken by one that has found more.
    while (waiting.length > 0 || busy > 0) await Promise.all(Array.from({ length: FOLDERS }, worker));
  } catch (error) {
    return passedOn(error); // between it and who waits stands Promise.all
  } finally {
    if (file !== null && --file.inFlight === 0 && file.closing !== null) file.closing();
  }
}

function as<N extends NamesAs>(name: Name, namesAs: N): Named<N> {
  if (namesAs === "text") return name.toString() as Named<N>;
  return (namesAs === "bytes" ? Buffer.from(name as string) : name) as Named<N>;
}

const DT_DIR = 4;
/** DT_ numbers are the type bits of a mode, shifted. */
const typeOf = (mode: number): number => (mode & S_IFMT) >>> 12;
const TYPES: [keyof fs.Dirent, number][] = [
  ["isFile", 8],
  ["isDirectory", DT_DIR],
  ["isSymbolicLink", 10],
  ["isFIFO", 1],
  ["isSocket", 12],
  ["isCharacterDevice", 2],
  ["isBlockDevice", 6],
];

/** Names and their types. Bun gives no Dirents with names of bytes: then each is looked at. */
async function namesOf(folder: Path, namesAs: NamesAs): Promise<[Name[], number[]]> {
  if (namesAs !== "bytes" && typeof folder === "string") {
    const entries = await readdir(folder, { withFileTypes: true });
    const names = entries.map((entry) => entry.name);
    if (namesAs === "text" || !names.some((name) => name.includes(REPLACED)))
      return [names, entries.map((entry) => TYPES.find(([is]) => (entry[is] as () => boolean)())?.[1] ?? 0)];
  }
  const names = await readdir(folder, { encoding: "buffer" });
  const types = names.map((name) =>
    lstat(pathIn(Buffer.from(folder as string), name)).then(
      (stats) => typeOf(stats.mode),
      () => 0,
    ),
  );
  return [namesAs === "text" ? names.map(String) : names, await Promise.all(types)];
}

/* ---- copying ------------------------------------------------------------------------------------------------------- */

/** A copy up to this long needs neither progress nor a look at its signal. */
const SMALL_COPY_BYTES = 256 * 1024;

/**
 * Backend.copySmall by Bun's own copyFile, once both ends have been looked at: it would open a FIFO, fills holes, and does not say
 * what it has created.
 */
export async function copySmallFile(backend: Backend, from: Path, to: Path, exclusive: boolean): Promise<number> {
  const [source, target] = await Promise.all([backend.lookup(from, false), backend.lookup(to, true)]);
  if (typeof source === "number" || !isRegular(source) || source.size > SMALL_COPY_BYTES) return ANOTHER_WAY;
  const isNew = typeof target === "number";
  const hasHoles = source.blocks * 512 < source.size;
  if (hasHoles || (!isNew && (exclusive || !isRegular(target)))) return ANOTHER_WAY;
  return new Promise((resolve) => {
    bunFs.copyFile(from, to, isNew ? bunFs.constants.COPYFILE_EXCL : 0, (error) => {
      if (!error) return resolve(source.size);
      // The other way says what is wrong, to a place where nothing of this one is left.
      if (!isNew || error.code === "EEXIST") return resolve(ANOTHER_WAY);
      bunFs.unlink(to, () => resolve(ANOTHER_WAY));
    });
  });
}
