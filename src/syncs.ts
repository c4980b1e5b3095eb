// The syncs of one open file. Calls that come while one is under way share the next one, which begins after all of them
// (group commit): 64 writers that each wait for their record pay for two or three syncs, not for 64. And a failure is
// final: the kernel reports lost data once, so a later sync's success would be a lie (DESIGN 3.10).

import type { Backend, OpenFile } from "./backend-interface.ts";
import { closedError, systemError } from "./errno.ts";

type Syscall = "fsync" | "fdatasync";

/** A sync that has not begun: it covers all that was written before it does. */
interface Round {
  syscall: Syscall;
  synced: Promise<void>;
}

const ignore = (): void => {};

export class Syncs {
  readonly #backend: Backend;
  readonly #file: OpenFile;
  /** When what runs now has settled; it never rejects. */
  #running: Promise<void> = Promise.resolve();
  #runningCount = 0;
  #next: Round | null = null;
  /** What a sync failed with. */
  #errno = 0;

  constructor(backend: Backend, file: OpenFile) {
    this.#backend = backend;
    this.#file = file;
  }

  /** Whether a sync runs or is about to: then what has just been written best joins the next one. */
  get isBusy(): boolean {
    return this.#runningCount > 0 || this.#next !== null;
  }

  /** fsync or fdatasync, of this call alone or shared. Whoever calls keeps the file open until it has settled. */
  sync(syscall: Syscall): Promise<void> {
    if (this.#file.fd < 0) return Promise.reject(closedError(syscall));
    this.#next ??= this.#plan(syscall);
    const round = this.#next;
    if (syscall === "fsync") round.syscall = syscall; // it does all that the other does
    return this.keepFailure(syscall, round.synced);
  }

  /** Counts a sync that is part of something larger as one that runs: others wait for it, and then share the next. */
  include(work: Promise<void>): Promise<void> {
    this.#runningCount++;
    const over = (): void => void this.#runningCount--;
    const settled = work.then(over, over);
    const before = this.#running;
    this.#running = before.then(() => settled);
    return work;
  }

  /** Lets a sync settle as it did, but fail for good once one of the file has failed. */
  keepFailure(syscall: string, synced: Promise<void>): Promise<void> {
    return synced.then(
      () => {
        // The kernel told another one of the loss, and this one that all is well.
        if (this.#errno !== 0) throw systemError(this.#errno, syscall);
      },
      (error) => {
        // A write that failed has synced nothing, and lost nothing that was there.
        if (error.syscall === "write") throw error;
        this.#errno ||= error.errno ?? 0;
        // Shared: each call has an error of its own, under its own name.
        throw typeof error.errno === "number" ? systemError(error.errno, syscall) : error;
      },
    );
  }

  #plan(syscall: Syscall): Round {
    const round: Round = { syscall, synced: this.#running.then(() => this.#begin(round)) };
    return round;
  }

  #begin(round: Round): Promise<void> {
    this.#next = null;
    const synced = this.#backend[round.syscall](this.#file);
    this.include(synced).catch(ignore);
    return synced;
  }
}
