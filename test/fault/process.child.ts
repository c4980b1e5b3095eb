// Owns the cases of process.test.ts: how a process ends, what it hands to its children, whose rights it uses.
// Assumes only public names. Never prevents its own end.

import { mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import * as fs from "../../src/index.ts";
import { event, outcome, runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";

/** The close-on-exec bit of each descriptor, from the kernel (proc(5), fdinfo: flags in octal). */
function inheritable(fds: Iterable<number>): number[] {
  const O_CLOEXEC = 0o2000000;
  return [...fds].filter((fd) => {
    const flags = Number.parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))![1]!, 8);
    return (flags & O_CLOEXEC) === 0;
  });
}

/** Reads that wait for data that never comes by itself. */
async function parkMany(fifoPath: string, count: number): Promise<Promise<unknown>[]> {
  // A handle each: reads at a handle's own position take turns, and only the first would be in the kernel.
  const handles = await Promise.all(Array.from({ length: count }, () => fs.open(fifoPath, "r+")));
  const reads = handles.map((handle) => handle.read(Buffer.alloc(4), 0, 4, null));
  await Bun.sleep(20);
  return reads;
}

/** Punted work of several kinds that is still going on when this returns. */
function busyWork(dir: string): void {
  for (let i = 0; i < 500; i++) fs.writeFile(`${dir}/f${i}`, Buffer.alloc(10_000, i)).catch(() => {});
}

await runCases({
  async exits({ fifo, dir, how }: { fifo: string; dir: string; how: string }) {
    await parkMany(fifo, 10);
    busyWork(dir);
    event("busy");
    if (how === "exit") process.exit(3);
    if (how === "throw")
      setTimeout(() => {
        throw new Error("as asked");
      });
    if (how === "reject") void Promise.reject(new Error("as asked"));
    // Otherwise the parent sends a signal.
  },

  /** With nothing in flight the program ends, whatever was used before. */
  async idle(path: string) {
    const handle = await fs.open(path, "r");
    await handle.read(Buffer.alloc(10), 0, 10, 0);
    await handle.close();
    await Promise.all(Array.from({ length: 100 }, () => fs.readFile(path)));
    event("idle");
  },

  onlyImported: () => fs.backend,

  /** The doorbell was used, an operation was parked and done: the program ends. */
  async idleAfterParking(fifo: string) {
    const [read] = await parkMany(fifo, 1);
    event("parked");
    await read;
    return "read";
  },

  /** Nothing but this read keeps the program alive. */
  async pendingKeepsAlive(fifo: string) {
    const [read] = await parkMany(fifo, 1);
    event("parked");
    const { bytesRead } = (await read) as { bytesRead: number };
    return bytesRead;
  },

  /** An open handle, idle: it holds nothing up. */
  async openHandle(path: string) {
    const handle = await fs.open(path, "r");
    await handle.read(Buffer.alloc(1), 0, 1, 0);
    event("open", handle.fd);
  },

  async inherited({ fifo, file }: { fifo: string; file: string }) {
    const before = new Set(openFds().keys());
    const handle = await fs.open(file, "r");
    await parkMany(fifo, 1);
    const ours = new Map([...openFds()].filter(([fd]) => !before.has(fd)));
    const list = Bun.spawnSync(["ls", "-l", "/proc/self/fd"], { stdout: "pipe" }).stdout.toString();
    const open = inheritable(ours.keys()).map((fd) => `${fd} ${ours.get(fd)}`);
    event("seen", { ours: [...ours.values()], open, list, fd: handle.fd });
    process.exit(0);
  },

  /** The ring and its threads exist before the rights are given up. */
  async setuid({ secret, dir, fifo }: { secret: string; dir: string; fifo: string }) {
    mkdirSync(`${dir}/roots`, { mode: 0o755 });
    await Promise.all(Array.from({ length: 50 }, (_, i) => fs.writeFile(`${dir}/roots/f${i}`, "warm")));
    await fs.readFile(secret);
    await parkMany(fifo, 1);
    process.setgid!(65534);
    process.setgroups!([]);
    process.setuid!(65534);
    const opened = await Promise.all(Array.from({ length: 20 }, () => outcome(fs.open(secret, "r"))));
    const attempts = {
      readFile: await outcome(fs.readFile(secret)),
      write: await outcome(fs.writeFile(`${dir}/roots/new`, "x")),
      unlink: await outcome(fs.unlink(`${dir}/roots/f0`)),
      mkdir: await outcome(fs.mkdir(`${dir}/roots/sub`)),
      copy: await outcome(fs.copyFile(secret, "/tmp/never")),
    };
    event("seen", { opened, attempts, left: readdirSync(`${dir}/roots`).length });
    process.exit(0);
  },

  /** A parked read, alone, for five seconds. */
  async parkedCost(fifo: string) {
    const [read] = await parkMany(fifo, 1);
    const feeder = openSync(fifo, "r+");
    event("parked", feeder);
    await read;
  },
});
