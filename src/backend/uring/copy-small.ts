// A small file copied by one chain on one direct descriptor: OPENAT the source, READ, OPENAT the target into the same slot
// (which closes the source), WRITE, FTRUNCATE if it was there before (see write-file.ts), CLOSE. Cached sources are opened and
// read inside the submit; only creating the target and writing to it go to io-wq (measured: ASYNC from the start takes a
// fifth longer, each link comes back to this thread).
// For local file systems: whoever calls has asked.
// What breaks a chain is not explained here: the caller copies again the long way, and that says what is wrong.

import { constants } from "../../kernel/constants.ts";
import { Opcode, SqeFlag } from "../../kernel/sqe.ts";
import type { RingThread } from "../../ring/context.ts";
import { READ_BYTES, type ReadBuffer } from "../../ring/read-buffer.ts";
import { CELL_HALF } from "../../ring/scratch.ts";
import { ANOTHER_WAY, INCOMPLETE, type OpenFile, type Path } from "../interface.ts";
import { isClosed, isCloseError, Linked } from "./linked.ts";
import { onFile } from "./read-write.ts";
import { thread } from "./request.ts";
import { cutsLate } from "./write-file.ts";

/** Files up to this size go through a chain: what a read buffer holds. */
export const SMALL_FILE_BYTES: number = 2 * READ_BYTES;

const [OPEN_SOURCE, READ, OPEN_TARGET, WRITE, TRUNCATE, CLOSE] = [0, 1, 2, 3, 4, 5] as const;
const { IO_LINK, IO_HARDLINK, FIXED_FILE } = SqeFlag;
const { O_RDONLY, O_TRUNC } = constants;

/** Reserves blocks for a target that will be filled to `length` (which it then has): halves the cost of writing to it. */
export function preallocate(file: OpenFile, length: number): Promise<boolean> {
  // fallocate(2)'s len is in addr, its mode in len.
  return onFile(file, Opcode.FALLOCATE, "fallocate", 0, length, 0, 0).then(
    () => true,
    () => false,
  );
}

class CopySmall extends Linked<number> {
  readonly #size: number;
  readonly #flags: number;
  readonly #mode: number;
  readonly #truncates: boolean;
  #buffer: ReadBuffer | null = null;
  #from = 0;
  #to = 0;

  constructor(t: RingThread, source: Path, dest: Path, size: number, flags: number, mode: number) {
    super(t, source, null);
    this.operation.dest = dest;
    this.#size = size;
    this.#mode = mode;
    this.#truncates = cutsLate(t, flags, size);
    this.#flags = this.#truncates ? flags & ~O_TRUNC : flags;
  }

  protected prepare(): void {
    const { operation, t } = this;
    this.#buffer = t.readBuffers.acquire();
    this.#from = this.pathAddress(0, operation.path!);
    this.#to = this.pathAddress(CELL_HALF, operation.dest!);
  }

  protected release(): void {
    if (this.#buffer !== null) this.t.readBuffers.release(this.#buffer);
  }

  protected stage(): void {
    const { slot } = this;
    const size = this.#size;
    const { address } = this.#buffer!;
    this.expect(4 + (size > 0 ? 1 : 0) + (this.#truncates ? 1 : 0));
    this.openLink(OPEN_SOURCE, IO_LINK, this.#from, O_RDONLY, 0);
    // A file without a size (/proc) is read to see that it is empty: that read is short, and must not break the chain.
    const readFlags = FIXED_FILE | (size > 0 ? IO_LINK : IO_HARDLINK) | this.t.placement.transfer(size);
    this.link(READ, Opcode.READ, readFlags, slot, 0, address, size > 0 ? size : READ_BYTES, 0);
    this.openLink(OPEN_TARGET, IO_LINK, this.#to, this.#flags, this.#mode);
    if (size > 0) this.link(WRITE, Opcode.WRITE, FIXED_FILE | IO_LINK, slot, 0, address, size, 0);
    if (this.#truncates) this.link(TRUNCATE, Opcode.FTRUNCATE, FIXED_FILE | IO_LINK, slot, size, 0, 0, 0);
    this.closeLink(CLOSE);
  }

  protected ended(): void {
    const { results } = this;
    const size = this.#size;
    this.isOpen = results[OPEN_SOURCE]! >= 0 && !isClosed(results[CLOSE]!);
    const isWhole = results[READ] === size && (size === 0 || results[WRITE] === size);
    const hasClosed = !isCloseError(results[CLOSE]!);
    const isCut = !this.#truncates || results[TRUNCATE] === 0;
    if (results[OPEN_TARGET]! < 0) this.value = ANOTHER_WAY;
    else this.value = isWhole && isCut && hasClosed ? size : INCOMPLETE;
    this.finish();
  }

  protected override closeFailed(): void {
    if (this.value !== ANOTHER_WAY) this.value = INCOMPLETE;
  }
}

/**
 * Copies `size` bytes (at most SMALL_FILE_BYTES) of a regular file into `dest`, opened with `flags` and `mode`. Resolves to
 * the bytes, ANOTHER_WAY if the target was not opened, INCOMPLETE if it was but does not hold all. Rejects where no memory is left.
 */
export function copySmall(source: Path, dest: Path, size: number, flags: number, mode: number): Promise<number> {
  const t = thread();
  if (!t.direct.forWriting) return Promise.resolve(ANOTHER_WAY);
  return new CopySmall(t, source, dest, size, flags, mode).start();
}
