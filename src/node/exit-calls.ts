// Blocking calls for the end of a thread, when no callback comes any more: of what waits for no other process.
// Assumes that what they do is done anew: they may come upon what has been done in part.

import { bunFs } from "./bun-fs.ts";

type Path = string | Buffer;

/** Longer copies take too long then. */
const COPIED_BYTES = 64 * 1024 * 1024;

/** Whether a path is free, or a regular file's: what a blocking call can open without waiting for another process. */
export function isFreeOrFile(path: Path): boolean {
  const there = bunFs.statSync(path, { throwIfNoEntry: false });
  return there === undefined || there.isFile();
}

/** A copy from the beginning, of what can wait for nobody and does not take long. */
export function copyHere(from: Path, to: Path, mode?: number): void {
  const source = bunFs.statSync(from);
  if (source.isFile() && source.size <= COPIED_BYTES && isFreeOrFile(to)) bunFs.copyFileSync(from, to, mode);
}
