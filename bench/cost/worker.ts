// A Worker with a ring of its own: says that it is ready, and when told to go answers with its reads per second.
// Assumes argv [file]. Used by probe.ts only.

import { BLOCK, randomOrder } from "../lib/files.ts";
import { ours } from "../lib/workload.ts";

declare const self: { onmessage: () => void; postMessage(message: unknown): void };

const LANES = 64;
const MS = 1000;

const path = process.argv.at(-1)!;
const handle = await (await ours()).open(path);
const order = randomOrder(Bun.file(path).size / BLOCK);
const buffers = Array.from({ length: LANES }, () => new Uint8Array(BLOCK));

async function readsPerSecond(ms: number): Promise<number> {
  const start = Bun.nanoseconds();
  const end = start + ms * 1e6;
  let count = 0;
  const lane = async (buffer: Uint8Array): Promise<void> => {
    for (; Bun.nanoseconds() < end; count++) await handle.read(buffer, 0, BLOCK, order() * BLOCK);
  };
  await Promise.all(buffers.map(lane));
  return (count * 1e9) / (Bun.nanoseconds() - start);
}

self.onmessage = async () => self.postMessage(await readsPerSecond(MS));
await readsPerSecond(MS / 2);
self.postMessage(0);
