// Bun's own node:fs and node:fs/promises, as they were when this package was loaded, and its stream classes.
// Assumes that a program may put this package in their place, for everybody and so for us too (mock.module does): without
// a copy, what is delegated would come back for ever.

import type * as currentFs from "node:fs";
import * as current from "node:fs/promises";

export const bun: typeof current = { ...current };

/** Properties, not values: what Bun loads when it is looked at (its streams) stays unloaded. */
export const bunFs: typeof currentFs = Object.defineProperties(
  {},
  Object.getOwnPropertyDescriptors(process.getBuiltinModule("node:fs")),
) as typeof currentFs;

type Classes = Pick<typeof currentFs, "ReadStream" | "WriteStream">;

/** The classes of Bun's own file streams; they, and node:stream, are loaded when this is called first. */
export function bunStreams(): Classes {
  return bunFs;
}
