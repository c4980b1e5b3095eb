// Which mounted file systems answer from elsewhere (FUSE, NFS, CIFS, 9p …): a read there may block whoever submits it,
// so operations on them always go to io-wq threads (DESIGN D6). Knows devices and mount points; the table is read again
// when the kernel says that it changed.

import { closeSync, openSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { CELL_HALF, type Cell } from "./buffer.ts";
import type { Native } from "./native.ts";

/** File system types whose operations may wait for a server or another process. */
const REMOTE = /^(fuse(blk|\..*)?|nfs4?|cifs|smb3?|9p|ceph|afs|glusterfs|lustre|orangefs|virtiofs|coda|beegfs|gpfs)$/;
const TABLE = "/proc/self/mountinfo";
/** 32-bit word of stx_dev_major in a statx; the minor follows. */
const STATX_DEVICE_WORD = 34;
/** Milliseconds between two looks. */
const LOOK_EVERY_MS = 50;

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));

export class Mounts {
  readonly #native: Native;
  #fd = -1;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #devices = new Set<number>();
  #points: string[] = [];

  constructor(native: Native) {
    this.#native = native;
  }

  /** Whether any remote file system is mounted. Usually not, and then nothing else here is asked. */
  get any(): boolean {
    const now = performance.now();
    if (now - this.#lookedAt > LOOK_EVERY_MS) {
      this.#lookedAt = now;
      this.#look();
    }
    return this.#points.length > 0;
  }

  #look(): void {
    if (this.#fd === -2) return;
    try {
      if (this.#fd < 0) this.#fd = openSync(TABLE, "r");
      else if (this.#native.mountsChanged(this.#fd) === 0) return;
      this.#parse(readFileSync(TABLE, "utf8"));
    } catch {
      this.#fd = -2; // no /proc: nothing can be known
    }
  }

  #parse(table: string): void {
    this.#devices = new Set();
    this.#points = [];
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
    if (this.#native.fstat(fd, 1, cell.address + CELL_HALF) < 0) return false;
    const device = cell.halfWord + STATX_DEVICE_WORD;
    return this.#devices.has(deviceKey(cell.words[device]!, cell.words[device + 1]!));
  }

  /** Whether a path leads, by its text, below a remote mount point. Symbolic links are not followed. */
  holdsPath(path: string | Buffer): boolean {
    const full = resolve(typeof path === "string" ? path : path.toString());
    return this.#points.some((point) => full === point || full.startsWith(point.endsWith("/") ? point : `${point}/`));
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -2;
  }
}

function deviceKey(major: number, minor: number): number {
  return major * 2 ** 20 + minor;
}
