// Opening files: Node's open, and beyond it within a time or a signal, and past the page cache with any memory.
// Assumes that a descriptor nobody waits for any more is ours to close. Never says `direct` of a file that is buffered.

import { constants, type Mode, type OpenMode, type PathLike } from "node:fs";
import { bypassCache, cancellable, currentBackend } from "../backend/choose.ts";
import type { DirectOptions } from "../backend/direct.ts";
import type { Backend, OpenFile, Path } from "../backend/interface.ts";
import { orClose } from "../backend/loops.ts";
import { isBunClassLinked, linkBunClass } from "../handle/bun-class.ts";
import { bunHandleOf, FileHandle, handlePrototype } from "../handle/file-handle.ts";
import { abortable, type Limits, limited } from "../node/abort.ts";
import { validateBoolean } from "../node/arguments.ts";
import { later } from "../node/loading.ts";
import { FILE_MODE, parseFlags, parseMode } from "../node/open-flags.ts";
import { type CacheUse, isBypass, limitsIn } from "../node/options.ts";
import { toPath } from "../node/path.ts";

export { FileHandle };

const { O_ACCMODE, O_APPEND, O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_RDWR, O_TRUNC, O_WRONLY } = {
  ...constants,
  O_ACCMODE: 0b11,
};

/** What `open` takes beside path, flags and mode. */
export interface OpenOptions extends Limits {
  /** Permissions of a file that is created, less the umask. Default 0o666. */
  mode?: Mode | null | undefined;
  /**
   * Past the page cache (O_DIRECT), with any offset, length and memory: what is aligned (see `alignedBuffer`) goes
   * straight, the rest costs a copy, and for a write the reading of the blocks at its ends. Where the file or its file
   * system takes no O_DIRECT, and for appending, the file is opened buffered: `handle.direct` says which. One handle keeps
   * its own writes apart; two that write to the same block at a time, from anywhere, lose one's. Default false.
   */
  direct?: boolean | undefined;
  /**
   * "bypass": through the page cache, but what was read or written leaves it when it has been (RWF_DONTCACHE), so that a pass over a
   * large file pushes nothing else out. A hint: without a ring, before Linux 6.14, and on file systems that don't have it
   * (tmpfs, for one) it does nothing. Default "keep".
   */
  cache?: CacheUse | undefined;
}

export { type CacheUse, isBypass };

const handleFor = (file: OpenFile): FileHandle => new FileHandle(file);

/** Opens by checked arguments. */
export function openHandle(path: Path, flags: number, mode: number): Promise<FileHandle> {
  const handle = currentBackend().open(path, flags, mode, handleFor);
  if (isBunClassLinked) return handle;
  const met = linkBunClass(handlePrototype, bunHandleOf);
  return handle.then((opened) => met.then(() => opened));
}

async function openBypassing(path: Path, flags: number, mode: number): Promise<FileHandle> {
  return adopt(bypassCache(await currentBackend().open(path, flags, mode)));
}

/**
 * Node's own `open`. `flags` is a string ("r" by default) or a number of O_*; `mode` (default 0o666, less the umask) is for a
 * file that is created. The descriptor is close-on-exec.
 */
export function openAsNode(path: PathLike, flags?: OpenMode | null, mode?: Mode | null): Promise<FileHandle> {
  try {
    return openHandle(toPath(path), parseFlags(flags), parseMode(mode, "mode", FILE_MODE));
  } catch (error) {
    return Promise.reject(error);
  }
}

/** A handle for a file that was opened in another way. */
export async function adopt(file: OpenFile): Promise<FileHandle> {
  if (!isBunClassLinked) await linkBunClass(handlePrototype, bunHandleOf);
  return handleFor(file);
}

/** As `openHandle`, until the signal fires. What is opened after that is closed. */
export function openUntil(
  signal: AbortSignal,
  path: Path,
  flags: number,
  mode: number,
  start: typeof openHandle = openHandle,
): Promise<FileHandle> {
  const opening = cancellable(() => start(path, flags, mode), signal);
  const opened = abortable(opening, signal);
  opened.catch(() => opening.then((handle) => handle.close())).catch(() => {});
  return opened;
}

/**
 * Opens a file. `flags` is a string ("r" by default) or a number of O_*; `mode` (default 0o666, less the umask) is for a
 * file that is created; options may take its place or follow it. The descriptor is close-on-exec.
 */
export function open(
  path: PathLike,
  flags?: OpenMode | null,
  mode?: Mode | OpenOptions | null,
  options?: OpenOptions | null,
): Promise<FileHandle> {
  try {
    const checked = toPath(path);
    const bits = parseFlags(flags);
    const given = isOptions(mode) ? mode : (options ?? {});
    const { mode: ofOptions, direct = false, cache, signal, timeoutMs } = given;
    const permissions = parseMode(isOptions(mode) ? ofOptions : (mode ?? ofOptions), "mode", FILE_MODE);
    const limits = limitsIn({ signal, timeoutMs });
    validateBoolean(direct, "options.direct");
    const bypass = isBypass(cache);
    const start = direct ? openDirect : bypass ? openBypassing : openHandle;
    if (limits === null) return start(checked, bits, permissions);
    return limited(limits, "open", (signal) => openUntil(signal, checked, bits, permissions, start), checked);
  } catch (error) {
    return Promise.reject(error);
  }
}

function isOptions(value: unknown): value is OpenOptions {
  return typeof value === "object" && value !== null;
}

/* ---- O_DIRECT ------------------------------------------------------------------------------------------------------ */

type Direct = typeof import("../backend/direct.ts");
const directCode = later(() => require("../backend/direct.ts") as Direct);

async function openDirect(path: Path, flags: number, mode: number): Promise<FileHandle> {
  const buffered = flags & ~O_DIRECT;
  // Whole blocks can't be appended, and O_DIRECT means something else for a pipe.
  if ((flags & O_APPEND) !== 0 || !(await mayBeDirect(path))) return openHandle(path, buffered, mode);
  const base = currentBackend();
  const writeOnly = (flags & O_ACCMODE) === O_WRONLY;
  // The blocks at the ends of a write are read first.
  const access = (writeOnly ? (flags & ~O_ACCMODE) | O_RDWR : flags) | O_DIRECT;
  if ((flags & O_CREAT) !== 0 && (flags & O_EXCL) !== 0)
    return createDirect(base, path, access, writeOnly, buffered, mode);
  let file: OpenFile;
  try {
    file = await base.open(path, access, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EINVAL" && !(code === "EACCES" && writeOnly)) throw error;
    return openHandle(path, buffered, mode);
  }
  return handleOfDirect(base, file, writeOnly, buffered);
}

/** Opens the very file once more, whatever its path leads to by now. */
function reopen(base: Backend, { fd }: OpenFile, flags: number): Promise<OpenFile> {
  return base.open(`/proc/self/fd/${fd}`, flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW), 0);
}

/**
 * Creates a file that must not be there. Without O_DIRECT first: the kernel makes the file, and then says EINVAL if it takes
 * none; by then the path may lead to another one.
 */
async function createDirect(
  base: Backend,
  path: Path,
  access: number,
  writeOnly: boolean,
  buffered: number,
  mode: number,
): Promise<FileHandle> {
  if (!isBunClassLinked) await linkBunClass(handlePrototype, bunHandleOf);
  const made = await base.open(path, buffered, mode);
  let file: OpenFile;
  try {
    file = await reopen(base, made, access);
  } catch {
    return new FileHandle(made, base); // no O_DIRECT here, or a mode that lets nobody read it
  }
  await base.close(made);
  return handleOfDirect(base, file, writeOnly, buffered);
}

/** Whether the path leads to nothing yet, a regular file or a block device. */
async function mayBeDirect(path: Path): Promise<boolean> {
  try {
    const stats = await currentBackend().stat(path, false);
    return stats.isFile() || stats.isBlockDevice();
  } catch {
    return true; // opening says what is wrong
  }
}

async function handleOfDirect(
  base: Backend,
  file: OpenFile,
  writeOnly: boolean,
  buffered: number,
): Promise<FileHandle> {
  const made = await orClose(base, file, async () => {
    if (!isBunClassLinked) await linkBunClass(handlePrototype, bunHandleOf);
    const { directBackend } = directCode();
    const alignment = await base.directAlignment(file);
    const stats = await base.fstat(file, false);
    const sized = stats.isFile();
    if (alignment === null || !(sized || stats.isBlockDevice())) return reopen(base, file, buffered);
    const options: DirectOptions = { alignment, sized, writeOnly, handle: null };
    options.handle = new FileHandle(file, directBackend(base, file, options));
    return options.handle;
  });
  if (made instanceof FileHandle) return made;
  await base.close(file);
  return new FileHandle(made as OpenFile, base);
}
