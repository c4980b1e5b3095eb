// The contents of one open file into another: several chunks in flight over pool buffers, holes left out, the tail of an
// O_DIRECT copy padded and cut. Assumes both files are open and the target is empty; closes and removes nothing.

import type { Backend, OpenFile } from "../backend/interface.ts";
import { writeAll } from "../backend/loops.ts";
import type { BufferPool } from "../memory/pool.ts";
import { throwIfAborted } from "../node/abort.ts";
import { ENXIO } from "../node/errno.ts";
import { type FileInfo, isRegular } from "../node/file-info.ts";
import { later } from "../node/loading.ts";

/** Of no use where the kernel copies, and a part of the ring's code: 100 KB that a short program would wait for. */
const memory = later(() => require("../memory/pool.ts") as typeof import("../memory/pool.ts"));

/** What `onProgress` of `copyFile` is given, in bytes. */
export interface CopyProgress {
  /** Bytes done, holes included. */
  bytesCopied: number;
  /** Bytes to do: the size at the start. */
  totalBytes: number;
}

interface ContentOptions {
  /** Bytes of a chunk. */
  chunk: number;
  /** Chunks in flight. */
  depth: number;
  signal: AbortSignal | null;
  onProgress: ((progress: CopyProgress) => void) | null;
}

interface PipelineOptions extends ContentOptions {
  /** Buffers of one chunk each, made when they are asked for first. */
  pool: () => BufferPool;
}

export const DEFAULT_CHUNK: number = 256 * 1024;
/** Copies with chunks of that size and no more in flight share one pool. */
const SHARED_BUFFERS = 16;
const OWN_POSITION = -1;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** What O_DIRECT asks for at most: positions and lengths are multiples of this. */
const DIRECT_UNIT = 4096;

/** Targets from this size on are preallocated. */
const PREALLOCATE_BYTES = 1024 * 1024;
/** Files from this size on, up to what one copy_file_range(2) takes, are copied by the kernel alone where that may be. */
const [KERNEL_BYTES, KERNEL_MAX_BYTES] = [8 * 1024 * 1024, 0x7fff_f000];
/** One at a time: it has one of Bun's two pool threads for as long as it takes. */
let kernelCopies = false;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** Copies everything; the target has the source's length afterwards. Resolves to the bytes copied, of which `onProgress` is told. */
export async function copyContents(
  backend: Backend,
  source: OpenFile,
  target: OpenFile,
  sourceInfo: FileInfo,
  targetInfo: FileInfo,
  { chunk, depth, signal, onProgress }: ContentOptions,
): Promise<number> {
  const isOwn = chunk !== DEFAULT_CHUNK || depth > SHARED_BUFFERS;
  let made: BufferPool | null = null;
  const pool = (): BufferPool => {
    made ??= isOwn ? poolOf(chunk, depth) : sharedPool();
    return made;
  };
  let told = -1;
  const tell =
    onProgress === null
      ? null
      : (progress: CopyProgress) => {
          told = progress.bytesCopied;
          if (!signal?.aborted) onProgress(progress);
        };
  const options = { pool, chunk, depth, signal, onProgress: tell };
  const seekable = isRegular(sourceInfo) && isRegular(targetInfo);
  try {
    // Without a size: pipes, devices, /proc. In order, until the end.
    const bytes = await (!seekable || sourceInfo.size === 0
      ? copyStream(backend, source, target, seekable, options)
      : new Pipeline(backend, source, target, sourceInfo, options).run());
    if (told !== bytes) tell?.({ bytesCopied: bytes, totalBytes: bytes });
    return bytes;
  } finally {
    if (isOwn) (made as BufferPool | null)?.close();
  }
}

async function copyStream(
  backend: Backend,
  source: OpenFile,
  target: OpenFile,
  positioned: boolean,
  { pool, chunk, signal, onProgress }: PipelineOptions,
): Promise<number> {
  using lease = await pool().acquire({ signal: signal ?? undefined });
  const buffer = lease.bytes;
  for (let at = 0; ; ) {
    throwIfAborted(signal);
    const { bytesRead } = await backend.read(source, buffer, 0, chunk, OWN_POSITION);
    if (bytesRead === 0) return at;
    await writeAll(backend, target, buffer.subarray(0, bytesRead), null, undefined, positioned ? at : OWN_POSITION);
    at += bytesRead;
    onProgress?.({ bytesCopied: at, totalBytes: at });
  }
}

class Pipeline {
  readonly #backend: Backend;
  readonly #source: OpenFile;
  readonly #target: OpenFile;
  readonly #options: PipelineOptions;
  readonly #size: number;
  readonly #sparse: boolean;
  /** The next chunk starts here, within data that ends at `#dataEnd`. */
  #next = 0;
  #dataEnd: number;
  /** Where the file really ends: less than its size if it shrank meanwhile. */
  #end: number;
  /** The last byte written is before this. */
  #written = 0;
  #done = 0;
  #failure: { reason: unknown } | null = null;

  constructor(backend: Backend, source: OpenFile, target: OpenFile, info: FileInfo, options: PipelineOptions) {
    this.#backend = backend;
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#size = this.#end = info.size;
    this.#sparse = info.blocks * 512 < info.size;
    this.#dataEnd = this.#sparse && this.#seeks ? 0 : info.size;
  }

  /** Whether holes can be asked for; elsewhere they are seen as chunks of zeros. */
  get #seeks(): boolean {
    return !this.#source.remote && this.#backend.seek !== null;
  }

  async run(): Promise<number> {
    // Only for speed: what is wrong, a full disk for one, the writes will tell.
    const dense = !this.#sparse && this.#size >= PREALLOCATE_BYTES;
    const reserved = dense && (await this.#backend.preallocate(this.#target, this.#size));
    if (reserved) this.#written = this.#size;
    if (this.#isSmall || (reserved && this.#mayHoldThread)) {
      if (await this.#copyInKernel()) return this.#size;
      await this.#backend.ftruncate(this.#target, 0); // from the start: the source has grown or shrunk, or it can't be done
      this.#written = 0;
    }
    const chunks = Math.ceil(this.#size / this.#options.chunk);
    const workers = Math.min(this.#options.depth, chunks);
    await Promise.all(Array.from({ length: workers }, () => this.#work()));
    if (this.#failure !== null) throw this.#failure.reason;
    // A hole at the end, or the padding of O_DIRECT's last chunk.
    if (this.#written !== this.#end) await this.#backend.ftruncate(this.#target, this.#end);
    return this.#end;
  }

  /** Nobody watches or may stop this copy, whose data goes through the cache. */
  get #isPlain(): boolean {
    const { signal, onProgress } = this.#options;
    return !this.#isDirect && !this.#source.bypass && signal === null && onProgress === null;
  }

  /** No dearer for Bun's pool than a read. */
  get #isSmall(): boolean {
    return this.#size <= this.#backend.kernelCopyBytes && !this.#sparse && this.#isPlain;
  }

  /** No server is asked for its data. */
  get #mayHoldThread(): boolean {
    const isLocal = !this.#source.remote && !this.#target.remote;
    const isLong = this.#size >= KERNEL_BYTES && this.#size <= KERNEL_MAX_BYTES;
    return isLocal && isLong && !kernelCopies && this.#isPlain;
  }

  /**
   * copy_file_range of the whole, which no opcode does: on Bun's pool, by `Bun.write` between two descriptors. It copies
   * once where a pipeline copies twice (512 MiB: 167 against 250 ms of CPU), or shares the blocks where the file system
   * can. Returns whether all is done; if not, the pipeline does all of it again.
   */
  async #copyInKernel(): Promise<boolean> {
    const isLong = this.#size >= KERNEL_BYTES;
    if (isLong) kernelCopies = true;
    try {
      return (await Bun.write(Bun.file(this.#target.fd), Bun.file(this.#source.fd))) === this.#size;
    } catch {
      return false; // the pipeline will tell what is wrong
    } finally {
      if (isLong) kernelCopies = false;
    }
  }

  /** One of the chunks in flight. Never rejects: the first failure stops them all, and each ends its own operation. */
  async #work(): Promise<void> {
    const { pool, signal } = this.#options;
    try {
      using lease = await pool().acquire({ signal: signal ?? undefined });
      while (this.#failure === null) {
        throwIfAborted(signal);
        const start = this.#nextChunk();
        if (start >= this.#end) return;
        await this.#copyChunk(lease.bytes, start, this.#next);
      }
    } catch (reason) {
      this.#failure ??= { reason };
    }
  }

  /** Where the next chunk starts; `#next` is its end. At or behind `#end` there is none. */
  #nextChunk(): number {
    if (this.#next >= this.#dataEnd && this.#next < this.#size && this.#sparse && this.#seeks) this.#seekData();
    const start = this.#next;
    this.#next = Math.min(start + this.#options.chunk, this.#dataEnd);
    return start;
  }

  #seekData(): void {
    const seek = (offset: number, whence: number): number => this.#backend.seek!(this.#source, offset, whence);
    const data = seek(this.#next, SEEK_DATA);
    const from = data === ENXIO ? this.#size : data < 0 ? this.#next : Math.min(data, this.#size);
    const hole = data < 0 ? this.#size : seek(from, SEEK_HOLE);
    const aligned = this.#isDirect ? Math.floor(from / DIRECT_UNIT) * DIRECT_UNIT : from;
    const start = from >= this.#size ? from : Math.max(this.#next, aligned);
    this.#advance(start - this.#next);
    this.#next = start;
    const end = hole < 0 ? this.#size : this.#isDirect ? roundUp(hole, DIRECT_UNIT) : hole;
    this.#dataEnd = Math.min(this.#size, end);
  }

  get #isDirect(): boolean {
    return this.#source.direct || this.#target.direct;
  }

  async #copyChunk(buffer: Buffer, start: number, end: number): Promise<void> {
    let filled = 0;
    while (filled < end - start) {
      // O_DIRECT takes whole units only; the read that meets the end of the file comes back shorter.
      const wanted = this.#source.direct ? roundUp(end - start - filled, DIRECT_UNIT) : end - start - filled;
      const { bytesRead } = await this.#backend.read(this.#source, buffer, filled, wanted, start + filled);
      filled += bytesRead;
      if (bytesRead === 0 || (this.#source.direct && filled % DIRECT_UNIT !== 0)) break;
    }
    filled = Math.min(filled, end - start);
    if (filled < end - start) this.#end = Math.min(this.#end, start + filled); // it shrank
    if (filled === 0) return;
    const hole = this.#sparse && !this.#seeks && isZero(buffer, filled);
    if (!hole) await this.#writeChunk(buffer, filled, start);
    this.#advance(filled);
  }

  async #writeChunk(buffer: Buffer, length: number, start: number): Promise<void> {
    let padded = length;
    if (this.#target.direct) {
      padded = roundUp(length, DIRECT_UNIT);
      buffer.fill(0, length, padded);
    }
    await writeAll(this.#backend, this.#target, buffer.subarray(0, padded), null, undefined, start);
    this.#written = Math.max(this.#written, start + padded);
  }

  #advance(bytes: number): void {
    this.#done += bytes;
    if (bytes > 0) this.#options.onProgress?.({ bytesCopied: this.#done, totalBytes: this.#size });
  }
}

/** Whether the buffer's first `length` bytes are zero: the first is, and each equals the one before it. */
function isZero(buffer: Buffer, length: number): boolean {
  return buffer[0] === 0 && buffer.compare(buffer, 0, length - 1, 1, length) === 0;
}

/** Buffers for one copy, or more. */
const poolOf = (size: number, count: number): BufferPool => new (memory().BufferPool)({ size, count }, false);

let shared: BufferPool | null = null;

/** The pool of all copies with the default chunk: 4 MiB, made at the first and kept; a new ring gets a new one. */
function sharedPool(): BufferPool {
  if (shared === null || shared.orphaned) {
    shared?.close();
    shared = poolOf(DEFAULT_CHUNK, SHARED_BUFFERS);
  }
  return shared;
}
