// Whole files on the node backend: read and written by Bun's own calls where those can be had, else in steps.
// Assumes validated arguments, and the node backend; nothing else is given the steps.

import { throwIfAborted, type Written } from "../node/abort.ts";
import { dataTaken } from "../node/arguments.ts";
import { bunFs } from "../node/bun-fs.ts";
import { namingFolder, systemError } from "../node/errors.ts";
import { isFreeOrFile } from "../node/exit-calls.ts";
import { lateRejection, rejection } from "../node/late-error.ts";
import { fileTooLarge, MAX_FILE_BYTES } from "../node/limits.ts";
import { later } from "../node/loading.ts";
import { done, inSteps, type Steps, settled } from "../node/steps.ts";
import { bytesOf } from "../node/views.ts";
import { acquireLeased } from "../ring/lease.ts";
import type { Backend, OpenFile, Path, WriteFileOptions } from "./interface.ts";
import { closeAfter, readToEnd, truncatesLate, writingAll } from "./loops.ts";
import { enterPool, leavePool } from "./node-pool.ts";

const copying = later(() => require("../kernel/copy.ts") as typeof import("../kernel/copy.ts"));

const { O_APPEND, O_EXCL } = bunFs.constants;

type View = NodeJS.ArrayBufferView;
type Signal = AbortSignal | null | undefined;

/**
 * All of a file; text where an encoding is given. Bun's own readFile is one visit to the thread pool where the steps are four, but
 * obeys no signal and has no limit: for regular files, once looked at.
 */
export async function readWhole(
  backend: Backend,
  path: Path,
  flags: number,
  signal: Signal,
  encoding: BufferEncoding | null,
): Promise<Buffer | string> {
  throwIfAborted(signal);
  // What can't be looked at is opened all the same, for the error that open gives.
  const stats = signal ? null : await backend.stat(path, false).catch(() => null);
  if (stats?.isFile() && Number(stats.size) > MAX_FILE_BYTES) throw fileTooLarge(Number(stats.size));
  if (stats?.isFile()) return readAtOnce(path, flags, encoding);
  const file = await backend.open(path, flags, 0o666);
  const bytes = await closeAfter(namingFolder(readToEnd(backend, file, signal), path), () => backend.close(file));
  return encoding === null ? bytes : bytes.toString(encoding);
}

/** By Bun's own readFile alone, as Bun does it: what is too large is found to be so when it has been read. */
export function readAtOnce(path: Path, flags: number, encoding: BufferEncoding | null): Promise<Buffer | string> {
  return new Promise((resolve) => {
    const options = { flag: flags as unknown as string, encoding };
    bunFs.readFile(path, options, (error, content) => {
      // Bun reads what Node refuses.
      if (!error && content.length <= MAX_FILE_BYTES) return resolve(content);
      resolve(lateRejection(() => failedRead(path, error, content)));
    });
  });
}

function failedRead(path: Path, error: NodeJS.ErrnoException | null, content: Buffer | string): Error {
  if (!error) return fileTooLarge(content.length);
  // Of too long a path Bun itself says so, and names no call.
  if (error.syscall === "open" || error.code === "ENAMETOOLONG") return systemError(error.errno!, "open", path);
  if (sizeOf(path) > MAX_FILE_BYTES) return fileTooLarge(sizeOf(path));
  if (typeof error.errno !== "number") return error;
  // Of a folder Node names the path (26), of what can't be read not.
  return systemError(error.errno, "read", error.code === "EISDIR" ? path : undefined);
}

/** Asked only where reading has failed. */
const sizeOf = (path: Path): number => bunFs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;

export function writeWhole(
  backend: Backend,
  path: Path,
  data: View,
  flags: number,
  mode: number,
  options: WriteFileOptions,
): Promise<void> {
  return inSteps(function* (): Steps<void> {
    throwIfAborted(options.signal);
    const lease = options.isOwned ? null : acquireLeased(data);
    try {
      yield* writingWhole(backend, path, data, flags, mode, options);
    } finally {
      lease?.release();
    }
  });
}

function* writingWhole(
  backend: Backend,
  path: Path,
  data: View,
  flags: number,
  mode: number,
  { signal, flush = false, progress = { bytesWritten: 0 }, isOwned = false }: WriteFileOptions,
): Steps<void> {
  // Bun's own writeFile keeps the data by itself.
  const bytes = isOwned || (!signal && !flush) ? bytesOf(data) : copying().bytesAtCall(data);
  const { byteLength } = bytes;
  // Bun's own writeFile resolves over a sync that failed.
  if (!signal && !flush && (yield* done(writeAtOnce(path, bytes, flags, mode)))) return;
  const truncates = truncatesLate(flags, bytes.byteLength);
  const file = yield* done(backend.open(path, truncates ? flags & ~bunFs.constants.O_TRUNC : flags, mode));
  try {
    // Taken while the file was being opened: an empty file would be no error.
    if (bytes.byteLength !== byteLength) throw dataTaken();
    yield* writeOpened(backend, file, bytes, truncates, flush, signal, progress);
  } catch (error) {
    yield* settled(backend.close(file));
    throw error;
  }
  yield* done(backend.close(file));
  throwIfAborted(signal);
}

/**
 * Bun's own writeFile: one visit to the thread pool where the steps cost five. It truncates late, too, but leaves what it
 * failed to write over as it is, and does not say how much it wrote: false, and the steps do it again.
 */
function writeAtOnce(path: Path, bytes: Uint8Array, flags: number, mode: number): Promise<boolean> {
  const options = { flag: flags as unknown as string, mode };
  const { byteLength } = bytes;
  const settle = (): void => {
    // At the end of the thread: the same bytes to the same places as the pool may be writing, where a file takes them so.
    if ((flags & (O_APPEND | O_EXCL)) !== 0 || bytes.byteLength !== byteLength || !isFreeOrFile(path)) return;
    leavePool(settle);
    bunFs.writeFileSync(path, bytes, options);
  };
  enterPool(settle, byteLength);
  return new Promise((resolve) => {
    bunFs.writeFile(path, bytes, options, (error) => {
      leavePool(settle);
      if (!error) return resolve(true);
      const { errno } = error;
      if (typeof errno !== "number") return resolve(rejection(error));
      const isOpen = error.syscall === "open";
      if (!isOpen && truncatesLate(flags, bytes.byteLength)) return resolve(false);
      resolve(lateRejection(() => (isOpen ? systemError(errno, "open", path) : systemError(errno, "write"))));
    });
  });
}

function* writeOpened(
  backend: Backend,
  file: OpenFile,
  bytes: Uint8Array,
  truncates: boolean,
  flush: boolean,
  signal: Signal,
  progress: Written,
): Steps<void> {
  try {
    yield* writingAll(backend, file, bytes, signal, progress);
    if (truncates) yield* truncateTo(backend, file, progress.bytesWritten);
    if (flush) yield* done(backend.fsync(file));
  } catch (error) {
    if (truncates) yield* settled(backend.ftruncate(file, progress.bytesWritten));
    throw error;
  }
}

/** A device or a pipe, which has no length, says EINVAL; O_TRUNC says nothing of it either. */
function* truncateTo(backend: Backend, file: OpenFile, length: number): Steps<void> {
  try {
    yield* done(backend.ftruncate(file, length));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
  }
}
