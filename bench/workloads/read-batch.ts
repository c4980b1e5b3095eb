// Random blocks of a file that is in the page cache, a full ring of them with one promise.

import { open } from "node:fs/promises";
import { join } from "node:path";
import { BLOCK, MIB, makeFile, randomOrder } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

const FILE_BYTES = 256 * MIB;
const BATCH = 256;
const pathIn = (folder: string): string => join(folder, "cached.bin");
const nextOffset = (): (() => number) => {
  const order = randomOrder(FILE_BYTES / BLOCK);
  return () => order() * BLOCK;
};
const buffers = (depth: number): Uint8Array[] => Array.from({ length: depth }, () => new Uint8Array(BLOCK));

const workload: Workload = {
  title: "4 KiB cached random read, in batches",
  conditions: "256 MiB file in the page cache; C keeps as many in its ring",
  shape: "rate",
  depths: [BATCH],
  bytes: BLOCK,
  targets: { [BATCH]: { ceiling: 1.1 } },
  files: "cached",
  setup: (folder) => makeFile(pathIn(folder), FILE_BYTES),
  contenders: [
    {
      label: "bun-uring handle.readBatch",
      kind: "ours",
      batch: BATCH,
      async open(folder) {
        const handle = await (await ours()).open(pathIn(folder));
        const into = new Uint8Array(BATCH * BLOCK);
        const offsets = new Float64Array(BATCH);
        const next = nextOffset();
        const run = (): Promise<Int32Array> => {
          for (let i = 0; i < BATCH; i++) offsets[i] = next();
          return handle.readBatch({ offsets, lengths: BLOCK, into });
        };
        return { run, close: () => handle.close() };
      },
    },
    {
      label: "bun-uring handle.read",
      kind: "more",
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
  ],
  ceilings: [{ label: "C, liburing", program: "read-cached", reference: true }],
};

export default workload;
