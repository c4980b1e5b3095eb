// FileWriter: chunks one after another to a file, each with a promise. The promises are its backpressure: who does not wait for them
// fills memory.
// Assumes that nobody else writes at the same position. A descriptor or handle stays the caller's.

import { open } from "../fs/open.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { invalidArgType, validateBoolean, validateEach, validateInteger, validateObject } from "../node/arguments.ts";
import { chunksOf } from "./chunks.ts";
import { type Sink, sinkOf, writeChunk } from "./write.ts";

const HIGH_WATER_MARK = 1024 * 1024;

/** How `file(path).writer()` opens and writes. */
export interface FileWriterOptions {
  /** Goes behind what is there (default false: replaces it). Of a descriptor or handle its own flags and position decide. */
  append?: boolean | undefined;
  /** Bytes that may wait before `write` makes its caller wait (default 1 MiB). */
  highWaterMark?: number | undefined;
  /** `flush()` and `end()` sync, too (default false). */
  flush?: boolean | undefined;
}

/** Writes chunks one after another. Its promises are its backpressure: who does not wait for them fills memory. */
export class FileWriter implements AsyncDisposable {
  readonly #sink: Promise<Sink>;
  readonly #isOwn: boolean;
  readonly #highWaterMark: number;
  readonly #syncs: boolean;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;
  #failure: { error: unknown } | null = null;
  #ended: Promise<number> | null = null;
  /** Bytes that are in the file. */
  bytesWritten = 0;

  /** Made by `file().writer()`. */
  constructor(target: string | number | FileHandle, options: FileWriterOptions) {
    validateObject(options, "options");
    const { append = false, highWaterMark = HIGH_WATER_MARK, flush = false } = options;
    validateEach(validateBoolean, { append, flush });
    validateInteger(highWaterMark, "options.highWaterMark", 1);
    this.#highWaterMark = highWaterMark;
    this.#syncs = flush;
    this.#isOwn = typeof target === "string";
    this.#sink = typeof target === "string" ? open(target, append ? "a" : "w") : Promise.resolve(sinkOf(target));
    this.#sink.catch(() => {}); // each call rejects with it
  }

  /** Resolves once less than `highWaterMark` waits; rejects with what an earlier write has failed with. */
  async write(data: string | ArrayBufferView | ArrayBuffer | SharedArrayBuffer): Promise<void> {
    if (this.#ended !== null) throw new TypeError("The writer has ended");
    const isBytes = ArrayBuffer.isView(data) || data instanceof ArrayBuffer || data instanceof SharedArrayBuffer;
    if (typeof data !== "string" && !isBytes)
      throw invalidArgType("data", ["string", "TypedArray", "ArrayBuffer"], data);
    const length = typeof data === "string" ? Buffer.byteLength(data) : data.byteLength;
    const chunks = chunksOf(data);
    this.#waiting += length;
    const done = this.#tail.then(async () => {
      try {
        if (this.#failure !== null) return;
        const sink = await this.#sink;
        for await (const chunk of chunks) this.bytesWritten += await writeChunk(sink, chunk);
      } catch (error) {
        this.#failure = { error };
      } finally {
        this.#waiting -= length;
      }
    });
    this.#tail = done;
    // All that came before it is written by then; what came later makes its own caller wait.
    if (this.#waiting >= this.#highWaterMark) await done;
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Resolves when all that was written is in the file (with `flush`: on the device). */
  async flush(): Promise<void> {
    await this.#tail;
    if (this.#failure !== null) throw this.#failure.error;
    if (this.#syncs) await (await this.#sink).sync();
  }

  /** Writes what waits and closes the file. Resolves to the bytes written. */
  end(): Promise<number> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<number> {
    try {
      await this.flush();
    } catch (error) {
      if (this.#isOwn) await this.#sink.then((sink) => sink.close()).catch(() => {});
      throw error;
    }
    const sink = await this.#sink; // a file that can't be opened is an error though nothing was written
    if (this.#isOwn) await sink.close();
    return this.bytesWritten;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
