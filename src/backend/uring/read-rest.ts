// What a chain that reads a file leaves over: large files, read in chunks by io-wq threads into memory mapped for the result;
// and files without a size (FIFO, /proc), read until their end. The file stays open in its direct descriptor, so nothing
// is read twice and no other file can slip in.

import type { BigIntStats, Stats } from "node:fs";
import { stableAddress } from "../../kernel/address.ts";
import { type Address, held, sharedMemory } from "../../kernel/shim.ts";
import { Opcode, SqeFlag } from "../../kernel/sqe.ts";
import { ESPIPE } from "../../node/errno.ts";
import { systemError } from "../../node/errors.ts";
import { fileTooLarge, MAX_FILE_BYTES } from "../../node/limits.ts";
import type { RingThread } from "../../ring/context.ts";
import { READ_BYTES, type ReadBuffer } from "../../ring/read-buffer.ts";
import { OpenFile, type Path } from "../interface.ts";
import { close } from "./close.ts";
import { run, type Source } from "./linked.ts";
import { fstat, stat } from "./statx.ts";

const OWN_POSITION = -1;
/** Bytes of one chunk, and chunks in flight (measured: docs/architecture.md D8b). */
const CHUNK_BYTES = 1024 * 1024;
const CHUNKS = 4;
/** Results larger than what is copied inline are mapped, with huge pages, instead of allocated. */
const MAPPED_BYTES = 1024 * 1024;
/** Looking for the end of a file takes a small chunk first (over 1000 bytes: it doesn't move). */
const FIRST_LOOK_BYTES = 4096;

/** The reading of one open file to its end; once. */
export class Rest {
  readonly #t: RingThread;
  readonly #source: Source;
  readonly #encoding: BufferEncoding | null;
  readonly #signal: AbortSignal | null;
  /** What has been read, and the bytes of it. */
  #parts: Buffer[] = [];
  #length = 0;

  constructor(t: RingThread, source: Source, encoding: BufferEncoding | null, signal: AbortSignal | null) {
    this.#t = t;
    this.#source = source;
    this.#encoding = encoding;
    this.#signal = signal;
  }

  /** All of a file that nothing was read from yet. `size`: 0 where nobody has looked, or there is none (/proc). */
  async all(file: OpenFile, size: number): Promise<Buffer | string> {
    if (size > MAX_FILE_BYTES) throw fileTooLarge(size);
    if (size > 0) return this.#sized(size);
    if (this.#t.native.seekable(file.fd) !== 0) return this.#unsized(true);
    // A small file needs no look at its size, which costs as much as a read.
    const first = await this.#chunk(0, READ_BYTES);
    if (first === null) return this.#result();
    this.#add(first);
    if (first.length === READ_BYTES) {
      const known = regularSize(await fstat(file, false));
      if (known > MAX_FILE_BYTES) throw fileTooLarge(known);
      if (known > first.length) return this.#sized(known);
    }
    return this.#unsized(false);
  }

  /**
   * Reads on from a direct descriptor whose first READ brought `first` bytes into the read buffer, and the second `second` more:
   * the next ones of a pipe or terminal. In a file with positions they may be the same once more, since the kernel moves
   * the file's own position only for reads that complete at once: there, reading goes on behind the first.
   */
  async behind(path: Path, buffer: ReadBuffer, first: number, second: number): Promise<Buffer | string> {
    if (first > 0) this.#add(Buffer.from(buffer.bytes.subarray(0, first)));
    const { seekable, size } = await this.#look(path);
    if (size > MAX_FILE_BYTES) throw fileTooLarge(size);
    if (seekable && size > first) return this.#sized(size);
    if (!seekable && second > 0) this.#add(Buffer.from(buffer.bytes.subarray(READ_BYTES, READ_BYTES + second)));
    return this.#unsized(!seekable);
  }

  #add(part: Buffer): void {
    this.#parts.push(part);
    this.#length += part.length;
  }

  /** Whether a direct descriptor's file has positions, and its size if it is a regular one. */
  async #look(path: Path): Promise<{ seekable: boolean; size: number }> {
    const t = this.#t;
    const source = this.#source;
    if (t.setup.opcodes[Opcode.FIXED_FD_INSTALL] === 1) {
      const fd = await run(t, Opcode.FIXED_FD_INSTALL, "read", 0, source, 0, 0, 0, null, null);
      if (fd >= 0) {
        const file = held(t.native, new OpenFile(fd));
        try {
          const seekable = t.native.seekable(fd) === 0;
          const cell = t.cells.acquire();
          file.remote = t.mounts.any && t.mounts.holdsFile(fd, cell);
          t.cells.release(cell);
          if (file.remote) source.sqeFlag |= SqeFlag.ASYNC;
          return { seekable, size: seekable ? regularSize(await fstat(file, false)) : 0 };
        } finally {
          await close(file);
        }
      }
    }
    // Before 6.8 the descriptor itself says no more than that it is a pipe's, which takes no advice.
    const advised = await run(t, Opcode.FADVISE, "read", 0, source, 0, 0, 0, null, null);
    if (advised === ESPIPE) return { seekable: false, size: 0 };
    // The rest only the path can be asked, which may be another file's by now: a hint, what is read is what the descriptor gives.
    try {
      const stats = await stat(path, false);
      return { seekable: stats.isFile(), size: regularSize(stats) };
    } catch {
      return { seekable: true, size: 0 };
    }
  }

  /** Reads a file whose size is probably `size`: several chunks at once, straight into the result. */
  async #sized(size: number): Promise<Buffer | string> {
    const t = this.#t;
    const source = this.#source;
    const target = allocate(t, size, (source.sqeFlag & SqeFlag.ASYNC) !== 0);
    let next = 0;
    for (const part of this.#parts) {
      target.bytes.set(part, next);
      next += part.length;
    }
    const memory = target.isOwned ? target.bytes : null;
    let fileEnd = size;
    let failure: unknown = null;
    const worker = async (): Promise<void> => {
      while (next < fileEnd && failure === null) {
        const start = next;
        next = Math.min(size, start + CHUNK_BYTES);
        let done = start;
        const stop = next;
        while (done < stop) {
          const address = target.address + done;
          // Never here: what costs is not the copy, but the new memory, whose first huge pages take milliseconds.
          const flag = !target.isOwned ? SqeFlag.ASYNC : t.placement.transfer(stop - done);
          const length = stop - done;
          const res = await run(t, Opcode.READ, "read", flag, source, done, address, length, memory, this.#signal);
          if (res < 0) throw systemError(res, "read");
          if (res === 0) {
            fileEnd = Math.min(fileEnd, done); // it shrank
            break;
          }
          done += res;
        }
      }
    };
    const workers = Array.from({ length: CHUNKS }, () => worker().catch((error: unknown) => (failure ??= error)));
    await Promise.all(workers); // also after a failure: the kernel may still write into the result
    if (failure !== null) {
      target.release();
      throw failure;
    }
    this.#parts = [resultOf(target, fileEnd)];
    this.#length = fileEnd;
    return fileEnd < size ? this.#result() : this.#unsized(false);
  }

  /**
   * Reads what is behind the expected end: nothing, unless the file grew or has no size (/proc). Of a `stream`, which has no
   * positions, all that comes.
   */
  async #unsized(stream: boolean): Promise<Buffer | string> {
    let chunk = stream ? READ_BYTES : FIRST_LOOK_BYTES;
    for (;;) {
      const part = await this.#chunk(stream ? OWN_POSITION : this.#length, chunk);
      if (part === null) return this.#result();
      this.#add(part);
      if (this.#length > MAX_FILE_BYTES) throw fileTooLarge(this.#length);
      chunk = stream ? Math.min(CHUNK_BYTES, chunk * 2) : CHUNK_BYTES;
    }
  }

  /** One read of up to `length` bytes into memory that outlives a Worker; null at the end of the file. */
  async #chunk(position: number, length: number): Promise<Buffer | null> {
    const t = this.#t;
    const memory = t.memory.acquire(length);
    try {
      const { address } = memory;
      const res = await run(t, Opcode.READ, "read", 0, this.#source, position, address, length, null, this.#signal);
      if (res < 0) throw systemError(res, "read");
      return res === 0 ? null : Buffer.copyBytesFrom(memory.bytes, 0, res);
    } finally {
      memory.release(); // its CQE has come, or the ring is over, and with it all of its memory
    }
  }

  #result(): Buffer | string {
    const parts = this.#parts;
    const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts, this.#length);
    if (this.#encoding === null) return bytes;
    const { MAX_STRING_LENGTH } = process.getBuiltinModule("node:buffer").constants;
    if (bytes.length > MAX_STRING_LENGTH)
      throw Object.assign(
        new Error(`Cannot create a string longer than 0x${MAX_STRING_LENGTH.toString(16)} characters`),
        { code: "ERR_STRING_TOO_LONG" },
      );
    return bytes.toString(this.#encoding);
  }
}

function regularSize(stats: Stats | BigIntStats): number {
  return stats.isFile() ? Number(stats.size) : 0;
}

/** Memory for a result that is being read into: JavaScript gets hold of it only when the kernel is done. */
interface Target {
  address: Address;
  bytes: Buffer;
  /** The memory is JavaScript's, for what a local disk soon answers. */
  isOwned: boolean;
  /** The ring's, for what may never come: the result is a copy. Else it is mapped for the result. */
  isLent: boolean;
  /** The kernel is done with it. */
  release(): void;
}

function allocate(t: RingThread, size: number, isRemote: boolean): Target {
  const { native, ring } = t;
  const address = size > MAPPED_BYTES ? native.regionNew(ring.address, size, 1, 1) : null;
  if (address !== null) {
    const region = native.regionAt(ring.address, address)!;
    const bytes = Buffer.from(sharedMemory(native, ring.release, region, 0, address, size));
    // A closed ring has let it go; a stopped one may still write to it.
    const release = (): void => {
      if (!ring.closed && ring.poisoned === null) native.regionFree(ring.address, address);
    };
    return { address, bytes, isOwned: false, isLent: false, release };
  }
  if (isRemote) {
    const memory = t.memory.acquire(size);
    return {
      address: memory.address,
      bytes: memory.bytes,
      isOwned: false,
      isLent: true,
      release: () => memory.release(),
    };
  }
  const bytes = Buffer.allocUnsafeSlow(Math.max(1024, size));
  return { address: stableAddress(bytes, 0), bytes, isOwned: true, isLent: false, release: () => {} };
}

/** The first `length` bytes, which are the caller's from here on. */
function resultOf({ bytes, isLent, release }: Target, length: number): Buffer {
  const result = isLent ? Buffer.copyBytesFrom(bytes, 0, length) : bytes;
  release();
  return length === result.length ? result : result.subarray(0, length);
}
