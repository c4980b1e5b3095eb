// Files whose FileHandle was never closed: they are closed, with Node's warning, when the handle has been collected.
// Assumes that a handle registers its file under the file itself, and unregisters it in close().

import { currentBackend } from "../backend/choose.ts";
import type { OpenFile } from "../backend/interface.ts";

/** Closes what was never closed, and says so: a descriptor that waits for the garbage collector is a leak. */
export const collected: FinalizationRegistry<OpenFile> = new FinalizationRegistry((file) => {
  process.emitWarning(`Closing file descriptor ${file.fd} on garbage collection`);
  process.emitWarning(
    "Closing a FileHandle object on garbage collection is deprecated. Please close FileHandle objects explicitly " +
      "using FileHandle.prototype.close(). In the future, an error will be thrown if a file descriptor is closed " +
      "during garbage collection.",
    "DeprecationWarning",
    "DEP0137",
  );
  currentBackend()
    .close(file)
    .catch(() => {});
});

/** Gives the descriptor to somebody else, who closes it. For the file's handle it is as if closed. */
export function disown(file: OpenFile): number {
  const { fd } = file;
  collected.unregister(file);
  file.forget?.(fd);
  file.fd = -1;
  return fd;
}
