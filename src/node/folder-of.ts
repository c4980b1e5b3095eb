// The folder of a path, of text or bytes. Apart from node/path.ts, which programs that do little load without node:path.

import { dirname } from "node:path";
import { latin1 } from "./path.ts";

/** The folder of a path, spelled as that is. */
export function folderOf<P extends string | Buffer>(path: P): P {
  return (typeof path === "string" ? dirname(path) : Buffer.from(dirname(latin1(path)), "latin1")) as P;
}
