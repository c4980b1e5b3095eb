// Operations on paths through the ring: open, mkdir, rename, unlink, rmdir, symlink, link.
// Paths are copied into shim memory before the call returns.

import { existsSync } from "node:fs";
import {
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  constants,
  O_CLOEXEC,
  O_TMPFILE,
  RWF_DONTCACHE,
} from "../../kernel/constants.ts";
import { held } from "../../kernel/shim.ts";
import { AT_FDCWD, Opcode, SqeFlag } from "../../kernel/sqe.ts";
import { unavailable } from "../../node/arguments.ts";
import { EINTR, ENXIO } from "../../node/errno.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { CELL_HALF } from "../../ring/scratch.ts";
import { OpenFile, type Path } from "../interface.ts";
import { close } from "./close.ts";
import { begin, end, fail, onPaths, pathAddress, remoteFlag, stage, stageAgain, thread } from "./request.ts";

/** Whether an open with these flags follows a link. */
export function opensLink(flags: number): boolean {
  const { O_NOFOLLOW, O_CREAT, O_EXCL } = constants;
  return (flags & O_NOFOLLOW) === 0 && (flags & (O_CREAT | O_EXCL)) !== (O_CREAT | O_EXCL);
}

/** An open that is under way. */
interface Opening {
  readonly flags: number;
  readonly mode: number;
  readonly wrap: ((file: OpenFile) => unknown) | null;
  /** Of the path. */
  readonly address: number;
  /** It has been sent to a thread, because it has to wait. */
  waits: boolean;
}

function beginOpen(path: Path, flags: number, mode: number, wrap: Opening["wrap"]): Operation {
  const t = thread();
  const cell = t.cells.acquireForPath();
  const operation = begin(t, finishOpen, "open", null);
  operation.path = path;
  operation.cell = cell;
  const address = pathAddress(operation, cell, 0, path);
  operation.state = { flags, mode, wrap, address, waits: false } satisfies Opening;
  return operation;
}

function stageOpen(operation: Operation): void {
  const t = thread();
  const path = operation.path!;
  const { flags, mode, address, waits } = operation.state as Opening;
  const creates = (flags & constants.O_CREAT) !== 0; // never inline, then
  const isRemote = opensLink(flags) ? t.mounts.holdsPath(path) : t.mounts.holdsName(path);
  const place = isRemote ? remoteFlag(t, operation) : creates ? t.placement.punted() : 0;
  stage(t, operation, Opcode.OPENAT, waits ? SqeFlag.ASYNC : place, AT_FDCWD, 0, address, mode, flags | O_CLOEXEC);
}

function finishOpen(operation: Operation, res: number): void {
  const opening = operation.state as Opening;
  const { flags, wrap } = opening;
  if (res < 0) {
    // Inline, the kernel opens with O_NONBLOCK, and a FIFO without a reader says ENXIO: a thread waits for the reader.
    const mustWait = res === ENXIO && !opening.waits && (flags & constants.O_NONBLOCK) === 0;
    if (operation.cancelled || (res !== EINTR && !mustWait)) return fail(operation, res);
    opening.waits ||= mustWait;
    return operation.again === null ? stageOpen(operation) : operation.again();
  }
  const { resolve } = operation;
  const t = thread();
  const file = new OpenFile(res);
  file.direct = (flags & constants.O_DIRECT) !== 0;
  file.append = (flags & constants.O_APPEND) !== 0;
  file.nonBlocking = (flags & constants.O_NONBLOCK) !== 0;
  if (t.mounts.any) file.remote = t.mounts.holdsFile(res, operation.cell!);
  held(t.native, file);
  end(operation);
  resolve(wrap === null ? file : wrap(file));
}

/** A descriptor that somebody else has opened. */
export function adopt(fd: number): OpenFile {
  const t = thread();
  const file = new OpenFile(fd);
  if (t.mounts.any) {
    const cell = t.cells.acquire();
    file.remote = t.mounts.holdsFile(fd, cell);
    t.cells.release(cell);
  }
  return file;
}

/** Backend.bypassCache. */
export function bypassCache(file: OpenFile): void {
  file.bypass = true;
  file.rwFlags = RWF_DONTCACHE;
}

export function open<T>(
  path: Path,
  flags: number,
  mode: number,
  wrap: ((file: OpenFile) => T) | null = null,
): Promise<T | OpenFile> {
  const operation = beginOpen(path, flags, mode, wrap);
  stageOpen(operation);
  return promiseFor(operation);
}

/** Bytes of a struct open_how: flags, mode, resolve, 64 bits each. */
const OPEN_HOW_BYTES = 24;

/** As `open`, from the folder open as `dir` and with RESOLVE_ flags: OPENAT2, which a filter of system calls does not see. */
export function openBeneath(dir: number, path: Path, flags: number, mode: number, resolve: number): Promise<OpenFile> {
  const operation = beginOpen(path, flags, mode, null);
  const { words, halfWord: how, address: at } = operation.cell!;
  const opening = operation.state as Opening;
  stageAgain(operation, () => {
    const t = thread();
    words.set([flags | O_CLOEXEC, 0, mode, 0, resolve, 0], how);
    // A folder on a remote file system may be asked for anything below it; so may one that such a mount hangs in.
    const flag = opening.waits || t.mounts.any ? SqeFlag.ASYNC : 0;
    stage(t, operation, Opcode.OPENAT2, flag, dir, at + CELL_HALF, opening.address, OPEN_HOW_BYTES, 0);
  });
  return promiseFor(operation);
}

export const mkdir = (path: Path, mode: number): Promise<void> =>
  onPaths(Opcode.MKDIRAT, "mkdir", path, undefined, AT_FDCWD, mode, 0);
export const unlink = (path: Path): Promise<void> =>
  onPaths(Opcode.UNLINKAT, "unlink", path, undefined, AT_FDCWD, 0, 0);
export const rmdir = (path: Path): Promise<void> =>
  onPaths(Opcode.UNLINKAT, "rmdir", path, undefined, AT_FDCWD, 0, AT_REMOVEDIR);

/** `renameFlags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2 (renameat2(2)). */
export const rename = (from: Path, to: Path, renameFlags: number = 0): Promise<void> =>
  onPaths(Opcode.RENAMEAT, "rename", from, to, AT_FDCWD, AT_FDCWD, renameFlags);
export const symlink = (target: Path, path: Path): Promise<void> =>
  onPaths(Opcode.SYMLINKAT, "symlink", target, path, AT_FDCWD, 0, 0);
export const link = (existing: Path, path: Path): Promise<void> =>
  onPaths(Opcode.LINKAT, "link", existing, path, AT_FDCWD, AT_FDCWD, 0);

const OPEN_FILES = "/proc/self/fd";
let hasProc: boolean | undefined;

/** Backend.openUnnamed. */
export async function openUnnamed(folder: Path, mode: number): Promise<OpenFile> {
  const { setup } = thread();
  hasProc ??= existsSync(OPEN_FILES);
  if (!hasProc || setup.opcodes[Opcode.LINKAT] !== 1)
    throw unavailable("O_TMPFILE", "it takes /proc and IORING_OP_LINKAT to give the file a name");
  const file = (await open(folder, O_TMPFILE | constants.O_WRONLY, mode)) as OpenFile;
  if (!file.remote) return file;
  // What a server has to say of the bytes it says when the file is closed, and then the name is there.
  await close(file);
  throw unavailable("O_TMPFILE", "the folder is on a server's file system");
}

export const linkUnnamed = (file: OpenFile, path: Path): Promise<void> =>
  onPaths(Opcode.LINKAT, "link", `${OPEN_FILES}/${file.fd}`, path, AT_FDCWD, AT_FDCWD, AT_SYMLINK_FOLLOW);
