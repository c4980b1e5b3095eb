// Whole files on the node backend: read and written by Bun's own calls where those can be had, else in steps.
// Assumes validated arguments, and the node backend; nothing else is given the steps.

import { type Landed, throwIfAborted } from "../node/abort.ts";
import { bunFs } from "../node/bun-fs.ts";
import { namingFolder, systemError } from "../node/errors.ts";
import { fileTooLarge, MAX_FILE_BYTES } from "../node/limits.ts";
import { bytesOf } from "../node/views.ts";
import type { Backend, OpenFile, Path, WriteFileOptions } from "./interface.ts";
import { readToEnd, truncatesLate, writeAll } from "./loops.ts";

type View = NodeJS.ArrayBufferView;
type Signal = AbortSignal | null | undefined;

export async function readWhole(backend: Backend, path: Path, flags: number, signal: Signal): Promise<Buffer> {
  throwIfAborted(signal);
  // Bun's own readFile costs one visit to the thread pool where the loop costs four, but it can't be stopped and has no
  // limit: only for regular files. What can't be looked at is opened all the same, for the error that open gives.
  const stats = await backend.stat(path, false).catch(() => null);
  if (stats?.isFile() && Number(stats.size) > MAX_FILE_BYTES) throw fileTooLarge(Number(stats.size));
  throwIfAborted(signal);
  if (stats?.isFile() && !signal) return readRegular(path, flags);
  const file = await backend.open(path, flags, 0o666);
  return closeAfter(backend, file, namingFolder(readToEnd(backend, file, signal), path));
}

function readRegular(path: Path, flags: number): Promise<Buffer> {
  return new Promise<Buffer>((resolve, reject) => {
    bunFs.readFile(path, { flag: flags as unknown as string }, (error, bytes) => {
      if (!error) resolve(bytes);
      else if (typeof error.errno !== "number") reject(error);
      else if (error.syscall === "open") reject(systemError(error.errno, "open", path));
      else reject(systemError(error.errno, "read"));
    });
  });
}

export async function writeWhole(
  backend: Backend,
  path: Path,
  data: View,
  flags: number,
  mode: number,
  { signal, flush = false, landed = { bytes: 0 } }: WriteFileOptions,
): Promise<void> {
  throwIfAborted(signal);
  const bytes = bytesOf(data);
  if (!signal && (await writeAtOnce(path, bytes, flags, mode, flush))) return;
  const truncates = truncatesLate(flags, bytes.byteLength);
  const file = await backend.open(path, truncates ? flags & ~bunFs.constants.O_TRUNC : flags, mode);
  await closeAfter(backend, file, writeOpened(backend, file, bytes, truncates, flush, signal, landed));
  throwIfAborted(signal);
}

/**
 * Bun's own writeFile: one visit to the thread pool where the steps cost five. It truncates late, too, but leaves what it
 * failed to write over as it is, and does not say how much it wrote: false, and the steps do it again.
 */
function writeAtOnce(path: Path, bytes: Uint8Array, flags: number, mode: number, flush: boolean): Promise<boolean> {
  return new Promise((resolve, reject) => {
    bunFs.writeFile(path, bytes, { flag: flags as unknown as string, mode, flush }, (error) => {
      if (!error) resolve(true);
      else if (typeof error.errno !== "number") reject(error);
      else if (error.syscall === "open") reject(systemError(error.errno, "open", path));
      else if (truncatesLate(flags, bytes.byteLength)) resolve(false);
      else reject(systemError(error.errno, error.syscall === "fsync" ? "fsync" : "write"));
    });
  });
}

async function writeOpened(
  backend: Backend,
  file: OpenFile,
  bytes: Uint8Array,
  truncates: boolean,
  flush: boolean,
  signal: Signal,
  landed: Landed,
): Promise<void> {
  try {
    await writeAll(backend, file, bytes, signal, landed);
    if (truncates) await truncateTo(backend, file, landed.bytes);
    if (flush) await backend.fsync(file);
  } catch (error) {
    if (truncates) await truncateTo(backend, file, landed.bytes).catch(() => {});
    throw error;
  }
}

/** A device or a pipe, which has no length, says EINVAL; O_TRUNC says nothing of it either. */
async function truncateTo(backend: Backend, file: OpenFile, length: number): Promise<void> {
  try {
    await backend.ftruncate(file, length);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
  }
}

/** Closes the file when `operation` has ended; the operation's error goes before close's. */
async function closeAfter<T>(backend: Backend, file: OpenFile, operation: Promise<T>): Promise<T> {
  try {
    await operation;
  } catch (error) {
    await backend.close(file).catch(() => {});
    throw error;
  }
  await backend.close(file);
  return operation;
}
