// A small file by path in one chain: which of its ways is right for what is there, without asking for the umask (which only
// changing it would tell).
// Assumes validated paths. What a chain can't do right is left to the caller's own way.

import { constants } from "../../kernel/constants.ts";
import { clockMs } from "../../node/clock.ts";
import { type FileInfo, isRegular, permissions } from "../../node/file-info.ts";
import { ANOTHER_WAY, INCOMPLETE, type Path } from "../interface.ts";
import { copySmall, Outcome, onRemote, SMALL_FILE_BYTES } from "./copy-small.ts";
import { unlink } from "./path.ts";
import { EAGAIN } from "./request.ts";
import { cachedInfo, lookup } from "./statx.ts";

const { O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } = constants;
const ENOENT = -2;
/** Permissions that the umask was seen to take from new files lately, and until when that counts: it may change. */
let takenByUmask = 0;
let takenUntil = 0;
const LATELY_MS = 1000;

/** Backend.copySmall. */
export async function copySmallFile(from: Path, to: Path, exclusive: boolean): Promise<number> {
  if (onRemote(from, to)) return ANOTHER_WAY;
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
  return copied(await copySmall(from, to, source.size, O_WRONLY | O_CREAT | O_TRUNC, permissions(source)), source);
}

function copied(outcome: Outcome, source: FileInfo): number {
  if (outcome === Outcome.copied) return source.size;
  return outcome === Outcome.incomplete ? INCOMPLETE : ANOTHER_WAY;
}

/** The new file has the source's permissions, or is gone again. */
async function copyToNew(from: Path, to: Path, source: FileInfo): Promise<number> {
  const mode = permissions(source);
  // What the umask takes, and set-id bits that a write may clear, are given by fchmod: not in a chain.
  if (takenByUmask !== 0 && clockMs() > takenUntil) takenByUmask = 0;
  if ((mode & (takenByUmask | 0o7000)) !== 0) return ANOTHER_WAY;
  const result = copied(await copySmall(from, to, source.size, O_WRONLY | O_CREAT | O_EXCL, mode), source);
  if (result < 0) return result;
  const made = await lookup(to, true);
  const lost = typeof made === "number" ? 0 : mode & ~permissions(made);
  if (lost === 0) return result;
  takenByUmask |= lost;
  takenUntil = clockMs() + LATELY_MS;
  await unlink(to);
  return ANOTHER_WAY;
}
