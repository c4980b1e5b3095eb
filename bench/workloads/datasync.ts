// A log: every record is on the disk before its writer goes on. 64 writers append to one file.

import { open } from "node:fs/promises";
import { join } from "node:path";
import { ours, type Workload } from "../lib/workload.ts";

const RECORD = 256;
const pathIn = (folder: string): string => join(folder, "log.bin");

const workload: Workload = {
  title: "append 256 bytes and datasync",
  conditions: "64 writers on one file",
  shape: "rate",
  depths: [64],
  bytes: RECORD,
  targets: { 64: { peer: 8 } },
  setup: () => {},
  contenders: [
    {
      label: "bun-uring write with flush",
      kind: "ours",
      async open(folder) {
        const handle = await (await ours()).open(pathIn(folder), "a");
        const record = new Uint8Array(RECORD);
        return { run: () => handle.write(record, { flush: true }), close: () => handle.close() };
      },
    },
    {
      label: "bun-uring write, datasync",
      kind: "more",
      async open(folder) {
        const handle = await (await ours()).open(pathIn(folder), "a");
        const record = new Uint8Array(RECORD);
        const run = async (): Promise<void> => {
          await handle.write(record);
          await handle.datasync();
        };
        return { run, close: () => handle.close() };
      },
    },
    {
      label: "FileHandle write, datasync",
      kind: "peer",
      node: true,
      async open(folder) {
        const handle = await open(pathIn(folder), "a");
        const record = new Uint8Array(RECORD);
        const run = async (): Promise<void> => {
          await handle.write(record);
          await handle.datasync();
        };
        return { run, close: () => handle.close() };
      },
    },
  ],
};

export default workload;
