// Compiled, never run (types.test.ts): bun-uring/fs is typed as node:fs is.
// Assumes @types/node as pinned.

import type * as node from "node:fs";
import type { Dirent, PathLike, ReadStream, Stats, symlink, WriteStream } from "../../src/fs.ts";
import ours, * as named from "../../src/fs.ts";

export const standard: typeof node = ours;
export const standardByName: typeof node = named;
export const back: typeof ours = null as unknown as typeof node;
type Missing = Exclude<keyof typeof node, keyof typeof named>;
export const none: [Missing] extends [never] ? true : Missing = true;

export const types: [PathLike, Stats, Dirent<Buffer>, ReadStream, WriteStream, symlink.Type] = null as unknown as [
  node.PathLike,
  node.Stats,
  node.Dirent<NonSharedBuffer>,
  node.ReadStream,
  node.WriteStream,
  node.symlink.Type,
];
named.readFile("x", "utf8", (_error, text) => text satisfies string);
named.stat("x", { bigint: true }, (_error, stats) => stats.mtimeNs satisfies bigint);
void (named.read.__promisify__ satisfies unknown);

// Types by the module's default, and by `promises`, as `fs.Stats` and `fs.promises.FileHandle` are said with node:fs.
export const byDefault: [ours.Stats, ours.Dirent<Buffer>, ours.PathLike, ours.ReadStream, ours.promises.FileHandle] =
  null as unknown as [
    node.Stats,
    node.Dirent<NonSharedBuffer>,
    node.PathLike,
    node.ReadStream,
    node.promises.FileHandle,
  ];
export const byPromises: [named.promises.FileHandle, named.promises.FileReadResult<Buffer>] = null as unknown as [
  node.promises.FileHandle,
  node.promises.FileReadResult<NonSharedBuffer>,
];
