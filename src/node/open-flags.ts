// The `flags` and `mode` arguments of open and its relatives, as numbers for the kernel.
// Assumes the platform's own O_* values.
// Never adds a flag that was not asked for (O_CLOEXEC is the opener's business).

import { constants } from "node:fs";
import { invalidArgValue, validateInt32, validateUint32 } from "./arguments.ts";

const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } = constants;

/** Permissions of what is made where nobody says else, less the umask. */
export const FILE_MODE = 0o666;
export const FOLDER_MODE = 0o777;

const named: Map<unknown, number> = new Map();
function name(flags: number, ...spellings: string[]): void {
  for (const spelling of spellings) named.set(spelling, flags);
}
name(O_RDONLY, "r");
name(O_RDONLY | O_SYNC, "rs", "sr");
name(O_RDWR, "r+");
name(O_RDWR | O_SYNC, "rs+", "sr+");
name(O_WRONLY | O_CREAT | O_TRUNC, "w");
name(O_WRONLY | O_CREAT | O_TRUNC | O_EXCL, "wx", "xw");
name(O_RDWR | O_CREAT | O_TRUNC, "w+");
name(O_RDWR | O_CREAT | O_TRUNC | O_EXCL, "wx+", "xw+");
name(O_WRONLY | O_CREAT | O_APPEND, "a");
name(O_WRONLY | O_CREAT | O_APPEND | O_EXCL, "ax", "xa");
name(O_WRONLY | O_CREAT | O_APPEND | O_SYNC, "as", "sa");
name(O_RDWR | O_CREAT | O_APPEND, "a+");
name(O_RDWR | O_CREAT | O_APPEND | O_EXCL, "ax+", "xa+");
name(O_RDWR | O_CREAT | O_APPEND | O_SYNC, "as+", "sa+");

/**
 * O_* flags of a string ("r", "wx+", …) or number; null and undefined mean read only.
 * Throws ERR_INVALID_ARG_VALUE for any other value, ERR_OUT_OF_RANGE for a number that is no 32-bit integer.
 */
export function parseFlags(flags: unknown, argument = "flags"): number {
  if (flags === "r" || flags === null || flags === undefined) return O_RDONLY;
  if (typeof flags === "number") {
    validateInt32(flags, argument);
    return flags | 0;
  }
  const value = named.get(flags);
  // Node names the argument "flags" here whatever it was called.
  if (value === undefined) throw invalidArgValue("flags", flags);
  return value;
}

const octal = /^[0-7]+$/;

/**
 * A file mode: a 32-bit unsigned integer or a string of octal digits; null and undefined mean `fallback`.
 * Throws ERR_INVALID_ARG_VALUE for another string, ERR_INVALID_ARG_TYPE and ERR_OUT_OF_RANGE for the rest.
 */
export function parseMode(mode: unknown, argument: string, fallback?: number): number {
  let value = mode ?? fallback;
  if (typeof value === "string") {
    if (!octal.test(value)) {
      throw invalidArgValue(argument, value, "must be a 32-bit unsigned integer or an octal string");
    }
    value = Number.parseInt(value, 8);
  }
  validateUint32(value, argument);
  return value;
}
