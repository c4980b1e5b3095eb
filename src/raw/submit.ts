// Runs drafts on a ring: queues SQEs one after another, collects their results by index, settles one promise.
// Keeps the accounts that the public Ring and its chains share: which direct descriptors the user holds, which promises
// name operations that can be cancelled. Nothing the kernel may still write to is let go before its CQE.

import type { OpenFile } from "../backend/interface.ts";
import { SQE_WORDS } from "../kernel/abi.ts";
import { Opcode, type OpcodeName, SqeFlag } from "../kernel/sqe.ts";
import { codedError, invalidArgValue, outOfRange } from "../node/arguments.ts";
import { abortError } from "../node/errors.ts";
import type { RingThread } from "../ring/context.ts";
import { highOfMany, type InFlightOwner, lowOfMany, MAX_MANY, type Operation, promiseFor } from "../ring/operation.ts";
import { SetupFlag } from "../ring/ring.ts";
import { Draft, type DraftContext } from "./encode.ts";
import type { Sqe } from "./sqe-fields.ts";

/** No CQE has this result. */
const NOT_YET = -(2 ** 31);
const EOPNOTSUPP = -95;
const LINKS = SqeFlag.IO_LINK | SqeFlag.IO_HARDLINK;
/** What a ring with IORING_SETUP_IOPOLL takes (io_issue_defs[].iopoll of the kernel). */
const POLLED: ReadonlySet<number> = new Set<number>([
  Opcode.NOP,
  Opcode.READ,
  Opcode.WRITE,
  Opcode.READV,
  Opcode.WRITEV,
  Opcode.READ_FIXED,
  Opcode.WRITE_FIXED,
  Opcode.FILES_UPDATE,
]);

/** `res` and `flags` of each CQE, in the order of the SQEs. */
export type Settle<T> = (results: Int32Array, flags: Uint32Array) => T;

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
  /** Direct descriptors that the user holds. */
  readonly slots: Set<number> = new Set();
  readonly polled: boolean;
  readonly #context: DraftContext;
  #collecting: Promise<unknown> = Promise.resolve();
  readonly #running = new WeakMap<Promise<unknown>, { operation: Operation; life: number }>();

  constructor(thread: RingThread) {
    this.thread = thread;
    this.polled = (thread.ring.setupFlags & SetupFlag.IOPOLL) !== 0;
    this.#context = {
      cells: thread.cells,
      opcodes: thread.setup.opcodes,
      slots: this.slots,
      userDataOf: (promise) => this.#userDataOf(promise),
    };
  }

  /**
   * Takes `count` direct descriptors for a chain. One caller at a time collects several, so that two never wait for what
   * the other holds.
   */
  async takeSlots(count: number): Promise<number[]> {
    const { direct } = this.thread;
    if (count > direct.size) throw outOfRange("the number of direct descriptors", `<= ${direct.size}`, count);
    const collect = async (): Promise<number[]> => {
      const taken: number[] = [];
      while (taken.length < count) taken.push(await new Promise<number>((give) => direct.take(give)));
      return taken;
    };
    const taken = count < 2 ? collect() : this.#collecting.then(collect);
    if (count >= 2) this.#collecting = taken;
    for (const slot of await taken) this.slots.add(slot);
    return taken;
  }

  /** Whether this ring takes the opcode. */
  has(name: OpcodeName): boolean {
    const opcode = Opcode[name];
    return this.thread.setup.opcodes[opcode] === 1 && (!this.polled || POLLED.has(opcode));
  }

  /**
   * Queues the SQEs, all of them or, after a mistake in one, none; they go to the kernel in one submit. Settles when the
   * last CQE has come, after `settle` was called with the results. With a signal, the operations are cancelled when it
   * fires, and the promise then rejects.
   */
  run<T>(sqes: readonly Sqe[], settle: Settle<T>, signal: AbortSignal | null = null): Promise<T> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const draft = new Draft(this.#context);
    try {
      if (sqes.length > MAX_MANY) throw outOfRange("sqes.length", `<= ${MAX_MANY}`, sqes.length);
      for (const sqe of sqes) {
        draft.add(sqe);
        if (this.polled) refuseUnpolled(sqe);
      }
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
    if (signal !== null) this.#watch(operation, run, signal);
    const low = lowOfMany(operation);
    const high = highOfMany(operation);
    const first = ring.nextMany(draft.count);
    const { words } = ring;
    words.set(draft.words.subarray(0, draft.count * SQE_WORDS), first);
    for (let i = 0, word = first; i < draft.count; i++, word += SQE_WORDS) {
      words[word + 8] = low;
      words[word + 9] = high + i;
    }
    const promise: Promise<T> = promiseFor(operation);
    if (draft.count === 1) this.#running.set(promise, { operation, life: operation.life });
    return promise;
  }

  readonly #finish = (operation: Operation, res: number, flags: number, index: number): void => {
    const run = operation.state as Run;
    if (run.results[index] !== NOT_YET) throw new Error(`a second CQE for SQE ${index} of a batch`);
    run.results[index] = res;
    run.flags[index] = flags;
    if (operation.pending === 0) this.#end(operation, run);
  };

  #end(operation: Operation, run: Run): void {
    const { resolve, reject } = operation;
    const { draft, signal, results } = run;
    if (run.onAbort !== null) signal!.removeEventListener("abort", run.onAbort);
    const { intact } = draft;
    draft.release();
    this.thread.ring.operations.releaseMany(operation);
    if (this.polled && results.includes(EOPNOTSUPP)) return reject(notPollable());
    if (!intact) return reject(memoryTaken());
    try {
      const value = run.settle(results, run.flags);
      if (run.aborted) reject(abortError(signal!));
      else resolve(value);
    } catch (error) {
      reject(error);
    }
  }

  #watch(operation: Operation, run: Run, signal: AbortSignal): void {
    run.onAbort = () => {
      run.aborted = true;
      const low = lowOfMany(operation);
      const high = highOfMany(operation);
      run.results.forEach((res, i) => {
        if (res === NOT_YET) this.thread.ring.cancel(low, high + i);
      });
    };
    signal.addEventListener("abort", run.onAbort, { once: true });
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

function refuseUnpolled({ opcode }: Sqe): void {
  if (!POLLED.has(opcode))
    throw invalidArgValue(
      "sqe.opcode",
      opcode,
      "must be a transfer on a polled ring: open, sync and close on another one",
    );
}

function notPollable(): Error {
  return codedError(
    Error,
    "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
    "The kernel can't poll for this file (EOPNOTSUPP): open it with O_DIRECT, on a file system and a device that support polled I/O",
  );
}

function memoryTaken(): Error {
  const message = "The memory was detached or resized while the kernel used it; its contents are undefined";
  return codedError(TypeError, "ERR_INVALID_STATE", message);
}
