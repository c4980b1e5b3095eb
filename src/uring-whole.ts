// Whole small files in one chain each (DESIGN D8). Reading: OPENAT into a direct descriptor, READ, READ for the end, then
// CLOSE; writing: OPENAT, WRITE, FSYNC if asked, CLOSE. What does not fit the chain goes on in uring-large.ts.
// A chain never closes before the end of the file is seen: a FIFO or a /proc file gives its data in parts.

import { OpenFile, type Path, type ReadFileOptions, type WriteFileOptions } from "./backend-interface.ts";
import { CELL_HALF, putPath, stableAddress } from "./buffer.ts";
import { constants } from "./constants.ts";
import { abortError, systemError } from "./errno.ts";
import { LANE_BYTES, type Lane } from "./lane.ts";
import { holdLeased } from "./lease.ts";
import { LINK_SHIFT, type Operation, promiseFor } from "./operation.ts";
import { AT_FDCWD, Opcode, SqeFlag, setFileIndex, writeSqe } from "./sqe.ts";
import type { RingThread } from "./thread.ts";
import { close } from "./uring-file.ts";
import { readAll, readRest, writeRest } from "./uring-large.ts";
import { cancel, EAGAIN, EINTR, end, pathAddress, pathFlag, thread } from "./uring-operation.ts";

const ECANCELED = -125;
const EINPROGRESS = -115;
/** Flags with which a file can be read by plain calls: nothing is created, changed or waited for. */
const CACHED_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NOATIME | constants.O_NONBLOCK;
/** What copying costs, for the budget of inline calls. */
const BYTES_PER_US = 8192;
/** Data up to this length is written by one chain. */
const CHAIN_WRITE_BYTES = 512 * 1024;
/** `off` of an SQE: the file's own position. */
const OWN_POSITION = -1;

/** What a chain keeps between its CQEs. */
interface Chain {
  t: RingThread;
  slot: number;
  lane: Lane | null;
  encoding: BufferEncoding | null;
  opened: number;
  /** Results of the first and second READ, or of WRITE and FSYNC. */
  first: number;
  second: number;
  result: Buffer | string | undefined;
  error: Error | null;
  data: Uint8Array | null;
  flush: boolean;
  signal: AbortSignal | null;
  onAbort: (() => void) | null;
}

function newChain(t: RingThread, slot: number, signal: AbortSignal | null | undefined): Chain {
  return {
    t,
    slot,
    lane: null,
    encoding: null,
    opened: 0,
    first: 0,
    second: 0,
    result: undefined,
    error: null,
    data: null,
    flush: false,
    signal: signal ?? null,
    onAbort: null,
  };
}

/** Stages link number `link` of the operation's chain. Returns its first word. */
function stageLink(
  t: RingThread,
  operation: Operation,
  link: number,
  opcode: number,
  flags: number,
  fd: number,
  offset: number,
  address: number,
  length: number,
  opFlags: number,
): number {
  const i = t.ring.next();
  if ((flags & SqeFlag.ASYNC) !== 0) t.ring.asyncForced++;
  const slot = operation.slot | (link << LINK_SHIFT);
  writeSqe(t.ring.words, i, opcode, flags, fd, offset, address, length, opFlags, slot, operation.generation);
  return i;
}

function stageOpen(
  operation: Operation,
  chain: Chain,
  path: Path,
  flags: number,
  mode: number,
  sqeFlags: number,
): void {
  const { t } = chain;
  operation.path = path;
  const cell = t.cells.take();
  operation.cell = cell;
  const address = pathAddress(operation, cell, 0, path);
  const i = stageLink(t, operation, 0, Opcode.OPENAT, sqeFlags | pathFlag(t, path), AT_FDCWD, 0, address, mode, flags);
  setFileIndex(t.ring.words, i, chain.slot);
}

/** Ends the chain: closes the slot first if a file is in it, settles when that CQE has come. */
function finishChain(operation: Operation, chain: Chain): void {
  if (chain.lane !== null) chain.t.lanes.give(chain.lane);
  chain.lane = null;
  if (chain.opened < 0) return settleChain(operation, chain);
  operation.pending = 1;
  operation.finish = closed;
  const i = stageLink(chain.t, operation, 0, Opcode.CLOSE, 0, 0, 0, 0, 0, 0);
  setFileIndex(chain.t.ring.words, i, chain.slot);
}

function closed(operation: Operation, res: number): void {
  const chain = operation.state as Chain;
  if (res < 0 && res !== EINTR) chain.error ??= systemError(res, "close");
  settleChain(operation, chain);
}

function settleChain(operation: Operation, chain: Chain): void {
  const { resolve, reject } = operation;
  if (chain.onAbort !== null) chain.signal!.removeEventListener("abort", chain.onAbort);
  end(operation);
  chain.t.direct.give(chain.slot);
  if (chain.error !== null) reject(chain.error);
  else resolve(chain.result);
}

/** Rejects at once when the signal fires; the chain itself ends when the kernel gives it back. */
function watchSignal(operation: Operation, chain: Chain): void {
  if (chain.signal === null) return;
  chain.onAbort = () => {
    const error = abortError(chain.signal!);
    chain.error = error;
    operation.reject(error);
    cancel(chain.t, operation, 4);
  };
  chain.signal.addEventListener("abort", chain.onAbort, { once: true });
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/** Reads a whole file. Resolves to a Buffer, or a string where an encoding is given. */
export function readFile(path: Path, flags: number, options: ReadFileOptions): Promise<Buffer | string> {
  if (options.signal?.aborted) return Promise.reject(abortError(options.signal));
  const t = thread();
  const known = options.encoding;
  const encoding = known == null || known === "buffer" ? null : known;
  const answer = readCached(t, path, flags, encoding, options.signal ?? null);
  if (answer !== null) return answer;
  const operation = t.ring.acquire(finishRead, 3);
  operation.syscall = "open";
  const promise = promiseFor(operation);
  const slot = t.direct.tryTake();
  if (slot >= 0) startRead(t, operation, slot, path, flags, encoding, options.signal);
  else t.direct.take((late) => startRead(t, operation, late, path, flags, encoding, options.signal));
  return promise;
}

/**
 * Reads a file that is in the caches by plain calls that can't block: open, fstat, read and close in one native call
 * (measured: a fifth faster than the chain for one file at a time; of many in one turn the chain is the faster by a
 * quarter, so only a turn's first file goes this way). null: not so, use the ring.
 */
function readCached(
  t: RingThread,
  path: Path,
  flags: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> | null {
  if ((flags & ~CACHED_FLAGS) !== 0 || (t.mounts.any && t.mounts.holdsPath(path))) return null;
  if (!t.loop.firstOfTurn() || !t.loop.mayAnswerInline(3 + t.lanes.expected / BYTES_PER_US)) return null;
  const cell = t.cells.take();
  const lane = t.lanes.take();
  const address = putPath(cell, 0, path);
  const opened = cell.address + CELL_HALF;
  const res = address < 0 ? EAGAIN : t.native.readCached(address, flags, lane.address, LANE_BYTES, opened);
  const result = res < 0 ? null : t.lanes.result(lane, res, encoding);
  t.lanes.give(lane);
  t.cells.give(cell);
  if (result !== null) return Promise.resolve(result);
  if (res === EAGAIN) return null;
  if (res !== EINPROGRESS) return Promise.reject(systemError(res, "open", path));
  const at = cell.halfWord;
  const { words } = cell;
  const regular = (words[at + 1]! & constants.S_IFMT) === constants.S_IFREG;
  return readOpened(t, words[at]!, regular ? words[at + 3]! * 2 ** 32 + words[at + 2]! : 0, encoding, signal);
}

/** Reads a file that is open already through the ring, and closes it. */
async function readOpened(
  t: RingThread,
  fd: number,
  size: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null,
): Promise<Buffer | string> {
  const file = new OpenFile(fd);
  try {
    return await readAll(t, { fd, sqeFlag: 0 }, size, encoding, signal);
  } finally {
    await close(file);
  }
}

function startRead(
  t: RingThread,
  operation: Operation,
  slot: number,
  path: Path,
  flags: number,
  encoding: BufferEncoding | null,
  signal: AbortSignal | null | undefined,
): void {
  const chain = newChain(t, slot, signal);
  chain.encoding = encoding;
  operation.state = chain;
  if (chain.signal?.aborted) {
    chain.error = abortError(chain.signal);
    return settleChain(operation, chain);
  }
  const lane = t.lanes.take();
  chain.lane = lane;
  watchSignal(operation, chain);
  stageOpen(operation, chain, path, flags, 0o666, SqeFlag.IO_LINK);
  const sqeFlags = SqeFlag.FIXED_FILE | t.transferFlag(t.lanes.expected);
  const { address } = lane;
  stageLink(t, operation, 1, Opcode.READ, sqeFlags | SqeFlag.IO_HARDLINK, slot, OWN_POSITION, address, LANE_BYTES, 0);
  stageLink(t, operation, 2, Opcode.READ, sqeFlags, slot, OWN_POSITION, address + LANE_BYTES, LANE_BYTES, 0);
}

function finishRead(operation: Operation, res: number, _flags: number, link: number): void {
  const chain = operation.state as Chain;
  if (link === 0) chain.opened = res;
  else if (link === 1) chain.first = res;
  else chain.second = res;
  if (operation.pending > 0) return;
  if (chain.opened < 0) {
    chain.error ??= systemError(chain.opened, "open", operation.path);
    return finishChain(operation, chain);
  }
  const { first, second } = chain;
  if (chain.error === null && (second > 0 || again(first) || again(second)))
    return void goOnReading(operation, chain, Math.max(0, first), Math.max(0, second));
  if (first < 0 || second < 0) chain.error ??= systemError(first < 0 ? first : second, "read");
  else if (chain.error === null) chain.result = chain.t.lanes.result(chain.lane!, first, chain.encoding);
  finishChain(operation, chain);
}

const again = (res: number): boolean => res === EINTR || res === EAGAIN;

async function goOnReading(operation: Operation, chain: Chain, first: number, second: number): Promise<void> {
  // The slot stays taken while no CQE is owed: this operation is kept out of the table's reach by its state alone.
  const { t, lane, slot, encoding, signal } = chain;
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
  if (options.signal?.aborted) return Promise.reject(abortError(options.signal));
  const t = thread();
  const operation = t.ring.acquire(finishWrite, 1);
  operation.syscall = "open";
  const promise = promiseFor(operation);
  t.direct.take((slot) => startWrite(t, operation, slot, path, data, flags, mode, options));
  return promise;
}

function startWrite(
  t: RingThread,
  operation: Operation,
  slot: number,
  path: Path,
  view: ArrayBufferView,
  flags: number,
  mode: number,
  options: WriteFileOptions,
): void {
  const chain = newChain(t, slot, options.signal);
  operation.state = chain;
  if (chain.signal?.aborted) {
    chain.error = abortError(chain.signal);
    chain.opened = ECANCELED;
    return settleChain(operation, chain);
  }
  watchSignal(operation, chain);
  const data = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  chain.data = data;
  operation.view = view;
  operation.lease = holdLeased(view);
  operation.byteLength = view.byteLength;
  chain.flush = options.flush === true;
  // Creating a file and writing to it both go to io-wq: let one thread run the whole chain.
  const { length } = data;
  const whole = length <= CHAIN_WRITE_BYTES && (data.buffer as ArrayBuffer).resizable !== true;
  if (!whole) {
    stageOpen(operation, chain, path, flags, mode, SqeFlag.ASYNC);
    return;
  }
  operation.pending = 2 + (length > 0 ? 1 : 0) + (chain.flush ? 1 : 0);
  stageOpen(operation, chain, path, flags, mode, SqeFlag.IO_LINK | SqeFlag.ASYNC);
  const linked = SqeFlag.FIXED_FILE | SqeFlag.IO_LINK;
  // IO_LINK, not HARDLINK: a short write breaks the chain, and the rest is written before anything is synced or closed.
  if (length > 0)
    stageLink(t, operation, 1, Opcode.WRITE, linked, slot, OWN_POSITION, stableAddress(data, 0), length, 0);
  if (chain.flush) stageLink(t, operation, 2, Opcode.FSYNC, linked, slot, 0, 0, 0, 0);
  const i = stageLink(t, operation, 3, Opcode.CLOSE, 0, 0, 0, 0, 0, 0);
  setFileIndex(t.ring.words, i, slot);
}

function finishWrite(operation: Operation, res: number, _flags: number, link: number): void {
  const chain = operation.state as Chain;
  if (link === 0) chain.opened = res;
  else if (link === 1) chain.first = res;
  else if (link === 2) chain.second = res;
  if (operation.pending > 0) return;
  if (chain.opened < 0) {
    chain.error ??= systemError(chain.opened, "open", operation.path);
    return settleChain(operation, chain);
  }
  if (operation.view!.byteLength !== operation.byteLength)
    chain.error ??= Object.assign(new TypeError("The data was detached or resized while it was written"), {
      code: "ERR_INVALID_STATE",
    });
  // The kernel does not cancel what is linked to a failed FSYNC: the CLOSE has run, the data may be lost all the same.
  if (chain.second < 0 && chain.second !== ECANCELED) chain.error ??= systemError(chain.second, "fsync");
  if (link === 3 && res === 0) return settleChain(operation, chain);
  // The chain broke: the file is open, `first` says how much is written.
  void goOnWriting(operation, chain, link === 3 && res !== ECANCELED ? res : 0);
}

async function goOnWriting(operation: Operation, chain: Chain, closeError: number): Promise<void> {
  const { t, slot, first, data, signal } = chain;
  const written = Math.max(0, first);
  try {
    if (chain.error !== null) throw chain.error;
    if (first < 0 && !again(first) && first !== ECANCELED) throw systemError(first, "write");
    if (chain.second < 0 && chain.second !== ECANCELED) throw systemError(chain.second, "fsync");
    if (closeError < 0) throw systemError(closeError, "close");
    await writeRest(t, { fd: slot, sqeFlag: SqeFlag.FIXED_FILE }, data!, written, chain.flush, signal);
  } catch (error) {
    chain.error ??= error as Error;
  }
  finishChain(operation, chain);
}
