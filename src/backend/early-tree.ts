// cp of a small tree, or of a file, to where nothing is yet, in a process that has done little (early.ts): Bun's own calls on
// open folders, without the walk that cp is else (tree/walk.ts), for that is code that would have to be read.
// Says whether all is done. If not, for whatever reason, the long way does it again, over what has been made, and says what is wrong.

import type { Dirent, Stats } from "node:fs";
import { dirname, resolve } from "node:path";
import { bun, bunFs } from "../node/bun-fs.ts";
import { begin, end } from "./early.ts";
import { beginChange, endChange } from "./node-pool.ts";

/** More names than that, or folders in each other, are not a small tree. */
const [MAX_NAMES, MAX_DEPTH] = [400, 16];
/** Files of one folder at once: each has a descriptor. */
const FILES = 16;
const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, COPYFILE_EXCL, S_IFMT, S_IFREG } = bunFs.constants;
const IN_FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

/** A folder as it was listed, before anything was copied. */
interface Folder {
  readonly name: string;
  readonly files: string[];
  readonly links: string[];
  readonly folders: Folder[];
}

/** Why this way does not do. */
const otherwise = (): never => {
  throw new Error("not a small tree of files, folders and links");
};

/** Counts what the pool does until it has ended. */
function counted<T>(operation: Promise<T>): Promise<T> {
  begin();
  beginChange();
  const ended = (): void => {
    end();
    endChange();
  };
  operation.then(ended, ended);
  return operation;
}

function withCallback<T>(start: (done: (error: unknown, value?: T) => void) => void): Promise<T> {
  return counted(new Promise((done, fail) => start((error, value) => (error ? fail(error) : done(value as T)))));
}

const open = (path: string, flags: number): Promise<number> => withCallback((done) => bunFs.open(path, flags, done));
const statOf = (fd: number): Promise<Stats> => withCallback((done) => bunFs.fstat(fd, done));
const close = (fd: number): Promise<void> => withCallback((done) => bunFs.close(fd, done));
const below = (fd: number, name: string): string => `/proc/self/fd/${fd}/${name}`;
/** The bytes of a path as characters: what it is joined with may be no text. */
const latin1 = (path: string): string => Buffer.from(path).toString("latin1");

/** Copies `from`, a folder only if `recursive`, to `to`, which must be missing. Whether it has; never rejects. */
export async function copyTree(from: string, to: string, recursive: boolean): Promise<boolean> {
  try {
    const [info, , ...above] = await Promise.all([
      counted(bun.lstat(from)),
      counted(bun.lstat(to)).then(otherwise, (error) => (error.code === "ENOENT" ? undefined : otherwise())),
      ...foldersAbove(to).map((folder) => counted(bun.stat(folder))),
    ]);
    if (info.isFile()) {
      await copyFile(from, to);
      return true;
    }
    if (!info.isDirectory() || !recursive || above.some(({ dev, ino }) => dev === info.dev && ino === info.ino))
      return false;
    const real = await counted(bun.realpath(from));
    if (`${await counted(bun.realpath(dirname(to)))}/`.startsWith(`${real}/`)) return false;
    const folder = await list(from, "", 0, { names: 0 });
    await copyFolder(folder, from, to, from);
    return true;
  } catch {
    return false;
  }
}

function foldersAbove(path: string): string[] {
  const found: string[] = [];
  for (let folder = dirname(resolve(path)); found.at(-1) !== folder; folder = dirname(folder)) found.push(folder);
  return found;
}

async function list(path: string, name: string, depth: number, seen: { names: number }): Promise<Folder> {
  if (depth > MAX_DEPTH) otherwise();
  const entries = await counted(bun.readdir(path, { withFileTypes: true }));
  seen.names += entries.length;
  if (seen.names > MAX_NAMES) otherwise(); // names that are no text are found missing
  const of = (is: (entry: Dirent) => boolean): string[] => entries.filter(is).map((entry) => entry.name);
  const files = of((entry) => entry.isFile());
  const links = of((entry) => entry.isSymbolicLink());
  const folders = of((entry) => entry.isDirectory());
  if (files.length + links.length + folders.length < entries.length) otherwise();
  const all = folders.map((folder) => list(`${path}/${folder}`, folder, depth + 1, seen));
  return { name, files, links, folders: await Promise.all(all) };
}

/** `shown`: the path that relative links in it start from. */
async function copyFolder(folder: Folder, from: string, to: string, shown: string): Promise<void> {
  const source = await open(from, IN_FOLDER);
  try {
    const { mode } = await statOf(source);
    await counted(bun.mkdir(to, (mode & 0o1777) | 0o700));
    const target = await open(to, IN_FOLDER);
    try {
      await copyNames(folder, source, target, shown);
      if (((await statOf(target)).mode ^ mode) & 0o7777)
        await withCallback((done) => bunFs.fchmod(target, mode & 0o7777, done));
    } finally {
      await close(target);
    }
  } finally {
    await close(source);
  }
}

async function copyNames({ files, links, folders }: Folder, from: number, to: number, shown: string): Promise<void> {
  let next = 0;
  const some = async (): Promise<void> => {
    while (next < files.length) {
      const name = files[next++]!;
      await copyFile(below(from, name), below(to, name));
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(FILES, files.length) }, some));
  if (ends.some(({ status }) => status === "rejected")) otherwise();
  for (const name of links) {
    const text = await counted(bun.readlink(below(from, name), { encoding: "buffer" }));
    const link = text.toString("latin1");
    const target = link[0] === "/" ? text : Buffer.from(resolve(latin1(process.cwd()), latin1(shown), link), "latin1");
    await counted(bun.symlink(target as never, below(to, name)));
  }
  for (const folder of folders) {
    const { name } = folder;
    await copyFolder(folder, below(from, name), below(to, name), `${shown}/${name}`);
  }
}

/** By Bun's own copyFile, which would open a FIFO, follow a link that has been put there, and fill holes: so of an open file. */
async function copyFile(from: string, to: string): Promise<void> {
  const fd = await open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const { mode, size, blocks } = await statOf(fd);
    if ((mode & S_IFMT) !== S_IFREG || blocks * 512 < size) otherwise();
    await counted(bun.copyFile(`/proc/self/fd/${fd}`, to, COPYFILE_EXCL));
  } finally {
    await close(fd);
  }
}
