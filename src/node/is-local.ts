// Which kind of file system a path lies on, as the thread pool says it. Assumes a path that may be asked for.

import { bunFs } from "./bun-fs.ts";

/** Magic numbers (statfs(2)) of ext4, XFS, Btrfs, tmpfs, F2FS, overlayfs, ZFS and bcachefs. */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0xf2f52010, 0x794c7630, 0x2fc12fc1, 0xca451a4e];

/** Whether a path is on a file system that keeps data and answers from here; false where that can't be told. */
export const isLocal = (path: string | Uint8Array): Promise<boolean> =>
  new Promise((resolve) => {
    // The numbers may be signed.
    bunFs.statfs(path as string, (error, found) => resolve(!error && LOCAL.includes(found.type >>> 0)));
  });
