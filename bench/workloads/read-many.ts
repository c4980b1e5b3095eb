// Whole small files by name, a long list of them in one call: what the list saves against a call for each file.

import { readFile } from "node:fs/promises";
import { BLOCK, makeSmallFiles, SMALL_FILES, shuffledSmallPaths, smallPaths } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const workload: Workload = {
  title: "4 KiB whole-file read, a list of 10,000",
  conditions: "10,000 files of 4 KiB in one folder, all in the page cache; time is per file",
  shape: "rate",
  depths: [64],
  bytes: BLOCK,
  targets: { 64: { peer: 2, ceiling: 1.5 } },
  files: "small",
  setup: (folder) => makeSmallFiles(folder, "small", SMALL_FILES),
  contenders: [
    {
      label: "bun-uring readMany",
      kind: "ours",
      batch: SMALL_FILES,
      async open(folder, concurrency) {
        const library = await ours();
        const paths = shuffledSmallPaths(folder);
        return { run: () => library.readMany(paths, { concurrency }) };
      },
    },
    {
      label: "bun-uring readFile",
      kind: "more",
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
  ],
  ceilings: [{ label: "C, liburing", program: "small-read", reference: true }],
};

export default workload;
