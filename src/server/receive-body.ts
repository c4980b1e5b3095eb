// A request's body to a file. Gathered into chunks, several of which are written at a time
// through the ring, never on the JavaScript thread; published by a rename when it is whole. What is aborted, too long or fails
// leaves nothing, and the old file as it was.
// Assumes that nobody else reads the body. Memory is bounded whatever the client sends.

import { createHash, type Hash } from "node:crypto";
import { type AtomicOptions, replaceBy } from "../durable/atomic.ts";
import { open } from "../fs/open.ts";
import { thenClose } from "../fs/whole-file.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { constants } from "../kernel/constants.ts";
import { invalidArgType, invalidArgValue, validateInteger, validateObject } from "../node/arguments.ts";

/** Chunks are gathered to so many bytes before they are written, and so many are written at a time. */
const CHUNK_BYTES = 1024 * 1024;
const CHUNKS_AT_ONCE = 4;
/** A body that is announced as at most this long is taken at once. */
const SMALL_BYTES = 1024 * 1024;
const DEFAULT_MAX_BYTES = 1024 * 1024 * 1024;

/** How `receive` writes a body, and what it refuses. */
export interface ReceiveOptions extends Omit<AtomicOptions, "encoding"> {
  /** The most that is taken (default 1 GiB): a longer announced body is refused before a byte of it is read. */
  maxBytes?: number | undefined;
  /** Computed on the way: a name that node:crypto knows, as "sha256". */
  hash?: string | undefined;
  /**
   * Goes on in a file that is there, from this offset, which must be its length (resumable uploads). Such a file is written
   * in place: it keeps what arrived.
   */
  offset?: number | undefined;
  /** Told after each chunk that was written: bytes so far, and all that were announced (null: unknown). */
  onProgress?: ((received: number, total: number | null) => void) | undefined;
}

/** What has been written, once it is as durable as was asked for. */
export interface Received {
  /** Bytes of the body. */
  bytes: number;
  /** The file's length; more than `bytes` with `offset`. */
  size: number;
  /** Hexadecimal, of the body; null if no hash was asked for. */
  hash: string | null;
}

/** Why a body was not taken, with the status to answer: 413 too long, 400 broken off or malformed, 409 another offset, 507 no room. */
export class ReceiveError extends Error {
  override name: string = "ReceiveError";
  readonly code: string;
  readonly status: number;

  constructor(code: string, status: number, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.status = status;
  }

  /** The answer to the request. */
  toResponse(): Response {
    return new Response(`${this.message}\n`, {
      status: this.status,
      // What is left of a body that nobody reads.
      headers: this.status === 413 ? { connection: "close" } : {},
    });
  }
}

/** Runs an operation with the path that a body goes to. */
export type AtPath = <T>(act: (path: string) => Promise<T>) => Promise<T>;

/** Takes a body to a file. Rejects with a ReceiveError for what is the client's or the disk's, with others for arguments. */
export async function receiveBody(
  request: Request | Response,
  atPath: AtPath,
  options: ReceiveOptions = {},
): Promise<Received> {
  validateObject(options, "options");
  const { maxBytes = DEFAULT_MAX_BYTES, hash, offset, onProgress, ...atomic } = options;
  validateInteger(maxBytes, "options.maxBytes", 0);
  if (offset !== undefined) validateInteger(offset, "options.offset", 0);
  if (onProgress !== undefined && typeof onProgress !== "function")
    throw invalidArgType("options.onProgress", ["Function"], onProgress);
  if (!(request instanceof Request || request instanceof Response))
    throw invalidArgType("request", ["Request", "Response"], request);
  const hasher = hash === undefined ? null : hasherOf(hash);
  const announced = announcedLength(request);
  if (announced !== null && announced > maxBytes) throw tooLong(maxBytes);
  const intake: Intake = { request, announced, maxBytes, hasher, onProgress, signal: atomic.signal };
  const bytes = await atPath((path) =>
    offset === undefined ? publish(path, atomic, intake) : goOn(path, offset, atomic, intake),
  );
  return { bytes, size: bytes + (offset ?? 0), hash: hasher?.digest("hex") ?? null };
}

interface Intake {
  request: Request | Response;
  announced: number | null;
  maxBytes: number;
  hasher: Hash | null;
  onProgress: ReceiveOptions["onProgress"];
  signal: AbortSignal | undefined;
}

function hasherOf(name: string): Hash {
  try {
    return createHash(name);
  } catch {
    throw invalidArgValue("options.hash", name, "must be a hash that node:crypto has");
  }
}

function announcedLength(request: Request | Response): number | null {
  const text = request.headers.get("content-length");
  if (text === null) return null;
  if (!/^\d+$/.test(text)) throw new ReceiveError("ERR_BODY_LENGTH", 400, "Content-Length is no number");
  return Number(text);
}

const tooLong = (maxBytes: number): ReceiveError =>
  new ReceiveError("ERR_BODY_TOO_LONG", 413, `The body is longer than ${maxBytes} bytes`);

async function publish(path: string, options: AtomicOptions, intake: Intake): Promise<number> {
  let bytes = 0;
  try {
    await replaceBy(path, { durability: "none", ...options }, async (handle) => {
      bytes = await fill(handle, 0, intake);
    });
  } catch (error) {
    throw received(error);
  }
  return bytes;
}

async function goOn(
  path: string,
  offset: number,
  { durability = "none", mode, cache }: AtomicOptions,
  intake: Intake,
): Promise<number> {
  const { O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
  const handle = await open(path, O_WRONLY | O_NOFOLLOW | (offset === 0 ? O_CREAT : 0), mode ?? 0o666, { cache });
  const filled = async (): Promise<number> => {
    const { size } = await handle.stat();
    if (size !== offset) throw new ReceiveError("ERR_BODY_OFFSET", 409, `The file has ${size} bytes, not ${offset}`);
    // What has arrived stays, and the client is told how much when it asks.
    const bytes = await fill(handle, offset, intake).catch(async (error) => {
      if (durability !== "none") await handle.datasync().catch(() => {});
      throw error;
    });
    if (durability !== "none") await handle.datasync();
    return bytes;
  };
  try {
    return await thenClose(handle, filled());
  } catch (error) {
    throw received(error);
  }
}

/** What went wrong as the client is to hear it. */
function received(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof ReceiveError) return error;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new ReceiveError("ERR_NO_ROOM", 507, "There is no room for it", error);
  if (code === "EFBIG") return new ReceiveError("ERR_BODY_TOO_LONG", 413, "The file would be too large", error);
  return error;
}

/** Writes the body from `position` on. Resolves to its length. */
async function fill(handle: FileHandle, position: number, intake: Intake): Promise<number> {
  const { request, announced, maxBytes, hasher, onProgress, signal } = intake;
  const { body } = request;
  let bytes = 0;
  if (body !== null && announced !== null && announced <= SMALL_BYTES) {
    const whole = await request.bytes().catch(brokenOff);
    if (whole.length > maxBytes) throw tooLong(maxBytes);
    hasher?.update(whole);
    await writeAt(handle, whole, whole.length, position);
    bytes = whole.length;
    onProgress?.(bytes, announced);
  } else if (body !== null) {
    const writer = new ChunkWriter(handle, position);
    // The reader's own loop: leaving it by an error cancels the body.
    try {
      for await (const chunk of chunksOf(body)) {
        if (signal?.aborted) throw signal.reason;
        bytes += chunk.length;
        if (bytes > maxBytes) throw tooLong(maxBytes);
        hasher?.update(chunk);
        await writer.add(chunk);
        onProgress?.(bytes, announced);
      }
      await writer.end();
    } catch (error) {
      await writer.settle();
      throw error;
    }
  }
  if (announced !== null && bytes !== announced)
    throw new ReceiveError("ERR_BODY_LENGTH", 400, `${bytes} bytes came, ${announced} were announced`);
  return bytes;
}

const brokenOff = (error: unknown): never => {
  throw new ReceiveError("ERR_BODY_BROKEN_OFF", 400, "The client broke off", error);
};

async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  let isWhole = false;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(brokenOff);
      if (done) {
        isWhole = true;
        return;
      }
      yield value;
    }
  } finally {
    if (!isWhole) await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

/** Gathers to chunks, and writes a few of them at a time; who adds waits while all are under way. */
export class ChunkWriter {
  readonly #handle: FileHandle;
  readonly #free: Buffer[] = [];
  readonly #writing = new Set<Promise<void>>();
  #made = 0;
  #chunk: Buffer | null = null;
  #used = 0;
  #position: number;
  #failure: { error: unknown } | null = null;

  constructor(handle: FileHandle, position: number) {
    this.#handle = handle;
    this.#position = position;
  }

  async add(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      this.#chunk ??= await this.#take();
      const take = Math.min(bytes.length - at, CHUNK_BYTES - this.#used);
      this.#chunk.set(bytes.subarray(at, at + take), this.#used);
      this.#used += take;
      at += take;
      if (this.#used === CHUNK_BYTES) this.#send();
    }
    if (this.#failure !== null) throw this.#failure.error;
  }

  async end(): Promise<void> {
    if (this.#used > 0) this.#send();
    await this.settle();
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** When nothing is under way any more. */
  async settle(): Promise<void> {
    while (this.#writing.size > 0) await Promise.all(this.#writing);
  }

  async #take(): Promise<Buffer> {
    while (this.#free.length === 0 && this.#made === CHUNKS_AT_ONCE) await Promise.race(this.#writing);
    const free = this.#free.pop();
    if (free !== undefined) return free;
    this.#made++;
    return Buffer.allocUnsafeSlow(CHUNK_BYTES);
  }

  #send(): void {
    const chunk = this.#chunk!;
    const length = this.#used;
    const position = this.#position;
    this.#chunk = null;
    this.#used = 0;
    this.#position += length;
    const written = writeAt(this.#handle, chunk, length, position)
      .catch((error) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#writing.delete(written);
        this.#free.push(chunk);
      });
    this.#writing.add(written);
  }
}

async function writeAt(handle: FileHandle, bytes: Uint8Array, length: number, position: number): Promise<void> {
  for (let done = 0; done < length; )
    done += (await handle.write(bytes, done, length - done, position + done)).bytesWritten;
}
