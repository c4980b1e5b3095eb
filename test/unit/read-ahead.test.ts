// ReadAhead by itself, on the real backend: reads that end late, short and in any order; the position it shares; pipes.
// Assumes that the reads themselves are right; only when and how much of them comes back is made worse here.
// Never waits by time: turns of the event loop are counted.

import { expect, test } from "bun:test";
import { currentBackend } from "../../src/backend/choose.ts";
import type { Backend, OpenFile } from "../../src/backend/interface.ts";
import { claim, settleClaim } from "../../src/backend/uring/own-position.ts";
import { Order } from "../../src/handle/order.ts";
import { backend } from "../../src/index.ts";
import { constants } from "../../src/kernel/constants.ts";
import { existingThread } from "../../src/ring/context.ts";
import { ReadAhead, type StreamSource } from "../../src/streams/read-ahead.ts";
import { positionOf } from "../helpers/fds.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const MIB = 1024 * 1024;
const tmp = scratch();
const data = patternBytes(5 * MIB + 12_345, 3);
const path = tmp.file(data);

const { fifo } = tmp;

/** Pseudo-random numbers below `limit`, the same in each run. */
const random = (seed: number): ((limit: number) => number) => {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
};

const turnsOfLoop = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** The real backend, on which positioned reads come back in any order and some are shorter than was asked for. */
const unsteady = (seed: number, shortOf: number): { source: Backend; outstanding: () => number } => {
  const real = currentBackend();
  const below = random(seed);
  let outstanding = 0;
  const late = async <T>(read: Promise<T>): Promise<T> => {
    outstanding++;
    const result = await read;
    await turnsOfLoop(below(4));
    outstanding--;
    return result;
  };
  const source = Object.create(real, {
    read: {
      value: (file: OpenFile, buffer: Buffer, offset: number, length: number, position: number) => {
        const isShort = length > 1 && below(shortOf) === 0;
        return late(real.read(file, buffer, offset, isShort ? 1 + below(length - 1) : length, position));
      },
    },
    readv: {
      value: (file: OpenFile, buffers: Buffer[], position: number) => {
        const some = below(shortOf) === 0 ? [buffers[0]!.subarray(0, 1 + below(buffers[0]!.length - 1))] : buffers;
        return late(real.readv(file, some, position));
      },
    },
  });
  return { source, outstanding: () => outstanding };
};

const openFile = (at: string): Promise<OpenFile> => currentBackend().open(at, constants.O_RDONLY, 0);

const reader = (
  source: StreamSource,
  position: number,
  byteLimit: number,
  chunkBytes: number,
): { ahead: ReadAhead; next: () => Promise<Buffer | null> } => {
  let ready = (): void => {};
  const ahead = new ReadAhead(source, { position, byteLimit, chunkBytes, onReady: () => ready() });
  const next = async (): Promise<Buffer | null> => {
    for (;;) {
      const woken = new Promise<void>((resolve) => {
        ready = resolve;
      });
      const chunk = ahead.take();
      if (chunk !== undefined) return chunk;
      await woken;
    }
  };
  return { ahead, next };
};

for (let seed = 1; seed <= 100; seed++) {
  test(`reads that come late, short and in any order leave no gap: seed ${seed}`, async () => {
    const below = random(seed * 7919);
    const file = await openFile(path);
    const { source, outstanding } = unsteady(seed, 2 + below(6));
    const order = new Order(currentBackend(), file);
    const position = seed % 2 === 0 ? -1 : below(MIB);
    const from = Math.max(0, position);
    const byteLimit = seed % 3 === 0 ? Infinity : below(data.length - from);
    const chunkBytes = [1000, 65_536, 100_000, 262_144][seed % 4]!;
    const { ahead, next } = reader({ backend: source, file, order }, position, byteLimit, chunkBytes);
    const chunks: Buffer[] = [];
    const stopAfter = seed % 5 === 0 ? below(20) : Infinity;
    for (let chunk = await next(); chunk !== null; chunk = await next()) {
      chunks.push(chunk);
      if (chunks.length > stopAfter) break;
    }
    const all = Buffer.concat(chunks);
    await ahead.stop();
    expect(outstanding()).toBe(0);
    const whole = data.subarray(from, from + Math.min(byteLimit, data.length - from));
    expect(all.equals(whole.subarray(0, all.length))).toBe(true);
    if (stopAfter === Infinity) expect(all.length).toBe(whole.length);
    if (position < 0 && backend === "io_uring") expect(positionOf(file.fd)).toBe(all.length);
    await currentBackend().close(file);
  });
}

testUnless(
  backend !== "io_uring" && "no ring",
  "reads at the own position that take long are waited for, and wait",
  async () => {
    const file = await openFile(path);
    const native = existingThread()!.native;
    const order = new Order(currentBackend(), file);
    const seen = new Uint8Array(data.length);
    const account = (bytes: Uint8Array, at: number): void => {
      for (let i = 0; i < bytes.length; i++) seen[at + i]!++;
    };
    // As the kernel does it: the position is looked at when the read begins and set when it ends.
    const slow = async (): Promise<void> => {
      const at = native.seek(file.fd, 0, 1);
      const { bytesRead, buffer } = await currentBackend().read(file, Buffer.alloc(50_000), 0, 50_000, at);
      await turnsOfLoop(3);
      native.seek(file.fd, at + bytesRead, 0);
      account(buffer.subarray(0, bytesRead), at);
    };
    const pending = [order.readInOrder(slow)];
    const { ahead, next } = reader({ backend: currentBackend(), file, order }, -1, Infinity, 65_536);
    let first = true;
    for (let chunk = await next(); chunk !== null; chunk = await next()) {
      if (first) expect(data.indexOf(chunk)).toBe(50_000);
      first = false;
      account(chunk, data.indexOf(chunk));
      pending.push(order.readInOrder(slow));
    }
    await Promise.all(pending);
    await ahead.stop();
    expect(seen.every((times) => times === 1)).toBe(true);
    await currentBackend().close(file);
  },
);

test("nothing is taken from a pipe that nobody asked for", async () => {
  const file = await currentBackend().open(fifo(), constants.O_RDWR, 0);
  const write = (text: string): Promise<unknown> => currentBackend().write(file, Buffer.from(text), 0, text.length, -1);
  const { ahead, next } = reader(
    { backend: currentBackend(), file, order: new Order(currentBackend(), file) },
    -1,
    99,
    9,
  );
  await write("ours");
  expect((await next())!.toString()).toBe("ours");
  await turnsOfLoop(3);
  await write("yours");
  const { buffer, bytesRead } = await currentBackend().read(file, Buffer.alloc(9), 0, 9, -1);
  expect(buffer.toString("latin1", 0, bytesRead)).toBe("yours");
  await ahead.stop();
  await currentBackend().close(file);
});

const KINDS: readonly (readonly [title: string, position: number])[] = [
  ["a place", 0],
  ["the own position", -1],
];
for (const [title, position] of KINDS) {
  test(`a reader of ${title} that stalls holds nothing, and misses nothing when it goes on`, async () => {
    const file = await openFile(path);
    const order = new Order(currentBackend(), file);
    const byteLimit = 2 * MIB + 777;
    const { ahead, next } = reader({ backend: currentBackend(), file, order }, position, byteLimit, 65_536);
    const chunks: Buffer[] = [];
    for (let i = 0; i < 7; i++) chunks.push((await next())!);
    while (!ahead.isIdle) await Bun.sleep(5); // else this test never ends
    for (let chunk = await next(); chunk !== null; chunk = await next()) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(data.subarray(0, byteLimit))).toBe(true);
    await ahead.stop();
    await currentBackend().close(file);
  });
}

testUnless(
  backend !== "io_uring" && "no ring",
  "an own position that somebody has moved on meanwhile is left where it is",
  async () => {
    const file = await openFile(path);
    const order = new Order(currentBackend(), file);
    const { ahead, next } = reader({ backend: currentBackend(), file, order }, -1, Infinity, 65_536);
    await next();
    await next();
    await turnsOfLoop(3); // more has been claimed by now
    expect(positionOf(file.fd)).toBeGreaterThan(2 * 65_536);
    existingThread()!.native.seek(file.fd, 12_345, 0);
    await ahead.stop();
    expect(positionOf(file.fd)).toBe(12_345);
    await currentBackend().close(file);
  },
);

test("where a read ahead finds nothing, as the file is cut just then, it is asked again for what came since", async () => {
  const real = currentBackend();
  const file = await openFile(path);
  let isCut = true;
  const empty = (position: number): boolean => {
    if (position < MIB / 2 || !isCut) return false;
    queueMicrotask(() => {
      isCut = false;
    });
    return true;
  };
  const source = Object.create(real, {
    read: {
      value: (file: OpenFile, buffer: Buffer, offset: number, length: number, position: number) =>
        empty(position) ? Promise.resolve({ bytesRead: 0 }) : real.read(file, buffer, offset, length, position),
    },
    readv: {
      value: (file: OpenFile, buffers: Buffer[], position: number) =>
        empty(position) ? Promise.resolve({ bytesRead: 0 }) : real.readv(file, buffers, position),
    },
  });
  const order = new Order(real, file);
  const { ahead, next } = reader({ backend: source, file, order }, 0, Infinity, 65_536);
  const chunks: Buffer[] = [];
  for (let chunk = await next(); chunk !== null; chunk = await next()) chunks.push(chunk);
  expect(isCut).toBe(false);
  expect(Buffer.concat(chunks).equals(data)).toBe(true);
  await ahead.stop();
  await real.close(file);
});

testUnless(
  backend !== "io_uring" && "no ring",
  "what a transfer has not used of the own position goes back, unless it was moved",
  async () => {
    const file = await openFile(path);
    const { native } = existingThread()!;
    native.seek(file.fd, 100, 0);
    settleClaim(claim(file.fd, 50, true), 20);
    expect(positionOf(file.fd)).toBe(120);
    const claimed = claim(file.fd, 50, true);
    native.seek(file.fd, 7, 0);
    settleClaim(claimed, 20);
    expect(positionOf(file.fd)).toBe(7);
    await currentBackend().close(file);
  },
);
