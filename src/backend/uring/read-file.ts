// Whole files read. A cached one by plain calls that can't block, if it is alone or large; else by one chain: OPENAT into a
// direct descriptor, READ, READ for the end, then CLOSE. A chain never closes before the end of the file is seen: a FIFO or
// a /proc file gives its data in parts. What does not fit a chain's memory goes on in read-rest.ts.

import { constants } from "../../kernel/constants.ts";
import { held, hold } from "../../kernel/shim.ts";
import { Opcode, SqeFlag } from "../../kernel/sqe.ts";
import { abortable } from "../../node/abort.ts";
import { EAGAIN, EINPROGRESS, EINTR } from "../../node/errno.ts";
import { abortError, namingFolder, readError, systemError } from "../../node/errors.ts";
import { late, lateRejection, rejection, renewed } from "../../node/late-error.ts";
import { isAborted } from "../../node/signal.ts";
import type { RingThread } from "../../ring/context.ts";
import { READ_BYTES, type ReadBuffer } from "../../ring/read-buffer.ts";
import { CELL_HALF, putPath } from "../../ring/scratch.ts";
import { OpenFile, type Path, type ReadFileOptions } from "../interface.ts";
import { closeAfter } from "../loops.ts";
import { close } from "./close.ts";
import { Linked } from "./linked.ts";
import { open } from "./path.ts";
import { Rest } from "./read-rest.ts";
import { honest, pathFlag, thread } from "./request.ts";

/** Flags with which a file can be read by plain calls: nothing is created, changed or waited for. */
const CACHED_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NOATIME | constants.O_NONBLOCK;
/** What copying costs, for the budget of inline calls. */
const BYTES_PER_US = 8192;
/** However large the budget was made: the native call's lengths have 32 bits, and strings have a limit. */
const INLINE_MAX_BYTES = 64 * 1024 * 1024;
/** Where files are larger than this on average, the chain, whose reads are of a fixed length, is the wrong way. */
const LARGE_BYTES = 32 * 1024;
const [OPEN, READ, READ_END] = [0, 1, 2] as const;
/** `off` of an SQE: the file's own position. */
const OWN_POSITION = -1;

/** What is to be read, and how the caller gets it. */
interface Wanted {
  readonly path: Path;
  readonly flags: number;
  /** null: as a Buffer. */
  readonly encoding: BufferEncoding | null;
  readonly signal: AbortSignal | null;
}

class ReadFile extends Linked<Buffer | string> {
  readonly #flags: number;
  readonly #encoding: BufferEncoding | null;
  #buffer: ReadBuffer | null = null;
  #address = 0;

  constructor(t: RingThread, { path, flags, encoding, signal }: Wanted) {
    super(t, path, signal);
    this.#flags = flags;
    this.#encoding = encoding;
  }

  protected prepare(): void {
    this.#buffer = this.t.readBuffers.acquire();
    this.#address = this.pathAddress(0, this.operation.path!);
  }

  protected release(): void {
    if (this.#buffer !== null) this.t.readBuffers.release(this.#buffer);
  }

  /** Nothing is changed by what the kernel still does: nobody waits for its end. */
  protected override aborted(): void {
    this.operation.resolve(rejection(this.error));
  }

  protected stage(): void {
    const { t, slot } = this;
    const { address } = this.#buffer!;
    this.expect(3);
    this.openLink(
      OPEN,
      SqeFlag.IO_LINK | pathFlag(t, this.operation, this.operation.path!),
      this.#address,
      this.#flags,
      0o666,
    );
    const flags = SqeFlag.FIXED_FILE | t.placement.transfer(t.readBuffers.expected);
    this.link(READ, Opcode.READ, flags | SqeFlag.IO_HARDLINK, slot, OWN_POSITION, address, READ_BYTES, 0);
    this.link(READ_END, Opcode.READ, flags, slot, OWN_POSITION, address + READ_BYTES, READ_BYTES, 0);
  }

  protected ended(): void {
    const [opened, first, second] = this.results as [number, number, number];
    if (opened < 0) return this.notOpened(opened);
    this.isOpen = true;
    if (this.error === null && (second > 0 || isToRepeat(first) || isToRepeat(second)))
      return void this.#goOn(Math.max(0, first), Math.max(0, second));
    if (first < 0 || second < 0) {
      const res = honest(first < 0 ? first : second);
      return this.fail(late(() => readError(res, this.operation.path!)));
    }
    if (this.error === null) this.value = this.t.readBuffers.result(this.#buffer!, first, this.#encoding);
    this.finish();
  }

  async #goOn(first: number, second: number): Promise<void> {
    const { t, slot, signal } = this;
    t.readBuffers.learn(first + second);
    const rest = new Rest(t, { fd: slot, sqeFlag: SqeFlag.FIXED_FILE }, this.#encoding, signal);
    try {
      this.value = await rest.behind(this.operation.path!, this.#buffer!, first, second);
    } catch (error) {
      this.error ??= renewed(error) as Error;
    }
    this.finish();
  }
}

const isToRepeat = (res: number): boolean => res === EINTR || res === EAGAIN;

/** Reads a whole file. Resolves to a Buffer, or a string where an encoding is given. */
export function readFile(path: Path, flags: number, options: ReadFileOptions): Promise<Buffer | string> {
  const signal = options.signal ?? null;
  if (isAborted(signal)) return Promise.reject(abortError(signal!));
  const t = thread();
  const known = options.encoding;
  const wanted: Wanted = { path, flags, encoding: known == null || known === "buffer" ? null : known, signal };
  const { readBuffers, placement } = t;
  // Without a direct descriptor a chain is four operations, each a turn of its own: copying what is cached costs less.
  const byCalls = readBuffers.expected >= LARGE_BYTES || (t.direct.isSpent && t.setup.cachedLookups);
  if ((byCalls || placement.isAlone()) && mayReadCached(t, wanted)) {
    const us = 3 + Math.min(readBuffers.expected, READ_BYTES) / BYTES_PER_US;
    if (!placement.hasLater && placement.mayCall(us)) {
      const answer = readCached(t, wanted);
      if (answer !== null) return answer;
    } else if (byCalls || !placement.hasLater) return readLater(t, us, wanted); // no small one behind large ones
  }
  return readByRing(t, wanted);
}

function readByRing(t: RingThread, wanted: Wanted): Promise<Buffer | string> {
  if (mayStayOpen(t, wanted.flags)) return new ReadFile(t, wanted).start();
  return namingFolder(readByDescriptor(t, wanted), wanted.path);
}

/** Whether the chain's direct descriptor does no harm if the kernel closes it a little later. */
function mayStayOpen({ direct }: RingThread, flags: number): boolean {
  return (flags & (constants.O_WRONLY | constants.O_RDWR)) === 0 ? direct.forReading() : direct.forWriting;
}

function mayReadCached(t: RingThread, { flags, path }: Wanted): boolean {
  return (flags & ~CACHED_FLAGS) === 0 && !t.mounts.holdsPath(path);
}

/**
 * Reads when the event loop has had its turn. A large file that is cached is copied here in less time than it takes to have
 * it copied elsewhere: its chain would be one of six operations, and its memory new to another processor.
 */
function readLater({ placement }: RingThread, us: number, wanted: Wanted): Promise<Buffer | string> {
  const { signal } = wanted;
  return placement.callLater(us, () => {
    if (isAborted(signal)) throw abortError(signal!);
    const t = thread(); // another, if the ring was shut down meanwhile
    return readCached(t, wanted, true) ?? readByRing(t, wanted);
  });
}

/**
 * Reads a file that is in the caches by plain calls that can't block: open, fstat, read and close in one native call.
 * Measured: a fifth faster than the chain for one small file at a time; of many in one turn the chain is the faster by a
 * quarter, so only one that is alone goes this way, or every one while files are too large for the chain: their size is known
 * before anything is copied. null: not so, use the ring. `isLate`: not in its caller's turn, whose frames are gone.
 */
function readCached(t: RingThread, wanted: Wanted, isLate: boolean = false): Promise<Buffer | string> | null {
  const { path, flags, encoding } = wanted;
  const { readBuffers } = t;
  const cell = t.cells.acquire();
  const buffer = readBuffers.acquire();
  const address = putPath(cell, 0, path);
  const opened = cell.address + CELL_HALF;
  const res = address < 0 ? EAGAIN : t.native.readCached(address, flags, buffer.address, READ_BYTES, opened);
  const result = res < 0 ? null : readBuffers.result(buffer, res, encoding);
  readBuffers.release(buffer);
  t.cells.release(cell);
  if (result !== null) return Promise.resolve(result);
  if (res === EAGAIN) return null;
  if (res !== EINPROGRESS) {
    const failure = (): Error => systemError(res, "open", path);
    return isLate ? lateRejection(failure) : Promise.reject(failure());
  }
  const at = cell.halfWord;
  const { words } = cell;
  const regular = (words[at + 1]! & constants.S_IFMT) === constants.S_IFREG;
  const size = regular ? words[at + 3]! * 2 ** 32 + words[at + 2]! : 0;
  const file = held(t.native, new OpenFile(words[at]!));
  readBuffers.learn(size);
  if (size < READ_BYTES || size > Math.min(t.placement.inlineBytes, INLINE_MAX_BYTES))
    return namingFolder(readOpened(t, file, size, wanted), path);
  const us = size / BYTES_PER_US;
  return t.placement.mayCall(us)
    ? readLarger(t, file, size, wanted)
    : t.placement.callLater(us, () => readLarger(thread(), file, size, wanted));
}

/** A file that does not fit a read buffer, at once if it is in the page cache. */
function readLarger(t: RingThread, file: OpenFile, size: number, wanted: Wanted): Promise<Buffer | string> {
  const { fd } = file;
  let bytes: Buffer | null = null;
  try {
    bytes = Buffer.allocUnsafeSlow(size);
  } catch {
    // who reads it the long way closes it when that fails, too
  }
  file.forget?.(fd); // the call closes it, if it reads all
  if (bytes === null || t.native.readOpened(fd, bytes, size) < size) {
    return readOpened(t, hold(t.native, file), size, wanted);
  }
  return Promise.resolve(wanted.encoding === null ? bytes : bytes.toString(wanted.encoding));
}

/** Reads a file that is open already through the ring, and closes it. An abort rejects at once. */
function readOpened(t: RingThread, file: OpenFile, size: number, wanted: Wanted): Promise<Buffer | string> {
  const { encoding, signal } = wanted;
  const rest = new Rest(t, { fd: file.fd, sqeFlag: file.remote ? SqeFlag.ASYNC : 0 }, encoding, signal);
  const content = closeAfter(rest.all(file, size), () => close(file));
  return signal === null ? content : abortable(content, signal);
}

/** For a ring without a table of direct descriptors, or whose direct descriptors would stay open too long. */
async function readByDescriptor(t: RingThread, wanted: Wanted): Promise<Buffer | string> {
  return readOpened(t, (await open(wanted.path, wanted.flags, 0o666)) as OpenFile, 0, wanted);
}
