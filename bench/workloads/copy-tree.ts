// A tree of many small files copied into a new one: mostly opens, creates and closes.

import { cp } from "node:fs/promises";
import { join } from "node:path";
import { BLOCK, makeSmallFiles, SMALL_FILES } from "../lib/files.ts";
import { type Operation, ours, type Workload } from "../lib/workload.ts";

const source = (folder: string): string => join(folder, "tree");
/** Copies into the round's own folder. */
function copier(folder: string, copy: (from: string, to: string) => unknown): Operation {
  let target = "";
  return {
    begin(scratch) {
      target = join(scratch, "copy");
    },
    run: () => copy(source(folder), target),
  };
}

const workload: Workload = {
  title: "copyTree, 10,000 small files",
  conditions: "4 KiB files in 100 folders, in the page cache; into a new folder every round; time is per file",
  shape: "job",
  depths: [1],
  bytes: SMALL_FILES * BLOCK,
  operations: SMALL_FILES,
  // At least 0.8 of the speed of cp -r is at most 1.25 times its time.
  targets: { 1: { peer: 3.5, command: 1.25 } },
  setup: (folder) => makeSmallFiles(folder, "tree", SMALL_FILES, 100),
  scratch: true,
  contenders: [
    {
      label: "bun-uring copyTree",
      kind: "ours",
      open: async (folder) => copier(folder, (await ours()).copyTree),
    },
    {
      label: "fs.promises.cp",
      kind: "peer",
      node: true,
      open: (folder) => copier(folder, (from, to) => cp(from, to, { recursive: true })),
    },
  ],
  commands: [{ label: "cp -r", argv: (folder, scratch) => ["cp", "-r", source(folder), join(scratch, "copy")] }],
};

export default workload;
