// Owns what a Worker of the hostile program does: it parks reads of its own buffers on a FIFO, posts memory of a pool, and
// ends as it was told, over all of it. Assumes workerData of hostile.child.ts. Never cleans up: that is what is tested.

import { parentPort, workerData } from "node:worker_threads";
import * as fs from "../../src/index.ts";

const { fifo, path, end } = workerData as { fifo: string; path: string; end: string };
const kept: unknown[] = [];
const ignore = (): void => {};

if (fs.backend === "io_uring") {
  for (let i = 0; i < 20; i++) {
    const handle = await fs.open(fifo, "r+");
    const view = new Uint8Array(new ArrayBuffer(4096));
    kept.push(handle, view);
    handle.read(view, 0, 4096, null).catch(ignore);
    handle.readv([new Uint8Array(new ArrayBuffer(4096))]).catch(ignore);
    fs.readFile(fifo).catch(ignore);
    fs.Ring.current().submit({ opcode: fs.Opcode.READ, fd: handle.fd, buffer: view }).catch(ignore);
  }
}
const pool = new fs.BufferPool({ size: 65_536, count: 2 });
const { bytes } = pool.tryAcquire()!;
const handle = await fs.open(path, "r");
kept.push(handle, pool);
await handle.read(bytes, 0, bytes.length, 0);
parentPort!.postMessage(bytes, [bytes.buffer as ArrayBuffer]);
for (let i = 0; i < 50; i++) fs.readFile(path).catch(ignore);
if (end === "exit") process.exit(0);
if (end === "throw") throw new Error("the Worker's own end");
await Bun.sleep(1e6);
