// A tree of many small files copied into a new one: mostly opens, creates and closes.

import { rmSync } from "node:fs";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { BLOCK, makeSmallFiles, SMALL_FILES } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const source = (folder: string): string => join(folder, "tree");
const target = (folder: string): string => join(folder, "copy");

const workload: Workload = {
  title: "copyTree, 10,000 small files",
  conditions: "4 KiB files in 100 folders, in the page cache; time is per file",
  shape: "job",
  depths: [1],
  bytes: SMALL_FILES * BLOCK,
  operations: SMALL_FILES,
  // At least 0.8 of the speed of cp -r is at most 1.25 times its time.
  targets: { 1: { peer: 3.5, command: 1.25 } },
  setup: (folder) => makeSmallFiles(folder, "tree", SMALL_FILES, 100),
  prepare: (folder) => rmSync(target(folder), { recursive: true, force: true }),
  contenders: [
    {
      label: "bun-uring copyTree",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        return { run: () => library.copyTree(source(folder), target(folder)) };
      },
    },
    {
      label: "fs.promises.cp",
      kind: "peer",
      node: true,
      open: (folder) => ({ run: () => cp(source(folder), target(folder), { recursive: true }) }),
    },
  ],
  commands: [{ label: "cp -r", argv: (folder) => ["cp", "-r", source(folder), target(folder)] }],
};

export default workload;
