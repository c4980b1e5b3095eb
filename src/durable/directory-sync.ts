// fsync of folders, shared: all that wait for one folder while a sync of it runs share the next (group commit). A name that was
// made or replaced is on the device only when its folder is.
// Assumes a path that leads to the folder now. Keeps no descriptor between two syncs.

import { constants } from "node:fs";
import { dirname } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { withFile } from "../backend/loops.ts";
import { bunFs } from "../node/bun-fs.ts";
import { folderOf } from "../node/folder-of.ts";
import { latin1 } from "../node/path.ts";

interface Rounds {
  running: Promise<void>;
  next: Promise<void> | null;
}

const NO_SYNC: ReadonlySet<string> = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP"]);

const folders = new Map<string, Rounds>();

/** Resolves when the folder of `path` is on the device, as it is at the call. */
export function syncFolderOf(path: string | Buffer): Promise<void> {
  // By its bytes: each is one of this string's characters.
  const folder = dirname(latin1(path));
  const known = folders.get(folder);
  if (known === undefined) {
    const rounds: Rounds = { running: Promise.resolve(), next: null };
    folders.set(folder, rounds);
    return begin(folder, rounds);
  }
  // One that runs may have begun before what is waited for now.
  known.next ??= known.running.then(
    () => begin(folder, known),
    () => begin(folder, known),
  );
  return known.next;
}

function begin(folder: string, rounds: Rounds): Promise<void> {
  rounds.next = null;
  rounds.running = syncOnce(folder).finally(() => {
    if (rounds.next === null) folders.delete(folder);
  });
  return rounds.running;
}

/** Opens the folder of a path: who has it before a name is changed can't fail to sync that for want of a descriptor. */
export function openFolderOf(backend: Backend, path: string | Buffer): Promise<OpenFile> {
  return backend.open(folderOf(path), constants.O_DIRECTORY, 0);
}

function syncOnce(folder: string): Promise<void> {
  const backend = currentBackend();
  const opening = backend.open(Buffer.from(folder, "latin1"), constants.O_DIRECTORY, 0);
  return withFile(backend, opening, (file) => syncFolder(backend, file));
}

/** fsync of an open folder. Where the file system has none for folders (a server's), names are its own to keep. */
export async function syncFolder(backend: Backend, folder: OpenFile): Promise<void> {
  try {
    await backend.fsync(folder);
  } catch (error) {
    if (!NO_SYNC.has((error as { code: string }).code)) throw error;
  }
}

/** The same, holding the thread. */
export function syncFolderHere(path: string | Buffer): void {
  const fd = bunFs.openSync(folderOf(path), "r");
  try {
    bunFs.fsyncSync(fd);
  } catch (error) {
    if (!NO_SYNC.has((error as { code: string }).code)) throw error;
  } finally {
    bunFs.closeSync(fd);
  }
}
