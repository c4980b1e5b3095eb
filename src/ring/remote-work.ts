// Room for operations on paths, and closes, of file systems of a server: each may hold an io-wq thread until the server
// answers, perhaps for ever. The kernel counts them as bounded work, with the buffered writes to local files; so the limit of
// bounded threads is raised by as many as are under way, and a dead server takes none away from others. (Reads and writes
// that are sent to a thread at once count as unbounded: they can't be in the way of those.)

import type { Address, Native } from "../kernel/shim.ts";

/** Threads by which the limit is raised at once: a system call each time. */
const STEP = 16;
/** The most. Who has more operations hanging than that waits with the rest. */
const MOST = 256;

/** Most io-wq threads of a ring: for what is bounded in time (regular files, block devices), and for the rest. */
export interface WorkerLimits {
  bounded: number;
  unbounded: number;
}

interface OpenRing {
  readonly address: Address;
  readonly closed: boolean;
}

export class RemoteWork {
  readonly #native: Native;
  readonly #ring: OpenRing;
  readonly #limits: () => WorkerLimits;
  #underWay = 0;
  #room = 0;

  constructor(native: Native, ring: OpenRing, limits: () => WorkerLimits) {
    this.#native = native;
    this.#ring = ring;
    this.#limits = limits;
  }

  /** Operations under way, and the threads that there is room for beyond the limit. */
  get counts(): { underWay: number; room: number } {
    return { underWay: this.#underWay, room: this.#room };
  }

  /** Before one is staged. */
  enter(): void {
    if (++this.#underWay > this.#room && this.#room < MOST) this.#setRoom(this.#room + STEP);
  }

  /** One has ended. The room stays until all have: to change it is a system call. */
  leave(): void {
    if (--this.#underWay === 0) this.#setRoom(0);
  }

  /** Sets the kernel's limits, with the room that is needed now. Returns 0 or -errno. */
  apply({ bounded, unbounded }: WorkerLimits): number {
    return this.#native.capWorkers(this.#ring.address, bounded + this.#room, unbounded);
  }

  #setRoom(room: number): void {
    this.#room = room;
    const limits = this.#limits();
    if (!this.#ring.closed && limits.bounded > 0) this.apply(limits); // 0: this kernel has no limits to set
  }
}
