// The one engine for linked SQEs: an operation of several links on one direct descriptor. Here, and nowhere else: the
// descriptor, from before the OPENAT until the CLOSE's own CQE; links told apart in user_data; what is tried again; an abort
// that asks the kernel to cancel what is still there; the late CLOSE of a chain that broke; and one settlement.
// A subclass says which links there are, and what their results mean: read-file.ts, write-file.ts, copy-small.ts.

import { stableAddress } from "../../kernel/address.ts";
import type { Address } from "../../kernel/shim.ts";
import { AT_FDCWD, Opcode, setFileIndex } from "../../kernel/sqe.ts";
import { setTimeout } from "../../node/clock.ts";
import { ECANCELED, EINTR } from "../../node/errno.ts";
import { abortError, systemError } from "../../node/errors.ts";
import { fail as failLate, late, rejection } from "../../node/late-error.ts";
import { offAbort, onAbort } from "../../node/signal.ts";
import type { RingThread } from "../../ring/context.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { ownPath, putPath } from "../../ring/scratch.ts";
import type { Path } from "../interface.ts";
import {
  begin,
  cancel,
  cancellable,
  end,
  honest,
  isToRepeat,
  MAX_RETRIES,
  retryFlag,
  stage,
  stageAgain,
  stageLink,
} from "./request.ts";

/** Links of a chain at most. */
const LINKS = 6;
/** Milliseconds after which a cancellation is asked for again, four times as many each time, up to the second number. */
const [CANCEL_AGAIN_MS, CANCEL_LAST_MS] = [1, 1024];

/** Whether a CLOSE has closed: Linux lets go of a descriptor whatever it says, unless it was never begun. */
export const isClosed = (res: number): boolean => res !== ECANCELED;
/** What a CLOSE says that is an error: what it had to write is lost. */
export const isCloseError = (res: number): boolean => res < 0 && res !== EINTR;

function finishLink(operation: Operation, res: number, _flags: number, link: number): void {
  const linked = operation.state as Linked<unknown>;
  linked.results[link] = res;
  if (operation.pending > 0) return;
  linked.proceed();
}

function finishLateClose(operation: Operation, res: number): void {
  (operation.state as Linked<unknown>).closedLate(res);
}

function abandonLinked(operation: Operation, isIdle: boolean): void {
  (operation.state as Linked<unknown>).abandon(isIdle);
}

/** One chain, and the promise of its value. */
export abstract class Linked<T> {
  protected readonly t: RingThread;
  protected readonly operation: Operation;
  readonly signal: AbortSignal | null;
  /** Results by link; ECANCELED for one that was not staged. */
  readonly results: number[] = [ECANCELED, ECANCELED, ECANCELED, ECANCELED, ECANCELED, ECANCELED];
  /** The direct descriptor; -1 while the chain waits for one. */
  protected slot: number = -1;
  /** A file is in it. */
  protected isOpen: boolean = false;
  protected error: Error | null = null;
  protected value: T | undefined = undefined;
  /** Its place in the line for a direct descriptor. */
  #place: ((slot: number) => void) | null = null;
  #onAbort: (() => void) | null = null;
  /** Paths that are too long for the cell. */
  #longPaths: Buffer[] | null = null;

  constructor(t: RingThread, path: Path, signal: AbortSignal | null | undefined) {
    this.t = t;
    this.signal = signal ?? null;
    const operation = t.ring.acquire(finishLink, 1);
    this.operation = operation;
    operation.syscall = "open";
    operation.path = path;
    operation.state = this;
    operation.whenStopped = abandonLinked;
  }

  /** Takes what the links need from the ring's memory; once. It may throw: then nothing has begun. */
  protected abstract prepare(): void;
  /** Stages all links, the first time or again. */
  protected abstract stage(): void;
  /** The CQEs of all links have come. */
  protected abstract ended(): void;
  /** Gives back what `prepare` took. */
  protected abstract release(): void;
  /** The late CLOSE has failed. */
  protected closeFailed(error: Error): void {
    this.error ??= error;
  }
  /** The signal has fired. The chain itself ends when the kernel gives it back. */
  protected aborted(): void {}

  /** Begins, when a direct descriptor is free. Nobody may begin where there is no table of them. */
  start(): Promise<T> {
    const { t, operation, signal } = this;
    const promise = promiseFor(operation);
    if (signal !== null) this.#watch(signal);
    const slot = t.direct.tryAcquire();
    if (slot >= 0) this.#begin(slot);
    else {
      this.#place = (given) => this.#begin(given);
      t.direct.acquire(this.#place, (error) => this.fail(error));
    }
    return promise;
  }

  #begin(slot: number): void {
    this.slot = slot;
    try {
      this.operation.cell = this.t.cells.acquireForPath();
      this.prepare();
      this.stage();
    } catch (error) {
      this.fail(error as Error); // no memory: nothing is staged yet
    }
  }

  /** From the completion loop: what throws here is this chain's alone. */
  proceed(): void {
    try {
      this.ended();
    } catch (error) {
      this.fail(error as Error);
    }
  }

  /** Puts a path into the cell's half at `at`, or into memory of its own. Returns its address. */
  protected pathAddress(at: number, path: Path): Address {
    const address = putPath(this.operation.cell!, at, path);
    if (address >= 0) return address;
    const memory = ownPath(path);
    this.#longPaths = [...(this.#longPaths ?? []), memory];
    return stableAddress(memory, 0);
  }

  /** Begins to stage `count` links. */
  protected expect(count: number): void {
    if (this.operation.pending === 0) this.t.ring.resubmissions += count; // taken with one pending
    this.operation.pending = count;
    this.operation.finish = finishLink;
    this.results.fill(ECANCELED);
  }

  /** Stages link number `link`. Returns its first word. */
  protected link(
    link: number,
    opcode: number,
    flags: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    opFlags: number,
  ): number {
    return stageLink(this.t, this.operation, link, opcode, flags, fd, offset, address, length, opFlags);
  }

  /** Stages an OPENAT into the direct descriptor; what is in it before is closed. */
  protected openLink(link: number, flags: number, address: Address, openFlags: number, mode: number): void {
    const i = this.link(link, Opcode.OPENAT, flags, AT_FDCWD, 0, address, mode, openFlags);
    setFileIndex(this.t.ring.words, i, this.slot);
  }

  /** Stages the CLOSE of the direct descriptor. */
  protected closeLink(link: number): void {
    const i = this.link(link, Opcode.CLOSE, 0, 0, 0, 0, 0, 0);
    setFileIndex(this.t.ring.words, i, this.slot);
  }

  /** The OPENAT has failed, and with it the chain. */
  protected notOpened(res: number): void {
    if (res === EINTR && this.error === null) return this.stage();
    this.fail(late(() => systemError(honest(res), "open", this.operation.path)));
  }

  /** Ends with an error, unless one came before it. */
  protected fail(error: Error): void {
    this.error ??= error;
    this.finish();
  }

  /** Ends: closes first if a file is in the direct descriptor, settles when that CQE has come. */
  protected finish(): void {
    const { operation, t } = this;
    const { ring } = t;
    if (this.slot >= 0 && (ring.closed || ring.poisoned !== null)) return this.abandon(ring.isIdle);
    if (!this.isOpen) return this.#settle();
    operation.pending = 1;
    operation.finish = finishLateClose;
    this.closeLink(0);
  }

  closedLate(res: number): void {
    // Never begun: the file is in its place yet, and would stay there when the descriptor is given back.
    if (res === ECANCELED && this.operation.retries++ < MAX_RETRIES) {
      this.t.ring.resubmissions++;
      return this.finish();
    }
    if (isCloseError(res)) this.closeFailed(late(() => systemError(res, "close")));
    this.#settle();
  }

  /** Nothing of the chain is in the kernel, and no file in its direct descriptor. */
  #settle(): void {
    const { operation, t, error, slot } = this;
    const { resolve, reject } = operation;
    this.#unwatch();
    this.release();
    end(operation);
    if (slot >= 0) t.direct.release(slot);
    if (error === null) resolve(this.value);
    else failLate({ resolve, reject }, () => error);
  }

  /** The ring is closed or stopped: no CQE will come. What the kernel might still have is not given back. */
  abandon(isIdle: boolean): void {
    const { operation, error } = this;
    this.#unwatch();
    operation.resolve(rejection(error ?? operation.ring.stopError));
    if (isIdle) end(operation);
  }

  #watch(signal: AbortSignal): void {
    this.#onAbort = () => {
      const { operation, slot } = this;
      this.error = late(() => abortError(signal));
      if (slot < 0) {
        // Nothing has begun. It does not stay in line to be told so: those who abort what they ask for, again and again,
        // would fill the memory before the line moves.
        this.t.direct.leave(this.#place!);
        return this.#settle();
      }
      this.aborted();
      this.#cancel(operation.generation, CANCEL_AGAIN_MS);
    };
    onAbort(signal, this.#onAbort);
  }

  #unwatch(): void {
    if (this.#onAbort !== null) offAbort(this.signal!, this.#onAbort);
  }

  /**
   * Cancels every link in the kernel. Again a little later: the kernel does not find a link that has not begun, and a
   * hardlinked one begins because the one before it was cancelled.
   */
  #cancel(generation: number, againMs: number): void {
    const { operation } = this;
    if (operation.generation !== generation || operation.pending === 0) return;
    cancel(operation, LINKS);
    if (againMs > CANCEL_LAST_MS) return;
    setTimeout(() => this.#cancel(generation, againMs * 4), againMs).unref();
  }
}

/** What is read or written: an fd, or a direct descriptor with the SQE flag that says so. */
export interface Source {
  fd: number;
  sqeFlag: number;
}

function finishRun(operation: Operation, res: number): void {
  if (isToRepeat(operation, res)) return operation.again!();
  const { resolve, reject, cancelled } = operation;
  const signal = operation.state as AbortSignal | null;
  end(operation);
  if (res < 0 && cancelled && signal !== null) return reject(abortError(signal));
  resolve(cancelled ? res : honest(res));
}

/**
 * One operation on a chain's file, after the chain; `memory` lives as long as the kernel has it. Resolves to its result, a
 * negative errno included; rejects with an AbortError where the signal has kept it from being done. `syscall` says what it
 * is to the end of the thread, which waits for what changes a file.
 */
export function run(
  t: RingThread,
  opcode: number,
  syscall: "read" | "write" | "ftruncate" | "fsync",
  sqeFlags: number,
  source: Source,
  position: number,
  address: Address,
  length: number,
  memory: Uint8Array | null,
  signal: AbortSignal | null,
): Promise<number> {
  const start = (): Promise<number> => {
    const operation = begin(t, finishRun, syscall, null);
    operation.memory = memory;
    operation.state = signal;
    stageAgain(operation, () => {
      const flags = sqeFlags | source.sqeFlag | retryFlag(operation);
      stage(t, operation, opcode, flags, source.fd, position, address, length, 0);
    });
    return promiseFor(operation);
  };
  return signal === null ? start() : cancellable(start, signal);
}
