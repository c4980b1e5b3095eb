// Extended attributes of paths and open files. Reading and setting have opcodes; listing and removing have none and are
// plain calls on this thread, so they are made only where no file server can keep them waiting.
// Assumes validated arguments.

import { stableAddress } from "../../kernel/address.ts";
import type { Address } from "../../kernel/shim.ts";
import { AT_FDCWD, Opcode } from "../../kernel/sqe.ts";
import { unavailable } from "../../node/arguments.ts";
import { EINTR } from "../../node/errno.ts";
import { closedError, systemError } from "../../node/errors.ts";
import { encodePath } from "../../node/path.ts";
import type { RingThread } from "../../ring/context.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import type { ReadBuffer } from "../../ring/read-buffer.ts";
import { CELL_HALF, type Cell, ownPath, putPath } from "../../ring/scratch.ts";
import { OpenFile, type Path } from "../interface.ts";
import { begin, end, fail, pathAddress, pathFlag, remoteFlag, stage, stageAgain, thread } from "./request.ts";
import { needOpcode } from "./space.ts";

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of the kernel. */
const MAX_VALUE = 65536;
const MAX_LIST = 65536;
/** XATTR_CREATE and XATTR_REPLACE of setxattr(2). */
const CONDITION = { create: 1, replace: 2 } as const;

interface Where {
  file: OpenFile | null;
  path: Path | null;
  fd: number;
  syscall: string;
}

function whereIs(target: Path | OpenFile, call: string): Where {
  if (!(target instanceof OpenFile)) return { file: null, path: target, fd: AT_FDCWD, syscall: call };
  const syscall = `f${call}`;
  if (target.fd < 0) throw closedError(syscall);
  return { file: target, path: null, fd: target.fd, syscall };
}

/** A read buffer for the value, and a cell. Both may throw: before anything waits for the operation's end. */
function acquireMemory(t: RingThread): { buffer: ReadBuffer; cell: Cell } {
  const cell = t.cells.acquire();
  try {
    return { buffer: t.readBuffers.acquire(), cell }; // a read buffer is twice as long as a value can be: no second call for one that grew
  } catch (error) {
    t.cells.release(cell);
    throw error;
  }
}

/**
 * One of the four opcodes; `value` is what is set, null to read. The path lies in the cell's first half and the name in its second;
 * the value's address goes where `off` is, the path's where `addr3` is.
 */
function onAttribute(
  where: Where,
  onPath: number,
  onFile: number,
  name: string,
  value: Uint8Array | null,
  flags: number,
): Promise<any> {
  const t = thread();
  const { file, path, fd, syscall } = where;
  const { buffer, cell } = acquireMemory(t);
  const nameAt = putPath(cell, CELL_HALF, name); // which fits: 255 bytes at most
  if (value !== null) buffer.bytes.set(value);
  const operation = begin(t, finish, syscall, file);
  operation.cell = cell;
  operation.state = buffer;
  if (path !== null) operation.path = path;
  const pathAt = path === null ? 0 : pathAddress(operation, cell, 0, path);
  const sqeFlags = path === null ? (file!.remote ? remoteFlag(t, operation) : 0) : pathFlag(t, operation, path);
  const opcode = path === null ? onFile : onPath;
  const length = value === null ? MAX_VALUE : value.length;
  stageAgain(operation, () => {
    const i = stage(t, operation, opcode, sqeFlags, fd, buffer.address, nameAt, length, flags);
    const { words } = t.ring;
    words[i + 12] = pathAt;
    words[i + 13] = Math.floor(pathAt / 2 ** 32);
  });
  return promiseFor(operation);
}

export function getxattr(target: Path | OpenFile, name: string): Promise<Buffer> {
  needOpcode("getxattr", "GETXATTR");
  return onAttribute(whereIs(target, "getxattr"), Opcode.GETXATTR, Opcode.FGETXATTR, name, null, 0);
}

function finish(operation: Operation, res: number): void {
  if (res === EINTR && !operation.cancelled) return operation.again!();
  const { resolve, syscall, state } = operation;
  const buffer = state as ReadBuffer;
  const isRead = syscall === "getxattr" || syscall === "fgetxattr";
  const bytes = isRead && res >= 0 ? Buffer.from(buffer.bytes.subarray(0, res)) : undefined;
  thread().readBuffers.release(buffer);
  if (res < 0) return fail(operation, res);
  end(operation);
  resolve(bytes);
}

export function setxattr(
  target: Path | OpenFile,
  name: string,
  value: Uint8Array,
  condition: "create" | "replace" | null,
): Promise<void> {
  needOpcode("setxattr", "SETXATTR");
  const flags = condition === null ? 0 : CONDITION[condition];
  return onAttribute(whereIs(target, "setxattr"), Opcode.SETXATTR, Opcode.FSETXATTR, name, value, flags);
}

/** A plain call, given the address of the path (0 for an open file) and the descriptor; not where a server is to be asked. */
async function atOnce(
  target: Path | OpenFile,
  call: string,
  work: (path: Address, fd: number) => number,
): Promise<void> {
  const { file, path, fd, syscall } = whereIs(target, call);
  if (file?.remote || (path !== null && thread().mounts.holdsPath(path)))
    throw unavailable(syscall, "on a file system of a server it would keep the event loop waiting");
  const memory = path === null ? null : ownPath(path);
  const res = work(memory === null ? 0 : stableAddress(memory, 0), fd);
  if (res < 0) throw systemError(res, syscall, path ?? undefined);
}

export async function listxattr(target: Path | OpenFile): Promise<string[]> {
  const { readBuffers, native } = thread();
  const buffer = readBuffers.acquire();
  let text = "";
  try {
    await atOnce(target, "listxattr", (path, fd) => {
      const res = native.listXattr(path, fd, buffer.address, MAX_LIST);
      if (res > 0) text = buffer.bytes.toString("utf8", 0, res - 1);
      return res;
    });
  } finally {
    readBuffers.release(buffer);
  }
  return text === "" ? [] : text.split("\0");
}

export function removexattr(target: Path | OpenFile, name: string): Promise<void> {
  const memory = ownPath(name);
  const { native } = thread();
  return atOnce(target, "removexattr", (path, fd) => native.removeXattr(path, fd, stableAddress(memory, 0)));
}

/** Backend.keepXattrs. */
export function keepXattrs(from: Path, file: OpenFile, holding: boolean): number {
  if (file.remote && !holding) return 0;
  return thread().native.copyXattrs(encodePath(from), file.fd);
}
