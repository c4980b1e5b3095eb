// file: a lazy reference to a file, as Bun.file is, whose reading never holds the JavaScript thread, with what BunFile lacks: appending,
// ranges, writers whose backpressure is honest.
// Opens nothing before it is asked for something, and nothing stays open but what a stream or a writer needs.

import type { Stats } from "node:fs";
import { statSync } from "node:fs";
import { currentBackend } from "../backend/choose.ts";
import { open } from "../fs/open.ts";
import { FileHandle } from "../handle/file-handle.ts";
import { invalidArgType, validateInteger, validateObject } from "../node/arguments.ts";
import { toPath } from "../node/path.ts";
import { rangeOf } from "./conditional.ts";
import { piecesOf, type Writable, write } from "./write.ts";

const CHUNK_BYTES = 256 * 1024;
const HIGH_WATER_MARK = 1024 * 1024;

/** How `file(path).writer()` opens and writes. */
export interface FileWriterOptions {
  /** Goes behind what is there (default false: replaces it). */
  append?: boolean | undefined;
  /** Bytes that may wait before `write` makes its caller wait (default 1 MiB). */
  highWaterMark?: number | undefined;
  /** `flush()` and `end()` sync, too (default false). */
  flush?: boolean | undefined;
}

/** A part of a file for an answer with status 206. */
export interface FileRange {
  file: UringFile;
  /** Value of Content-Range. */
  contentRange: string;
}

/** A file by its path, descriptor or handle. The descriptor and the handle stay the caller's. */
export function file(
  target: string | URL | Uint8Array | number | FileHandle,
  options: { type?: string } = {},
): UringFile {
  validateObject(options, "options");
  if (typeof target === "number") validateInteger(target, "fd", 0);
  const source = typeof target === "number" || target instanceof FileHandle ? target : toPath(target).toString();
  return new UringFile(source, options.type, 0, Number.POSITIVE_INFINITY);
}

/**
 * A file by its path, descriptor or handle, read and written without the JavaScript thread waiting. Made by
 * `file()`; nothing is opened before it is asked for.
 */
export class UringFile implements AsyncIterable<Uint8Array<ArrayBuffer>> {
  readonly #source: string | number | FileHandle;
  readonly #start: number;
  /** Exclusive; Infinity: the file's end, wherever it is then. */
  readonly #end: number;
  /** Media type: as given, or by the name's ending. */
  readonly type: string;

  /** Made by `file()` and `slice()`. */
  constructor(source: string | number | FileHandle, type: string | undefined, start: number, end: number) {
    this.#source = source;
    this.#start = start;
    this.#end = end;
    this.type = type ?? (typeof source === "string" ? Bun.file(source).type : "application/octet-stream");
  }

  /** The path; undefined for a descriptor or handle. */
  get name(): string | undefined {
    return typeof this.#source === "string" ? this.#source : undefined;
  }

  /** Bytes now, by a call that may wait for a file server (`stat()` does not); 0 where there is none. */
  get size(): number {
    const whole = this.#statNow()?.size ?? 0;
    return Math.max(0, Math.min(whole, this.#end) - this.#start);
  }

  /** Milliseconds since 1970, in the same way. */
  get lastModified(): number {
    return Math.floor(this.#statNow()?.mtimeMs ?? 0);
  }

  #statNow(): Stats | undefined {
    const source = this.#source;
    const path =
      typeof source === "string" ? source : `/proc/self/fd/${typeof source === "number" ? source : source.fd}`;
    return statSync(path, { throwIfNoEntry: false });
  }

  /** A part, counted as Blob's slice counts: from the end where negative. */
  slice(start = 0, end: number = Number.POSITIVE_INFINITY, type: string = this.type): UringFile {
    const length = start < 0 || end < 0 ? this.size : this.#end - this.#start;
    const from = start < 0 ? Math.max(0, length + start) : start;
    const to = end < 0 ? Math.max(0, length + end) : end;
    const first = Math.min(this.#start + from, this.#end);
    return new UringFile(this.#source, type, first, Math.max(first, Math.min(this.#end, this.#start + to)));
  }

  /** The part that a Range header asks for (RFC 9110 14.2); null: all of it is to be sent. Rejects with RangeError for 416. */
  async range(header: string | null): Promise<FileRange | null> {
    if (header === null) return null;
    const { size } = await this.#sized();
    const decision = rangeOf(header, size);
    if (decision.status === 416) throw new RangeError(`bytes */${size}`);
    if (decision.status !== 206) return null;
    const { start, end } = decision;
    return { file: this.slice(start, end), contentRange: `bytes ${start}-${end - 1}/${size}` };
  }

  async #sized(): Promise<{ size: number }> {
    const { size } = await this.stat();
    return { size: Math.max(0, Math.min(size, this.#end) - this.#start) };
  }

  /** The file's Stats; rejects with ENOENT where nothing is there. */
  stat(): Promise<Stats> {
    return this.#with(async (handle) => handle.stat() as Promise<Stats>);
  }

  /** Whether it is there and is a file, as `Bun.file(path).exists()`. */
  async exists(): Promise<boolean> {
    try {
      return (await this.stat()).isFile();
    } catch {
      return false;
    }
  }

  /** Removes the name; a descriptor or handle has none: ERR_INVALID_ARG_TYPE. */
  async delete(): Promise<void> {
    await currentBackend().unlink(this.#path("delete"));
  }

  /** The whole contents, or those of the slice. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this) pieces.push(piece);
    return Buffer.concat(pieces) as Uint8Array<ArrayBuffer>;
  }

  /** The whole contents as an ArrayBuffer of their own. */
  async arrayBuffer(): Promise<ArrayBuffer> {
    const { buffer, byteOffset, byteLength } = await this.bytes();
    return buffer.slice(byteOffset, byteOffset + byteLength);
  }

  /** The whole contents as UTF-8, without a byte order mark. */
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  /** The contents parsed as JSON; rejects with a SyntaxError. */
  async json(): Promise<any> {
    return JSON.parse(await this.text());
  }

  /** Writes behind what is there; makes the file and its folders. Resolves to the bytes written. */
  append(data: Writable): Promise<number> {
    return write(this.#path("append"), data, { append: true });
  }

  /** A stream of bytes, read as its consumer asks; `start` and `end` (exclusive) are within this file or slice. */
  stream({ start = 0, end }: { start?: number; end?: number } = {}): ReadableStream<Uint8Array<ArrayBuffer>> {
    const chunks = this.slice(start, end)[Symbol.asyncIterator]();
    return new ReadableStream(
      {
        async pull(controller) {
          const { done, value } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          await chunks.return?.(undefined);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** A writer; `write` resolves to true once less than `highWaterMark` waits. */
  writer(options: FileWriterOptions = {}): FileWriter {
    return new FileWriter(this.#path("writer"), options);
  }

  /** The bytes, a chunk at a time: `new Response(file(path))` and `for await` take them so. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const handle = await this.#open();
    try {
      for (let at = this.#start; at < this.#end; ) {
        const chunk = new Uint8Array(Math.min(CHUNK_BYTES, this.#end - at));
        const { bytesRead } = await handle.read(chunk, 0, chunk.length, at);
        if (bytesRead === 0) return;
        at += bytesRead;
        yield bytesRead === chunk.length ? chunk : chunk.subarray(0, bytesRead);
      }
    } finally {
      await this.#letGo(handle);
    }
  }

  async #with<T>(use: (handle: FileHandle) => Promise<T>): Promise<T> {
    const handle = await this.#open();
    try {
      return await use(handle);
    } finally {
      await this.#letGo(handle);
    }
  }

  /** The caller's handle, or one of our own: a descriptor's by its path, so that closing it leaves the caller's open. */
  async #open(): Promise<FileHandle> {
    const source = this.#source;
    if (source instanceof FileHandle) return source;
    return open(typeof source === "number" ? `/proc/self/fd/${source}` : source);
  }

  async #letGo(handle: FileHandle): Promise<void> {
    if (handle !== this.#source) await handle.close();
  }

  #path(method: string): string {
    if (typeof this.#source === "string") return this.#source;
    throw invalidArgType("target", [`a path, for ${method}`], this.#source);
  }
}

/** Writes pieces one after another. Its promises are its backpressure: who does not wait for them fills memory. */
export class FileWriter implements AsyncDisposable {
  readonly #handle: Promise<FileHandle>;
  readonly #highWaterMark: number;
  readonly #syncs: boolean;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;
  #failure: { error: unknown } | null = null;
  #ended: Promise<number> | null = null;
  /** Bytes that are in the file. */
  bytesWritten = 0;

  constructor(path: string, options: FileWriterOptions) {
    validateObject(options, "options");
    const { append = false, highWaterMark = HIGH_WATER_MARK, flush = false } = options;
    validateInteger(highWaterMark, "options.highWaterMark", 1);
    this.#highWaterMark = highWaterMark;
    this.#syncs = flush;
    this.#handle = open(path, append ? "a" : "w");
    this.#handle.catch(() => {}); // each call rejects with it
  }

  /** Resolves once less than `highWaterMark` waits; rejects with what an earlier write has failed with. */
  async write(data: string | ArrayBufferView | ArrayBuffer): Promise<void> {
    if (this.#ended !== null) throw new TypeError("The writer has ended");
    const pieces = piecesOf(data);
    const length = typeof data === "string" ? Buffer.byteLength(data) : data.byteLength;
    this.#waiting += length;
    const done = this.#tail.then(async () => {
      if (this.#failure !== null) return;
      try {
        const handle = await this.#handle;
        for await (const piece of pieces) {
          for (let at = 0; at < piece.byteLength; ) {
            const { bytesWritten } = await handle.write(piece, at, piece.byteLength - at, null);
            at += bytesWritten;
            this.bytesWritten += bytesWritten;
          }
        }
      } catch (error) {
        this.#failure = { error };
      } finally {
        this.#waiting -= length;
      }
    });
    this.#tail = done;
    while (this.#waiting >= this.#highWaterMark) await Promise.race([done, this.#tail]);
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Resolves when all that was written is in the file (with `flush`: on the device). */
  async flush(): Promise<void> {
    await this.#tail;
    if (this.#failure !== null) throw this.#failure.error;
    if (this.#syncs) await (await this.#handle).datasync();
  }

  /** Writes what waits and closes the file. Resolves to the bytes written. */
  end(): Promise<number> {
    this.#ended ??= this.flush().then(
      async () => {
        await (await this.#handle).close();
        return this.bytesWritten;
      },
      async (error) => {
        await this.#handle.then(
          (handle) => handle.close(),
          () => {},
        );
        throw error;
      },
    );
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}
