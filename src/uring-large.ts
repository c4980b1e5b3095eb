// What a whole-file chain leaves over: large files, read in pieces by io-wq threads into memory mapped for the result;
// files without a size (FIFO, /proc), read until their end; and the rest of a write that was short or too long for a chain.
// The file stays open in its direct descriptor, so nothing is read twice and no other file can slip in.

import { constants as bufferConstants } from "node:buffer";
import type { Path } from "./backend-interface.ts";
import { MAX_TRANSFER, stableAddress } from "./buffer.ts";
import { constants } from "./constants.ts";
import { abortError, systemError } from "./errno.ts";
import { LANE_BYTES, type Lane } from "./lane.ts";
import { type Address, memoryAt } from "./native.ts";
import { type Operation, promiseFor } from "./operation.ts";
import { Opcode, SqeFlag } from "./sqe.ts";
import type { RingThread } from "./thread.ts";
import { begin, cancel, EAGAIN, EINTR, end, stage } from "./uring-operation.ts";
import { stat } from "./uring-path.ts";

const OWN_POSITION = -1;
/** Bytes of one piece, and pieces in flight (measured: DESIGN D8b). */
const PIECE_BYTES = 1024 * 1024;
const PIECES = 4;
/** Results from this size on are mapped, with huge pages, instead of allocated. */
const MAPPED_BYTES = 1024 * 1024;
/** Node's limit for a whole file. */
const MAX_FILE_BYTES = 2 ** 31 - 1;

function finishCount(operation: Operation, res: number): void {
  const { resolve } = operation;
  end(operation);
  resolve(res);
}

/** One operation on a direct descriptor; resolves to its result, a negative errno included. */
async function onDirect(
  t: RingThread,
  opcode: number,
  sqeFlags: number,
  slot: number,
  position: number,
  address: Address,
  length: number,
  signal: AbortSignal | null,
): Promise<number> {
  for (;;) {
    if (signal?.aborted) throw abortError(signal);
    const operation = begin(t, finishCount, "", null);
    const { generation } = operation;
    stage(t, operation, opcode, sqeFlags | SqeFlag.FIXED_FILE, slot, position, address, length, 0);
    const onAbort = (): void => {
      if (operation.generation === generation) cancel(t, operation);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const res: number = await promiseFor(operation);
    signal?.removeEventListener("abort", onAbort);
    if (res !== EINTR && res !== EAGAIN) return res;
  }
}

function tooLarge(size: number): Error {
  return Object.assign(new RangeError(`File size (${size}) is greater than 2 GiB`), { code: "ERR_FS_FILE_TOO_LARGE" });
}

/** Reads on from a direct descriptor whose first `first + second` bytes are in the lane. */
export async function readRest(
  t: RingThread,
  slot: number,
  path: Path,
  lane: Lane,
  first: number,
  second: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const head: Buffer[] = [];
  if (first > 0) head.push(Buffer.from(lane.bytes.subarray(0, first)));
  if (second > 0) head.push(Buffer.from(lane.bytes.subarray(LANE_BYTES, LANE_BYTES + second)));
  const have = first + second;
  // Only a hint for the allocation: what is read is what the descriptor gives, whatever the path means by now.
  const size = await sizeHint(path);
  if (size > MAX_FILE_BYTES) throw tooLarge(size);
  if (size > have) return readSized(t, slot, lane, head, have, size, encoding, signal);
  return readToEnd(t, slot, head, have, encoding, signal);
}

async function sizeHint(path: Path): Promise<number> {
  try {
    const stats = await stat(path, false);
    return (Number(stats.mode) & constants.S_IFMT) === constants.S_IFREG ? Number(stats.size) : 0;
  } catch {
    return 0;
  }
}

/** Reads to the end through the file's own position: for what has no size, or has grown past it. */
async function readToEnd(
  t: RingThread,
  slot: number,
  parts: Buffer[],
  have: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  let length = have;
  for (let piece = LANE_BYTES; ; piece = Math.min(PIECE_BYTES, piece * 2)) {
    const part = Buffer.allocUnsafeSlow(piece);
    const res = await onDirect(t, Opcode.READ, 0, slot, OWN_POSITION, stableAddress(part, 0), piece, signal);
    if (res < 0) throw systemError(res, "read");
    if (res === 0) break;
    parts.push(part.subarray(0, res));
    length += res;
    if (length > MAX_FILE_BYTES) throw tooLarge(length);
  }
  return present(Buffer.concat(parts, length), encoding);
}

function present(bytes: Buffer, encoding: BufferEncoding | null): Buffer | string {
  if (encoding === null) return bytes;
  if (bytes.length > bufferConstants.MAX_STRING_LENGTH)
    throw Object.assign(
      new Error(`Cannot create a string longer than 0x${bufferConstants.MAX_STRING_LENGTH.toString(16)} characters`),
      { code: "ERR_STRING_TOO_LONG" },
    );
  return bytes.toString(encoding);
}

/** Reads a file whose size is probably `size`: several pieces at once, straight into the result. */
async function readSized(
  t: RingThread,
  slot: number,
  lane: Lane,
  head: Buffer[],
  have: number,
  size: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const target = allocate(t, size);
  let at = 0;
  for (const part of head) {
    target.write(part, at);
    at += part.length;
  }
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
        const res = await onDirect(t, Opcode.READ, SqeFlag.ASYNC, slot, done, address, stop - done, signal);
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
    target.discard();
    throw failure;
  }
  const bytes = target.take(fileEnd);
  if (fileEnd < size) return present(bytes, encoding);
  const more = await onDirect(t, Opcode.READ, 0, slot, size, lane.address, LANE_BYTES, signal);
  if (more < 0) throw systemError(more, "read");
  if (more === 0) return present(bytes, encoding);
  return readGrown(t, slot, [bytes, Buffer.from(lane.bytes.subarray(0, more))], size + more, encoding, signal);
}

/** The file grew while it was read: goes on behind what is there. */
async function readGrown(
  t: RingThread,
  slot: number,
  parts: Buffer[],
  have: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  let length = have;
  for (;;) {
    const part = Buffer.allocUnsafeSlow(PIECE_BYTES);
    const address = stableAddress(part, 0);
    const res = await onDirect(t, Opcode.READ, SqeFlag.ASYNC, slot, length, address, PIECE_BYTES, signal);
    if (res < 0) throw systemError(res, "read");
    if (res === 0) return present(Buffer.concat(parts, length), encoding);
    parts.push(part.subarray(0, res));
    length += res;
    if (length > MAX_FILE_BYTES) throw tooLarge(length);
  }
}

/** Memory for a result that is being read into: JavaScript gets hold of it only when the kernel is done. */
interface Target {
  address: Address;
  write(part: Buffer, at: number): void;
  take(length: number): Buffer;
  discard(): void;
}

function allocate(t: RingThread, size: number): Target {
  const { native, ring } = t;
  const address = size >= MAPPED_BYTES ? native.regionNew(ring.address, size, 1) : null;
  if (address === null) {
    const bytes = Buffer.allocUnsafeSlow(Math.max(1024, size));
    return {
      address: stableAddress(bytes, 0),
      write: (part, at) => void bytes.set(part, at),
      take: (length) => (length === bytes.length ? bytes : bytes.subarray(0, length)),
      discard: () => {},
    };
  }
  const view = Buffer.from(memoryAt(address, size));
  return {
    address,
    write: (part, at) => void view.set(part, at),
    take: (length) => {
      native.regionHandOver(ring.address, address);
      const bytes = Buffer.from(memoryAt(address, size, ring.unmap));
      return length === size ? bytes : bytes.subarray(0, length);
    },
    discard: () => void native.regionFree(ring.address, address),
  };
}

/** Writes `data[written…]` to a direct descriptor at its own position, then flushes if asked. */
export async function writeRest(
  t: RingThread,
  slot: number,
  data: Uint8Array,
  written: number,
  flush: boolean,
  signal: AbortSignal | null,
): Promise<void> {
  const resizable = (data.buffer as ArrayBuffer).resizable === true;
  const source = resizable ? Buffer.from(data) : data;
  let done = written;
  while (done < source.length) {
    const length = Math.min(PIECE_BYTES, MAX_TRANSFER, source.length - done);
    const address = stableAddress(source, 0) + done;
    const res = await onDirect(t, Opcode.WRITE, SqeFlag.ASYNC, slot, OWN_POSITION, address, length, signal);
    if (res < 0) throw systemError(res, "write");
    done += res;
  }
  if (!flush) return;
  const res = await onDirect(t, Opcode.FSYNC, 0, slot, 0, 0, 0, null);
  if (res < 0) throw systemError(res, "fsync");
}
