// Operations on an open file through the ring: read, write, fsync, ftruncate, flock.
// Each counts in its OpenFile until its CQE, so that close() can wait; each keeps the caller's memory alive until then.

import { readSync, writeSync } from "node:fs";
import { stableAddress } from "../../kernel/address.ts";
import { FSYNC_DATASYNC } from "../../kernel/constants.ts";
import { copyBytes } from "../../kernel/copy.ts";
import { flock as flockBy } from "../../kernel/shim.ts";
import { Opcode, SqeFlag, setBufferIndex, setOffset } from "../../kernel/sqe.ts";
import { bufferTaken } from "../../node/arguments.ts";
import { clockMs } from "../../node/clock.ts";
import { EFAULT, ESPIPE } from "../../node/errno.ts";
import { closedError, systemError } from "../../node/errors.ts";
import { lateRejection } from "../../node/late-error.ts";
import { byteLengthOf, bytesOf, isResizable } from "../../node/views.ts";
import type { FileSystem } from "../../ring/file-systems.ts";
import type { KernelBuffer } from "../../ring/kernel-memory.ts";
import { acquireLeased, LeasedMemory } from "../../ring/lease.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { MAX_TRANSFER } from "../../ring/scratch.ts";
import type { OpenFile, ReadResult, WriteResult } from "../interface.ts";
import { atOnce, neverWaits } from "./non-blocking.ts";
import { claim, settleClaim } from "./own-position.ts";
import {
  begin,
  end,
  fail,
  finishVoid,
  isTransferToRepeat,
  remoteFlag,
  retryFlag,
  stage,
  stageAgain,
  thread,
} from "./request.ts";

/** Data up to this length may be written by the helper, which does one thing after another. */
const HELPER_WRITE_BYTES = 64 * 1024;
/** Buffered writes up to this length are copied at the call: the caller's buffer is free at once, whatever becomes of it. */
const COPIED_WRITE_BYTES = 16 * 1024;
/** Transfers that may wait long are copied up to this length, beyond any pipe's and any file server's chunk. */
export const COPIED_WAIT_BYTES: number = 16 * 1024 * 1024;
const SEEK_END = 2;

/** The view was detached, moved or resized while the kernel had its address. */
export function memoryTaken(operation: Operation): void {
  const { resolve, syscall } = operation;
  settlePosition(operation, 0);
  end(operation);
  resolve(lateRejection(() => bufferTaken(syscall)));
}

export function failTransfer(operation: Operation, res: number): void {
  settlePosition(operation, 0);
  fail(operation, res);
}

function finishRead(operation: Operation, res: number): void {
  if (res < 0)
    return isTransferToRepeat(operation, res) ? stageTransfer(operation, Opcode.READ) : failTransfer(operation, res);
  const { resolve, view } = operation;
  settlePosition(operation, res);
  if (byteLengthOf(view!) !== operation.byteLength) return memoryTaken(operation);
  if (operation.standIn !== null && operation.offset + res > byteLengthOf(view!)) return memoryTaken(operation);
  if (operation.standIn !== null && !copyBack(operation, res)) return fail(operation, EFAULT);
  end(operation);
  resolve({ bytesRead: res, buffer: view });
}

/** Copies what was read into a stand-in to the view it stands in for. */
function copyBack({ view, offset, standIn }: Operation, bytes: number): boolean {
  const users = bytesOf(view!).subarray(offset);
  return copyBytes(standIn!.bytes.subarray(0, bytes), users, users) === bytes;
}

function finishWrite(operation: Operation, res: number): void {
  if (res < 0)
    return isTransferToRepeat(operation, res) ? stageTransfer(operation, Opcode.WRITE) : failTransfer(operation, res);
  const { resolve, view } = operation;
  settlePosition(operation, res);
  // What was written is what a stand-in held, whatever became of the view.
  if (operation.standIn === null && byteLengthOf(view!) !== operation.byteLength) return memoryTaken(operation);
  end(operation);
  resolve({ bytesWritten: res, buffer: view });
}

/** Microseconds that a write without waiting takes, and bytes that each further one is good for. */
const [WRITE_US, BYTES_PER_US] = [3, 8192];

/** Writes by a plain call, where the file system has such as never wait. Returns the bytes; 0: to be done otherwise. */
function writeNow(operation: Operation, view: ArrayBufferView, offset: number): number {
  const { length, position } = operation;
  const file = operation.owner as OpenFile;
  // Alone on its file, or it might overtake one that is with the ring.
  if (file.inFlight > 1 || !file.seekable || file.remote || file.direct || file.bypass) return 0;
  if (length > HELPER_WRITE_BYTES || length === 0 || typeof position === "bigint") return 0;
  const t = thread();
  file.fileSystem ??= t.fileSystems.of(file.fd);
  const system = file.fileSystem as FileSystem;
  // Larger ones in company are faster by threads, several at once: 64 at a time of 64 KiB 3.3 µs each, 7.6 here.
  if (length > COPIED_WRITE_BYTES && !t.loop.firstOfTurn()) return 0;
  if (!system.maySucceed || !t.placement.mayCall(WRITE_US + length / BYTES_PER_US)) return 0;
  const beganMs = clockMs();
  const res = t.native.writeNow(file.fd, stableAddress(view, offset), length, position);
  system.learn(res, clockMs() - beganMs);
  return Math.max(0, res);
}

/** The SQE flag of a transfer on a local file. */
function placeOf(operation: Operation, opcode: number): number {
  const { placement } = thread();
  const file = operation.owner as OpenFile;
  const { length } = operation;
  if (file.direct) return 0;
  if (file.bypass) return placement.transfer(length);
  // Alone on its file, or it might overtake one that is with the ring. Without positions it might wait for a reader.
  const mayHelp = opcode === Opcode.WRITE && file.seekable && file.inFlight === 1 && length <= HELPER_WRITE_BYTES;
  return placement.transfer(length) | (mayHelp && operation.retries === 0 ? placement.punted() : 0);
}

/** Stages a read or write of the operation's view, or of its stand-in. */
function stageTransfer(operation: Operation, opcode: number): void {
  const t = thread();
  const file = operation.owner as OpenFile;
  const { length, position, standIn } = operation;
  // The second time, too: a view that was taken away meanwhile has no address, and must not become address 0 + offset.
  const view = operation.view!;
  if (standIn === null && byteLengthOf(view) !== operation.byteLength) return memoryTaken(operation);
  const address = standIn === null ? stableAddress(view, operation.offset) : standIn.address;
  const flags = file.remote ? SqeFlag.ASYNC : retryFlag(operation) | placeOf(operation, opcode);
  const { fd, lease } = operation; // the file's own fd may be -1 by now: it is being closed, after us
  const fixed = lease instanceof LeasedMemory && lease.region.fixedIndex >= 0;
  const operationCode = fixed ? (opcode === Opcode.READ ? Opcode.READ_FIXED : Opcode.WRITE_FIXED) : opcode;
  const at = typeof position === "number" ? position : 0;
  const i = stage(t, operation, operationCode, flags, fd, at, address, length, file.rwFlags);
  if (fixed) setBufferIndex(t.ring.words, i, lease.region.fixedIndex);
  if (typeof position === "bigint") setOffset(t.ring.words, i, position);
}

/**
 * Whether the kernel gets memory of ours instead of the view's. JavaScript can't pin a view, and one that was resized or
 * transferred meanwhile leads the kernel to memory of somebody else; that can only be noticed afterwards. So: what may be
 * resized, what may wait long (pipes, file servers), and writes whose copy costs next to nothing beside the write. What
 * waits would also outlast a Worker that ends, and with it the view's memory. Pool memory is safe.
 */
function needsStandIn(operation: Operation, opcode: number): boolean {
  if (operation.lease !== null) return false;
  const file = operation.owner as OpenFile;
  const mayWait = !file.seekable || file.remote;
  if (
    operation.length <=
    (mayWait ? COPIED_WAIT_BYTES : opcode === Opcode.WRITE && !file.direct ? COPIED_WRITE_BYTES : -1)
  )
    return true;
  return isResizable(operation.view!);
}

/**
 * Sets where a transfer of `length` bytes begins. At the file's own position (-1) those bytes are claimed here, and
 * `settlePosition` gives back what was not used. Pipes and terminals have no position and keep -1.
 */
export function setPosition(operation: Operation, position: number | bigint, length: number): void {
  const file = operation.owner as OpenFile;
  operation.position = position;
  if (position !== -1 || !file.seekable) return;
  const isRead = operation.syscall === "read";
  // What is appended has its place from the kernel.
  const found = file.append && !isRead ? { fd: file.fd, start: 0, bytes: 0 } : claim(file.fd, length, isRead);
  if (found.start < 0) return; // -1 then, and the kernel says why
  operation.claim = found;
  operation.position = found.start;
}

/** Ends a transfer of `res` bytes, or one that failed, as far as the file's own position goes. */
export function settlePosition(operation: Operation, res: number): void {
  const { claim, fd } = operation;
  if (claim === null) return;
  operation.claim = null;
  if (operation.syscall === "write" && (operation.owner as OpenFile).append) {
    if (res > 0) thread().native.seek(fd, 0, SEEK_END);
  } else settleClaim(claim, Math.max(0, res));
}

/** lseek(2). */
export function seek(file: OpenFile, offset: number, whence: number): number {
  return thread().native.seek(file.fd, offset, whence);
}

/** Whether the file takes positions. The ring itself ignores them on pipes, where Node and pread(2) refuse. */
export function isSeekable(file: OpenFile): boolean {
  file.seekable = thread().native.seekable(file.fd) !== ESPIPE;
  return file.seekable;
}

/** Fails an operation that was not staged. */
function failAtOnce(operation: Operation, res: number): Promise<never> {
  const promise = promiseFor(operation);
  failTransfer(operation, res);
  return promise as Promise<never>;
}

function transfer(
  operation: Operation,
  opcode: number,
  view: ArrayBufferView,
  offset: number,
  length: number,
  position: number | bigint,
): Promise<any> {
  const file = operation.owner as OpenFile;
  operation.fd = file.fd;
  operation.view = view;
  operation.lease = acquireLeased(view);
  operation.byteLength = byteLengthOf(view);
  operation.offset = offset;
  operation.length = length > MAX_TRANSFER ? MAX_TRANSFER : length;
  if (offset + length > operation.byteLength) {
    const promise = promiseFor(operation); // it had to wait for others, and lost its memory meanwhile
    memoryTaken(operation);
    return promise;
  }
  setPosition(operation, position, operation.length);
  const written = opcode === Opcode.WRITE ? writeNow(operation, view, offset) : 0;
  if (written > 0) {
    const promise = promiseFor(operation);
    finishWrite(operation, written);
    return promise;
  }
  if (needsStandIn(operation, opcode)) {
    let standIn: KernelBuffer;
    try {
      standIn = thread().memory.acquire(file.direct ? Math.max(4096, operation.length) : operation.length);
    } catch (error) {
      settlePosition(operation, 0);
      end(operation);
      return Promise.reject(error);
    }
    operation.standIn = standIn;
    if (opcode === Opcode.WRITE) {
      const users = bytesOf(view).subarray(offset, offset + operation.length);
      const copied = copyBytes(users, standIn.bytes, users);
      if (copied < 0) return failAtOnce(operation, copied);
      operation.length = copied; // a short write, as the kernel makes it where memory ends
    }
  }
  stageTransfer(operation, opcode);
  return promiseFor(operation);
}

export function read<T extends ArrayBufferView>(
  file: OpenFile,
  view: T,
  offset: number,
  length: number,
  position: number | bigint,
): Promise<ReadResult<T>> {
  if (file.fd < 0) return Promise.reject(closedError("read"));
  if (!file.seekable && !isSeekable(file) && position !== -1) return Promise.reject(systemError(ESPIPE, "read"));
  if (neverWaits(file))
    return atOnce("read", () => {
      return { bytesRead: readSync(file.fd, bytesOf(view), offset, length, null), buffer: view };
    });
  return transfer(begin(thread(), finishRead, "read", file), Opcode.READ, view, offset, length, position);
}

export function write<T extends ArrayBufferView>(
  file: OpenFile,
  view: T,
  offset: number,
  length: number,
  position: number | bigint,
): Promise<WriteResult<T>> {
  if (file.fd < 0) return Promise.reject(closedError("write"));
  if (!file.seekable && !isSeekable(file) && position !== -1) return Promise.reject(systemError(ESPIPE, "write"));
  if (neverWaits(file))
    return atOnce("write", () => {
      return { bytesWritten: writeSync(file.fd, bytesOf(view), offset, length, null), buffer: view };
    });
  return transfer(begin(thread(), finishWrite, "write", file), Opcode.WRITE, view, offset, length, position);
}

/** An operation on the file, or a range of it, without a value. */
export function onFile(
  file: OpenFile,
  opcode: number,
  syscall: string,
  offset: number,
  address: number,
  length: number,
  opFlags: number,
): Promise<void> {
  if (file.fd < 0) return Promise.reject(closedError(syscall));
  const t = thread();
  const operation = begin(t, finishVoid, syscall, file);
  const { fd } = file;
  const flags = file.remote ? remoteFlag(t, operation) : 0;
  operation.isSync = opcode === Opcode.FSYNC;
  stageAgain(operation, () => stage(t, operation, opcode, flags, fd, offset, address, length, opFlags));
  return promiseFor(operation);
}

export const fsync = (file: OpenFile): Promise<void> => onFile(file, Opcode.FSYNC, "fsync", 0, 0, 0, 0);
export const fdatasync = (file: OpenFile): Promise<void> =>
  onFile(file, Opcode.FSYNC, "fdatasync", 0, 0, 0, FSYNC_DATASYNC);
export const ftruncate = (file: OpenFile, length: number): Promise<void> =>
  onFile(file, Opcode.FTRUNCATE, "ftruncate", length, 0, 0, 0);

/** Never waits; on a network file system it may ask the server. */
export function flock(file: OpenFile, operation: number): number {
  return flockBy(thread().native, file, operation);
}
