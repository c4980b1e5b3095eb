// Owns the cases of closed.test.ts: a ring that is closed, or a thread that ends, with each kind of work under way.
// Assumes io_uring and a folder with nothing in it. What is left is looked at from inside: descriptors, mappings, promises.
// Never waits longer for a promise than a second: what has not settled then never will.

import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { thread } from "../../src/backend/uring/request.ts";
import * as fs from "../../src/index.ts";
import { runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";

interface Input {
  dir: string;
}

const READ = fs.Opcode.READ;
const MIB = 1024 * 1024;

/** FIFOs that nobody has used yet: made before anything is counted, as a child process leaves descriptors for a while. */
const unused: string[] = [];
function makeFifos(dir: string, count: number): void {
  for (let i = 0; i < count; i++) unused.push(`${dir}/fifo-${i}`);
  Bun.spawnSync(["mkfifo", ...unused]);
}
const fifo = (): string => unused.pop()!;

/** Keeps the other end of a FIFO, so that what waits there waits. */
function parked(): { path: string; end: () => void } {
  const path = fifo();
  const fd = openSync(path, "r+");
  return { path, end: () => closeSync(fd) };
}

type Work = (dir: string) => Promise<{ promises: Promise<unknown>[]; end?: () => void }>;

/** Work that is under way when it returns, by what it is. */
const WORK: Record<string, Work> = {
  async "reads of a FIFO"() {
    const { path, end } = parked();
    const handle = await fs.open(path, "r+");
    const buffer = Buffer.alloc(MIB);
    return {
      promises: [handle.read(buffer), handle.readv([buffer, Buffer.alloc(9)]), handle.close()],
      end,
    };
  },
  async "a batch on a FIFO"() {
    const { path, end } = parked();
    const handle = await fs.open(path, "r+");
    const promises = [handle.readBatch({ offsets: [0, 0], lengths: 8, into: Buffer.alloc(16) })];
    return { promises: [...promises, handle.close()], end };
  },
  async "whole FIFOs"(dir) {
    const { path, end } = parked();
    return { promises: [fs.readFile(path), fs.readFile(path), fs.copyFile(path, `${dir}/copy`)], end };
  },
  async "an open that waits"() {
    const path = fifo();
    return { promises: [fs.open(path, "r"), fs.readFile(path)] };
  },
  async "closes that are staged"(dir) {
    const path = `${dir}/file`;
    writeFileSync(path, "x");
    const handles = await Promise.all(Array.from({ length: 40 }, () => fs.open(path)));
    return { promises: handles.map((handle) => handle.close()) };
  },
  async "writes that are staged"(dir) {
    const handle = await fs.open(`${dir}/out`, "w");
    const data = Buffer.alloc(MIB);
    const writes = Array.from({ length: 8 }, (_, i) => handle.write(data, 0, MIB, i * MIB));
    return { promises: [...writes, handle.sync(), fs.writeFile(`${dir}/whole`, data), handle.close()] };
  },
  async "pool memory in a FIFO's read"() {
    const { path, end } = parked();
    const pool = new fs.BufferPool({ size: MIB, count: 4 });
    const lease = await pool.acquire();
    const handle = await fs.open(path, "r+");
    const reading = handle.read(lease.bytes);
    lease.release();
    pool.close();
    return { promises: [reading, handle.close()], end };
  },
  async "a user's SQE and slots"() {
    const { path, end } = parked();
    const fd = openSync(path, "r+");
    const ring = fs.Ring.current();
    const promises = [
      ring.submit({ opcode: READ, fd, buffer: Buffer.alloc(64) }),
      ring.submit({ opcode: fs.Opcode.TIMEOUT, timeoutMs: 60_000 }),
    ];
    return {
      promises,
      end: () => {
        closeSync(fd);
        end();
      },
    };
  },
  async "more files than there are direct descriptors"() {
    const { path, end } = parked();
    return { promises: Array.from({ length: 300 }, () => fs.readFile(path)), end };
  },
  async "a tree"(dir) {
    const tree = `${dir}/tree`;
    await fs.mkdir(tree, { recursive: true });
    for (let i = 0; i < 100; i++) writeFileSync(`${tree}/${i}`, Buffer.alloc(20_000));
    return { promises: [fs.copyTree(tree, `${dir}/copied`), fs.rm(`${dir}/copied`, { recursive: true, force: true })] };
  },
  async "large files"(dir) {
    const path = `${dir}/large`;
    writeFileSync(path, Buffer.alloc(8 * MIB));
    return {
      promises: [fs.readFile(path), fs.copyFile(path, `${dir}/large-copy`), fs.writeFile(path, Buffer.alloc(MIB))],
    };
  },
};

async function pendingOf(promises: readonly Promise<unknown>[]): Promise<number> {
  let pending = promises.length;
  for (const promise of promises)
    promise.then(
      () => pending--,
      () => pending--,
    );
  for (let i = 0; i < 20 && pending > 0; i++) await Bun.sleep(5);
  return pending;
}

/** Descriptors but for those that Bun keeps for itself; the package makes no socket. */
const descriptors = (): string[] =>
  [...openFds()]
    .map(([, target]) => target.replace(/\d+/g, ""))
    .filter((target) => !/eventpoll|timerfd|pidfd|^pipe:|^socket:/.test(target))
    .sort();
const rings = (): number => readFileSync("/proc/self/maps", "latin1").split("anon_inode:[io_uring]").length - 1;
const pages = (): number => Number(readFileSync("/proc/self/statm", "latin1").split(" ")[0]);

/** Work with a ring that is closed over it; promises that never settle, and mappings that stay. */
async function once(work: Work, dir: string, how: "at once" | "soon"): Promise<{ pending: number; rings: number }> {
  thread();
  const { promises, end } = await work(dir);
  // Some of it may fail before anybody looks: a tree that is copied to where another call removes it.
  for (const promise of promises) promise.catch(() => {});
  if (how === "soon") await Bun.sleep(15);
  await fs.shutdown({ timeoutMs: 5 });
  end?.();
  // What waited for its turn begins now, on a ring of its own; and closes of handles do.
  let pending = await pendingOf(promises);
  for (let i = 0; i < 3 && pending > 0; i++) {
    await fs.shutdown({ timeoutMs: 5 });
    pending = await pendingOf(promises);
  }
  await fs.shutdown({ timeoutMs: 1000 });
  return { pending, rings: rings() };
}

/** What there is more of than before, once what ends in the background has ended. */
async function more(before: readonly string[]): Promise<string[]> {
  for (let round = 0; ; round++) {
    const left = [...before];
    const added = descriptors().filter((one) => {
      const at = left.indexOf(one);
      if (at >= 0) left.splice(at, 1);
      return at < 0;
    });
    if (added.length === 0 || round === 60) return added;
    await Bun.sleep(20);
    Bun.gc(true);
  }
}

await runCases({
  /** Each kind of work, closed over some times: what is more than before. */
  async closing({ dir }: Input) {
    makeFifos(dir, 100);
    const left: Record<string, unknown> = {};
    for (const [name, work] of Object.entries(WORK)) {
      const folder = `${dir}/${name.replace(/\W/g, "-")}`;
      await fs.mkdir(folder, { recursive: true });
      for (const how of ["at once", "soon"] as const) {
        const wrong: string[] = [];
        await once(work, folder, how); // what stays for good is made
        Bun.gc(true);
        const before = descriptors();
        for (let round = 0; round < 1; round++) {
          const { pending, rings } = await once(work, folder, how);
          if (pending > 0) wrong.push(`${pending} promises never settle`);
          if (rings > 0) wrong.push(`${rings} mappings of a ring`);
        }
        for (const one of await more(before)) wrong.push(`left ${one}`);
        if (wrong.length > 0) left[`${name}, ${how}`] = wrong;
      }
    }
    return left;
  },

  /** Pages that many rings leave, each closed over reads that wait. */
  async memory({ dir }: Input) {
    makeFifos(dir, 100);
    const names = ["reads of a FIFO", "pool memory in a FIFO's read", "whole FIFOs", "large files"];
    const round = async (): Promise<void> => {
      for (const name of names) await once(WORK[name]!, dir, "soon");
      for (const name of ["copy", "large-copy"]) rmSync(`${dir}/${name}`, { force: true });
      Bun.gc(true);
    };
    for (let i = 0; i < 2; i++) await round();
    const before = pages();
    const ROUNDS = 4;
    for (let i = 0; i < ROUNDS; i++) await round();
    return { mibPerRound: ((pages() - before) * 4096) / MIB / ROUNDS };
  },

  /** Threads that end over such work, by themselves and by terminate(). */
  async threads({ dir }: Input) {
    makeFifos(dir, 1);
    const before = rings();
    const source = `
      import { open, readFile } from "${import.meta.dir}/../../src/index.ts";
      const handle = await open(${JSON.stringify(`${dir}/kept`)}, "w+");
      void handle.read(Buffer.alloc(10), 0, 10, 0);
      const fifo = await open(process.env.FIFO, "r+");
      void fifo.read(Buffer.alloc(100)).catch(() => {});
      void readFile(process.env.FIFO).catch(() => {});
      void fifo.close().catch(() => {});
      postMessage("ready");
      if (process.env.HOW === "exit") setTimeout(() => process.exit(0), 5);
    `;
    const url = URL.createObjectURL(new Blob([source], { type: "application/typescript" }));
    const { path, end } = parked();
    for (let i = 0; i < 6; i++) {
      const how = i % 2 === 0 ? "exit" : "terminate";
      const worker = new Worker(url, { env: { ...process.env, FIFO: path, HOW: how } } as WorkerOptions);
      const closed = new Promise((resolve) => worker.addEventListener("close", resolve, { once: true }));
      await new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }));
      if (how === "terminate") worker.terminate();
      await closed;
    }
    end();
    for (let round = 0; round < 200 && rings() > before; round++) await Bun.sleep(10);
    return { rings: rings() - before };
  },
});
