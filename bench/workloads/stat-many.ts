// What files are, by name, a long list of them in one call: a list of paths in, a list of 10,000 Stats out.

import { stat } from "node:fs/promises";
import { makeSmallFiles, SMALL_FILES, shuffledSmallPaths } from "../lib/files.ts";
import { allAtOnce, inLanes, list } from "../lib/lists.ts";
import { ours, type Workload } from "../lib/workload.ts";

const bunStat = (path: string): Promise<unknown> => Bun.file(path).stat();

const workload: Workload = {
  title: "stat, a list of 10,000",
  conditions: "10,000 files in one folder, dentries and inodes cached; every way keeps all 10,000; time is per file",
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
    list({ label: "fs.promises.stat, so many at a time", kind: "peer", node: true }, (paths, depth) =>
      inLanes(paths, depth, (path) => stat(path)),
    ),
    list({ label: "fs.promises.stat, all at once", kind: "peer" }, (paths) => allAtOnce(paths, (path) => stat(path))),
    list({ label: "Bun.file().stat(), so many at a time", kind: "peer" }, (paths, depth) =>
      inLanes(paths, depth, bunStat),
    ),
    list({ label: "Bun.file().stat(), all at once", kind: "peer" }, (paths) => allAtOnce(paths, bunStat)),
  ],
  ceilings: [
    { label: "C, liburing statx", program: "stat" },
    // Not many at once, but still the fastest way to do this in C.
    { label: "C, statx", program: "stat-sys", reference: true },
  ],
};

export default workload;
