// Many reads of one open file with one promise.
// Assumes nothing of its arguments; a wrong one rejects before anything is queued.

import { type Backend, MAX_READS, type OpenFile, type Reads } from "../backend/interface.ts";
import { type Limits, limited, throwIfAborted } from "../node/abort.ts";
import {
  bufferList,
  invalidArgType,
  outOfRange,
  refuseDetached,
  validateBuffer,
  validateInteger,
  validateObject,
} from "../node/arguments.ts";
import { closedError } from "../node/errors.ts";
import { limitsIn } from "../node/options.ts";
import { byteLengthOf, isResizable, isView } from "../node/views.ts";

type View = NodeJS.ArrayBufferView;

/** Longest single read of a batch: its result is a 32-bit number. */
const MAX_LENGTH = 2 ** 31 - 1;

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
export function readBatch(file: OpenFile, options: ReadBatchOptions, backend: Backend): Promise<Int32Array> {
  try {
    validateObject(options, "options");
    const { offsets, lengths, into, signal, timeoutMs } = options;
    const limits = limitsIn({ signal, timeoutMs });
    const reads = takenReads(offsets, lengths, into);
    throwIfAborted(limits?.signal);
    if (file.fd < 0) throw closedError("read");
    if (limits === null) return backend.readBatch(file, reads, null);
    return limited(limits, "read", (until) => backend.readBatch(file, reads, until));
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
  if (count > MAX_READS) throw outOfRange("options.offsets.length", `<= ${MAX_READS}`, count);
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
