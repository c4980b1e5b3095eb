// readableWebStream where it differs from a loop of reads: read-ahead, BYOB readers, the handle's lifetime.
// What Node documents is in the contract suite. Never waits by time: every wait is for an event.

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { open } from "../../src/promises.ts";
import { positionOf } from "../helpers/fds.ts";
import { collect } from "../helpers/settled.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const MIB = 1024 * 1024;
const tmp = scratch();
const data = patternBytes(5 * MIB + 12_345, 3);
const path = tmp.file(data);

const { fifo } = tmp;

test("every byte once and in order; the handle stays open at the end of the file", async () => {
  await using handle = await open(path);
  await handle.read(Buffer.alloc(17));
  const all = await collect(handle.readableWebStream() as AsyncIterable<Uint8Array>);
  expect(all.equals(data.subarray(17))).toBe(true);
  expect(positionOf(handle.fd)).toBe(data.length);
});

test("cancelled, it gives back what was read ahead", async () => {
  await using handle = await open(path);
  const reader = handle.readableWebStream().getReader();
  const { value } = await reader.read();
  await reader.cancel();
  const next = await handle.read(Buffer.alloc(1000));
  expect(next.buffer.equals(data.subarray(value.byteLength, value.byteLength + 1000))).toBe(true);
});

test("a reader that stalls holds nothing that was read ahead, and goes on where it was", async () => {
  for (const make of [
    (handle: FileHandle): AsyncIterable<any> => handle.readableWebStream() as AsyncIterable<Uint8Array>,
    (handle: FileHandle): AsyncIterable<any> => handle.createReadStream({ autoClose: false, highWaterMark: 1000 }),
  ]) {
    await using handle = await open(path);
    const iterator = make(handle)[Symbol.asyncIterator]();
    const chunks: Uint8Array[] = [];
    for (let i = 0; i < 5; i++) chunks.push((await iterator.next()).value);
    // What was claimed ahead is given back; a node stream holds a chunk, and one more is being read.
    const most = chunks.reduce((sum, { length }) => sum + length, 0) + 2 * 1000;
    while (positionOf(handle.fd) > most) await Bun.sleep(5);
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) chunks.push(next.value);
    expect(Buffer.concat(chunks).equals(data)).toBe(true);
  }
});

test("what a stalled stream has read ahead is kept where somebody else reads behind it", async () => {
  await using handle = await open(path);
  const reader = handle.readableWebStream().getReader();
  const chunks = [(await reader.read()).value, (await reader.read()).value];
  const other = await handle.read(Buffer.alloc(1000));
  const at = data.indexOf(other.buffer);
  await Bun.sleep(150); // a stall
  for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
  const expected = Buffer.concat([data.subarray(0, at), data.subarray(at + 1000)]);
  expect(Buffer.concat(chunks).equals(expected)).toBe(true);
});

test("readers with buffers of their own and readers without may take turns", async () => {
  await using handle = await open(path);
  const stream: any = handle.readableWebStream();
  const parts: Uint8Array[] = [];
  for (let turn = 0, done = false; !done; turn++) {
    const reader = stream.getReader(turn % 2 === 0 ? { mode: "byob" } : undefined);
    const result = await reader.read(new Uint8Array(turn % 4 === 0 ? 500 : 70_000));
    done = result.done;
    if (!done) parts.push(result.value);
    reader.releaseLock();
  }
  expect(Buffer.concat(parts).equals(data)).toBe(true);
});

test("closing the handle ends it, also for who waits", async () => {
  const handle = await open(path);
  const reader = handle.readableWebStream().getReader();
  await reader.read();
  await handle.close();
  expect(handle.fd).toBe(-1);
  expect((await reader.read()).done).toBe(true);
  const pipe = await open(fifo(), "r+");
  const waiting = pipe.readableWebStream().getReader().read();
  const closed = pipe.close();
  expect((await waiting).done).toBe(true);
  writeFileSync(`/proc/self/fd/${pipe.fd}`, "x"); // so that the read in the kernel ends
  await closed;
  expect(pipe.fd).toBe(-1);
});

test("with autoClose, its end, an error and cancel() close the handle", async () => {
  const ends: ((stream: any) => Promise<unknown>)[] = [collect, (stream) => stream.cancel()];
  for (const end of ends) {
    const handle = await open(path);
    await end(handle.readableWebStream({ autoClose: true }));
    expect(handle.fd).toBe(-1);
  }
  for (const mode of [undefined, "byob"]) {
    const handle = await open(tmp.folder());
    const reader: any = (handle.readableWebStream({ autoClose: true }) as any).getReader(mode && { mode });
    const error = await reader.read(new Uint8Array(10)).catch((reason: unknown) => reason);
    expect(error.code).toBe("EISDIR");
    expect(handle.fd).toBe(-1);
  }
});

test("as a Response body", async () => {
  const handle = await open(path);
  const bytes = await new Response(handle.readableWebStream({ autoClose: true }) as any).arrayBuffer();
  expect(Buffer.from(bytes).equals(data)).toBe(true);
});
