// New small files by name in one folder: create, write, close. Not synced, as none of the contenders does.

import { writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BLOCK } from "../lib/files.ts";
import { type Operation, ours, type Workload } from "../lib/workload.ts";

const content: Uint8Array = new Uint8Array(BLOCK).fill(0x78);

/** Writes a file of another name each time, into the round's own folder. */
function writer(write: (path: string, bytes: Uint8Array) => unknown): Operation {
  let folder = "";
  let count = 0;
  return {
    begin(scratch) {
      folder = scratch;
      count = 0;
    },
    run: () => write(join(folder, `${count++}`), content),
  };
}

const workload: Workload = {
  title: "4 KiB whole-file write",
  conditions: "new files in one folder, a new folder every round",
  shape: "rate",
  depths: [1, 64],
  bytes: BLOCK,
  targets: { 1: { peer: 1.1 }, 64: { peer: 1.25, cpu: 0.5, sync: 1 } },
  setup: () => {},
  scratch: true,
  contenders: [
    {
      label: "bun-uring writeFile",
      kind: "ours",
      open: async () => writer((await ours()).writeFile),
    },
    {
      label: "fs.promises.writeFile",
      kind: "peer",
      node: true,
      open: () => writer(writeFile),
    },
    {
      // It returns a promise, but for less than 256 KiB the work is done before, on the JavaScript thread.
      label: "Bun.write (blocks)",
      kind: "sync",
      open: () => writer(Bun.write),
    },
    {
      label: "writeFileSync",
      kind: "sync",
      depths: [1],
      open: () => writer(writeFileSync),
    },
  ],
};

export default workload;
