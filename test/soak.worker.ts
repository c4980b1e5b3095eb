// A Worker of the soak: the same load on two rings of its own, one after the other, until it is told to end or is terminated in
// the middle of it; beside it reads that wait for ever, and memory of a pool that it gives to the main thread.
// Assumes one message with its folder and seed. Never outlives what the main thread asks of it.

import { isMainThread, parentPort } from "node:worker_threads";
import { BufferPool, open, readFile, shutdown } from "../src/index.ts";
import { actors, type Counts } from "./soak.load.ts";

export interface WorkerTask {
  dir: string;
  seed: number;
  /** Milliseconds until it ends by itself. */
  ms: number;
  /** A FIFO that nobody writes to while it lives. */
  fifo: string;
}

/** Bytes of each lease that is given away; all are the Worker's seed, modulo 256. */
export const GIVEN_BYTES = 65_536;
/** Reads that wait. */
const PARKED = 4;

/** First that it has begun, then, if it was not terminated, how it ended. */
export interface WorkerReport {
  ready?: true;
  /** Memory of a pool that was the Worker's. */
  given?: Uint8Array;
  counts?: Counts;
  error?: string;
}

/** Reads that the Worker's end, or its ring's, finds waiting. */
async function park(fifo: string): Promise<void> {
  const ignore = (): void => {};
  for (let i = 0; i < PARKED; i++) {
    const handle = await open(fifo, "r+");
    handle.read(Buffer.alloc(GIVEN_BYTES), 0, GIVEN_BYTES, null).catch(ignore);
    // What nobody can close before the read has ended; a ring that is shut down ends it.
    handle.close().catch(ignore);
  }
  readFile(fifo).catch(ignore);
}

function give(seed: number): void {
  const pool = new BufferPool({ size: GIVEN_BYTES, count: 2 });
  const { bytes } = pool.tryAcquire()!;
  bytes.fill(seed);
  pool.tryAcquire()!.bytes.fill(seed + 1); // stays
  parentPort!.postMessage({ given: bytes } satisfies WorkerReport, [bytes.buffer as ArrayBuffer]);
  pool.close();
}

async function work({ dir, seed, ms, fifo }: WorkerTask): Promise<void> {
  parentPort!.postMessage({ ready: true } satisfies WorkerReport);
  const counts: Counts = { operations: 0, bytes: 0, aborts: 0 };
  try {
    for (let ring = 0; ring < 2; ring++) {
      await park(fifo);
      give(seed);
      const until = performance.now() + ms / 2;
      const all = actors(`${dir}/${ring}`, seed, counts).map(async (actor) => {
        while (performance.now() < until) await actor.step();
      });
      await Promise.all(all);
      await shutdown({ timeoutMs: 0 }); // ends the reads that wait
    }
    parentPort!.postMessage({ counts });
  } catch (error) {
    parentPort!.postMessage({ error: `${(error as Error).stack}` });
  }
  parentPort!.close();
}

if (!isMainThread) parentPort!.once("message", work);
