// Opening a file and closing it again, with everything in the kernel's caches.

import { closeSync, openSync } from "node:fs";
import { open } from "node:fs/promises";
import { makeSmallFiles, SMALL_FILES, smallPaths } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const workload: Workload = {
  title: "open and close",
  conditions: "10,000 files in one folder, dentries and inodes cached",
  shape: "rate",
  depths: [1, 64],
  bytes: 0,
  targets: { 1: { peer: 4, ceiling: 2 }, 64: { peer: 1.5, ceiling: 2 } },
  files: "small",
  setup: (folder) => makeSmallFiles(folder, "small", SMALL_FILES),
  contenders: [
    {
      label: "bun-uring open, close",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        const path = smallPaths(folder);
        return { run: async () => (await library.open(path())).close() };
      },
    },
    {
      label: "fs.promises.open, close",
      kind: "peer",
      node: true,
      open(folder) {
        const path = smallPaths(folder);
        return { run: async () => (await open(path())).close() };
      },
    },
    {
      label: "openSync, closeSync",
      kind: "sync",
      depths: [1],
      open(folder) {
        const path = smallPaths(folder);
        return { run: () => closeSync(openSync(path(), "r")) };
      },
    },
  ],
  ceilings: [
    { label: "C, liburing", program: "open-close", reference: true },
    { label: "C, open close", program: "open-close-sys", depths: [1] },
  ],
};

export default workload;
