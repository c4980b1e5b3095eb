// Extended attributes of paths and open files. Reading and setting have opcodes; listing and removing have none and are
// plain calls on this thread, so they are made only where no file server can keep them waiting.
// Assumes validated arguments.

import { stableAddress } from "../../kernel/address.ts";
import { AT_FDCWD, Opcode } from "../../kernel/sqe.ts";
import { unavailable } from "../../node/arguments.ts";
import { EINTR } from "../../node/errno.ts";
import { closedError, systemError } from "../../node/errors.ts";
import { encodePath } from "../../node/path.ts";
import type { RingThread } from "../../ring/context.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import type { Lane } from "../../ring/read-buffer.ts";
import { CELL_HALF, type Cell, ownPath, putPath } from "../../ring/scratch.ts";
import { OpenFile, type Path } from "../interface.ts";
import {
  begin,
  end,
  fail,
  finishVoid,
  pathAddress,
  pathFlag,
  remoteFlag,
  stage,
  stageAgain,
  thread,
} from "./request.ts";
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

/** A lane for the value, and a cell. Both may throw: before anything waits for the operation's end. */
function acquireMemory(t: RingThread): { lane: Lane; cell: Cell } {
  const cell = t.cells.acquire();
  try {
    return { lane: t.lanes.acquire(), cell }; // a lane is twice as long as a value can be: no second call for one that grew
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
  const { lane, cell } = acquireMemory(t);
  const nameAt = putPath(cell, CELL_HALF, name); // which fits: 255 bytes at most
  if (value !== null) lane.bytes.set(value);
  const operation = begin(t, value === null ? finishGet : finishSet, syscall, file);
  operation.cell = cell;
  operation.state = lane;
  if (path !== null) operation.path = path;
  const pathAt = path === null ? 0 : pathAddress(operation, cell, 0, path);
  const sqeFlags = path === null ? (file!.remote ? remoteFlag(t, operation) : 0) : pathFlag(t, operation, path);
  const opcode = path === null ? onFile : onPath;
  const length = value === null ? MAX_VALUE : value.length;
  stageAgain(operation, () => {
    const i = stage(t, operation, opcode, sqeFlags, fd, lane.address, nameAt, length, flags);
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

function finishGet(operation: Operation, res: number): void {
  if (res === EINTR && !operation.cancelled) return operation.again!();
  const lane = operation.state as Lane;
  const { resolve } = operation;
  const bytes = res < 0 ? null : Buffer.from(lane.bytes.subarray(0, res));
  thread().lanes.release(lane);
  if (bytes === null) return fail(operation, res);
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

function finishSet(operation: Operation, res: number): void {
  if (res === EINTR && !operation.cancelled) return operation.again!();
  thread().lanes.release(operation.state as Lane);
  finishVoid(operation, res);
}

export async function listxattr(target: Path | OpenFile): Promise<string[]> {
  const where = whereIs(target, "listxattr");
  refuseRemote(where);
  const t = thread();
  const lane = t.lanes.acquire();
  const path = where.path === null ? null : ownPath(where.path);
  const res = t.native.listXattr(path === null ? 0 : stableAddress(path, 0), where.fd, lane.address, MAX_LIST);
  const text = res > 0 ? lane.bytes.toString("utf8", 0, res - 1) : "";
  t.lanes.release(lane);
  if (res < 0) throw systemError(res, where.syscall, where.path ?? undefined);
  return text === "" ? [] : text.split("\0");
}

export async function removexattr(target: Path | OpenFile, name: string): Promise<void> {
  const where = whereIs(target, "removexattr");
  refuseRemote(where);
  const path = where.path === null ? null : ownPath(where.path);
  const nameMemory = ownPath(name);
  const pathAt = path === null ? 0 : stableAddress(path, 0);
  const res = thread().native.removeXattr(pathAt, where.fd, stableAddress(nameMemory, 0));
  if (res < 0) throw systemError(res, where.syscall, where.path ?? undefined);
}

/** Backend.keepXattrs. */
export function keepXattrs(from: Path, file: OpenFile, holding: boolean): number {
  if (file.remote && !holding) return 0;
  return thread().native.copyXattrs(encodePath(from), file.fd);
}

function refuseRemote({ file, path, syscall }: Where): void {
  const { mounts } = thread();
  if (file?.remote || (path !== null && mounts.holdsPath(path)))
    throw unavailable(syscall, "on a file system of a server it would keep the event loop waiting");
}
