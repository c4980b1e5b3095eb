// The state of a read stream: asks for the file when it is opened, hands out one chunk a tick of what is read ahead, and
// lets go of the file. Assumes node:stream's rules of its stream; its user's listeners run only from ticks of their own,
// so that what they throw is an uncaught exception, as in Node, and no rejection of ours.

import type { ReadStream } from "node:fs";
import { nextTick } from "../node/clock.ts";
import { type Callback, closed, type OpenedFile } from "./files.ts";
import { ReadAhead } from "./read-ahead.ts";
import { readByReplaced, replaced } from "./replaced.ts";

/** What of a ReadStream is set here, though others only read it. */
type Target = Omit<ReadStream, "bytesRead"> & {
  bytesRead: number;
  fd: number | null;
  pos: number | undefined;
  readonly autoClose: boolean;
};

export class Reading {
  readonly #stream: Target;
  readonly #start: number | undefined;
  readonly #end: number;
  #opened: OpenedFile | null = null;
  #ahead: ReadAhead | null = null;
  #release: (() => void) | null = null;
  /** The stream has asked for data and has none yet. */
  #asked = false;
  #isDue = false;
  #failed = false;

  constructor(stream: Target, start: number | undefined, end: number) {
    this.#stream = stream;
    this.#start = start;
    this.#end = end;
  }

  /** Here is the file. */
  begin(opened: OpenedFile): void {
    const { handle, source } = opened;
    this.#opened = opened;
    const options = {
      position: this.#start ?? -1,
      byteLimit: this.#end - (this.#start ?? 0) + 1,
      chunkBytes: Math.max(1, this.#stream.readableHighWaterMark),
      onReady: () => this.#deliverSoon(),
    };
    const isReplaced = opened.disown !== undefined && replaced("read") !== null;
    this.#ahead = new ReadAhead(isReplaced ? readByReplaced(source, handle.fd) : source, options);
    this.#release = source.order.keepOpen(() => void this.#stream.destroy());
    this.#stream.fd = handle.fd;
  }

  ask(): void {
    this.#asked = true;
    this.#deliverSoon();
  }

  #deliverSoon(): void {
    if (this.#isDue || !this.#asked) return;
    this.#isDue = true;
    nextTick(deliver, this);
  }

  deliver(): void {
    const stream = this.#stream;
    this.#isDue = false;
    if (!this.#asked || this.#failed || stream.destroyed || this.#ahead === null) return;
    let chunk: Buffer | null | undefined;
    try {
      chunk = this.#ahead.take();
    } catch (error) {
      return this.#fail(error as Error);
    }
    if (chunk === undefined) return;
    // Before push: it may ask for more, or be told to stop, from within.
    this.#asked = false;
    if (chunk === null) {
      // Nobody destroys it then, and nothing uses the file any more.
      if (!stream.autoClose) this.#letGo();
      return void stream.push(null);
    }
    stream.bytesRead += chunk.length;
    if (stream.pos !== undefined) stream.pos += chunk.length;
    stream.push(chunk);
  }

  #fail(error: Error): void {
    const stream = this.#stream;
    this.#asked = false;
    this.#failed = true;
    if (stream.autoClose) return void stream.destroy(error);
    this.#letGo();
    stream.emit("error", error);
  }

  #letGo(): void {
    this.#release?.();
    this.#release = null;
  }

  /** Closes the file once the kernel is done with all memory, together with whoever asked for that before. */
  end(error: Error | null, callback: Callback): void {
    const opened = this.#opened;
    if (opened === null) return callback(error);
    this.#ahead!.stop()
      .then(() => {
        this.#letGo();
        return closed(this.#stream, opened);
      })
      .then(
        () => nextTick(callback, error),
        (failure) => nextTick(callback, failure ?? error),
      );
  }
}

function deliver(reading: Reading): void {
  reading.deliver();
}
