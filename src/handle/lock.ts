// Advisory locks of files: flock(2), between processes, Workers and handles. Non-blocking tries with growing pauses, so that
// waiting holds no thread and hears its signal. The kernel releases a lock when its last descriptor is closed, also in a crash.
// Assumes everybody asks: such a lock keeps nobody out who does not.

import { constants, readFileSync } from "node:fs";
import { currentBackend } from "../backend/choose.ts";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { orClose } from "../backend/loops.ts";
import { sleep, throwIfAborted } from "../node/abort.ts";
import { codedError, validateBoolean, validateEach, validateObject } from "../node/arguments.ts";
import { clockMs } from "../node/clock.ts";
import { EAGAIN, EINTR, ENOSYS } from "../node/errno.ts";
import { errnoOf, systemError } from "../node/errors.ts";
import { FILE_MODE } from "../node/open-flags.ts";
import { validateLimits } from "../node/options.ts";
import { toPath } from "../node/path.ts";

const [LOCK_SH, LOCK_EX, LOCK_UN] = [1, 2, 8];
/** Pauses between two tries, in milliseconds. */
const [FIRST_PAUSE_MS, LAST_PAUSE_MS] = [1, 50];

/** What kind of lock, and how long to wait for it. */
export interface LockOptions {
  /** Nobody else may have the lock (default); false: others may share it. */
  exclusive?: boolean | undefined;
  /** Waits for it (default); false: rejects with ERR_LOCKED where somebody has it. */
  wait?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Milliseconds after which waiting ends with ETIMEDOUT. */
  timeoutMs?: number | undefined;
}

/** A lock that is held, until `release` or the end of an `await using`. */
export interface FileLock extends AsyncDisposable {
  readonly exclusive: boolean;
  /** Lets go of the lock; a second call does nothing. */
  release(): Promise<void>;
}

/** ERR_LOCKED: `holder` is the process that has the lock, where /proc/locks tells. */
function lockedError(path: string | undefined, holder: number | null): Error & { holder: number | null } {
  const who = holder === null ? "somebody" : `process ${holder}`;
  const error = codedError(Error, "ERR_LOCKED", `${path ?? "the file"} is locked by ${who}`);
  return Object.assign(error, { holder });
}

/** Whether this file could be locked, for as long as it is open, without waiting; null where nothing can be. */
export function tryLock(backend: Backend, file: OpenFile): boolean | null {
  const rc = backend.flock(file, LOCK_EX);
  return rc === 0 || (rc === EAGAIN ? false : null);
}

/**
 * Locks a file by its path; makes an empty one where there is none. The lock has a descriptor of its own. Whoever removes or
 * replaces the file takes the name away from those who wait: they go on with the file that is there then.
 */
export async function lock(path: string | Uint8Array | URL, options: LockOptions = {}): Promise<FileLock> {
  const target = toPath(path);
  const checked = lockOptions(options);
  throwIfAborted(checked.signal);
  const backend = currentBackend();
  for (;;) {
    const file = await backend.open(target, constants.O_RDWR | constants.O_CREAT, FILE_MODE);
    const found = await orClose(backend, file, async () => {
      const held = await hold(backend, file, checked, target.toString(), () => backend.close(file));
      const looks = [backend.fstat(file, false), backend.stat(target, false).catch(() => null)] as const;
      const [own, there] = await Promise.all(looks);
      if (own.ino === there?.ino && own.dev === there.dev) return held;
      return held.release();
    });
    if (found !== undefined) return found;
  }
}

/** The options, read once and checked; `until`: when waiting ends, on `clockMs`. */
interface Checked {
  exclusive: boolean;
  wait: boolean;
  signal: AbortSignal | undefined;
  until: number;
}

function lockOptions(options: LockOptions): Checked {
  validateObject(options, "options");
  const { exclusive = true, wait = true, signal, timeoutMs } = options;
  validateEach(validateBoolean, { exclusive, wait });
  validateLimits({ signal, timeoutMs });
  return { exclusive, wait, signal, until: timeoutMs === undefined ? Number.POSITIVE_INFINITY : clockMs() + timeoutMs };
}

/** Locks an open file. Locks belong to its open file description: what was duplicated from it shares them. */
export async function lockFile(
  backend: Backend,
  file: OpenFile,
  options: LockOptions = {},
  path?: string,
): Promise<FileLock> {
  return hold(backend, file, lockOptions(options), path);
}

async function hold(
  backend: Backend,
  file: OpenFile,
  { exclusive, wait, signal, until }: Checked,
  path?: string,
  afterwards: () => Promise<void> = async () => {},
): Promise<FileLock> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
    throwIfAborted(signal);
    const rc = backend.flock(file, exclusive ? LOCK_EX : LOCK_SH);
    if (rc === 0) break;
    if (rc === ENOSYS)
      throw codedError(
        Error,
        "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
        "locks are unavailable: no native library is loaded",
      );
    if (rc === EINTR) continue;
    if (rc !== EAGAIN) throw systemError(rc, "flock", path);
    if (!wait) throw lockedError(path, await holderOf(backend, file));
    if (clockMs() >= until) throw systemError(errnoOf("ETIMEDOUT"), "flock", path);
    await sleep(Math.min(pause, until - clockMs()), signal);
  }
  let held = true;
  const release = async (): Promise<void> => {
    if (!held) return;
    held = false;
    if (file.fd >= 0) backend.flock(file, LOCK_UN);
    await afterwards();
  };
  return { exclusive, release, [Symbol.asyncDispose]: release };
}

/**
 * The process that has a lock on the file, by /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 fe:01:123456 0 EOF". Null where it is
 * not of this PID namespace.
 */
async function holderOf(backend: Backend, file: OpenFile): Promise<number | null> {
  try {
    const { dev, ino } = await backend.fstat(file, false);
    const hex = (value: number): string => value.toString(16).padStart(2, "0");
    // glibc's major and minor of a device number below 2 ** 32. Not every file system says there what stat says: then by inode.
    const device = `${hex((Number(dev) >> 8) & 0xfff)}:${hex((Number(dev) & 0xff) | ((Number(dev) >> 12) & 0xfff00))}:${ino}`;
    const holders = [...readFileSync("/proc/locks", "utf8").matchAll(/^\d+: FLOCK\s+\S+\s+\S+\s+(\d+)\s+(\S+)/gm)];
    const found =
      holders.find(([, , place]) => place === device) ?? holders.find(([, , place]) => place!.endsWith(`:${ino}`));
    return Number(found?.[1]) || null;
  } catch {
    return null; // no /proc
  }
}
