// Which mounted file systems answer from elsewhere (FUSE, NFS, CIFS, 9p …): a read there may block whoever submits it,
// so operations on them always go to io-wq threads (docs/architecture.md D6). Knows devices and mount points; the table is read again
// when the kernel says that it changed.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Address, Native } from "../kernel/shim.ts";
import { clockMs } from "../node/clock.ts";
import { EAGAIN } from "../node/errno.ts";
import { CELL_HALF, type Cell, type Cells, putPath } from "./scratch.ts";

/** File system types whose operations may wait for a server or another process. */
const REMOTE = /^(fuse(blk|\..*)?|nfs4?|cifs|smb3?|9p|ceph|afs|glusterfs|lustre|orangefs|virtiofs|coda|beegfs|gpfs)$/;
/** A table without this has no line of such a type: the usual case, for which one look has to do. */
const ANY_REMOTE = / - (?:fuse|nfs|cifs|smb|9p|ceph|afs|gluster|lustre|orangefs|virtiofs|coda|beegfs|gpfs)/;
const TABLE = "/proc/self/mountinfo";
/** 32-bit word of stx_dev_major in a statx; the minor follows. */
const STATX_DEVICE_WORD = 34;
/** Milliseconds between two looks: one that is mounted in between is taken for local until the next. */
const LOOK_EVERY_MS = 50;
/** statCached: a last link is not followed; what is known, without asking a server. */
const [STAT_NO_FOLLOW, STAT_DONT_SYNC] = [1, 2];

/** Where a path leads. */
export const Place = { local: 0, unlessLink: 1, remote: 2 } as const;
export type Place = (typeof Place)[keyof typeof Place];

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));

export class Mounts {
  readonly #native: Native;
  readonly #ring: Address;
  readonly #cells: Cells;
  readonly #readTable: () => string;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #devices = new Set<number>();
  #points: string[] = [];

  constructor(native: Native, ring: Address, cells: Cells, readTable = (): string => readFileSync(TABLE, "utf8")) {
    this.#native = native;
    this.#ring = ring;
    this.#cells = cells;
    this.#readTable = readTable;
  }

  /** Whether any remote file system is mounted. Usually not, and then nothing else here is asked. */
  get any(): boolean {
    const now = clockMs();
    // Also where a fake clock was put in its place or taken away: it may have gone back.
    if (Math.abs(now - this.#lookedAt) > LOOK_EVERY_MS) {
      this.#lookedAt = now;
      this.#look();
    }
    return this.#points.length > 0;
  }

  #look(): void {
    if (this.#native.mountsChanged(this.#ring) !== 1) return;
    try {
      this.#parse(this.#readTable());
    } catch {
      // no /proc: nothing can be known
    }
  }

  #parse(table: string): void {
    this.#devices = new Set();
    this.#points = [];
    if (!ANY_REMOTE.test(table)) return;
    for (const line of table.split("\n")) {
      // 36 35 98:0 /root /mount/point options… - type source superoptions (proc_pid_mountinfo(5))
      const [left, right] = line.split(" - ");
      if (right === undefined || !REMOTE.test(right.slice(0, right.indexOf(" ")))) continue;
      const fields = left!.split(" ");
      const [major, minor] = fields[2]!.split(":");
      this.#devices.add(deviceKey(Number(major), Number(minor)));
      this.#points.push(unescapeOctal(fields[4]!));
    }
  }

  /** Whether an open file lies on a remote file system; asks the kernel only for what it knows already. */
  holdsFile(fd: number, cell: Cell): boolean {
    return this.#native.fstat(fd, 1, cell.address + CELL_HALF) === 0 && this.#holdsStat(cell);
  }

  /** Whether a path leads, or may lead, to a remote file system: `placeOf`, where links are followed. */
  holdsPath(path: string | Buffer): boolean {
    return this.any && this.#placeOf(path, false) !== Place.local;
  }

  /** Whether a name is, or may be, one of a remote file system, for who does not follow it if it is a link. */
  holdsName(path: string | Buffer): boolean {
    return this.any && this.#placeOf(path, true) !== Place.local;
  }

  /**
   * Where a path leads: by its text, or as the dentry cache knows it. A name that is not cached, in a folder that is and is
   * local, is new or not in use, and no mount point: `unlessLink`, local if it is not a link that leads elsewhere. Without any
   * remote mount it is no more than `any`.
   */
  placeOf(path: string | Buffer): Place {
    return this.any ? this.#placeOf(path, false) : Place.local;
  }

  #placeOf(path: string | Buffer, noFollow: boolean): Place {
    const full = resolve(typeof path === "string" ? path : path.toString());
    if (this.#points.some((point) => full === point || full.startsWith(point.endsWith("/") ? point : `${point}/`)))
      return Place.remote;
    const known = this.#isRemote(path, STAT_DONT_SYNC | (noFollow ? STAT_NO_FOLLOW : 0));
    if (known !== null) return known ? Place.remote : Place.local;
    const folder = folderOf(path);
    if (folder === null || this.#isRemote(folder, STAT_DONT_SYNC) !== false) return Place.remote;
    return noFollow ? Place.local : Place.unlessLink;
  }

  /** Whether the file system of what is at a path is remote; null where that is not cached. */
  #isRemote(path: string | Buffer, flags: number): boolean | null {
    const cell = this.#cells.acquire();
    const address = putPath(cell, 0, path);
    const rc = address < 0 ? EAGAIN : this.#native.statCached(address, flags, cell.address + CELL_HALF);
    const isRemote = rc === EAGAIN ? null : rc === 0 && this.#holdsStat(cell);
    this.#cells.release(cell);
    return isRemote;
  }

  #holdsStat(cell: Cell): boolean {
    return this.#devices.has(deviceOf(cell));
  }
}

/** The device of the file that the statx in a cell's second half is about. */
export function deviceOf(cell: Cell): number {
  const device = cell.halfWord + STATX_DEVICE_WORD;
  return deviceKey(cell.words[device]!, cell.words[device + 1]!);
}

function deviceKey(major: number, minor: number): number {
  return major * 2 ** 20 + minor;
}

/** The folder that a path's last name is looked up in; null where that is not plain to see ("a/", "a/.."). */
function folderOf(path: string | Buffer): string | Buffer | null {
  const text = typeof path === "string" ? path : path.toString("latin1");
  const slash = text.lastIndexOf("/");
  if (/^\.{0,2}$/.test(text.slice(slash + 1))) return null;
  const folder = slash < 0 ? "." : text.slice(0, slash + 1);
  return typeof path === "string" ? folder : Buffer.from(folder, "latin1");
}
