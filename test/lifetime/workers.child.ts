// Owns the cases of workers.test.ts: the main thread with Workers beside it, each with a ring of its own.
// Assumes workers.worker.ts. Never leaves a Worker: each case waits for their exit.

import { closeSync, cpSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import * as fs from "../../src/index.ts";
import { runCases } from "../helpers/cases.ts";
import { lastingThreads, openFds } from "../helpers/fds.ts";

const workerFile = join(import.meta.dir, "workers.worker.ts");

interface Task {
  kind: "verify" | "busy" | "parked";
  id: number;
  dir: string;
  fifo: string;
}

/** The last message of each Worker, when it has ended. */
const lastWords = new WeakMap<Worker, Promise<unknown>>();

/** Starts a Worker and waits for its word. */
async function start(task: Task, wanted: unknown = "started"): Promise<Worker> {
  const worker = new Worker(workerFile);
  lastWords.set(worker, finished(worker)); // at once: it may have ended before others have begun
  const ready = new Promise<void>((resolve, reject) => {
    worker.on("message", (message) => void (message === wanted && resolve()));
    worker.on("error", reject);
  });
  worker.postMessage(task);
  await ready;
  return worker;
}

async function finished(worker: Worker): Promise<unknown> {
  let last: unknown;
  worker.on("message", (message) => {
    last = message;
  });
  await new Promise((resolve) => worker.on("exit", resolve));
  return last;
}

/** All but /dev/null, which stays if Bun was opening it just then. */
const fds = (): number => [...openFds().values()].filter((to) => to !== "/dev/null").length;
const rings = (): number => [...openFds().values()].filter((target) => target.includes("io_uring")).length;

async function verifyHere(dir: string, rounds: number): Promise<number> {
  let wrong = 0;
  for (let i = 0; i < rounds; i++) {
    const bytes = Buffer.alloc(5000, i);
    await fs.writeFile(`${dir}/main`, bytes);
    if (!(await fs.readFile(`${dir}/main`)).equals(bytes)) wrong++;
  }
  return wrong;
}

/** A read that waits makes this thread sleep once, and open the ring of its doorbell: it is not a Worker's. */
async function openDoorbell(fifo: string): Promise<void> {
  await using pipe = await fs.open(fifo, "r+");
  const parked = pipe.read(Buffer.alloc(8), 0, 8, null);
  await Bun.sleep(50);
  await pipe.write("x");
  await parked;
}

await runCases({
  /** Files that a Worker had open when it was terminated: one left, one closed by its number, which another has by then, four that are their users': given away, opened as a number, a stream's, a Ring's; and a folder that was closed at once. */
  async left({ dir }: { dir: string }) {
    mkdirSync(`${dir}/folder`);
    writeFileSync(
      `${dir}/worker.ts`,
      `import { closeSync, readdirSync, readlinkSync } from "node:fs";
       import { parentPort } from "node:worker_threads";
       const { open, opendir, Opcode, Ring } = await import(${JSON.stringify(join(import.meta.dir, "../../src/index.ts"))});
       const names = ["left", "closed", "given"];
       const handles = await Promise.all(names.map((name) => open(${JSON.stringify(dir)} + "/" + name, "w+")));
       globalThis.handles = handles;
       const { bunHandleOf } = await import(${JSON.stringify(join(import.meta.dir, "../../src/handle/core.ts"))});
       const [, { fd }, given] = handles;
       const { createReadStream, open: openRaw } = await import(${JSON.stringify(join(import.meta.dir, "../../src/fs.ts"))});
       const path = ${JSON.stringify(dir)} + "/left";
       const raw = await new Promise((resolve) => openRaw(path, "r", (_, number) => resolve(number)));
       const stream = createReadStream(path, { autoClose: false });
       const streamed = await new Promise((resolve) => stream.on("open", resolve));
       const ringed = (await Ring.current().submit({ opcode: Opcode.OPENAT, path })).res;
       closeSync(fd);
       const folder = await opendir(${JSON.stringify(dir)} + "/folder");
       const isFolder = (number) => { try { return readlinkSync("/proc/self/fd/" + number) === folder.path; } catch {} };
       const folderFd = Number(readdirSync("/proc/self/fd").find(isFolder));
       folder.closeSync();
       parentPort.postMessage({ fd, folderFd, left: handles[0].fd, users: [bunHandleOf(given).disown(), raw, streamed, ringed] });
       await Bun.sleep(1e9);`,
    );
    const worker = new Worker(`${dir}/worker.ts`);
    const message = await new Promise<any>((resolve, reject) => worker.on("message", resolve).on("error", reject));
    const others: number[] = [];
    const isTaken = (): boolean => [message.fd, message.folderFd].every((fd) => others.includes(fd));
    while (!isTaken() && others.length < 50) others.push(openSync(`${dir}/folder`, "r"));
    await worker.terminate();
    for (let i = 0; i < 200 && openFds().has(message.left); i++) await Bun.sleep(10);
    const seen = [message.left, message.fd, message.folderFd, ...message.users].map((fd) => openFds().get(fd) ?? null);
    for (const fd of [...others, ...message.users]) closeSync(fd);
    return seen;
  },

  /** What a Worker's server had open beneath a root when it was terminated: handles, streams, files that were looked up and are kept. */
  async served({ dir }: { dir: string }) {
    for (const name of ["handle", "stream", "large", "small"])
      writeFileSync(`${dir}/${name}`, Buffer.alloc(name === "large" ? 1 << 20 : 9));
    writeFileSync(
      `${dir}/worker.ts`,
      `import { parentPort } from "node:worker_threads";
       const { openRoot, serveFile } = await import(${JSON.stringify(join(import.meta.dir, "../../src/server.ts"))});
       const root = await openRoot(${JSON.stringify(dir)});
       const handle = await root.open("handle");
       const stream = root.createReadStream("stream");
       await new Promise((resolve) => stream.on("open", resolve));
       const answers = [];
       for (const name of ["large", "small", "small"]) answers.push(await serveFile(new Request("http://here/" + name), root));
       globalThis.kept = [root, handle, stream, answers];
       parentPort.postMessage("open");
       await Bun.sleep(1e9);`,
    );
    const open = (): string[] => [...openFds().values()].filter((to) => to.startsWith(dir)).sort();
    const worker = new Worker(`${dir}/worker.ts`);
    await new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject));
    const before = open();
    await worker.terminate();
    for (let i = 0; i < 200 && open().length > 0; i++) await Bun.sleep(10);
    return [before, open()];
  },

  /** The main thread and eight Workers at the same time. */
  async together({ dir, fifo }: { dir: string; fifo: string }) {
    await verifyHere(dir, 1);
    await openDoorbell(fifo);
    const before = rings();
    const workers = await Promise.all(Array.from({ length: 8 }, (_, id) => start({ kind: "verify", id, dir, fifo })));
    const results = workers.map((worker) => lastWords.get(worker));
    const wrong = await verifyHere(dir, 50);
    const seen = await Promise.all(results);
    for (let i = 0; i < 200 && rings() > before; i++) await Bun.sleep(10);
    return { wrong, seen, ringsLeft: rings() - before };
  },

  /** Workers that are terminated with work in the kernel, one after the other, beside a main thread that goes on. */
  async terminated({
    dir,
    fifo,
    rounds,
    kind,
  }: {
    dir: string;
    fifo: string;
    rounds: number;
    kind: "busy" | "parked";
  }) {
    writeFileSync(`${dir}/shared`, Buffer.alloc(1 << 20, 5));
    const feeder = openSync(fifo, "r+");
    const wanted = kind === "parked" ? "parked" : "started";
    const warmUp = await start({ kind, id: 0, dir, fifo }, wanted);
    await warmUp.terminate();
    await verifyHere(dir, 5);
    await openDoorbell(fifo);
    await Bun.sleep(200);
    const before = { fds: fds(), threads: lastingThreads().length, rings: rings() };
    let wrong = 0;
    for (let round = 0; round < rounds; round++) {
      const worker = await start({ kind, id: round % 10, dir, fifo }, wanted);
      await Bun.sleep(round % 7);
      const ending = worker.terminate();
      const canary = Array.from({ length: 50 }, () => new Uint8Array(70_000).fill(0x3c));
      if (kind === "parked") writeSync(feeder, "late".repeat(100));
      wrong += await verifyHere(dir, 2);
      await ending;
      if (!canary.every((view) => view.every((byte) => byte === 0x3c))) wrong++;
    }
    const left = (): { fds: number; threads: number; rings: number } => ({
      fds: fds() - before.fds,
      threads: lastingThreads().length - before.threads,
      rings: rings() - before.rings,
    });
    for (let i = 0; i < 300 && (left().fds > 0 || left().threads > 0); i++) await Bun.sleep(10);
    const more = left();
    closeSync(feeder);
    return { wrong, ...more };
  },

  /** A second copy of the package in the same thread: its own ring, its own results. */
  async twoCopies({ dir }: { dir: string }) {
    const root = join(import.meta.dir, "../..");
    cpSync(join(root, "src"), `${dir}/copy/src`, { recursive: true });
    process.env.BUN_URING_LIB ??= String(
      (fs.capabilities() as { library?: string }).library ?? join(root, "build/liburing-shim.so"),
    );
    const other: typeof fs = await import(`${dir}/copy/src/index.ts`);
    const bytes = (i: number): Buffer => Buffer.alloc(4000, i);
    let wrong = 0;
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const [mine, theirs] = [`${dir}/mine${i}`, `${dir}/theirs${i}`];
          await Promise.all([fs.writeFile(mine, bytes(i)), other.writeFile(theirs, bytes(i + 100))]);
          const [a, b] = await Promise.all([other.readFile(mine), fs.readFile(theirs)]);
          if (!a.equals(bytes(i)) || !b.equals(bytes(i + 100))) wrong++;
        }),
      );
    }
    const separate = other.stats().submitted > 0 && other.stats !== fs.stats;
    await other.shutdown();
    const after = (await fs.readFile(`${dir}/mine1`)).equals(bytes(1));
    return { wrong, backends: [fs.backend, other.backend], separate, after };
  },
});
