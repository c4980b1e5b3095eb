// Small writes at a file's own position that wait for their turn: those that lie one after another are made by one write,
// and those that ask for a sync share it (docs/architecture.md D7: writes of one file are serialised in io-wq, so each costs a round
// trip of its own). Each call has its own result: what a short write leaves out is written after it, as it would be alone.
// Only for files whose bytes are just bytes: a pipe, a terminal or a file of /sys takes each write as a message.

import type { Backend, OpenFile } from "../backend/interface.ts";
import { dataTaken } from "../node/arguments.ts";
import { errnoOf, systemError } from "../node/errors.ts";
import { isLocal } from "../node/is-local.ts";
import { lateRejection, passedOn } from "../node/late-error.ts";
import { done, doneOr, inSteps, type Steps, settled } from "../node/steps.ts";
import { byteLengthOf, bytesOf } from "../node/views.ts";
import type { Syncs } from "./group-commit.ts";
import type { Order } from "./order.ts";

type View = NodeJS.ArrayBufferView;

/** A write up to this length is gathered, and so much is written at once: copying it costs little beside a round trip. */
const GATHERED_BYTES = 16 * 1024;
const BATCH_BYTES = 256 * 1024;

/** One call's bytes. The view is read when its turn comes, as it is where a write waits alone. */
interface Call {
  view: View;
  offset: number;
  length: number;
  byteLength: number;
  /** Its memory could not be read. */
  failed: boolean;
  resolve: (bytesWritten: number | Promise<never>) => void;
  reject: (reason: unknown) => void;
}

/** Calls whose bytes go out together. */
interface Batch {
  calls: Call[];
  bytes: number;
  flush: boolean;
  turn: Promise<void> | null;
}

export class Coalescer {
  readonly #backend: Backend;
  readonly #file: OpenFile;
  readonly #order: Order;
  readonly #syncs: Syncs;
  #open: Batch | null = null;
  #holdsData: Promise<boolean> | null = null;

  constructor(backend: Backend, file: OpenFile, order: Order, syncs: Syncs) {
    this.#backend = backend;
    this.#file = file;
    this.#order = order;
    this.#syncs = syncs;
  }

  /** Whether a write of this length may wait in company. */
  takes(length: number): boolean {
    return length > 0 && length <= GATHERED_BYTES && !this.#file.direct;
  }

  /** Writes in its turn; with `flush` all of it, and it is on the device then. Resolves to the bytes written. */
  write(view: View, offset: number, length: number, flush: boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      const call = { view, offset, length, byteLength: byteLengthOf(view), failed: false, resolve, reject };
      const batch = this.#open;
      const fits = batch !== null && batch.flush === flush && batch.bytes + length <= BATCH_BYTES;
      if (fits && this.#order.isLast(batch.turn!)) {
        batch.calls.push(call);
        batch.bytes += length;
        void this.#mayJoin(); // asked while the batch waits
        return;
      }
      const opened: Batch = { calls: [call], bytes: length, flush, turn: null };
      this.#open = opened;
      opened.turn = this.#order.writeInOrder(() => inSteps(this.#run(opened)));
    });
  }

  *#run(batch: Batch): Steps<void> {
    if (this.#open === batch) this.#open = null;
    let rest = batch.calls;
    try {
      // What is not known at the end of the thread is taken as it lies: each write by itself is right for any file.
      const together = rest.length === 1 || (yield* doneOr(this.#mayJoin(), false));
      for (;;) {
        rest = rest.filter(isIntact);
        if (rest.length === 0) return;
        const calls = together ? rest : rest.slice(0, 1);
        const bytes = this.#copied(calls);
        if (bytes === null) rest = rest.filter(({ failed }) => !failed);
        else if (batch.flush) rest = rest.slice(yield* this.#writeSynced(calls, bytes));
        else rest = rest.slice(yield* this.#write(calls, bytes));
      }
    } catch (error) {
      for (const { reject } of rest) reject(error); // no memory for the copy: nobody may be left waiting
    }
  }

  /** One write. Returns how many of the calls it has settled: at least one, perhaps with fewer bytes than it has. */
  *#write(calls: readonly Call[], bytes: Uint8Array): Steps<number> {
    try {
      let { bytesWritten: left } = yield* done(this.#backend.write(this.#file, bytes, 0, bytes.length, -1));
      let count = 0;
      do {
        const { length, resolve } = calls[count++]!;
        resolve(Math.min(left, length));
        left -= length;
      } while (left > 0);
      return count;
    } catch (error) {
      calls[0]!.resolve(passedOn(error));
      return 1;
    }
  }

  /** The same with a sync. A call's bytes are written whole, or its error says how many are. */
  *#writeSynced(calls: readonly Call[], bytes: Uint8Array): Steps<number> {
    const progress = { bytesWritten: 0 };
    const work = this.#backend.writeSynced(this.#file, [bytes], -1, progress);
    const synced = this.#syncs.keepFailure("fdatasync", this.#syncs.include(work));
    try {
      yield* settled(work);
      yield* doneOr(synced, undefined); // which settles in microtasks
      for (const { resolve, length } of calls) resolve(length);
      return calls.length;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).syscall !== "write") {
        for (const { resolve, length } of calls) resolve(failedAt(error, length));
        return calls.length;
      }
      // The write has failed: what it had finished of the calls is synced by itself, and only the next one has failed.
      let left = progress.bytesWritten;
      let count = 0;
      for (; left >= calls[count]!.length; count++) left -= calls[count]!.length;
      if (count > 0) yield* doneOr(this.#syncAlone(calls.slice(0, count)), undefined);
      calls[count]!.resolve(failedAt(error, left));
      return count + 1;
    }
  }

  async #syncAlone(calls: readonly Call[]): Promise<void> {
    try {
      await this.#syncs.sync("fdatasync");
      for (const { resolve, length } of calls) resolve(length);
    } catch (error) {
      for (const { resolve, length } of calls) resolve(failedAt(error, length));
    }
  }

  /** The bytes of all calls, in memory that nobody else has; null if one can't be read: then its call has failed. */
  #copied(calls: readonly Call[]): Uint8Array | null {
    let total = 0;
    for (const { length } of calls) total += length;
    const bytes = Buffer.allocUnsafeSlow(total);
    let at = 0;
    for (const call of calls) {
      const { view, offset, length, resolve } = call;
      if (this.#backend.copy(bytesOf(view).subarray(offset, offset + length), bytes.subarray(at)) !== length) {
        call.failed = true;
        resolve(lateRejection(() => systemError(errnoOf("EFAULT"), "write")));
        return null;
      }
      at += length;
    }
    return bytes;
  }

  #mayJoin(): Promise<boolean> {
    this.#holdsData ??= this.#look();
    return this.#holdsData;
  }

  /** Whether this is a regular file (a FIFO or device lies on the same file systems) on a file system that keeps data. */
  async #look(): Promise<boolean> {
    const stats = await this.#backend.fstat(this.#file, false).catch(() => null);
    // By the descriptor: the path may lead elsewhere by now. No /proc: each write by itself.
    return stats?.isFile() === true && isLocal(`/proc/self/fd/${this.#file.fd}`);
  }
}

/** Whether the view is as it was at the call; if it is not, its call fails. */
function isIntact({ view, byteLength, reject }: Call): boolean {
  if (byteLengthOf(view) === byteLength) return true;
  reject(dataTaken());
  return false;
}

/** An error of its own for each call that shares a failure. */
function failedAt(error: unknown, bytesWritten: number): Promise<never> {
  const { errno, syscall } = error as NodeJS.ErrnoException;
  if (typeof errno !== "number") return Promise.reject(error);
  return lateRejection(() => Object.assign(systemError(errno, syscall!), { bytesWritten }));
}
