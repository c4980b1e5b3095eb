// Pieces of any size to an open file: gathered until a write is worth its while, two of which are under way at a time through the
// ring, never on the JavaScript thread. What all writers of the thread hold together is bounded, however many there are.
// Assumes an open file that nobody else writes. Large pieces are written from where they are, unless they are to be copied: then
// their owner may use their memory again as soon as it is asked for the next.

/** What all writers hold together, gathered and under way; beyond it each waits for what it has before it takes more. */
const WRITERS_BYTES = 8 * 1024 * 1024;
/** Not more: what has just come is still in the processor's cache when it is written. */
const WRITES_AT_ONCE = 2;
const WRITE_BYTES = 512 * 1024;
/** Smaller pieces are copied together: each piece of a write costs its memory and a part of the call. */
const COPIED_BYTES = 16 * 1024;

/** What is written to: a FileHandle, or what is as one. */
export interface ChunkSink {
  write(buffer: Uint8Array, offset: number, length: number, position: number | null): Promise<{ bytesWritten: number }>;
  writev(buffers: NodeJS.ArrayBufferView[], position: number | null): Promise<{ bytesWritten: number }>;
}

export interface ChunkOptions {
  /**
   * One write after another (default false), so that the file holds all that came before its end whenever it is looked at: for
   * what is appended, and for what is gone on with after a crash. Pieces that came before an error are then written, too.
   */
  inOrder?: boolean | undefined;
  /** Copies each piece when it comes (default false). */
  copies?: boolean | undefined;
}

let held = 0;

/** Writes all pieces from a position on. Resolves to their bytes, rejects with the first error of a write or of the source. */
export async function writeChunks(
  sink: ChunkSink,
  position: number,
  pieces: AsyncIterable<Uint8Array>,
  options: ChunkOptions = {},
): Promise<number> {
  const writer = new ChunkWriter(sink, position, options);
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      bytes += piece.byteLength;
      await writer.add(piece);
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
  readonly #copies: boolean;
  readonly #writing = new Set<Promise<void>>();
  #position: number;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  /** What pieces are copied into; its first part is gathered already. */
  #room: Buffer | null = null;
  #tail: Promise<void> = Promise.resolve();
  #failure: { error: unknown } | null = null;

  constructor(sink: ChunkSink, position: number, { inOrder = false, copies = false }: ChunkOptions) {
    this.#sink = sink;
    this.#position = position;
    this.#inOrder = inOrder;
    this.#copies = copies;
  }

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && this.#failure === null; ) {
      const take = Math.min(bytes.length - at, WRITE_BYTES - this.#gatheredBytes);
      this.#gather(bytes.subarray(at, at + take));
      at += take;
      if (this.#gatheredBytes < WRITE_BYTES) continue;
      while (this.#writing.size === WRITES_AT_ONCE) await Promise.race(this.#writing);
      if (this.#failure === null) this.#send();
    }
    if (held > WRITERS_BYTES) await this.end();
    if (this.#failure !== null) throw this.#failure.error;
  }

  #gather(piece: Uint8Array): void {
    this.#gatheredBytes += piece.length;
    held += piece.length;
    if (piece.length > COPIED_BYTES && !this.#copies) {
      this.#gathered.push(piece);
      return;
    }
    if (this.#room === null || this.#room.length < piece.length)
      this.#room = Buffer.allocUnsafeSlow(Math.max(piece.length, this.#copies ? WRITE_BYTES : 4 * COPIED_BYTES));
    this.#room.set(piece);
    const last = this.#gathered.at(-1);
    const copied = this.#room.subarray(0, piece.length);
    this.#room = this.#room.subarray(piece.length);
    // Small ones side by side are one.
    if (last !== undefined && last.buffer === copied.buffer && last.byteOffset + last.length === copied.byteOffset)
      this.#gathered[this.#gathered.length - 1] = new Uint8Array(
        copied.buffer,
        last.byteOffset,
        last.length + copied.length,
      );
    else this.#gathered.push(copied);
  }

  async end(): Promise<void> {
    if (this.#gatheredBytes > 0 && this.#failure === null) this.#send();
    await this.settle();
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** When nothing is under way any more. */
  async settle(): Promise<void> {
    while (this.#writing.size > 0) await Promise.all(this.#writing);
  }

  /** What was gathered after a failure is not written any more. */
  drop(): void {
    held -= this.#gatheredBytes;
    this.#gatheredBytes = 0;
  }

  #send(): void {
    const bytes = this.#gatheredBytes;
    const written = this.#write(this.#gathered, this.#position, this.#tail)
      .catch((error) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        held -= bytes;
        this.#writing.delete(written);
      });
    this.#tail = written;
    this.#writing.add(written);
    this.#position += bytes;
    this.#gathered = [];
    this.#gatheredBytes = 0;
  }

  async #write(pieces: Uint8Array[], position: number, before: Promise<void>): Promise<void> {
    if (this.#inOrder) {
      await before;
      if (this.#failure !== null) return; // nothing behind a gap
    }
    await writeAt(this.#sink, pieces, position);
  }
}

/** Writes all of them, side by side, from a position on. */
export async function writeAt(sink: ChunkSink, pieces: readonly Uint8Array[], position: number): Promise<void> {
  for (let left = [...pieces], at = position; left.length > 0; ) {
    const first = left[0]!;
    const { bytesWritten } =
      left.length === 1 ? await sink.write(first, 0, first.length, at) : await sink.writev(left, at);
    at += bytesWritten;
    let done = bytesWritten;
    while (left.length > 0 && done >= left[0]!.length) done -= left.shift()!.length;
    if (done > 0) left[0] = left[0]!.subarray(done);
  }
}
