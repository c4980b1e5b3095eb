// Transfers of what was opened with O_NONBLOCK and has no positions. The ring waits for a FIFO or a terminal whatever its flags are,
// where read(2) says EAGAIN: so they are plain calls, which never wait here.

import { systemError } from "../../node/errors.ts";
import type { OpenFile } from "../interface.ts";

/** Whether a file, known to have no positions, is to be read and written by plain calls. */
export const neverWaits = (file: OpenFile): boolean => file.nonBlocking && !file.seekable;

/** What a plain call gives, or Node's error for what it throws. */
export function atOnce<T>(syscall: string, call: () => T): Promise<T> {
  try {
    return Promise.resolve(call());
  } catch (error) {
    return Promise.reject(systemError((error as NodeJS.ErrnoException).errno!, syscall));
  }
}
