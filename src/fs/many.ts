// Much at once with one promise: whole files (readMany), stats (statMany), reads of one open file (readBatch).
// Nothing is thrown away: what failed stands in the result beside what did not.
// Assumes nothing of its arguments; a wrong one rejects before anything is queued.

import type { BigIntStats, Stats } from "node:fs";
import { cancellable, currentBackend } from "../backend/choose.ts";
import { isStraight } from "../backend/direct.ts";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { type Reads, readBatch as readBatchOnRing } from "../backend/uring/read-batch.ts";
import { abortable, type Limits, limited, throwIfAborted } from "../node/abort.ts";
import {
  bufferList,
  invalidArgType,
  outOfRange,
  refuseDetached,
  validateBuffer,
  validateEncoding,
  validateInteger,
  validateObject,
} from "../node/arguments.ts";
import { closedError } from "../node/errors.ts";
import { parseFlags } from "../node/open-flags.ts";
import { limitsIn } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { isAborted } from "../node/signal.ts";
import { byteLengthOf, isResizable, isView } from "../node/views.ts";
import { MAX_MANY } from "../ring/operation.ts";

type PathLike = string | Uint8Array | URL;
type View = NodeJS.ArrayBufferView;

/** Files read at once where the caller does not say: one turn of the ring holds their chains. */
const CONCURRENCY = 64;
/** Longest single read of a batch: its result is a 32-bit number. */
const MAX_LENGTH = 2 ** 31 - 1;

/** `signal` and `timeoutMs` end the whole call. */
export interface ManyOptions extends Limits {
  /** Operations in flight at once; 64 by default. */
  concurrency?: number;
}

export interface ReadManyOptions extends ManyOptions {
  /** Files as strings of this encoding; as Buffers without one. */
  encoding?: BufferEncoding | null | undefined;
}

/**
 * Reads whole files, `concurrency` at a time. Resolves, as Promise.allSettled does, to one entry for each path, in their
 * order: `{ status: "fulfilled", value }` or `{ status: "rejected", reason }` with that file's error.
 * Rejects only for wrong arguments (ERR_*) and when the signal is aborted (AbortError).
 */
export function readMany(
  paths: Iterable<PathLike>,
  options: ReadManyOptions & { encoding: BufferEncoding },
): Promise<PromiseSettledResult<string>[]>;
export function readMany(
  paths: Iterable<PathLike>,
  options?: ReadManyOptions & { encoding?: null | undefined },
): Promise<PromiseSettledResult<Buffer>[]>;
export async function readMany(
  paths: Iterable<PathLike>,
  options: ReadManyOptions = {},
): Promise<PromiseSettledResult<Buffer | string>[]> {
  const list = pathsOf(paths);
  const { concurrency, limits } = manyOptions(options);
  const { encoding } = options;
  validateEncoding(encoding, "options.encoding");
  const backend = currentBackend();
  const flags = parseFlags("r");
  return settleAll(list.length, concurrency, limits, "read", (i, signal) =>
    backend.readFile(list[i]!, flags, { encoding, signal }),
  );
}

/**
 * Stats of many paths, following symbolic links. Resolves, as Promise.allSettled does, to one entry for each path, in
 * their order. Rejects only for wrong arguments (ERR_*) and when the signal is aborted (AbortError).
 */
export function statMany(
  paths: Iterable<PathLike>,
  options: ManyOptions & { bigint: true },
): Promise<PromiseSettledResult<BigIntStats>[]>;
export function statMany(
  paths: Iterable<PathLike>,
  options?: ManyOptions & { bigint?: false },
): Promise<PromiseSettledResult<Stats>[]>;
export async function statMany(
  paths: Iterable<PathLike>,
  options: ManyOptions & { bigint?: boolean } = {},
): Promise<PromiseSettledResult<Stats | BigIntStats>[]> {
  const list = pathsOf(paths);
  const { concurrency, limits } = manyOptions(options);
  const bigint = options.bigint === true;
  const backend = currentBackend();
  return settleAll(list.length, concurrency, limits, "stat", (i, signal) => {
    const stat = (): Promise<Stats | BigIntStats> => backend.stat(list[i]!, bigint);
    return signal === undefined ? stat() : cancellable(stat, signal);
  });
}

function pathsOf(paths: Iterable<PathLike>): (string | Buffer)[] {
  if (typeof paths === "string" || typeof paths?.[Symbol.iterator] !== "function")
    throw invalidArgType("paths", "Iterable", paths);
  return Array.from(paths, (path, i) => toPath(path, `paths[${i}]`));
}

function manyOptions(options: ManyOptions): { concurrency: number; limits: Limits | null } {
  validateObject(options, "options");
  const { concurrency = CONCURRENCY, signal, timeoutMs } = options;
  validateInteger(concurrency, "options.concurrency", 1);
  const limits = limitsIn({ signal, timeoutMs });
  throwIfAborted(limits?.signal);
  return { concurrency, limits };
}

type Start<T> = (index: number, signal: AbortSignal | undefined) => Promise<T>;

/** Runs `start(0 … count - 1)`, `concurrency` at a time, and keeps each outcome. The limits are those of the whole. */
function settleAll<T>(
  count: number,
  concurrency: number,
  limits: Limits | null,
  syscall: string,
  start: Start<T>,
): Promise<PromiseSettledResult<T>[]> {
  const results = new Array<PromiseSettledResult<T>>(count);
  let next = 0;
  const lane = async (signal: AbortSignal | undefined): Promise<void> => {
    while (next < count && !isAborted(signal)) {
      const i = next++;
      try {
        results[i] = { status: "fulfilled", value: await start(i, signal) };
      } catch (reason) {
        results[i] = { status: "rejected", reason };
      }
    }
  };
  const run = (signal: AbortSignal | undefined): Promise<PromiseSettledResult<T>[]> =>
    Promise.all(Array.from({ length: Math.min(concurrency, count) }, () => lane(signal))).then(() => results);
  return limits === null ? run(undefined) : limited(limits, syscall, (signal) => abortable(run(signal), signal));
}

export interface ReadBatchOptions extends Limits {
  /** Where each read starts in the file, in bytes. */
  offsets: ArrayLike<number>;
  /** Bytes that each read asks for: one number for all, or one for each. */
  lengths: ArrayLike<number> | number;
  /** Where the bytes go: one view, in which each read has room after the one before, or one view for each read. */
  into: View | readonly View[];
}

/**
 * Many reads of one open file with one promise and no object for each. Resolves to an Int32Array: for each read the
 * bytes that it brought (fewer than asked for at the end of the file) or its negative errno.
 * Rejects for wrong arguments (ERR_*), on a closed file (EBADF) and when the signal is aborted (AbortError; the memory
 * may be written to until the reads in the kernel have ended, which `close()` of the file waits for).
 */
export function readBatch(
  file: OpenFile,
  options: ReadBatchOptions,
  backend: Backend = currentBackend(),
): Promise<Int32Array> {
  try {
    validateObject(options, "options");
    const { offsets, lengths, into, signal, timeoutMs } = options;
    const limits = limitsIn({ signal, timeoutMs });
    const reads = takenReads(offsets, lengths, into);
    throwIfAborted(limits?.signal);
    if (file.fd < 0) throw closedError("read");
    const onRing = backend.name === "io_uring" && isStraight(backend, reads);
    if (limits === null) return onRing ? readBatchOnRing(file, reads, null) : readEach(backend, file, reads);
    return limited(limits, "read", (until) =>
      onRing ? readBatchOnRing(file, reads, until) : abortable(readEach(backend, file, reads), until),
    );
  } catch (error) {
    return Promise.reject(error);
  }
}

/** The reads as they are at the call, checked: the caller's arrays may change at once, and their getters' answers, too. */
function takenReads(offsets: ArrayLike<number>, lengths: ArrayLike<number> | number, into: unknown): Reads {
  if (offsets === null || typeof offsets !== "object")
    throw invalidArgType("options.offsets", ["Array", "TypedArray"], offsets);
  const count = offsets.length;
  if (!Number.isInteger(count)) throw invalidArgType("options.offsets", ["Array", "TypedArray"], offsets);
  if (count > MAX_MANY) throw outOfRange("options.offsets.length", `<= ${MAX_MANY}`, count);
  const starts = numbersOf(offsets, "options.offsets", count, Number.MAX_SAFE_INTEGER);
  if (typeof lengths === "number") validateInteger(lengths, "options.lengths", 0, MAX_LENGTH);
  else if (lengths === null || typeof lengths !== "object" || lengths.length !== count)
    throw invalidArgType("options.lengths", ["number", `an array of ${count} numbers`], lengths);
  const sizes = typeof lengths === "number" ? lengths : numbersOf(lengths, "options.lengths", count, MAX_LENGTH);
  const views = Array.isArray(into) ? bufferList(into, "options.into") : oneView(into);
  refuseUnsteady(views);
  if (Array.isArray(views) && views.length !== count) throw outOfRange("options.into.length", `${count}`, views.length);
  refuseTooLong(sizes, views, count);
  return { offsets: starts, lengths: sizes, into: views };
}

function numbersOf(given: ArrayLike<number>, name: string, count: number, max: number): Float64Array {
  const numbers = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const number: unknown = given[i];
    if (!(Number.isSafeInteger(number) && (number as number) >= 0 && (number as number) <= max))
      validateInteger(number, `${name}[${i}]`, 0, max);
    numbers[i] = number as number;
  }
  return numbers;
}

function oneView(into: unknown): View {
  validateBuffer(into, "options.into");
  return into as View;
}

function refuseTooLong(lengths: Float64Array | number, into: View | readonly View[], count: number): void {
  const one = isView(into);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const length = typeof lengths === "number" ? lengths : lengths[i]!;
    total += length;
    if (!one && length > byteLengthOf(into[i]!))
      throw outOfRange(`options.lengths[${i}]`, `<= ${byteLengthOf(into[i]!)}`, length);
  }
  if (one && total > byteLengthOf(into))
    throw outOfRange("the sum of options.lengths", `<= ${byteLengthOf(into)}`, total);
}

/** Memory that can be resized under the kernel's hands is no place for reads. */
function refuseUnsteady(into: View | readonly View[]): void {
  for (const view of isView(into) ? [into] : into) {
    if (byteLengthOf(view) === 0) refuseDetached(view, "options.into");
    if (isResizable(view)) throw invalidArgType("options.into", "a view of a buffer that can't be resized", view);
  }
}

/** All reads at once, so that each counts among the file's operations before anybody can close it. */
async function readEach(backend: Backend, file: OpenFile, { offsets, lengths, into }: Reads): Promise<Int32Array> {
  const reads: Promise<{ bytesRead: number }>[] = [];
  let start = 0;
  for (let i = 0; i < offsets.length; i++) {
    const length = typeof lengths === "number" ? lengths : lengths[i]!;
    reads.push(
      isView(into)
        ? backend.read(file, into, start, length, offsets[i]!)
        : backend.read(file, into[i]!, 0, length, offsets[i]!),
    );
    start += length;
  }
  const settled = await Promise.allSettled(reads);
  return Int32Array.from(settled, (one) =>
    one.status === "fulfilled" ? one.value.bytesRead : errnoOfReason(one.reason),
  );
}

/** The errno of a failed read; an error that no system call gave is the caller's to see. */
function errnoOfReason(reason: unknown): number {
  const { errno } = reason as NodeJS.ErrnoException;
  if (typeof errno !== "number") throw reason;
  return errno;
}
