// Chunks that are written to a file as they come: what fails is told, and what lies behind it in order is not written.
// Assumes no file: the sink is the test's own.

import { expect, test } from "bun:test";
import { writeChunks } from "../../src/server/chunk-writer.ts";
import { rejection } from "../helpers/expect-error.ts";

const WRITE = 512 * 1024;

/** Takes what comes; the write at `fails` fails a little later. */
function sink(fails: number): { written: number[]; to: Parameters<typeof writeChunks>[0] } {
  const written: number[] = [];
  const take = async (length: number, at: number | null): Promise<{ bytesWritten: number }> => {
    await new Promise((resolve) => setImmediate(resolve));
    if (at === fails) throw new Error("full");
    written.push(at!);
    return { bytesWritten: length };
  };
  return {
    written,
    to: {
      write: (_, __, length, at) => take(length, at),
    },
  };
}

async function* chunks(count: number, length: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(length);
}

for (const inOrder of [false, true]) {
  test(`all chunks are written, in order: ${inOrder}`, async () => {
    const { written, to } = sink(-1);
    expect(await writeChunks(to, 7, chunks(5, 300_000), { inOrder })).toBe(1_500_000);
    expect(written).toEqual([7, 7 + WRITE, 7 + 2 * WRITE]);
  });

  test(`the last write's failure is told, in order: ${inOrder}`, async () => {
    const { to } = sink(WRITE);
    expect((await rejection(writeChunks(to, 0, chunks(1, WRITE + 1), { inOrder }))).message).toBe("full");
  });
}

test("in order nothing is written behind what has failed", async () => {
  const { written, to } = sink(WRITE);
  expect((await rejection(writeChunks(to, 0, chunks(8, WRITE), { inOrder: true }))).message).toBe("full");
  expect(written).toEqual([0]);
});
