// mkdtempDisposable: a temporary folder that goes with all in it.
// Assumes nothing of its arguments; what is removed is the folder that was made, in whatever encoding its path is told.

import type { EncodingOption, PathLike } from "node:fs";
import type { DisposableTempDir } from "node:fs/promises";
import { mkdtemp } from "../fs/directory.ts";
import { asEncoded } from "../fs/dirent.ts";
import { fileOptions } from "../node/options.ts";
import { pathIn, SLASH } from "../node/path.ts";
import { rm } from "./rm.ts";

/** As mkdtemp; `remove()`, or leaving an `await using`, removes the folder with all in it. */
export async function mkdtempDisposable(prefix: PathLike, options?: EncodingOption): Promise<DisposableTempDir> {
  const { encoding } = fileOptions(options);
  const bytes = await mkdtemp(prefix, { encoding: "buffer" });
  // Wherever the process is by then.
  const full = bytes[0] === SLASH ? bytes : pathIn(process.cwd(), bytes);
  const remove = (): Promise<void> => rm(full, { recursive: true, force: true });
  // Node's types know paths of text only.
  const path = asEncoded(bytes, encoding) as string;
  return { path, remove, [Symbol.asyncDispose]: remove };
}
