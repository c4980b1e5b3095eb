// What the walk of a copied tree (tree/walk.ts) is told: the pairs of folders, the places of names in them, and the plan,
// in which cp and copyTree differ.
// Holds no behaviour but how failures are told.

import type { Backend, CopyHow, Path } from "../backend/interface.ts";
import { errnoOf, retold, systemError } from "../node/errors.ts";
import type { FileInfo } from "../node/file-info.ts";
import { lateRejection } from "../node/late-error.ts";
import type { CopyRequest } from "./copy-file.ts";
import type { Name, TreeFolder } from "./open-folders.ts";

/** Where a name lies: how it is reached now, and the path that users see. */
export interface Place {
  real: Path;
  shown: Path;
}

/** A folder of the source, and what it becomes. */
export interface FolderPair {
  readonly parent: FolderPair | null;
  readonly from: TreeFolder;
  to: TreeFolder;
  info: FileInfo | null;
  /** Of the target, as it was made or found. */
  target: FileInfo | null;
  /** Made by us. */
  fresh: boolean;
  /** What is not done in it, and 1 while it is being listed. */
  pending: number;
}

/** What is to be done with what is found. Its methods may reject: that ends the walk. */
export interface Plan {
  readonly how: CopyHow;
  readonly signal: AbortSignal | null;
  /** Batches, or files where the backend copies none by names, at once. */
  readonly concurrency: number;
  /** For files that go one by one; `alone`: all of them do. */
  readonly request: CopyRequest;
  readonly alone: boolean;
  /** Whether an entry is wanted; null: all are. */
  readonly filter: ((from: Path, to: Path) => boolean | Promise<boolean>) | null;
  /** The paths of a name, as users see them. */
  join(folder: Path, name: Name): Path;
  /** The target of a folder is there. Whether a link to a folder will do. */
  merge(from: Place, to: Place): Promise<{ follow: boolean }>;
  /** A file was copied. */
  copied(size: number): void;
  /** A name in the target is taken, where nothing is overwritten: whether it has been cleared away. */
  clear(from: Place, to: Place): Promise<boolean>;
  /** Copies what is neither a file nor a folder. */
  special(from: Place, to: Place, info: FileInfo, fresh: boolean): Promise<void>;
  /** The attributes of a folder that is full: null, or its permissions (null: as they are) and times. */
  attributes(pair: FolderPair, mode: number): { info: FileInfo; mode: number | null } | null;
  folderDone(): void;
}

export const pairOf = (parent: FolderPair | null, from: TreeFolder, to: TreeFolder): FolderPair => {
  return { parent, from, to, info: null, target: null, fresh: false, pending: 1 };
};

/** Does `call`, and tells its failure with the paths that users see. */
export async function told<T>(call: () => Promise<T> | T, syscall: string, path: Path, dest?: Path): Promise<T> {
  try {
    return await call();
  } catch (error) {
    return lateRejection(() => retold(error, syscall, path, dest));
  }
}

/** Removes a name that is in the way. */
export const clearAway = (backend: Backend, { real, shown }: Place): Promise<void> =>
  told(() => backend.unlink(real), "unlink", shown);

/** Links that are followed may lead upwards. */
export function refuseCycle({ parent, info, from, to }: FolderPair): void {
  for (let above = parent; above !== null; above = above.parent)
    if (above.info?.identity === info!.identity) throw systemError(errnoOf("ELOOP"), "cp", from.shown, to.shown);
}
