// One large file copied into a new one, from the page cache into the page cache.

import { rmSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { GIB, largeFile, makeLargeFile } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const target = (folder: string): string => join(folder, "copy.bin");

const workload: Workload = {
  title: "copyFile, 1 GiB",
  conditions: "the source in the page cache, the target new and not synced",
  shape: "job",
  depths: [1],
  bytes: GIB,
  targets: { 1: { peer: 1, command: 1 } },
  files: "large",
  setup: makeLargeFile,
  prepare(folder) {
    rmSync(target(folder), { force: true });
    // A gigabyte that the one before has left to be written would slow down the next.
    Bun.spawnSync(["sync", "-f", folder]);
  },
  contenders: [
    {
      label: "bun-uring copyFile",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        return { run: () => library.copyFile(largeFile(folder), target(folder)) };
      },
    },
    {
      label: "fs.promises.copyFile",
      kind: "peer",
      node: true,
      open: (folder) => ({ run: () => copyFile(largeFile(folder), target(folder)) }),
    },
    {
      label: "Bun.write(file, file)",
      kind: "peer",
      open: (folder) => ({ run: () => Bun.write(Bun.file(target(folder)), Bun.file(largeFile(folder))) }),
    },
  ],
  commands: [{ label: "cp", argv: (folder) => ["cp", largeFile(folder), target(folder)] }],
};

export default workload;
