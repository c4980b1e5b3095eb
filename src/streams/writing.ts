// The state of a write stream: writes what is waiting together, however little the system takes at a time, syncs if asked
// to, and lets go of the file. Assumes node:stream's rules of its stream; callbacks run in ticks of their own, so that
// what they throw is an uncaught exception, as in Node, and no rejection of ours.

import type { WriteStream } from "node:fs";
import { writingAll } from "../backend/loops.ts";
import { codedError } from "../node/arguments.ts";
import { nextTick } from "../node/clock.ts";
import { atExit, Moved } from "../node/exit.ts";
import { done, inSteps, type Steps, settled } from "../node/steps.ts";
import { byteLengthOf, bytesOf } from "../node/views.ts";
import { type Callback, closed, type OpenedFile } from "./files.ts";
import { replaced } from "./replaced.ts";

type Target = Omit<WriteStream, "bytesWritten"> & {
  bytesWritten: number;
  fd: number | null;
  pos: number | undefined;
  flush: boolean;
};

/** Chunks smaller than this on average are joined by copying: cheaper than a vector of them. */
const JOIN_BYTES = 2048;
/** Writes in a row that may end without a byte before it is an error, as in Node. */
const EMPTY_WRITES = 5;

/** Streams with a write under way; whether the thread's end is seen to. */
const writing = new Set<Writing>();
let isEndSeen = false;

function writeBuffered(): Moved {
  const streams = [...writing];
  writing.clear();
  for (const stream of streams) stream.writeBuffered();
  return streams.length > 0 ? Moved.moves : Moved.idle;
}

export class Writing {
  readonly #stream: Target;
  #opened: OpenedFile | null = null;
  #release: (() => void) | null = null;
  /** The write under way; it never rejects. */
  #writing: Promise<void> | null = null;
  /** Its steps. */
  #written: Promise<void> | null = null;

  constructor(stream: Target) {
    this.#stream = stream;
  }

  /** Here is the file. */
  begin(opened: OpenedFile): void {
    this.#opened = opened;
    this.#release = opened.source.order.keepOpen(() => void this.#stream.close());
    this.#stream.fd = opened.handle.fd;
  }

  write(chunks: Buffer[], callback: Callback): void {
    const byteLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const isSmall = chunks.length > 1 && byteLength < chunks.length * JOIN_BYTES && replaced("writev") === null;
    const written = inSteps(this.#writeAll((isSmall ? this.#joined(chunks, byteLength) : null) ?? chunks, byteLength));
    if (!isEndSeen) {
      isEndSeen = true;
      atExit(writeBuffered);
    }
    writing.add(this);
    this.#written = written;
    this.#writing = written.then(
      () => {
        this.#writing = null;
        writing.delete(this);
        nextTick(callback, this.#stream.destroyed ? codedError(Error, "ERR_STREAM_DESTROYED", DESTROYED) : null);
      },
      (error) => {
        this.#writing = null;
        writing.delete(this);
        nextTick(callback, error);
      },
    );
  }

  /** At the end of the thread: what the stream still holds goes out behind the write under way. */
  writeBuffered(): void {
    const state = (this.#stream as any)._writableState as { getBuffer?: () => { chunk: Buffer }[] };
    const chunks = (state.getBuffer?.() ?? []).map(({ chunk }) => chunk);
    if (chunks.length === 0 || this.#stream.destroyed) return;
    inSteps(this.#writeBehind(this.#written!, Buffer.concat(chunks))).catch(() => {});
  }

  *#writeBehind(written: Promise<void>, bytes: Buffer): Steps<void> {
    yield* settled(written);
    const { backend, file } = this.#opened!.source;
    yield* writingAll(backend, file, bytes, null, { bytesWritten: 0 }, this.#stream.pos ?? -1);
  }

  /** All chunks in one; null where one can't be read, and the kernel is to say so. */
  #joined(chunks: Buffer[], byteLength: number): [Buffer] | null {
    const { backend } = this.#opened!.source;
    const bytes = Buffer.allocUnsafeSlow(byteLength);
    let at = 0;
    for (const chunk of chunks) {
      if (backend.copy(bytesOf(chunk), bytes.subarray(at)) !== byteLengthOf(chunk)) return null;
      at += byteLengthOf(chunk);
    }
    return [bytes];
  }

  *#writeAll(chunks: Buffer[], byteLength: number): Steps<void> {
    const stream = this.#stream;
    let at = stream.pos ?? null;
    if (stream.pos !== undefined) stream.pos += byteLength;
    let empty = 0;
    for (let rest = chunks, left = byteLength; left > 0; ) {
      const bytesWritten = yield* this.#writeOnce(rest, at);
      stream.bytesWritten += bytesWritten;
      left -= bytesWritten;
      if (at !== null) at += bytesWritten;
      if (left === 0 || stream.destroyed) return;
      empty = bytesWritten > 0 ? 0 : empty + 1;
      if (empty > EMPTY_WRITES) throw codedError(Error, "ERR_SYSTEM_ERROR", "write failed");
      rest = behind(rest, bytesWritten);
    }
  }

  *#writeOnce(chunks: Buffer[], at: number | null): Steps<number> {
    const { handle } = this.#opened!;
    try {
      const { bytesWritten } = yield* done(
        chunks.length === 1 ? handle.write(chunks[0]!, 0, chunks[0]!.length, at) : handle.writev(chunks, at),
      );
      return bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      return 0;
    }
  }

  /** All is written, and nobody is going to destroy the stream: the file is synced if that was asked for, and let go. */
  finish(callback: Callback): void {
    const opened = this.#opened;
    if (opened === null) return callback();
    const done = (error?: Error): void => {
      this.#letGo();
      callback(error);
    };
    if (!this.#stream.flush) return done();
    opened.handle.sync().then(
      () => nextTick(done),
      (error) => nextTick(done, error),
    );
  }

  #letGo(): void {
    this.#release?.();
    this.#release = null;
  }

  /** Closes the file when the write under way has ended, together with whoever asked for that before. */
  end(error: Error | null, callback: Callback): void {
    const opened = this.#opened;
    if (opened === null) return callback(error);
    let failure = error;
    const note = (reason: Error): void => {
      failure ??= reason;
    };
    Promise.resolve(this.#writing)
      .then(() => (this.#stream.flush && this.#release !== null ? opened.handle.sync().catch(note) : undefined))
      .then(() => {
        this.#letGo();
        return closed(this.#stream, opened);
      })
      .catch(note)
      .then(() => nextTick(callback, failure));
  }
}

const DESTROYED = "Cannot call write after a stream was destroyed";

/** What is left of `chunks` when so many bytes are written. */
function behind(chunks: Buffer[], bytesWritten: number): Buffer[] {
  let index = 0;
  let skip = bytesWritten;
  while (skip >= chunks[index]!.length) skip -= chunks[index++]!.length;
  const rest = chunks.slice(index);
  rest[0] = rest[0]!.subarray(skip);
  return rest;
}
