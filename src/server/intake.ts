// What comes in: a body's chunks as its reader takes them, and the error that says why a body was not taken, with the status to
// answer. An abort or a client that went away ends a read that is waiting.
// Assumes that nobody else reads the body.

import { abortable } from "../node/abort.ts";
import { codedError, invalidArgType } from "../node/arguments.ts";
import { isAborted } from "../node/signal.ts";
import { bytesOf } from "../node/views.ts";
import { OwnChunks, ownChunks } from "./own-chunks.ts";
import { StreamReader } from "./stream-reader.ts";

/**
 * Why a body was not taken, with the status to answer: 400 broken off or malformed, 409 another offset or a name that is taken, 413 too
 * long, 415 no form, 423 somebody else goes on with the same file, 507 no room.
 */
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

const brokenOff = (error: unknown): ReceiveError =>
  new ReceiveError("ERR_BODY_BROKEN_OFF", 400, "The client broke off", error);

/** What went wrong while a body was written, as the client is to hear it. */
export function received(error: unknown): unknown {
  if (error instanceof ReceiveError) return error;
  const code = (error as NodeJS.ErrnoException | null | undefined)?.code;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new ReceiveError("ERR_NO_ROOM", 507, "There is no room for it", error);
  if (code === "EFBIG") return new ReceiveError("ERR_BODY_TOO_LONG", 413, "The file would be too large", error);
  if (code === "EEXIST") return new ReceiveError("EEXIST", 409, "There is a file of that name", error);
  return error;
}

/** The length that the body is announced to have; null where nothing is said. */
export function announcedLength(request: Request | Response): number | null {
  const { headers } = request;
  const text = headers.get("content-length");
  // Of a fetched answer that was compressed the header tells another length.
  if (text === null || (request instanceof Response && headers.has("content-encoding"))) return null;
  if (!/^\d+$/.test(text)) throw new ReceiveError("ERR_BODY_LENGTH", 400, "Content-Length is no number");
  return Number(text);
}

const alreadyUsed = (): Error => codedError(TypeError, "ERR_BODY_ALREADY_USED", "Body already used");

/** Throws where somebody has read the body, or does. `isWhole`: `wholeBody` will take it, which looks at the rest. */
export function mustBeUnread(request: Request | Response, isWhole = false): void {
  if (request.bodyUsed || (!isWhole && request.body?.locked)) throw alreadyUsed();
}

/** Not a subclass's own, whose bytes may be somebody else's as well. */
const [bytesOfRequest, bytesOfResponse] = [Request.prototype.bytes, Response.prototype.bytes];

/**
 * The whole body at once, in memory that nobody else has; rejects as a BodyReader's read does. Never asks for `body`: from then on
 * Bun would gather it from a stream's chunks, at three times the cost.
 */
export async function wholeBody(
  request: Request | Response,
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  if (request.bodyUsed) throw alreadyUsed();
  const read = request instanceof Request ? bytesOfRequest.call(request) : bytesOfResponse.call(request);
  const bytes = (read as Promise<Uint8Array<ArrayBuffer>>).catch((error: unknown) => {
    // A stream of the program's own that somebody reads.
    throw (error as { code?: string } | null)?.code === "ERR_INVALID_STATE" ? alreadyUsed() : brokenOff(error);
  });
  return signal === undefined ? bytes : abortable(bytes, signal);
}

/** A body's chunks. */
export class BodyReader {
  readonly #reader: StreamReader | OwnChunks;
  readonly #signal: AbortSignal | undefined;

  constructor(body: ReadableStream<Uint8Array>, signal: AbortSignal | undefined) {
    this.#signal = signal;
    this.#reader = ownChunks(body, signal) ?? new StreamReader(body, signal);
  }

  /** The next chunk, or null at the body's end. */
  async read(): Promise<Uint8Array | null> {
    const { done, value } = await this.#reader.next().catch((error: unknown) => {
      throw isAborted(this.#signal) ? error : brokenOff(error);
    });
    if (done) return null;
    // A stream that the program made itself may give anything.
    if (!(value instanceof Uint8Array)) throw invalidArgType("chunk", ["Uint8Array"], value);
    return bytesOf(value); // whatever getters it has of its own
  }

  /** The chunk that came last is done with: its memory may be somebody else's now. */
  free(chunk: Uint8Array): void {
    if (this.#reader instanceof OwnChunks) this.#reader.free(chunk);
  }

  /** Lets go of the body; what has not been read of it is not wanted any more. */
  close(): void {
    this.#reader.close();
  }
}
