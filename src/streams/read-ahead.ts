// Reads a file ahead of whoever takes its bytes: several reads in flight, chunks handed out in order, at most a window
// of them in memory. Regular files are read in parallel up to the size they had; all else, and what lies behind that
// size, one read after the other. Every chunk has memory of its own, which the kernel is done with when it is taken.

import type { Backend, OpenFile } from "../backend/interface.ts";
import type { Turns } from "../handle/order.ts";
import { systemError } from "../node/errors.ts";
import { existingThread } from "../ring/context.ts";
import { ChunkMemory } from "./chunk-memory.ts";

/** An open file as the streams of its handle see it. */
export interface StreamSource {
  backend: Backend;
  file: OpenFile;
  turns: Turns;
}

export interface ReadAheadOptions {
  /** Where to begin; -1 for the file's own position, which then goes along. */
  position: number;
  /** Bytes to read at most; Infinity for all. */
  byteLimit: number;
  /** Bytes of a full chunk. */
  chunkBytes: number;
  /** Called when `take` may have something new. */
  onReady: () => void;
}

/** Bytes of one read, and how many are in flight or waiting to be taken: a window of 1 MiB stays in the caches. */
const PIECE_BYTES = 256 * 1024;
const WINDOW = 4;
/** The same for who asks for chunks of more than a window. */
const WINDOW_OF_LARGE = 2;
/** Chunks below this are copied out of a piece: as a view, the smallest of them would keep all of it alive. */
const SMALL_CHUNK_BYTES = 64 * 1024;
/** Behind the end there is usually nothing: the first look takes little memory. */
const TAIL_BYTES = 4096;
const SEEK_SET = 0;
const SEEK_CUR = 1;

/** One read: its memory in chunks, and how much of it is filled. */
interface Piece {
  /** Absolute position, or -1 where it can't be known. */
  start: number;
  length: number;
  memory: Buffer[];
  /** Bytes read; -1 while the read is in flight. */
  filled: number;
  /** Bytes taken. */
  taken: number;
  error: unknown;
}

/** Moves the own position of a file, as lseek(2) does. */
type Seek = (offset: number, whence: number) => number;

export class ReadAhead {
  readonly #source: StreamSource;
  readonly #own: boolean;
  readonly #chunkBytes: number;
  readonly #pieceBytes: number;
  readonly #window: number;
  readonly #onReady: () => void;
  readonly #memory: ChunkMemory = new ChunkMemory();
  readonly #pieces: Piece[] = [];
  /** Where the next read begins; for own positions where the last one ended, Infinity if that can't be known. */
  #next: number;
  /** Bytes that may still be asked for. */
  #left: number;
  /** Up to here a regular file may be read in parallel; 0 otherwise. */
  #parallelEnd = 0;
  #regular = false;
  #tailBytes = TAIL_BYTES;
  #seek: Seek | null = null;
  #looked = false;
  /** Steps under way that come before further reads: the first look, a claim of own positions, a step back. */
  #preparing = 0;
  #reading = 0;
  /** Times that the pieces behind some position were given up. */
  #cuts = 0;
  #ended = false;
  #failure: unknown = null;
  #onSettled: (() => void) | null = null;

  constructor(source: StreamSource, options: ReadAheadOptions) {
    const { position, byteLimit, chunkBytes, onReady } = options;
    this.#source = source;
    this.#own = position < 0;
    this.#next = this.#own ? Infinity : position;
    this.#left = byteLimit;
    this.#chunkBytes = chunkBytes;
    this.#pieceBytes = Math.max(PIECE_BYTES - (PIECE_BYTES % chunkBytes), chunkBytes);
    this.#window = chunkBytes > WINDOW * PIECE_BYTES ? WINDOW_OF_LARGE : WINDOW;
    this.#onReady = onReady;
  }

  /** The next chunk; null at the end; undefined if `onReady` is to be waited for. Throws what a read failed with. */
  take(): Buffer | null | undefined {
    const piece = this.#pieces[0];
    if (piece === undefined || piece.filled < 0) {
      if (piece === undefined && this.#failure !== null) throw this.#failure;
      if (piece === undefined && this.#isOver) {
        this.#memory.close();
        return null;
      }
      this.#fill(true);
      return undefined;
    }
    const chunk = this.#chunkOf(piece);
    if (piece.taken === piece.filled) this.#pieces.shift();
    this.#fill(false);
    return chunk;
  }

  /** Nothing is read ahead or being read: the own position is where the bytes that were taken end. */
  get isIdle(): boolean {
    return this.#pieces.length === 0 && this.#reading === 0 && this.#preparing === 0;
  }

  /**
   * Starts nothing more, waits until the kernel is done with all memory, and gives an own position back to what was
   * taken, unless somebody else has moved it on.
   */
  async stop(): Promise<void> {
    const settled = new Promise<void>((resolve) => {
      this.#onSettled = resolve;
    });
    if (this.#reading > 0 || this.#preparing > 0) await settled;
    this.#memory.close();
    const first = this.#pieces[0];
    this.#pieces.length = 0;
    if (first !== undefined && first.start >= 0 && this.#seek !== null) {
      await this.#stepBack(this.#next, first.start + first.taken);
    }
  }

  get #isOver(): boolean {
    return (this.#ended || this.#left <= 0) && this.#preparing === 0;
  }

  #chunkOf(piece: Piece): Buffer {
    const from = piece.taken;
    const length = Math.min(this.#chunkBytes, piece.filled - from);
    piece.taken += length;
    if (this.#chunkBytes < SMALL_CHUNK_BYTES) return Buffer.copyBytesFrom(piece.memory[0]!, from, length);
    const chunk = piece.memory.shift()!;
    if (chunk.length === length) return chunk;
    // A little in much memory would keep the rest from being freed.
    return length > chunk.length / 2 ? chunk.subarray(0, length) : Buffer.copyBytesFrom(chunk, 0, length);
  }

  /** Starts what may be started. `wanted`: somebody waits, so that also a pipe may be asked. */
  #fill(wanted: boolean): void {
    if (this.#preparing > 0 || this.#onSettled !== null || this.#ended || this.#failure !== null) return;
    if (this.#left <= 0) return;
    if (!this.#looked) return this.#prepare(this.#look());
    const waiting = this.#pieces.length;
    if (this.#next < this.#parallelEnd) {
      if (waiting >= this.#window) return;
      if (this.#own) return this.#prepare(this.#claim());
      this.#readUpTo(this.#parallelEnd);
    } else if (this.#reading === 0 && (wanted ? waiting === 0 : this.#regular && waiting < this.#window)) {
      // One at a time: only what is read tells where the next begins, or whether there is a next.
      this.#readNext();
    }
  }

  /** A step during which no read is started. */
  #prepare(step: Promise<void>): void {
    this.#preparing++;
    const done = (): void => {
      this.#preparing--;
      if (this.#onSettled !== null) return this.#settle();
      this.#fill(true);
      if (this.#isOver || this.#failure !== null) this.#onReady();
    };
    step.then(done, (error) => {
      this.#failure ??= error;
      done();
    });
  }

  /** What kind of file this is, how long, and where its own position is. */
  async #look(): Promise<void> {
    const { backend, file } = this.#source;
    const stats = await backend.fstat(file, false);
    this.#looked = true;
    this.#regular = stats.isFile();
    if (!this.#regular) return;
    const size = Number(stats.size);
    if (size === 0) this.#tailBytes = this.#chunkBytes; // as /proc says
    if (this.#own) {
      // Another backend has no lseek: there the file is read at its own position throughout.
      const native = backend.name === "io_uring" ? existingThread()?.native : undefined;
      if (native === undefined) return;
      this.#seek = (offset, whence) => native.seek(file.fd, offset, whence);
      this.#next = this.#seek(0, SEEK_CUR); // only a guess while others are at it: each claim looks again
    }
    this.#parallelEnd = size;
  }

  /**
   * Takes the next part of the file for this stream by moving the own position over it, in turn with the handle's other
   * operations there: whoever reads next reads behind it.
   */
  #claim(): Promise<void> {
    const { file, turns } = this.#source;
    const cuts = this.#cuts;
    return turns.readInOrder(async () => {
      if (file.fd < 0 || this.#onSettled !== null || this.#cuts !== cuts) return;
      const from = this.#seek!(0, SEEK_CUR);
      const room = (this.#window - this.#pieces.length) * this.#pieceBytes;
      const length = Math.min(room, this.#parallelEnd - from, this.#left);
      this.#next = from;
      if (length <= 0) return;
      const end = this.#seek!(length, SEEK_CUR);
      if (end < 0) throw systemError(end, "read");
      // Another process with the same open file may have moved it in between: what was moved over is ours.
      this.#next = end - length;
      this.#readUpTo(end);
    });
  }

  #readUpTo(end: number): void {
    while (this.#next < end && this.#left > 0 && this.#pieces.length < this.#window) {
      this.#readAt(this.#next, Math.min(this.#pieceBytes, end - this.#next, this.#left));
    }
  }

  #readAt(start: number, length: number): void {
    const { backend, file } = this.#source;
    const piece = this.#newPiece(start, length);
    const { memory } = piece;
    this.#next = start + length;
    this.#await(
      piece,
      memory.length === 1 ? backend.read(file, memory[0]!, 0, length, start) : backend.readv(file, memory, start),
    );
  }

  /** Reads once where the last read has ended. */
  #readNext(): void {
    const { backend, file, turns } = this.#source;
    const length = Math.min(this.#regular ? this.#tailBytes : Infinity, this.#chunkBytes, this.#left);
    this.#tailBytes *= 4;
    if (!this.#own) return this.#readAt(this.#next, length);
    const piece = this.#newPiece(-1, length);
    const read = turns.read(-1, length, () => {
      if (this.#seek !== null) piece.start = this.#seek(0, SEEK_CUR);
      return backend.read(file, piece.memory[0]!, 0, length, -1);
    });
    this.#await(piece, read);
  }

  #newPiece(start: number, length: number): Piece {
    const memory: Buffer[] = [];
    const each = this.#chunkBytes < SMALL_CHUNK_BYTES ? length : this.#chunkBytes;
    for (let rest = length; rest > 0; rest -= each) memory.push(this.#memory.take(Math.min(each, rest)));
    const piece = { start, length, memory, filled: -1, taken: 0, error: null };
    this.#left -= length;
    this.#pieces.push(piece);
    return piece;
  }

  #await(piece: Piece, read: Promise<{ bytesRead: number }>): void {
    this.#reading++;
    read.then(
      ({ bytesRead }) => this.#arrived(piece, bytesRead),
      (error) => {
        piece.error = error;
        this.#arrived(piece, 0);
      },
    );
  }

  /** A read has ended: what is first in order and complete can be taken. */
  #arrived(piece: Piece, bytesRead: number): void {
    this.#reading--;
    piece.filled = bytesRead;
    // A piece that was given up says nothing of where to go on.
    if (this.#own && piece.start >= 0 && this.#pieces.includes(piece))
      this.#next = Math.max(this.#next, piece.start + bytesRead);
    if (this.#onSettled !== null) return this.#settle();
    const gap = this.#pieces.findIndex(({ filled, length }) => filled < length);
    if (gap >= 0 && this.#pieces[gap]!.filled >= 0) this.#cutAt(gap);
    const first = this.#pieces[0];
    this.#fill(first === undefined);
    if (first === undefined ? this.#isOver || this.#failure !== null : first.filled > 0) this.#onReady();
  }

  /** A piece is shorter than was asked for: the end, a failure, or a file that gives little at a time. */
  #cutAt(index: number): void {
    const piece = this.#pieces[index]!;
    const { filled, start, length } = piece;
    // What was read behind a gap is no use. The kernel may still write there: the operations keep that memory.
    const later = this.#pieces.splice(filled === 0 ? index : index + 1);
    this.#left += length - filled;
    for (const other of later) if (other !== piece) this.#left += other.length;
    piece.length = filled;
    this.#cuts++;
    if (piece.error !== null) this.#failure = piece.error;
    else if (filled === 0) this.#ended = true;
    const claimed = this.#next;
    const wasClaimed = this.#next < Infinity && this.#next >= start + length;
    if (start < 0) return;
    this.#next = start + filled;
    if (this.#own && wasClaimed) this.#prepare(this.#stepBack(claimed, start + filled));
  }

  /** Sets the own position back from what was claimed to what was used, if nobody has moved it since. */
  #stepBack(claimed: number, used: number): Promise<void> {
    const { file, turns } = this.#source;
    return turns.readInOrder(async () => {
      if (file.fd >= 0 && this.#seek!(0, SEEK_CUR) === claimed) this.#seek!(used, SEEK_SET);
    });
  }

  #settle(): void {
    if (this.#reading === 0 && this.#preparing === 0) this.#onSettled!();
  }
}
