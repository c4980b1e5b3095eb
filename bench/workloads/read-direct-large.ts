// Large random blocks past the page cache into pool memory: how near to the device's own rate.

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { alignedBuffers, evict, KIB, MIB, makeFile, randomOrder } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const FILE_BYTES = 256 * MIB;
const BLOCK = 128 * KIB;
const FLAGS = constants.O_RDONLY | constants.O_DIRECT;
const pathIn = (folder: string): string => join(folder, "direct.bin");
const nextOffset = (): (() => number) => {
  const order = randomOrder(FILE_BYTES / BLOCK);
  return () => order() * BLOCK;
};

const workload: Workload = {
  title: "128 KiB O_DIRECT random read",
  conditions: "256 MiB file, nothing of it in the page cache",
  shape: "rate",
  depths: [16],
  bytes: BLOCK,
  targets: { 16: { fio: 0.95 } },
  files: "direct",
  setup(folder) {
    makeFile(pathIn(folder), FILE_BYTES);
    evict(pathIn(folder));
  },
  contenders: [
    {
      label: "bun-uring handle.read into a pool",
      kind: "ours",
      async open(folder, depth) {
        const library = await ours();
        const handle = await library.open(pathIn(folder), FLAGS);
        const pool = new library.BufferPool({ size: BLOCK, count: depth });
        const lanes = await Promise.all(Array.from({ length: depth }, async () => (await pool.acquire()).bytes));
        const offset = nextOffset();
        return { run: (lane) => handle.read(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
    {
      label: "FileHandle.read",
      kind: "peer",
      async open(folder, depth) {
        const handle = await open(pathIn(folder), FLAGS);
        const lanes = alignedBuffers(depth, BLOCK);
        const offset = nextOffset();
        return { run: (lane) => handle.read(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
  ],
  ceilings: [{ label: "C, liburing, registered buffers", program: "read-direct-large", reference: true }],
  fio: { file: "direct.bin", mode: "randread", block: BLOCK },
};

export default workload;
