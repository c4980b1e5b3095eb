// One large file through a stream of node:stream, in flowing mode: what flows is counted and thrown away.

import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { GIB, largeFile, makeLargeFile } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

function drain(stream: Readable): Promise<void> {
  let byteLength = 0;
  return new Promise((resolve, reject) => {
    stream.on("data", (chunk: Buffer) => {
      byteLength += chunk.byteLength;
    });
    stream.once("error", reject);
    stream.once("close", () => {
      if (byteLength === GIB) resolve();
      else reject(new Error(`the stream had ${byteLength} bytes`));
    });
  });
}

const workload: Workload = {
  title: "node stream, 1 GiB",
  conditions: "one file in the page cache",
  shape: "job",
  depths: [1],
  bytes: GIB,
  targets: { 1: { peer: 1.5 } },
  files: "large",
  setup: makeLargeFile,
  contenders: [
    {
      label: "bun-uring handle.createReadStream",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        return { run: async () => drain((await library.open(largeFile(folder))).createReadStream()) };
      },
    },
    {
      label: "fs.createReadStream",
      kind: "peer",
      node: true,
      open: (folder) => ({ run: () => drain(createReadStream(largeFile(folder))) }),
    },
    {
      label: "FileHandle.createReadStream",
      kind: "peer",
      open: (folder) => ({ run: async () => drain((await open(largeFile(folder))).createReadStream()) }),
    },
  ],
};

export default workload;
