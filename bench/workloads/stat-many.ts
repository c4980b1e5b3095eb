// What files are, by name, a long list of them in one call: what the list saves against a call for each file.

import { stat } from "node:fs/promises";
import { makeSmallFiles, SMALL_FILES, shuffledSmallPaths, smallPaths } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const workload: Workload = {
  title: "stat, a list of 10,000",
  conditions: "10,000 files in one folder, dentries and inodes cached; time is per file",
  shape: "rate",
  depths: [64],
  bytes: 0,
  targets: { 64: { peer: 1.4, ceiling: 1.9 } },
  files: "small",
  setup: (folder) => makeSmallFiles(folder, "small", SMALL_FILES),
  contenders: [
    {
      label: "bun-uring statMany",
      kind: "ours",
      batch: SMALL_FILES,
      async open(folder, concurrency) {
        const library = await ours();
        const paths = shuffledSmallPaths(folder);
        return { run: () => library.statMany(paths, { concurrency }) };
      },
    },
    {
      label: "bun-uring stat",
      kind: "more",
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
  ],
  ceilings: [
    { label: "C, liburing statx", program: "stat" },
    // Not many at once, but still the fastest way to do this in C.
    { label: "C, statx", program: "stat-sys", reference: true },
  ],
};

export default workload;
