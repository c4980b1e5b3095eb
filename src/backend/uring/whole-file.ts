// Whole small files in one chain each (DESIGN D8). Reading: OPENAT into a direct descriptor, READ, READ for the end, then
// CLOSE; writing: OPENAT, WRITE, FSYNC if asked, CLOSE. What does not fit the chain goes on in backend/uring/large-file.ts.
// A chain never closes before the end of the file is seen: a FIFO or a /proc file gives its data in parts.

import { constants } from "../../kernel/constants.ts";
import { Opcode, SqeFlag } from "../../kernel/sqe.ts";
import { abortable } from "../../node/abort.ts";
import { dataTaken } from "../../node/arguments.ts";
import { abortError, systemError } from "../../node/errors.ts";
import { isAborted } from "../../node/signal.ts";
import { byteLengthOf, bytesOf, isResizable } from "../../node/views.ts";
import type { RingThread } from "../../ring/context.ts";
import { holdLeased } from "../../ring/lease.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { LANE_BYTES } from "../../ring/read-buffer.ts";
import { CELL_HALF, putPath, stableAddress } from "../../ring/scratch.ts";
import { OpenFile, type Path, type ReadFileOptions, type WriteFileOptions } from "../interface.ts";
import { close } from "./close.ts";
import { readAll, readRest, writeRest } from "./large-file.ts";
import {
  type Chain,
  finishChain,
  newChain,
  settleChain,
  stageClose,
  stageLink,
  stageOpen,
  startChain,
} from "./linked.ts";
import { open } from "./path.ts";
import { EAGAIN, ECANCELED, EINTR, honest, puntFlag, thread } from "./request.ts";

const EINPROGRESS = -115;
/** Flags with which a file can be read by plain calls: nothing is created, changed or waited for. */
const CACHED_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NOATIME | constants.O_NONBLOCK;
/** What copying costs, for the budget of inline calls. */
const BYTES_PER_US = 8192;
/** However large the budget was made: the native call's lengths have 32 bits, and strings have a limit. */
const INLINE_MAX_BYTES = 64 * 1024 * 1024;
/** Where files are on average larger than this, the chain's fixed pieces are the wrong way to read them. */
const LARGE_BYTES = 32 * 1024;
/** Data up to this length is written by one chain. */
const CHAIN_WRITE_BYTES = 512 * 1024;
/** Data up to this length may be written by the helper, which does one thing after another. */
const HELPER_WRITE_BYTES = 64 * 1024;
/** OPENAT, READ, READ for the end. */
const READ_LINKS = 3;
/** `off` of an SQE: the file's own position. */
const OWN_POSITION = -1;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/** Reads a whole file. Resolves to a Buffer, or a string where an encoding is given. */
export function readFile(path: Path, flags: number, options: ReadFileOptions): Promise<Buffer | string> {
  if (isAborted(options.signal)) return Promise.reject(abortError(options.signal));
  const t = thread();
  const known = options.encoding;
  const encoding = known == null || known === "buffer" ? null : known;
  const answer = readCached(t, path, flags, encoding, options.signal ?? null);
  if (answer !== null) return answer;
  if (!mayStayOpen(t, flags)) return readByDescriptor(t, path, flags, encoding, options.signal ?? null);
  const operation = t.ring.acquire(finishRead, READ_LINKS);
  const chain = newChain(t, path, flags, 0o666, options.signal);
  chain.encoding = encoding;
  const promise = promiseFor(operation);
  startChain(operation, chain, stageRead);
  return promise;
}

/** Whether the chain's direct descriptor does no harm if the kernel closes it a little later. */
function mayStayOpen({ direct }: RingThread, flags: number): boolean {
  return (flags & (constants.O_WRONLY | constants.O_RDWR)) === 0 ? direct.forReading() : direct.forWriting;
}

/**
 * Reads a file that is in the caches by plain calls that can't block: open, fstat, read and close in one native call.
 * Measured: a fifth faster than the chain for one small file at a time; of many in one turn the chain is the faster by a
 * quarter, so only one that is alone goes this way, or every one while files are too large for the chain: their size is known
 * before anything is copied. null: not so, use the ring.
 */
function readCached(
  t: RingThread,
  path: Path,
  flags: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> | null {
  if ((flags & ~CACHED_FLAGS) !== 0 || (t.mounts.any && t.mounts.holdsPath(path))) return null;
  const { lanes, placement } = t;
  if (!t.placement.isAlone() && lanes.expected < LARGE_BYTES) return null;
  if (!placement.mayCall(3 + Math.min(lanes.expected, LANE_BYTES) / BYTES_PER_US)) return null;
  const cell = t.cells.take();
  const lane = lanes.take();
  const address = putPath(cell, 0, path);
  const opened = cell.address + CELL_HALF;
  const res = address < 0 ? EAGAIN : t.native.readCached(address, flags, lane.address, LANE_BYTES, opened);
  const result = res < 0 ? null : lanes.result(lane, res, encoding);
  lanes.give(lane);
  t.cells.give(cell);
  if (result !== null) return Promise.resolve(result);
  if (res === EAGAIN) return null;
  if (res !== EINPROGRESS) return Promise.reject(systemError(res, "open", path));
  const at = cell.halfWord;
  const { words } = cell;
  const regular = (words[at + 1]! & constants.S_IFMT) === constants.S_IFREG;
  const size = regular ? words[at + 3]! * 2 ** 32 + words[at + 2]! : 0;
  const fd = words[at]!;
  lanes.learn(size);
  return readLarger(t, fd, size, encoding) ?? readOpened(t, new OpenFile(fd), size, encoding, signal);
}

/** A file that does not fit a lane, if it is in the page cache and copying it here does not take too long; else null. */
function readLarger(
  t: RingThread,
  fd: number,
  size: number,
  encoding: BufferEncoding | null,
): Promise<Buffer | string> | null {
  if (size < LANE_BYTES || size > Math.min(t.placement.inlineBytes, INLINE_MAX_BYTES)) return null;
  if (!t.placement.mayCall(size / BYTES_PER_US)) return null;
  let bytes: Buffer;
  try {
    bytes = Buffer.allocUnsafeSlow(size);
  } catch {
    return null; // who reads it the long way closes it when that fails, too
  }
  if (t.native.readOpened(fd, bytes, size) < size) return null;
  return Promise.resolve(encoding === null ? bytes : bytes.toString(encoding));
}

/** Reads a file that is open already through the ring, and closes it. An abort rejects at once. */
function readOpened(
  t: RingThread,
  file: OpenFile,
  size: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const content = closing(file, readAll(t, { fd: file.fd, sqeFlag: 0 }, size, encoding, signal));
  return signal === null ? content : abortable(content, signal);
}

async function closing<T>(file: OpenFile, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } finally {
    await close(file);
  }
}

/** For a ring without a table of direct descriptors, or whose direct descriptors would stay open too long. */
async function readByDescriptor(
  t: RingThread,
  path: Path,
  flags: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  return readOpened(t, (await open(path, flags, 0o666)) as OpenFile, 0, encoding, signal);
}

function stageRead(operation: Operation, chain: Chain): void {
  const { t, slot } = chain;
  chain.lane ??= t.lanes.take();
  operation.pending = READ_LINKS;
  stageOpen(operation, chain, SqeFlag.IO_LINK);
  const flags = SqeFlag.FIXED_FILE | t.placement.transfer(t.lanes.expected);
  const { address } = chain.lane;
  stageLink(t, operation, 1, Opcode.READ, flags | SqeFlag.IO_HARDLINK, slot, OWN_POSITION, address, LANE_BYTES, 0);
  stageLink(t, operation, 2, Opcode.READ, flags, slot, OWN_POSITION, address + LANE_BYTES, LANE_BYTES, 0);
}

function finishRead(operation: Operation, res: number, _flags: number, link: number): void {
  const chain = operation.state as Chain;
  if (link === 0) chain.opened = res;
  else if (link === 1) chain.first = res;
  else chain.second = res;
  if (operation.pending > 0) return;
  if (chain.opened < 0) return notOpened(operation, chain, stageRead);
  const { first, second } = chain;
  if (chain.error === null && (second > 0 || again(first) || again(second)))
    return void goOnReading(operation, chain, Math.max(0, first), Math.max(0, second));
  if (first < 0 || second < 0) chain.error ??= systemError(honest(first < 0 ? first : second), "read");
  else if (chain.error === null) chain.result = chain.t.lanes.result(chain.lane!, first, chain.encoding);
  finishChain(operation, chain);
}

/** OPENAT has failed, and with it the chain. */
function notOpened(operation: Operation, chain: Chain, stageLinks: (operation: Operation, chain: Chain) => void): void {
  if (chain.opened === EINTR && chain.error === null) return stageLinks(operation, chain);
  chain.error ??= systemError(honest(chain.opened), "open", operation.path);
  settleChain(operation, chain);
}

const again = (res: number): boolean => res === EINTR || res === EAGAIN;

async function goOnReading(operation: Operation, chain: Chain, first: number, second: number): Promise<void> {
  // The slot stays taken while no CQE is owed: this operation is kept out of the table's reach by its state alone.
  const { t, lane, slot, encoding, signal } = chain;
  t.lanes.learn(first + second);
  try {
    chain.result = await readRest(
      t,
      { fd: slot, sqeFlag: SqeFlag.FIXED_FILE },
      operation.path!,
      lane!,
      first,
      second,
      encoding,
      signal,
    );
  } catch (error) {
    chain.error ??= error as Error;
  }
  finishChain(operation, chain);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/** Writes a whole file: open with `flags` and `mode`, every byte of `data`, fsync if `flush`, close. */
export function writeFile(
  path: Path,
  data: ArrayBufferView,
  flags: number,
  mode: number,
  options: WriteFileOptions,
): Promise<void> {
  if (isAborted(options.signal)) return Promise.reject(abortError(options.signal));
  const t = thread();
  if (!t.direct.forWriting) return writeByDescriptor(t, path, data, flags, mode, options);
  const operation = t.ring.acquire(finishWrite, 1);
  const chain = newChain(t, path, flags, mode, options.signal);
  chain.data = bytesOf(data);
  chain.flush = options.flush === true;
  if (options.landed) chain.landed = options.landed;
  operation.view = data;
  operation.byteLength = byteLengthOf(data);
  operation.lease = holdLeased(data);
  const promise = promiseFor(operation);
  startChain(operation, chain, stageWrite);
  return promise;
}

/** For a ring without a table of direct descriptors, or whose direct descriptors would stay open too long. */
async function writeByDescriptor(
  t: RingThread,
  path: Path,
  view: ArrayBufferView,
  flags: number,
  mode: number,
  options: WriteFileOptions,
): Promise<void> {
  const data = bytesOf(view);
  const lease = holdLeased(view);
  const { flush = false, signal = null, landed } = options;
  try {
    const file = (await open(path, flags, mode)) as OpenFile;
    await closing(file, writeRest(t, { fd: file.fd, sqeFlag: 0 }, data, 0, flush, signal, landed));
  } finally {
    lease?.done();
  }
}

function stageWrite(operation: Operation, chain: Chain): void {
  const { t, slot, flush } = chain;
  const data = chain.data!;
  const { length } = data;
  if (length !== operation.byteLength) throw dataTaken(); // while it waited for its slot, or for another try
  // Creating a file always goes to io-wq: no attempt here that is bound to fail.
  const whole = length <= CHAIN_WRITE_BYTES && !isResizable(data);
  if (!whole) {
    operation.pending = 1;
    return stageOpen(operation, chain, SqeFlag.ASYNC);
  }
  operation.pending = 2 + (length > 0 ? 1 : 0) + (flush ? 1 : 0);
  const helper = length <= HELPER_WRITE_BYTES && !flush ? puntFlag(t, chain.path) & SqeFlag.HELPER : 0;
  stageOpen(operation, chain, SqeFlag.IO_LINK | SqeFlag.ASYNC | helper);
  const linked = SqeFlag.FIXED_FILE | SqeFlag.IO_LINK;
  // IO_LINK, not HARDLINK: a short write breaks the chain, and the rest is written before anything is synced or closed.
  if (length > 0) stageLink(t, operation, 1, Opcode.WRITE, linked, slot, 0, stableAddress(data, 0), length, 0);
  if (flush) stageLink(t, operation, 2, Opcode.FSYNC, linked, slot, 0, 0, 0, 0);
  stageClose(operation, chain, 3);
}

function finishWrite(operation: Operation, res: number, _flags: number, link: number): void {
  const chain = operation.state as Chain;
  if (link === 0) chain.opened = res;
  else if (link === 1) chain.first = res;
  else if (link === 2) chain.second = res;
  else chain.closed = res;
  if (operation.pending > 0) return;
  if (chain.opened < 0) return notOpened(operation, chain, restageWrite);
  chain.landed.bytes = Math.max(0, chain.first);
  if (byteLengthOf(operation.view!) !== operation.byteLength) chain.error ??= dataTaken();
  // The kernel does not cancel what is linked to a failed FSYNC: the CLOSE has run, the data may be lost all the same.
  if (chain.second < 0 && chain.second !== ECANCELED) chain.error ??= systemError(chain.second, "fsync");
  if (chain.closed === 0) return settleChain(operation, chain);
  // The chain broke, or was too long for one: the file is open, `first` says how much is written.
  void goOnWriting(operation, chain);
}

/** As stageWrite, from where an error can only be the operation's. */
function restageWrite(operation: Operation, chain: Chain): void {
  try {
    stageWrite(operation, chain);
  } catch (error) {
    chain.error = error as Error;
    settleChain(operation, chain);
  }
}

async function goOnWriting(operation: Operation, chain: Chain): Promise<void> {
  const { t, slot, first, data, signal } = chain;
  const written = Math.max(0, first);
  try {
    if (chain.error !== null) throw chain.error;
    if (first < 0 && !again(first) && first !== ECANCELED) throw systemError(first, "write");
    if (chain.second < 0 && chain.second !== ECANCELED) throw systemError(chain.second, "fsync");
    if (chain.closed < 0 && chain.closed !== ECANCELED) throw systemError(chain.closed, "close");
    await writeRest(t, { fd: slot, sqeFlag: SqeFlag.FIXED_FILE }, data!, written, chain.flush, signal, chain.landed);
  } catch (error) {
    chain.error ??= error as Error;
  }
  finishChain(operation, chain);
}
