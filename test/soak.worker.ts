// A Worker of the soak: the same load on a ring of its own, until it is told to end or is terminated in the middle of it.
// Assumes one message with its folder and seed. Never outlives what the main thread asks of it.

import { isMainThread, parentPort } from "node:worker_threads";
import { shutdown } from "../src/index.ts";
import { actors, type Counts } from "./soak.load.ts";

export interface WorkerTask {
  dir: string;
  seed: number;
  /** Milliseconds until it ends by itself. */
  ms: number;
}

/** First that it has begun, then, if it was not terminated, how it ended. */
export interface WorkerReport {
  ready?: true;
  counts?: Counts;
  error?: string;
}

async function work({ dir, seed, ms }: WorkerTask): Promise<void> {
  parentPort!.postMessage({ ready: true } satisfies WorkerReport);
  const counts: Counts = { operations: 0, bytes: 0, aborts: 0 };
  const until = performance.now() + ms;
  const all = actors(dir, seed, counts).map(async (actor) => {
    while (performance.now() < until) await actor.step();
  });
  try {
    await Promise.all(all);
    await shutdown();
    parentPort!.postMessage({ counts });
  } catch (error) {
    parentPort!.postMessage({ error: `${(error as Error).stack}` });
  }
  parentPort!.close();
}

if (!isMainThread) parentPort!.once("message", work);
