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
import { resolve } from "node:path";
import { bun } from "./bun-fs.ts";
import { delegate, ownPath } from "./delegated.ts";
import { systemError } from "./errno.ts";
import { fileOptions } from "./options.ts";
import { rm } from "./remove.ts";
import { validateBoolean, validateInteger, validateObject } from "./validate.ts";

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
): Promise<Buffer[]>;
export function readdir(
  path: PathLike,
  options?: (ObjectEncodingOptions & NoTypes & Folder) | BufferEncoding | null,
): Promise<string[] | Buffer[]>;
export function readdir(path: PathLike, options: ObjectEncodingOptions & Types & Folder): Promise<Dirent[]>;
export function readdir(path: PathLike, options: { encoding: "buffer" } & Types & Folder): Promise<Dirent<Buffer>[]>;
export async function readdir(path: PathLike, options?: unknown): Promise<any> {
  const { encoding, recursive, withFileTypes } = fileOptions(options) as ReaddirOptions & { encoding: any };
  if (recursive !== undefined && recursive !== null) validateBoolean(recursive, "options.recursive");
  const checked = ownPath(path);
  if (withFileTypes && encoding === "buffer") return bufferDirents(checked, recursive === true);
  const wish = { encoding, recursive: recursive === true, withFileTypes: Boolean(withFileTypes) } as any;
  return delegate("scandir", checked, () => bun.readdir(checked, wish));
}

/** Dirents whose names are the bytes that the file system has; Bun gives them no name at all. */
async function bufferDirents(path: string | Buffer, recursive: boolean): Promise<Dirent[]> {
  const wish = { encoding: "buffer", recursive } as any;
  const names = (await delegate("scandir", path, () => bun.readdir(path, wish))) as unknown as Buffer[];
  const parent = Buffer.from(path);
  return Promise.all(
    names.map(async (name) => {
      const stats = await bun.lstat(Buffer.concat([parent, SLASH, name])).catch(() => null);
      const slash = name.lastIndexOf(SLASH);
      const above = slash < 0 ? path.toString() : `${path}/${name.subarray(0, slash)}`;
      return new DirentClass(name.subarray(slash + 1), direntType(stats), above);
    }),
  );
}

const SLASH = Buffer.from("/");
/** Bun's Dirent, as libuv's types describe an entry. */
const DirentClass = fs.Dirent as unknown as new (name: Buffer, type: number, path: string) => Dirent;
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
  const checked = ownPath(path);
  const given = fileOptions(options) as OpenDirOptions;
  if (given.bufferSize !== undefined) validateInteger(given.bufferSize, "options.bufferSize", 1, 2 ** 32 - 1);
  return delegate("opendir", checked, () => bun.opendir(checked as string, given));
}

/** Makes a folder with a name of its own: `prefix` and six random characters, mode 0o700. Resolves to its path. */
export function mkdtemp(prefix: PathLike, options?: EncodingOption): Promise<string>;
export function mkdtemp(prefix: PathLike, options: BufferEncodingOption): Promise<Buffer>;
export function mkdtemp(prefix: PathLike, options?: ObjectEncodingOptions | string | null): Promise<string | Buffer>;
export async function mkdtemp(prefix: PathLike, options?: unknown): Promise<any> {
  const { encoding } = fileOptions(options);
  const checked = ownPath(prefix, "prefix");
  try {
    const made = await bun.mkdtemp(checked as string, { encoding } as EncodingOption);
    return made;
  } catch (error) {
    const { errno, path } = error as NodeJS.ErrnoException;
    throw typeof errno === "number" ? systemError(errno, "mkdtemp", path ?? `${checked}XXXXXX`) : error;
  }
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
