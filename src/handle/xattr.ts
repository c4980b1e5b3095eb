// Extended attributes of paths and open files. Reading and setting have opcodes; listing and removing have none and are
// plain calls on this thread, so they are made only where no file server can keep them waiting.
// On the node backend, which has no such calls, each rejects and says so.

import { OpenFile } from "../backend/interface.ts";
import {
  begin,
  end,
  fail,
  finishVoid,
  pathAddress,
  pathFlag,
  remoteFlag,
  stage,
  thread,
} from "../backend/uring/request.ts";
import { AT_FDCWD, Opcode } from "../kernel/sqe.ts";
import {
  invalidArgType,
  invalidArgValue,
  outOfRange,
  validateBoolean,
  validateEncoding,
  validateObject,
  validateString,
} from "../node/arguments.ts";
import { closedError, systemError } from "../node/errors.ts";
import { toPath } from "../node/path.ts";
import { bytesOf, isView } from "../node/views.ts";
import { type Operation, promiseFor } from "../ring/operation.ts";
import type { Lane } from "../ring/read-buffer.ts";
import { CELL_HALF, ownPath, stableAddress } from "../ring/scratch.ts";
import { needRing, unavailable } from "./space.ts";

type PathLike = string | Uint8Array | URL;
/** What has the attributes: a path, whose symbolic links are followed, or an open file. */
type Target = PathLike | OpenFile;

/** XATTR_SIZE_MAX, XATTR_LIST_MAX and XATTR_NAME_MAX of the kernel. */
const MAX_VALUE = 65536;
const MAX_LIST = 65536;
const MAX_NAME = 255;
/** XATTR_CREATE and XATTR_REPLACE of setxattr(2). */
const [CREATE, REPLACE] = [1, 2];

interface Where {
  file: OpenFile | null;
  path: string | Buffer | null;
  fd: number;
  syscall: string;
}

function whereIs(target: Target, call: string): Where {
  if (!(target instanceof OpenFile)) return { file: null, path: toPath(target), fd: AT_FDCWD, syscall: call };
  const syscall = `f${call}`;
  if (target.fd < 0) throw closedError(syscall);
  return { file: target, path: null, fd: target.fd, syscall };
}

function checkName(name: unknown): string {
  validateString(name, "name");
  const { length } = Buffer.from(toPath(name, "name"));
  if (length < 1 || length > MAX_NAME) throw outOfRange("name.length", `>= 1 && <= ${MAX_NAME} bytes`, length);
  return name;
}

/**
 * Stages one of the four opcodes. The path lies in the cell's first half and the name in its second; the value's address
 * goes where `off` is, the path's where `addr3` is.
 */
function stageOn(
  where: Where,
  operation: Operation,
  onPath: number,
  onFile: number,
  name: string,
  value: number,
  length: number,
  flags: number,
): Promise<any> {
  const t = thread();
  const { file, path, fd } = where;
  const cell = t.cells.take();
  operation.cell = cell;
  if (path !== null) operation.path = path;
  const nameAt = pathAddress(operation, cell, CELL_HALF, name);
  const pathAt = path === null ? 0 : pathAddress(operation, cell, 0, path);
  const sqeFlags = path === null ? (file!.slow ? remoteFlag(t, operation) : 0) : pathFlag(t, operation, path);
  const i = stage(t, operation, path === null ? onFile : onPath, sqeFlags, fd, value, nameAt, length, flags);
  const { words } = t.ring;
  words[i + 12] = pathAt;
  words[i + 13] = Math.floor(pathAt / 2 ** 32);
  return promiseFor(operation);
}

/**
 * The value of an extended attribute, "user.comment" for example: a Buffer, or a string with an encoding.
 * Rejects with ENODATA if there is none of that name, ENOTSUP if the file system has none at all.
 */
export function getxattr(target: Target, name: string, options: { encoding: BufferEncoding }): Promise<string>;
export function getxattr(target: Target, name: string, options?: { encoding?: null }): Promise<Buffer>;
export async function getxattr(
  target: Target,
  name: string,
  options: { encoding?: BufferEncoding | null } = {},
): Promise<Buffer | string> {
  const where = whereIs(target, "getxattr");
  checkName(name);
  validateObject(options, "options");
  validateEncoding(options.encoding, "options.encoding");
  needRing("getxattr", "GETXATTR");
  const t = thread();
  const operation = begin(t, finishGet, where.syscall, where.file);
  const lane = t.lanes.take(); // twice as long as a value can be: no second call for a value that grew
  operation.state = { lane, encoding: options.encoding ?? null };
  return stageOn(where, operation, Opcode.GETXATTR, Opcode.FGETXATTR, name, lane.address, MAX_VALUE, 0);
}

function finishGet(operation: Operation, res: number): void {
  const { lane, encoding } = operation.state as { lane: Lane; encoding: BufferEncoding | null };
  const { resolve } = operation;
  const bytes = res < 0 ? null : Buffer.from(lane.bytes.subarray(0, res));
  thread().lanes.give(lane);
  if (bytes === null) return fail(operation, res);
  end(operation);
  resolve(encoding === null ? bytes : bytes.toString(encoding));
}

/** Whether `setxattr` may make or replace an attribute; both by default (setxattr(2)). */
export interface SetXattrOptions {
  /** Rejects with EEXIST if there is one of that name. */
  create?: boolean;
  /** Rejects with ENODATA if there is none of that name. */
  replace?: boolean;
}

/** Sets an extended attribute to bytes or to a string in utf8. The value is copied before the call returns. */
export async function setxattr(
  target: Target,
  name: string,
  value: string | NodeJS.ArrayBufferView,
  options: SetXattrOptions = {},
): Promise<void> {
  const where = whereIs(target, "setxattr");
  checkName(name);
  if (typeof value !== "string" && !isView(value))
    throw invalidArgType("value", ["string", "Buffer", "TypedArray", "DataView"], value);
  validateObject(options, "options");
  const { create = false, replace = false } = options;
  validateBoolean(create, "options.create");
  validateBoolean(replace, "options.replace");
  if (create && replace) throw invalidArgValue("options", options, "can't have both create and replace");
  needRing("setxattr", "SETXATTR");
  const bytes = typeof value === "string" ? Buffer.from(value) : bytesOf(value);
  if (bytes.length > MAX_VALUE) throw outOfRange("value.length", `<= ${MAX_VALUE}`, bytes.length);
  const t = thread();
  const operation = begin(t, finishSet, where.syscall, where.file);
  const lane = t.lanes.take();
  lane.bytes.set(bytes);
  operation.state = lane;
  const flags = create ? CREATE : replace ? REPLACE : 0;
  return stageOn(where, operation, Opcode.SETXATTR, Opcode.FSETXATTR, name, lane.address, bytes.length, flags);
}

function finishSet(operation: Operation, res: number): void {
  thread().lanes.give(operation.state as Lane);
  finishVoid(operation, res);
}

/** The names of the extended attributes. Rejects on file systems of a server (FUSE, NFS …): the call would block. */
export async function listxattr(target: Target): Promise<string[]> {
  const where = whereIs(target, "listxattr");
  needRing("listxattr", null);
  refuseRemote(where);
  const t = thread();
  const lane = t.lanes.take();
  const path = where.path === null ? null : ownPath(where.path);
  const res = t.native.listXattr(path === null ? 0 : stableAddress(path, 0), where.fd, lane.address, MAX_LIST);
  const text = res > 0 ? lane.bytes.toString("utf8", 0, res - 1) : "";
  t.lanes.give(lane);
  if (res < 0) throw systemError(res, where.syscall, where.path ?? undefined);
  return text === "" ? [] : text.split("\0");
}

/** Removes an extended attribute. Rejects with ENODATA if there is none, and where `listxattr` does. */
export async function removexattr(target: Target, name: string): Promise<void> {
  const where = whereIs(target, "removexattr");
  checkName(name);
  needRing("removexattr", null);
  refuseRemote(where);
  const path = where.path === null ? null : ownPath(where.path);
  const nameMemory = ownPath(name);
  const pathAt = path === null ? 0 : stableAddress(path, 0);
  const res = thread().native.removeXattr(pathAt, where.fd, stableAddress(nameMemory, 0));
  if (res < 0) throw systemError(res, where.syscall, where.path ?? undefined);
}

function refuseRemote({ file, path, syscall }: Where): void {
  const { mounts } = thread();
  if (file?.slow || (path !== null && mounts.holdsPath(path)))
    throw unavailable(syscall, "on a file system of a server it would keep the event loop waiting");
}
