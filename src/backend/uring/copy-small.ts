// A small file copied by one chain on one direct descriptor: OPENAT the source, READ, OPENAT the target into the same slot
// (which closes the source), WRITE, CLOSE. Cached sources are opened and read inside the submit; only creating the target
// and writing to it go to io-wq (measured: ASYNC from the start takes a fifth longer, each link comes back to this thread).
// For local file systems: whoever calls has asked `onRemote`.
// What breaks a chain is not explained here: the caller copies again the long way, and that says what is wrong.

import { AT_FDCWD, Opcode, SqeFlag, setFileIndex, writeSqe } from "../../kernel/sqe.ts";
import type { RingThread } from "../../ring/context.ts";
import { LINK_SHIFT, type Operation, promiseFor } from "../../ring/operation.ts";
import { LANE_BYTES, type Lane } from "../../ring/read-buffer.ts";
import { CELL_HALF } from "../../ring/scratch.ts";
import type { OpenFile, Path } from "../interface.ts";
import { begin, EINTR, end, MAX_RETRIES, pathAddress, stage, thread } from "./request.ts";

/** Files up to this size go through a chain: what a lane holds. */
export const SMALL_FILE_BYTES: number = 2 * LANE_BYTES;

/** What became of a chain. */
export const Outcome = { copied: 0, untouched: 1, incomplete: 2 } as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

const [OPEN_SOURCE, READ, OPEN_TARGET, WRITE, CLOSE] = [0, 1, 2, 3, 4];
const { IO_LINK, IO_HARDLINK, FIXED_FILE } = SqeFlag;
const O_RDONLY = 0;
const ECANCELED = -125;

/** Whether either path leads to a file system whose answers may be long in coming. */
export function onRemote(source: Path, dest: Path): boolean {
  const { mounts } = thread();
  return mounts.any && (mounts.holdsPath(source) || mounts.holdsPath(dest));
}

/** Reserves blocks for a target that will be filled to `length` (which it then has): halves the cost of writing to it. */
export function preallocate(file: OpenFile, length: number): Promise<boolean> {
  const t = thread();
  const operation = begin(t, finishPreallocate, "fallocate", file);
  stage(t, operation, Opcode.FALLOCATE, 0, file.fd, 0, length, 0, 0); // fallocate(2)'s len is in addr, its mode in len
  return promiseFor(operation);
}

function finishPreallocate(operation: Operation, res: number): void {
  const { resolve } = operation;
  end(operation);
  resolve(res >= 0);
}

interface Chain {
  t: RingThread;
  slot: number;
  lane: Lane;
  size: number;
  sourceOpened: number;
  read: number;
  targetOpened: number;
  written: number;
  closed: number;
  /** Memory that must live until the last CQE. */
  secondPath: Buffer | null;
}

function stageLink(
  operation: Operation,
  link: number,
  opcode: number,
  flags: number,
  fd: number,
  address: number,
  length: number,
  opFlags: number,
): number {
  const { ring } = (operation.state as Chain).t;
  const i = ring.next();
  const slot = operation.slot | (link << LINK_SHIFT);
  writeSqe(ring.words, i, opcode, flags, fd, 0, address, length, opFlags, slot, operation.generation);
  return i;
}

/**
 * Copies `size` bytes (at most SMALL_FILE_BYTES) of a regular file into `dest`, opened with `flags` and `mode`. Resolves to
 * `untouched` if the target was not opened, `incomplete` if it was but does not hold all.
 */
export function copySmall(source: Path, dest: Path, size: number, flags: number, mode: number): Promise<Outcome> {
  const t = thread();
  if (!t.direct.forWriting) return Promise.resolve(Outcome.untouched);
  const operation = t.ring.acquire(finish, size > 0 ? 5 : 4);
  const promise = promiseFor(operation);
  t.direct.take((slot) => start(t, operation, slot, source, dest, size, flags, mode));
  return promise;
}

function start(
  t: RingThread,
  operation: Operation,
  slot: number,
  source: Path,
  dest: Path,
  size: number,
  flags: number,
  mode: number,
): void {
  const lane = t.lanes.take();
  const cell = t.cells.takeForPath();
  operation.cell = cell;
  const from = pathAddress(operation, cell, 0, source);
  const to = pathAddress(operation, cell, CELL_HALF, dest);
  const secondPath = operation.state as Buffer | null; // of two long ones
  operation.state = {
    t,
    slot,
    lane,
    size,
    sourceOpened: -1,
    read: -1,
    targetOpened: -1,
    written: 0,
    closed: -1,
    secondPath,
  } satisfies Chain;
  const { ring } = t;
  const i = stageLink(operation, OPEN_SOURCE, Opcode.OPENAT, IO_LINK, AT_FDCWD, from, 0, O_RDONLY);
  setFileIndex(ring.words, i, slot);
  // A file without a size (/proc) is read to see that it is empty: that read is short, and must not break the chain.
  const readFlags = FIXED_FILE | (size > 0 ? IO_LINK : IO_HARDLINK) | t.placement.transfer(size);
  stageLink(operation, READ, Opcode.READ, readFlags, slot, lane.address, size > 0 ? size : LANE_BYTES, 0);
  const j = stageLink(operation, OPEN_TARGET, Opcode.OPENAT, IO_LINK, AT_FDCWD, to, mode, flags);
  setFileIndex(ring.words, j, slot);
  if (size > 0) stageLink(operation, WRITE, Opcode.WRITE, FIXED_FILE | IO_LINK, slot, lane.address, size, 0);
  const k = stageLink(operation, CLOSE, Opcode.CLOSE, 0, 0, 0, 0, 0);
  setFileIndex(ring.words, k, slot);
}

function finish(operation: Operation, res: number, _flags: number, link: number): void {
  const chain = operation.state as Chain;
  if (link === OPEN_SOURCE) chain.sourceOpened = res;
  else if (link === READ) chain.read = res;
  else if (link === OPEN_TARGET) chain.targetOpened = res;
  else if (link === WRITE) chain.written = res;
  else chain.closed = res;
  if (operation.pending > 0) return;
  if (chain.closed >= 0 || chain.sourceOpened < 0) return settle(operation, chain);
  closeLate(operation, chain);
}

/** The chain broke with a file in the slot. */
function closeLate(operation: Operation, chain: Chain): void {
  operation.pending = 1;
  operation.finish = closedLate;
  const i = stageLink(operation, CLOSE, Opcode.CLOSE, 0, 0, 0, 0, 0);
  setFileIndex(chain.t.ring.words, i, chain.slot);
}

function closedLate(operation: Operation, res: number): void {
  const chain = operation.state as Chain;
  if (res === ECANCELED && operation.retries++ < MAX_RETRIES)
    closeLate(operation, chain); // never begun
  else settle(operation, chain);
}

function settle(operation: Operation, chain: Chain): void {
  const { resolve } = operation;
  const { t, size, read, targetOpened, written, closed } = chain;
  end(operation);
  t.lanes.give(chain.lane);
  t.direct.give(chain.slot);
  if (read === size && written === size && targetOpened >= 0 && (closed >= 0 || closed === EINTR))
    resolve(Outcome.copied);
  else resolve(targetOpened >= 0 ? Outcome.incomplete : Outcome.untouched);
}
