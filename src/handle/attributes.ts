// Attributes of an open file that no io_uring opcode changes: node:fs does, on the descriptor.
// Assumes that whoever calls keeps the descriptor open meanwhile. Arguments come straight from the user.

import type * as fs from "node:fs";
import { validateIds } from "../node/arguments.ts";
import { bunFs } from "../node/bun-fs.ts";
import { systemError } from "../node/errors.ts";
import { parseMode } from "../node/open-flags.ts";
import { called } from "../node/set-attributes.ts";
import { bunTimes } from "../node/times.ts";

/** Throws if `mode` is no number and no string of octal digits. */
export function fchmod(fd: number, mode: fs.Mode): Promise<void> {
  const bits = parseMode(mode, "mode");
  return called("fchmod", (done) => bunFs.fchmod(fd, bits, done));
}

/** Throws if one is no integer from -1 to 2^32 - 1. */
export function fchown(fd: number, uid: number, gid: number): Promise<void> {
  validateIds(uid, gid);
  return called("fchown", (done) => bunFs.fchown(fd, uid, gid, done));
}

/** Throws if one is no time. libuv's name for the call is "futime". */
export function futimes(fd: number, atime: fs.TimeLike, mtime: fs.TimeLike): Promise<void> {
  const withTimes = bunTimes(atime, mtime);
  const look = (): Promise<fs.Stats> =>
    new Promise((resolve, reject) => {
      bunFs.fstat(fd, (error, stats) => (error ? reject(systemError(error.errno!, "futime")) : resolve(stats)));
    });
  return withTimes(look, (accessed, modified) =>
    called("futime", (done) => bunFs.futimes(fd, accessed, modified, done)),
  );
}
