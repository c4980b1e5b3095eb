// The options of serveFile, read once and checked; and the headers that they give a file.
// Assumes nothing of what it is given. A user's callbacks run here, in the request's own turn, and nowhere else.

import type { Stats } from "node:fs";
import {
  invalidArgType,
  validateBoolean,
  validateEach,
  validateFunction,
  validateInteger,
  validateObject,
  validateOneOf,
  validateString,
} from "../node/arguments.ts";
import { epochMs } from "../node/clock.ts";
import { SENDFILE_BYTES } from "./body.ts";
import type { Entry, EntryHeaders } from "./entry.ts";

/** Content codings whose precompressed siblings are served: `.br`, `.zst`, `.gz`. */
export type Encoding = "br" | "zstd" | "gzip";
const SUFFIXES: Readonly<Record<Encoding, string>> = { br: ".br", zstd: ".zst", gzip: ".gz" };
const ENCODINGS = Object.keys(SUFFIXES) as Encoding[];
/** Seconds: what "immutable" is cached for. */
const YEAR = 31_536_000;

/** What `headers` is told of a file. */
export type ServedFile = Pick<Stats, "size" | "mtimeMs">;

/** How `serveFile` finds a file and answers with it. */
export interface ServeOptions {
  /** Taken off the front of the request's path: "/static". Default none. */
  prefix?: string | undefined;
  /** The name beneath the root, in place of the request's path. */
  name?: string | undefined;
  /** Cache-Control of every answer with a file. */
  cacheControl?: string | undefined;
  /** Seconds; the short form of `cacheControl: "public, max-age=…"`. */
  maxAge?: number | undefined;
  /** Names that never change their content, as `/-[0-9a-f]{8}\./`: cached for a year and "immutable". */
  immutable?: RegExp | undefined;
  /** Further headers of a file, asked once a version. */
  headers?: ((name: string, file: ServedFile) => Record<string, string>) | undefined;
  /** File of a folder (default "index.html"); false: folders are not found. */
  index?: string | false | undefined;
  /** Name that is answered with where nothing is found and a page is asked for: single-page applications. */
  fallback?: string | undefined;
  /** Names with a component that begins with a dot: "deny" (default, as if missing; .well-known is not) or "allow". */
  dotfiles?: "deny" | "allow" | undefined;
  /** As an attachment; a string is its file name. */
  download?: boolean | string | undefined;
  /** Answers with NAME.br, .zst and .gz where they are and the client takes them: true, or those to look for, best first. */
  precompressed?: boolean | readonly Encoding[] | undefined;
  /** Milliseconds for which a name stands for the file that was found (default 1,000; changes in place are always seen). */
  revalidateMs?: number | undefined;
  /** What a missing file is answered with (default 404 and a line of text). */
  notFound?: ((request: Request) => Response | Promise<Response>) | undefined;
  /** What an error that is not the client's is answered with (default 500); `error` is the file system's. */
  onError?: ((error: Error, request: Request) => Response | Promise<Response>) | undefined;
}

/** Set by the faces whose server does not find out how long a body is: node:http's. */
export const kLengths: unique symbol = Symbol("lengths");

type AsGiven = "name" | "cacheControl" | "immutable" | "headers" | "fallback" | "notFound" | "onError";

/** The options as they were at the call, with their defaults. */
export interface Checked
  extends Readonly<Required<Pick<ServeOptions, "prefix" | "revalidateMs">>>,
    Readonly<Pick<ServeOptions, AsGiven>> {
  readonly lengths: boolean;
  readonly index: string | false;
  readonly dotfiles: boolean;
  readonly disposition: string;
  readonly encodings: readonly Encoding[];
}

const DEFAULTS: Checked = check({});
const checkedOptions = new WeakMap<ServeOptions, Checked>();

/** Checks an options object, once: it is not looked at again. */
export function serveOptions(options: ServeOptions | undefined): Checked {
  if (options === undefined) return DEFAULTS;
  validateObject(options, "options");
  let checked = checkedOptions.get(options);
  if (checked === undefined) {
    checked = check(options);
    checkedOptions.set(options, checked);
  }
  return checked;
}

function check(options: ServeOptions): Checked {
  const { prefix = "", name, cacheControl, maxAge, immutable, headers, index = "index.html", fallback } = options;
  const {
    dotfiles = "deny",
    download = false,
    precompressed = false,
    revalidateMs = 1000,
    notFound,
    onError,
  } = options;
  validateEach(validateString, { prefix, name, cacheControl, fallback });
  if (cacheControl !== undefined) new Headers({ "cache-control": cacheControl }); // throws for what no header can be
  if (maxAge !== undefined) validateInteger(maxAge, "options.maxAge", 0);
  if (immutable !== undefined && !(immutable instanceof RegExp))
    throw invalidArgType("options.immutable", ["RegExp"], immutable);
  validateEach(validateFunction, { headers, notFound, onError });
  if (index !== false && typeof index !== "string") throw invalidArgType("options.index", ["string", "false"], index);
  validateOneOf(dotfiles, "options.dotfiles", ["deny", "allow"]);
  if (typeof download !== "string") validateBoolean(download, "options.download");
  validateInteger(revalidateMs, "options.revalidateMs", 0);
  let encodings: readonly Encoding[] = [];
  if (Array.isArray(precompressed)) {
    encodings = [...(precompressed as readonly Encoding[])];
    for (const encoding of encodings) validateOneOf(encoding, "options.precompressed", ENCODINGS);
  } else {
    validateBoolean(precompressed, "options.precompressed");
    if (precompressed) encodings = ENCODINGS;
  }
  return {
    lengths: kLengths in options,
    prefix: prefix.replace(/\/+$/, ""),
    name,
    cacheControl: cacheControl ?? (maxAge === undefined ? undefined : `public, max-age=${maxAge}`),
    // Neither "g" nor "y": those keep a place between two tests.
    immutable: immutable && new RegExp(immutable.source, immutable.flags.replace(/[gy]/g, "")),
    headers,
    index,
    fallback,
    dotfiles: dotfiles === "allow",
    disposition: dispositionOf(download),
    encodings,
    revalidateMs,
    notFound,
    onError,
  };
}

/** Content-Disposition, RFC 6266; "inline" keeps Bun from naming the file by its descriptor. */
function dispositionOf(download: boolean | string): string {
  if (download === false) return "inline";
  if (download === true) return "attachment";
  const ascii = download.replace(/[^\x20-\x7e]|["\\]/g, "_");
  // A lone surrogate has no code.
  const encoded = encodeURIComponent(download.toWellFormed()).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}

/** The name of a file's sibling in an encoding. */
export const siblingOf = (name: string, encoding: Encoding): string => name + SUFFIXES[encoding];

const types = new Map<string, string>();

/** Media type by the name's ending, as Bun knows them, with its charset. */
function typeOf(name: string): string {
  const ending = /\.[^./]*$/.exec(name)?.[0] ?? "";
  let type = types.get(ending);
  if (type === undefined) {
    type = Bun.file(`x${ending}`).type;
    if (types.size < 1000) types.set(ending, type);
  }
  return type;
}

/** The headers of answers with this version of a file, as they were made; null if they are those of other options. */
export function knownHeaders({ headers }: Entry, name: string, options: Checked): EntryHeaders | null {
  return headers !== null && headers.of === options && headers.name === name ? headers : null;
}

/** Makes them, once a version and options. Runs the user's `headers`. */
export function makeHeaders(entry: Entry, name: string, encoding: Encoding | "", options: Checked): EntryHeaders {
  // Never later than the answer itself (RFC 9110 8.8.2.1).
  const modified = Math.min(entry.modified * 1000, epochMs());
  const unchanged = new Headers({ etag: entry.etag, "last-modified": new Date(modified).toUTCString() });
  if (options.encodings.length > 0) unchanged.set("vary", "Accept-Encoding");
  if (options.immutable?.test(name)) unchanged.set("cache-control", `public, max-age=${YEAR}, immutable`);
  else if (options.cacheControl !== undefined) unchanged.set("cache-control", options.cacheControl);
  if (options.headers !== undefined) {
    const given = options.headers(name, { size: entry.size, mtimeMs: entry.modified * 1000 + entry.modifiedNs / 1e6 });
    for (const [key, value] of Object.entries(given ?? {})) unchanged.set(key, value);
  }
  const whole = new Headers({ "content-type": typeOf(name), "accept-ranges": "bytes" });
  // Bun would name a file that it sends by its descriptor.
  if (options.disposition !== "inline" || entry.size >= SENDFILE_BYTES)
    whole.set("content-disposition", options.disposition);
  if (encoding !== "") whole.set("content-encoding", encoding);
  for (const [key, value] of unchanged) whole.set(key, value); // what the user gave has the last word
  entry.headers = { of: options, name, whole, unchanged };
  return entry.headers;
}
