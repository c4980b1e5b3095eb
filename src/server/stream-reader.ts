// A stream's chunks, one after another, until its end or until a signal is aborted, which ends a read that is waiting, too.
// Assumes that nobody else reads the stream. Never holds a chunk.

import { throwIfAborted } from "../node/abort.ts";
import { offAbort, onAbort } from "../node/signal.ts";

export class StreamReader {
  readonly #reader: ReadableStreamDefaultReader<unknown>;
  readonly #signal: AbortSignal | undefined;
  /** A read that is waiting resolves as at the stream's end. */
  readonly #stop = (): void => this.#cancel();
  #ended = false;

  constructor(stream: ReadableStream, signal: AbortSignal | undefined) {
    throwIfAborted(signal);
    this.#reader = stream.getReader() as ReadableStreamDefaultReader<unknown>;
    this.#signal = signal;
    if (signal !== undefined) onAbort(signal, this.#stop);
  }

  /** The next chunk; `done` at the stream's end. Rejects with the stream's own error, and with an AbortError. */
  async next(): Promise<{ done: boolean; value?: unknown }> {
    try {
      const result = await this.#reader.read();
      this.#ended ||= result.done;
      return result;
    } catch (error) {
      this.#ended = true;
      throw error;
    } finally {
      throwIfAborted(this.#signal);
    }
  }

  /** Lets go of the stream; what has not been read of it is not wanted any more. */
  close(): void {
    if (this.#signal !== undefined) offAbort(this.#signal, this.#stop);
    if (!this.#ended) this.#cancel();
    this.#reader.releaseLock();
  }

  #cancel(): void {
    this.#ended = true;
    this.#reader.cancel().catch(() => {});
  }
}
