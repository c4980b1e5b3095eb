// Chunks of any size to an open file: gathered until a write is worth its while, a few of which are under way at a time through the
// ring, never on the JavaScript thread. What all writers of the thread hold together is bounded, however many there are (rooms.ts).
// Assumes an open file that nobody else writes. Every chunk is copied when it comes: while it is warm a copy costs a tenth of what it
// costs to keep the chunk, which is new memory each time, until it is written; and its owner may use it again.

import { acquireRoom, areScarce, releaseRoom, turn } from "./rooms.ts";

/** Rooms of one writer: two on their way to the file, one that is being filled. */
const AT_ONCE = 3;

/** What is written to: a FileHandle, or what is as one. */
export interface ChunkSink {
  write(buffer: Uint8Array, offset: number, length: number, position: number | null): Promise<{ bytesWritten: number }>;
}

interface ChunkOptions {
  /**
   * One write after another (default false), so that the file holds all that came before its end whenever it is looked at: for
   * what is appended, and for what is gone on with after a crash. Chunks that came before an error are then written, too.
   */
  inOrder?: boolean | undefined;
}

/** Writers with a room that is not full: whoever lacks one has them write what they have. */
const gathering = new Set<ChunkWriter>();

/** Writes all chunks from a position on. Resolves to their bytes, rejects with the first error of a write or of the source. */
export async function writeChunks(
  sink: ChunkSink,
  position: number,
  chunks: AsyncIterable<Uint8Array>,
  options: ChunkOptions = {},
): Promise<number> {
  const writer = new ChunkWriter(sink, position, options);
  let bytes = 0;
  try {
    for await (const chunk of chunks) {
      bytes += chunk.byteLength;
      await writer.add(chunk);
    }
    await writer.end();
    return bytes;
  } catch (error) {
    if (options.inOrder) await writer.end().catch(() => {});
    await writer.settle();
    throw error;
  } finally {
    writer.drop();
  }
}

class ChunkWriter {
  readonly #sink: ChunkSink;
  readonly #inOrder: boolean;
  readonly #writing = new Set<Promise<void>>();
  #position: number;
  #room: Buffer | null = null;
  #filled = 0;
  /** Since it was its turn. */
  #hasSent = false;
  #tail: Promise<void> = Promise.resolve();
  #failure: { error: unknown } | null = null;

  constructor(sink: ChunkSink, position: number, { inOrder = false }: ChunkOptions) {
    this.#sink = sink;
    this.#position = position;
    this.#inOrder = inOrder;
  }

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#room === null) {
        while (this.#writing.size >= (areScarce() ? 1 : AT_ONCE)) await Promise.race(this.#writing);
        if (this.#failure !== null) break;
        this.#room = acquireRoom();
        gathering.add(this);
      }
      const take = Math.min(bytes.length - at, this.#room.length - this.#filled);
      this.#room.set(take === bytes.length ? bytes : bytes.subarray(at, at + take), this.#filled);
      this.#filled += take;
      at += take;
      if (this.#filled === this.#room.length) this.#send();
    }
    if (this.#hasSent && areScarce()) await this.#giveWay();
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Before it takes more of its source: what it had is written, and then it is somebody else's turn. */
  async #giveWay(): Promise<void> {
    this.#hasSent = false;
    for (const idle of gathering) {
      idle.#send();
      break;
    }
    await this.settle();
    await turn();
  }

  async end(): Promise<void> {
    if (this.#failure === null) this.#send();
    await this.settle();
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** When nothing is under way any more. */
  async settle(): Promise<void> {
    while (this.#writing.size > 0) await Promise.all(this.#writing);
  }

  /** What was gathered after a failure is not written any more. */
  drop(): void {
    const room = this.#leaveRoom();
    if (room !== null) releaseRoom(room, true);
  }

  #leaveRoom(): Buffer | null {
    const room = this.#room;
    this.#room = null;
    this.#filled = 0;
    gathering.delete(this);
    return room;
  }

  #send(): void {
    const [bytes, position] = [this.#filled, this.#position];
    const room = this.#leaveRoom();
    if (room === null) return;
    this.#hasSent = true;
    this.#position += bytes;
    const written = this.#write(room.subarray(0, bytes), position, this.#tail)
      .then(
        () => releaseRoom(room, true),
        (error) => {
          this.#failure ??= { error };
          releaseRoom(room, false);
        },
      )
      .finally(() => this.#writing.delete(written));
    this.#tail = written;
    this.#writing.add(written);
  }

  async #write(bytes: Uint8Array, position: number, before: Promise<void>): Promise<void> {
    if (this.#inOrder) {
      await before;
      if (this.#failure !== null) return; // nothing behind a gap
    }
    for (let at = 0; at < bytes.length; )
      at += (await this.#sink.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
  }
}
