// Entries of folders as node:fs shows them: Dirents whose names are text, Buffers or in another encoding.
// Assumes names and types as the backend lists them; never looks at an entry itself.

import type { Dirent } from "node:fs";
import { join } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import type { OpenFile, Path } from "../backend/interface.ts";
import { bunFs } from "../node/bun-fs.ts";
import { pathIn } from "../node/path.ts";

/** Bun's Dirent, as libuv's types describe an entry. */
const DirentClass = bunFs.Dirent as unknown as new (name: Buffer | string, type: number, path: string) => Dirent;
/** libuv's UV_DIRENT_ numbers by readdir(3)'s DT_. */
const DIRENT_TYPES: Readonly<Record<number, number>> = { 8: 1, 4: 2, 10: 3, 1: 4, 12: 5, 2: 6, 6: 7 };

const isUtf8 = (encoding: unknown): boolean => !encoding || encoding === "utf8" || encoding === "utf-8";

/** Bytes in the encoding that was asked for, "buffer" included. */
export function asEncoded(bytes: Buffer, encoding: string | null | undefined): string | Buffer {
  return encoding === "buffer" ? bytes : bytes.toString((encoding || "utf8") as BufferEncoding);
}

/** What is listed, and how it is shown. */
export interface Listing {
  /** The path that was given: what entries at the top have as parent. */
  path: Path;
  encoding: string | null | undefined;
  recursive: boolean;
}

const shown = (name: string | Buffer, encoding: Listing["encoding"]): string | Buffer =>
  typeof name === "string" ? name : asEncoded(name, encoding);

type Visit = (folder: string | Buffer, names: (string | Buffer)[], types: Uint8Array) => void;

/** Names as text where that is asked for, else as bytes. */
function list(where: Path | OpenFile, recursive: boolean, encoding: Listing["encoding"], visit: Visit): Promise<void> {
  const backend = currentBackend();
  return isUtf8(encoding)
    ? backend.list(where, recursive, "text", visit)
    : backend.list(where, recursive, "bytes", visit);
}

/** The Dirents of a folder given by its path, or open; with `recursive` of those below it, too. */
export async function direntsOf(where: Path | OpenFile, { path, encoding, recursive }: Listing): Promise<Dirent[]> {
  const entries: Dirent[] = [];
  const top = path.toString();
  await list(where, recursive, encoding, (folder, names, types) => {
    const parent = folder.length === 0 ? top : join(top, folder.toString());
    for (let i = 0; i < names.length; i++)
      entries.push(new DirentClass(shown(names[i]!, encoding), DIRENT_TYPES[types[i]!] ?? 0, parent));
  });
  return entries;
}

/** The paths from the folder of all that is in it and below. */
export async function pathsBelow(path: Path, encoding: string | null | undefined): Promise<(string | Buffer)[]> {
  const paths: (string | Buffer)[] = [];
  await list(path, true, encoding, (folder, names) => {
    for (const name of names) paths.push(shown(pathIn(folder, name), encoding));
  });
  return paths;
}

const { lstatSync, readdirSync } = bunFs;

/** As `direntsOf` for an open folder, at once: as long as that takes. */
export function direntsOfSync(fd: number, { path, encoding, recursive }: Listing): Dirent[] {
  const entries: Dirent[] = [];
  const top = path.toString();
  const folders: Buffer[] = [Buffer.alloc(0)];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const real = Buffer.from(`/proc/self/fd/${fd}/${folder.toString("latin1")}`, "latin1");
    const parent = folder.length === 0 ? top : join(top, folder.toString());
    for (const name of namesSync(real, fd)) {
      const stats = lstatSync(pathIn(real, name), { throwIfNoEntry: false });
      const type = stats === undefined ? 0 : (stats.mode & bunFs.constants.S_IFMT) >>> 12;
      entries.push(new DirentClass(asEncoded(name, encoding), DIRENT_TYPES[type] ?? 0, parent));
      if (recursive && stats?.isDirectory()) folders.push(pathIn(folder, name) as Buffer);
    }
  }
  return entries;
}

/** None of a folder that has been removed since it was opened. */
function namesSync(real: Buffer, fd: number): Buffer[] {
  try {
    return readdirSync(real, { encoding: "buffer" });
  } catch (error) {
    const isGone = (error as NodeJS.ErrnoException).code === "ENOENT";
    if (isGone && lstatSync(`/proc/self/fd/${fd}`, { throwIfNoEntry: false }) !== undefined) return [];
    throw error;
  }
}
