// Chunks to a file: whatever their sizes and whatever the writes do, the bytes are where they belong; all writers together hold a
// bounded amount, and none waits for another whose file answers no more.
// Needs nothing of the system: what is written to is made here. SEED repeats one run.

import { describe, expect, test } from "bun:test";
import { type ChunkSink, writeChunks } from "../../src/server/chunk-writer.ts";
import { patternBytes } from "../helpers/tmp.ts";

const MIB = 1024 * 1024;
const sample = patternBytes(3 * MIB);
const SEED = Number(process.env.SEED ?? 17);

function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Keeps what is written, as `write` lets it: how many of `length` bytes, when. */
class Memory implements ChunkSink {
  readonly content: Buffer;
  underWay = 0;
  mostUnderWay = 0;
  readonly #answer: (length: number) => Promise<number>;

  constructor(bytes: number, answer: (length: number) => Promise<number>) {
    this.content = Buffer.alloc(bytes);
    this.#answer = answer;
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }> {
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    const bytesWritten = await this.#answer(length);
    // Late, as the kernel: what is used again too early shows.
    this.content.set(buffer.subarray(offset, offset + bytesWritten), position);
    this.underWay--;
    return { bytesWritten };
  }
}

async function* cut(bytes: Uint8Array, length: () => number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const chunk = new Uint8Array(bytes.subarray(at, at + length()));
    at += chunk.length;
    yield chunk;
    chunk.fill(0xee); // it is its owner's again
  }
}

const soon = async (length: number): Promise<number> => {
  await new Promise((resolve) => setImmediate(resolve));
  return length;
};

describe("chunks", () => {
  for (const inOrder of [false, true])
    test(`of any size are where they belong, whatever the writes do${inOrder ? ", one after another" : ""} (seed ${SEED})`, async () => {
      const random = randomFrom(SEED);
      for (let round = 0; round < 10; round++) {
        const bytes = sample.subarray(random(MIB), 2 * MIB + random(MIB));
        const sink = new Memory(bytes.length + 10, async (length) => {
          for (let turns = random(4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
          return random(3) === 0 ? 1 + random(length) : length;
        });
        const most = 1 + random(MIB);
        const written = await writeChunks(
          sink,
          10,
          cut(bytes, () => 1 + random(most)),
          { inOrder },
        );
        expect(written).toBe(bytes.length);
        expect(sink.content.subarray(10).equals(bytes)).toBe(true);
        if (inOrder) expect(sink.mostUnderWay).toBeLessThanOrEqual(1);
      }
    });

  test("behind one whose write has failed are not taken, and what is under way has ended by then", async () => {
    let writes = 0;
    const sink = new Memory(64 * MIB, async (length) => {
      if (++writes === 3) throw new Error("full");
      return soon(length);
    });
    let taken = 0;
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      for (; taken < 60; taken++) yield new Uint8Array(MIB);
    };
    await expect(writeChunks(sink, 0, endless())).rejects.toThrow("full");
    expect(sink.underWay).toBe(1); // the one that failed
    expect(taken).toBeLessThan(10);
  });
});

describe("many writers", () => {
  test("that wait for more of their source write what they have where others lack room", async () => {
    const slow = Array.from({ length: 16 }, () => {
      const sink = new Memory(100, soon);
      const { promise, resolve } = Promise.withResolvers<void>();
      const source = async function* (): AsyncGenerator<Uint8Array> {
        yield sample.subarray(0, 100);
        await promise;
      };
      return { sink, resolve, done: writeChunks(sink, 0, source()) };
    });
    const bytes = sample;
    const sink = new Memory(bytes.length, soon);
    await writeChunks(
      sink,
      0,
      cut(bytes, () => MIB),
    );
    expect(sink.content.equals(bytes)).toBe(true);
    // The last of them has seen for itself that there is no more room.
    expect(slow.filter(({ sink }) => sink.content.equals(sample.subarray(0, 100))).length).toBeGreaterThan(1);
    for (const { resolve } of slow) resolve();
    expect(await Promise.all(slow.map(({ done }) => done))).toEqual(slow.map(() => 100));
    for (const { sink } of slow) expect(sink.content.equals(sample.subarray(0, 100))).toBe(true);
  });

  test("hold a bounded amount, and each gets on beside those whose files answer no more", async () => {
    let held = 0;
    const answers = Promise.withResolvers<void>();
    const dead = Array.from({ length: 30 }, () => {
      const sink = new Memory(sample.length, async (length) => {
        held += length;
        await answers.promise;
        return length;
      });
      const source = cut(sample, () => MIB);
      return { sink, done: writeChunks(sink, 0, source) };
    });
    await Bun.sleep(1);
    expect(dead.every(({ sink }) => sink.underWay > 0)).toBe(true);
    const bytes = sample.subarray(0, 1_500_000);
    const alive = Array.from({ length: 3 }, () => new Memory(bytes.length, soon));
    const written = await Promise.all(
      alive.map((sink) =>
        writeChunks(
          sink,
          0,
          cut(bytes, () => 250_000),
        ),
      ),
    );
    expect(written).toEqual(alive.map(() => bytes.length));
    for (const { content } of alive) expect(content.equals(bytes)).toBe(true);
    const most = held;
    answers.resolve(); // rooms are the thread's: whatever is tested next needs them, too
    await Promise.all(dead.map(({ done }) => done));
    expect(most).toBeLessThan(8 * MIB + 30 * 128 * 1024 + 1);
  });
});
