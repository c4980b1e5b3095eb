// Folders: readdir, mkdtemp, and glob, which looks into folders. io_uring has no opcode that reads one: the backend lists
// trees and Dirents in its own way, Bun's own API does the rest. What each function does is said in promises.ts.

import type { BufferEncodingOption, EncodingOption, GlobOptions, PathLike } from "node:fs";
import type * as node from "node:fs/promises";
import { validateObject } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { retold, told } from "../node/errors.ts";
import { lateRejection } from "../node/late-error.ts";
import { type FolderOptions, fileOptions, folderOptions } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { asEncoded, direntsOf, pathsBelow } from "./dirent.ts";

type NodePromises = typeof node;

export const readdir: NodePromises["readdir"] = async (path: PathLike, options?: unknown): Promise<any> => {
  const { encoding, recursive, withFileTypes } = folderOptions(options) as FolderOptions & { encoding: any };
  const checked = toPath(path);
  if (withFileTypes) return direntsOf(checked, { path: checked, encoding, recursive: Boolean(recursive) });
  if (recursive) return pathsBelow(checked, encoding);
  return told("scandir", checked, bun.readdir(checked, { encoding }));
};

export function mkdtemp(prefix: PathLike, options?: EncodingOption): Promise<string>;
export function mkdtemp(prefix: PathLike, options: BufferEncodingOption): Promise<NonSharedBuffer>;
export function mkdtemp(prefix: PathLike, options?: EncodingOption): Promise<string | NonSharedBuffer>;
export async function mkdtemp(prefix: PathLike, options?: unknown): Promise<any> {
  const { encoding } = fileOptions(options);
  const checked = toPath(prefix, "prefix");
  try {
    // Bun refuses a prefix of nothing, which in Node makes a folder here.
    if (checked.length === 0) return asEncoded(Buffer.from((await bun.mkdtemp("./")).slice(2)), encoding);
    return await bun.mkdtemp(checked as string, { encoding } as EncodingOption);
  } catch (error) {
    return lateRejection(() => retold(error, "mkdtemp", (error as { path?: string }).path ?? `${checked}XXXXXX`));
  }
}

export const glob: NodePromises["glob"] = (pattern: string | readonly string[], options: any = {}): any =>
  globbing(pattern, options);

async function* globbing(pattern: string | readonly string[], options: GlobOptions): AsyncGenerator<unknown> {
  validateObject(options, "options");
  yield* bun.glob(pattern as string, options) as AsyncIterable<any>;
}
