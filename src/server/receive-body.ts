// A request's body to a file: published by a rename when it is whole, so that what is aborted, too long or fails leaves nothing, and
// the old file as it was; or, with an offset, behind what a file has, which then keeps what arrived.
// Assumes that nobody else reads the body. Memory is bounded whatever the client sends.

import { createHash, type Hash } from "node:crypto";
import { currentBackend } from "../backend/choose.ts";
import { type AtomicOptions, atomicOptions, type Replacing, replaceBy } from "../durable/atomic.ts";
import { syncFolderOf } from "../durable/directory-sync.ts";
import { open } from "../fs/open.ts";
import { thenClose } from "../fs/whole-file.ts";
import type { FileHandle } from "../handle/file-handle.ts";
import { constants } from "../kernel/constants.ts";
import { throwIfAborted } from "../node/abort.ts";
import {
  invalidArgType,
  invalidArgValue,
  validateFunction,
  validateInteger,
  validateObject,
} from "../node/arguments.ts";
import { FILE_MODE } from "../node/open-flags.ts";
import { writeChunks } from "./chunk-writer.ts";
import { announcedLength, BodyReader, mustBeUnread, ReceiveError, received, wholeBody } from "./intake.ts";

/** A body that is announced as at most this long is taken at once. */
const SMALL_BYTES = 1024 * 1024;
const DEFAULT_MAX_BYTES = 1024 * 1024 * 1024;

/** How `receive` writes a body, and what it refuses. */
export interface ReceiveOptions extends Omit<AtomicOptions, "encoding"> {
  /** The most that the file may have (default 1 GiB): a longer announced body is refused before a byte of it is read. */
  maxBytes?: number | undefined;
  /** Computed on the way: a name that node:crypto knows, as "sha256". */
  hash?: string | undefined;
  /**
   * Goes on in a file that is there, from this offset, which must be its length (resumable uploads; 0 makes the file). Such a
   * file is written in place and in order: it keeps what arrived. One upload at a time may do that, another is refused with 423.
   */
  offset?: number | undefined;
  /** Told as the body arrives: bytes so far, and all that were announced (null: unknown). */
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

/** Runs an operation with the path that a body goes to. */
type AtPath = <T>(act: (path: string) => Promise<T>) => Promise<T>;

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
  if (onProgress !== undefined) validateFunction(onProgress, "options.onProgress");
  const publishing = atomicOptions(atomic, "none");
  const { signal } = publishing;
  if (!(request instanceof Request || request instanceof Response))
    throw invalidArgType("request", ["Request", "Response"], request);
  const hasher = hash === undefined ? null : hasherOf(hash);
  throwIfAborted(signal);
  const announced = announcedLength(request);
  // A small body is there before there is a file: a client that is slow, or goes away, takes no descriptor.
  const isSmall = offset === undefined && announced !== null && announced <= SMALL_BYTES;
  mustBeUnread(request, isSmall);
  const intake: Intake = { request, announced, most: maxBytes - (offset ?? 0), maxBytes, hasher, onProgress, signal };
  if (intake.most < (announced ?? 0)) throw tooLong(maxBytes);
  const bytes = await atPath((path) =>
    offset === undefined ? publish(path, publishing, intake, isSmall) : goOn(path, offset, publishing, intake),
  ).catch((error) => {
    throw received(error);
  });
  return { bytes, size: bytes + (offset ?? 0), hash: hasher?.digest("hex") ?? null };
}

interface Intake {
  request: Request | Response;
  announced: number | null;
  /** The most that the body may have, and the file. */
  most: number;
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

const tooLong = (maxBytes: number): ReceiveError =>
  new ReceiveError("ERR_BODY_TOO_LONG", 413, `The body is longer than ${maxBytes} bytes`);

async function publish(path: string, options: Replacing, intake: Intake, isSmall: boolean): Promise<number> {
  const { announced, request, signal } = intake;
  // Said before the body is taken; a name that is taken meanwhile is refused at the end.
  if (!options.overwrite && typeof (await currentBackend().lookup(path, true)) !== "number")
    throw new ReceiveError("EEXIST", 409, "There is a file of that name");
  if (isSmall) {
    const whole = await wholeBody(request, signal);
    told(intake, whole, whole.length);
    mustBeWhole(whole.length, announced);
    const { length } = whole;
    await replaceBy(path, options, whole);
    // Now, not when the garbage collector comes to it: the next body finds memory that is warm.
    whole.buffer.transfer(0);
    return length;
  }
  let bytes = 0;
  await replaceBy(path, options, async (handle) => {
    bytes = await fill(handle, 0, intake, false);
  });
  return bytes;
}

async function goOn(path: string, offset: number, options: Replacing, intake: Intake): Promise<number> {
  const handle = await openForMore(path, offset, options);
  return thenClose(handle, goOnIn(handle, path, offset, options, intake));
}

async function goOnIn(
  handle: FileHandle,
  path: string,
  offset: number,
  { durability, mode }: Replacing,
  intake: Intake,
): Promise<number> {
  // The lock goes with the handle. Where a file system has none, or there is no native library, it is the caller's to keep
  // uploads apart.
  await handle.lock({ wait: false }).catch((error) => {
    if (error.code === "ERR_LOCKED")
      throw new ReceiveError("ERR_BODY_LOCKED", 423, "Another upload goes on with the file", error);
  });
  const stats = await handle.stat();
  if (!stats.isFile()) throw new ReceiveError("ERR_BODY_OFFSET", 409, "It is no file");
  if (stats.size !== offset)
    throw new ReceiveError("ERR_BODY_OFFSET", 409, `The file has ${stats.size} bytes, not ${offset}`);
  if (offset === 0 && mode !== undefined) await handle.chmod(mode); // whatever the umask is
  const bytes = await fill(handle, offset, intake, true).catch(async (error) => {
    // What has arrived stays, and the client is told how much when it asks.
    if (durability !== "none") await handle.datasync().catch(() => {});
    throw error;
  });
  if (durability !== "none") await handle.datasync();
  if (durability === "full" && offset === 0) await syncFolderOf(path);
  return bytes;
}

async function openForMore(path: string, offset: number, { mode, bypass }: Replacing): Promise<FileHandle> {
  const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;
  const flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | (offset === 0 ? O_CREAT : 0);
  try {
    // Non-blocking: a FIFO that nobody reads is an error, not a wait.
    return await open(path, flags, mode ?? FILE_MODE, { cache: bypass ? "bypass" : "keep" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if ((code === "ENOENT" && offset > 0) || code === "ENXIO")
      throw new ReceiveError("ERR_BODY_OFFSET", 409, `There is no file with ${offset} bytes`, error);
    throw error;
  }
}

/** Writes the body from `position` on. Resolves to its length. */
async function fill(handle: FileHandle, position: number, intake: Intake, inOrder: boolean): Promise<number> {
  const { announced, request, signal } = intake;
  const { body } = request;
  const bytes = body === null ? 0 : await writeChunks(handle, position, counted(body, intake), { inOrder });
  throwIfAborted(signal);
  mustBeWhole(bytes, announced);
  return bytes;
}

async function* counted(body: ReadableStream<Uint8Array>, intake: Intake): AsyncGenerator<Uint8Array> {
  const reader = new BodyReader(body, intake.signal);
  let bytes = 0;
  try {
    for (let chunk = await reader.read(); chunk !== null; chunk = await reader.read()) {
      bytes += chunk.length;
      told(intake, chunk, bytes);
      yield chunk;
      reader.free(chunk); // the writer has copied it
    }
  } finally {
    reader.close();
  }
}

/** Counts, hashes and tells of a chunk that brings the body to `bytes`. */
function told({ most, maxBytes, hasher, onProgress, announced }: Intake, chunk: Uint8Array, bytes: number): void {
  if (bytes > most) throw tooLong(maxBytes);
  hasher?.update(chunk);
  onProgress?.(bytes, announced);
}

function mustBeWhole(bytes: number, announced: number | null): void {
  if (announced !== null && bytes !== announced)
    throw new ReceiveError("ERR_BODY_LENGTH", 400, `${bytes} bytes came, ${announced} were announced`);
}
