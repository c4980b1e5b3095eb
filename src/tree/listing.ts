// The names in a folder, for those who walk trees (cp, rm): strings, or bytes where a name is not UTF-8, so that it can be
// named again. Assumes that a folder's names fit in memory. Never sorts, never asks for types.

import type { Path } from "../backend/interface.ts";
import { delegate } from "../fs/delegated.ts";
import { bun } from "../node/bun-fs.ts";

export type Name = string | Buffer;

/** How JavaScript shows bytes that are no UTF-8: such names have to be read again as they are. */
const REPLACED = "\ufffd";

/** The names in a folder; all as bytes if one of them, or the folder's path, is not UTF-8. Rejects with `scandir`. */
export function namesIn(folder: Path): Promise<readonly Name[]> {
  return delegate("scandir", folder, async (): Promise<readonly Name[]> => {
    if (typeof folder === "string") {
      const names = await bun.readdir(folder);
      if (!names.some((name) => name.includes(REPLACED))) return names;
    }
    return bun.readdir(folder, { encoding: "buffer" });
  });
}

/** The path of a name in a folder. */
export function pathIn(folder: Path, name: Name): Path {
  if (typeof folder === "string" && typeof name === "string")
    return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
  return Buffer.concat([Buffer.from(folder as string), Buffer.from("/"), Buffer.from(name as string)]);
}
