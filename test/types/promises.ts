// Compiled, never run (types.test.ts): what the compiler must hold of this package's types beside node:fs/promises'.
// Assumes @types/node and @types/bun as pinned. Each exception is listed, and is an error once it is none any more.

import type * as node from "node:fs/promises";
import type { FileHandle } from "../../src/handle/file-handle.ts";
import type * as types from "../../src/promises.ts";
import ours, * as named from "../../src/promises.ts";

type Node = typeof import("node:fs/promises");
type Ours = typeof ours;
type Named = typeof named;

/** Bun adds it to Node's module; Node 26 has no such function. */
type NotNodes = "exists";

/**
 * Our functions take more than Node's types say, so that Node's can't stand in for them: `copyFile` options instead of a
 * mode, `mkdtemp` a Buffer or a URL (as Node's documentation says), `open` options, and it gives a handle that has more.
 */
type Beyond = "copyFile" | "mkdtemp" | "open";

/** The members whose types don't fit: none, or `Exact` fails on the names. */
type Misfits<From, To, Except = never> = {
  [K in keyof To]-?: K extends Except ? never : K extends keyof From ? (From[K] extends To[K] ? never : K) : K;
}[keyof To];

/** Nothing but what is listed may be left, and all that is listed must be needed. */
type Exact<Found, Listed> = [Found] extends [Listed] ? ([Listed] extends [Found] ? true : Listed) : Found;
function holds<_T extends true>(): void {}

// The whole module, as a program gets it: by default and by name.
export const standard: Omit<Node, NotNodes> = ours;
export const standardByName: Omit<Node, NotNodes | "default"> = named;

// Every function: ours where Node's is wanted, and Node's where ours is.
holds<Exact<Misfits<Ours, Node>, NotNodes>>();
holds<Exact<Misfits<Named, Omit<Node, "default">>, NotNodes>>();
holds<Exact<Misfits<Node, Ours>, Beyond>>();

// FileHandle, each method of it, both ways.
export const handle: node.FileHandle = null as unknown as FileHandle;
export const opened: Promise<node.FileHandle> = ours.open("x");
export const ourHandle: Pick<FileHandle, keyof node.FileHandle> = null as unknown as node.FileHandle;
holds<Exact<Misfits<FileHandle, node.FileHandle>, never>>();
holds<Exact<Misfits<node.FileHandle, FileHandle, Exclude<keyof FileHandle, keyof node.FileHandle>>, never>>();

// Every type, by its name.
export const names: [
  types.FileChangeInfo<string>,
  types.FlagAndOpenMode,
  types.FileReadResult<Buffer>,
  types.FileReadOptions,
  types.CreateReadStreamOptions,
  types.CreateWriteStreamOptions,
  types.ReadableWebStreamOptions,
  types.PullOptions,
  types.WriterOptions,
  types.DisposableTempDir,
  types.WatchOptions,
  types.WatchOptionsWithBufferEncoding,
  types.WatchOptionsWithStringEncoding,
] = null as unknown as [
  node.FileChangeInfo<string>,
  node.FlagAndOpenMode,
  node.FileReadResult<Buffer>,
  node.FileReadOptions,
  node.CreateReadStreamOptions,
  node.CreateWriteStreamOptions,
  node.ReadableWebStreamOptions,
  node.PullOptions,
  node.WriterOptions,
  node.DisposableTempDir,
  node.WatchOptions,
  node.WatchOptionsWithBufferEncoding,
  node.WatchOptionsWithStringEncoding,
];
holds<Exact<types.FileHandle extends FileHandle ? (FileHandle extends types.FileHandle ? never : 1) : 2, never>>();

// Overloads, by what they give.
async function overloads(file: FileHandle): Promise<void> {
  (await ours.readFile("x")) satisfies Buffer;
  (await ours.readFile("x", "utf8")) satisfies string;
  (await ours.readFile("x", { encoding: "utf8", flag: "r" })) satisfies string;
  (await ours.readFile(file, { encoding: null })) satisfies Buffer;
  (await ours.stat("x")).size satisfies number;
  (await ours.stat("x", { bigint: true })).mtimeNs satisfies bigint;
  (await ours.stat("x", { throwIfNoEntry: false }))?.size satisfies number | undefined;
  (await ours.mkdir("x", { recursive: true })) satisfies string | undefined;
  (await ours.readdir("x")) satisfies string[];
  (await ours.readdir("x", "buffer")) satisfies Buffer[];
  (await ours.readdir("x", { withFileTypes: true }))[0]!.name satisfies string;
  (await ours.readdir("x", { withFileTypes: true, encoding: "buffer" }))[0]!.name satisfies Buffer;
  (await ours.readlink("x", "buffer")) satisfies Buffer;
  (await ours.realpath("x")) satisfies string;
  (await ours.mkdtemp("x", "buffer")) satisfies Buffer;
  (await ours.statfs("x", { bigint: true })).blocks satisfies bigint;
  (await ours.opendir("x")).read() satisfies Promise<unknown>;
  for await (const name of ours.glob("*")) name satisfies string;
  for await (const entry of ours.glob("*", { withFileTypes: true })) entry.isFile() satisfies boolean;
  for await (const change of ours.watch("x", "buffer")) change.filename satisfies Buffer | null;
  (await file.read(new Uint16Array(4), 0, 8, 0)).buffer satisfies Uint16Array;
  (await file.read({ buffer: new DataView(new ArrayBuffer(4)), position: 1n })).buffer satisfies DataView;
  (await file.read()).buffer satisfies Buffer;
  (await file.write("text", 0, "latin1")).buffer satisfies string;
  (await file.write(Buffer.alloc(1), { position: null })).buffer satisfies Buffer;
  (await file.readv([Buffer.alloc(1)])).buffers[0]! satisfies Buffer;
  (await file.readFile({ encoding: "utf8" })) satisfies string;
  (await file.stat({ bigint: true })).size satisfies bigint;
  for await (const line of file.readLines()) line satisfies string;
  await using scoped = await ours.open("x");
  scoped.fd satisfies number;

  // @ts-expect-error a Buffer is no string
  (await ours.readFile("x")) satisfies string;
  // @ts-expect-error no such encoding
  await ours.readFile("x", "utf9");
  // @ts-expect-error the length is a number
  await file.truncate("1");
  // @ts-expect-error numbers are no data
  await ours.writeFile("x", [1, 2]);
}
void overloads;

// Types by the module's default, as `fs.FileHandle` is said with node:fs/promises.
import defaults from "../../src/promises.ts";
export const byDefault = async (): Promise<defaults.FileHandle> => defaults.open("x");
export const read: (handle: defaults.FileHandle) => Promise<defaults.FileReadResult<NonSharedBuffer>> = (handle) =>
  handle.read(Buffer.alloc(1));
