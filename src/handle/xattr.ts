// Extended attributes of paths and open files, with their arguments checked; the backend says where there are none.

import { currentBackend } from "../backend/choose.ts";
import { OpenFile, type Path } from "../backend/interface.ts";
import {
  invalidArgType,
  invalidArgValue,
  outOfRange,
  validateBoolean,
  validateEncoding,
  validateObject,
  validateString,
} from "../node/arguments.ts";
import { closedError } from "../node/errors.ts";
import { toPath } from "../node/path.ts";
import { bytesOf, isView } from "../node/views.ts";

type PathLike = string | Uint8Array | URL;
/** What has the attributes: a path, whose symbolic links are followed, or an open file. */
type Target = PathLike | OpenFile;

/** XATTR_SIZE_MAX and XATTR_NAME_MAX of the kernel. */
const MAX_VALUE = 65536;
const MAX_NAME = 255;

function whereIs(target: Target, call: string): Path | OpenFile {
  if (!(target instanceof OpenFile)) return toPath(target);
  if (target.fd < 0) throw closedError(`f${call}`);
  return target;
}

function checkName(name: unknown): string {
  validateString(name, "name");
  const { length } = Buffer.from(toPath(name, "name"));
  if (length < 1 || length > MAX_NAME) throw outOfRange("name.length", `>= 1 && <= ${MAX_NAME} bytes`, length);
  return name;
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
  const { encoding = null } = options;
  validateEncoding(encoding, "options.encoding");
  const bytes = await currentBackend().getxattr(where, name);
  return encoding === null ? bytes : bytes.toString(encoding);
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
  const bytes = typeof value === "string" ? Buffer.from(value) : bytesOf(value);
  if (bytes.length > MAX_VALUE) throw outOfRange("value.length", `<= ${MAX_VALUE}`, bytes.length);
  return currentBackend().setxattr(where, name, bytes, create ? "create" : replace ? "replace" : null);
}

/** The names of the extended attributes. Rejects on file systems of a server (FUSE, NFS …): the call would block. */
export async function listxattr(target: Target): Promise<string[]> {
  return currentBackend().listxattr(whereIs(target, "listxattr"));
}

/** Removes an extended attribute. Rejects with ENODATA if there is none, and where `listxattr` does. */
export async function removexattr(target: Target, name: string): Promise<void> {
  const where = whereIs(target, "removexattr");
  checkName(name);
  return currentBackend().removexattr(where, name);
}
