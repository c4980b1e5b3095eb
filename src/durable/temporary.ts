// Names of files that are to take another's place once they are whole, and the sweeping of those that a crash has left. Beside the
// target: a rename reaches no other file system.
// Never removes what somebody still fills: who takes long over it has it locked.

import { randomBytes } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { resolve } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import type { Backend, OpenFile, Path } from "../backend/interface.ts";
import { withFile } from "../backend/loops.ts";
import { readdir } from "../fs/directory.ts";
import { tryLock } from "../handle/lock.ts";
import { clearTimeout, epochMs, setTimeout } from "../node/clock.ts";
import { folderOf } from "../node/folder-of.ts";
import { pathIn, toPath } from "../node/path.ts";

/** Hidden; when it was made, and which. */
const PREFIX = ".bun-uring-";
const TEMPORARY = /^\.bun-uring-([0-9a-z]+)-[0-9a-f]{12}\.tmp$/;
/** Younger ones are left alone. */
const STALE_MS = 60_000;
/** After so long in the making a file is locked, so that no sweep takes it. */
const LOCK_AFTER_MS = 10_000;
/** Where nothing can be locked, one that nobody has written to for so long is nobody's. */
const IDLE_MS = 3_600_000;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** A temporary name in the folder of `target`, spelled as that is: no link on the way is passed over, no byte changed. */
export function temporaryBeside<P extends string | Buffer>(target: P): P {
  const name = `${PREFIX}${epochMs().toString(36)}-${randomBytes(6).toString("hex")}.tmp`;
  return pathIn(folderOf(target), name) as P;
}

/** Keeps sweeps away from a temporary file, open or by its name, until it is called back; from `afterMs` on. */
export function keepFromSweeps(backend: Backend, file: OpenFile | Path, afterMs: number = LOCK_AFTER_MS): () => void {
  const isOpen = (it: OpenFile | Path): it is OpenFile => typeof it !== "string" && !(it instanceof Uint8Array);
  let isDone = false;
  let own: OpenFile | null = null;
  const lock = async (): Promise<void> => {
    if (isOpen(file)) return void (file.fd >= 0 && tryLock(backend, file));
    own = await backend.open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (isDone) return backend.close(own);
    tryLock(backend, own);
  };
  const passOver = (): void => {};
  const timer = setTimeout(() => void lock().catch(passOver), afterMs);
  timer.unref();
  return () => {
    isDone = true;
    clearTimeout(timer);
    if (own !== null && own.fd >= 0) backend.close(own).catch(passOver);
  };
}

/** Removes temporary files that a crash has left in a folder, older than a minute. Resolves to how many. */
export async function sweepTemp(folder: string | Uint8Array | URL): Promise<number> {
  const path = toPath(folder).toString();
  const backend = currentBackend();
  let removed = 0;
  for (const name of await readdir(path)) {
    const made = TEMPORARY.exec(name)?.[1];
    // One of the future is of a clock that went wrong.
    if (made === undefined || Math.abs(epochMs() - Number.parseInt(made, 36)) < STALE_MS) continue;
    if (await sweepOne(backend, `${path}/${name}`).catch(() => false)) removed++; // or somebody else was faster
  }
  return removed;
}

/** Folders that `sweepOnce` has had. */
const swept = new Set<string>();

/** The same in the background, once for each folder of the process: nobody waits for it, and it fails without a word. */
export function sweepOnce(folder: string | Buffer): void {
  const path = resolve(folder.toString());
  if (swept.has(path)) return;
  swept.add(path);
  sweepTemp(path).catch(() => {});
}

function sweepOne(backend: Backend, path: string): Promise<boolean> {
  return withFile(backend, backend.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0), async (file) => {
    const locked = tryLock(backend, file);
    if (locked === false) return false;
    if (locked === null) {
      const { mtimeMs } = (await backend.fstat(file, false)) as Stats;
      if (epochMs() - mtimeMs < IDLE_MS) return false;
    }
    await backend.unlink(path);
    return true;
  });
}
