// Makes the folders that work is done in, so that no round pays for the files that an earlier one has deleted.
// ext4 does not give a deleted file's inode out again for minutes, and looks at every such inode of a block group each time
// it needs one: creating a file next to 10,000 deleted ones costs a millisecond instead of tens of microseconds. So a
// round has a folder of its own, in a block group of its own, and nothing is deleted before the end of the run.
// What other programs have deleted lately, or a run that ended less than a minute ago, can still be met.
// Assumes nothing of the file system: where none of this is true, a folder is as good as another. Measures only itself.

import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BLOCK } from "./files.ts";

const ATTEMPTS = 6;
const PROBES = 32;
/** A new file takes less than this, in microseconds, unless it has to look for an inode. */
const QUICK = 200;

/** Tells ext4 that the folders below this one have nothing to do with each other: each gets another block group, by its name. */
export function spreadBelow(folder: string): void {
  // Refused by other file systems, and not needed there.
  Bun.spawnSync(["chattr", "+T", folder], { stdout: "ignore", stderr: "ignore" });
}

/** Microseconds that a new small file takes in this folder. They stay: deleting them would be the fault to be avoided. */
function microsecondsPerFile(folder: string): number {
  const bytes = new Uint8Array(BLOCK);
  const start = Bun.nanoseconds();
  for (let i = 0; i < PROBES; i++) writeFileSync(join(folder, `${i}`), bytes);
  return (Bun.nanoseconds() - start) / 1000 / PROBES;
}

/** A new empty folder below `parent` where files can be created quickly: the best of a few. */
export function freshFolder(parent: string, name: string): string {
  let best = "";
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < ATTEMPTS && least > QUICK; attempt++) {
    // Its name is random: ext4 chooses the block group by it.
    const candidate = mkdtempSync(join(parent, `${name}-`));
    const probe = join(candidate, "probe");
    mkdirSync(probe);
    const cost = microsecondsPerFile(probe);
    if (cost < least) [best, least] = [candidate, cost];
  }
  const folder = join(best, "files");
  mkdirSync(folder);
  return folder;
}
