// Random blocks written over an existing file: into the page cache, written back by the kernel when it likes.

import { openSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { BLOCK, MIB, makeFile, randomOrder } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const FILE_BYTES = 64 * MIB;
const pathIn = (folder: string): string => join(folder, "write.bin");
const nextOffset = (): (() => number) => {
  const order = randomOrder(FILE_BYTES / BLOCK);
  return () => order() * BLOCK;
};
const buffers = (depth: number): Uint8Array[] =>
  Array.from({ length: depth }, (_, lane) => new Uint8Array(BLOCK).fill(lane));

const workload: Workload = {
  title: "4 KiB buffered random write",
  conditions: "64 MiB file in the page cache, overwritten",
  shape: "rate",
  depths: [1, 64],
  bytes: BLOCK,
  targets: { 1: { peer: 1.5 }, 64: { peer: 1.3 } },
  setup: (folder) => makeFile(pathIn(folder), FILE_BYTES),
  // The write-back of one round must not fall into the next one.
  prepare: (folder) => void Bun.spawnSync(["sync", pathIn(folder)]),
  contenders: [
    {
      label: "bun-uring handle.write",
      kind: "ours",
      async open(folder, depth) {
        const handle = await (await ours()).open(pathIn(folder), "r+");
        const lanes = buffers(depth);
        const offset = nextOffset();
        return { run: (lane) => handle.write(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
    {
      label: "FileHandle.write",
      kind: "peer",
      node: true,
      async open(folder, depth) {
        const handle = await open(pathIn(folder), "r+");
        const lanes = buffers(depth);
        const offset = nextOffset();
        return { run: (lane) => handle.write(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
    {
      label: "writeSync",
      kind: "sync",
      depths: [1],
      open(folder) {
        const fd = openSync(pathIn(folder), "r+");
        const [buffer] = buffers(1);
        const offset = nextOffset();
        return { run: () => writeSync(fd, buffer, 0, BLOCK, offset()) };
      },
    },
  ],
  ceilings: [
    { label: "C, liburing", program: "write-buffered", reference: true },
    { label: "C, pwrite", program: "write-buffered-sys", depths: [1] },
  ],
};

export default workload;
