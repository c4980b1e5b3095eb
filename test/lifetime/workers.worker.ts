// Owns what a Worker of workers.child.ts does: its own ring, its own files, and work that may be cut off at any moment.
// Assumes one message that says what to do. Never ends by itself while it is told to go on.

import { parentPort } from "node:worker_threads";
import * as fs from "../../src/index.ts";
import { type RingThread, ringThread } from "../../src/ring/context.ts";

interface Task {
  kind: "verify" | "busy" | "parked";
  id: number;
  dir: string;
  fifo: string;
}

async function verify({ id, dir }: Task): Promise<number> {
  let wrong = 0;
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 16 }, async (_, i) => {
        const path = `${dir}/worker${id}-${i}`;
        const bytes = Buffer.alloc(3000 + round, id * 16 + i);
        await fs.writeFile(path, bytes);
        if (!(await fs.readFile(path)).equals(bytes)) wrong++;
        await using handle = await fs.open(path, "r");
        if ((await handle.stat()).size !== bytes.length) wrong++;
      }),
    );
  }
  return wrong;
}

/** Numbers that count as files of this Worker's, which has closed all of its own: at its end they might be somebody else's. */
function held(): number[] {
  const { native } = ringThread() as RingThread;
  return Array.from({ length: 256 }, (_, fd) => fd).filter((fd) => native.forgetFile(fd) === 1);
}

async function busy({ id, dir }: Task): Promise<never> {
  const big = `${dir}/shared`;
  for (;;) {
    const handle = await fs.open(big, "r");
    await Promise.all([
      ...Array.from({ length: 8 }, (_, i) => handle.read(new Uint8Array(256 << 10), 0, 256 << 10, i * 4096)),
      ...Array.from({ length: 8 }, (_, i) => fs.writeFile(`${dir}/busy${id}-${i}`, Buffer.alloc(100_000, id))),
      fs.readFile(big),
    ]);
    await handle.close();
  }
}

async function parked({ fifo }: Task): Promise<never> {
  const handles = await Promise.all(Array.from({ length: 20 }, () => fs.open(fifo, "r+")));
  const reads = handles.map((handle, i) => handle.read(new Uint8Array(i % 2 ? 500 : 70_000), 0, 100, null));
  parentPort!.postMessage("parked");
  await Promise.all(reads);
  throw new Error("nobody feeds this FIFO before the worker's end");
}

parentPort!.once("message", async (task: Task) => {
  parentPort!.postMessage("started");
  if (task.kind === "busy") await busy(task);
  if (task.kind === "parked") await parked(task);
  const wrong = await verify(task);
  parentPort!.postMessage({ wrong, held: held(), backend: fs.backend, stats: fs.stats() });
  parentPort!.close();
});
