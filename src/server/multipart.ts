// multipart/form-data (RFC 7578, 2046), streaming: fields as text, files as streams of bytes that go to disk as they come. Nothing
// is held whole, and every size and count has its limit.
// Names that a client gives are never trusted: files are stored under names made here unless the caller asks otherwise.

import { randomUUID } from "node:crypto";
import { type Durability, replaceBy } from "../durable/atomic.ts";
import { invalidArgType, validateInteger, validateObject } from "../node/arguments.ts";
import { ChunkWriter, ReceiveError } from "./receive-body.ts";
import { inParentOf, Root } from "./root.ts";

/** How much a request may send before it is refused with a `ReceiveError` of status 413. */
export interface MultipartLimits {
  /** Parts without a file name (default 1,000), and their bytes each (default 1 MiB). */
  fields?: number | undefined;
  fieldBytes?: number | undefined;
  /** Parts with a file name (default 100), and their bytes each (default 1 GiB). */
  files?: number | undefined;
  fileBytes?: number | undefined;
  /** All parts (default 1,100). */
  parts?: number | undefined;
  /** Bytes of one part's headers (default 16 KiB). */
  headerBytes?: number | undefined;
  /** Bytes of the whole body (default 2 GiB). */
  bodyBytes?: number | undefined;
}

/** Where and how `multipart` writes files, and what it refuses. */
export interface MultipartOptions {
  limits?: MultipartLimits | undefined;
  /** Name beneath the root for a file (default: a random one); a promise may come of it. */
  nameFor?: ((file: { field: string; filename: string; type: string }) => string | Promise<string>) | undefined;
  durability?: Durability | undefined;
  signal?: AbortSignal | undefined;
}

/** A form field, whole. */
export interface FieldPart {
  kind: "field";
  name: string;
  value: string;
}

/** A file that was received and written. */
export interface FilePart {
  kind: "file";
  name: string;
  /** As the client gave it, without folders and control characters; never used as a path here. */
  filename: string;
  type: string;
  /** Where it is stored, beneath the root. */
  storedAs: string;
  bytes: number;
}

/** What `multipart` yields, told apart by `kind`. */
export type MultipartPart = FieldPart | FilePart;

const DEFAULTS = {
  fields: 1000,
  fieldBytes: 1024 * 1024,
  files: 100,
  fileBytes: 1024 * 1024 * 1024,
  parts: 1100,
  headerBytes: 16 * 1024,
  bodyBytes: 2 * 1024 * 1024 * 1024,
};
type Limits = typeof DEFAULTS;

const CRLF2 = Buffer.from("\r\n\r\n");
const MAX_BOUNDARY = 70;

const malformed = (why: string): ReceiveError =>
  new ReceiveError("ERR_MULTIPART", 400, `The form is malformed: ${why}`);
const tooMuch = (what: string, limit: number): ReceiveError =>
  new ReceiveError("ERR_MULTIPART_LIMIT", 413, `The form has more than ${limit} ${what}`);

/**
 * The parts of a form, each when it is complete: a file's is on disk, beneath the root. Leaving the iteration early cancels the
 * body. Files of a form that turns out malformed later stay: whoever iterates has been told of them.
 */
export async function* multipart(
  request: Request,
  root: Root,
  options: MultipartOptions = {},
): AsyncGenerator<MultipartPart> {
  if (!(request instanceof Request)) throw invalidArgType("request", ["Request"], request);
  if (!(root instanceof Root)) throw invalidArgType("root", ["Root"], root);
  validateObject(options, "options");
  const { limits: given = {}, nameFor, durability = "none", signal } = options;
  const limits: Limits = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS) as (keyof Limits)[]) {
    const value = given[key];
    if (value === undefined) continue;
    validateInteger(value, `options.limits.${key}`, 0);
    limits[key] = value;
  }
  const boundary = boundaryOf(request.headers.get("content-type"));
  if (request.body === null) throw malformed("there is no body");
  const form = new Form(request.body, boundary, limits, signal);
  let [fields, files] = [0, 0];
  let isWhole = false;
  try {
    for (let parts = 0; await form.next(); parts++) {
      if (parts === limits.parts) throw tooMuch("parts", limits.parts);
      const { name, filename, type } = partOf(await form.headers());
      if (filename === null) {
        if (fields++ === limits.fields) throw tooMuch("fields", limits.fields);
        yield { kind: "field", name, value: await text(form, limits.fieldBytes) };
        continue;
      }
      if (files++ === limits.files) throw tooMuch("files", limits.files);
      const storedAs = nameFor === undefined ? randomUUID() : await nameFor({ field: name, filename, type });
      const bytes = await store(form, root, storedAs, limits.fileBytes, durability);
      yield { kind: "file", name, filename, type, storedAs, bytes };
    }
    isWhole = true;
  } finally {
    await form.end(isWhole);
  }
}

function boundaryOf(type: string | null): string {
  if (type === null || !/^multipart\/form-data\s*(;|$)/i.test(type))
    throw new ReceiveError("ERR_MULTIPART", 415, "The body is no multipart/form-data");
  const match = /;\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(type);
  const boundary = match?.[1]?.replace(/\\(.)/g, "$1") ?? match?.[2];
  if (boundary === undefined || boundary === "" || boundary.length > MAX_BOUNDARY || boundary.endsWith(" "))
    throw malformed("there is no proper boundary");
  return boundary;
}

async function text(form: Form, limit: number): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of form.content()) {
    bytes += piece.length;
    if (bytes > limit) throw tooMuch("bytes in a field", limit);
    pieces.push(Buffer.from(piece));
  }
  return Buffer.concat(pieces, bytes).toString();
}

function store(form: Form, root: Root, name: string, limit: number, durability: Durability): Promise<number> {
  return inParentOf(root, name, async (path) => {
    let bytes = 0;
    await replaceBy(String(path), { durability, overwrite: false }, async (handle) => {
      const writer = new ChunkWriter(handle, 0);
      try {
        for await (const piece of form.content()) {
          bytes += piece.length;
          if (bytes > limit) throw tooMuch("bytes in a file", limit);
          await writer.add(piece);
        }
        await writer.end();
      } catch (error) {
        await writer.settle();
        throw error;
      }
    });
    return bytes;
  }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOSPC" || error.code === "EDQUOT")
      throw new ReceiveError("ERR_NO_ROOM", 507, "There is no room for it", error);
    throw error;
  });
}

/* ---- headers ------------------------------------------------------------------------------------------------------- */

interface PartHeader {
  name: string;
  filename: string | null;
  type: string;
}

function partOf(header: Buffer): PartHeader {
  const fields = new Map<string, string>();
  for (const line of header.toString().split("\r\n")) {
    if (line === "") continue;
    const colon = line.indexOf(":");
    if (colon <= 0 || /[\s\0]/.test(line.slice(0, colon))) throw malformed("a header is none");
    const key = line.slice(0, colon).toLowerCase();
    if (!fields.has(key)) fields.set(key, line.slice(colon + 1).trim());
  }
  const disposition = fields.get("content-disposition");
  if (disposition === undefined || !/^form-data\s*(;|$)/i.test(disposition))
    throw malformed("a part has no Content-Disposition: form-data");
  const name = parameter(disposition, "name");
  if (name === null) throw malformed("a part has no name");
  const filename = extended(disposition) ?? parameter(disposition, "filename");
  return {
    name,
    filename: filename === null ? null : sanitized(filename),
    type: fields.get("content-type") ?? (filename === null ? "text/plain" : "application/octet-stream"),
  };
}

/** A parameter as browsers write it: quoted, with %22, %0D and %0A for what can't stand there (WHATWG); or with backslashes. */
function parameter(disposition: string, name: string): string | null {
  const match = new RegExp(`;\\s*${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s;"]+))`, "i").exec(disposition);
  if (match === null) return null;
  return (match[1]?.replace(/\\(["\\])/g, "$1") ?? match[2]!).replace(/%22|%0D|%0A/gi, decodeURIComponent);
}

/** filename*=UTF-8''… (RFC 5987), which some clients send. */
function extended(disposition: string): string | null {
  const encoded = /;\s*filename\*\s*=\s*utf-8'[^']*'([^\s;]+)/i.exec(disposition)?.[1];
  if (encoded === undefined) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}

/** The last component, without what a terminal or a file system would take for more than a letter. */
function sanitized(filename: string): string {
  const last = filename.slice(Math.max(filename.lastIndexOf("/"), filename.lastIndexOf("\\")) + 1);
  const clean = last.replace(/[\0-\x1f\x7f\u202a-\u202e\u2066-\u2069]/g, "");
  return clean === "." || clean === ".." ? "" : clean.slice(0, 255);
}

/* ---- the body ------------------------------------------------------------------------------------------------------ */

/** A body cut at its boundaries. Holds what may be the beginning of one, and no more. */
class Form {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #delimiter: Buffer;
  readonly #limits: Limits;
  readonly #signal: AbortSignal | undefined;
  #bytes: Buffer;
  #total = 0;
  #ended = false;
  /** Within a part whose content has not been read to its end. */
  #inPart = false;
  #isFirst = true;

  constructor(body: ReadableStream<Uint8Array>, boundary: string, limits: Limits, signal: AbortSignal | undefined) {
    this.#reader = body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, "latin1");
    this.#limits = limits;
    this.#signal = signal;
    // The first boundary may be the body's first bytes.
    this.#bytes = Buffer.from("\r\n");
  }

  /** Goes to the next part; false at the form's end. */
  async next(): Promise<boolean> {
    if (this.#inPart) for await (const _ of this.content());
    if (this.#isFirst) {
      // A preamble may stand before the first boundary (RFC 2046 5.1.1), and counts as a header does.
      let skipped = 0;
      for await (const piece of this.#untilDelimiter()) {
        skipped += piece.length;
        if (skipped > this.#limits.headerBytes) throw malformed("no boundary is found");
      }
      this.#isFirst = false;
    }
    // "--" ends the form; anything else but blanks and a line's end is no boundary.
    for (;;) {
      await this.#need(2);
      const [first, second] = this.#bytes;
      if (first === 0x2d && second === 0x2d) return false;
      if (first === 0x0d && second === 0x0a) break;
      if (first !== 0x20 && first !== 0x09) throw malformed("a boundary is followed by something");
      this.#bytes = this.#bytes.subarray(1);
    }
    this.#bytes = this.#bytes.subarray(2);
    this.#inPart = true;
    return true;
  }

  /** The part's headers, without the empty line. */
  async headers(): Promise<Buffer> {
    const { headerBytes } = this.#limits;
    for (;;) {
      if (this.#bytes.length >= 2 && this.#bytes[0] === 0x0d && this.#bytes[1] === 0x0a)
        throw malformed("a part has no headers");
      const end = this.#bytes.indexOf(CRLF2);
      if (end > headerBytes || (end < 0 && this.#bytes.length > headerBytes + CRLF2.length))
        throw tooMuch("bytes of headers in a part", headerBytes);
      if (end >= 0) {
        const header = this.#bytes.subarray(0, end);
        // Its line's end may be the beginning of the boundary: a part may be empty.
        this.#bytes = this.#bytes.subarray(end + 2);
        this.#skipLine = true;
        return header;
      }
      await this.#more();
    }
  }
  #skipLine = false;

  /** The part's content, in pieces that are valid until the next is asked for. */
  async *content(): AsyncGenerator<Buffer> {
    let skip = this.#skipLine ? 2 : 0;
    this.#skipLine = false;
    for await (const piece of this.#untilDelimiter()) {
      const rest = skip === 0 ? piece : piece.subarray(Math.min(skip, piece.length));
      skip -= piece.length - rest.length;
      if (rest.length > 0) yield rest;
    }
    this.#inPart = false;
  }

  async *#untilDelimiter(): AsyncGenerator<Buffer> {
    const delimiter = this.#delimiter;
    for (;;) {
      const at = this.#bytes.indexOf(delimiter);
      if (at >= 0) {
        const piece = this.#bytes.subarray(0, at);
        this.#bytes = this.#bytes.subarray(at + delimiter.length);
        if (piece.length > 0) yield piece;
        return;
      }
      // All but what may be a delimiter's beginning.
      const sure = this.#bytes.length - delimiter.length + 1;
      if (sure > 0) {
        const piece = this.#bytes.subarray(0, sure);
        this.#bytes = this.#bytes.subarray(sure);
        yield piece;
      }
      await this.#more();
    }
  }

  async #need(length: number): Promise<void> {
    while (this.#bytes.length < length) await this.#more();
  }

  async #more(): Promise<void> {
    if (this.#signal?.aborted) throw this.#signal.reason;
    const { done, value } = await this.#reader.read().catch((error) => {
      throw new ReceiveError("ERR_BODY_BROKEN_OFF", 400, "The client broke off", error);
    });
    if (done) {
      this.#ended = true;
      throw malformed("it ends before its last boundary");
    }
    this.#total += value.length;
    if (this.#total > this.#limits.bodyBytes) throw tooMuch("bytes", this.#limits.bodyBytes);
    const chunk = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  /** Lets go of the body: an epilogue is read, so that the connection can be used again; what is longer is cancelled. */
  async end(isWhole: boolean): Promise<void> {
    for (let left = isWhole ? this.#limits.headerBytes : 0; left > 0 && !this.#ended; ) {
      const { done, value } = await this.#reader.read().catch(() => ({ done: true, value: undefined }));
      if (done) this.#ended = true;
      else left -= value!.length;
    }
    if (!this.#ended) await this.#reader.cancel().catch(() => {});
    this.#reader.releaseLock();
  }
}
