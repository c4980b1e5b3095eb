// Whether one tree lies in the other, by whatever names: what cp and copyTree refuse, with one error.
// Assumes that a part of the target may not exist yet.

import { basename, dirname, resolve } from "node:path";
import type { Path } from "../backend/interface.ts";
import { bun } from "../node/bun-fs.ts";
import { refusal } from "../node/cp-errors.ts";
import { latin1 } from "../node/path.ts";

export const absolute = (...paths: Path[]): string => resolve(latin1(process.cwd()), ...paths.map(latin1));

/** Whether `inner` is `outer` or below it, by their names alone. */
export function isWithin(inner: Path, outer: Path): boolean {
  const above = absolute(outer);
  const below = absolute(inner);
  return below === above || below.startsWith(above === "/" ? above : `${above}/`);
}

/** Where a path leads, of which a part may not exist yet: the first folder above that does, and what is missing. */
export async function realTarget(path: Path): Promise<Path> {
  let existing = absolute(path);
  let missing = "";
  for (;;) {
    try {
      const real = await bun.realpath(Buffer.from(existing, "latin1"), { encoding: "buffer" });
      return Buffer.concat([real, Buffer.from(missing, "latin1")]);
    } catch (error) {
      if (existing === dirname(existing)) throw error;
      missing = `/${basename(existing)}${missing}`;
      existing = dirname(existing);
    }
  }
}

/** Node's error for a tree that would be copied into itself. */
export const intoItself = (from: Path, to: Path): Error =>
  refusal("ERR_FS_CP_EINVAL", "cp", "EINVAL", `cannot copy ${from} to a subdirectory of self ${to}`, to);

/** Neither tree may hold the other. */
export async function refuseOverlap(from: Path, to: Path): Promise<void> {
  const source = await bun.realpath(from, { encoding: "buffer" }).catch(() => null);
  if (source === null) return; // a link to nothing, or missing: that is said later
  const target = await realTarget(to);
  if (isWithin(target, source)) throw intoItself(from, to);
  if (!isWithin(source, target)) return;
  throw refusal("ERR_FS_CP_EINVAL", "cp", "EINVAL", `cannot copy ${from} to a folder it lies in ${to}`, to);
}
