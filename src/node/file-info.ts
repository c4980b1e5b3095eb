// What a copy must know of a file, exact to the nanosecond and the last bit of the inode number, without a Stats object.
// Holds no behaviour but what the numbers mean.

import type { BigIntStats } from "node:fs";
import { constants } from "node:fs";

export { constants } from "node:fs";

export interface FileInfo {
  /** Type and permission bits, as in `st_mode`. */
  mode: number;
  size: number;
  /** Blocks of 512 bytes that hold data. */
  blocks: number;
  /** Device and inode: equal for two names of one file. */
  identity: string;
  uid: number;
  gid: number;
  accessSeconds: number;
  accessNanoseconds: number;
  modificationSeconds: number;
  modificationNanoseconds: number;
}

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = constants;
const [S_ISUID, S_ISGID] = [0o4000, 0o2000];
const typeOf = ({ mode }: FileInfo): number => mode & S_IFMT;
export const isRegular = (info: FileInfo): boolean => typeOf(info) === S_IFREG;
export const isDirectory = (info: FileInfo): boolean => typeOf(info) === S_IFDIR;
export const isSymbolicLink = (info: FileInfo): boolean => typeOf(info) === S_IFLNK;
/** Permission bits, those for set-id and sticky included. */
export const permissions = (info: FileInfo): number => info.mode & 0o7777;

/** The permissions of a copy: without set-id bits unless it belongs to whom the source does. */
export function copiedPermissions(source: FileInfo, target: FileInfo, dropSetId: boolean): number {
  const isKept = source.uid === target.uid && source.gid === target.gid;
  return permissions(source) & (dropSetId && !isKept ? ~(S_ISUID | S_ISGID) : -1);
}

const BILLION = 1_000_000_000n;
const floorSeconds = (ns: bigint): bigint => (ns - (((ns % BILLION) + BILLION) % BILLION)) / BILLION;

export function infoFromStats(stats: BigIntStats): FileInfo {
  const access = floorSeconds(stats.atimeNs);
  const modification = floorSeconds(stats.mtimeNs);
  return {
    mode: Number(stats.mode),
    size: Number(stats.size),
    blocks: Number(stats.blocks),
    identity: `${stats.dev}:${stats.ino}`,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    accessSeconds: Number(access),
    accessNanoseconds: Number(stats.atimeNs - access * BILLION),
    modificationSeconds: Number(modification),
    modificationNanoseconds: Number(stats.mtimeNs - modification * BILLION),
  };
}
