// A small file by path in one chain: which of its ways is right for what is there, without asking for the umask (which only
// changing it would tell).
// Assumes validated paths. What a chain can't do right is left to the caller's own way.

import { NOT_TAKEN, PENDING } from "../../kernel/abi.ts";
import { constants } from "../../kernel/constants.ts";
import { LocalCopy, LocalOpcode, SqeFlag } from "../../kernel/sqe.ts";
import { clockMs } from "../../node/clock.ts";
import { EAGAIN, ENOENT } from "../../node/errno.ts";
import { type FileInfo, isRegular, permissions } from "../../node/file-info.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import { Place } from "../../ring/remote-mounts.ts";
import { CELL_HALF, putPath } from "../../ring/scratch.ts";
import { ANOTHER_WAY, INCOMPLETE, type Path } from "../interface.ts";
import { copySmall, SMALL_FILE_BYTES } from "./copy-small.ts";
import { unlink } from "./path.ts";
import { adopted, begin, end, stage, thread } from "./request.ts";
import { cachedInfo, lookup } from "./statx.ts";

const { O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } = constants;
/** Permissions that the umask was seen to take from new files lately, and until when that counts: it may change. */
let takenByUmask = 0;
let takenUntil = 0;
const LATELY_MS = 1000;

/** 0: nobody did it. A failure has done nothing either: the helper answers BROKEN where it has. */
function lengthOf(res: number): number {
  if (res === LocalCopy.BROKEN) return INCOMPLETE;
  return res <= 0 ? ANOTHER_WAY : res - 1;
}

function finishLocal(operation: Operation, res: number): void {
  const { resolve } = operation;
  end(operation);
  resolve(lengthOf(res));
}

/** All of it in plain calls by the helper, for who is alone: a fraction of a chain's price. */
function byHelper(from: Path, to: Path, flags: number): number | Promise<number> {
  const t = thread();
  if (t.placement.punted() !== SqeFlag.HELPER || !t.placement.isAlone()) return ANOTHER_WAY;
  const waits = t.placement.mayWait();
  const cell = t.cells.acquireForPath();
  const [first, second] = [putPath(cell, 0, from), putPath(cell, CELL_HALF, to)];
  const fits = first >= 0 && second >= 0;
  const res =
    fits && waits ? t.native.helperCall(t.ring.address, LocalOpcode.COPY, first, second, flags, 0) : NOT_TAKEN;
  if (!fits || (res !== PENDING && res !== NOT_TAKEN)) {
    t.cells.release(cell);
    return fits ? lengthOf(res) : ANOTHER_WAY;
  }
  const operation = begin(t, finishLocal, "copyfile", null);
  operation.cell = cell;
  if (res === PENDING) return adopted(t, operation);
  stage(t, operation, LocalOpcode.COPY, SqeFlag.HELPER, -1, second, first, flags, 0); // it takes long, as was seen
  return promiseFor(operation);
}

/** Backend.copySmall. */
export async function copySmallFile(from: Path, to: Path, exclusive: boolean, noLinks: boolean): Promise<number> {
  const { mounts } = thread();
  if (noLinks ? mounts.holdsName(from) : mounts.holdsPath(from)) return ANOTHER_WAY;
  const place = mounts.placeOf(to);
  if (place === Place.remote) return ANOTHER_WAY;
  // What may be a link is only made anew: that follows none.
  const isNew = exclusive || place === Place.unlessLink;
  const local = byHelper(from, to, (isNew ? LocalCopy.NEW : 0) | (noLinks ? LocalCopy.NO_LINK : 0));
  const done = typeof local === "number" ? local : await local;
  if (done !== ANOTHER_WAY || noLinks) return done;
  const source = await lookup(from, false);
  if (typeof source === "number" || !isRegular(source) || source.size > SMALL_FILE_BYTES) return ANOTHER_WAY;
  // A name that is not cached is most likely free: no look-up goes to a thread for that.
  let target = cachedInfo(to, false);
  if (target === EAGAIN || target === ENOENT) {
    const copied = await copyToNew(from, to, source);
    if (copied !== ANOTHER_WAY) return copied;
    target = await lookup(to, false);
  }
  if (typeof target === "number" || !isRegular(target) || permissions(target) !== permissions(source))
    return ANOTHER_WAY;
  if (target.identity === source.identity || exclusive) return ANOTHER_WAY;
  if (place === Place.unlessLink && mounts.holdsPath(to)) return ANOTHER_WAY; // it was looked up
  return copySmall(from, to, source.size, O_WRONLY | O_CREAT | O_TRUNC, permissions(source));
}

/** The new file has the source's permissions, or is gone again. */
async function copyToNew(from: Path, to: Path, source: FileInfo): Promise<number> {
  const mode = permissions(source);
  // What the umask takes, and set-id bits that a write may clear, are given by fchmod: not in a chain.
  if (takenByUmask !== 0 && clockMs() > takenUntil) takenByUmask = 0;
  if ((mode & (takenByUmask | 0o7000)) !== 0) return ANOTHER_WAY;
  const result = await copySmall(from, to, source.size, O_WRONLY | O_CREAT | O_EXCL, mode);
  if (result < 0) return result;
  const made = await lookup(to, true);
  const lost = typeof made === "number" ? 0 : mode & ~permissions(made);
  if (lost === 0) return result;
  takenByUmask |= lost;
  takenUntil = clockMs() + LATELY_MS;
  await unlink(to);
  return ANOTHER_WAY;
}
