// New small files by name in one folder: create, write, close. Not synced, as none of the contenders does.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BLOCK } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const folderIn = (folder: string): string => join(folder, "new");
const content = (): Uint8Array => new Uint8Array(BLOCK).fill(0x78);
const freshPath = (folder: string): (() => string) => {
  let count = 0;
  return () => join(folderIn(folder), `${count++}`);
};

const workload: Workload = {
  title: "4 KiB whole-file write",
  conditions: "new files in one folder",
  shape: "rate",
  depths: [1, 64],
  bytes: BLOCK,
  targets: { 1: { peer: 1.1 }, 64: { peer: 1.25, cpu: 0.5 } },
  setup: () => {},
  prepare(folder) {
    rmSync(folderIn(folder), { recursive: true, force: true });
    mkdirSync(folderIn(folder));
  },
  contenders: [
    {
      label: "bun-uring writeFile",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        const path = freshPath(folder);
        const bytes = content();
        return { run: () => library.writeFile(path(), bytes) };
      },
    },
    {
      label: "fs.promises.writeFile",
      kind: "peer",
      node: true,
      open(folder) {
        const path = freshPath(folder);
        const bytes = content();
        return { run: () => writeFile(path(), bytes) };
      },
    },
    {
      // It returns a promise, but for less than 256 KiB the work is done before, on the JavaScript thread.
      label: "Bun.write (blocks)",
      kind: "sync",
      open(folder) {
        const path = freshPath(folder);
        const bytes = content();
        return { run: () => Bun.write(path(), bytes) };
      },
    },
    {
      label: "writeFileSync",
      kind: "sync",
      depths: [1],
      open(folder) {
        const path = freshPath(folder);
        const bytes = content();
        return { run: () => writeFileSync(path(), bytes) };
      },
    },
  ],
};

export default workload;
