// Reads a file ahead of whoever takes its bytes: several reads in flight, chunks handed out in order. Regular files are
// read in parallel up to the size they had; all else, and what lies behind that size, one read after the other and only
// when it is asked for, since an end counts when all before it has been taken: the file may grow meanwhile.
// How much is read ahead follows how fast it is taken; a reader that stalls holds nothing. Every chunk has memory of its
// own, which the kernel is done with when it is taken. Nothing here keeps a reader that everybody else has dropped.

import type { Backend, OpenFile } from "../backend/interface.ts";
import { clearTimeout, clockMs, setTimeout } from "../node/clock.ts";
import { systemError } from "../node/errors.ts";

/** What orders the operations at a file's own position, and keeps the file open. */
interface Order {
  /** Runs a read now if it has a position of its own, else in its turn. */
  read<T>(position: number | bigint, byteLength: number, run: () => Promise<T>): Promise<T>;
  /** Runs something that reads at the own position after all earlier operations there. */
  readInOrder<T>(run: () => Promise<T>): Promise<T>;
  /** Keeps the file open, but not the handle, until the result is called; `onClose`: somebody closes the handle. */
  keepOpen(onClose?: () => void): () => void;
}

/** An open file as the streams of its handle see it. */
export interface StreamSource {
  backend: Backend;
  file: OpenFile;
  order: Order;
}

interface ReadAheadOptions {
  /** Where to begin; -1 for the file's own position, which then goes along. */
  position: number;
  /** Bytes to read at most; Infinity for all. */
  byteLimit: number;
  /** Bytes of a full chunk. */
  chunkBytes: number;
  /** Called when `take` may have something new. */
  onReady: () => void;
}

/** Bytes of one read, and of all that are in flight or waiting to be taken: 1 MiB stays in the caches. */
const BLOCK_BYTES = 256 * 1024;
const WINDOW_BYTES = 1024 * 1024;
/** Blocks at a time for who asks for chunks of more than a window. */
const WINDOW_OF_LARGE = 2;
/** Chunks that are read one by one before something is loaded to read ahead. */
const WHOLE_FIRST = 16;
/** Chunks below this are copied out of a block: as a view, the smallest of them would keep all of it alive. */
const SMALL_CHUNK_BYTES = 64 * 1024;
/** Who takes nothing for so long has stalled: what was read ahead is given up, and read again when it is asked for. */
const STALL_MS = 50;
const SEEK_SET = 0;
const SEEK_CUR = 1;

/** One read: its memory in chunks, and how much of it is filled. */
interface Block {
  /** Absolute position, or -1 where it can't be known. */
  start: number;
  length: number;
  memory: Buffer[];
  /** Bytes read; -1 while the read is in flight. */
  filled: number;
  /** Bytes taken. */
  taken: number;
  /** Begun before all that lies in front of it was taken: that nothing was there says nothing of the end. */
  isAhead: boolean;
  error: unknown;
}

export class ReadAhead {
  readonly #source: StreamSource;
  readonly #own: boolean;
  readonly #chunkBytes: number;
  readonly #blockBytes: number;
  readonly #maxWindow: number;
  readonly #onReady: () => void;
  readonly #blocks: Block[] = [];
  /** Blocks that may be in flight or wait: doubled while they are taken at once, 0 for who takes them slowly. */
  #window = 1;
  /** Somebody waits for a chunk. */
  #wanted = false;
  /** Where the next read begins; for own positions where the last one ended, Infinity if that can't be known. */
  #next: number;
  /** Bytes that may still be asked for. */
  #left: number;
  /** Up to here a regular file may be read in parallel; 0 otherwise. */
  #parallelEnd = 0;
  #looked = false;
  /** Reads that have filled a chunk. */
  #whole = 0;
  /** Steps under way that come before further reads: the first look, a claim of own positions, a step back. */
  #preparing = 0;
  #reading = 0;
  /** Times that the blocks behind some position were given up. */
  #cuts = 0;
  #ended = false;
  #failure: unknown = null;
  #onSettled: (() => void) | null = null;
  /** When something was last taken, or has arrived. */
  #movedAt = 0;
  /** Looks for a stall. It knows this reader weakly. */
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(source: StreamSource, options: ReadAheadOptions) {
    const { position, byteLimit, chunkBytes, onReady } = options;
    this.#source = source;
    this.#own = position < 0;
    this.#next = this.#own ? Infinity : position;
    this.#left = byteLimit;
    this.#chunkBytes = chunkBytes;
    this.#blockBytes = Math.max(BLOCK_BYTES - (BLOCK_BYTES % chunkBytes), chunkBytes);
    this.#maxWindow = chunkBytes > WINDOW_BYTES ? WINDOW_OF_LARGE : WINDOW_BYTES / BLOCK_BYTES;
    this.#onReady = onReady;
  }

  /** The next chunk; null at the end; undefined if `onReady` is to be waited for. Throws what a read failed with. */
  take(): Buffer | null | undefined {
    const block = this.#blocks[0];
    if (block === undefined || block.filled < 0) {
      if (block === undefined && this.#failure !== null) throw this.#failure;
      if (block === undefined && this.#isOver) return null;
      this.#wanted = true;
      this.#fill();
      return undefined;
    }
    this.#wanted = false;
    const time = clockMs();
    const hasStalled = time - this.#movedAt >= STALL_MS;
    this.#movedAt = time;
    const chunk = this.#chunkOf(block);
    if (block.taken === block.filled) {
      this.#blocks.shift();
      if (!hasStalled) this.#window = Math.min(this.#maxWindow, this.#window * 2 || 1);
    }
    if (hasStalled) this.#window = 0;
    this.#fill();
    if (this.#blocks.length > 0) this.#timer ??= lookLater(this, STALL_MS);
    return chunk;
  }

  /** Nothing is read ahead or being read: the own position is where the bytes that were taken end. */
  get isIdle(): boolean {
    return this.#blocks.length === 0 && this.#reading === 0 && this.#preparing === 0;
  }

  /**
   * Starts nothing more, waits until the kernel is done with all memory, and gives an own position back to what was
   * taken, unless somebody else has moved it on.
   */
  async stop(): Promise<void> {
    const settled = new Promise<void>((resolve) => {
      this.#onSettled = resolve;
    });
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#reading > 0 || this.#preparing > 0) await settled;
    const first = this.#blocks[0];
    this.#blocks.length = 0;
    if (this.#own && first !== undefined && first.start >= 0) {
      await this.#stepBack(this.#next, first.start + first.taken);
    }
  }

  /** What waits, and is not taken, is given up: it can be read again, and may be for a client that never comes back. */
  lookForStall(): void {
    this.#timer = null;
    if (this.#blocks.length === 0 || this.#onSettled !== null) return;
    const idleMs = clockMs() - this.#movedAt;
    // What is in flight may be waited for; a step that is under way, too.
    if (idleMs < STALL_MS || this.#wanted || this.#preparing > 0) {
      this.#timer = lookLater(this, Math.max(1, STALL_MS - idleMs));
      return;
    }
    const { start, taken } = this.#blocks[0]!;
    if (start < 0) return;
    if (!this.#own) return this.#giveUp(start + taken);
    const claimed = this.#next;
    this.#prepare(
      this.#stepBack(claimed, start + taken, () => {
        // Taken meanwhile, it is as before; and so it is where others read behind it, who would leave a gap.
        const first = this.#blocks[0];
        if (first === undefined || first.start !== start || first.taken !== taken || this.#next !== claimed)
          return false;
        this.#giveUp(start + taken);
        return true;
      }),
    );
  }

  #giveUp(position: number): void {
    for (const { length, taken } of this.#blocks) this.#left += length - taken;
    // Where the kernel still writes, the operations keep the memory.
    this.#blocks.length = 0;
    this.#next = position;
    this.#window = 0;
  }

  get #isOver(): boolean {
    return (this.#ended || this.#left <= 0) && this.#preparing === 0;
  }

  #chunkOf(block: Block): Buffer {
    const from = block.taken;
    const length = Math.min(this.#chunkBytes, block.filled - from);
    block.taken += length;
    if (this.#chunkBytes < SMALL_CHUNK_BYTES) return Buffer.copyBytesFrom(block.memory[0]!, from, length);
    const chunk = block.memory.shift()!;
    if (chunk.length === length) return chunk;
    // A little in much memory would keep the rest from being freed.
    return length > chunk.length / 2 ? chunk.subarray(0, length) : Buffer.copyBytesFrom(chunk, 0, length);
  }

  /** Starts what may be started. */
  #fill(): void {
    if (this.#preparing > 0 || this.#onSettled !== null || this.#ended || this.#failure !== null) return;
    if (this.#left <= 0) return;
    if (!this.#looked && !this.#readsFirst) return this.#prepare(this.#look());
    const waiting = this.#blocks.length;
    if (this.#next < this.#parallelEnd) {
      if (waiting >= this.#room) return;
      if (this.#own) return this.#prepare(this.#claim());
      this.#readUpTo(this.#parallelEnd);
    } else if (this.#wanted && waiting === 0 && this.#reading === 0) {
      // Only what is read tells where the next begins, or whether there is a next; and a pipe gives to who comes first.
      this.#readNext();
    }
  }

  /** Where a look is dear, some chunks are read before, as they are wanted: most files end within them. */
  get #readsFirst(): boolean {
    return this.#own && this.#whole < WHOLE_FIRST && this.#source.backend.seekIsDear === true;
  }

  /** Blocks that there may be now. */
  get #room(): number {
    return this.#window > 0 ? this.#window : this.#wanted ? 1 : 0;
  }

  /** A step during which no read is started. */
  #prepare(step: Promise<void>): void {
    this.#preparing++;
    const done = (): void => {
      this.#preparing--;
      if (this.#onSettled !== null) return this.#settle();
      this.#fill();
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
    if (!stats.isFile()) return;
    if (this.#own) {
      // Without lseek it is read at its own position throughout, and only when wanted: nothing could be given back.
      if (backend.seek === null) return;
      this.#next = backend.seek(file, 0, SEEK_CUR); // only a guess while others are at it: each claim looks again
    }
    this.#parallelEnd = Number(stats.size);
  }

  /**
   * Takes the next part of the file for this stream by moving the own position over it, in turn with the handle's other
   * operations there: whoever reads next reads behind it.
   */
  #claim(): Promise<void> {
    const { backend, file, order } = this.#source;
    const cuts = this.#cuts;
    return order.readInOrder(async () => {
      if (file.fd < 0 || this.#onSettled !== null || this.#cuts !== cuts) return;
      const from = backend.seek!(file, 0, SEEK_CUR);
      const each = this.#window > 0 ? this.#blockBytes : this.#chunkBytes;
      const room = (this.#room - this.#blocks.length) * each;
      const length = Math.min(room, this.#parallelEnd - from, this.#left);
      this.#next = from;
      if (length <= 0) return;
      const end = backend.seek!(file, length, SEEK_CUR);
      if (end < 0) throw systemError(end, "read");
      // Another process with the same open file may have moved it in between: what was moved over is ours.
      this.#next = end - length;
      this.#readUpTo(end);
    });
  }

  #readUpTo(end: number): void {
    const each = this.#window > 0 ? this.#blockBytes : this.#chunkBytes;
    while (this.#next < end && this.#left > 0 && this.#blocks.length < this.#room) {
      this.#readAt(this.#next, Math.min(each, end - this.#next, this.#left), true);
    }
  }

  #readAt(start: number, length: number, isAhead: boolean): void {
    const { backend, file } = this.#source;
    const block = this.#newBlock(start, length, isAhead);
    const { memory } = block;
    this.#next = start + length;
    this.#await(
      block,
      memory.length === 1 ? backend.read(file, memory[0]!, 0, length, start) : backend.readv(file, memory, start),
    );
  }

  /** Reads once where the last read has ended. */
  #readNext(): void {
    const { backend, file, order } = this.#source;
    const length = Math.min(this.#chunkBytes, this.#left);
    if (!this.#own) return this.#readAt(this.#next, length, false);
    const block = this.#newBlock(-1, length, false);
    const read = order.read(-1, length, () => {
      if (this.#next < Infinity && backend.seek !== null) block.start = backend.seek(file, 0, SEEK_CUR);
      return backend.read(file, block.memory[0]!, 0, length, -1);
    });
    this.#await(block, read);
  }

  #newBlock(start: number, length: number, isAhead: boolean): Block {
    const memory: Buffer[] = [];
    const each = this.#chunkBytes < SMALL_CHUNK_BYTES ? length : this.#chunkBytes;
    for (let rest = length; rest > 0; rest -= each) memory.push(Buffer.allocUnsafeSlow(Math.min(each, rest)));
    const block = { start, length, memory, filled: -1, taken: 0, isAhead, error: null };
    this.#left -= length;
    this.#blocks.push(block);
    return block;
  }

  #await(block: Block, read: Promise<{ bytesRead: number }>): void {
    this.#reading++;
    read.then(
      ({ bytesRead }) => this.#arrived(block, bytesRead),
      (error) => {
        block.error = error;
        this.#arrived(block, 0);
      },
    );
  }

  /** A read has ended: what is first in order and complete can be taken. */
  #arrived(block: Block, bytesRead: number): void {
    this.#reading--;
    this.#movedAt = clockMs();
    block.filled = bytesRead;
    if (bytesRead >= this.#chunkBytes) this.#whole++;
    // A block that was given up says nothing of where to go on.
    if (this.#own && block.start >= 0 && this.#blocks.includes(block))
      this.#next = Math.max(this.#next, block.start + bytesRead);
    if (this.#onSettled !== null) return this.#settle();
    const gap = this.#blocks.findIndex(({ filled, length }) => filled < length);
    if (gap >= 0 && this.#blocks[gap]!.filled >= 0) this.#cutAt(gap);
    const first = this.#blocks[0];
    this.#fill();
    if (first === undefined ? this.#isOver || this.#failure !== null : first.filled > 0) this.#onReady();
  }

  /** A block is shorter than was asked for: the end, a failure, or a file that gives little at a time. */
  #cutAt(index: number): void {
    const block = this.#blocks[index]!;
    const { filled, start, length } = block;
    // What was read behind a gap is no use. The kernel may still write there: the operations keep that memory.
    const later = this.#blocks.splice(filled === 0 ? index : index + 1);
    this.#left += length - filled;
    for (const other of later) if (other !== block) this.#left += other.length;
    block.length = filled;
    this.#cuts++;
    if (block.error !== null) this.#failure = block.error;
    else if (filled === 0 && block.isAhead) this.#parallelEnd = Math.min(this.#parallelEnd, start);
    else if (filled === 0) this.#ended = true;
    const claimed = this.#next;
    const wasClaimed = this.#next < Infinity && this.#next >= start + length;
    if (start < 0) return;
    this.#next = start + filled;
    if (this.#own && wasClaimed) this.#prepare(this.#stepBack(claimed, start + filled));
  }

  /** Sets the own position back from what was claimed to what was used, if nobody has moved it since. */
  #stepBack(claimed: number, used: number, stillWanted: () => boolean = () => true): Promise<void> {
    const { backend, file, order } = this.#source;
    return order.readInOrder(async () => {
      if (file.fd < 0 || backend.seek === null || backend.seek(file, 0, SEEK_CUR) !== claimed) return;
      if (stillWanted()) backend.seek(file, used, SEEK_SET);
    });
  }

  #settle(): void {
    if (this.#reading === 0 && this.#preparing === 0) this.#onSettled!();
  }
}

/** A timer that keeps neither the reader nor the process. */
function lookLater(ahead: ReadAhead, ms: number): ReturnType<typeof setTimeout> {
  const timer = setTimeout(look, ms, new WeakRef(ahead));
  timer.unref();
  return timer;
}

function look(reader: WeakRef<ReadAhead>): void {
  reader.deref()?.lookForStall();
}
