// Random blocks of a file that is in the page cache: what is measured is the way to the kernel and back.

import { openSync, readSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { BLOCK, MIB, makeFile, randomOrder } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const FILE_BYTES = 256 * MIB;
const pathIn = (folder: string): string => join(folder, "cached.bin");
const nextOffset = (): (() => number) => {
  const order = randomOrder(FILE_BYTES / BLOCK);
  return () => order() * BLOCK;
};
const buffers = (depth: number): Uint8Array[] => Array.from({ length: depth }, () => new Uint8Array(BLOCK));

const workload: Workload = {
  title: "4 KiB cached random read",
  conditions: "256 MiB file in the page cache",
  shape: "rate",
  depths: [1, 64],
  bytes: BLOCK,
  targets: { 1: { peer: 8, ceiling: 1.4 }, 64: { peer: 1.8, cpu: 0.34, ceiling: 1.4 } },
  files: "cached",
  setup: (folder) => makeFile(pathIn(folder), FILE_BYTES),
  contenders: [
    {
      label: "bun-uring handle.read",
      kind: "ours",
      async open(folder, depth) {
        const handle = await (await ours()).open(pathIn(folder));
        const lanes = buffers(depth);
        const offset = nextOffset();
        return { run: (lane) => handle.read(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
    {
      label: "FileHandle.read",
      kind: "peer",
      node: true,
      async open(folder, depth) {
        const handle = await open(pathIn(folder));
        const lanes = buffers(depth);
        const offset = nextOffset();
        return { run: (lane) => handle.read(lanes[lane], 0, BLOCK, offset()), close: () => handle.close() };
      },
    },
    {
      label: "Bun.file().slice().bytes()",
      kind: "peer",
      open(folder) {
        const file = Bun.file(pathIn(folder));
        const offset = nextOffset();
        return {
          run: () => {
            const start = offset();
            return file.slice(start, start + BLOCK).bytes();
          },
        };
      },
    },
    {
      label: "readSync",
      kind: "sync",
      depths: [1],
      open(folder) {
        const fd = openSync(pathIn(folder), "r");
        const [buffer] = buffers(1);
        const offset = nextOffset();
        return { run: () => readSync(fd, buffer, 0, BLOCK, offset()) };
      },
    },
  ],
  ceilings: [
    { label: "C, liburing", program: "read-cached", reference: true },
    { label: "C, pread", program: "read-cached-sys", depths: [1] },
  ],
};

export default workload;
