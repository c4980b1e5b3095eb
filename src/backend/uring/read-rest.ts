// What a chain that reads a file leaves over: large files, read in pieces by io-wq threads into memory mapped for the result;
// and files without a size (FIFO, /proc), read until their end. The file stays open in its direct descriptor, so nothing
// is read twice and no other file can slip in.

import type { BigIntStats, Stats } from "node:fs";
import { stableAddress } from "../../kernel/address.ts";
import { type Address, sharedMemory } from "../../kernel/shim.ts";
import { Opcode, SqeFlag } from "../../kernel/sqe.ts";
import { systemError } from "../../node/errors.ts";
import { fileTooLarge, MAX_FILE_BYTES } from "../../node/limits.ts";
import type { RingThread } from "../../ring/context.ts";
import { LANE_BYTES, type Lane } from "../../ring/read-buffer.ts";
import { OpenFile, type Path } from "../interface.ts";
import { close } from "./close.ts";
import { run, type Source } from "./linked.ts";
import { stat } from "./path.ts";
import { fstat } from "./read-write.ts";

const OWN_POSITION = -1;
/** Bytes of one piece, and pieces in flight (measured: docs/architecture.md D8b). */
const PIECE_BYTES = 1024 * 1024;
const PIECES = 4;
/** Results from this size on are mapped, with huge pages, instead of allocated. */
const MAPPED_BYTES = 1024 * 1024;
/** Looking for the end of a file takes a small piece first (over 1000 bytes: it doesn't move). */
const FIRST_LOOK_BYTES = 4096;

/** Reads all of an open file that nothing was read from yet. `size`: 0 where nobody has looked, or there is none (/proc). */
export async function readAll(
  t: RingThread,
  file: OpenFile,
  size: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const source: Source = { fd: file.fd, sqeFlag: file.remote ? SqeFlag.ASYNC : 0 };
  if (size > MAX_FILE_BYTES) throw fileTooLarge(size);
  if (size > 0) return readSized(t, source, [], 0, size, encoding, signal);
  if (t.native.seekable(file.fd) !== 0) return readToEnd(t, source, [], 0, encoding, signal);
  // A small file needs no look at its size, which costs as much as a read.
  const first = await readPiece(t, source, 0, LANE_BYTES, signal);
  const head = first === null ? [] : [first];
  const have = first === null ? 0 : first.length;
  if (have === LANE_BYTES) {
    const known = regularSize(await fstat(file, false));
    if (known > MAX_FILE_BYTES) throw fileTooLarge(known);
    if (known > have) return readSized(t, source, head, have, known, encoding, signal);
  }
  const length = have === 0 ? 0 : await readOn(t, source, head, have, signal);
  return present(Buffer.concat(head, length), encoding);
}

/**
 * Reads on from a direct descriptor whose first READ brought `first` bytes into the lane, and the second `second` more:
 * the next ones of a pipe or terminal. In a file with positions they may be the same once more, since the kernel moves
 * the file's own position only for reads that complete at once: there, reading goes on behind the first.
 */
export async function readRest(
  t: RingThread,
  source: Source,
  path: Path,
  lane: Lane,
  first: number,
  second: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const head: Buffer[] = [];
  if (first > 0) head.push(Buffer.from(lane.bytes.subarray(0, first)));
  const file = await look(t, source, path);
  if (file.size > MAX_FILE_BYTES) throw fileTooLarge(file.size);
  if (file.seekable && file.size > first) return readSized(t, source, head, first, file.size, encoding, signal);
  if (file.seekable) {
    const length = await readOn(t, source, head, first, signal);
    return present(Buffer.concat(head, length), encoding);
  }
  if (second > 0) head.push(Buffer.from(lane.bytes.subarray(LANE_BYTES, LANE_BYTES + second)));
  return readToEnd(t, source, head, first + second, encoding, signal);
}

/** Whether a direct descriptor's file has positions, and its size if it is a regular one. */
async function look(t: RingThread, source: Source, path: Path): Promise<{ seekable: boolean; size: number }> {
  const { native } = t;
  if (t.setup.opcodes[Opcode.FIXED_FD_INSTALL] === 1) {
    const fd = await run(t, Opcode.FIXED_FD_INSTALL, "read", 0, source, 0, 0, 0, null, null);
    if (fd >= 0) {
      const file = new OpenFile(fd);
      try {
        const seekable = native.seekable(fd) === 0;
        const cell = t.cells.acquire();
        file.remote = t.mounts.any && t.mounts.holdsFile(fd, cell);
        t.cells.release(cell);
        if (file.remote) source.sqeFlag |= SqeFlag.ASYNC;
        return { seekable, size: seekable ? regularSize(await fstat(file, false)) : 0 };
      } finally {
        await close(file);
      }
    }
  }
  // Before 6.8 only the path can be asked: a hint, what is read is what the descriptor gives.
  try {
    const stats = await stat(path, false);
    return { seekable: stats.isFile(), size: regularSize(stats) };
  } catch {
    return { seekable: true, size: 0 };
  }
}

function regularSize(stats: Stats | BigIntStats): number {
  return stats.isFile() ? Number(stats.size) : 0;
}

/** One read of up to `length` bytes into memory that outlives a Worker; null at the end of the file. */
async function readPiece(
  t: RingThread,
  source: Source,
  position: number,
  length: number,
  signal: AbortSignal | null,
): Promise<Buffer | null> {
  const memory = t.memory.acquire(length);
  try {
    const res = await run(t, Opcode.READ, "read", 0, source, position, memory.address, length, null, signal);
    if (res < 0) throw systemError(res, "read");
    return res === 0 ? null : Buffer.copyBytesFrom(memory.bytes, 0, res);
  } finally {
    memory.release(); // its CQE has come, or the ring is over, and with it all of its memory
  }
}

/** Reads a pipe or terminal to its end. */
async function readToEnd(
  t: RingThread,
  source: Source,
  parts: Buffer[],
  have: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const length = await readOn(t, source, parts, have, signal, true);
  return present(Buffer.concat(parts, length), encoding);
}

function present(bytes: Buffer, encoding: BufferEncoding | null): Buffer | string {
  if (encoding === null) return bytes;
  const { MAX_STRING_LENGTH } = process.getBuiltinModule("node:buffer").constants;
  if (bytes.length > MAX_STRING_LENGTH)
    throw Object.assign(
      new Error(`Cannot create a string longer than 0x${MAX_STRING_LENGTH.toString(16)} characters`),
      { code: "ERR_STRING_TOO_LONG" },
    );
  return bytes.toString(encoding);
}

/** Reads a file whose size is probably `size`: several pieces at once, straight into the result. */
async function readSized(
  t: RingThread,
  source: Source,
  head: Buffer[],
  have: number,
  size: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const target = allocate(t, size, (source.sqeFlag & SqeFlag.ASYNC) !== 0);
  let at = 0;
  for (const part of head) {
    target.bytes.set(part, at);
    at += part.length;
  }
  const memory = target.isOwned ? target.bytes : null;
  let next = have;
  let fileEnd = size;
  let failure: unknown = null;
  const worker = async (): Promise<void> => {
    while (next < fileEnd && failure === null) {
      const start = next;
      next = Math.min(size, start + PIECE_BYTES);
      let done = start;
      const stop = next;
      while (done < stop) {
        const address = target.address + done;
        // Never here: what costs is not the copy, but the new memory, whose first huge pages take milliseconds.
        const flag = !target.isOwned ? SqeFlag.ASYNC : t.placement.transfer(stop - done);
        const res = await run(t, Opcode.READ, "read", flag, source, done, address, stop - done, memory, signal);
        if (res < 0) throw systemError(res, "read");
        if (res === 0) {
          fileEnd = Math.min(fileEnd, done); // it shrank
          break;
        }
        done += res;
      }
    }
  };
  const workers = Array.from({ length: PIECES }, () => worker().catch((error: unknown) => (failure ??= error)));
  await Promise.all(workers); // also after a failure: the kernel may still write into the result
  if (failure !== null) {
    target.release();
    throw failure;
  }
  const bytes = resultOf(target, fileEnd);
  if (fileEnd < size) return present(bytes, encoding);
  const parts = [bytes];
  const length = await readOn(t, source, parts, size, signal);
  return present(parts.length === 1 ? bytes : Buffer.concat(parts, length), encoding);
}

/**
 * Reads what is behind the expected end: nothing, unless the file grew or has no size (/proc). Of a `stream`, which has no
 * positions, all that comes. Returns the new length.
 */
async function readOn(
  t: RingThread,
  source: Source,
  parts: Buffer[],
  have: number,
  signal: AbortSignal | null,
  stream: boolean = false,
): Promise<number> {
  let length = have;
  for (
    let piece = stream ? LANE_BYTES : FIRST_LOOK_BYTES;
    ;
    piece = stream ? Math.min(PIECE_BYTES, piece * 2) : PIECE_BYTES
  ) {
    const part = await readPiece(t, source, stream ? OWN_POSITION : length, piece, signal);
    if (part === null) return length;
    parts.push(part);
    length += part.length;
    if (length > MAX_FILE_BYTES) throw fileTooLarge(length);
  }
}

/** Memory for a result that is being read into: JavaScript gets hold of it only when the kernel is done. */
interface Target {
  address: Address;
  bytes: Buffer;
  /** The memory is JavaScript's, for what a local disk soon answers. */
  isOwned: boolean;
  /** The ring's, for what may never come: the result is a copy. Else it is mapped for the result. */
  isLent: boolean;
  /** The kernel is done with it. */
  release(): void;
}

function allocate(t: RingThread, size: number, isRemote: boolean): Target {
  const { native, ring } = t;
  const address = size >= MAPPED_BYTES ? native.regionNew(ring.address, size, 1, 1) : null;
  if (address !== null) {
    const region = native.regionAt(ring.address, address)!;
    const bytes = Buffer.from(sharedMemory(native, ring.release, region, 0, address, size));
    // A closed ring has let it go; a stopped one may still write to it.
    const release = (): void => {
      if (!ring.closed && ring.poisoned === null) native.regionFree(ring.address, address);
    };
    return { address, bytes, isOwned: false, isLent: false, release };
  }
  if (isRemote) {
    const memory = t.memory.acquire(size);
    return {
      address: memory.address,
      bytes: memory.bytes,
      isOwned: false,
      isLent: true,
      release: () => memory.release(),
    };
  }
  const bytes = Buffer.allocUnsafeSlow(Math.max(1024, size));
  return { address: stableAddress(bytes, 0), bytes, isOwned: true, isLent: false, release: () => {} };
}

/** The first `length` bytes, which are the caller's from here on. */
function resultOf({ bytes, isLent, release }: Target, length: number): Buffer {
  const result = isLent ? Buffer.copyBytesFrom(bytes, 0, length) : bytes;
  release();
  return length === result.length ? result : result.subarray(0, length);
}
