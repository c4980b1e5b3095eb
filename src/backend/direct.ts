// O_DIRECT made easy: a backend for one file that takes any offset, length and memory. What is aligned goes through as it
// is; the rest goes through aligned memory, and a write's unaligned ends through reading and writing whole blocks.
// Assumes that it alone writes to the file: blocks that are read, changed and written back, and a padded end that is cut
// off again, are kept from the handle's other operations, not from other handles'.

import { isAligned } from "../kernel/aligned.ts";
import { copyAll, gather, scatter } from "../kernel/copy.ts";
import { bufferTaken } from "../node/arguments.ts";
import { closedError, errnoOf, systemError } from "../node/errors.ts";
import { byteLengthOf, bytesOf, isDetached, isView, totalLength } from "../node/views.ts";
import type {
  Alignment,
  Backend,
  Claimed,
  OpenFile,
  ReadResult,
  Reads,
  ReadvResult,
  WriteResult,
  WritevResult,
} from "./interface.ts";
import { asNumber, writeThenSync } from "./loops.ts";
import { readEach } from "./node-direct.ts";
import { Ranges } from "./range-lock.ts";

type View = NodeJS.ArrayBufferView;

/** Where a transfer begins, and what it has claimed at the file's own position. */
interface Claim {
  start: number;
  claimed: Claimed | null;
}

export interface DirectOptions {
  alignment: Alignment;
  /** The file has a size, which a padded write must not change: no device. */
  sized: boolean;
  /** The user did not ask for reading; the file is open for it all the same, for the blocks at a write's ends. */
  writeOnly: boolean;
  /** Not to be collected, and the file with it closed, while anything is under way. */
  handle: object | null;
}

/** Bytes that go through aligned memory at once. */
const BOUNCE_BYTES = 256 * 1024;

/** Runs `work` with aligned memory of `length` bytes, for where the user's is not. */
async function withBounce<T>(base: Backend, length: number, work: (memory: Buffer) => Promise<T>): Promise<T> {
  const bounce = base.alignedMemory(length);
  try {
    return await work(bounce.bytes.subarray(0, length));
  } finally {
    bounce.release();
  }
}

/** What keeps the handles of operations under way. */
const busy = new Set<DirectOptions>();

class DirectFile {
  readonly #base: Backend;
  readonly #file: OpenFile;
  readonly #memory: number;
  readonly #block: number;
  readonly #options: DirectOptions;
  readonly #ranges = new Ranges();
  #position = 0;
  #closing: Promise<void> | null = null;

  constructor(base: Backend, file: OpenFile, options: DirectOptions) {
    this.#base = base;
    this.#file = file;
    this.#options = options;
    this.#block = options.alignment.offset;
    this.#memory = options.alignment.memory;
  }

  /* ---- reading --------------------------------------------------------------------------------------------------- */

  read<T extends View>(view: T, offset: number, length: number, position: number | bigint): Promise<ReadResult<T>> {
    const refusal = this.#refusal("read");
    if (refusal !== null) return Promise.reject(refusal);
    if (this.#options.writeOnly) return Promise.reject(systemError(errnoOf("EBADF"), "read"));
    const claim = this.#claim(position, length, true);
    const at = claim.start;
    const fits = at % this.#block === 0 && length % this.#block === 0 && isAligned(view, offset, this.#memory);
    const read = (): Promise<ReadResult<T>> =>
      fits
        ? this.#base.read(this.#file, view, offset, length, at)
        : this.#readUnaligned(bytesFor("read", view, offset, length), at).then((bytesRead) => ({
            bytesRead,
            buffer: view,
          }));
    const result = this.#ranges.run(at, at + length, false, read);
    return this.#held(result, position === -1 ? (read) => this.#settle(claim, read?.bytesRead ?? 0) : null);
  }

  readv<T>(buffers: readonly View[], position: number | bigint, given: T): Promise<ReadvResult<T>> {
    return withBounce(this.#base, totalLength(buffers), async (all) => {
      const { bytesRead } = await this.read(all, 0, all.length, position);
      if (buffers.some(isDetached) || totalLength(buffers) !== all.length) throw bufferTaken("read");
      scatter(all.subarray(0, bytesRead), buffers);
      return { bytesRead, buffers: given };
    });
  }

  /** Reads in parts, what is not aligned through aligned memory. */
  async #readUnaligned(into: Uint8Array, position: number): Promise<number> {
    const { length } = into;
    const moved = { bytes: 0 };
    const straight = async (from: number, bytes: number): Promise<number> =>
      (await this.#base.read(this.#file, into, from, bytes, position + from)).bytesRead;
    await this.#transfer("read", into, position, moved, straight, (part, at) => this.#readBounced(part, at));
    if (into.length !== length) throw bufferTaken("read");
    return moved.bytes;
  }

  /** Moves the unaligned head, what is aligned, and the tail, one after another until one is short; counts them in `moved`. */
  async #transfer(
    syscall: string,
    bytes: Uint8Array,
    position: number,
    moved: { bytes: number },
    straight: (from: number, length: number) => Promise<number>,
    bounced: (part: Uint8Array, at: number) => Promise<number>,
  ): Promise<void> {
    const { length } = bytes;
    while (moved.bytes < length) {
      if (bytes.length !== length) throw bufferTaken(syscall);
      const from = moved.bytes;
      const at = position + from;
      const rest = length - from;
      const aligned = at % this.#block === 0 && isAligned(bytes, from, this.#memory) ? this.#floor(rest) : 0;
      const wanted = aligned > 0 ? aligned : Math.min(rest, this.#nextBounce(bytes, from, at));
      try {
        moved.bytes += await (aligned > 0 ? straight(from, aligned) : bounced(bytes.subarray(from, from + wanted), at));
      } catch (error) {
        if (from === 0 || bytes.length !== length) throw error;
        return; // as the kernel does: the error comes with the next transfer
      }
      if (moved.bytes < from + wanted) return;
    }
  }

  /** Bytes of the next part that goes through aligned memory: only the head, if what follows it can go straight. */
  #nextBounce(bytes: Uint8Array, done: number, at: number): number {
    const head = this.#block - (at % this.#block);
    const rest = bytes.length - done;
    if (rest - head >= BOUNCE_BYTES && isAligned(bytes, done + head, this.#memory)) return head;
    return BOUNCE_BYTES - (at % this.#block);
  }

  #readBounced(into: Uint8Array, position: number): Promise<number> {
    const wanted = into.length;
    const from = this.#floor(position);
    const length = this.#ceil(position + wanted) - from;
    return withBounce(this.#base, length, async (memory) => {
      const { bytesRead } = await this.#base.read(this.#file, memory, 0, length, from);
      if (into.length !== wanted) throw bufferTaken("read");
      const skip = position - from;
      const got = Math.max(0, Math.min(wanted, bytesRead - skip));
      copyAll(memory.subarray(skip, skip + got), into, "read");
      return got;
    });
  }

  /* ---- writing --------------------------------------------------------------------------------------------------- */

  write<T extends View>(view: T, offset: number, length: number, position: number | bigint): Promise<WriteResult<T>> {
    const refusal = this.#refusal("write");
    if (refusal !== null) return Promise.reject(refusal);
    const claim = this.#claim(position, length, false);
    const at = claim.start;
    const end = at + length;
    const straight = at % this.#block === 0 && length % this.#block === 0 && isAligned(view, offset, this.#memory);
    const write = straight
      ? (): Promise<WriteResult<T>> => this.#base.write(this.#file, view, offset, length, at)
      : (): Promise<WriteResult<T>> =>
          this.#writeUnaligned(bytesFor("write", view, offset, length), at).then((bytesWritten) => ({
            bytesWritten,
            buffer: view,
          }));
    // Past an unaligned end lies what is padded, and perhaps the file's end, which is then set: alone with all of that.
    const from = this.#floor(at);
    const to = end % this.#block === 0 ? end : Number.POSITIVE_INFINITY;
    const result = this.#ranges.run(from, to, from !== at || to !== end, write);
    return this.#held(result, position === -1 ? (put) => this.#settle(claim, put?.bytesWritten ?? 0) : null);
  }

  writev<T>(buffers: readonly View[], position: number | bigint, given: T): Promise<WritevResult<T>> {
    return withBounce(this.#base, totalLength(buffers), async (all) => {
      gather(all, buffers);
      const { bytesWritten } = await this.write(all, 0, all.length, position);
      return { bytesWritten, buffers: given };
    });
  }

  /** Writes in whole blocks; where the file would end in a padded one, it is cut to its true length. */
  async #writeUnaligned(bytes: Uint8Array, position: number): Promise<number> {
    const end = position + bytes.length;
    const size = this.#options.sized && end % this.#block !== 0 ? await this.#size() : Number.POSITIVE_INFINITY;
    const moved = { bytes: 0 };
    const straight = async (from: number, put: number): Promise<number> =>
      (await this.#base.write(this.#file, bytes, from, put, position + from)).bytesWritten;
    try {
      await this.#transfer("write", bytes, position, moved, straight, (part, at) => this.#writeBounced(part, at));
    } finally {
      const now = size === Number.POSITIVE_INFINITY ? 0 : await this.#size();
      const right = Math.max(size, position + moved.bytes);
      if (now > right) await this.#base.ftruncate(this.#file, right);
    }
    return moved.bytes;
  }

  /** Reads the blocks that are written in part, changes them and writes all. Returns how many of `bytes` are written. */
  #writeBounced(bytes: Uint8Array, position: number): Promise<number> {
    const block = this.#block;
    const { length } = bytes;
    const from = this.#floor(position);
    const end = position + length;
    const to = this.#ceil(end);
    return withBounce(this.#base, to - from, async (memory) => {
      const isHeadPart = from !== position;
      const isTailPart = to !== end && (to - from > block || !isHeadPart);
      const last = to - block;
      await Promise.all([
        isHeadPart ? this.#readBlock(memory.subarray(0, block), from) : null,
        isTailPart ? this.#readBlock(memory.subarray(last - from, to - from), last) : null,
      ]);
      // Else what this memory held before would get into the file.
      if (bytes.length !== length) throw bufferTaken("write");
      copyAll(bytes, memory.subarray(position - from), "write");
      const { bytesWritten } = await this.#base.write(this.#file, memory, 0, to - from, from);
      return Math.max(0, Math.min(length, bytesWritten - (position - from)));
    });
  }

  /** One block, with zeros past the end of the file. */
  async #readBlock(into: Buffer, position: number): Promise<void> {
    const { bytesRead } = await this.#base.read(this.#file, into, 0, into.length, position);
    into.fill(0, bytesRead);
  }

  ftruncate(length: number): Promise<void> {
    const refusal = this.#refusal("ftruncate");
    if (refusal !== null) return Promise.reject(refusal);
    return this.#ranges.run(0, Number.POSITIVE_INFINITY, true, () => this.#base.ftruncate(this.#file, length));
  }

  /** The size is no other than what has been written: no padded write is under way. */
  fstat(bigint: boolean): ReturnType<Backend["fstat"]> {
    const refusal = this.#refusal("fstat");
    if (refusal !== null) return Promise.reject(refusal);
    return this.#ranges.run(0, Number.POSITIVE_INFINITY, false, () => this.#base.fstat(this.#file, bigint));
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    await this.#ranges.idle();
    await this.#base.close(this.#file);
  }

  /* ---- parts ----------------------------------------------------------------------------------------------------- */

  #refusal(syscall: string): Error | null {
    return this.#closing !== null || this.#file.fd < 0 ? closedError(syscall) : null;
  }

  async #size(): Promise<number> {
    return Number((await this.#base.fstat(this.#file, false)).size);
  }

  #floor(position: number): number {
    return position - (position % this.#block);
  }

  #ceil(position: number): number {
    return this.#floor(position + this.#block - 1);
  }

  /** Where a transfer begins, and what it claims. */
  #claim(position: number | bigint, length: number, isRead: boolean): Claim {
    const claimed = position === -1 ? this.#base.claim?.(this.#file, length, isRead) : null;
    if (claimed) return { start: claimed.start, claimed };
    const start = position === -1 ? this.#position : asNumber(position);
    return { start, claimed: null };
  }

  #settle(claim: Claim, moved: number): void {
    this.#position = claim.start + moved;
    claim.claimed?.settle(moved);
  }

  /** Counts a transfer as one operation of the file, whatever its steps, until `after` has seen its result. */
  #held<T>(transfer: Promise<T>, after: ((result: T | null) => void) | null): Promise<T> {
    const file = this.#file;
    const release = (): void => {
      if (--file.inFlight > 0) return;
      busy.delete(this.#options);
      file.closing?.();
    };
    file.inFlight++;
    busy.add(this.#options);
    return transfer
      .then(after, after === null ? null : () => after(null))
      .finally(release)
      .then(() => transfer);
  }
}

/** `base` for this one file: its reads and writes take any offset, length and memory. */
export function directBackend(base: Backend, file: OpenFile, options: DirectOptions): Backend {
  const direct = new DirectFile(base, file, options);
  const made: Backend = Object.create(base);
  const own: Partial<Backend> = {
    read: (_, view, offset, length, position) => direct.read(view, offset, length, position),
    write: (_, view, offset, length, position) => direct.write(view, offset, length, position),
    readv: (_, views, position, given = views as any) => direct.readv(views, position, given),
    writev: (_, views, position, given = views as any) => direct.writev(views, position, given),
    readBatch: (_, reads, signal) =>
      isStraight(options, reads) ? base.readBatch(file, reads, signal) : readEach(made, file, reads, signal),
    writeSynced: (_, buffers, position, progress) => writeThenSync(made, file, buffers, position, progress),
    ftruncate: (_, length) => direct.ftruncate(length),
    fstat: (_, bigint) => direct.fstat(bigint),
    close: () => direct.close(),
  };
  return Object.assign(made, own);
}

/** Whether all of these reads are aligned as the file asks. */
function isStraight({ alignment, writeOnly }: DirectOptions, { offsets, lengths, into }: Reads): boolean {
  if (writeOnly) return false;
  const one = isView(into);
  if (one && !isAligned(into, 0, alignment.memory)) return false;
  for (let i = 0, start = 0; i < offsets.length; i++) {
    const length = typeof lengths === "number" ? lengths : lengths[i]!;
    if (offsets[i]! % alignment.offset !== 0 || length % alignment.offset !== 0) return false;
    if (one ? start % alignment.memory !== 0 : !isAligned(into[i]!, 0, alignment.memory)) return false;
    start += length;
  }
  return true;
}

/** Bytes of a view that may have been taken away while its transfer waited. */
function bytesFor(syscall: string, view: View, offset: number, length: number): Uint8Array {
  if (isDetached(view) || byteLengthOf(view) < offset + length) throw bufferTaken(syscall);
  return bytesOf(view).subarray(offset, offset + length);
}
