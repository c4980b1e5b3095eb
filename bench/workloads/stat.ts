// What a file is, by name, with everything in the kernel's caches.

import { statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { makeSmallFiles, SMALL_FILES, smallPaths } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const workload: Workload = {
  title: "stat",
  conditions: "10,000 files in one folder, dentries and inodes cached",
  shape: "rate",
  depths: [1, 64],
  bytes: 0,
  targets: { 1: { peer: 7, ceiling: 1.9 }, 64: { peer: 1.1, cpu: 0.5, ceiling: 1.9 } },
  files: "small",
  setup: (folder) => makeSmallFiles(folder, "small", SMALL_FILES),
  contenders: [
    {
      label: "bun-uring stat",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        const path = smallPaths(folder);
        return { run: () => library.stat(path()) };
      },
    },
    {
      label: "fs.promises.stat",
      kind: "peer",
      node: true,
      open(folder) {
        const path = smallPaths(folder);
        return { run: () => stat(path()) };
      },
    },
    {
      label: "Bun.file().stat()",
      kind: "peer",
      open(folder) {
        const path = smallPaths(folder);
        return { run: () => Bun.file(path()).stat() };
      },
    },
    {
      label: "statSync",
      kind: "sync",
      depths: [1],
      open(folder) {
        const path = smallPaths(folder);
        return { run: () => statSync(path()) };
      },
    },
  ],
  ceilings: [
    { label: "C, liburing statx", program: "stat" },
    // The plain call is the faster way to do this in C, so it is the ceiling.
    { label: "C, statx", program: "stat-sys", reference: true },
  ],
};

export default workload;
