// The chunks of a body that Bun itself reads, and nobody else: their memory can be given back as soon as they are done with. Kept until
// the garbage collector comes to it, it is the most of what a large body costs: every chunk is new memory then, page by page.
// Assumes that the body is unread. A body that the program has made, or shares by clone() or tee(), is not for here.

import { Readable } from "node:stream";
import { throwIfAborted } from "../node/abort.ts";
import { offAbort, onAbort } from "../node/signal.ts";

type Next = { done: boolean; value?: unknown };

/** Reads a body of Bun's own; null for any other, which is untouched then. */
export function ownChunks(body: ReadableStream, signal: AbortSignal | undefined): OwnChunks | null {
  if (body.locked) return null;
  throwIfAborted(signal);
  // Of a body that has a native source Bun makes a Readable over that; of others a class of its own, which begins when it is read.
  const readable = Readable.fromWeb(body as never);
  const isOwn = Object.getPrototypeOf(readable) === Readable.prototype;
  return isOwn || body.locked ? new OwnChunks(readable, isOwn, signal) : null;
}

export class OwnChunks {
  readonly #readable: Readable;
  readonly #isOwn: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #queue: unknown[] = [];
  #waiter: PromiseWithResolvers<Next> | null = null;
  #end: { error: unknown } | "ended" | null = null;
  readonly #stop = (): void => {
    this.#readable.destroy();
    this.#settle("ended");
  };

  constructor(readable: Readable, isOwn: boolean, signal: AbortSignal | undefined) {
    this.#readable = readable;
    this.#isOwn = isOwn;
    this.#signal = signal;
    readable.on("data", (chunk) => this.#take(chunk));
    readable.on("end", () => this.#settle("ended"));
    readable.on("error", (error) => this.#settle({ error }));
    readable.on("close", () => this.#settle({ error: new Error("It ended before its end") }));
    if (signal !== undefined) onAbort(signal, this.#stop);
  }

  #take(chunk: unknown): void {
    const waiter = this.#waiter;
    if (waiter === null) {
      this.#queue.push(chunk);
      this.#readable.pause(); // who is not waiting has no room for more
      return;
    }
    this.#waiter = null;
    waiter.resolve({ done: false, value: chunk });
  }

  #settle(end: { error: unknown } | "ended"): void {
    if (this.#end !== null) return;
    this.#end = end;
    const waiter = this.#waiter;
    this.#waiter = null;
    if (waiter === null) return;
    if (end === "ended") waiter.resolve({ done: true });
    else waiter.reject(end.error);
  }

  /** The next chunk; `done` at the end. Rejects with Bun's error where the client broke off, and with an AbortError. */
  async next(): Promise<Next> {
    try {
      return await this.#next();
    } finally {
      throwIfAborted(this.#signal);
    }
  }

  #next(): Next | Promise<Next> {
    if (this.#queue.length > 0) return { done: false, value: this.#queue.shift() };
    if (this.#end === "ended") return { done: true };
    if (this.#end !== null) throw this.#end.error;
    this.#waiter = Promise.withResolvers<Next>();
    if (this.#readable.isPaused()) this.#readable.resume();
    return this.#waiter.promise;
  }

  /** The chunk is done with, and all that came before it. Several may lie in the same memory: it goes with the last of them. */
  free(chunk: Uint8Array): void {
    const { buffer } = chunk;
    if (this.#isOwn && chunk.byteOffset + chunk.byteLength === buffer.byteLength && buffer instanceof ArrayBuffer)
      buffer.transfer(0);
  }

  /** Lets go of the body; what has not been read of it is not wanted any more. */
  close(): void {
    if (this.#signal !== undefined) offAbort(this.#signal, this.#stop);
    if (!this.#readable.readableEnded) this.#readable.destroy();
  }
}
