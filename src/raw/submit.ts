// Runs drafts on a ring: queues SQEs one after another, collects their results by index, settles one promise.
// Keeps the accounts that the public Ring and its chains share: which direct descriptors the user holds, which promises
// name operations that can be cancelled. Nothing the kernel may still write to is let go before its CQE.

import type { OpenFile } from "../backend/interface.ts";
import { SQE_WORDS } from "../kernel/abi.ts";
import { letGo } from "../kernel/shim.ts";
import { Opcode, type OpcodeName, SqeFlag } from "../kernel/sqe.ts";
import { bufferTaken, invalidArgValue, outOfRange } from "../node/arguments.ts";
import { ECANCELED } from "../node/errno.ts";
import { abortError } from "../node/errors.ts";
import { offAbort, onAbort } from "../node/signal.ts";
import type { RingThread } from "../ring/context.ts";
import {
  cancelMany,
  highOfMany,
  type InFlightOwner,
  lowOfMany,
  MAX_MANY,
  NOT_YET,
  noteResult,
  type Operation,
  promiseFor,
} from "../ring/operation.ts";
import { Draft, type DraftContext } from "./encode.ts";
import type { Sqe } from "./sqe-fields.ts";

/** A CLOSE that is cancelled so often, for want of a kernel thread, will not come to pass. */
const MAX_RETRIES = 16;
/** Whose results are descriptors, and their users' to close. */
const OPENING: ReadonlySet<number> = new Set([Opcode.OPENAT, Opcode.OPENAT2, Opcode.FIXED_FD_INSTALL]);
const LINKS = SqeFlag.IO_LINK | SqeFlag.IO_HARDLINK;
/** `res` and `flags` of each CQE, in the order of the SQEs. */
type Settle<T> = (results: Int32Array, flags: Uint32Array) => T;

class Run {
  readonly draft: Draft;
  readonly results: Int32Array;
  readonly flags: Uint32Array;
  readonly settle: Settle<unknown>;
  readonly signal: AbortSignal | null;
  onAbort: (() => void) | null = null;
  aborted = false;

  constructor(draft: Draft, settle: Settle<unknown>, signal: AbortSignal | null) {
    this.draft = draft;
    this.results = new Int32Array(draft.count).fill(NOT_YET);
    this.flags = new Uint32Array(draft.count);
    this.settle = settle;
    this.signal = signal;
  }
}

export class Runner {
  readonly thread: RingThread;
  /** Direct descriptors that the user was lent, and may name. */
  readonly lent: Set<number> = new Set();
  readonly #shared: boolean;
  readonly #context: DraftContext;
  /** SQEs in the kernel's hands that name a direct descriptor; and who waits for there being none. */
  readonly #naming = new Map<number, number>();
  readonly #whenUnnamed = new Map<number, () => void>();
  readonly #running = new WeakMap<Promise<unknown>, { operation: Operation; life: number }>();

  constructor(thread: RingThread, shared: boolean) {
    this.thread = thread;
    this.#shared = shared;
    this.#context = this.#contextFor(this.lent);
  }

  #contextFor(slots: ReadonlySet<number>): DraftContext {
    const { ring, cells, setup } = this.thread;
    return {
      ring,
      cells,
      opcodes: setup.opcodes,
      shared: this.#shared,
      slots,
      userDataOf: (promise) => this.#userDataOf(promise),
    };
  }

  /**
   * `count` direct descriptors, all at once. Rejects with ENFILE for more than the user can ever have (`now`: than are
   * left of that), when the signal fires, and when the ring ends.
   */
  acquireDirect(count: number, signal: AbortSignal | null, now = false): Promise<number[]> {
    const { direct } = this.thread;
    return new Promise((resolve, reject) => {
      if (count === 0) return resolve([]);
      if (signal?.aborted) return reject(abortError(signal));
      const off = (): void => {
        if (signal !== null) offAbort(signal, stop);
      };
      const served = (slots: number[]): void => {
        off();
        resolve(slots);
      };
      const stop = (): void => {
        direct.leave(served);
        reject(abortError(signal!));
      };
      if (signal !== null) onAbort(signal, stop);
      try {
        direct.acquireForUser(count, now, served, (error) => {
          off();
          reject(error);
        });
      } catch (error) {
        off();
        reject(error);
      }
    });
  }

  /** Gives a direct descriptor back after the user's SQEs that name it, and after a file in it was closed. */
  async releaseDirect(slot: number): Promise<void> {
    this.lent.delete(slot); // from now on no new SQE may name it
    if (this.#naming.has(slot)) await new Promise<void>((resolve) => this.#whenUnnamed.set(slot, resolve));
    await this.closeDirect([slot]);
  }

  /** Closes the files in these direct descriptors, if there are any, and gives them back. */
  async closeDirect(slots: readonly number[]): Promise<void> {
    let left = slots.map((fileIndex) => ({ opcode: Opcode.CLOSE, fileIndex }));
    for (let retries = 0; left.length > 0; retries++) {
      const results = await this.run(left, (cqes) => [...cqes], null, new Set(slots));
      // Never begun: the file is in the slot yet, and whoever got the slot next would read it.
      left = retries < MAX_RETRIES ? left.filter((_, i) => results[i] === ECANCELED) : [];
    }
    for (const slot of slots) this.thread.direct.release(slot);
  }

  #name(draft: Draft): void {
    for (const slot of draft.slots) this.#naming.set(slot, (this.#naming.get(slot) ?? 0) + 1);
  }

  #unname(draft: Draft): void {
    for (const slot of draft.slots) {
      const count = this.#naming.get(slot)! - 1;
      if (count > 0) this.#naming.set(slot, count);
      else this.#naming.delete(slot);
      if (count > 0) continue;
      this.#whenUnnamed.get(slot)?.();
      this.#whenUnnamed.delete(slot);
    }
  }

  /** Whether this ring takes the opcode. */
  has(name: OpcodeName): boolean {
    return this.thread.setup.opcodes[Opcode[name]] === 1;
  }

  /**
   * Queues the SQEs, all of them or, after a mistake in one, none; they go to the kernel in one submit. Settles when the
   * last CQE has come, after `settle` was called with the results. They may name the direct descriptors in `slots`. With a signal, the operations are cancelled when it
   * fires, and the promise then rejects.
   */
  run<T>(
    sqes: readonly Sqe[],
    settle: Settle<T>,
    signal: AbortSignal | null = null,
    slots: ReadonlySet<number> = this.lent,
  ): Promise<T> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const draft = new Draft(slots === this.lent ? this.#context : this.#contextFor(slots));
    try {
      const count = sqes.length;
      if (count > MAX_MANY) throw outOfRange("sqes.length", `<= ${MAX_MANY}`, count);
      for (let i = 0; i < count; i++) draft.add(sqes[i]!);
      checkLinks(draft, this.thread.ring.sqEntries);
      return this.#start(draft, settle, signal);
    } catch (error) {
      draft.release();
      return Promise.reject(error);
    }
  }

  #start<T>(draft: Draft, settle: Settle<T>, signal: AbortSignal | null): Promise<T> {
    if (draft.count === 0) return Promise.resolve(settle(new Int32Array(0), new Uint32Array(0)));
    const { ring } = this.thread;
    const operation = ring.acquireMany(this.#finish, draft.count);
    const run = new Run(draft, settle, signal);
    operation.state = run;
    if (draft.files.length > 0) operation.owner = ownerOf(draft.files);
    if (draft.drains) ring.mayDrain = true;
    this.#name(draft);
    operation.whenStopped = this.#abandon;
    if (signal !== null) this.#watch(operation, run, signal);
    const low = lowOfMany(operation);
    const high = highOfMany(operation);
    const first = ring.nextMany(draft.count);
    const { words } = ring;
    words.set(draft.words.subarray(0, draft.count * SQE_WORDS), first);
    for (let i = 0, word = first; i < draft.count; i++, word += SQE_WORDS) {
      words[word + 8] = low;
      words[word + 9] = high + i;
      if (((words[word]! >>> 8) & SqeFlag.ASYNC) !== 0) ring.asyncForced++;
    }
    const promise: Promise<T> = promiseFor(operation);
    if (draft.count === 1) this.#running.set(promise, { operation, life: operation.life });
    return promise;
  }

  readonly #finish = (operation: Operation, res: number, flags: number, index: number): void => {
    const run = operation.state as Run;
    if (res >= 0 && OPENING.has(run.draft.words[index * SQE_WORDS]! & 0xff)) letGo(this.thread.native, res);
    if (!noteResult(operation, run.results, index, res)) return;
    run.flags[index] = flags;
    if (operation.pending === 0) this.#end(operation, run);
  };

  #end(operation: Operation, run: Run): void {
    const { resolve, reject } = operation;
    const { draft, signal, results } = run;
    if (run.onAbort !== null) offAbort(signal!, run.onAbort);
    const { intact } = draft;
    this.#unname(draft);
    draft.release();
    this.thread.ring.operations.releaseMany(operation);
    if (!intact) return reject(bufferTaken("ring"));
    try {
      const value = run.settle(results, run.flags);
      if (run.aborted) reject(abortError(signal!));
      else resolve(value);
    } catch (error) {
      reject(error);
    }
  }

  /** The ring is closed or stopped: what the kernel may still have is kept. */
  readonly #abandon = (operation: Operation, isIdle: boolean): void => {
    const { draft, signal, onAbort: listener } = operation.state as Run;
    if (listener !== null) offAbort(signal!, listener);
    this.#unname(draft);
    if (isIdle) draft.release();
  };

  #watch(operation: Operation, run: Run, signal: AbortSignal): void {
    run.onAbort = () => {
      run.aborted = true;
      cancelMany(operation, run.results);
    };
    onAbort(signal, run.onAbort);
  }

  #userDataOf(promise: Promise<unknown>): readonly [number, number] | null {
    const running = this.#running.get(promise);
    if (running === undefined || running.operation.life !== running.life || running.operation.pending === 0)
      return null;
    return [lowOfMany(running.operation), highOfMany(running.operation)];
  }
}

/** For a ring that is closed before the last CQE: what the draft holds stays, but its files can be closed. */
function ownerOf(files: OpenFile[]): InFlightOwner {
  const letGo = (): void => {
    for (const file of files.splice(0)) if (--file.inFlight === 0 && file.closing !== null) file.closing();
  };
  return { inFlight: 1, closing: letGo };
}

/** A chain must fit the SQ, or it would never be taken; one that is left open would link to a stranger's SQE. */
function checkLinks(draft: Draft, sqEntries: number): void {
  let length = 1;
  for (let i = 0; i < draft.count; i++) {
    const linked = ((draft.words[i * SQE_WORDS]! >>> 8) & LINKS) !== 0;
    length = linked ? length + 1 : 1;
    if (length > sqEntries)
      throw outOfRange("the number of linked SQEs", `<= ${sqEntries}, the entries of this ring's SQ`, length);
    if (linked && i === draft.count - 1)
      throw invalidArgValue("sqe.flags", linked, "must not link the last SQE: what would follow is somebody else's");
  }
}
