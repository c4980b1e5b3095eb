// Owns the cases of buffers.test.ts: buffers that are collected, moved, transferred or resized while the kernel has them.
// Assumes FIFOs from the parent: their reads stay in the kernel until this file feeds them.
// Never looks at memory it does not own: canaries are ordinary buffers made after the fact.

import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import * as fs from "../../src/index.ts";
import { outcome, runCases } from "../helpers/cases.ts";

/** A handle on a FIFO whose reads wait, and what feeds them. */
async function parking(
  fifo: string,
): Promise<{ handle: fs.FileHandle; feed(data: Buffer): void; end(): Promise<void> }> {
  const handle = await fs.open(fifo, "r+");
  const feeder = openSync(fifo, "r+");
  return {
    handle,
    feed: (data) => void writeSync(feeder, data),
    async end() {
      await handle.close();
      closeSync(feeder);
    },
  };
}

/** Many buffers of one size, likely to take over memory that was just freed. */
function canaries(byteLength: number): () => boolean {
  const list = Array.from({ length: 200 }, () => new Uint8Array(byteLength).fill(0xc3));
  return () => list.every((canary) => canary.every((byte) => byte === 0xc3));
}

async function gcStorm(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    Bun.gc(true);
    for (let k = 0; k < 200; k++) new Uint8Array(100 + k * 40).fill(0xee);
    await Bun.sleep(1);
  }
}

const data = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, i) => (i % 250) + 1));

await runCases({
  /** Small views live in the collector's heap and move when `.buffer` is first touched. */
  async bufferTouched({ fifo, file }: { fifo: string; file: string }) {
    const sizes = [1, 16, 100, 512, 999, 1000, 1001, 4096];
    const wrong: unknown[] = [];
    const { handle, feed, end } = await parking(fifo);
    const plain = await fs.open(file, "r");
    const expected = readFileSync(file);
    for (const size of sizes) {
      const kinds: [string, Uint8Array][] = [
        ["Uint8Array", new Uint8Array(size)],
        ["Buffer.alloc", Buffer.alloc(size)],
        ["Buffer.allocUnsafe", Buffer.allocUnsafe(size)],
        ["Buffer.from", Buffer.from("z".repeat(size))],
        ["subarray", new Uint8Array(size + 10).subarray(5, 5 + size)],
      ];
      for (const [kind, view] of kinds) {
        const parked = handle.read(view, 0, size, null);
        void view.buffer;
        await gcStorm();
        feed(data(size));
        await parked;
        if (!data(size).equals(view)) wrong.push(["parked", kind, size]);
        const inline = plain.read(view, 0, size, 0);
        new DataView(view.buffer).getUint8(0);
        await inline;
        if (!expected.subarray(0, size).equals(view)) wrong.push(["inline", kind, size]);
      }
    }
    await plain.close();
    await end();
    return wrong;
  },

  /** What is written is what the buffer held at the call or later, never something else's memory. */
  async writeTouched(file: string) {
    const handle = await fs.open(file, "w+");
    const wrong: number[] = [];
    for (const size of [10, 100, 1000, 1001, 100_000]) {
      const view = new Uint8Array(data(size));
      const write = handle.write(view, 0, size, 0);
      void view.buffer;
      Bun.gc(true);
      await write;
      if (!(await fs.readFile(file)).subarray(0, size).equals(data(size))) wrong.push(size);
    }
    await handle.close();
    return wrong;
  },

  /** Nobody but the operation refers to the buffer, through storms of collection. */
  async collected(fifo: string) {
    const { handle, feed, end } = await parking(fifo);
    const reads: Promise<{ bytesRead: number; buffer: Uint8Array }>[] = [];
    for (let i = 0; i < 50; i++) {
      const size = [10, 900, 2000, 70_000][i % 4]!;
      reads.push(handle.read(new Uint8Array(size), 0, 10, null));
      if (i % 10 === 0) await gcStorm();
    }
    const unhurt = canaries(2000);
    await gcStorm();
    for (let i = 0; i < 50; i++) feed(data(10));
    const results = await Promise.all(reads);
    await end();
    const right = results.filter(
      ({ buffer, bytesRead }) => bytesRead === 10 && data(10).equals(buffer.subarray(0, 10)),
    );
    return { right: right.length, unhurt: unhurt() };
  },

  /** The buffer goes away in one of several ways while the kernel may write to it. */
  async takenAway({ fifo, how }: { fifo: string; how: string }) {
    const { handle, feed, end } = await parking(fifo);
    const size = 8192;
    const resizable = how.startsWith("resize");
    const memory = resizable ? new ArrayBuffer(size, { maxByteLength: size * 4 }) : new ArrayBuffer(size);
    const view = new Uint8Array(memory);
    const parked = outcome(handle.read(view, 0, size, null));
    let other: Uint8Array | null = null;
    if (how === "transfer") other = new Uint8Array(memory.transfer());
    if (how === "transferLonger") memory.transfer(size * 4);
    if (how === "transferEmpty") memory.transfer(0);
    if (how === "clone") other = new Uint8Array(structuredClone(memory, { transfer: [memory] }));
    if (how === "post") {
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(memory, [memory]);
      port1.close();
      port2.close();
    }
    if (how === "resizeEmpty") memory.resize(0);
    if (how === "resizeLonger") memory.resize(size * 2);
    other?.fill(0x77);
    const unhurt = canaries(size);
    await gcStorm();
    feed(data(4096));
    const result = await parked;
    await Bun.sleep(20);
    const seen = {
      result: result === "value" ? "value" : "rejected",
      error: result,
      visible: view.byteLength >= 4096 && data(4096).equals(view.subarray(0, 4096)),
      otherUnhurt: other === null || other.every((byte) => byte === 0x77),
      unhurt: unhurt(),
    };
    await end();
    return seen;
  },

  /** The same for writes that io-wq does later: no crash, and the file holds no foreign bytes. */
  async takenAwayWriting({ file, how }: { file: string; how: string }) {
    const handle = await fs.open(file, "w");
    // Up to this length a buffered write is copied at the call. Beyond it, the memory is the caller's to leave alone.
    const size = 16 * 1024;
    const outcomes: unknown[] = [];
    for (let i = 0; i < 10; i++) {
      const memory = new ArrayBuffer(size);
      new Uint8Array(memory).fill(0x11);
      const write = outcome(handle.write(new Uint8Array(memory), 0, size, 0));
      if (how === "transferEmpty") memory.transfer(0);
      if (how === "clone") structuredClone(memory, { transfer: [memory] });
      for (let k = 0; k < 8; k++) new Uint8Array(size).fill(0x99);
      outcomes.push(await write);
    }
    await handle.close();
    const foreign = readFileSync(file).some((byte) => byte === 0x99);
    return { foreign, outcomes: outcomes.length };
  },

  /** Refused before anything is queued. */
  async refused(file: string) {
    writeFileSync(file, "0123456789");
    const handle = await fs.open(file, "r+");
    const detached = new Uint8Array(10);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    const { submitted } = fs.stats();
    const outcomes = [
      await outcome((async () => handle.read(detached, 0, 10, 0))()),
      await outcome((async () => handle.read(Buffer.alloc(4), 0, 5, 0))()),
      await outcome((async () => handle.read(Buffer.alloc(4), 0, -1, 0))()),
      await outcome((async () => handle.read("text" as never, 0, 4, 0))()),
      await outcome((async () => fs.readFile(`${file}\0x`))()),
    ];
    const queued = fs.stats().submitted - submitted;
    await handle.close();
    return { queued, codes: outcomes.map((what: any) => what.code ?? what) };
  },
});
