// Whole small files by name: open, read, close, and the allocation of each result.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { BLOCK, makeSmallFiles, SMALL_FILES, smallPaths } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const workload: Workload = {
  title: "4 KiB whole-file read",
  conditions: "10,000 files of 4 KiB in one folder, all in the page cache",
  shape: "rate",
  depths: [1, 64],
  bytes: BLOCK,
  targets: { 1: { peer: 5, ceiling: 1.5 }, 64: { peer: 1.7, cpu: 0.4, ceiling: 1.5 } },
  files: "small",
  setup: (folder) => makeSmallFiles(folder, "small", SMALL_FILES),
  contenders: [
    {
      label: "bun-uring readFile",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        const path = smallPaths(folder);
        return { run: () => library.readFile(path()) };
      },
    },
    {
      label: "fs.promises.readFile",
      kind: "peer",
      node: true,
      open(folder) {
        const path = smallPaths(folder);
        return { run: () => readFile(path()) };
      },
    },
    {
      label: "Bun.file().bytes()",
      kind: "peer",
      open(folder) {
        const path = smallPaths(folder);
        return { run: () => Bun.file(path()).bytes() };
      },
    },
    {
      label: "readFileSync",
      kind: "sync",
      depths: [1],
      open(folder) {
        const path = smallPaths(folder);
        return { run: () => readFileSync(path()) };
      },
    },
  ],
  ceilings: [
    { label: "C, liburing", program: "small-read", reference: true },
    { label: "C, open read close", program: "small-read-sys", depths: [1] },
  ],
};

export default workload;
