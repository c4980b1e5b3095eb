// node:fs, the whole of it: the promise functions, the callback functions and the streams are this package's, what is
// synchronous and the rest are Bun's own. A list; callbacks.ts says how the callback functions work.
// Assumes that Bun's own module is the runtime's node:fs. Types are node:fs's.

import type * as node from "node:fs";
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
export const fsync: Fs["fsync"] = fs.fsync;
export const ftruncate: Fs["ftruncate"] = fs.ftruncate;
export const futimes: Fs["futimes"] = fs.futimes;
export const glob: Fs["glob"] = fs.glob;
export const lchown: Fs["lchown"] = fs.lchown;
export const link: Fs["link"] = fs.link;
export const lstat: Fs["lstat"] = fs.lstat;
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

export default fs;
