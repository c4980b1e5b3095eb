// What another runtime than Bun (Node, Deno) gets of this package behind names that its node:fs/promises does not have, so that
// a library may depend on it everywhere. Plain JavaScript of Node's, copied into dist/elsewhere; faces.ts writes what imports it.

import { constants } from "node:fs";
import { readFile as read, stat } from "node:fs/promises";

const runtime = globalThis.Deno ? `Deno ${globalThis.Deno.version.deno}` : `Node ${process.versions.node}`;
const message = `bun-uring uses io_uring in Bun only, and this is ${runtime}`;

/** A function that this runtime can't have: it says so when it is called. */
export function unavailable(name) {
  return function refused() {
    throw Object.assign(new Error(`${name} is unavailable: ${message}`), {
      code: "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
    });
  };
}

export { constants };

export const backend = "node";

export function capabilities() {
  return {
    backend,
    reason: {
      errno: 0,
      code: "PLATFORM",
      message,
      remedy: "Run the program in Bun to use io_uring; here node:fs/promises does the work.",
    },
    kernel: process.platform,
    library: null,
    setupFlags: [],
    features: [],
    opcodes: [],
    restricted: false,
    lateClose: false,
    cachedLookups: false,
    limits: {
      sqEntries: 0,
      cqEntries: 0,
      directDescriptors: 0,
      fixedBuffers: 0,
      workers: { bounded: 0, unbounded: 0 },
      memlock: null,
      nofile: null,
    },
    doorbell: null,
  };
}

export function stats() {
  const names =
    "submitted completed inFlight queued nativeCalls enters inlineCompletions wakeups spins asyncForced overflows";
  return Object.fromEntries(names.split(" ").map((name) => [name, 0]));
}

export async function shutdown() {}

/** Calls `work` for each item, so many at once, and settles each. */
async function settleAll(items, { concurrency = 64, signal } = {}, work) {
  const list = [...items];
  const results = new Array(list.length);
  let next = 0;
  const lane = async () => {
    while (next < list.length) {
      const i = next++;
      signal?.throwIfAborted();
      [results[i]] = await Promise.allSettled([work(list[i])]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, list.length) }, lane));
  return results;
}

export function readMany(paths, options = {}) {
  return settleAll(paths, options, (path) => read(path, { encoding: options.encoding, signal: options.signal }));
}

export function statMany(paths, options = {}) {
  return settleAll(paths, options, (path) => stat(path));
}

export function alignedBuffer(size) {
  return Buffer.alloc(size);
}
