// A whole file written by one chain: OPENAT, WRITE, FTRUNCATE, FSYNC if asked, CLOSE. A short write breaks the chain, and
// what is too long for one goes on from the open file: then the rest is written, and only then synced and closed.
//
// A file that is there already is not emptied as it is opened (truncatesLate in backend/loops.ts says why), but cut to the
// new length after the write; whatever fails on the way, it is cut to what has been written, so that a file never ends in
// bytes of before.

import { stableAddress } from "../../kernel/address.ts";
import { constants } from "../../kernel/constants.ts";
import { bytesAtCall, copyBytes } from "../../kernel/copy.ts";
import { Opcode, SqeFlag } from "../../kernel/sqe.ts";
import type { Written } from "../../node/abort.ts";
import { dataTaken } from "../../node/arguments.ts";
import { EAGAIN, ECANCELED, EINTR, EINVAL, ELOOP, ENOSPC } from "../../node/errno.ts";
import { abortError, systemError } from "../../node/errors.ts";
import { late, renewed } from "../../node/late-error.ts";
import { isAborted } from "../../node/signal.ts";
import { done, inSteps, type Steps, settled } from "../../node/steps.ts";
import { bytesOf, isResizable } from "../../node/views.ts";
import type { RingThread } from "../../ring/context.ts";
import { acquireLeased } from "../../ring/lease.ts";
import { READ_BYTES, type ReadBuffer } from "../../ring/read-buffer.ts";
import { Place } from "../../ring/remote-mounts.ts";
import { MAX_TRANSFER } from "../../ring/scratch.ts";
import type { OpenFile, Path, WriteFileOptions } from "../interface.ts";
import { truncatesLate } from "../loops.ts";
import { close } from "./close.ts";
import { isClosed, isCloseError, Linked, run, type Source } from "./linked.ts";
import { open, opensLink } from "./path.ts";
import { honest, MAX_RETRIES, thread } from "./request.ts";

/** Data up to this length is written by one chain. */
const CHAIN_BYTES = 512 * 1024;
/** Data up to this length may be written by the helper, which does one thing after another. */
const HELPER_BYTES = 64 * 1024;
/** Read buffers in use from which on data is copied to memory of its own. */
const BUFFERS_OF_DATA = 32;
/** Bytes of one write beyond that. */
const CHUNK_BYTES = 1024 * 1024;
const [OPEN, WRITE, TRUNCATE, SYNC, CLOSE] = [0, 1, 2, 3, 4] as const;
const { O_TRUNC, O_NOFOLLOW } = constants;

/** What is written, and what is done beside it. */
interface Work {
  readonly data: Uint8Array;
  /** The file is cut to the data's length when it is written. */
  readonly truncates: boolean;
  readonly flush: boolean;
  readonly signal: AbortSignal | null;
  readonly progress: Written;
}

/** Whether a result says that the operation is still to be done: it was interrupted, or never begun. */
const isUndone = (res: number): boolean => res === EINTR || res === EAGAIN || res === ECANCELED;

/** As `truncatesLate`, where the ring can do it. */
export function cutsLate(t: RingThread, flags: number, length: number): boolean {
  return t.setup.opcodes[Opcode.FTRUNCATE] === 1 && truncatesLate(flags, length);
}

class WriteFile extends Linked<void> implements Work {
  readonly data: Uint8Array;
  readonly truncates: boolean;
  readonly flush: boolean;
  readonly progress: Written;
  readonly #length: number;
  readonly #flags: number;
  readonly #mode: number;
  /** What to do if the name is a link, which then may lead to a file server. */
  readonly #ifLink: (() => Steps<void>) | null;
  #address = 0;
  /** Where the data has been copied to. */
  #buffer: ReadBuffer | null = null;

  constructor(
    t: RingThread,
    path: Path,
    view: ArrayBufferView,
    flags: number,
    mode: number,
    options: WriteFileOptions,
    ifLink: (() => Steps<void>) | null,
  ) {
    super(t, path, options.signal);
    this.operation.lease = acquireLeased(view);
    this.data = options.isOwned === true ? bytesOf(view) : this.#atCall(view);
    this.#length = this.data.length;
    this.truncates = cutsLate(t, flags, this.#length);
    this.#ifLink = ifLink;
    this.#flags = (this.truncates ? flags & ~O_TRUNC : flags) | (ifLink === null ? 0 : O_NOFOLLOW);
    this.#mode = mode;
    this.flush = options.flush === true;
    this.progress = options.progress ?? { bytesWritten: 0 };
  }

  /** As bytesAtCall, in a read buffer as long as few have one: new memory takes longer than the copying. */
  #atCall(view: ArrayBufferView): Uint8Array {
    const { readBuffers } = this.t;
    const bytes = bytesOf(view);
    const { length } = bytes;
    if (length === 0 || length > READ_BYTES || readBuffers.used >= BUFFERS_OF_DATA) return bytesAtCall(view);
    try {
      this.#buffer = readBuffers.acquire();
    } catch {
      return bytesAtCall(view); // no memory for another
    }
    const copy = this.#buffer.bytes.subarray(0, length);
    return copyBytes(bytes, copy, bytes) === length ? copy : bytes; // what can't be read is for the kernel to say
  }

  protected prepare(): void {
    this.#address = this.pathAddress(0, this.operation.path!);
  }

  protected release(): void {
    if (this.#buffer !== null) this.t.readBuffers.release(this.#buffer);
    this.#buffer = null;
  }

  protected stage(): void {
    const { t, data, slot, flush, truncates } = this;
    const { length } = data;
    if (length !== this.#length) throw dataTaken(); // while it waited for its descriptor, or for another try
    // Creating a file always goes to io-wq: no attempt here that is bound to fail.
    if (length > CHAIN_BYTES || isResizable(data)) {
      this.expect(1);
      return this.openLink(OPEN, SqeFlag.ASYNC, this.#address, this.#flags, this.#mode);
    }
    this.expect(2 + (length > 0 ? 1 : 0) + (truncates ? 1 : 0) + (flush ? 1 : 0));
    const helper = length <= HELPER_BYTES && !flush ? t.placement.punted() & SqeFlag.HELPER : 0;
    this.openLink(OPEN, SqeFlag.IO_LINK | SqeFlag.ASYNC | helper, this.#address, this.#flags, this.#mode);
    const linked = SqeFlag.FIXED_FILE | SqeFlag.IO_LINK;
    // IO_LINK, not HARDLINK: a short write breaks the chain, and the rest is written before anything is cut or closed.
    if (length > 0) this.link(WRITE, Opcode.WRITE, linked, slot, 0, stableAddress(data, 0), length, 0);
    if (truncates) this.link(TRUNCATE, Opcode.FTRUNCATE, linked, slot, length, 0, 0, 0);
    if (flush) this.link(SYNC, Opcode.FSYNC, linked, slot, 0, 0, 0, 0);
    this.closeLink(CLOSE);
  }

  protected ended(): void {
    const { results, progress } = this;
    if (results[OPEN] === ELOOP && this.#ifLink !== null && this.error === null)
      return void inSteps(this.#follow(this.#ifLink()));
    if (results[OPEN]! < 0) return this.notOpened(results[OPEN]!);
    this.isOpen = !isClosed(results[CLOSE]!);
    progress.bytesWritten = Math.max(0, results[WRITE]!);
    if (this.data.length !== this.#length) this.error ??= late(dataTaken);
    if (this.isOpen) return void inSteps(this.#goOn());
    // The kernel does not cancel what is linked to a failed FTRUNCATE or FSYNC: the CLOSE has run all the same.
    if (this.error === null && this.truncates && this.#leftUndone() && this.operation.retries++ < MAX_RETRIES)
      return this.stage();
    this.error ??= this.#failure();
    this.finish();
  }

  *#follow(steps: Steps<void>): Steps<void> {
    try {
      yield* steps;
    } catch (error) {
      this.error ??= error as Error;
    }
    this.finish();
  }

  #leftUndone(): boolean {
    return isUndone(this.results[TRUNCATE]!) || (this.flush && isUndone(this.results[SYNC]!));
  }

  /** What the links say that is an error, of a chain that ran to its end. */
  #failure(): Error | null {
    const { results } = this;
    if (this.truncates && isTruncateError(results[TRUNCATE]!))
      return late(() => systemError(honest(results[TRUNCATE]!), "ftruncate"));
    if (this.flush && results[SYNC]! < 0) return late(() => systemError(honest(results[SYNC]!), "fsync"));
    return isCloseError(results[CLOSE]!) ? late(() => systemError(results[CLOSE]!, "close")) : null;
  }

  /** The chain broke, or was too long for one: the file is open, `progress` says how much is written. */
  *#goOn(): Steps<void> {
    const { t, slot, results } = this;
    const source = { fd: slot, sqeFlag: SqeFlag.FIXED_FILE };
    try {
      this.error ??= this.#broken(results);
      // Taken before anything was written: the file stays as it was.
      if (this.data.length !== this.#length && this.progress.bytesWritten === 0) throw this.error;
      if (this.error !== null) yield* cutAfterFailure(t, source, this);
      else yield* writeRest(t, source, this);
    } catch (error) {
      this.error ??= renewed(error) as Error;
    }
    this.finish();
  }

  /** The error that broke the chain, if it is one that stays. */
  #broken([, write, truncate, sync]: readonly number[]): Error | null {
    if (write! < 0 && !isUndone(write!)) return late(() => systemError(write!, "write"));
    if (isTruncateError(truncate!) && !isUndone(truncate!)) return late(() => systemError(truncate!, "ftruncate"));
    return sync! < 0 && !isUndone(sync!) ? late(() => systemError(sync!, "fsync")) : null;
  }
}

/** EINVAL: a device or a pipe, which has no length; O_TRUNC says nothing of it either. */
const isTruncateError = (res: number): boolean => res < 0 && res !== EINVAL;

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
  // A file server is told of the end by close(2) alone, and tells then what became of the data: not of a direct descriptor.
  const place = opensLink(flags) ? t.mounts.placeOf(path) : t.mounts.holdsName(path) ? Place.remote : Place.local;
  if (place === Place.remote || !t.direct.forWriting) {
    return inSteps(writeByDescriptor(t, path, data, flags, mode, options, place !== Place.local));
  }
  if (place === Place.local) return new WriteFile(t, path, data, flags, mode, options, null).start();
  const ifLink = (): Steps<void> => writeByDescriptor(t, path, data, flags, mode, options, true);
  return new WriteFile(t, path, data, flags, mode, options, ifLink).start();
}

/** As a chain does it, in single steps on a descriptor of the process. */
function* writeByDescriptor(
  t: RingThread,
  path: Path,
  view: ArrayBufferView,
  flags: number,
  mode: number,
  options: WriteFileOptions,
  isRemote: boolean,
): Steps<void> {
  const data = options.isOwned === true ? bytesOf(view) : bytesAtCall(view);
  const { length } = data;
  const lease = acquireLeased(view);
  const { flush = false, signal = null, progress = { bytesWritten: 0 } } = options;
  try {
    const truncates = !isRemote && cutsLate(t, flags, length);
    const file = (yield* done(open(path, truncates ? flags & ~O_TRUNC : flags, mode))) as OpenFile;
    try {
      // Taken while the file was being opened: an empty file would be no error.
      if (data.length !== length) throw dataTaken();
      yield* writeRest(t, { fd: file.fd, sqeFlag: 0 }, { data, truncates, flush, signal, progress });
    } catch (error) {
      yield* settled(close(file));
      throw error;
    }
    yield* done(close(file));
  } finally {
    lease?.release();
  }
}

/**
 * Writes what is not written yet, cuts the file, then flushes if asked. At positions counted here: the kernel does not move
 * the file's own for what completes later. A file opened to append, or without positions, ignores them.
 */
function* writeRest(t: RingThread, source: Source, work: Work): Steps<void> {
  try {
    yield* writeAll(t, source, work);
    if (work.truncates) {
      const res = yield* done(
        run(t, Opcode.FTRUNCATE, "ftruncate", 0, source, work.progress.bytesWritten, 0, 0, null, null),
      );
      if (isTruncateError(res)) throw systemError(res, "ftruncate");
    }
    if (!work.flush) return;
    const res = yield* done(run(t, Opcode.FSYNC, "fsync", 0, source, 0, 0, 0, null, null));
    if (res < 0) throw systemError(res, "fsync");
  } catch (error) {
    yield* cutAfterFailure(t, source, work);
    throw error;
  }
}

function* writeAll(t: RingThread, source: Source, { data, signal, progress }: Work): Steps<void> {
  const bytes = isResizable(data) ? Buffer.from(data) : data;
  const total = bytes.length;
  while (progress.bytesWritten < total) {
    const at = progress.bytesWritten;
    const length = Math.min(CHUNK_BYTES, MAX_TRANSFER, total - at);
    const address = stableAddress(bytes, 0) + at;
    const res = yield* done(run(t, Opcode.WRITE, "write", SqeFlag.ASYNC, source, at, address, length, bytes, signal));
    if (bytes.length !== total) throw dataTaken();
    if (res < 0) throw systemError(res, "write");
    if (res === 0) throw systemError(ENOSPC, "write"); // a device that takes nothing, and says nothing, never will
    progress.bytesWritten += res;
  }
}

/** A file that failed to be written holds what was written, and nothing of before. */
function* cutAfterFailure(t: RingThread, source: Source, { truncates, progress }: Work): Steps<void> {
  if (truncates) yield* done(run(t, Opcode.FTRUNCATE, "ftruncate", 0, source, progress.bytesWritten, 0, 0, null, null));
}
