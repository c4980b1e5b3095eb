// Sizes at which Node's whole-file functions change their behaviour, and the error beyond the last of them.
// Assumes nothing. Never a tuning knob: these are visible to the user, so both backends and the handle share them.

import { codedError } from "./arguments.ts";

/** The largest file that readFile reads, in bytes: Node's limit, 2 GiB - 1. */
export const MAX_FILE_BYTES: number = 2 ** 31 - 1;

/** writeFile with a signal looks at it after each chunk of this many bytes. */
export const ABORTABLE_CHUNK_BYTES: number = 512 * 1024;

/** ERR_FS_FILE_TOO_LARGE, as Node's readFile rejects with for a file of more than MAX_FILE_BYTES. */
export function fileTooLarge(byteLength: number): RangeError & { code: string } {
  const message = `File size (${byteLength}) is greater than 2 GiB`;
  return codedError(RangeError, "ERR_FS_FILE_TOO_LARGE", message);
}
