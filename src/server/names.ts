// Names beneath a root: what is refused before the kernel is asked, how they are cut, and how errors speak of them.
// Assumes nothing of its arguments. Never judges a name that only the kernel can judge: links are its business.

import type { OpenFile } from "../backend/interface.ts";
import { codedError, invalidArgType } from "../node/arguments.ts";
import { systemError } from "../node/errors.ts";

/** A name beneath a root: relative, without NUL. */
export type Name = string | Uint8Array;

/** ERR_OUTSIDE_ROOT: `path` is the name as it was given, `cause` the kernel's error where it was the kernel that refused. */
export class OutsideRootError extends Error {
  readonly code: string = "ERR_OUTSIDE_ROOT";
  override name: string = "OutsideRootError";
  readonly path: string;

  constructor(path: Name, why: string, cause?: unknown) {
    const shown = typeof path === "string" ? path : Buffer.from(path).toString();
    super(`${JSON.stringify(shown)} ${why}`, cause === undefined ? undefined : { cause });
    this.path = shown;
  }
}

/** The name as the kernel takes it, in memory of its own. Throws for absolute names and NUL bytes. */
export function checkName(name: unknown): string | Buffer {
  if (typeof name === "string") {
    if (name.includes("\0")) throw new OutsideRootError(name, "has a null byte");
    if (name.startsWith("/")) throw new OutsideRootError(name, "is absolute");
    return name;
  }
  if (!(name instanceof Uint8Array)) throw invalidArgType("name", ["string", "Buffer"], name);
  const bytes = Buffer.from(name);
  if (bytes.includes(0)) throw new OutsideRootError(bytes, "has a null byte");
  if (bytes[0] === 0x2f) throw new OutsideRootError(bytes, "is absolute");
  return bytes;
}

/** The folder part ("." if there is none) and the last component, without slashes at the end. */
export function splitName(name: string | Buffer): { folder: string | Buffer; base: string | Buffer } {
  // latin1 keeps each byte, so that both kinds are cut by the same code.
  const text = typeof name === "string" ? name : name.toString("latin1");
  const trimmed = text.replace(/\/+$/, "");
  const slash = trimmed.lastIndexOf("/");
  const folder = slash < 0 ? "." : trimmed.slice(0, slash) || ".";
  const base = trimmed.slice(slash + 1);
  if (base === "..") throw new OutsideRootError(name, "ends in ..");
  return typeof name === "string"
    ? { folder, base }
    : { folder: Buffer.from(folder, "latin1"), base: Buffer.from(base, "latin1") };
}

/** ERR_ROOT_CLOSED: the root was closed before this call. */
export function rootClosed(): Error {
  return codedError(Error, "ERR_ROOT_CLOSED", "The root is closed");
}

/** A path of an open file that leads nowhere else, whatever happens to its name. */
export const procPath = (file: OpenFile): string => `/proc/self/fd/${file.fd}`;

/** An operation's result; its error with the names that the caller knows in place of those it was given. */
export async function named<T>(name: string | Buffer, operation: Promise<T>, dest?: string | Buffer): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw renamed(error, name, dest);
  }
}

function renamed(error: unknown, name: string | Buffer, dest?: string | Buffer): unknown {
  const { errno, syscall, path } = error as NodeJS.ErrnoException;
  const { dest: target } = error as { dest?: string };
  const inside = [path, target].some((text) => text?.startsWith("/proc/self/fd/"));
  if (typeof errno !== "number" || !inside) return error;
  return systemError(errno, syscall ?? "open", name, dest ?? (target === undefined ? undefined : name));
}
