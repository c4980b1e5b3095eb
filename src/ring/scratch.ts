// Stable addresses for what the kernel reads or writes later: the user's views, and small cells of shim memory for
// paths, statx results and iovecs. Cells live in regions that outlive the JavaScript heap and are never given back.

import { stableAddress } from "../kernel/address.ts";
import { type Address, memoryAt, type Native } from "../kernel/shim.ts";
import { clockMs } from "../node/clock.ts";
import { byteLengthOf } from "../node/views.ts";

/** The most bytes one read or write moves: the kernel's MAX_RW_COUNT. */
export const MAX_TRANSFER = 0x7fff_f000;

/** Bytes of a cell: a path of up to 255 bytes and its NUL, then 256 bytes for a statx or a second path. */
export const CELL_BYTES = 512;
/** Where a cell's second half starts. */
export const CELL_HALF = 256;
const CELLS_PER_REGION = 128;
const NO_BYTES = Buffer.alloc(0);
const NO_WORDS = new Uint32Array(0);
/** Milliseconds after which a new epoch begins, if there is cause to ask. */
const EPOCH_MS = 5;
/** Bun's and Node's own encoder, present on every Buffer (19 ns for a path). */
type Utf8Buffer = Buffer & { utf8Write(text: string, offset: number, length: number): number };

/** Shim memory for one operation's path, statx or iovecs. */
export class Cell {
  readonly address: Address;
  /** The region that holds the cell, as bytes and as words, and where the cell starts in it. */
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly offset: number;
  /** When the operation on a path began that has it: an epoch of `Cells`; -1 where it is not such a one's. */
  epoch: number = -1;

  /** Where it goes back to; null if it is nobody's but its maker's. */
  readonly cells: Cells | null;

  constructor(address: Address, bytes: Buffer, words: Uint32Array, offset: number, cells: Cells | null = null) {
    this.cells = cells;
    this.address = address;
    this.bytes = bytes;
    this.words = words;
    this.offset = offset;
  }

  /** 32-bit word of the second half in `words`. */
  get halfWord(): number {
    return (this.offset + CELL_HALF) >>> 2;
  }
}

/** Hands out cells; grows by a region when none is free. */
export class Cells {
  readonly #native: Native;
  readonly #ring: Address;
  readonly #free: Cell[] = [];
  #made = 0;
  /** The newest region, of which cells are made as they are needed, and how many of it there are. */
  #region: Address = 0;
  #bytes: Buffer = NO_BYTES;
  #words: Uint32Array = NO_WORDS;
  #cut = CELLS_PER_REGION;
  /** Operations on paths under way that began in this epoch, in the one before it. */
  #young = 0;
  #middling = 0;
  #epoch = 0;
  #epochSince = 0;

  constructor(native: Native, ring: Address) {
    this.#native = native;
    this.#ring = ring;
  }

  /** Cells that operations have. */
  get used(): number {
    return this.#made - this.#free.length;
  }

  acquire(): Cell {
    return this.#free.length > 0 ? this.#free.pop()! : this.#cutOne();
  }

  /** As `acquire`, for an operation on a path: such are counted. */
  acquireForPath(): Cell {
    const cell = this.acquire();
    cell.epoch = this.#epoch;
    this.#young++;
    return cell;
  }

  /**
   * Whether more than `few` operations on paths are under way that keep the processors busy: what has not ended after some
   * milliseconds (the open of a FIFO) sleeps.
   */
  hasPathsUnderWay(few: number): boolean {
    if (this.#young + this.#middling <= few) return false;
    const now = clockMs();
    if (now - this.#epochSince > EPOCH_MS) {
      this.#epochSince = now;
      this.#epoch++;
      this.#middling = this.#young;
      this.#young = 0;
    }
    return this.#young + this.#middling > few;
  }

  /** The kernel is done with the cell. */
  release(cell: Cell): void {
    if (cell.epoch >= 0) {
      if (cell.epoch === this.#epoch) this.#young--;
      else if (cell.epoch === this.#epoch - 1) this.#middling--;
      cell.epoch = -1;
    }
    this.#free.push(cell);
  }

  #cutOne(): Cell {
    if (this.#cut === CELLS_PER_REGION) this.#grow();
    this.#made++;
    const offset = this.#cut++ * CELL_BYTES;
    return new Cell(this.#region + offset, this.#bytes, this.#words, offset, this);
  }

  #grow(): void {
    const length = CELL_BYTES * CELLS_PER_REGION;
    const address = this.#native.regionNew(this.#ring, length, 0, 0);
    if (address === null) throw new Error("bun-uring: no memory for operation cells");
    const memory = memoryAt(address, length);
    this.#region = address;
    this.#bytes = Buffer.from(memory);
    this.#words = new Uint32Array(memory);
    this.#cut = 0;
  }
}

/**
 * Puts a NUL-terminated path into the cell's half at `at` (0 or CELL_HALF). Returns its address, or -1 if it does not
 * fit: then `ownPath` makes memory for it.
 */
export function putPath(cell: Cell, at: number, path: string | Buffer): Address {
  const start = cell.offset + at;
  const { bytes } = cell;
  if (typeof path === "string") {
    // A UTF-16 unit takes at most 3 bytes of UTF-8; longer strings may fit, but need a look.
    if (path.length > 85 && Buffer.byteLength(path) >= CELL_HALF) return -1;
    bytes[start + (bytes as Utf8Buffer).utf8Write(path, start, CELL_HALF - 1)] = 0;
    return cell.address + at;
  }
  if (path.length >= CELL_HALF) return -1;
  bytes.set(path, start);
  bytes[start + path.length] = 0;
  return cell.address + at;
}

/** Memory of its own for a long path. It never moves (over 1000 elements) and is never exposed, so never detached. */
export function ownPath(path: string | Buffer): Buffer {
  const bytes = typeof path === "string" ? Buffer.from(path, "utf8") : path;
  const memory = Buffer.alloc(Math.max(1024, bytes.length + 1));
  memory.set(bytes);
  return memory;
}

const IOVEC_BYTES = 16;
const TWO_32 = 2 ** 32;

/**
 * Writes the iovecs of `views` into the cell, or, where they do not fit, into `memory` of their own. An empty view has no address.
 */
export function putVector(cell: Cell, views: readonly ArrayBufferView[]): { address: Address; memory: Buffer | null } {
  let { words, address } = cell;
  let word = cell.offset >>> 2;
  let memory: Buffer | null = null;
  if (views.length * IOVEC_BYTES > CELL_BYTES) {
    memory = Buffer.alloc(Math.max(1024, views.length * IOVEC_BYTES)); // over 1000 bytes: it never moves
    words = new Uint32Array(memory.buffer, memory.byteOffset, memory.length / 4);
    word = 0;
    address = stableAddress(memory, 0);
  }
  for (const view of views) {
    const length = byteLengthOf(view);
    const base = length === 0 ? 0 : stableAddress(view, 0);
    words[word] = base;
    words[word + 1] = Math.floor(base / TWO_32);
    words[word + 2] = length;
    words[word + 3] = Math.floor(length / TWO_32);
    word += 4;
  }
  return { address, memory };
}
