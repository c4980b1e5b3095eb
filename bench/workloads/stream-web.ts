// One large file through a web stream, chunk by chunk: what flows is counted and thrown away.

import { open } from "node:fs/promises";
import { GIB, largeFile, makeLargeFile } from "../lib/files.ts";
import { ours, type Workload } from "../lib/workload.ts";

async function drain(stream: ReadableStream<Uint8Array>): Promise<void> {
  let byteLength = 0;
  for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) byteLength += chunk.byteLength;
  if (byteLength !== GIB) throw new Error(`the stream had ${byteLength} bytes`);
}

const workload: Workload = {
  title: "web stream, 1 GiB",
  conditions: "one file in the page cache",
  shape: "job",
  depths: [1],
  bytes: GIB,
  targets: { 1: { peer: 1.5 } },
  files: "large",
  setup: makeLargeFile,
  contenders: [
    {
      label: "bun-uring handle.readableWebStream",
      kind: "ours",
      async open(folder) {
        const library = await ours();
        const run = async (): Promise<void> => {
          await using handle = await library.open(largeFile(folder));
          await drain(handle.readableWebStream() as ReadableStream);
        };
        return { run };
      },
    },
    {
      label: "Bun.file().stream()",
      kind: "peer",
      open: (folder) => ({ run: () => drain(Bun.file(largeFile(folder)).stream()) }),
    },
    {
      label: "FileHandle.readableWebStream",
      kind: "peer",
      node: true,
      open(folder) {
        const run = async (): Promise<void> => {
          const handle = await open(largeFile(folder));
          await drain(handle.readableWebStream() as ReadableStream);
          await handle.close();
        };
        return { run };
      },
    },
  ],
};

export default workload;
