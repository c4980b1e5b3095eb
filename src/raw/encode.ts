// SQEs being written: from checked fields to the kernel's 64 bytes, with everything that must live until their CQEs.
// A draft is complete before any of it is queued, so a mistake in the last SQE leaves nothing behind. It copies paths,
// names and vectors into shim memory; the user's views it keeps and watches. It never submits.

import type { OpenFile } from "../backend/interface.ts";
import { MAX_VECTOR } from "../backend/loops.ts";
import { FileHandle, fileOf } from "../handle/file-handle.ts";
import { SQE_WORDS } from "../kernel/abi.ts";
import { stableAddress } from "../kernel/address.ts";
import { STATX_BYTES } from "../kernel/constants.ts";
import { AT_FDCWD, SqeFlag, setBufferIndex, setFileIndex, setOffset, writeSqe } from "../kernel/sqe.ts";
import {
  invalidArgType,
  invalidArgValue,
  outOfRange,
  refuseDetached,
  validateBuffer,
  validateInt32,
  validateInteger,
  validateString,
  validateUint32,
} from "../node/arguments.ts";
import { closedError } from "../node/errors.ts";
import { toPath } from "../node/path.ts";
import { byteLengthOf, isResizable } from "../node/views.ts";
import { HeldViews, type LeasedMemory } from "../ring/lease.ts";
import type { Ring } from "../ring/ring.ts";
import { CELL_HALF, type Cell, type Cells, ownPath, putPath, putVector } from "../ring/scratch.ts";
import { type Form, formOf, type Sqe, takenOnce } from "./sqe-fields.ts";
import { offsetOf, putHow, putTime } from "./sqe-values.ts";

type View = NodeJS.ArrayBufferView;

/** What a draft asks of the ring that it is for. */
export interface DraftContext {
  readonly cells: Cells;
  /** What the kernel's probe said, by opcode. */
  readonly opcodes: Uint8Array;
  readonly ring: Ring;
  /** It is the ring that the package's own functions use. */
  readonly shared: boolean;
  /** Direct descriptors that the caller may name. */
  readonly slots: ReadonlySet<number>;
  /** The two words of the user_data of a submitted operation; null when it has ended or is not this ring's. */
  userDataOf(promise: Promise<unknown>): readonly [low: number, high: number] | null;
}

const TWO_32 = 4294967296;
const OPEN_HOW_BYTES = 24;
/** IORING_ASYNC_CANCEL_ flags. */
const [CANCEL_FD, CANCEL_FD_FIXED] = [2, 8];
const SPLICE_FD_IN_FIXED = 2 ** 31;
/** The largest page that a kernel for this processor may use. */
const PAGE_BYTES = process.arch === "arm64" ? 65536 : 4096;
const FIRST_CAPACITY = 8;

export class Draft {
  /** The SQEs written so far, without user_data. */
  words: Uint32Array = new Uint32Array(FIRST_CAPACITY * SQE_WORDS);
  count = 0;
  readonly #context: DraftContext;
  readonly #cells: Cell[] = [];
  /** Memory of our own, and the user's views with the lengths that they had. */
  readonly #kept: unknown[] = [];
  readonly #held = new HeldViews();
  /** Open files that can't be closed before this draft is over. */
  readonly files: OpenFile[] = [];
  /** Direct descriptors that it names: none of them is given back before it is over. */
  readonly slots: number[] = [];
  /** One of its SQEs waits for all that came before it on the ring. */
  drains = false;
  /** That of the view kept last, if it is one. */
  #lastLease: LeasedMemory | null = null;

  constructor(context: DraftContext) {
    this.#context = context;
  }

  /** Adds an SQE, or throws what is wrong with it. */
  add(given: Sqe): void {
    const sqe = takenOnce(given);
    const form = formOf(sqe, this.#context.opcodes);
    const drains = ((sqe.flags ?? 0) & SqeFlag.IO_DRAIN) !== 0;
    this.drains ||= drains;
    if (this.#context.shared && drains)
      throw invalidArgValue("sqe.flags", sqe.flags, "may have IO_DRAIN on a ring of your own only, new Ring()");
    const cell = this.#cellFor(form);
    const fd = this.#fd(form, sqe);
    const buffer = sqe.buffer === undefined ? null : this.#memory(form, sqe);
    const address = this.#address(form, sqe, cell, buffer);
    const offset = this.#offset(form, sqe, cell, buffer);
    const length = this.#length(form, sqe, buffer);
    let opFlags = sqe.opFlags ?? 0;
    if (form.name === "ASYNC_CANCEL") opFlags = this.#cancelFlags(sqe, opFlags);
    const i = this.#next();
    const { words } = this;
    writeSqe(words, i, sqe.opcode, sqe.flags ?? 0, fd, Number(offset), address, length, opFlags, 0, 0);
    if (typeof offset === "bigint") setOffset(words, i, offset);
    this.#rest(form, sqe, cell, i);
  }

  #next(): number {
    const i = this.count++ * SQE_WORDS;
    if (i === this.words.length) {
      const grown = new Uint32Array(this.words.length * 2);
      grown.set(this.words);
      this.words = grown;
    }
    return i;
  }

  /** A cell where the SQE needs one: path or vector in the first half, second path, name, how or time in the other. */
  #cellFor(form: Form): Cell | null {
    const { addr, off, fields } = form;
    const needs = addr === "path" || addr === "name" || addr === "buffers" || addr === "time" || off === "how";
    if (!needs && !fields.has("path")) return null;
    const cell = this.#context.cells.acquire();
    this.#cells.push(cell);
    return cell;
  }

  #fd(form: Form, sqe: Sqe): number {
    const { fd = form.fields.has("path") ? AT_FDCWD : -1 } = sqe;
    if (form.name === "CLOSE" && (sqe.fd === undefined) === (sqe.fileIndex === undefined))
      throw invalidArgValue("sqe", sqe, "must have either 'fd' or 'fileIndex' to CLOSE");
    if (form.name === "CLOSE" && sqe.fileIndex !== undefined) return 0;
    const fixed = ((sqe.flags ?? 0) & SqeFlag.FIXED_FILE) !== 0;
    if (form.name === "FIXED_FD_INSTALL" && !fixed)
      throw invalidArgValue("sqe.flags", sqe.flags ?? 0, "must have SqeFlag.FIXED_FILE for FIXED_FD_INSTALL");
    if (typeof fd === "object" && fd !== null) {
      if (fixed) throw invalidArgValue("sqe.fd", fd, "must be the number of a direct descriptor with FIXED_FILE");
      const number = fd.fd;
      validateInt32(number, "sqe.fd.fd");
      if (number < 0) throw closedError(form.name.toLowerCase());
      if (fd instanceof FileHandle) this.#hold(form, fileOf(fd));
      return number;
    }
    validateInt32(fd, "sqe.fd");
    if (fixed && form.fields.has("fd")) this.#heldSlot(fd, "sqe.fd");
    return fd;
  }

  /** A handle's descriptor is not closed before this draft is over. */
  #hold(form: Form, file: OpenFile): void {
    if (form.name === "CLOSE") throw invalidArgValue("sqe.fd", "a FileHandle", "must be closed by its own close()");
    file.inFlight++;
    this.files.push(file);
  }

  #heldSlot(slot: number, name: string): void {
    if (!this.#context.slots.has(slot))
      throw invalidArgValue(
        name,
        slot,
        "must be a direct descriptor that acquireDirect() gave and releaseDirect() has not taken back",
      );
    this.slots.push(slot);
  }

  /** The user's memory, remembered until the draft is over. */
  #memory(form: Form, sqe: Sqe): View {
    const view = sqe.buffer!;
    validateBuffer(view, "sqe.buffer");
    const byteLength = byteLengthOf(view);
    if (form.name === "STATX" && byteLength < STATX_BYTES)
      throw outOfRange("sqe.buffer.byteLength", `>= ${STATX_BYTES}`, byteLength);
    if (form.name === "FILES_UPDATE" && !(view instanceof Int32Array))
      throw invalidArgType("sqe.buffer", "Int32Array", view);
    this.#keep(view, "sqe.buffer");
    return view;
  }

  /** The fixed buffer of READ_FIXED and WRITE_FIXED: as given, or that of the lease that was just kept. */
  #fixedIndex(sqe: Sqe): number {
    const region = this.#lastLease?.region;
    const index = sqe.bufferIndex ?? (region?.ring === this.#context.ring ? region.fixedIndex : -1);
    if (index < 0)
      throw invalidArgValue(
        "sqe.buffer",
        sqe.buffer,
        "must be a registered lease, or 'bufferIndex' must say where it lies",
      );
    validateInteger(index, "sqe.bufferIndex", 0, 0xffff);
    return index;
  }

  #keep(view: View, name: string): void {
    if (byteLengthOf(view) === 0) refuseDetached(view, name);
    if (isResizable(view)) throw invalidArgType(name, "a view of a buffer that can't be resized", view);
    this.#lastLease = this.#held.hold(view);
  }

  #address(form: Form, sqe: Sqe, cell: Cell | null, buffer: View | null): number {
    switch (form.addr) {
      case "buffer":
        return form.name === "MADVISE" ? pagesOf(buffer!, sqe.length) : startOf(buffer!);
      case "buffers":
        return this.#vector(sqe.buffers!, cell!);
      case "path":
        return this.#text(toPath(sqe.path, "sqe.path"), cell!, 0);
      case "name":
        validateString(sqe.name, "sqe.name");
        return this.#text(toPath(sqe.name, "sqe.name"), cell!, CELL_HALF);
      case "time":
        return putTime(cell!, sqe.timeoutMs!);
      case "length":
        validateInteger(sqe.length, "sqe.length", 0);
        return sqe.length;
      case "inOffset":
        validateInteger(sqe.inOffset ?? -1, "sqe.inOffset", -1);
        return sqe.inOffset ?? -1;
      default:
        return 0;
    }
  }

  /** What goes into `off`, which some opcodes use for a second address. */
  #offset(form: Form, sqe: Sqe, cell: Cell | null, buffer: View | null): number | bigint {
    switch (form.off) {
      case "offset":
        return offsetOf(sqe.offset ?? -1, -1);
      case "start":
        return offsetOf(sqe.offset ?? 0, 0);
      case "length":
        validateInteger(sqe.length, "sqe.length", 0);
        return sqe.length;
      case "count":
        validateUint32(sqe.count ?? 0, "sqe.count");
        return sqe.count ?? 0;
      case "buffer":
        return startOf(buffer!);
      case "newPath":
        return this.#text(toPath(sqe.newPath, "sqe.newPath"), cell!, CELL_HALF);
      case "how":
        return putHow(cell!, sqe);
      case "slot":
        return sqe.fileIndex!;
      default:
        return 0;
    }
  }

  #length(form: Form, sqe: Sqe, buffer: View | null): number {
    switch (form.len) {
      case "bytes": {
        const byteLength = byteLengthOf(buffer!);
        const { length = byteLength } = sqe;
        validateUint32(length, "sqe.length");
        if (length > byteLength) throw outOfRange("sqe.length", `<= ${byteLength}`, length);
        return length;
      }
      case "length":
        validateUint32(sqe.length ?? 0, "sqe.length");
        return sqe.length ?? 0;
      case "vectors":
        return sqe.buffers!.length;
      case "mode":
        validateUint32(sqe.mode ?? 0, "sqe.mode");
        return sqe.mode ?? 0;
      case "mask":
        validateUint32(sqe.mask ?? 0, "sqe.mask");
        return sqe.mask ?? 0;
      case "newFd":
        validateInt32(sqe.newFd ?? AT_FDCWD, "sqe.newFd");
        return sqe.newFd ?? AT_FDCWD;
      case "how":
        return OPEN_HOW_BYTES;
      case "slots":
        return byteLengthOf(buffer!) / 4;
      case "one":
        return 1;
      default:
        return 0;
    }
  }

  /** The fields that lie outside of off, addr and len. */
  #rest(form: Form, sqe: Sqe, cell: Cell | null, i: number): void {
    const { words } = this;
    const { fileIndex, inFd, priority } = sqe;
    if (priority !== undefined) {
      validateInteger(priority, "sqe.priority", 0, 0xffff);
      words[i]! |= priority << 16;
    }
    if (form.fields.has("bufferIndex")) setBufferIndex(words, i, this.#fixedIndex(sqe));
    if (fileIndex !== undefined) {
      validateInteger(fileIndex, "sqe.fileIndex", 0);
      const slots = form.name === "FILES_UPDATE" ? byteLengthOf(sqe.buffer!) / 4 : 1;
      for (let n = 0; n < slots; n++) this.#heldSlot(fileIndex + n, "sqe.fileIndex");
      if (form.name !== "FILES_UPDATE") setFileIndex(words, i, fileIndex);
    }
    if (inFd !== undefined) {
      validateInt32(inFd, "sqe.inFd", 0);
      if (((sqe.opFlags ?? 0) & SPLICE_FD_IN_FIXED) !== 0) this.#heldSlot(inFd, "sqe.inFd");
      words[i + 11] = inFd;
    }
    if (form.addr === "name" && sqe.path !== undefined) {
      const address = this.#text(toPath(sqe.path, "sqe.path"), cell!, 0); // addr3
      words[i + 12] = address;
      words[i + 13] = Math.floor(address / TWO_32);
    }
    if (sqe.target !== undefined) [words[i + 4], words[i + 5]] = this.#target(sqe.target);
  }

  #target(promise: Promise<unknown>): readonly [number, number] {
    const userData = promise instanceof Promise ? this.#context.userDataOf(promise) : null;
    if (userData === null) throw invalidArgValue("sqe.target", promise, "must be a promise of this ring's submit()");
    return userData;
  }

  #cancelFlags(sqe: Sqe, opFlags: number): number {
    if ((sqe.target === undefined) === (sqe.fd === undefined))
      throw invalidArgValue("sqe", sqe, "must have either 'target' or 'fd' to cancel");
    if (sqe.fd === undefined) return opFlags & ~(CANCEL_FD | CANCEL_FD_FIXED);
    if ((opFlags & CANCEL_FD_FIXED) !== 0) this.#heldSlot(sqe.fd as number, "sqe.fd");
    return opFlags | CANCEL_FD;
  }

  /** Copies a path or name into the cell's half at `at`, or into memory of its own. Returns its address. */
  #text(text: string | Buffer, cell: Cell, at: number): number {
    const address = putPath(cell, at, text);
    if (address >= 0) return address;
    const memory = ownPath(text);
    this.#kept.push(memory);
    return stableAddress(memory, 0);
  }

  #vector(buffers: readonly View[], cell: Cell): number {
    if (buffers.length > MAX_VECTOR) throw outOfRange("sqe.buffers.length", `<= ${MAX_VECTOR}`, buffers.length);
    for (const view of buffers) this.#keep(view, "sqe.buffers");
    const { address, memory } = putVector(cell, buffers);
    this.#kept.push(memory);
    return address;
  }

  /** Whether the user's memory is still what it was when the SQEs were written. */
  get intact(): boolean {
    return this.#held.intact;
  }

  /** The kernel is done with everything here, or never saw it. */
  release(): void {
    for (const cell of this.#cells) this.#context.cells.release(cell);
    this.#held.release();
    for (const file of this.files.splice(0)) if (--file.inFlight === 0 && file.closing !== null) file.closing();
    this.#cells.length = this.#kept.length = 0;
  }
}

const startOf = (view: View): number => (byteLengthOf(view) === 0 ? 0 : stableAddress(view, 0));

/** MADVISE acts on whole pages: these must be the caller's own, from first to last byte. */
function pagesOf(view: View, length: number = byteLengthOf(view)): number {
  const start = startOf(view);
  if (start % PAGE_BYTES !== 0 || length % PAGE_BYTES !== 0)
    throw invalidArgValue("sqe.buffer", byteLengthOf(view), `must start and end on a page of ${PAGE_BYTES} bytes`);
  return start;
}
