// file: a lazy reference to a file, as Bun.file is, whose reading never holds the JavaScript thread, with what BunFile lacks: appending,
// ranges, writers whose backpressure is honest.
// Opens nothing before it is asked for something, and nothing stays open but what a stream or a writer needs.

import type { Stats } from "node:fs";
import { statSync } from "node:fs";
import { currentBackend } from "../backend/choose.ts";
import { open } from "../fs/open.ts";
import { readFile } from "../fs/whole-file.ts";
import { FileHandle } from "../handle/file-handle.ts";
import { invalidArgType, validateInteger, validateObject } from "../node/arguments.ts";
import { toPath } from "../node/path.ts";
import { writeChunks } from "./chunk-writer.ts";
import { chunksOf, type Writable } from "./chunks.ts";
import { rangeOf } from "./conditional.ts";
import { FileWriter, type FileWriterOptions } from "./file-writer.ts";
import { sinkOf, write } from "./write.ts";

const CHUNK_BYTES = 256 * 1024;

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
    // What is no media type is not taken for one.
    this.type = Bun.file(typeof source === "string" ? source : "", { type: type ?? "" }).type;
  }

  /** The path; undefined for a descriptor or handle. */
  get name(): string | undefined {
    return typeof this.#source === "string" ? this.#source : undefined;
  }

  /** Bytes now, by a call that may wait for a file server (`stat()` does not); 0 where there is none. */
  get size(): number {
    return this.#lengthOf(this.#statNow()?.size ?? 0);
  }

  /** Milliseconds since 1970, in the same way. */
  get lastModified(): number {
    return Math.floor(this.#statNow()?.mtimeMs ?? 0);
  }

  #statNow(): Stats | undefined {
    return statSync(this.#place, { throwIfNoEntry: false });
  }

  /** A path that leads to it. */
  get #place(): string {
    const source = this.#source;
    if (typeof source === "string") return source;
    return `/proc/self/fd/${typeof source === "number" ? source : source.fd}`;
  }

  /** A part, counted as Blob's slice counts: from the end where negative. A string is the part's media type, as for Bun.file. */
  slice(start?: number | string, end?: number | string, type?: string): UringFile {
    const media = [start, end, type].find((value) => typeof value === "string") as string | undefined;
    return this.#slice(toInteger(start, 0), toInteger(end, Number.POSITIVE_INFINITY), media ?? this.type);
  }

  #slice(start: number, end: number, type: string): UringFile {
    const length = start < 0 || end < 0 ? this.size : this.#end - this.#start;
    const from = start < 0 ? Math.max(0, length + start) : start;
    const to = end < 0 ? Math.max(0, length + end) : end;
    const first = Math.min(this.#start + from, this.#end);
    return new UringFile(this.#source, type, first, Math.max(first, Math.min(this.#end, this.#start + to)));
  }

  /** The part that a Range header asks for (RFC 9110 14.2); null: all of it is to be sent. Rejects with RangeError for 416. */
  async range(header: string | null): Promise<FileRange | null> {
    if (header === null) return null;
    const size = this.#lengthOf((await this.stat()).size);
    const decision = rangeOf(header, size);
    if (decision.status === 416) throw new RangeError(`bytes */${size}`);
    if (decision.status !== 206) return null;
    const { start, end } = decision;
    return { file: this.slice(start, end), contentRange: `bytes ${start}-${end - 1}/${size}` };
  }

  /** Bytes that it has of so many. */
  #lengthOf(size: number): number {
    return Math.max(0, Math.min(size, this.#end) - this.#start);
  }

  /** Opens nothing: of a FIFO or device, too. */
  async stat(): Promise<Stats> {
    const source = this.#source;
    if (source instanceof FileHandle) return source.stat() as Promise<Stats>;
    return (await currentBackend().stat(this.#place, false)) as Stats;
  }

  /** Whether there is something that is no folder. */
  async exists(): Promise<boolean> {
    try {
      return !(await this.stat()).isDirectory();
    } catch {
      return false;
    }
  }

  /** Removes the name; a descriptor or handle has none: ERR_INVALID_ARG_TYPE. */
  async delete(): Promise<void> {
    if (typeof this.#source !== "string") throw invalidArgType("target", ["a path, for delete"], this.#source);
    await currentBackend().unlink(this.#source);
  }

  /** The whole contents, or those of the slice. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const isWhole = this.#start === 0 && this.#end === Number.POSITIVE_INFINITY;
    if (isWhole && typeof this.#source === "string") return readFile(this.#source) as Promise<Buffer<ArrayBuffer>>;
    const chunks: Uint8Array[] = [];
    for await (const chunk of this) chunks.push(chunk);
    return Buffer.concat(chunks) as Uint8Array<ArrayBuffer>;
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
  async append(data: Writable): Promise<number> {
    const source = this.#source;
    if (typeof source === "string") return write(source, data, { append: true });
    const chunks = chunksOf(data);
    return writeChunks(sinkOf(source), (await this.stat()).size, chunks, { inOrder: true });
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

  /** A writer, whose `write` resolves once less than `highWaterMark` waits. */
  writer(options: FileWriterOptions = {}): FileWriter {
    return new FileWriter(this.#source, options);
  }

  /** The bytes, a chunk at a time: `new Response(file(path))` and `for await` take them so. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const handle = await this.#open();
    try {
      let isPipe = false;
      for (let at = this.#start; at < this.#end; ) {
        const chunk = new Uint8Array(Math.min(CHUNK_BYTES, this.#end - at));
        const read = (position: number | null): Promise<{ bytesRead: number }> =>
          handle.read(chunk, 0, chunk.length, position);
        const { bytesRead } = await read(isPipe ? null : at).catch(async (error) => {
          // A pipe or a terminal has no places, only what comes next.
          if (error.code !== "ESPIPE" || isPipe) throw error;
          isPipe = true;
          await skip(handle, at);
          return read(null);
        });
        if (bytesRead === 0) return;
        at += bytesRead;
        yield bytesRead === chunk.length ? chunk : chunk.subarray(0, bytesRead);
      }
    } finally {
      if (handle !== this.#source) await handle.close();
    }
  }

  /** The caller's handle, or one of our own: a descriptor's by its path, so that closing it leaves the caller's open. */
  async #open(): Promise<FileHandle> {
    const source = this.#source;
    if (source instanceof FileHandle) return source;
    return open(this.#place);
  }
}

/** As Blob's slice takes a number. */
function toInteger(value: unknown, otherwise: number): number {
  return typeof value !== "number" ? otherwise : Math.trunc(value) || 0;
}

async function skip(handle: FileHandle, bytes: number): Promise<void> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let left = bytes; left > 0; ) {
    const { bytesRead } = await handle.read(chunk, 0, Math.min(left, chunk.length), null);
    if (bytesRead === 0) return;
    left -= bytesRead;
  }
}
