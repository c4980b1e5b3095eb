// Owns the cases of fuse.test.ts: work on a file server that fails, stalls or hangs, beside work on an ordinary file.
// Assumes the parent sets the server's mode; nothing here touches the mount synchronously.
// Never ends before its ordinary work has shown that the loop kept turning.

import { readFile as nodeReadFile } from "node:fs/promises";
import * as fs from "../../src/index.ts";
import { event, outcome, runCases } from "../helpers/cases.ts";
import { ioWorkers } from "../helpers/fds.ts";
import { type LoopGap, startGapMeter } from "../helpers/loop-gap.ts";

interface Input {
  /** On the file server. */
  file: string;
  /** On an ordinary file system, 64 KiB of "o". */
  ordinary: string;
}

/** Reads the ordinary file again and again until told to stop; how often, and how the loop fared meanwhile. */
function ordinaryWork(path: string): { stop(): Promise<{ rounds: number; wrong: number; gap: LoopGap }> } {
  const meter = startGapMeter();
  let going = true;
  let rounds = 0;
  let wrong = 0;
  const expected = Buffer.alloc(65536, "o");
  const run = async (): Promise<void> => {
    while (going) {
      if (!(await fs.readFile(path)).equals(expected)) wrong++;
      rounds++;
      await Bun.sleep(1);
    }
  };
  const running = run();
  return {
    async stop() {
      going = false;
      await running;
      return { rounds, wrong, gap: meter.stop() };
    },
  };
}

/** One call of each kind on the file server's file, by name. */
const calls: Record<string, (path: string) => Promise<unknown>> = {
  readFile: (path) => fs.readFile(path),
  writeFile: (path) => fs.writeFile(path, Buffer.alloc(65536, 7)),
  open: async (path) => (await fs.open(path, "r")).close(),
  stat: (path) => fs.stat(path),
  lstat: (path) => fs.lstat(path),
  unlink: (path) => fs.unlink(path),
  rename: (path) => fs.rename(path, `${path}-renamed`),
  copyFile: (path) => fs.copyFile(path, `${path}-copy`),
  copyFrom: (path) => fs.copyFile("/etc/passwd", `${path}-copy`),
};

/** Calls on a handle that was opened before the server went bad. */
const handleCalls: Record<string, (handle: fs.FileHandle) => Promise<unknown>> = {
  read: (handle) => handle.read(Buffer.alloc(1000), 0, 1000, 0),
  write: (handle) => handle.write(Buffer.alloc(1000), 0, 1000, 0),
  readFile: (handle) => handle.readFile(),
  sync: (handle) => handle.sync(),
  datasync: (handle) => handle.datasync(),
  stat: (handle) => handle.stat(),
  truncate: (handle) => handle.truncate(10),
  close: (handle) => handle.close(),
};

await runCases({
  /** What each call gives while the server errs. */
  async outcomes({ file }: Input) {
    const handle = await fs.open(file, "r+");
    event("opened");
    await Bun.sleep(100); // The parent sets the mode.
    const seen: Record<string, unknown> = {};
    for (const name of ["read", "write", "readFile", "sync", "datasync"]) {
      seen[`handle.${name}`] = await outcome(handleCalls[name]!(handle));
    }
    seen["readFile"] = await outcome(calls["readFile"]!(file));
    seen["copyFile"] = await outcome(calls["copyFile"]!(file));
    seen["writeFile"] = await outcome(calls["writeFile"]!(file));
    await outcome(handle.close());
    return seen;
  },

  /** Whole files through a server that does half, or interrupts. */
  async whole({ file }: Input) {
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7) % 251));
    await fs.writeFile(file, bytes);
    const handle = await fs.open(file, "r+");
    const one = await handle.read(Buffer.alloc(1000), 0, 1000, 5000);
    const readRight = one.buffer.subarray(0, one.bytesRead).equals(bytes.subarray(5000, 5000 + one.bytesRead));
    const byHandle = await handle.readFile();
    await handle.writeFile(bytes); // From the handle's position: the end.
    await handle.close();
    await fs.appendFile(file, bytes.subarray(0, 5000));
    const all = await fs.readFile(file);
    await fs.copyFile(file, `${file}-copy`);
    return {
      readRight: readRight && one.bytesRead > 0,
      byHandle: byHandle.equals(bytes),
      size: all.length,
      copied: (await fs.readFile(`${file}-copy`)).equals(all),
    };
  },

  /** What is written whole to a server that refuses it only at the close. */
  async atClose({ file, ordinary }: Input) {
    const calls = [
      () => fs.writeFile(file, "data"),
      () => fs.writeFile(file, Buffer.alloc(700_000), { flush: true }),
      () => fs.appendFile(file, "more"),
      () => fs.copyFile(ordinary, `${file}-copy`),
    ];
    const results: unknown[] = [];
    for (const call of calls) results.push(await outcome(call()));
    return results;
  },

  /** One call on a stalled server; the loop and other files must not feel it. */
  async stalled({ file, ordinary, call, onHandle }: Input & { call: string; onHandle: boolean }) {
    await fs.readFile(ordinary);
    const handle = onHandle ? await fs.open(file, "r+") : null;
    if (call === "stat") await fs.stat(file); // The kernel knows the name, but must ask for the attributes again.
    event("ready");
    await Bun.sleep(150); // The parent sets the mode.
    const work = ordinaryWork(ordinary);
    await Bun.sleep(20);
    const pending = outcome(handle ? handleCalls[call]!(handle) : calls[call]!(file));
    await Bun.sleep(300);
    event("stalled");
    const result = await pending;
    return { result, ...(await work.stop()) };
  },

  /** Many calls at once on a slow server: how many kernel threads they make. */
  /** Reads of a file that goes through the page cache: a thread sleeps in each. */
  async crowd({ file, count, pages }: Input & { count: number; pages: number }) {
    const handle = await fs.open(file, "r"); // which drops what is cached
    await handle.advise(0, 0, "random");
    event("ready");
    await Bun.sleep(100);
    const meter = startGapMeter();
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, ioWorkers().length)), 5);
    const outcomes = await Promise.all(
      Array.from({ length: count }, (_, i) => outcome(handle.read(Buffer.alloc(100), 0, 100, (i % pages) * 4096))),
    );
    clearInterval(watch);
    const gap = meter.stop();
    await handle.close();
    return {
      gap,
      most,
      failed: outcomes.filter((what) => what !== "value"),
      workers: fs.capabilities().limits.workers,
    };
  },

  /** Many operations of all kinds on a dead server: what is local goes on, in whatever threads it needs. */
  async dead({ file, ordinary, count }: Input & { count: number }) {
    await fs.stat(ordinary);
    await fs.mkdir(`${ordinary}-tree/a/b`, { recursive: true });
    const handles = await Promise.all(Array.from({ length: count }, () => fs.open(file, "r+")));
    event("ready");
    await Bun.sleep(150); // The parent sets the mode.
    const kinds: ((i: number) => Promise<unknown>)[] = [
      (i) => fs.stat(`${file}-none${i}`),
      (i) => fs.mkdir(`${file}-new${i}`),
      (i) => fs.unlink(`${file}-gone${i}`),
      (i) => fs.writeFile(`${file}-written${i}`, "x"),
      (i) => handles[i]!.sync(),
      (i) => fs.rm(`${file}-tree${i}`, { recursive: true }),
    ];
    let ended = 0;
    for (let i = 0; i < count; i++)
      for (const kind of kinds)
        kind(i).then(
          () => ended++,
          () => ended++,
        );
    await Bun.sleep(50);
    await using local = await fs.open(`${ordinary}-local`, "w+");
    const data = Buffer.alloc(200_000, "l");
    const work = [
      ...Array.from({ length: 8 }, (_, i) => local.write(data, 0, data.length, i * data.length)),
      ...Array.from({ length: 8 }, (_, i) => fs.writeFile(`${ordinary}-${i}`, data)),
      fs.writeFile(`${ordinary}-synced`, data, { flush: true }),
      fs.mkdir(`${ordinary}-folder`),
      fs.rm(`${ordinary}-tree`, { recursive: true }),
      local.datasync(),
    ];
    const stuck = new Promise((resolve) => void setTimeout(resolve, 8000, "stuck").unref());
    const done = await Promise.race([Promise.all(work).then(() => "done"), stuck]);
    event("done");
    return { done, ended };
  },

  /** No new task may be made: what needs a kernel thread fails by its right name, or is done another way. */
  async noTasks({ file, ordinary }: Input) {
    const handle = await fs.open(file, "r");
    const written = await fs.open(`${ordinary}-written`, "w");
    // Bun aborts when one of its own threads can't be made: have them all running before the tasks are taken away.
    await Promise.all(Array.from({ length: 50 }, () => nodeReadFile(ordinary)));
    for (let i = 0; i < 20; i++) Bun.gc(true);
    event("ready");
    await Bun.sleep(200); // The parent takes the tasks away.
    const read = await Promise.all(
      Array.from({ length: 20 }, () => outcome(handle.read(Buffer.alloc(100), 0, 100, 0))),
    );
    const write = await Promise.all(Array.from({ length: 20 }, () => outcome(written.write("0123456789"))));
    const paths = [
      await outcome(fs.stat("/none")),
      await outcome(fs.mkdir("/proc/none")),
      await outcome(fs.readFile(ordinary)),
    ];
    event("done");
    await Bun.sleep(100); // The parent gives them back.
    await Promise.all([handle.close(), written.close()]);
    return { read, write, paths, size: (await fs.stat(`${ordinary}-written`)).size };
  },

  /** close() with reads in a slow server: nothing is written after it has resolved. */
  async closeWhileSlow({ file, how }: Input & { how: "close" | "shutdown" }) {
    const handle = await fs.open(file, "r");
    event("ready");
    await Bun.sleep(100);
    const buffers = Array.from({ length: 8 }, () => Buffer.alloc(65536, 0x55));
    const reads = buffers.map((buffer, i) => outcome(handle.read(buffer, 0, 65536, i * 65536)));
    await Bun.sleep(20);
    if (how === "close") await handle.close();
    else await fs.shutdown();
    for (const buffer of buffers) buffer.fill(0xaa);
    const settled = await Promise.race([Promise.all(reads), Bun.sleep(3000).then(() => null)]);
    await Bun.sleep(600);
    return { untouched: buffers.every((buffer) => buffer.every((byte) => byte === 0xaa)), settled };
  },
});
