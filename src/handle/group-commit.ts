// The syncs of one open file. Calls that come while one is under way share the next one, which begins after all of them
// (group commit): 64 writers that each wait for their record pay for two or three syncs, not for 64. And a failure is
// final: the kernel reports lost data once, so a later sync's success would be a lie (docs/architecture.md 3.10).

import type { Backend, OpenFile } from "../backend/interface.ts";
import { closedError, systemError } from "../node/errors.ts";
import { lateRejection, passedOn } from "../node/late-error.ts";

type Syscall = "fsync" | "fdatasync";

/** A sync that has not begun: it covers all that was written before it does. */
interface Round {
  syscall: Syscall;
  synced: Promise<void>;
}

export class Syncs {
  readonly #backend: Backend;
  readonly #file: OpenFile;
  /** What runs now. */
  readonly #running = new Set<Promise<void>>();
  #next: Round | null = null;
  /** What a sync failed with. */
  #errno = 0;

  constructor(backend: Backend, file: OpenFile) {
    this.#backend = backend;
    this.#file = file;
  }

  /** Whether a sync runs or is about to: then what has just been written best joins the next one. */
  get isBusy(): boolean {
    return this.#running.size > 0 || this.#next !== null;
  }

  /** fsync or fdatasync, of this call alone or shared. Whoever calls keeps the file open until it has settled. */
  sync(syscall: Syscall): Promise<void> {
    if (this.#file.fd < 0) return Promise.reject(closedError(syscall));
    this.#next ??= this.#plan(syscall);
    const round = this.#next;
    if (syscall === "fsync") round.syscall = syscall; // it does all that the other does
    return this.keepFailure(syscall, round.synced);
  }

  /**
   * Counts work that ends in a sync as one that runs: others wait for it, and then share the next. It has succeeded only
   * when those beside it have ended: of two at once the kernel tells one of a loss, and the other that all is well.
   */
  include(work: Promise<void>): Promise<void> {
    this.#running.add(work);
    return work.then(
      async () => {
        this.#running.delete(work);
        if (this.#running.size > 0) await Promise.allSettled(this.#running);
      },
      (error) => {
        this.#running.delete(work);
        this.#note(error);
        throw error;
      },
    );
  }

  /** Lets a sync settle as it did, but fail for good once one of the file has failed. */
  keepFailure(syscall: string, synced: Promise<void>): Promise<void> {
    return synced.then(
      () => {
        const errno = this.#errno;
        return errno === 0 ? undefined : lateRejection(() => systemError(errno, syscall));
      },
      (error) => {
        this.#note(error);
        // Shared: each call has an error of its own, under its own name.
        if (error.syscall === "write" || typeof error.errno !== "number") return passedOn(error);
        return lateRejection(() => systemError(error.errno, syscall));
      },
    );
  }

  #note(error: NodeJS.ErrnoException): void {
    // A write that failed has synced nothing, and lost nothing that was there.
    if (error.syscall !== "write") this.#errno ||= error.errno ?? 0;
  }

  #plan(syscall: Syscall): Round {
    const before = Promise.allSettled(this.#running);
    const round: Round = { syscall, synced: before.then(() => this.#begin(round)) };
    return round;
  }

  #begin(round: Round): Promise<void> {
    this.#next = null;
    return this.include(this.#backend[round.syscall](this.#file));
  }
}
