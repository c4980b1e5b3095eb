// Durable writes: WRITE and FDATASYNC as one chain, so that neither the event loop nor anybody else comes between them.
// A short write breaks the chain before the sync; then the whole chain starts again for the rest. Nothing is ever linked
// to the sync: the kernel would run it even after a sync that failed (DEAF in kernel/sqe.ts).

import { stableAddress } from "../../kernel/address.ts";
import { FSYNC_DATASYNC } from "../../kernel/constants.ts";
import { Opcode, SqeFlag } from "../../kernel/sqe.ts";
import type { Written } from "../../node/abort.ts";
import { dataTaken } from "../../node/arguments.ts";
import { EAGAIN, ECANCELED, EINTR, EOPNOTSUPP, ESPIPE } from "../../node/errno.ts";
import { closedError, errnoOf, systemError } from "../../node/errors.ts";
import { lateRejection } from "../../node/late-error.ts";
import { done, inSteps, type Steps } from "../../node/steps.ts";
import { isResizable } from "../../node/views.ts";
import { HeldViews } from "../../ring/lease.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { MAX_TRANSFER, putVector } from "../../ring/scratch.ts";
import type { OpenFile } from "../interface.ts";
import { MAX_VECTOR } from "../loops.ts";
import { fdatasync, isSeekable, setPosition, settlePosition } from "./read-write.ts";
import { begin, end, honest, MAX_RETRIES, stageLink, thread } from "./request.ts";

/** What one chain has done: results of the write and, if it was linked, of the sync. */
interface Outcome {
  written: number;
  synced: number;
  cancelled: boolean;
}

/** Backend.writeSynced through the ring. The caller keeps the file open until it has settled. */
export function writeSynced(
  file: OpenFile,
  buffers: readonly Uint8Array[],
  position: number,
  progress: Written,
): Promise<void> {
  return inSteps(function* (): Steps<void> {
    if (file.fd < 0) throw closedError("write");
    if (!file.seekable && !isSeekable(file) && position !== -1) throw systemError(ESPIPE, "write");
    const start = progress.bytesWritten;
    // What can be resized under the kernel's hands is written from a copy.
    let rest = buffers.map((view) => (isResizable(view) ? Buffer.from(view) : view)).filter((view) => view.length > 0);
    let left = lengthOf(rest);
    let retries = 0;
    let synced = ECANCELED;
    while (left > 0) {
      if (lengthOf(rest) !== left) throw dataTaken(); // between two chains
      const part = firstPart(rest);
      const total = lengthOf(part);
      const at = position < 0 ? -1 : position + progress.bytesWritten - start;
      const outcome = yield* done(runChain(file, part, at, part.length === rest.length, retries > 0));
      const written = honest(outcome.written);
      if (written < 0) {
        const passes = written === EINTR || (written === EAGAIN && ++retries < MAX_RETRIES);
        const refused = written === EOPNOTSUPP && file.rwFlags !== 0; // writes of one file follow one another here
        if (refused) file.rwFlags = 0;
        if ((passes || refused) && !outcome.cancelled) continue;
        throw systemError(written, "write");
      }
      if (written === 0) throw systemError(errnoOf("ENOSPC"), "write"); // what takes nothing and says nothing never will
      progress.bytesWritten += written;
      left -= written;
      rest = withoutFirst(rest, written);
      if (written === total) synced = outcome.synced;
    }
    // Not begun, for want of a thread, or interrupted: on its own, then.
    if (synced === ECANCELED || synced === EINTR) return yield* done(fdatasync(file));
    if (synced < 0) throw systemError(synced, "fdatasync");
  });
}

function lengthOf(views: readonly Uint8Array[]): number {
  return views.reduce((sum, view) => sum + view.length, 0);
}

/** As many buffers as one write takes. */
function firstPart(buffers: readonly Uint8Array[]): readonly Uint8Array[] {
  if (buffers[0]!.length > MAX_TRANSFER) return [buffers[0]!.subarray(0, MAX_TRANSFER)];
  let total = 0;
  let count = 0;
  for (const view of buffers) {
    total += view.length;
    if (count === MAX_VECTOR || total > MAX_TRANSFER) break;
    count++;
  }
  return count === buffers.length ? buffers : buffers.slice(0, count);
}

function withoutFirst(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let skip = count;
  const left: Uint8Array[] = [];
  for (const view of buffers) {
    if (skip < view.length) left.push(skip === 0 ? view : view.subarray(skip));
    skip = Math.max(0, skip - view.length);
  }
  return left;
}

/** One write of all `views`, with a linked sync if it is the last. */
function runChain(
  file: OpenFile,
  views: readonly Uint8Array[],
  position: number,
  isLast: boolean,
  mayWait: boolean,
): Promise<Outcome> {
  const t = thread();
  const cell = views.length > 1 ? t.cells.acquire() : null;
  const operation = begin(t, finish, "write", file);
  operation.fd = file.fd;
  operation.cell = cell;
  operation.lease = new HeldViews(views);
  operation.state = { written: 0, synced: ECANCELED, cancelled: false } satisfies Outcome;
  setPosition(operation, position, lengthOf(views));
  const at = operation.position as number;
  const vector = cell === null ? null : putVector(cell, views);
  operation.memory = vector?.memory ?? null;
  const address = vector === null ? stableAddress(views[0]!, 0) : vector.address;
  const opcode = vector === null ? Opcode.WRITE : Opcode.WRITEV;
  const length = vector === null ? views[0]!.length : views.length;
  operation.pending = isLast ? 2 : 1;
  operation.isSync = isLast;
  const flags = sqeFlags(file, mayWait) | (isLast ? SqeFlag.IO_LINK : 0);
  // Both in one go: nothing may come between linked SQEs.
  stageLink(t, operation, 0, opcode, flags, file.fd, at, address, length, file.rwFlags);
  if (isLast) stageLink(t, operation, 1, Opcode.FSYNC, 0, file.fd, 0, 0, 0, FSYNC_DATASYNC);
  return promiseFor(operation);
}

/** Buffered writes and syncs go to io-wq anyway (docs/architecture.md D7): sent there at once, one thread runs both. */
function sqeFlags(file: OpenFile, mayWait: boolean): number {
  return mayWait || file.remote || !file.direct ? SqeFlag.ASYNC : 0;
}

function finish(operation: Operation, res: number, _flags: number, link: number): void {
  const outcome = operation.state as Outcome;
  if (link === 0) outcome.written = res;
  else outcome.synced = res;
  if (operation.pending > 0) return;
  const { resolve, lease } = operation;
  outcome.cancelled = operation.cancelled;
  settlePosition(operation, outcome.written);
  const { intact } = lease as HeldViews;
  end(operation);
  resolve(intact ? outcome : lateRejection(dataTaken));
}
