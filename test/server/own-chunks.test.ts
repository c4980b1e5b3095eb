// Which bodies are Bun's own, whose chunks' memory can be given back at once: those of requests and answers that nobody shares. All
// others must be left as they are.
// Assumes that Bun serves and fetches here.

import { expect, test } from "bun:test";
import { type OwnChunks, ownChunks } from "../../src/server/own-chunks.ts";
import { patternBytes } from "../helpers/tmp.ts";

const bytes = patternBytes(3_000_000) as Buffer<ArrayBuffer>;

/** Reads all, and gives each chunk's memory back; what came, and how many chunks have kept theirs. */
async function readAll(chunks: OwnChunks): Promise<{ content: Buffer; kept: number; count: number }> {
  const copies: Buffer[] = [];
  let kept = 0;
  for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
    const chunk = next.value as Uint8Array;
    copies.push(Buffer.from(chunk));
    chunks.free(chunk);
    if (chunk.length > 0) kept++;
  }
  chunks.close();
  return { content: Buffer.concat(copies), kept, count: copies.length };
}

/** Runs `take` with a request as a server has it. */
async function served<T>(take: (request: Request) => Promise<T>): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  await using server = Bun.serve({
    port: 0,
    async fetch(request) {
      await take(request).then(resolve, reject);
      return new Response("done");
    },
  });
  await fetch(`${server.url}`, { method: "POST", body: bytes }).catch(reject);
  return promise;
}

test("a request's body is, and its memory goes with the chunks", async () => {
  const { content, kept, count } = await served((request) => readAll(ownChunks(request.body!, undefined)!));
  expect(content.equals(bytes)).toBe(true);
  expect(count).toBeGreaterThan(2);
  expect(kept).toBeLessThan(count / 2);
});

test("one that is cloned, before or after, is not: both have all of it", async () => {
  const [untouched, first, second] = await served(async (request) => {
    const clone = request.clone();
    const bodies = [request.body!, clone.body!];
    const found = bodies.map((body) => ownChunks(body, undefined) === null && !body.locked);
    const [a, b] = await Promise.all([request.bytes(), clone.bytes()]);
    return [found, Buffer.from(a), Buffer.from(b)] as const;
  });
  expect(untouched).toEqual([true, true]);
  expect([first.equals(bytes), second.equals(bytes)]).toEqual([true, true]);
});

test("streams that the program has made, transformed or divided are not, and are left as they are", async () => {
  const made = (): ReadableStream<Uint8Array> =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    });
  const bodies = [
    made(),
    new Request("http://x/", { method: "POST", body: made() }).body!,
    made().pipeThrough(new TransformStream()),
    new Response(bytes).body!.pipeThrough(new TransformStream()),
    ...made().tee(),
    ...new Response(bytes).body!.tee(),
  ];
  for (const body of bodies) {
    expect(ownChunks(body, undefined)).toBeNull();
    expect(body.locked).toBe(false);
    expect(Buffer.from(await new Response(body).bytes()).equals(bytes)).toBe(true);
  }
  expect(bytes.equals(patternBytes(bytes.length))).toBe(true);
});

test("one that is locked is refused by others; a signal ends the waiting", async () => {
  const locked = new ReadableStream();
  locked.getReader();
  expect(ownChunks(locked, undefined)).toBeNull();
  const reason = await served(async (request) => {
    const controller = new AbortController();
    const chunks = ownChunks(request.body!, controller.signal)!;
    await chunks.next();
    controller.abort();
    const error = await chunks.next().catch((error) => error);
    chunks.close();
    return error.name;
  });
  expect(reason).toBe("AbortError");
});

test("what a program gave as a body is never taken from it", async () => {
  const mine = Buffer.from(bytes) as Buffer<ArrayBuffer>;
  const blob = new Blob([mine]);
  for (const body of [mine, blob]) {
    const chunks = ownChunks(new Request("http://x/", { method: "POST", body }).body!, undefined);
    if (chunks !== null) expect((await readAll(chunks)).content.equals(bytes)).toBe(true);
    expect(mine.equals(bytes)).toBe(true);
    expect(Buffer.from(await blob.bytes()).equals(bytes)).toBe(true);
  }
});
