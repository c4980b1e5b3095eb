// Whole small files by name, a long list of them in one call: a list of paths in, a list of 10,000 Buffers out.

import { readFile } from "node:fs/promises";
import { BLOCK, makeSmallFiles, SMALL_FILES, shuffledSmallPaths } from "../lib/files.ts";
import { allAtOnce, inLanes, list } from "../lib/lists.ts";
import { ours, type Workload } from "../lib/workload.ts";

const bytes = (path: string): Promise<Uint8Array> => Bun.file(path).bytes();

const workload: Workload = {
  title: "4 KiB whole-file read, a list of 10,000",
  conditions:
    "10,000 files of 4 KiB in one folder, all in the page cache; every way keeps all 10,000; time is per file",
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
    list({ label: "fs.promises.readFile, so many at a time", kind: "peer", node: true }, (paths, depth) =>
      inLanes(paths, depth, (path) => readFile(path)),
    ),
    list({ label: "fs.promises.readFile, all at once", kind: "peer" }, (paths) =>
      allAtOnce(paths, (path) => readFile(path)),
    ),
    list({ label: "Bun.file().bytes(), so many at a time", kind: "peer" }, (paths, depth) =>
      inLanes(paths, depth, bytes),
    ),
    list({ label: "Bun.file().bytes(), all at once", kind: "peer" }, (paths) => allAtOnce(paths, bytes)),
  ],
  ceilings: [{ label: "C, liburing", program: "small-read", reference: true }],
};

export default workload;
