// readFile, writeFile and appendFile: whole files by path, or by an open handle.
// Validates, then calls the backend, whose promise is the usual call's result. An argument error is a rejection, as it is
// of Node's async functions, and nothing has been queued then. What each does is said in promises.ts.

import type { BufferView } from "node:buffer";
import type { Mode, OpenMode, PathLike, ReadFileOptionsWithBuffer } from "node:fs";
import type { FileHandle as NodeFileHandle } from "node:fs/promises";
import { currentBackend } from "../backend/choose.ts";
import { validateReadFileBuffer } from "../handle/contents.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { abortable, type Limits, limited, throwIfAborted, unlessAborted, type Written } from "../node/abort.ts";
import { later } from "../node/loading.ts";
import { FILE_MODE, parseFlags, parseMode } from "../node/open-flags.ts";
import {
  type DataChunks,
  type FileOptions,
  fileOptions,
  flushOption,
  isChunks,
  isLimited,
  viewOf,
  type WholeData,
} from "../node/options.ts";
import { toPath } from "../node/path.ts";

type View = NodeJS.ArrayBufferView;
/** A path, or a handle that `open` of this package gave. */
type FileLike = PathLike | FileHandle | NodeFileHandle;

interface ReadOptions extends Limits {
  encoding?: BufferEncoding | null | undefined;
  flag?: OpenMode | undefined;
}
interface WriteOptions extends ReadOptions {
  mode?: Mode | undefined;
  flush?: boolean | undefined;
}

type Opening = typeof import("./open.ts");
/** Handles, when there is one or one is needed: most files are read and written by path. */
const handles = later(() => require("./open.ts") as Opening);

/** A handle of ours, or one of node:fs/promises: each reads and writes by its own methods. */
function isHandle(file: unknown): file is FileHandle {
  if (typeof file !== "object" || file === null || file instanceof Uint8Array || file instanceof URL) return false;
  if (file instanceof handles().FileHandle) return true;
  const { fd, readFile: read, writeFile: write } = file as { fd?: unknown; readFile?: unknown; writeFile?: unknown };
  return typeof fd === "number" && typeof read === "function" && typeof write === "function";
}

export function readFile<T extends View>(file: FileLike, options: ReadFileOptionsWithBuffer<T>): Promise<BufferView<T>>;
export function readFile(
  file: FileLike,
  options?: (ReadOptions & { encoding?: null | undefined }) | null,
): Promise<NonSharedBuffer>;
export function readFile(
  file: FileLike,
  options: (ReadOptions & { encoding: BufferEncoding }) | BufferEncoding,
): Promise<string>;
export function readFile(
  file: FileLike,
  options: ReadOptions | BufferEncoding | null,
): Promise<string | NonSharedBuffer>;
export function readFile(file: unknown, options?: unknown): Promise<any> {
  try {
    if (isHandle(file)) return file.readFile(options as ReadOptions);
    const checked = fileOptions(options);
    const encoding = checked.encoding || null;
    validateReadFileBuffer(checked);
    throwIfAborted(checked.signal);
    const path = toPath(file);
    const flags = parseFlags(checked.flag || "r", "options.flag");
    const backend = currentBackend();
    const intoCallers = checked.buffer !== undefined;
    if (!intoCallers && !isLimited(checked)) return backend.readFile(path, flags, { encoding });
    const read = (signal?: AbortSignal): Promise<Buffer | string> =>
      intoCallers
        ? byHandle(path, flags, FILE_MODE, signal, (handle) => handle.readFile(within(checked, signal)))
        : abortable(backend.readFile(path, flags, { encoding, signal }), signal!);
    return isLimited(checked) ? limited(checked, "read", read, path) : read();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** The options of a handle's call: the time limit is the whole call's, and is in the signal. */
const within = (options: FileOptions, signal: AbortSignal | undefined): ReadOptions =>
  ({ ...options, signal, timeoutMs: undefined }) as ReadOptions;

/** Opens the file for one act. */
async function byHandle<T>(
  path: string | Buffer,
  flags: number,
  mode: number,
  signal: AbortSignal | undefined,
  act: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  const { openHandle, openUntil } = handles();
  const opening = signal === undefined ? openHandle(path, flags, mode) : openUntil(signal, path, flags, mode);
  const handle = await opening;
  return thenClose(handle, act(handle));
}

/** Closes after the work. If both fail it is the work's error that is told (`await using` would hide it in another). */
export async function thenClose<T>(handle: FileHandle, work: Promise<T>): Promise<T> {
  try {
    const result = await work;
    await handle.close();
    return result;
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
}

export function writeFile(
  file: FileLike,
  data: WholeData | DataChunks,
  options?: WriteOptions | BufferEncoding | null,
): Promise<void> {
  return write(file, data, options, "w");
}

export function appendFile(
  file: FileLike,
  data: WholeData | DataChunks,
  options?: WriteOptions | BufferEncoding | null,
): Promise<void> {
  return write(file, data, options, "a");
}

function write(file: unknown, data: unknown, options: unknown, defaultFlag: string): Promise<void> {
  try {
    if (isHandle(file)) return file.writeFile(data as WholeData, options as WriteOptions);
    const checked = fileOptions(options);
    const flush = flushOption(checked);
    const mode = parseMode(checked.mode, "mode", FILE_MODE);
    const whole = isChunks(data) ? null : viewOf(data, "data", checked.encoding);
    throwIfAborted(checked.signal);
    const isOwned = typeof data === "string";
    const path = toPath(file);
    const flags = parseFlags(checked.flag || defaultFlag, "options.flag");
    const backend = currentBackend();
    if (whole !== null && !isLimited(checked)) return backend.writeFile(path, whole, flags, mode, { flush, isOwned });
    const progress: Written = { bytesWritten: 0 };
    const save = (signal?: AbortSignal): Promise<void> => {
      if (whole === null)
        return byHandle(path, flags, mode, signal, (handle) =>
          handle.writeFile(data as DataChunks, within(checked, signal)),
        );
      const written = backend.writeFile(path, whole, flags, mode, { signal, flush, progress, isOwned });
      return unlessAborted(written, signal!, progress);
    };
    return isLimited(checked) ? limited(checked, "write", save, path) : save();
  } catch (error) {
    return Promise.reject(error);
  }
}
