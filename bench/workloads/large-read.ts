// One large file, whole, into memory: page faults of the result and the copy out of the page cache.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { GIB, largeFile, makeLargeFile } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const workload: Workload = {
  title: "readFile, 1 GiB",
  conditions: "one file in the page cache",
  shape: "job",
  depths: [1],
  bytes: GIB,
  targets: { 1: { peer: 2.5 } },
  files: "large",
  setup: makeLargeFile,
  contenders: [
    {
      label: "bun-uring readFile",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        return { run: () => library.readFile(largeFile(folder)) };
      },
    },
    {
      label: "fs.promises.readFile",
      kind: "peer",
      node: true,
      open: (folder) => ({ run: () => readFile(largeFile(folder)) }),
    },
    {
      label: "Bun.file().bytes()",
      kind: "peer",
      open: (folder) => ({ run: () => Bun.file(largeFile(folder)).bytes() }),
    },
    {
      label: "readFileSync",
      kind: "sync",
      open: (folder) => ({ run: () => readFileSync(largeFile(folder)) }),
    },
  ],
  // Memory's own bandwidth, into memory that is there already: what no way to read can pass.
  ceilings: [{ label: "C, memcpy", program: "memory-copy" }],
};

export default workload;
