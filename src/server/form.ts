// A multipart/form-data body (RFC 7578, 2046) cut at its boundaries while it comes: what each part says of itself, and its content in
// chunks. Holds what may be the beginning of a boundary, or a part's headers, and no more.
// Assumes nothing of the client: every size has its limit, and what is malformed is refused.

import { type BodyReader, ReceiveError } from "./intake.ts";

const CRLF2 = Buffer.from("\r\n\r\n");
const MAX_BOUNDARY = 70;
const MAX_FILENAME_BYTES = 255;
const [TAB, LF, CR, SPACE, DASH] = [0x09, 0x0a, 0x0d, 0x20, 0x2d];

interface FormLimits {
  /** Bytes of a part's headers, of what stands before the first boundary, of blanks behind one, and of what follows the last. */
  headerBytes: number;
  bodyBytes: number;
}

export const malformed = (why: string): ReceiveError =>
  new ReceiveError("ERR_MULTIPART", 400, `The form is malformed: ${why}`);
export const tooMuch = (what: string, limit: number): ReceiveError =>
  new ReceiveError("ERR_MULTIPART_LIMIT", 413, `The form has more than ${limit} ${what}`);

/* ---- headers ------------------------------------------------------------------------------------------------------- */

/** The boundary that a Content-Type names. */
export function boundaryOf(type: string | null): string {
  if (type === null || !/^multipart\/form-data\s*(;|$)/i.test(type))
    throw new ReceiveError("ERR_MULTIPART", 415, "The body is no multipart/form-data");
  const boundary = parametersOf(type).get("boundary") ?? "";
  if (boundary === "" || boundary.length > MAX_BOUNDARY || boundary.endsWith(" "))
    throw malformed("there is no proper boundary");
  return boundary;
}

interface PartHeader {
  name: string;
  /** Without folders and control characters; null: a field. */
  filename: string | null;
  type: string;
}

/** What a part's headers say; the first of a name counts. */
function partOf(header: Buffer): PartHeader {
  const fields = new Map<string, string>();
  // A line that begins with a blank goes on with the one before it (RFC 5322 2.2.3).
  for (const line of header
    .toString()
    .replace(/\r\n[ \t]+/g, " ")
    .split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0 || /\s/.test(line.slice(0, colon)) || /[\r\n\0]/.test(line)) throw malformed("a header is none");
    const key = line.slice(0, colon).toLowerCase();
    if (!fields.has(key)) fields.set(key, line.slice(colon + 1).trim());
  }
  const disposition = fields.get("content-disposition");
  if (disposition === undefined || !/^form-data\s*(;|$)/i.test(disposition))
    throw malformed("a part has no Content-Disposition: form-data");
  const parameters = parametersOf(disposition);
  const name = parameters.get("name");
  if (name === undefined) throw malformed("a part has no name");
  const filename = parameters.get("filename");
  const encoded = parameters.get("filename*");
  const isFile = filename !== undefined || encoded !== undefined;
  return {
    name: unescaped(name),
    filename: isFile ? sanitized(extended(encoded) ?? unescaped(filename ?? "")) : null,
    type: fields.get("content-type") ?? (isFile ? "application/octet-stream" : "text/plain"),
  };
}

/**
 * One `; key=value` or `; key="value"`. What stands within quotes is never taken for a parameter. A quote behind a backslash does not
 * end the value, unless nothing else does: browsers leave the backslash as it is that a file's name may end with.
 */
const PARAMETER =
  /\s*;\s*(?:([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"(?=\s*(?:;|$))|"([^"]*)"(?=\s*(?:;|$))|([^\s;"]*)))?/y;

function parametersOf(header: string): Map<string, string> {
  const parameters = new Map<string, string>();
  const text = header.trimEnd();
  PARAMETER.lastIndex = text.indexOf(";");
  if (PARAMETER.lastIndex < 0) return parameters;
  while (PARAMETER.lastIndex < text.length) {
    const match = PARAMETER.exec(text);
    if (match === null) throw malformed("a header's parameters are none");
    const [, key, escaped, raw, token] = match;
    if (key === undefined || parameters.has(key.toLowerCase())) continue;
    parameters.set(key.toLowerCase(), escaped?.replace(/\\(["\\])/g, "$1") ?? raw ?? token!);
  }
  return parameters;
}

/** With what browsers write for that which can't stand in quotes (WHATWG): %22, %0D and %0A. */
const unescaped = (value: string): string => value.replace(/%22|%0D|%0A/gi, decodeURIComponent);

/** filename*=UTF-8''… (RFC 5987), which some clients send. */
function extended(value: string | undefined): string | undefined {
  const [, charset, encoded] = /^(utf-8|iso-8859-1)'[^']*'(.*)$/i.exec(value ?? "") ?? [];
  if (charset === undefined) return undefined;
  if (charset.toLowerCase() !== "utf-8") return encoded!.replace(/%([0-9a-f]{2})/gi, (_, hex) => latin1(hex));
  try {
    return decodeURIComponent(encoded!);
  } catch {
    return undefined;
  }
}

const latin1 = (hex: string): string => String.fromCharCode(Number.parseInt(hex, 16));

/**
 * The last component, without what a terminal or a file system would take for more than a letter (control characters, changes of the
 * writing direction, what has no width), as long as a name may be.
 */
function sanitized(filename: string): string {
  const last = filename.slice(Math.max(filename.lastIndexOf("/"), filename.lastIndexOf("\\")) + 1);
  const clean = last.replace(/[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu, "").toWellFormed();
  if (clean === "." || clean === "..") return "";
  let bytes = 0;
  let name = "";
  for (const letter of clean) {
    bytes += Buffer.byteLength(letter);
    if (bytes > MAX_FILENAME_BYTES) break;
    name += letter;
  }
  return name;
}

/* ---- the body ------------------------------------------------------------------------------------------------------ */

export class Form {
  readonly #body: BodyReader;
  readonly #delimiter: Buffer;
  readonly #limits: FormLimits;
  /** The chunk that came last. */
  #last: Buffer = Buffer.alloc(0);
  /** What has come and is not taken yet. */
  #bytes: Buffer = Buffer.from("\r\n"); // the first boundary may be the body's first bytes
  #total = 0;
  #isFirst = true;
  /** Within a part whose content has not been read to its end. */
  #inPart = false;
  /** Of the end of the headers' last line, which may be the beginning of a boundary, and is no content. */
  #skip = 0;

  constructor(body: BodyReader, boundary: string, limits: FormLimits) {
    this.#body = body;
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, "latin1");
    this.#limits = limits;
  }

  /** Goes to the next part, and tells what its headers say; null at the form's end. */
  async next(): Promise<PartHeader | null> {
    if (this.#inPart) for await (const _ of this.#untilDelimiter());
    if (this.#isFirst) {
      // A preamble may stand before the first boundary (RFC 2046 5.1.1).
      let skipped = 0;
      for await (const chunk of this.#untilDelimiter()) {
        skipped += chunk.length;
        if (skipped > this.#limits.headerBytes) throw malformed("no boundary is found");
      }
      this.#isFirst = false;
    }
    if (!(await this.#isPart())) return null;
    const header = await this.#headers();
    this.#inPart = true;
    return partOf(header);
  }

  /** What follows a boundary: "--" ends the form; else there are blanks, if anything, and the line's end. */
  async #isPart(): Promise<boolean> {
    for (let blanks = 0; ; ) {
      while (this.#bytes.length < 2) await this.#more();
      const bytes = this.#bytes;
      if (blanks === 0 && bytes[0] === DASH && bytes[1] === DASH) return false;
      let at = 0;
      while (at < bytes.length && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
      blanks += at;
      if (blanks > this.#limits.headerBytes) throw malformed("a boundary is followed by blanks");
      this.#bytes = bytes.subarray(at);
      if (this.#bytes.length < 2) continue;
      if (bytes[at] !== CR || bytes[at + 1] !== LF) throw malformed("a boundary is followed by something");
      this.#bytes = bytes.subarray(at + 2);
      return true;
    }
  }

  async #headers(): Promise<Buffer> {
    const { headerBytes } = this.#limits;
    for (;;) {
      if (this.#bytes[0] === CR && this.#bytes[1] === LF) throw malformed("a part has no headers");
      const end = this.#bytes.indexOf(CRLF2);
      if (end > headerBytes || (end < 0 && this.#bytes.length > headerBytes + CRLF2.length))
        throw tooMuch("bytes of headers in a part", headerBytes);
      if (end >= 0) {
        const header = this.#bytes.subarray(0, end);
        this.#bytes = this.#bytes.subarray(end + 2);
        this.#skip = 2;
        return header;
      }
      await this.#more();
    }
  }

  /** The part's content, as text. */
  async text(limit: number): Promise<string> {
    const end = this.#bytes.indexOf(this.#delimiter);
    if (end >= 0 && end - this.#skip <= limit) {
      // All of it has come: nothing is waited for.
      const text = this.#bytes.toString("utf8", Math.min(this.#skip, end), end);
      this.#leave(end);
      return text;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of this.content(limit, "field")) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString();
  }

  /** The part's content, in chunks, each for as long as the next has not been asked for; refused where it is too long for its kind. */
  async *content(limit: number, kind: "field" | "file"): AsyncGenerator<Buffer> {
    let bytes = 0;
    for await (const chunk of this.#untilDelimiter()) {
      const skip = Math.min(this.#skip, chunk.length);
      this.#skip -= skip;
      bytes += chunk.length - skip;
      if (bytes > limit) throw tooMuch(`bytes in a ${kind}`, limit);
      if (chunk.length > skip) yield skip === 0 ? chunk : chunk.subarray(skip);
    }
  }

  async *#untilDelimiter(): AsyncGenerator<Buffer> {
    const delimiter = this.#delimiter;
    const most = delimiter.length - 1;
    for (;;) {
      const at = this.#bytes.indexOf(delimiter);
      if (at >= 0) {
        if (at > 0) yield this.#bytes.subarray(0, at);
        this.#leave(at);
        return;
      }
      // All but what may be a delimiter's beginning.
      const sure = this.#bytes.length - most;
      if (sure > 0) {
        const chunk = this.#bytes.subarray(0, sure);
        this.#bytes = this.#bytes.subarray(sure);
        yield chunk;
      }
      // All else has been taken by now: the chunk's memory may go.
      const rest = Buffer.from(this.#bytes);
      this.#bytes = rest;
      this.#body.free(this.#last);
      const chunk = await this.#chunk();
      if (chunk.length < most) {
        this.#bytes = Buffer.concat([rest, chunk]);
        continue;
      }
      // One that begins in the rest ends in here: else the chunk is not copied.
      const seam = Buffer.concat([rest, chunk.subarray(0, most)]);
      const within = seam.indexOf(delimiter);
      this.#bytes = chunk;
      if (within < 0) {
        if (rest.length > 0) yield rest;
        continue;
      }
      if (within > 0) yield seam.subarray(0, within);
      this.#leave(within - rest.length);
      return;
    }
  }

  /** Behind the delimiter that is found at `at`. */
  #leave(at: number): void {
    this.#bytes = this.#bytes.subarray(at + this.#delimiter.length);
    this.#inPart = false;
    this.#skip = 0;
  }

  async #more(): Promise<void> {
    const chunk = await this.#chunk();
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  async #chunk(): Promise<Buffer> {
    const chunk = await this.#body.read();
    if (chunk === null) throw malformed("it ends before its last boundary");
    this.#total += chunk.length;
    if (this.#total > this.#limits.bodyBytes) throw tooMuch("bytes", this.#limits.bodyBytes);
    this.#last = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    return this.#last;
  }

  /** Reads an epilogue, so that the connection can be used again; not one that is long. */
  async end(): Promise<void> {
    for (let left = this.#limits.headerBytes - this.#bytes.length; left > 0; ) {
      const chunk = await this.#body.read();
      if (chunk === null) return;
      left -= chunk.length;
    }
  }
}
