// copyFile: Node's contract and error shape, with progress, abort and O_DIRECT beside it. Small files go through one chain
// of the ring, others through a pipeline of reads and writes; both backends share all but the chain.
// A target that was opened and did not become a whole copy is removed; one that could not be opened is left alone.

import { currentBackend } from "../backend/choose.ts";
import type { Backend, OpenFile, Path } from "../backend/interface.ts";
import { copySmall, Outcome, onRemote, SMALL_FILE_BYTES } from "../backend/uring/copy-small.ts";
import { EAGAIN } from "../backend/uring/request.ts";
import {
  cachedFacts,
  type Facts,
  factsOf,
  factsOfFile,
  isDirectory,
  isRegular,
  permissions,
} from "../backend/uring/statx.ts";
import { constants } from "../kernel/constants.ts";
import { BufferPool } from "../memory/pool.ts";
import { type Limits, limited, soonAfterAbort, throwIfAborted } from "../node/abort.ts";
import { invalidArgValue, validateBoolean, validateFunction, validateInteger } from "../node/arguments.ts";
import { bun, bunFs } from "../node/bun-fs.ts";
import { abortError, errnoOf, systemError } from "../node/errors.ts";
import { validateLimits } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { type CopyProgress, copyContents } from "./copy-contents.ts";

export type { CopyProgress } from "./copy-contents.ts";

/** An abort or a timeout removes the unfinished target. */
export interface CopyFileOptions extends Limits {
  /** COPYFILE_EXCL, COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE. Default 0. */
  mode?: number | undefined;
  /** Called after each piece, and at least once. It must not throw. */
  onProgress?: ((progress: CopyProgress) => void) | undefined;
  /** Past the page cache with O_DIRECT, where the file systems take it. Default false. */
  direct?: boolean | undefined;
  /** Pieces in flight, 1 to 64. Default 8. */
  queueDepth?: number | undefined;
  /** Bytes of a piece, a multiple of 4096 up to 64 MiB. Default 256 KiB (measured: 4 MiB pieces take twice as long). */
  chunkSize?: number | undefined;
}

/** What a copy is asked to do, checked. */
export interface CopyRequest {
  mode: number;
  signal: AbortSignal | null;
  onProgress: ((progress: CopyProgress) => void) | null;
  direct: boolean;
  depth: number;
  chunk: number;
}

const { COPYFILE_EXCL, COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE } = constants;
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_DIRECT } = constants;
const DEFAULT_DEPTH = 8;
const DEFAULT_CHUNK = 256 * 1024;
const MAX_CHUNK = 64 * 1024 * 1024;
const SHARED_BUFFERS = 16;
const ENOENT = -2;

export const DEFAULT_REQUEST: CopyRequest = {
  mode: 0,
  signal: null,
  onProgress: null,
  direct: false,
  depth: DEFAULT_DEPTH,
  chunk: DEFAULT_CHUNK,
};

function copyRequest(options: unknown): CopyRequest {
  if (options === null || typeof options !== "object") {
    const mode = options ?? 0;
    validateInteger(mode, "mode", 0, 7);
    return mode === 0 ? DEFAULT_REQUEST : { ...DEFAULT_REQUEST, mode };
  }
  const { mode, signal, onProgress, direct, queueDepth, chunkSize } = options as CopyFileOptions;
  if (mode !== undefined) validateInteger(mode, "options.mode", 0, 7);
  validateLimits(options as CopyFileOptions);
  if (onProgress !== undefined) validateFunction(onProgress, "options.onProgress");
  if (direct !== undefined) validateBoolean(direct, "options.direct");
  if (queueDepth !== undefined) validateInteger(queueDepth, "options.queueDepth", 1, 64);
  if (chunkSize !== undefined) {
    validateInteger(chunkSize, "options.chunkSize", 4096, MAX_CHUNK);
    if (chunkSize % 4096 !== 0) throw invalidArgValue("options.chunkSize", chunkSize, "must be a multiple of 4096");
  }
  return {
    mode: mode ?? 0,
    signal: signal ?? null,
    onProgress: onProgress ?? null,
    direct: direct ?? false,
    depth: queueDepth ?? DEFAULT_DEPTH,
    chunk: chunkSize ?? DEFAULT_CHUNK,
  };
}

/**
 * Copies a file's contents and permissions; symbolic links are followed on both sides. `options` is Node's `mode` number
 * or CopyFileOptions. Holes stay holes. Rejects with `copyfile` errors that carry `path` and `dest`, or an AbortError.
 */
export async function copyFile(
  src: string | Buffer | URL,
  dest: string | Buffer | URL,
  options?: number | CopyFileOptions | null,
): Promise<void> {
  const from = toPath(src, "src");
  const to = toPath(dest, "dest");
  const request = copyRequest(options);
  throwIfAborted(request.signal);
  const limits = options as CopyFileOptions | null | undefined;
  if (typeof limits !== "object" || limits?.timeoutMs === undefined) {
    await copyPath(currentBackend(), from, to, request);
  } else {
    const copy = (signal: AbortSignal): Promise<number> => copyPath(currentBackend(), from, to, { ...request, signal });
    await limited(limits, "copyfile", copy, from, to);
  }
}

/** Copies one file. Resolves to its bytes. */
export async function copyPath(backend: Backend, from: Path, to: Path, request: CopyRequest): Promise<number> {
  if ((request.mode & (COPYFILE_FICLONE | COPYFILE_FICLONE_FORCE)) !== 0) {
    const cloned = await clone(from, to, request);
    if (cloned >= 0) return cloned;
  }
  let created = false;
  if (backend.name === "io_uring" && !request.direct && !onRemote(from, to)) {
    const copied = await copyByChain(backend, from, to, request);
    if (copied >= 0) return copied;
    created = copied === INCOMPLETE;
  }
  return copyOpened(
    backend,
    from,
    to,
    created ? { ...request, mode: request.mode & ~COPYFILE_EXCL } : request,
    created,
  );
}

/** Rejections of all parts of a copy become Node's: syscall "copyfile" with both paths. */
function asCopyError(error: unknown, from: Path, to: Path): unknown {
  const { errno, syscall } = error as NodeJS.ErrnoException;
  return typeof errno === "number" && syscall !== undefined ? systemError(errno, "copyfile", from, to) : error;
}

/* ---- reflinks ------------------------------------------------------------------------------------------------------ */

/** Clones with the ioctl, which has no opcode, on Bun's pool. -1: it can't be done here and need not be. */
async function clone(from: Path, to: Path, request: CopyRequest): Promise<number> {
  const forced = (request.mode & COPYFILE_FICLONE_FORCE) !== 0;
  // A failed attempt removes the target: so what exists is cloned into only if it must be.
  if (!forced && (await factsOf(currentBackend(), to, true)) !== ENOENT) return -1;
  const mode = COPYFILE_FICLONE_FORCE | (forced ? request.mode & COPYFILE_EXCL : COPYFILE_EXCL);
  try {
    await bun.copyFile(from, to, mode);
    return 0;
  } catch (error) {
    if (forced) throw asCopyError(error, from, to);
    return -1;
  }
}

/* ---- small files --------------------------------------------------------------------------------------------------- */

/** No bytes copied: nothing was touched, another way must be taken. */
export const ANOTHER_WAY = -1;
/** No bytes copied: the target was opened, what is in it is unknown. */
export const INCOMPLETE = -2;

/** The bytes copied; ANOTHER_WAY: nothing was touched; INCOMPLETE: the target was opened, what is in it is unknown. */
async function copyByChain(backend: Backend, from: Path, to: Path, request: CopyRequest): Promise<number> {
  const source = await factsOf(backend, from, false);
  if (typeof source === "number" || !isRegular(source) || source.size > SMALL_FILE_BYTES) return ANOTHER_WAY;
  let copied: number = ANOTHER_WAY;
  // A name that is not cached is most likely free: no look-up goes to a thread for that.
  let target = cachedFacts(to, false);
  if (target === EAGAIN || target === ENOENT) {
    // What the umask would take, and set-id bits that a write may clear, are given by fchmod: not in a chain.
    if ((permissions(source) & (process.umask() | 0o7000)) !== 0) return ANOTHER_WAY;
    copied = await copyKnown(from, to, source, false);
    if (copied === INCOMPLETE) return INCOMPLETE;
    if (copied < 0) target = await factsOf(backend, to, false);
  }
  if (copied < 0) {
    if (typeof target === "number" || !isRegular(target) || permissions(target) !== permissions(source))
      return ANOTHER_WAY;
    if (target.identity === source.identity || (request.mode & COPYFILE_EXCL) !== 0) return ANOTHER_WAY;
    copied = await copyKnown(from, to, source, true);
    if (copied < 0) return copied;
  }
  if (request.signal?.aborted) {
    await backend.unlink(to).catch(() => {});
    throw abortError(request.signal);
  }
  request.onProgress?.({ bytesCopied: copied, totalBytes: copied });
  return copied;
}

/**
 * One chain for a regular file of at most SMALL_FILE_BYTES. `exists`: the target is another regular file, to be emptied;
 * else it must not be there. A new target's mode is the source's less the umask.
 */
export async function copyKnown(from: Path, to: Path, source: Facts, exists: boolean): Promise<number> {
  const flags = O_WRONLY | O_CREAT | (exists ? O_TRUNC : O_EXCL);
  const outcome = await copySmall(from, to, source.size, flags, permissions(source));
  if (outcome === Outcome.copied) return source.size;
  return outcome === Outcome.incomplete ? INCOMPLETE : ANOTHER_WAY;
}

/* ---- all others ---------------------------------------------------------------------------------------------------- */

/** What is open, and what to do with the target if it does not become a copy. */
interface Opened {
  source: OpenFile | null;
  target: OpenFile | null;
  /** The target is a regular file that was emptied or made by us. */
  removable: boolean;
}

/** The long way, for any file. `made`: the target is an unfinished copy of ours already. */
export async function copyOpened(
  backend: Backend,
  from: Path,
  to: Path,
  request: CopyRequest,
  made: boolean,
): Promise<number> {
  const opened: Opened = { source: null, target: null, removable: made };
  const removeTarget = async (): Promise<void> => {
    if (!opened.removable) return;
    opened.removable = false;
    await backend.unlink(to).catch(() => {});
  };
  const { signal } = request;
  const work = copyBetween(backend, from, to, request, opened, made).finally(() => closeBoth(backend, opened));
  try {
    return await (signal === null ? work : soonAfterAbort(work, signal));
  } catch (error) {
    await removeTarget();
    // If an abort could not wait for what is in the kernel, what came to be since goes when that is back.
    if (signal?.aborted) void work.catch(removeTarget);
    throw asCopyError(error, from, to);
  }
}

/** Closes what is open still; after a failure, or in passing. */
async function closeBoth(backend: Backend, { source, target }: Opened): Promise<void> {
  await Promise.all([source, target].map((file) => (file === null ? null : backend.close(file).catch(() => {}))));
}

async function copyBetween(
  backend: Backend,
  from: Path,
  to: Path,
  request: CopyRequest,
  opened: Opened,
  made: boolean,
): Promise<number> {
  const { signal } = request;
  const source = await openMaybeDirect(backend, from, O_RDONLY, 0, request.direct);
  opened.source = source;
  const facts = await factsOfFile(backend, source);
  if (isDirectory(facts)) throw systemError(errnoOf("EISDIR"), "copyfile");
  throwIfAborted(signal);
  const flags = O_WRONLY | O_CREAT | ((request.mode & COPYFILE_EXCL) !== 0 ? O_EXCL : 0);
  const exists = !made && typeof (await factsOf(backend, to, false)) !== "number";
  const target = await openMaybeDirect(backend, to, flags, permissions(facts), request.direct);
  opened.target = target;
  opened.removable = !exists;
  throwIfAborted(signal);
  const before = await factsOfFile(backend, target);
  if (before.identity === facts.identity) {
    opened.removable = false;
    return 0;
  }
  if (isRegular(before)) {
    opened.removable = true;
    // Not emptied where every byte will be written: ext4 would flush it at the close (backend/uring/write-file.ts).
    const kept = isRegular(facts) && facts.blocks * 512 >= facts.size ? facts.size : 0;
    if (before.size > kept) await backend.ftruncate(target, kept);
    if (permissions(before) !== permissions(facts)) await chmodOpen(target.fd, permissions(facts));
  }
  throwIfAborted(signal);
  const bytes = await copyWithPool(backend, source, target, facts, before, request);
  await backend.close(target); // a failure to close is a failure to write
  return bytes;
}

async function openMaybeDirect(
  backend: Backend,
  path: Path,
  flags: number,
  mode: number,
  direct: boolean,
): Promise<OpenFile> {
  if (!direct) return backend.open(path, flags, mode);
  try {
    return await backend.open(path, flags | O_DIRECT, mode);
  } catch (error) {
    // A file system without O_DIRECT says EINVAL; with O_CREAT the file may be there by now, and is ours.
    if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
    return backend.open(path, flags & ~O_EXCL, mode);
  }
}

function chmodOpen(fd: number, mode: number): Promise<void> {
  return new Promise((resolve, reject) => bunFs.fchmod(fd, mode, (error) => (error ? reject(error) : resolve())));
}

async function copyWithPool(
  backend: Backend,
  source: OpenFile,
  target: OpenFile,
  sourceFacts: Facts,
  targetFacts: Facts,
  { chunk, depth, signal, onProgress }: CopyRequest,
): Promise<number> {
  const own = chunk === DEFAULT_CHUNK && depth <= SHARED_BUFFERS ? null : new BufferPool({ size: chunk, count: depth });
  const pool = own ?? sharedPool();
  let told = -1;
  const tell =
    onProgress === null
      ? null
      : (progress: CopyProgress) => {
          told = progress.bytesCopied;
          if (!signal?.aborted) onProgress(progress);
        };
  try {
    const options = { pool, depth, signal, onProgress: tell };
    const bytes = await copyContents(backend, source, target, sourceFacts, targetFacts, options);
    if (told !== bytes) tell?.({ bytesCopied: bytes, totalBytes: bytes });
    return bytes;
  } finally {
    own?.close();
  }
}

let shared: BufferPool | null = null;

/** The pool of all copies with the default chunk: 4 MiB, made at the first and kept; a new ring gets a new one. */
function sharedPool(): BufferPool {
  if (shared === null || shared.orphaned) {
    shared?.close();
    shared = new BufferPool({ size: DEFAULT_CHUNK, count: SHARED_BUFFERS });
  }
  return shared;
}
