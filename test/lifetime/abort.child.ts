// Owns the cases of abort.test.ts: signals before, during and after an operation, and one signal for thousands.
// Assumes FIFOs from the parent for what must still be going on when the signal comes.
// Never counts a settlement by its promise alone: resolve and reject handlers are both counted.

import { getEventListeners } from "node:events";
import { closeSync, existsSync, openSync, readdirSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import * as fs from "../../src/index.ts";
import { event, outcome, runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";

const REASON = "enough";
const listeners = (signal: AbortSignal): number => getEventListeners(signal, "abort").length;

/** The listeners left when what the abort could not stop has had time to end. */
async function noListeners(signal: AbortSignal): Promise<number> {
  for (let i = 0; i < 50 && listeners(signal) > 0; i++) await Bun.sleep(10);
  return listeners(signal);
}

/** What an abort gave, with the cause beside Node's fields. */
async function aborted(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
    return "value";
  } catch (error: any) {
    return { name: error.name, code: error.code, message: error.message, cause: error.cause };
  }
}

/** How often a promise settled (more than once would show only in handlers, so both are attached twice). */
function counted(
  promise: Promise<unknown>,
  tally: { fulfilled: number; rejected: number; other: unknown[] },
): Promise<void> {
  return promise.then(
    () => void tally.fulfilled++,
    (error: any) => {
      if (error.code === "ABORT_ERR") tally.rejected++;
      else tally.other.push(error.code ?? error.message);
    },
  );
}

const fdsOf = (path: string): number => [...openFds().values()].filter((target) => target === path).length;

await runCases({
  async before({ file, target }: { file: string; target: string }) {
    const signal = AbortSignal.abort(REASON);
    const { submitted } = fs.stats();
    const seen = {
      readFile: await aborted(fs.readFile(file, { signal })),
      writeFile: await aborted(fs.writeFile(target, "x", { signal })),
      copyFile: await aborted(fs.copyFile(file, target, { signal } as never)),
    };
    return { ...seen, submitted: fs.stats().submitted - submitted, created: existsSync(target) };
  },

  /** The file opens at once and then has no data: the abort must not wait for it. */
  async duringRead({ fifo }: { fifo: string }) {
    const feeder = openSync(fifo, "r+");
    const before = fdsOf(fifo);
    const controller = new AbortController();
    const reading = aborted(fs.readFile(fifo, { signal: controller.signal }));
    await Bun.sleep(50);
    controller.abort(REASON);
    const result = await Promise.race([reading, Bun.sleep(2000).then(() => "late")]);
    writeSync(feeder, "late data"); // Where the kernel could not cancel, it ends now.
    for (let i = 0; i < 100 && (fdsOf(fifo) > before || fs.stats().inFlight > 0); i++) await Bun.sleep(10);
    const leaked = fdsOf(fifo) - before;
    closeSync(feeder);
    return { result, listeners: await noListeners(controller.signal), leaked, inFlight: fs.stats().inFlight };
  },

  /** The open itself waits: a FIFO without a writer. What it opens in the end must be closed. */
  async duringOpen({ fifo }: { fifo: string }) {
    const controller = new AbortController();
    const reading = aborted(fs.readFile(fifo, { signal: controller.signal }));
    await Bun.sleep(50);
    controller.abort(REASON);
    const result = await Promise.race([reading, Bun.sleep(2000).then(() => "late")]);
    const feeder = openSync(fifo, "r+");
    for (let i = 0; i < 100 && (fdsOf(fifo) > 1 || fs.stats().inFlight > 0); i++) await Bun.sleep(10);
    const leaked = fdsOf(fifo) - 1;
    closeSync(feeder);
    return { result, leaked, inFlight: fs.stats().inFlight };
  },

  async duringWrite({ target }: { target: string }) {
    const controller = new AbortController();
    const bytes = Buffer.alloc(64 << 20, 1);
    const writing = aborted(fs.writeFile(target, bytes, { signal: controller.signal }));
    await Bun.sleep(3);
    controller.abort(REASON);
    const result = await writing;
    bytes.fill(2); // Ours again: nothing may be reading it into the file any more once the library is idle.
    while (fs.stats().inFlight > 0) await Bun.sleep(1);
    return { result, leaked: fdsOf(target), listeners: listeners(controller.signal) };
  },

  async duringCopy({ big, target }: { big: string; target: string }) {
    const controller = new AbortController();
    const copying = aborted(
      fs.copyFile(big, target, { signal: controller.signal, onProgress: () => controller.abort(REASON) } as never),
    );
    const result = await copying;
    const leaked = (): number => fdsOf(target) + fdsOf(big);
    for (let i = 0; i < 100 && (fs.stats().inFlight > 0 || leaked() > 0); i++) await Bun.sleep(10);
    return { result, created: existsSync(target), leaked: leaked() };
  },

  async after({ file }: { file: string }) {
    const controller = new AbortController();
    const result = await outcome(fs.readFile(file, { signal: controller.signal }));
    const left = listeners(controller.signal);
    controller.abort(REASON);
    await Bun.sleep(20);
    return { result, listeners: left };
  },

  /** One signal for thousands, fired at a given moment. */
  async storm({ file, dir, count, afterMs }: { file: string; dir: string; count: number; afterMs: number }) {
    await Promise.all(Array.from({ length: 200 }, () => fs.readFile(file)));
    // Descriptors of files: the ring may need its bell only now.
    const filesOpen = (): number => [...openFds().values()].filter((target) => target.startsWith("/")).length;
    const before = filesOpen();
    const controller = new AbortController();
    const tally = { fulfilled: 0, rejected: 0, other: [] as unknown[] };
    const { signal } = controller;
    const all = Array.from({ length: count }, (_, i) => {
      if (i % 10 === 0) return counted(fs.writeFile(`${dir}/w${i % 100}`, "written", { signal }), tally);
      return counted(fs.readFile(file, { signal }), tally);
    });
    setTimeout(() => controller.abort(REASON), afterMs);
    await Promise.all(all);
    for (let i = 0; i < 200 && (fs.stats().inFlight + fs.stats().queued > 0 || filesOpen() > before); i++)
      await Bun.sleep(10);
    const { inFlight, queued } = fs.stats();
    const foreign = readdirSync(dir).length;
    return {
      ...tally,
      listeners: await noListeners(signal),
      fdsLeft: filesOpen() - before,
      inFlight,
      queued,
      foreign,
    };
  },

  /**
   * One signal for thousands of operations of all kinds that take one, fired at a given moment. The buffers of the reads
   * are used again once their handle is closed: nothing may be written to them then.
   */
  async everyKind({ file, dir, count, afterMs }: { file: string; dir: string; count: number; afterMs: number }) {
    await Promise.all(Array.from({ length: 200 }, () => fs.readFile(file)));
    // Not all descriptors: the doorbell's come when the loop sleeps for the first time.
    const filesOpen = (): string[] => [...openFds().values()].filter((target) => target.startsWith(dirname(dir)));
    const controller = new AbortController();
    const tally = { fulfilled: 0, rejected: 0, other: [] as unknown[] };
    const { signal } = controller;
    using pool = new fs.BufferPool({ size: 4096, count: 64 });
    const reader = await fs.open(file);
    const writer = await fs.open(`${dir}/target`, "w+");
    const direct = await fs.open(`${dir}/direct`, "w+", { direct: true });
    const canaries = Array.from({ length: 500 }, () => Buffer.alloc(1000, 0xaa));
    const data = Buffer.alloc(5000, 1);
    let unlanded = 0;
    const landed = (write: Promise<unknown>): Promise<unknown> =>
      write.catch((error) => {
        if (!(error.bytesWritten >= 0)) unlanded++;
        throw error;
      });
    const kinds: ((i: number) => Promise<unknown>)[] = [
      (i) => reader.read(canaries[i % 500]!, { position: 0, signal }),
      (i) => landed(writer.write(data, 0, 5000, i * 100, { signal })),
      (i) => landed(writer.write(data, 0, 5000, null, { signal, flush: i % 100 === 0 })),
      () => reader.readv([Buffer.alloc(100), Buffer.alloc(100)], 3, { signal }),
      (i) => landed(direct.write(data, 1, 4000, i * 10, { signal })),
      () => direct.read({ buffer: Buffer.alloc(3000), position: 77, signal }),
      () => reader.readBatch({ offsets: [0, 10, 20], lengths: 10, into: Buffer.alloc(30), signal }),
      () => fs.stat(file, { signal } as never),
      (i) => fs.copyFile(file, `${dir}/c${i % 20}`, { signal }),
      () => fs.statMany([file, file], { signal }),
      async () => {
        using lease = await pool.acquire({ signal });
        await reader.read(lease.bytes, { position: 0, signal });
      },
      async () => {
        await using handle = await fs.open(file, "r", { signal, timeoutMs: 60_000 });
        await handle.readFile({ signal });
      },
    ];
    const all = Array.from({ length: count }, (_, i) => counted(kinds[i % kinds.length]!(i), tally));
    setTimeout(() => controller.abort(REASON), afterMs);
    await Promise.all(all);
    await Promise.all([reader.close(), writer.close(), direct.close()]);
    for (const canary of canaries) canary.fill(0x55);
    for (let i = 0; i < 200 && (fs.stats().inFlight + fs.stats().queued > 0 || filesOpen().length > 0); i++)
      await Bun.sleep(10);
    const { inFlight, queued } = fs.stats();
    return {
      ...tally,
      unlanded,
      touched: canaries.filter((canary) => !canary.every((byte) => byte === 0x55)).length,
      listeners: await noListeners(signal),
      filesLeft: filesOpen(),
      leasesLeft: pool.count - pool.available,
      inFlight,
      queued,
    };
  },

  /** A long-lived signal that is never fired: its listeners come and go with the operations. */
  async neverFired({ file }: { file: string }) {
    const { signal } = new AbortController();
    for (let i = 0; i < 2000; i++) await fs.readFile(file, { signal });
    const inBatch = Promise.all(Array.from({ length: 1000 }, () => fs.readFile(file, { signal })));
    event("batch");
    await inBatch;
    return listeners(signal);
  },
});
