// Ring: the io_uring of this thread, or one of one's own, for programs that speak to it in SQEs and CQEs.
// Assumes nothing of its arguments: misuse rejects before anything is queued. Never lets an operation of the user's disturb
// the package's own on the same ring.

import { fallbackReason } from "../backend/choose.ts";
import { Opcode, type OpcodeName } from "../kernel/sqe.ts";
import { type Limits, limited } from "../node/abort.ts";
import { codedError, invalidArgType, unavailable, validateInteger, validateObject } from "../node/arguments.ts";
import { closedError, systemError } from "../node/errors.ts";
import { limitsIn } from "../node/options.ts";
import { RingThread, ringThread } from "../ring/context.ts";
import type { WorkerLimits } from "../ring/remote-work.ts";
import type { RingStats } from "../ring/ring.ts";
import { type Reason, setUp } from "../ring/setup.ts";
import { type Tuning, tune } from "../ring/tuning.ts";
import { Chain } from "./chain.ts";
import type { Sqe } from "./sqe-fields.ts";
import { Runner } from "./submit.ts";

/** A completion queue entry. */
export interface Completion {
  /** What the operation returned: a count, a descriptor, 0, or a negative errno. */
  res: number;
  /** `CqeFlag` bits. */
  flags: number;
}

/** What a ring of one's own is made with (io_uring_setup(2)). */
export interface RingOptions {
  /** Entries of the submission queue, a power of two up to 4096 (default 256). The CQ has four times as many. */
  entries?: number;
}

/** Both cancel what the kernel has not done yet; the promise rejects when it has given everything back. */
export interface RunOptions extends Limits {}

const rings = new WeakMap<RingThread, Ring>();
const MAX_ENTRIES = 4096;
const MAX_WORKERS = 65_535;
/** Milliseconds that close() waits for operations in the kernel. */
const CLOSE_DEADLINE_MS = 5000;

/**
 * An io_uring. `Ring.current()` is this thread's, which the package's own functions use too; `new Ring()` makes one more.
 *
 * `submit` and `batch` resolve to what the kernel answered, failures included: `res` is then a negative errno. They
 * reject for misuse (ERR_*, before anything is queued), for an opcode that the kernel lacks
 * (ERR_FEATURE_UNAVAILABLE_ON_PLATFORM), for memory that was taken away meanwhile (ERR_INVALID_STATE), and on abort.
 * What lies behind an `fd` is the caller's: keep it open until the promise has settled.
 */
export class Ring {
  readonly #runner: Runner;
  readonly #own: boolean;

  /** Makes a ring of one's own, to be closed with `close()`. Throws where io_uring can't be had, saying why. */
  constructor(options: RingOptions = {}, /** @internal */ shared: RingThread | null = null) {
    this.#own = shared === null;
    this.#runner = new Runner(shared ?? ownThread(options), shared !== null);
  }

  /** This thread's ring. Throws where io_uring can't be had: `capabilities().reason` says the same. */
  static current(): Ring {
    const shared = sharedThread();
    let ring = rings.get(shared);
    if (ring === undefined) {
      ring = new Ring({}, shared);
      rings.set(shared, ring);
    }
    return ring;
  }

  /** Runs one SQE. */
  submit(sqe: Sqe, options: RunOptions = {}): Promise<Completion> {
    return this.#run([sqe], options, (results, flags) => ({ res: results[0]!, flags: flags[0]! }));
  }

  /** Runs any number of SQEs, in one submit as far as the SQ holds them; results in the order of the SQEs. */
  batch(sqes: readonly Sqe[], options: RunOptions = {}): Promise<Completion[]> {
    if (!Array.isArray(sqes)) return Promise.reject(invalidArgType("sqes", "Array", sqes));
    return this.#run(sqes, options, (results, flags) => Array.from(results, (res, i) => ({ res, flags: flags[i]! })));
  }

  #run<T>(
    sqes: readonly Sqe[],
    options: RunOptions,
    settle: (results: Int32Array, flags: Uint32Array) => T,
  ): Promise<T> {
    let limits: Limits;
    try {
      limits = limitsOf(options);
    } catch (error) {
      return Promise.reject(error);
    }
    if (limits.timeoutMs === undefined) return this.#runner.run(sqes, settle, limits.signal ?? null);
    return limited(limits, "io_uring_enter", (signal) => this.#runner.run(sqes, settle, signal));
  }

  /** Begins a chain: linked SQEs, each started when the one before has succeeded, all in one submit. */
  chain(options: { hardlink?: boolean } = {}): Chain {
    return new Chain(this.#runner, options.hardlink === true);
  }

  /**
   * Lends a direct descriptor: an empty slot of the ring's own file table, for `fileIndex` and, with
   * SqeFlag.FIXED_FILE, for `fd`. At most half of the table can be lent: then it rejects with ENFILE. Waits where the
   * package's own functions have all; rejects with an AbortError, ETIMEDOUT, or ECANCELED when the ring ends. Before
   * Linux 5.15 there is no table, and it rejects with ERR_FEATURE_UNAVAILABLE_ON_PLATFORM, as `openDirect()` of a chain does.
   */
  async acquireDirect(options: RunOptions = {}): Promise<number> {
    const limits = limitsOf(options);
    const take = (signal: AbortSignal | null): Promise<number[]> => this.#runner.acquireDirect(1, signal, true);
    const waiting =
      limits.timeoutMs === undefined ? take(limits.signal ?? null) : limited(limits, "acquireDirect", take);
    const [slot] = await waiting;
    this.#runner.lent.add(slot!);
    return slot!;
  }

  /**
   * Gives a direct descriptor back. No SQE may name it from the call on; those that do already are waited for, then a
   * file in it is closed. Rejects with EBADF for one that is not lent.
   */
  async releaseDirect(slot: number): Promise<void> {
    if (!this.#runner.lent.has(slot)) throw closedError("releaseDirect");
    await this.#runner.releaseDirect(slot);
  }

  /** @deprecated The old name of `acquireDirect`. */
  takeSlot(): Promise<number> {
    return this.acquireDirect();
  }

  /** @deprecated The old name of `releaseDirect`. */
  giveSlot(slot: number): Promise<void> {
    return this.releaseDirect(slot);
  }

  /**
   * Limits the kernel threads that work for this ring; each at least 1. Fewer than are busy now end when they are done.
   * They belong to the JavaScript thread, so a second ring of the same thread shares them. By default as many bounded
   * ones as there are processors (4 at least), and twice as many unbounded (8 at least); `capabilities()` shows them.
   */
  setIowqWorkers({ bounded, unbounded }: WorkerLimits): void {
    validateInteger(bounded, "limits.bounded", 1, MAX_WORKERS);
    validateInteger(unbounded, "limits.unbounded", 1, MAX_WORKERS);
    const { remote, ring, setup } = this.#runner.thread;
    if (ring.closed) throw closedError("setIowqWorkers");
    const rc = remote.apply({ bounded, unbounded });
    if (rc < 0) throw systemError(rc, "io_uring_register");
    setup.workers = { bounded, unbounded };
  }

  /** @deprecated The old name of `setIowqWorkers`. */
  setWorkers(limits: WorkerLimits): void {
    this.setIowqWorkers(limits);
  }

  /** Sets bounds of what the ring adapts by itself, those that are given; returns all that are in force. */
  tune(bounds: Partial<Tuning> = {}): Tuning {
    return tune(this.#runner.thread, bounds);
  }

  /** The limits in force; 0 where the kernel has none to set (before 5.15). */
  get workers(): WorkerLimits {
    return { ...this.#runner.thread.setup.workers };
  }

  /** Counters since the ring was made. */
  get stats(): RingStats {
    return this.#runner.thread.ring.stats();
  }

  /** The opcodes that this ring takes, by the kernel's own probe. */
  get opcodes(): ReadonlySet<OpcodeName> {
    return new Set((Object.keys(Opcode) as OpcodeName[]).filter((name) => this.#runner.has(name)));
  }

  /** Entries of the submission queue: the longest chain. */
  get entries(): number {
    return this.#runner.thread.ring.sqEntries;
  }

  /** Waits for what is in the kernel, then closes a ring of one's own. This thread's ring ends with `shutdown()`. */
  async close(): Promise<void> {
    if (!this.#own) throw new TypeError("bun-uring: Ring.current() is shared with the package; shutdown() closes it");
    await this.#runner.thread.shutDown(CLOSE_DEADLINE_MS);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The signal and the time limit of a call's options, each read once and checked. */
function limitsOf(options: Limits): Limits {
  validateObject(options, "options");
  return limitsIn(options) ?? {};
}

/** Throws where this thread does not run on io_uring, by the machine's or the user's choice. */
function needRing(): void {
  const reason = fallbackReason();
  if (reason !== null) throw noRing(reason);
}

/** This thread's ring. Throws where it can't be had. */
function sharedThread(): RingThread {
  needRing();
  const made = ringThread();
  if ("ring" in made) return made;
  throw noRing(made);
}

function noRing({ message, remedy }: Reason): Error {
  const text = `bun-uring: io_uring is not available: ${message}. ${remedy}`;
  return codedError(Error, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM", text);
}

/** A ring of one's own, with its loop. */
function ownThread(options: RingOptions): RingThread {
  needRing();
  validateObject(options, "options");
  const { entries = 256, iopoll } = options as RingOptions & { iopoll?: unknown };
  validateInteger(entries, "options.entries", 1, MAX_ENTRIES);
  if (iopoll) throw unavailable("options.iopoll", "completions are waited for, never polled for (IORING_SETUP_IOPOLL)");
  const setup = setUp({ entries, cqEntries: entries * 4 });
  if (!("ring" in setup)) throw noRing(setup);
  return new RingThread(setup);
}
