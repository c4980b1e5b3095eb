// node:fs, the whole of it: the promise functions, the callback functions and the streams are this package's, what is
// synchronous and the rest are Bun's own. A list; callbacks.ts says how the callback functions work.
// Assumes that Bun's own module is the runtime's node:fs. Types are node:fs's.

import type * as node from "node:fs";
import type * as nodePromises from "node:fs/promises";
import { own } from "./callbacks.ts";
import { bunFs } from "./node/bun-fs.ts";
import ownPromises from "./promises.ts";
import { watchModule } from "./streams/replaced.ts";

type Fs = typeof node;

// What is not said below: the synchronous functions, watch and watchFile, Stats, Dirent, constants …
export * from "node:fs";

/** The same object as the default of `bun-uring/promises`. */
export const promises: Fs["promises"] = ownPromises as unknown as Fs["promises"];

const fs: Fs = Object.defineProperties({}, Object.getOwnPropertyDescriptors(bunFs)) as Fs;
for (const [name, value] of Object.entries({ ...own, promises })) {
  Object.defineProperty(fs, name, { value, writable: true, enumerable: true, configurable: true });
}
watchModule(fs);

export const access: Fs["access"] = fs.access;
export const appendFile: Fs["appendFile"] = fs.appendFile;
export const chmod: Fs["chmod"] = fs.chmod;
export const chown: Fs["chown"] = fs.chown;
export const close: Fs["close"] = fs.close;
export const copyFile: Fs["copyFile"] = fs.copyFile;
export const cp: Fs["cp"] = fs.cp;
export const exists: Fs["exists"] = fs.exists;
export const fchmod: Fs["fchmod"] = fs.fchmod;
export const fchown: Fs["fchown"] = fs.fchown;
export const fdatasync: Fs["fdatasync"] = fs.fdatasync;
export const fstat: Fs["fstat"] = fs.fstat;
export const fstatSync: Fs["fstatSync"] = fs.fstatSync;
export const fsync: Fs["fsync"] = fs.fsync;
export const ftruncate: Fs["ftruncate"] = fs.ftruncate;
export const futimes: Fs["futimes"] = fs.futimes;
export const glob: Fs["glob"] = fs.glob;
export const lchown: Fs["lchown"] = fs.lchown;
export const link: Fs["link"] = fs.link;
export const lstat: Fs["lstat"] = fs.lstat;
export const lstatSync: Fs["lstatSync"] = fs.lstatSync;
export const lutimes: Fs["lutimes"] = fs.lutimes;
export const mkdir: Fs["mkdir"] = fs.mkdir;
export const mkdtemp: Fs["mkdtemp"] = fs.mkdtemp;
export const open: Fs["open"] = fs.open;
export const opendir: Fs["opendir"] = fs.opendir;
export const read: Fs["read"] = fs.read;
export const readFile: Fs["readFile"] = fs.readFile;
export const readdir: Fs["readdir"] = fs.readdir;
export const readlink: Fs["readlink"] = fs.readlink;
export const readv: Fs["readv"] = fs.readv;
export const realpath: Fs["realpath"] = fs.realpath;
export const rename: Fs["rename"] = fs.rename;
export const rm: Fs["rm"] = fs.rm;
export const rmdir: Fs["rmdir"] = fs.rmdir;
export const stat: Fs["stat"] = fs.stat;
export const statSync: Fs["statSync"] = fs.statSync;
export const statfs: Fs["statfs"] = fs.statfs;
export const symlink: Fs["symlink"] = fs.symlink;
export const truncate: Fs["truncate"] = fs.truncate;
export const unlink: Fs["unlink"] = fs.unlink;
export const utimes: Fs["utimes"] = fs.utimes;
export const write: Fs["write"] = fs.write;
export const writeFile: Fs["writeFile"] = fs.writeFile;
export const writev: Fs["writev"] = fs.writev;
export const createReadStream: Fs["createReadStream"] = fs.createReadStream;
export const createWriteStream: Fs["createWriteStream"] = fs.createWriteStream;
export const ReadStream: Fs["ReadStream"] = fs.ReadStream;
export type ReadStream = node.ReadStream;
export const WriteStream: Fs["WriteStream"] = fs.WriteStream;
export type WriteStream = node.WriteStream;

// A type that node:fs has beside the function.
export declare namespace symlink {
  type Type = node.symlink.Type;
}

// And the types that go by a name of the module: `promises.FileHandle`, and of its default, `fs.Stats`. A type alone says them.
export declare namespace promises {
  type FileChangeInfo<T extends string | Buffer> = nodePromises.FileChangeInfo<T>;
  type FlagAndOpenMode = nodePromises.FlagAndOpenMode;
  type FileReadResult<T extends NodeJS.ArrayBufferView> = nodePromises.FileReadResult<T>;
  type FileReadOptions<T extends NodeJS.ArrayBufferView = Buffer> = nodePromises.FileReadOptions<T>;
  type CreateReadStreamOptions = nodePromises.CreateReadStreamOptions;
  type CreateWriteStreamOptions = nodePromises.CreateWriteStreamOptions;
  type ReadableWebStreamOptions = nodePromises.ReadableWebStreamOptions;
  type PullOptions = nodePromises.PullOptions;
  type WriterOptions = nodePromises.WriterOptions;
  type FileHandle = nodePromises.FileHandle;
  type DisposableTempDir = nodePromises.DisposableTempDir;
  type WatchOptions = nodePromises.WatchOptions;
  type WatchOptionsWithBufferEncoding = nodePromises.WatchOptionsWithBufferEncoding;
  type WatchOptionsWithStringEncoding = nodePromises.WatchOptionsWithStringEncoding;
}
declare namespace fs {
  namespace promises {
    type FileChangeInfo<T extends string | Buffer> = nodePromises.FileChangeInfo<T>;
    type FlagAndOpenMode = nodePromises.FlagAndOpenMode;
    type FileReadResult<T extends NodeJS.ArrayBufferView> = nodePromises.FileReadResult<T>;
    type FileReadOptions<T extends NodeJS.ArrayBufferView = Buffer> = nodePromises.FileReadOptions<T>;
    type CreateReadStreamOptions = nodePromises.CreateReadStreamOptions;
    type CreateWriteStreamOptions = nodePromises.CreateWriteStreamOptions;
    type ReadableWebStreamOptions = nodePromises.ReadableWebStreamOptions;
    type PullOptions = nodePromises.PullOptions;
    type WriterOptions = nodePromises.WriterOptions;
    type FileHandle = nodePromises.FileHandle;
    type DisposableTempDir = nodePromises.DisposableTempDir;
    type WatchOptions = nodePromises.WatchOptions;
    type WatchOptionsWithBufferEncoding = nodePromises.WatchOptionsWithBufferEncoding;
    type WatchOptionsWithStringEncoding = nodePromises.WatchOptionsWithStringEncoding;
  }
  type PathLike = node.PathLike;
  type PathOrFileDescriptor = node.PathOrFileDescriptor;
  type TimeLike = node.TimeLike;
  type NoParamCallback = node.NoParamCallback;
  type BufferEncodingOption = node.BufferEncodingOption;
  type ObjectEncodingOptions = node.ObjectEncodingOptions;
  type EncodingOption = node.EncodingOption;
  type OpenMode = node.OpenMode;
  type Mode = node.Mode;
  type StatsBase<T> = node.StatsBase<T>;
  type Stats = node.Stats;
  type StatsFsBase<T> = node.StatsFsBase<T>;
  type StatsFs = node.StatsFs;
  type BigIntStatsFs = node.BigIntStatsFs;
  type StatFsOptions = node.StatFsOptions;
  type Dirent<Name extends string | Buffer = string> = node.Dirent<Name>;
  type Dir = node.Dir;
  type StatWatcher = node.StatWatcher;
  type FSWatcherEventMap = node.FSWatcherEventMap;
  type FSWatcher = node.FSWatcher;
  type ReadStreamEventMap = node.ReadStreamEventMap;
  type ReadStream = node.ReadStream;
  type Utf8StreamOptions = node.Utf8StreamOptions;
  type Utf8StreamEventMap = node.Utf8StreamEventMap;
  type Utf8Stream = node.Utf8Stream;
  type WriteStreamEventMap = node.WriteStreamEventMap;
  type WriteStream = node.WriteStream;
  type StatSyncFn = node.StatSyncFn;
  type RmDirOptions = node.RmDirOptions;
  type RmOptions = node.RmOptions;
  type MakeDirectoryOptions = node.MakeDirectoryOptions;
  type DisposableTempDir = node.DisposableTempDir;
  type WriteOptions = node.WriteOptions;
  type ReadPosition = node.ReadPosition;
  type ReadOptions = node.ReadOptions;
  type ReadOptionsWithBuffer<T extends NodeJS.ArrayBufferView> = node.ReadOptionsWithBuffer<T>;
  type ReadFileOptions = node.ReadFileOptions;
  type ReadFileOptionsWithStringEncoding = node.ReadFileOptionsWithStringEncoding;
  type ReadFileOptionsWithBufferEncoding = node.ReadFileOptionsWithBufferEncoding;
  type ReadFileOptionsWithBuffer<T extends NodeJS.ArrayBufferView> = node.ReadFileOptionsWithBuffer<T>;
  type ReadFileSyncOptions = node.ReadFileSyncOptions;
  type ReadFileSyncOptionsWithStringEncoding = node.ReadFileSyncOptionsWithStringEncoding;
  type ReadFileSyncOptionsWithBufferEncoding = node.ReadFileSyncOptionsWithBufferEncoding;
  type ReadFileSyncOptionsWithBuffer<T extends NodeJS.ArrayBufferView> = node.ReadFileSyncOptionsWithBuffer<T>;
  type WriteFileOptions = node.WriteFileOptions;
  type WatchFileOptions = node.WatchFileOptions;
  type WatchIgnorePredicate = node.WatchIgnorePredicate;
  type WatchOptions = node.WatchOptions;
  type WatchOptionsWithBufferEncoding = node.WatchOptionsWithBufferEncoding;
  type WatchOptionsWithStringEncoding = node.WatchOptionsWithStringEncoding;
  type WatchEventType = node.WatchEventType;
  type WatchListener<T> = node.WatchListener<T>;
  type StatsListener = node.StatsListener;
  type BigIntStatsListener = node.BigIntStatsListener;
  type StreamOptions = node.StreamOptions;
  type FSImplementation = node.FSImplementation;
  type CreateReadStreamFSImplementation = node.CreateReadStreamFSImplementation;
  type CreateWriteStreamFSImplementation = node.CreateWriteStreamFSImplementation;
  type ReadStreamOptions = node.ReadStreamOptions;
  type WriteStreamOptions = node.WriteStreamOptions;
  type WriteVResult<T extends readonly NodeJS.ArrayBufferView[] = NodeJS.ArrayBufferView[]> = node.WriteVResult<T>;
  type ReadVResult<T extends readonly NodeJS.ArrayBufferView[] = NodeJS.ArrayBufferView[]> = node.ReadVResult<T>;
  type OpenAsBlobOptions = node.OpenAsBlobOptions;
  type OpenDirOptions = node.OpenDirOptions;
  type BigIntStats = node.BigIntStats;
  type BigIntOptions = node.BigIntOptions;
  type StatOptions = node.StatOptions;
  type StatSyncOptions = node.StatSyncOptions;
  type CopyOptionsBase = node.CopyOptionsBase;
  type CopyOptions = node.CopyOptions;
  type CopySyncOptions = node.CopySyncOptions;
  type GlobOptions<T extends Dirent | string = Dirent | string> = node.GlobOptions<T>;
  type GlobOptionsWithFileTypes = node.GlobOptionsWithFileTypes;
  type GlobOptionsWithoutFileTypes = node.GlobOptionsWithoutFileTypes;
}

export default fs;
