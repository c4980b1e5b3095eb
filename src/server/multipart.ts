// multipart/form-data (RFC 7578, 2046), streaming: fields as text, files as streams of bytes that go to disk as they come. Nothing
// is held whole, and every size and count has its limit.
// Names that a client gives are never trusted: files are stored under names made here unless the caller asks otherwise.

import { randomUUID } from "node:crypto";
import { type Durability, replaceBy, validateDurability } from "../durable/atomic.ts";
import { throwIfAborted } from "../node/abort.ts";
import {
  invalidArgType,
  validateAbortSignal,
  validateFunction,
  validateInteger,
  validateObject,
} from "../node/arguments.ts";
import { writeChunks } from "./chunk-writer.ts";
import { boundaryOf, Form, malformed, tooMuch } from "./form.ts";
import { announcedLength, BodyReader, mustBeUnread, received } from "./intake.ts";
import { checkName } from "./names.ts";
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
  validateObject(given, "options.limits");
  const limits: Limits = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS) as (keyof Limits)[]) {
    const value = given[key];
    if (value === undefined) continue;
    validateInteger(value, `options.limits.${key}`, 0);
    limits[key] = value;
  }
  if (nameFor !== undefined) validateFunction(nameFor, "options.nameFor");
  validateDurability(durability);
  validateAbortSignal(signal, "options.signal");
  throwIfAborted(signal);
  mustBeUnread(request);
  const boundary = boundaryOf(request.headers.get("content-type"));
  if ((announcedLength(request) ?? 0) > limits.bodyBytes) throw tooMuch("bytes", limits.bodyBytes);
  if (request.body === null) throw malformed("there is no body");
  const body = new BodyReader(request.body, signal);
  const form = new Form(body, boundary, limits);
  let [parts, fields, files] = [0, 0, 0];
  try {
    for (let part = await form.next(); part !== null; part = await form.next()) {
      const { name, filename, type } = part;
      if (parts++ === limits.parts) throw tooMuch("parts", limits.parts);
      if (filename === null) {
        if (fields++ === limits.fields) throw tooMuch("fields", limits.fields);
        yield { kind: "field", name, value: await form.text(limits.fieldBytes) };
        continue;
      }
      if (files++ === limits.files) throw tooMuch("files", limits.files);
      const storedAs = nameFor === undefined ? randomUUID() : await nameFor({ field: name, filename, type });
      const bytes = await store(form, root, storedAs, limits.fileBytes, durability);
      yield { kind: "file", name, filename, type, storedAs, bytes };
    }
    await form.end();
  } finally {
    body.close();
  }
}

async function store(form: Form, root: Root, name: string, limit: number, durability: Durability): Promise<number> {
  let bytes = 0;
  try {
    await inParentOf(root, checkName(name), (path) =>
      replaceBy(String(path), { durability, overwrite: false }, async (handle) => {
        bytes = await writeChunks(handle, 0, form.content(limit, "file"));
      }),
    );
  } catch (error) {
    throw received(error);
  }
  return bytes;
}
