// Folders: readdir, opendir, mkdtemp, and glob, which looks into folders. io_uring has no opcode that reads one.
// Bun's own API does the work; what it lacks of Node's (Dirents with Buffer names, error texts) is made up here.

import type {
  BufferEncodingOption,
  Dir,
  Dirent,
  EncodingOption,
  GlobOptions,
  GlobOptionsWithFileTypes,
  GlobOptionsWithoutFileTypes,
  ObjectEncodingOptions,
  OpenDirOptions,
  PathLike,
} from "node:fs";
import * as fs from "node:fs";
import type { DisposableTempDir } from "node:fs/promises";
import { normalize, resolve } from "node:path";
import { validateInteger, validateObject } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { systemError } from "../node/errors.ts";
import { fileOptions } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { rm } from "../tree/rm.ts";
import { delegate } from "./delegated.ts";

type Folder = { recursive?: boolean | undefined };
type Types = { withFileTypes: true };
type NoTypes = { withFileTypes?: false | undefined };
type ReaddirOptions = ObjectEncodingOptions & Folder & { withFileTypes?: boolean | undefined };

/**
 * The names in a folder, in no order; those below it too with `recursive`, as paths from it. Dirents with
 * `withFileTypes`, Buffers with the encoding "buffer".
 */
export function readdir(
  path: PathLike,
  options?: (ObjectEncodingOptions & NoTypes & Folder) | BufferEncoding | null,
): Promise<string[]>;
export function readdir(
  path: PathLike,
  options: ({ encoding: "buffer" } & NoTypes & Folder) | "buffer",
): Promise<NonSharedBuffer[]>;
export function readdir(
  path: PathLike,
  options?: (ObjectEncodingOptions & NoTypes & Folder) | BufferEncoding | null,
): Promise<string[] | NonSharedBuffer[]>;
export function readdir(path: PathLike, options: ObjectEncodingOptions & Types & Folder): Promise<Dirent[]>;
export function readdir(
  path: PathLike,
  options: { encoding: "buffer" } & Types & Folder,
): Promise<Dirent<NonSharedBuffer>[]>;
export async function readdir(path: PathLike, options?: unknown): Promise<any> {
  const { encoding, recursive, withFileTypes } = fileOptions(options) as ReaddirOptions & { encoding: any };
  const checked = toPath(path);
  const wish = { encoding, recursive: Boolean(recursive), withFileTypes: Boolean(withFileTypes) };
  if (!withFileTypes) return delegate("scandir", checked, () => bun.readdir(checked, wish as any));
  if (!isUtf8(encoding)) return encodedDirents(checked, wish.recursive, encoding);
  const entries = (await delegate("scandir", checked, () => bun.readdir(checked, wish as any))) as unknown as Dirent[];
  return wish.recursive ? entries.map(parentAsGiven(checked)) : entries;
}

const isUtf8 = (encoding: unknown): boolean => !encoding || encoding === "utf8" || encoding === "utf-8";

/** Bun tells the tidied path of the folder that was asked for, which of "." is nothing at all. */
function parentAsGiven(path: string | Buffer): (entry: Dirent) => Dirent {
  const given = path.toString();
  const tidied = normalize(given).replace(/(?<=.)\/+$/, "");
  const told = tidied === "." ? "" : tidied;
  return (entry) => (entry.parentPath === told ? Object.assign(entry, { parentPath: given, path: given }) : entry);
}

/** Dirents whose names are made of the bytes that the file system has; Bun gives none as Buffers, and some paths in hex. */
async function encodedDirents(path: string | Buffer, recursive: boolean, encoding: string): Promise<Dirent[]> {
  const wish = { encoding: "buffer", recursive } as any;
  const names = (await delegate("scandir", path, () => bun.readdir(path, wish))) as unknown as Buffer[];
  const parent = pathBytes(path);
  return Promise.all(
    names.map(async (name) => {
      const stats = await bun.lstat(Buffer.concat([parent, name])).catch(() => null);
      return encodedDirent(path, name, stats, encoding);
    }),
  );
}

/** An entry by its bytes, relative to the folder that was asked for. */
function encodedDirent(path: string | Buffer, name: Buffer, stats: fs.Stats | null, encoding: string): Dirent {
  const slash = name.lastIndexOf(SLASH);
  const above = slash < 0 ? path.toString() : `${pathBytes(path)}${name.toString("utf8", 0, slash)}`;
  const own = name.subarray(slash + 1);
  const shown = encoding === "buffer" ? own : own.toString(encoding as BufferEncoding);
  return new DirentClass(shown, direntType(stats), above);
}

const SLASH = Buffer.from("/");
/** What goes before a name in the folder. */
const pathBytes = (path: string | Buffer): Buffer =>
  path.toString().endsWith("/") ? Buffer.from(path) : Buffer.concat([Buffer.from(path), SLASH]);
/** Bun's Dirent, as libuv's types describe an entry. */
const DirentClass = fs.Dirent as unknown as new (name: Buffer | string, type: number, path: string) => Dirent;
const direntTypes = (): [number, number][] => {
  const { constants } = fs as unknown as { constants: Record<string, number> };
  const kinds = ["FILE/REG", "DIR/DIR", "LINK/LNK", "FIFO/FIFO", "SOCKET/SOCK", "CHAR/CHR", "BLOCK/BLK"];
  return kinds.map((kind) => {
    const [dirent, mode] = kind.split("/");
    return [constants[`S_IF${mode}`]!, constants[`UV_DIRENT_${dirent}`]!];
  });
};

function direntType(stats: fs.Stats | null): number {
  if (stats === null) return 0;
  return direntTypes().find(([mode]) => (stats.mode & fs.constants.S_IFMT) === mode)?.[1] ?? 0;
}

/** Opens a folder to be read entry by entry: a Dir of node:fs, which is iterated and closes itself at the end. */
export async function opendir(path: PathLike, options?: OpenDirOptions): Promise<Dir> {
  const checked = toPath(path);
  const { encoding, bufferSize, recursive } = fileOptions(options) as OpenDirOptions & { encoding: string };
  if (bufferSize !== undefined) validateInteger(bufferSize, "options.bufferSize", 1, 2 ** 32 - 1);
  const told = isUtf8(encoding);
  const wish = { encoding: told ? "utf8" : "buffer", recursive: Boolean(recursive) } as OpenDirOptions;
  const dir = await delegate("opendir", checked, () => bun.opendir(checked as string, wish));
  if (!told) return withEncoding(dir, checked, encoding);
  return recursive ? mapped(dir, parentAsGiven(checked), parentAsGiven(checked)) : dir;
}

/** Bun's Dir gives bare names where they are to be Buffers. */
function withEncoding(dir: Dir, path: string | Buffer, encoding: string): Dir {
  const full = (name: Buffer): Buffer => Buffer.concat([pathBytes(path), name]);
  const make = (name: Buffer, stats: fs.Stats | null): Dirent => encodedDirent(path, name, stats, encoding);
  return mapped<Buffer>(
    dir,
    async (name) => make(name, await bun.lstat(full(name)).catch(() => null)),
    (name) => make(name, fs.lstatSync(full(name), { throwIfNoEntry: false }) ?? null),
  );
}

/** The same Dir, whose entries are `async` or `sync` of what Bun's gives. Its iterator and its callbacks go through these. */
function mapped<T = Dirent>(dir: Dir, async: (entry: T) => Dirent | Promise<Dirent>, sync: (entry: T) => Dirent): Dir {
  const plain = { read: dir.read.bind(dir) as () => Promise<T | null>, readSync: dir.readSync.bind(dir) };
  const read = async (): Promise<Dirent | null> => {
    const entry = await plain.read();
    return entry === null ? null : async(entry);
  };
  return Object.assign(dir, {
    read(done?: (error: NodeJS.ErrnoException | null, entry: Dirent | null) => void): any {
      if (done === undefined) return read();
      read().then(
        (entry) => done(null, entry),
        (error) => done(error, null),
      );
    },
    readSync(): Dirent | null {
      const entry = plain.readSync() as T | null;
      return entry === null ? null : sync(entry);
    },
  });
}

/** Makes a folder with a name of its own: `prefix` and six random characters, mode 0o700. Resolves to its path. */
export function mkdtemp(prefix: PathLike, options?: EncodingOption): Promise<string>;
export function mkdtemp(prefix: PathLike, options: BufferEncodingOption): Promise<NonSharedBuffer>;
export function mkdtemp(prefix: PathLike, options?: EncodingOption): Promise<string | NonSharedBuffer>;
export async function mkdtemp(prefix: PathLike, options?: unknown): Promise<any> {
  const { encoding } = fileOptions(options);
  const checked = toPath(prefix, "prefix");
  try {
    // Bun refuses a prefix of nothing, which in Node makes a folder here.
    if (checked.length === 0) return asEncoded((await bun.mkdtemp("./")).slice(2), encoding);
    return await bun.mkdtemp(checked as string, { encoding } as EncodingOption);
  } catch (error) {
    const { errno, path } = error as NodeJS.ErrnoException;
    throw typeof errno === "number" ? systemError(errno, "mkdtemp", path ?? `${checked}XXXXXX`) : error;
  }
}

function asEncoded(text: string, encoding: string | null | undefined): string | Buffer {
  const bytes = Buffer.from(text);
  return encoding === "buffer" ? bytes : bytes.toString((encoding || "utf8") as BufferEncoding);
}

/** As mkdtemp; `remove()`, or leaving an `await using`, removes the folder with all in it. */
export async function mkdtempDisposable(prefix: PathLike, options?: EncodingOption): Promise<DisposableTempDir> {
  const path = await mkdtemp(prefix, options);
  // Wherever the process is by then.
  const full = resolve(path);
  const remove = (): Promise<void> => rm(full, { recursive: true, force: true });
  return { path, remove, [Symbol.asyncDispose]: remove };
}

/** The paths below `cwd` that match a pattern, or any of several. */
export function glob(pattern: string | readonly string[]): NodeJS.AsyncIterator<string>;
export function glob(
  pattern: string | readonly string[],
  options: GlobOptionsWithFileTypes,
): NodeJS.AsyncIterator<Dirent>;
export function glob(
  pattern: string | readonly string[],
  options: GlobOptionsWithoutFileTypes,
): NodeJS.AsyncIterator<string>;
export function glob(pattern: string | readonly string[], options: GlobOptions): NodeJS.AsyncIterator<Dirent | string>;
export function glob(pattern: string | readonly string[], options: any = {}): any {
  return globbing(pattern, options);
}

async function* globbing(pattern: string | readonly string[], options: GlobOptions): AsyncGenerator<unknown> {
  validateObject(options, "options");
  yield* bun.glob(pattern as string, options) as AsyncIterable<any>;
}
