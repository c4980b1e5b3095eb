// Random blocks past the page cache: what is measured is the device, and what waiting for it costs.

import { constants, openSync, readSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { alignedBuffers, BLOCK, evict, MIB, makeFile, randomOrder } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const FILE_BYTES = 256 * MIB;
const FLAGS = constants.O_RDONLY | constants.O_DIRECT;
const pathIn = (folder: string): string => join(folder, "direct.bin");
const nextOffset = (): (() => number) => {
  const order = randomOrder(FILE_BYTES / BLOCK);
  return () => order() * BLOCK;
};

const workload: Workload = {
  title: "4 KiB O_DIRECT random read",
  conditions: "256 MiB file, nothing of it in the page cache",
  shape: "rate",
  depths: [1, 64],
  bytes: BLOCK,
  targets: { 1: { peer: 1.2, ceiling: 1.7 }, 64: { peer: 2, cpu: 0.25, ceiling: 1.7, fio: 0.97 } },
  files: "direct",
  setup(folder) {
    makeFile(pathIn(folder), FILE_BYTES);
    evict(pathIn(folder));
  },
  contenders: [
    {
      label: "bun-uring handle.read",
      kind: "ours",
      async open(folder, depth) {
        const handle = await (await ours()).open(pathIn(folder), FLAGS);
        const lanes = alignedBuffers(depth, BLOCK);
        const offset = nextOffset();
        return { run: (lane) => handle.read(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
    {
      label: "FileHandle.read",
      kind: "peer",
      node: true,
      async open(folder, depth) {
        const handle = await open(pathIn(folder), FLAGS);
        const lanes = alignedBuffers(depth, BLOCK);
        const offset = nextOffset();
        return { run: (lane) => handle.read(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
    {
      label: "readSync",
      kind: "sync",
      depths: [1],
      open(folder) {
        const fd = openSync(pathIn(folder), FLAGS);
        const [buffer] = alignedBuffers(1, BLOCK);
        const offset = nextOffset();
        return { run: () => readSync(fd, buffer, 0, BLOCK, offset()) };
      },
    },
  ],
  ceilings: [{ label: "C, liburing", program: "read-direct", reference: true }],
  fio: { file: "direct.bin", mode: "randread", block: BLOCK },
};

export default workload;
