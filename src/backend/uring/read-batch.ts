// Many reads of one open file as one operation: one slot, one promise, no object per read. The SQEs are written in one
// loop, the results land in an Int32Array; a window of reads is kept in the kernel, so that a batch may be of any length.
// Assumes validated ranges. The file can't close and the memory stays reachable until the last CQE.

import { SQE_WORDS } from "../../kernel/abi.ts";
import { stableAddress } from "../../kernel/address.ts";
import { Opcode, SqeFlag, setBufferIndex, writeSqe } from "../../kernel/sqe.ts";
import { bufferTaken } from "../../node/arguments.ts";
import { EAGAIN, EINTR } from "../../node/errno.ts";
import { abortError, closedError } from "../../node/errors.ts";
import { isAborted, offAbort, onAbort } from "../../node/signal.ts";
import { isView } from "../../node/views.ts";
import type { RingThread } from "../../ring/context.ts";
import { HeldViews } from "../../ring/lease.ts";
import {
  cancelMany,
  highOfMany,
  lowOfMany,
  NOT_YET,
  noteResult,
  type Operation,
  promiseFor,
} from "../../ring/operation.ts";
import type { OpenFile, Reads } from "../interface.ts";
import { honest, MAX_RETRIES, thread } from "./request.ts";

/** Reads in the kernel at once: what the ring's SQ takes in one submit. */
const WINDOW = 256;
/** Cached bytes that one window copies on this thread (about 0.25 ms); what is beyond goes to io-wq threads. */
const INLINE_BYTES = 1024 * 1024;

class Batch {
  readonly t: RingThread;
  readonly file: OpenFile;
  readonly fd: number;
  readonly reads: Reads;
  /** The views of `into`: kept until the last CQE. */
  readonly held: HeldViews;
  readonly results: Int32Array;
  /** Where each read lands: one address and running sum, or an address for each. */
  readonly addresses: Float64Array;
  /** The fixed buffer that one view lies in. */
  readonly fixedIndex: number;
  /** Reads staged so far. */
  staged = 0;
  error: Error | null = null;
  readonly signal: AbortSignal | null;
  stopped: (() => void) | null = null;

  constructor(t: RingThread, file: OpenFile, reads: Reads, signal: AbortSignal | null) {
    const count = reads.offsets.length;
    this.t = t;
    this.file = file;
    this.fd = file.fd;
    this.reads = reads;
    this.signal = signal;
    this.results = new Int32Array(count).fill(NOT_YET);
    this.addresses = new Float64Array(count);
    const { into, lengths } = reads;
    this.held = new HeldViews(isView(into) ? [into] : into);
    const [lease] = this.held.leases;
    this.fixedIndex = isView(into) && lease !== undefined ? lease.region.fixedIndex : -1;
    if (isView(into)) {
      let address = stableAddress(into, 0);
      for (let i = 0; i < count; i++) {
        this.addresses[i] = address;
        address += typeof lengths === "number" ? lengths : lengths[i]!;
      }
    } else {
      for (let i = 0; i < count; i++) this.addresses[i] = stableAddress(into[i]!, 0);
    }
  }
}

/** Resolves to what each read brought: its bytes, or a negative errno. */
export function readBatch(file: OpenFile, reads: Reads, signal: AbortSignal | null): Promise<Int32Array> {
  if (file.fd < 0) return Promise.reject(closedError("read"));
  if (reads.offsets.length === 0) return Promise.resolve(new Int32Array(0));
  if (isAborted(signal)) return Promise.reject(abortError(signal));
  const t = thread();
  const operation = t.ring.acquireMany(finish, 0);
  const batch = new Batch(t, file, reads, signal);
  operation.state = batch;
  operation.owner = file; // so that a ring that is closed before the last CQE lets the file be closed
  file.inFlight++;
  operation.whenStopped = abandon;
  watchSignal(operation, batch);
  stageWindow(operation, batch);
  return promiseFor(operation);
}

/** Stages reads until the window is full or none is left. */
function stageWindow(operation: Operation, batch: Batch): void {
  const { results, staged } = batch;
  const count = Math.min(WINDOW - operation.pending, results.length - staged);
  operation.pending += count;
  batch.staged = staged + count;
  stageReads(operation, batch, staged, count);
}

/** A file that can't wait (O_NONBLOCK) says EAGAIN for ever: each read is tried again, some more than once, not all always. */
function mayRetry(operation: Operation, batch: Batch): boolean {
  return operation.retries++ < batch.results.length + MAX_RETRIES;
}

/** `mayWait`: by an io-wq thread, which waits where the first try said EAGAIN. */
function stageReads(operation: Operation, batch: Batch, first: number, count: number, mayWait = false): void {
  const { t, fd, file, addresses, fixedIndex } = batch;
  const { offsets, lengths } = batch.reads;
  const { ring } = t;
  const low = lowOfMany(operation);
  const high = highOfMany(operation);
  const opcode = fixedIndex < 0 ? Opcode.READ : Opcode.READ_FIXED;
  const always = file.remote || mayWait ? SqeFlag.ASYNC : 0;
  let budget = file.remote || file.direct ? Number.POSITIVE_INFINITY : INLINE_BYTES;
  let word = ring.nextMany(count);
  const { words } = ring;
  for (let i = first; i < first + count; i++) {
    const length = typeof lengths === "number" ? lengths : lengths[i]!;
    budget -= length;
    const flags = budget >= 0 ? always : SqeFlag.ASYNC;
    if (flags !== 0) ring.asyncForced++;
    writeSqe(words, word, opcode, flags, fd, offsets[i]!, addresses[i]!, length, 0, low, high + i);
    if (fixedIndex >= 0) setBufferIndex(words, word, fixedIndex);
    word += SQE_WORDS;
  }
}

function finish(operation: Operation, res: number, _flags: number, index: number): void {
  const batch = operation.state as Batch;
  const { results } = batch;
  if (!noteResult(operation, results, index, honest(res))) return;
  if ((res === EINTR || (res === EAGAIN && mayRetry(operation, batch))) && batch.error === null) {
    results[index] = NOT_YET;
    operation.pending++;
    operation.ring.resubmissions++;
    return stageReads(operation, batch, index, 1, res === EAGAIN);
  }
  if (batch.error === null && operation.pending <= WINDOW / 2 && batch.staged < results.length)
    stageWindow(operation, batch);
  if (operation.pending === 0) settle(operation, batch);
}

function settle(operation: Operation, batch: Batch): void {
  const { resolve, reject } = operation;
  const { file, results } = batch;
  if (batch.stopped !== null) offAbort(batch.signal!, batch.stopped);
  batch.t.ring.operations.releaseMany(operation);
  const { intact } = batch.held;
  batch.held.release();
  if (--file.inFlight === 0 && file.closing !== null) file.closing();
  if (batch.error !== null) return; // rejected when the signal fired
  if (intact) resolve(results);
  else reject(bufferTaken("read"));
}

/** On abort: rejects at once, stages no more, asks the kernel to cancel; the slot is free at the last CQE. */
function watchSignal(operation: Operation, batch: Batch): void {
  const { signal } = batch;
  if (signal === null) return;
  batch.stopped = () => {
    batch.error = abortError(signal);
    operation.reject(batch.error);
    cancelMany(operation, batch.results, batch.staged);
  };
  onAbort(signal, batch.stopped);
}

/** The ring is closed or stopped: what the kernel may still have is kept. */
function abandon(operation: Operation, isIdle: boolean): void {
  const { signal, stopped, held } = operation.state as Batch;
  if (stopped !== null) offAbort(signal!, stopped);
  if (isIdle) held.release();
}
