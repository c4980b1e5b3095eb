// The mixed load of the soak: actors that work on files of their own, each step a pure function of its random numbers, and
// compare every byte they get with what must be there. Used by the main thread and by Workers (soak.worker.ts).
// Never holds anything from one step to the next that its folder does not show, so that a rest finds the ring idle.

import { mkdirSync } from "node:fs";
import * as fs from "../src/index.ts";

/** Bytes of one file are not what the caller put there. */
export class Corrupt extends Error {}

const POOL = Buffer.allocUnsafeSlow(16 * 1024 * 1024);
const words = new Uint32Array(POOL.buffer, POOL.byteOffset, POOL.length / 4);
for (let i = 0, x = 1; i < words.length; i++) words[i] = x = (Math.imul(x, 1664525) + 1013904223) >>> 0;

/** xorshift32: the same numbers for the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 2654435761) >>> 0 || 1;
  }

  /** An integer below `bound`. */
  below(bound: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % bound;
  }

  /** Bytes that hardly any other call gets; not to be written to. Cut, not made: the load must not be its own brake. */
  bytes(length: number): Buffer {
    const at = this.below(POOL.length - length);
    return POOL.subarray(at, at + length);
  }
}

export interface Counts {
  operations: number;
  bytes: number;
  aborts: number;
}

export interface Actor {
  readonly name: string;
  step(): Promise<void>;
}

function same(found: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(found, expected) === 0) return;
  const at = found.findIndex((byte, i) => byte !== expected[i]);
  throw new Corrupt(`${what}: ${found.length} of ${expected.length} bytes, the first wrong one at ${at}`);
}

const isAbort = (error: any): boolean => error?.name === "AbortError";

/** Actors with folders below `dir`. */
export function actors(dir: string, seed: number, counts: Counts): Actor[] {
  const made: Actor[] = [];
  const add = (name: string, begin: (folder: string, random: Random) => () => Promise<void>): void => {
    const folder = `${dir}/${name}`;
    mkdirSync(folder, { recursive: true });
    made.push({ name, step: begin(folder, new Random(seed * 64 + made.length)) });
  };
  const count = (operations: number, bytes: number): void => {
    counts.operations += operations;
    counts.bytes += bytes;
  };
  add("blocks", (folder, random) => blocks(folder, random, count));
  add("whole", (folder, random) => whole(folder, random, count));
  add("copies", (folder, random) => copies(folder, random, count));
  add("aborts", (folder, random) => aborts(folder, random, count, counts));
  add("handles", (folder, random) => handles(folder, random, count));
  add("appends", (folder, random) => appends(folder, random, count));
  add("names", (folder, random) => names(folder, random, count));
  add("batches", (folder, random) => batches(folder, random, count));
  add("streams", (folder, random) => streams(folder, random, count));
  return made;
}

type Count = (operations: number, bytes: number) => void;

/** Reads and writes of many sizes at once in one file, none on the same bytes, beside a copy of it in memory. */
function blocks(folder: string, random: Random, count: Count): () => Promise<void> {
  const BLOCKS = 32;
  const BLOCK = 8192;
  const model = Buffer.from(random.bytes(BLOCKS * BLOCK));
  let begun = false;
  return async () => {
    if (!begun) await fs.writeFile(`${folder}/file`, model);
    begun = true;
    const handle = await fs.open(`${folder}/file`, "r+");
    try {
      await Promise.all(
        Array.from({ length: BLOCKS }, async (_, block) => {
          const at = block * BLOCK + random.below(BLOCK / 2);
          const length = 1 + random.below(BLOCK / 2);
          if (random.below(2) === 0) {
            const bytes = random.bytes(length);
            const { bytesWritten } = await handle.write(bytes, 0, length, at);
            bytes.copy(model, at, 0, bytesWritten);
          } else {
            const into = Buffer.alloc(length + 16, 0xee);
            const { bytesRead } = await handle.read(into, 8, length, at);
            same(into.subarray(8, 8 + bytesRead), model.subarray(at, at + bytesRead), "blocks");
            same(into.subarray(8 + length), Buffer.alloc(8, 0xee), "the bytes behind a read");
          }
          count(1, length);
        }),
      );
    } finally {
      await handle.close();
    }
  };
}

function whole(folder: string, random: Random, count: Count): () => Promise<void> {
  return async () => {
    await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const bytes = random.bytes(random.below(random.below(40) === 0 ? 3_000_000 : 20_000));
        const path = `${folder}/${i}`;
        await fs.writeFile(path, bytes, { flush: random.below(20) === 0 });
        same(await fs.readFile(path), bytes, "whole file");
        await fs.rename(path, `${path}-renamed`);
        same(await fs.readFile(`${path}-renamed`), bytes, "renamed file");
        await fs.unlink(`${path}-renamed`);
        count(5, bytes.length * 3);
      }),
    );
  };
}

function copies(folder: string, random: Random, count: Count): () => Promise<void> {
  return async () => {
    const bytes = random.bytes(random.below(random.below(10) === 0 ? 5_000_000 : 60_000));
    await fs.mkdir(`${folder}/tree/below`, { recursive: true });
    await fs.writeFile(`${folder}/tree/below/file`, bytes);
    await fs.copyFile(`${folder}/tree/below/file`, `${folder}/tree/copy`);
    const { files } = await fs.copyTree(`${folder}/tree`, `${folder}/tree2`);
    if (files !== 2) throw new Corrupt(`copyTree copied ${files} files, not 2`);
    for (const path of ["tree/copy", "tree2/copy", "tree2/below/file"])
      same(await fs.readFile(`${folder}/${path}`), bytes, path);
    await fs.rm(`${folder}/tree2`, { recursive: true });
    await fs.rm(`${folder}/tree`, { recursive: true });
    count(12, bytes.length * 7);
  };
}

/** Aborts at any moment: the call ends with the right bytes or an AbortError; what comes later hits nobody's memory. */
function aborts(folder: string, random: Random, count: Count, counts: Counts): () => Promise<void> {
  const bytes = random.bytes(700_000);
  let begun = false;
  return async () => {
    if (!begun) await fs.writeFile(`${folder}/file`, bytes);
    begun = true;
    await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const controller = new AbortController();
        const { signal } = controller;
        const canary = Buffer.alloc(4096, i);
        const call =
          i % 2 === 0
            ? fs.readFile(`${folder}/file`, { signal })
            : fs.writeFile(`${folder}/new${i}`, bytes, { signal });
        const delay = random.below(4);
        if (delay === 0) controller.abort();
        else setTimeout(() => controller.abort(), delay - 1);
        try {
          const result = await call;
          if (result !== undefined) same(result as Buffer, bytes, "read before its abort");
        } catch (error) {
          if (!isAbort(error)) throw error;
          counts.aborts++;
        }
        same(canary, Buffer.alloc(4096, i), "memory beside an abort");
        count(1, bytes.length);
      }),
    );
  };
}

/** Handles opened, used and closed in one go: each sees its own file only. */
function handles(folder: string, random: Random, count: Count): () => Promise<void> {
  return async () => {
    const files = Array.from({ length: 12 }, (_, i) => ({ path: `${folder}/${i}`, bytes: random.bytes(2000) }));
    for (const { path, bytes } of files) await fs.writeFile(path, bytes);
    await Promise.all(
      files.map(async ({ path, bytes }) => {
        const handle = await fs.open(path, "r");
        const into = Buffer.alloc(bytes.length);
        const read = handle.read(into, 0, into.length, random.below(2) === 0 ? 0 : null);
        const closed = handle.close();
        const { bytesRead } = await read;
        await closed;
        same(into.subarray(0, bytesRead), bytes.subarray(0, bytesRead), "a file that was being closed");
        if (bytesRead !== bytes.length) throw new Corrupt(`a read of ${bytes.length} bytes brought ${bytesRead}`);
        count(4, bytes.length);
      }),
    );
  };
}

function appends(folder: string, random: Random, count: Count): () => Promise<void> {
  return async () => {
    const records = Array.from({ length: 20 }, () => random.bytes(1 + random.below(500)));
    const handle = await fs.open(`${folder}/log`, "a");
    for (const record of records) void handle.appendFile(record);
    await handle.datasync();
    await handle.close();
    same(await fs.readFile(`${folder}/log`), Buffer.concat(records), "appended records");
    await fs.unlink(`${folder}/log`);
    count(24, 5000);
  };
}

function names(folder: string, random: Random, count: Count): () => Promise<void> {
  return async () => {
    const many = Array.from({ length: 1 + random.below(20) }, (_, i) => `n${i}-${random.below(1e6)}`);
    await fs.mkdir(`${folder}/a/b`, { recursive: true });
    await Promise.all(many.map((name) => fs.symlink(name, `${folder}/a/b/${name}`)));
    const found = await fs.readdir(`${folder}/a/b`);
    if (found.toSorted().join() !== many.toSorted().join())
      throw new Corrupt(`names: ${found.length} of ${many.length}`);
    for (const name of many)
      if ((await fs.readlink(`${folder}/a/b/${name}`)) !== name) throw new Corrupt(`the link ${name} leads elsewhere`);
    const stats = await fs.statMany(many.map((name) => `${folder}/a/b/${name}`));
    if (stats.some(({ status }) => status === "fulfilled")) throw new Corrupt("a link to nothing has a stat");
    await fs.rm(`${folder}/a`, { recursive: true });
    count(many.length * 3 + 4, 0);
  };
}

function batches(folder: string, random: Random, count: Count): () => Promise<void> {
  const bytes = random.bytes(400_000);
  let pool = new fs.BufferPool({ size: 16_384, count: 4 });
  let begun = false;
  return async () => {
    if (pool.orphaned || random.below(50) === 0) {
      pool.close(); // its ring was shut down, or may as well have been
      pool = new fs.BufferPool({ size: 16_384, count: 4 });
    }
    if (!begun) await fs.writeFile(`${folder}/file`, bytes);
    begun = true;
    const handle = await fs.open(`${folder}/file`, "r");
    const lease = await pool.acquire();
    try {
      const offsets = Array.from({ length: 100 }, () => random.below(bytes.length - 4096));
      const into = Buffer.alloc(100 * 4096);
      const results = await handle.readBatch({ offsets, lengths: 4096, into });
      results.forEach((got, i) => {
        const at = offsets[i]!;
        same(into.subarray(i * 4096, i * 4096 + got), bytes.subarray(at, at + 4096), "a read of a batch");
      });
      const at = random.below(bytes.length - 16_384);
      const { bytesRead } = await handle.read(lease.bytes, 0, 16_384, at);
      same(lease.bytes.subarray(0, bytesRead), bytes.subarray(at, at + bytesRead), "leased memory");
      count(101, 420_000);
    } finally {
      lease.release();
      await handle.close();
    }
    if (pool.available !== 4) throw new Corrupt(`${4 - pool.available} leases are out`);
  };
}

function streams(folder: string, random: Random, count: Count): () => Promise<void> {
  return async () => {
    const bytes = random.bytes(1 + random.below(1_500_000));
    const out = (await fs.open(`${folder}/file`, "w")).createWriteStream();
    for (let at = 0; at < bytes.length; at += 100_000) out.write(bytes.subarray(at, at + 100_000));
    await new Promise<void>((resolve, reject) => out.on("error", reject).on("close", resolve).end());
    let at = 0;
    const source = (await fs.open(`${folder}/file`, "r")).createReadStream();
    for await (const chunk of source) {
      same(chunk, bytes.subarray(at, at + chunk.length), "streamed bytes");
      at += chunk.length;
    }
    if (at !== bytes.length) throw new Corrupt(`${at} of ${bytes.length} bytes were streamed`);
    await fs.unlink(`${folder}/file`);
    count(8, bytes.length * 2);
  };
}
