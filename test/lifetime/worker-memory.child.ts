// Owns the cases of worker-memory.test.ts: a Worker ends while the kernel has memory of its heap, and what the kernel would
// write there is fed to it at that moment. The main thread allocates meanwhile, and looks for bytes that are not its own.
// Assumes that the Worker's code is given as text: it runs the package from its sources.

import { closeSync, constants, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { runCases } from "../helpers/cases.ts";
import { run } from "../helpers/mounts.ts";

const SIZE = 4096;
const MARK = 0x5a;
const source = JSON.stringify(join(import.meta.dir, "../../src/index.ts"));

/** What parks in the kernel: each gets the FIFO's path and returns when the operation has been begun. */
const PARKED: Record<string, string> = {
  read: `handle.read(memory(), 0, ${SIZE}, null)`,
  readv: `handle.readv([memory(), memory()])`,
  raw: `fs.Ring.current().submit({ opcode: fs.Opcode.READ, fd: handle.fd, buffer: memory() })`,
  readBatch: `handle.readBatch({ offsets: [0], lengths: ${SIZE}, into: memory() })`,
  readFile: "fs.readFile(path)",
  contents: "handle.readFile()",
  stream: `(async () => { for await (const chunk of handle.createReadStream({ autoClose: false })) kept.push(chunk); })()`,
  many: `(async () => { for await (const file of fs.readMany([path, path])) kept.push(file); })()`,
};

const workerCode = (parked: string, end: string): string => `
  const fs = await import(${source});
  const { parentPort } = await import("node:worker_threads");
  const path = process.env.FIFO;
  const kept = [];
  const memory = () => {
    const view = new Uint8Array(new ArrayBuffer(${SIZE}));
    kept.push(view);
    return view;
  };
  for (let i = 0; i < 60; i++) {
    const handle = await fs.open(path, "r+");
    kept.push(handle);
    Promise.resolve(${parked}).catch(() => {});
  }
  await Bun.sleep(20);
  parentPort.postMessage("parked");
  ${end === "terminate" ? "await Bun.sleep(1e9);" : ""}
  ${end === "exit" ? "setTimeout(() => process.exit(0), 5);" : ""}
  ${end === "throws" ? "setTimeout(() => { throw new Error('the end'); }, 5);" : ""}
`;

runCases({
  /** Arrays of this thread that hold what the FIFO was fed with. */
  async ends({ dir, kind, end, rounds }: { dir: string; kind: string; end: string; rounds: number }): Promise<number> {
    const file = `${dir}/${kind}-${end}.mts`;
    writeFileSync(file, workerCode(PARKED[kind]!, end));
    let foreign = 0;
    for (let round = 0; round < rounds; round++) {
      const path = `${dir}/fifo-${kind}-${end}-${round}`;
      run("mkfifo", path);
      const feeder = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
      const worker = new Worker(file, { env: { ...process.env, FIFO: path } });
      worker.on("error", () => {});
      await new Promise((resolve) => worker.once("message", resolve));
      if (end === "terminate") void worker.terminate();
      const mine: Uint8Array[] = [];
      const since = performance.now();
      while (performance.now() - since < 60) {
        for (let i = 0; i < 20; i++) mine.push(new Uint8Array(new ArrayBuffer(SIZE)));
        try {
          writeSync(feeder, Buffer.alloc(SIZE, MARK));
        } catch {
          // the FIFO is full
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      foreign += mine.filter((array) => array.includes(MARK)).length;
      closeSync(feeder);
    }
    return foreign;
  },

  /** The first byte of a lease's memory that a Worker has posted, after the Worker's end. */
  async posted({ dir, end }: { dir: string; end: string }): Promise<number[]> {
    const file = `${dir}/posted-${end}.mts`;
    writeFileSync(
      file,
      `
      const { BufferPool, stat } = await import(${source});
      const { parentPort } = await import("node:worker_threads");
      await stat("/");
      const pool = new BufferPool({ size: ${1 << 20}, count: 3 });
      for (const fill of [1, 2]) {
        const { bytes } = pool.tryAcquire();
        bytes.fill(fill);
        parentPort.postMessage(bytes, [bytes.buffer]);
      }
      pool.tryAcquire().bytes.fill(3);
      if (${end === "close"}) pool.close(), pool.close();
      if (${end === "exit"}) process.exit(0);
      if (${end === "terminate"}) await Bun.sleep(1e9);
    `,
    );
    const worker = new Worker(file);
    const got: Uint8Array[] = [];
    const exited = new Promise((resolve) => worker.on("exit", resolve));
    await new Promise<void>((resolve) =>
      worker.on("message", (bytes) => {
        got.push(bytes);
        if (got.length === 2) resolve();
      }),
    );
    if (end === "terminate") void worker.terminate();
    await exited;
    await Bun.sleep(50);
    return got.map((bytes) => (bytes.every((byte) => byte === bytes[0]) ? bytes[0]! : -1));
  },
});
