// copyFile: Node's contract and error shape, with progress, abort and O_DIRECT beside it. Small files go through one chain
// of the ring, others through a pipeline of reads and writes; both backends share all but the chain.
// A target that was opened and did not become a whole copy is removed; one that could not be opened is left alone.

import { constants } from "node:fs";
import { bypassCache, cancelling, currentBackend } from "../backend/choose.ts";
import { type Backend, type CopyHow, INCOMPLETE, type OpenFile, type Path } from "../backend/interface.ts";
import { type Limits, limited, soonAfterAbort, throwIfAborted } from "../node/abort.ts";
import { invalidArgValue, lowMode, validateBoolean, validateFunction, validateInteger } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";
import { ENOENT } from "../node/errno.ts";
import { abortError, errnoOf, systemError } from "../node/errors.ts";
import { finishAtExit } from "../node/exit.ts";
import { copyHere } from "../node/exit-calls.ts";
import { copiedPermissions, isDirectory, isRegular, permissions } from "../node/file-info.ts";
import { late, rejection } from "../node/late-error.ts";
import { type CacheUse, isBypass, validateLimits } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { chmodOpen } from "../node/set-attributes.ts";
import { type CopyProgress, copyContents, DEFAULT_CHUNK } from "./copy-contents.ts";

export type { CopyProgress } from "./copy-contents.ts";

/** An abort or a timeout removes the unfinished target. */
export interface CopyFileOptions extends Limits {
  /** COPYFILE_EXCL, COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE. Default 0. */
  mode?: number | undefined;
  /** Called after each chunk, and at least once. It must not throw. */
  onProgress?: ((progress: CopyProgress) => void) | undefined;
  /** Past the page cache with O_DIRECT, where the file systems take it. Default false. */
  direct?: boolean | undefined;
  /** "bypass": the pages of a large file leave the page cache when they have been copied, as with `open`. Default "keep". */
  cache?: CacheUse | undefined;
  /** Chunks in flight, 1 to 64. Default 8. */
  queueDepth?: number | undefined;
  /** Bytes of a chunk, a multiple of 4096 up to 64 MiB. Default 256 KiB (measured: 4 MiB chunks take twice as long). */
  chunkSize?: number | undefined;
}

/** What a copy is asked to do, checked. */
export interface CopyRequest {
  mode: number;
  signal: AbortSignal | null;
  timeoutMs: number | undefined;
  onProgress: ((progress: CopyProgress) => void) | null;
  direct: boolean;
  bypass: boolean;
  depth: number;
  chunk: number;
  /** For a name within a tree; null: links are followed on both sides. */
  within: Within | null;
}

/** How a file of a tree is copied: what was no link when it was listed is none when it is opened. */
interface Within extends CopyHow {
  /** Anything but a regular file is refused: NOT_A_FILE. */
  regularOnly: boolean;
}

const { COPYFILE_EXCL, COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE } = constants;
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_DIRECT, O_NOFOLLOW, O_NONBLOCK } = constants;
const DEFAULT_DEPTH = 8;
const MAX_CHUNK = 64 * 1024 * 1024;
/** No bytes copied: the source is no regular file. */
export const NOT_A_FILE = -3;

export const DEFAULT_REQUEST: CopyRequest = {
  mode: 0,
  signal: null,
  timeoutMs: undefined,
  onProgress: null,
  direct: false,
  bypass: false,
  depth: DEFAULT_DEPTH,
  chunk: DEFAULT_CHUNK,
  within: null,
};

function copyRequest(options: unknown): CopyRequest {
  if (options === null || typeof options !== "object") {
    const mode = lowMode(options);
    return mode === 0 ? DEFAULT_REQUEST : { ...DEFAULT_REQUEST, mode };
  }
  const { mode = 0, signal, timeoutMs, onProgress, direct = false, cache } = options as CopyFileOptions;
  const { queueDepth = DEFAULT_DEPTH, chunkSize = DEFAULT_CHUNK } = options as CopyFileOptions;
  validateInteger(mode, "options.mode", 0, 7);
  validateLimits({ signal, timeoutMs });
  if (onProgress !== undefined) validateFunction(onProgress, "options.onProgress");
  validateBoolean(direct, "options.direct");
  validateInteger(queueDepth, "options.queueDepth", 1, 64);
  validateInteger(chunkSize, "options.chunkSize", 4096, MAX_CHUNK);
  if (chunkSize % 4096 !== 0) throw invalidArgValue("options.chunkSize", chunkSize, "must be a multiple of 4096");
  return {
    mode,
    signal: signal ?? null,
    timeoutMs,
    onProgress: onProgress ?? null,
    direct,
    bypass: isBypass(cache),
    depth: queueDepth,
    chunk: chunkSize,
    within: null,
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
  const { signal, timeoutMs, onProgress, mode } = request;
  if (timeoutMs === undefined) {
    const work = copyPath(currentBackend(), from, to, request);
    await (onProgress === null && signal === null ? finishAtExit(work, () => copyHere(from, to, mode)) : work);
  } else {
    const copy = (until: AbortSignal): Promise<number> =>
      copyPath(currentBackend(), from, to, { ...request, signal: until });
    await limited({ signal: signal ?? undefined, timeoutMs }, "copyfile", copy, from, to);
  }
}

/** Copies one file. Resolves to its bytes. */
export async function copyPath(backend: Backend, from: Path, to: Path, request: CopyRequest): Promise<number> {
  if ((request.mode & (COPYFILE_FICLONE | COPYFILE_FICLONE_FORCE)) !== 0) {
    const cloned = await clone(from, to, request);
    if (cloned >= 0) return cloned;
  }
  if (request.direct) return copyOpened(backend, from, to, request, false);
  const copied = await backend.copySmall(from, to, (request.mode & COPYFILE_EXCL) !== 0, false);
  if (copied >= 0) return tellSmall(backend, to, copied, request);
  const made = copied === INCOMPLETE;
  return copyOpened(backend, from, to, made ? { ...request, mode: request.mode & ~COPYFILE_EXCL } : request, made);
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
  if (!forced && (await currentBackend().lookup(to, true)) !== ENOENT) return -1;
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

/** A copy that was aborted meanwhile, or whose callback throws, is removed as any other. */
async function tellSmall(backend: Backend, to: Path, copied: number, request: CopyRequest): Promise<number> {
  try {
    throwIfAborted(request.signal);
    request.onProgress?.({ bytesCopied: copied, totalBytes: copied });
  } catch (error) {
    await backend.unlink(to).catch(() => {});
    throw error;
  }
  return copied;
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
    // In a tree the folders are open only as long as the work goes on.
    return await (signal === null || request.within !== null ? work : soonAfterAbort(work, signal));
  } catch (error) {
    await removeTarget();
    // If an abort could not wait for what is in the kernel, what came to be since goes when that is back.
    if (signal?.aborted) void work.catch(removeTarget);
    // A transfer that the kernel has cancelled says ECANCELED.
    return rejection(late(() => (signal?.aborted ? abortError(signal) : asCopyError(error, from, to))));
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
  const { signal, within } = request;
  const source = await openSource(backend, from, request);
  if (source === null) return NOT_A_FILE;
  opened.source = source;
  const info = await backend.info(source);
  if (within?.regularOnly && !isRegular(info)) return NOT_A_FILE;
  if (isDirectory(info)) throw systemError(errnoOf("EISDIR"), "copyfile");
  throwIfAborted(signal);
  const exists = within === null && !made && typeof (await backend.lookup(to, false)) !== "number";
  const { target, fresh } = await openTarget(backend, to, permissions(info), request, made);
  opened.target = target;
  opened.removable = within === null ? !exists : fresh;
  throwIfAborted(signal);
  const before = await backend.info(target);
  if (before.identity === info.identity) {
    opened.removable = false;
    return within === null ? 0 : info.size;
  }
  const mode = copiedPermissions(info, before, within?.dropSetId === true);
  if (isRegular(before)) {
    opened.removable = true;
    // Not emptied where every byte will be written: ext4 would flush it at the close (backend/uring/write-file.ts).
    const kept = isRegular(info) && info.blocks * 512 >= info.size ? info.size : 0;
    if (before.size > kept) await backend.ftruncate(target, kept);
    if (permissions(before) !== mode) await chmodOpen(target.fd, mode);
  }
  throwIfAborted(signal);
  if (request.bypass) for (const file of [source, target]) bypassCache(file);
  const bytes = await copyContents(cancelling(backend, signal), source, target, info, before, request);
  // Writing clears them.
  if (isRegular(before) && (mode & SET_ID) !== 0) await chmodOpen(target.fd, mode);
  if (within?.times) await backend.setAttributes(target, within.accessed ? await backend.info(source) : info, null);
  await backend.close(target); // a failure to close is a failure to write
  return bytes;
}

const SET_ID = 0o6000;

/** Null where there is a link, or what can't be opened at once, in the place of a file of a tree. */
async function openSource(backend: Backend, from: Path, { within, direct }: CopyRequest): Promise<OpenFile | null> {
  if (within === null) return openMaybeDirect(backend, from, O_RDONLY, 0, direct);
  const flags = O_RDONLY | (within.follow ? 0 : O_NOFOLLOW) | (within.regularOnly ? O_NONBLOCK : 0);
  try {
    return await openMaybeDirect(backend, from, flags, 0, direct);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (within.regularOnly && (code === "ELOOP" || code === "ENXIO")) return null;
    throw error;
  }
}

/** In a tree no link is followed, and what is overwritten is a regular file. */
async function openTarget(
  backend: Backend,
  to: Path,
  mode: number,
  { within, direct, mode: wish }: CopyRequest,
  made: boolean,
): Promise<{ target: OpenFile; fresh: boolean }> {
  const flags = O_WRONLY | O_CREAT;
  const openWith = (how: number, bits: number): Promise<OpenFile> => openMaybeDirect(backend, to, how, bits, direct);
  if (within === null) {
    const exclusive = (wish & COPYFILE_EXCL) !== 0 ? O_EXCL : 0;
    return { target: await openWith(flags | exclusive, mode), fresh: made };
  }
  for (let tries = 0; ; tries++) {
    try {
      return { target: await openWith(flags | O_EXCL | O_NOFOLLOW, mode & 0o777), fresh: true };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || !within.overwrite || tries > 8) throw error;
    }
    const there = await backend.lookup(to, true);
    if (typeof there === "number") {
      if (there === ENOENT) continue;
      throw systemError(there, "copyfile");
    }
    if (isDirectory(there)) throw systemError(errnoOf("EISDIR"), "copyfile");
    if (!isRegular(there)) await backend.unlink(to);
    else {
      const target = await openWith(O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT" || error.code === "ELOOP") return null;
        throw error;
      });
      if (target !== null) return { target, fresh: false };
    }
  }
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
