// What the file systems of open files have shown of themselves, by device: whether they take buffered writes that don't wait
// (RWF_NOWAIT). Seen by trying with what is to be written, never told by a name: on Linux 6.18 XFS does nearly all of them,
// btrfs says EAGAIN each time, ext4 and tmpfs EOPNOTSUPP.

import type { Native } from "../kernel/shim.ts";
import { EAGAIN, EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from "../node/errno.ts";
import { deviceOf } from "./remote-mounts.ts";
import { CELL_HALF, type Cells } from "./scratch.ts";

/** The file system, the kernel or a sandbox has no such writes. */
const REFUSALS: readonly number[] = [EPERM, EINVAL, ENOSYS, EOPNOTSUPP];
/** Tries in a row that would have waited, or did, after which a file system is tried more rarely: one write in so many. */
const [TRIES, RARELY] = [8, 256];
/** Milliseconds of a write that has waited after all: where all are synced, for one. */
const WAITED_MS = 1;

export class FileSystem {
  #left = TRIES;
  #refuses = false;
  #writes = 0;

  /** Whether the next write is to be tried. */
  get maySucceed(): boolean {
    return this.#left > 0 || (!this.#refuses && ++this.#writes % RARELY === 0);
  }

  /** What has come of a try, bytes or -errno, and how long it took. */
  learn(res: number, ms: number): void {
    if (res === EAGAIN || ms > WAITED_MS) this.#left--;
    else if (res > 0) this.#left = TRIES;
    else if (REFUSALS.includes(res)) {
      this.#left = 0;
      this.#refuses = true;
    }
  }
}

export class FileSystems {
  readonly #native: Native;
  readonly #cells: Cells;
  readonly #byDevice = new Map<number, FileSystem>();

  constructor(native: Native, cells: Cells) {
    this.#native = native;
    this.#cells = cells;
  }

  of(fd: number): FileSystem {
    const cell = this.#cells.acquire();
    const rc = this.#native.fstat(fd, 1, cell.address + CELL_HALF);
    const device = deviceOf(cell);
    this.#cells.release(cell);
    const known = rc < 0 ? undefined : this.#byDevice.get(device);
    if (known !== undefined) return known;
    const found = new FileSystem();
    if (rc === 0) this.#byDevice.set(device, found);
    return found;
  }
}
