// Reads into and writes from several buffers at once. Those of a file that may wait long (a pipe, a file server), and those that may be resized, go through
// one buffer of the ring's own memory, as plain transfers do; the others by iovecs, in the operation's cell where they fit.

import { readvSync, writevSync } from "node:fs";
import { gather, scatter } from "../../kernel/copy.ts";
import { Opcode, SqeFlag, setOffset } from "../../kernel/sqe.ts";
import { bufferTaken } from "../../node/arguments.ts";
import { EFAULT, ESPIPE } from "../../node/errno.ts";
import { closedError, systemError } from "../../node/errors.ts";
import { byteLengthOf, bytesOf, isDetached, isResizable, totalLength } from "../../node/views.ts";
import { HeldViews } from "../../ring/lease.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { putVector } from "../../ring/scratch.ts";
import type { OpenFile, ReadvResult, WritevResult } from "../interface.ts";
import { atOnce, neverWaits } from "./non-blocking.ts";
import { COPIED_WAIT_BYTES, failTransfer, isSeekable, memoryTaken, setPosition, settlePosition } from "./read-write.ts";
import { begin, end, fail, isTransferToRepeat, retryFlag, stage, thread } from "./request.ts";

/** State of a vectored operation: what its result names, and the views. */
interface Vector {
  given: unknown;
  views: readonly ArrayBufferView[];
  held: HeldViews;
  opcode: number;
  address: number;
  total: number;
}

function finishVector(operation: Operation, res: number): void {
  const { views, held, opcode, given: buffers } = operation.state as Vector;
  const repeat = res < 0 && isTransferToRepeat(operation, res);
  if (res < 0 && !repeat) return failTransfer(operation, res);
  // What was written is what a stand-in held, whatever became of the views.
  const isOurs = operation.standIn !== null && opcode === Opcode.WRITEV;
  if (!isOurs && !held.intact) return memoryTaken(operation);
  if (repeat) return stageVector(operation);
  settlePosition(operation, res);
  const { resolve, standIn } = operation;
  try {
    if (standIn !== null && opcode === Opcode.READV) scatter(standIn.bytes.subarray(0, res), views);
  } catch {
    return fail(operation, EFAULT);
  }
  end(operation);
  resolve(opcode === Opcode.READV ? { bytesRead: res, buffers } : { bytesWritten: res, buffers });
}

function stageVector(operation: Operation): void {
  const t = thread();
  const file = operation.owner as OpenFile;
  const vector = operation.state as Vector;
  const flags = file.remote
    ? SqeFlag.ASYNC
    : retryFlag(operation) | (file.direct ? 0 : t.placement.transfer(vector.total));
  const { fd, position, standIn } = operation;
  const at = typeof position === "number" ? position : 0;
  const opcode = standIn === null ? vector.opcode : vector.opcode === Opcode.READV ? Opcode.READ : Opcode.WRITE;
  const length = standIn === null ? vector.views.length : vector.total;
  const i = stage(t, operation, opcode, flags, fd, at, vector.address, length, file.rwFlags);
  if (typeof position === "bigint") setOffset(t.ring.words, i, position);
}

function vectored(
  file: OpenFile,
  opcode: number,
  syscall: string,
  views: readonly ArrayBufferView[],
  position: number | bigint,
  given: unknown,
): Promise<any> {
  if (file.fd < 0) return Promise.reject(closedError(syscall));
  if (!file.seekable && !isSeekable(file) && position !== -1) return Promise.reject(systemError(ESPIPE, syscall));
  if (neverWaits(file)) return vectoredAtOnce(file, opcode, syscall, views, given);
  const t = thread();
  const total = totalLength(views);
  // While it waited for its turn a view may have been taken away, and has no address any more.
  if (views.some((view) => byteLengthOf(view) === 0 && isDetached(view))) return Promise.reject(bufferTaken(syscall));
  const mayWait = (!file.seekable || file.remote) && total <= COPIED_WAIT_BYTES;
  // Both may throw: before the operation begins.
  const standIn = mayWait || views.some(isResizable) ? t.memory.acquire(Math.max(4096, total)) : null;
  const cell = standIn === null ? t.cells.acquire() : null;
  try {
    if (standIn !== null && opcode === Opcode.WRITEV) gather(standIn.bytes, views);
  } catch (error) {
    standIn!.release();
    return Promise.reject(error);
  }
  const operation = begin(t, finishVector, syscall, file);
  operation.standIn = standIn;
  operation.cell = cell;
  const vector = cell === null ? null : putVector(cell, views);
  operation.memory = vector?.memory ?? null;
  operation.fd = file.fd;
  setPosition(operation, position, total);
  const held = new HeldViews(views);
  operation.lease = held;
  const address = vector === null ? standIn!.address : vector.address;
  operation.state = { given, views, held, opcode, address, total } satisfies Vector;
  stageVector(operation);
  return promiseFor(operation);
}

function vectoredAtOnce(
  file: OpenFile,
  opcode: number,
  syscall: string,
  views: readonly ArrayBufferView[],
  buffers: unknown,
): Promise<any> {
  const all = views.map(bytesOf);
  return atOnce(syscall, () =>
    opcode === Opcode.READV
      ? { bytesRead: readvSync(file.fd, all), buffers }
      : { bytesWritten: writevSync(file.fd, all), buffers },
  );
}

export function readv<T = readonly ArrayBufferView[]>(
  file: OpenFile,
  views: readonly ArrayBufferView[],
  position: number | bigint,
  given: T = views as T,
): Promise<ReadvResult<T>> {
  return vectored(file, Opcode.READV, "read", views, position, given);
}

export function writev<T = readonly ArrayBufferView[]>(
  file: OpenFile,
  views: readonly ArrayBufferView[],
  position: number | bigint,
  given: T = views as T,
): Promise<WritevResult<T>> {
  return vectored(file, Opcode.WRITEV, "write", views, position, given);
}
