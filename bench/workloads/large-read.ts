// One large file, whole, into memory: page faults of the result and the copy out of the page cache.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { GIB, makeFile } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const pathIn = (folder: string): string => join(folder, "large.bin");

const workload: Workload = {
  title: "readFile, 1 GiB",
  conditions: "one file in the page cache",
  shape: "job",
  depths: [1],
  bytes: GIB,
  targets: { 1: { peer: 2.5 } },
  setup: (folder) => makeFile(pathIn(folder), GIB),
  contenders: [
    {
      label: "bun-uring readFile",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        return { run: () => library.readFile(pathIn(folder)) };
      },
    },
    {
      label: "fs.promises.readFile",
      kind: "peer",
      node: true,
      open: (folder) => ({ run: () => readFile(pathIn(folder)) }),
    },
    {
      label: "Bun.file().bytes()",
      kind: "peer",
      open: (folder) => ({ run: () => Bun.file(pathIn(folder)).bytes() }),
    },
    {
      label: "readFileSync",
      kind: "sync",
      open: (folder) => ({ run: () => readFileSync(pathIn(folder)) }),
    },
  ],
};

export default workload;
