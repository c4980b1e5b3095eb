// What can be written, as chunks of bytes one after another: what `Bun.write` takes, and arrays and async iterables of it.
// Assumes that streams and bodies are nobody else's. Memory that is small is taken as it is at the call; more must stay as it is
// until it is written.

import { abortable } from "../node/abort.ts";
import { invalidArgType } from "../node/arguments.ts";
import { isView, bytesOf as viewed } from "../node/views.ts";
import { mustBeUnread } from "./intake.ts";
import { StreamReader } from "./stream-reader.ts";

/** What can be written: as `Bun.write`, and arrays of it, one after the other. */
export type Writable =
  | string
  | ArrayBufferView
  | ArrayBuffer
  | SharedArrayBuffer
  | Blob
  | Response
  | Request
  | ReadableStream<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | readonly Writable[];

/** Copying more would hold the thread. */
const COPIED_BYTES = 1024 * 1024;
const encoder = new TextEncoder();

/** Checks the kind at the call, so that a wrong one rejects before anything is opened. */
export function chunksOf(data: Writable, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  if (typeof data === "string") return one(encoder.encode(data));
  if (isView(data)) return one(taken(viewed(data)));
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return one(taken(new Uint8Array(data)));
  if (Array.isArray(data)) return chained(data.map((part: Writable) => chunksOf(part, signal)));
  if (data instanceof Response || data instanceof Request) {
    mustBeUnread(data);
    return data.body === null ? none() : streamed(data.body, signal);
  }
  if (data instanceof Blob) return streamed(data.stream(), signal);
  if (data instanceof ReadableStream) return streamed(data, signal);
  if (data !== null && typeof data === "object" && Symbol.asyncIterator in data)
    return iterated(data as AsyncIterable<unknown>, signal);
  throw invalidArgType(
    "data",
    ["string", "TypedArray", "ArrayBuffer", "Blob", "Response", "Request", "ReadableStream"],
    data,
  );
}

const taken = (bytes: Uint8Array): Uint8Array => (bytes.byteLength <= COPIED_BYTES ? bytes.slice() : bytes);

async function* none(): AsyncGenerator<Uint8Array> {}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes;
}

async function* chained(sources: AsyncIterable<Uint8Array>[]): AsyncGenerator<Uint8Array> {
  for (const source of sources) yield* source;
}

async function* streamed(stream: ReadableStream, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const reader = new StreamReader(stream, signal);
  try {
    for (let next = await reader.next(); !next.done; next = await reader.next()) yield bytesOf(next.value);
  } finally {
    reader.close();
  }
}

async function* iterated(source: AsyncIterable<unknown>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  let isDone = false;
  try {
    for (;;) {
      const next = Promise.resolve(iterator.next());
      const { done, value } = await (signal === undefined ? next : abortable(next, signal));
      isDone = done === true;
      if (isDone) return;
      yield bytesOf(value);
    }
  } catch (error) {
    // One that waits for ever is not waited for.
    if (!isDone) Promise.resolve(iterator.return?.()).catch(() => {});
    isDone = true;
    throw error;
  } finally {
    if (!isDone) await iterator.return?.();
  }
}

function bytesOf(chunk: unknown): Uint8Array {
  if (typeof chunk === "string") return encoder.encode(chunk);
  if (isView(chunk)) return viewed(chunk);
  throw invalidArgType("chunk", ["string", "Uint8Array"], chunk);
}
