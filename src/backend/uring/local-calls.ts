// What has no opcode: access, chmod, readlink, realpath. Inline where that can't block, else by the helper if the call is
// alone, else by node:fs: never slower than that. Paths on remote file systems go to node:fs.

import type { Address } from "../../kernel/shim.ts";
import { LocalOpcode, SqeFlag } from "../../kernel/sqe.ts";
import { bun } from "../../node/bun-fs.ts";
import { EAGAIN, EINTR } from "../../node/errno.ts";
import { systemError, told } from "../../node/errors.ts";
import type { RingThread } from "../../ring/context.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { CELL_HALF, type Cell, putPath } from "../../ring/scratch.ts";
import type { Path } from "../interface.ts";
import { begin, end, fail, stage, thread } from "./request.ts";

/** Bytes of a path or link that come back through a cell; longer ones come from node:fs. */
const CAPACITY = CELL_HALF - 1;
/** Microseconds of three or four system calls. */
const INLINE_US = 3;

/** What a call of the helper's is to give, and how else it is had. */
interface Local<T> {
  value(operation: Operation, res: number): T;
  otherwise(): Promise<T>;
}

const nothing = (): void => {};
const textOf = (cell: Cell, length: number): Buffer =>
  Buffer.from(cell.bytes.subarray(cell.offset + CELL_HALF, cell.offset + CELL_HALF + length));
const decoded = (bytes: Buffer, encoding: BufferEncoding | "buffer" | null | undefined): string | Buffer =>
  encoding === "buffer" ? bytes : bytes.toString(encoding || "utf8");

function finish(operation: Operation, res: number): void {
  if (res < 0 && res !== EAGAIN && res !== EINTR) return fail(operation, res);
  const { resolve, reject, state } = operation;
  const local = state as Local<unknown>;
  const length = res - 1;
  if (length < 0 || length === CAPACITY) {
    end(operation);
    return void local.otherwise().then(resolve, reject);
  }
  const value = local.value(operation, length);
  end(operation);
  resolve(value);
}

/** What a plain call on a path in a cell says: EAGAIN where it may not be made here and now, too. */
function inline(t: RingThread, path: Path, call: (address: Address, cell: Cell) => number): number {
  if (t.mounts.holdsPath(path) || !t.placement.mayCall(INLINE_US)) return EAGAIN;
  const cell = t.cells.acquire();
  const address = putPath(cell, 0, path);
  const res = address < 0 ? EAGAIN : call(address, cell);
  t.cells.release(cell);
  return res;
}

/** Has the helper do it, where it is there and this is the only call. */
function byHelper<T>(opcode: number, syscall: string, path: Path, length: number, local: Local<T>): Promise<T> {
  const t = thread();
  const isRemote = opcode === LocalOpcode.READLINK ? t.mounts.holdsName(path) : t.mounts.holdsPath(path);
  if (!t.placement.isAlone() || isRemote) return local.otherwise();
  if (t.placement.punted() !== SqeFlag.HELPER) return local.otherwise();
  const cell = t.cells.acquireForPath();
  const address = putPath(cell, 0, path);
  if (address < 0) {
    t.cells.release(cell);
    return local.otherwise();
  }
  const operation = begin(t, finish, syscall, null);
  operation.path = path;
  operation.cell = cell;
  operation.state = local;
  stage(t, operation, opcode, SqeFlag.HELPER, -1, cell.address + CELL_HALF, address, length, 0);
  return promiseFor(operation);
}

/** Whoever it becomes later, at worst a list is read from a local disk that this was to avoid. */
const user = process.getuid?.() ?? 0;

export function access(path: Path, mode: number): Promise<void> {
  const t = thread();
  const rc = inline(t, path, (address) => t.native.accessCached(address, mode, user));
  if (rc !== EAGAIN) return rc < 0 ? Promise.reject(systemError(rc, "access", path)) : Promise.resolve();
  const otherwise = (): Promise<void> => told("access", path, bun.access(path, mode));
  return byHelper(LocalOpcode.ACCESS, "access", path, mode, { value: nothing, otherwise });
}

export function chmod(path: Path, mode: number): Promise<void> {
  const otherwise = (): Promise<void> => told("chmod", path, bun.chmod(path, mode));
  return byHelper(LocalOpcode.CHMOD, "chmod", path, mode, { value: nothing, otherwise });
}

type Encoding = BufferEncoding | "buffer" | null | undefined;

/** A call whose result is a path or a link's text. */
function textual(
  opcode: number,
  name: "readlink" | "realpath",
  path: Path,
  encoding: Encoding,
): Promise<string | Buffer> {
  return byHelper<string | Buffer>(opcode, name, path, CAPACITY, {
    value: (operation, length) => decoded(textOf(operation.cell!, length), encoding),
    otherwise: () => told(name, path, bun[name](path, { encoding: encoding as "buffer" })),
  });
}

export const readlink = (path: Path, encoding: Encoding): Promise<string | Buffer> =>
  textual(LocalOpcode.READLINK, "readlink", path, encoding);

export function realpath(path: Path, encoding: Encoding): Promise<string | Buffer> {
  const t = thread();
  let bytes: Buffer | null = null;
  inline(t, path, (address, cell) => {
    const length = t.native.realpathCached(address, cell.address + CELL_HALF, CAPACITY);
    if (length >= 0) bytes = textOf(cell, length);
    return length;
  });
  if (bytes !== null) return Promise.resolve(decoded(bytes, encoding));
  return textual(LocalOpcode.REALPATH, "realpath", path, encoding);
}
