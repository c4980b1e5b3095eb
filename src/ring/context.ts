// This thread's ring and what goes with it: loop, placement, cells, direct descriptors, mounts. There is one for each JavaScript
// thread, kept on globalThis so that `bun --hot` and a second copy of the module find it; shutting it down makes room for a new one.

import type { Native } from "../kernel/shim.ts";
import { after, clockMs, setImmediate } from "../node/clock.ts";
import { atExit, Moved } from "../node/exit.ts";
import { DirectTable } from "./direct-descriptors.ts";
import { FileSystems } from "./file-systems.ts";
import { KernelMemory } from "./kernel-memory.ts";
import { Loop } from "./loop.ts";
import { Placement } from "./placement.ts";
import { presence } from "./presence.ts";
import { ReadBuffers } from "./read-buffer.ts";
import { Mounts } from "./remote-mounts.ts";
import { RemoteWork } from "./remote-work.ts";
import type { Ring } from "./ring.ts";
import { Cells } from "./scratch.ts";
import { type Reason, type Setup, setUp } from "./setup.ts";

/** What only looks, or is the user's own SQE: it may wait for ever, and nobody hears of it. */
const LOOKING: ReadonlySet<string> = new Set(["", "read", "stat", "lstat", "fstat", "statx", "getxattr", "fgetxattr"]);

export class RingThread {
  readonly setup: Setup;
  readonly ring: Ring;
  readonly native: Native;
  readonly loop: Loop;
  readonly cells: Cells;
  readonly placement: Placement;
  readonly readBuffers: ReadBuffers;
  readonly memory: KernelMemory;
  readonly direct: DirectTable;
  readonly mounts: Mounts;
  readonly fileSystems: FileSystems;
  readonly remote: RemoteWork;
  /** Places of the ring's fixed-buffer table that no pool has. Here, so that every load of the module knows of all. */
  readonly freeFixedBuffers: number[];
  /** Called before the ring is closed, for whoever has memory of it in use. */
  readonly beforeClose: Set<() => void> = new Set();
  #shutDown: Promise<void> | null = null;

  constructor(setup: Setup) {
    this.setup = setup;
    this.ring = setup.ring;
    this.native = setup.ring.native;
    this.loop = new Loop(setup.ring);
    this.cells = new Cells(this.native, this.ring.address);
    this.placement = new Placement(this.ring, this.loop, this.cells);
    this.readBuffers = new ReadBuffers(this.native, this.ring.address);
    this.memory = new KernelMemory(this.native, this.ring);
    this.direct = new DirectTable(setup.directDescriptors, setup.closesAtOnce);
    this.freeFixedBuffers = Array.from({ length: setup.fixedBuffers }, (_, i) => setup.fixedBuffers - 1 - i);
    this.ring.onStopped = (error) => this.direct.stop(error);
    this.remote = new RemoteWork(this.native, this.ring, () => setup.workers);
    this.fileSystems = new FileSystems(this.native, this.cells);
    this.mounts = new Mounts(this.native, this.ring.address, this.cells);
  }

  /** Waits until nothing is staged or in the kernel, then closes the ring and frees its memory. */
  shutDown(deadlineMs: number): Promise<void> {
    this.#shutDown ??= this.#drainAndClose(deadlineMs);
    return this.#shutDown;
  }

  /** At the end of the thread: one more turn, and whether something is under way that changes a file. */
  endTurn(): Moved {
    const { ring } = this;
    const { submitted, completed } = ring;
    this.loop.lastTurn();
    if (ring.closed || ring.poisoned !== null) return Moved.idle;
    if (ring.submitted > submitted || ring.completed > completed) return Moved.moves;
    if (ring.queued > 0) return Moved.waits;
    for (const { syscall } of ring.operations.waiting()) if (!LOOKING.has(syscall)) return Moved.waits;
    return Moved.idle;
  }

  async #drainAndClose(deadlineMs: number): Promise<void> {
    const { ring, loop } = this;
    const until = clockMs() + deadlineMs;
    do {
      loop.flush();
      // At least once, and before looking: what has just ended may be about to begin its next step.
      await new Promise<void>((resolve) => (ring.inFlight > 0 ? after(1, resolve) : setImmediate(resolve)));
    } while (
      (ring.inFlight > 0 || ring.queued > 0 || this.placement.hasLater) &&
      clockMs() < until &&
      ring.poisoned === null
    );
    for (const prepare of this.beforeClose) prepare();
    loop.close();
    ring.close(100);
  }
}

// Named by this file: `--hot` finds its ring again, another copy of the package has its own.
const KEY = Symbol.for(`bun-uring.thread:${import.meta.path}`);
const place = globalThis as { [KEY]?: RingThread | Reason };
const isThread = (known: RingThread | Reason | undefined): known is RingThread =>
  known !== undefined && "ring" in known;

/** The thread's end is seen to. */
let endsWell = false;

/** This thread's ring, made at the first call; or why there is none (asked once). */
export function ringThread(): RingThread | Reason {
  const known = place[KEY];
  if (known !== undefined && !(isThread(known) && known.ring.closed)) return known;
  const setup = setUp();
  const made = "ring" in setup ? new RingThread(setup) : setup;
  place[KEY] = made;
  if ("ring" in made) presence.ring = made.ring;
  if ("ring" in made && !endsWell) {
    endsWell = true;
    atExit(() => existingThread()?.endTurn() ?? Moved.idle);
  }
  return made;
}

/** The ring if it has been made and is open; never makes one. */
export function existingThread(): RingThread | null {
  const known = place[KEY];
  return isThread(known) && !known.ring.closed ? known : null;
}
