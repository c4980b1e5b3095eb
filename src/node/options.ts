// The options that readFile, writeFile, appendFile and stat share, and the forms in which data and times are given.
// Assumes nothing of its arguments: they come straight from the user. Never changes what it is given.

import type { ReadPosition } from "node:fs";
import type { Limits } from "./abort.ts";
import {
  invalidArgType,
  validateAbortSignal,
  validateBoolean,
  validateEncoding,
  validateInteger,
  validateObject,
  validateOneOf,
  validateStringData,
} from "./arguments.ts";
import { isView } from "./views.ts";

type View = NodeJS.ArrayBufferView;

/** The longest time that a timer takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** What the user may have given; only `encoding` and the limits are checked, the rest by whoever uses it. */
export interface FileOptions extends Limits {
  encoding?: BufferEncoding | null;
  flag?: unknown;
  mode?: unknown;
  flush?: unknown;
  buffer?: unknown;
}

/** What FileHandle.read takes in place of, or beside, a buffer. */
export interface HandleReadRange extends Limits {
  offset?: number | null | undefined;
  length?: number | null | undefined;
  position?: ReadPosition | null | undefined;
}

/** What FileHandle.readFile and writeFile take: the file is open, so neither flag nor mode. */
export interface HandleReadOptions extends Limits {
  encoding?: BufferEncoding | null | undefined;
}
export interface HandleWriteOptions extends HandleReadOptions {
  flush?: boolean | undefined;
}

/** What FileHandle.write and writev take beside the data and its position. */
export interface TransferOptions extends Limits {
  /**
   * Resolves when all of the data is on the storage device, never after a part of it. A failed sync fails for good: see
   * `sync()`. Default false.
   */
  flush?: boolean | undefined;
}

/** Throws unless `options.signal` and `options.timeoutMs` are absent or fit. */
export function validateLimits({ signal, timeoutMs }: { signal?: unknown; timeoutMs?: unknown }): void {
  validateAbortSignal(signal, "options.signal");
  if (timeoutMs !== undefined) validateInteger(timeoutMs, "options.timeoutMs", 1, MAX_TIMEOUT_MS);
}

/** The limits that options hold, each read once and checked; null if they hold none. */
export function limitsIn({ signal, timeoutMs }: { signal?: unknown; timeoutMs?: unknown }): Limits | null {
  if (signal === undefined && timeoutMs === undefined) return null;
  const limits = { signal, timeoutMs };
  validateLimits(limits);
  return limits as Limits;
}

/** Whether something may end the operation early. */
export function isLimited({ signal, timeoutMs }: Limits): boolean {
  return Boolean(signal) || timeoutMs !== undefined;
}

const NONE: FileOptions = {};

/** Options, an encoding, or nothing. Throws as Node does for anything else. */
export function fileOptions(options: unknown): FileOptions {
  if (options === undefined || options === null || typeof options === "function") return NONE;
  if (typeof options === "string") {
    if (options !== "buffer") validateEncoding(options);
    return { encoding: options as BufferEncoding };
  }
  if (typeof options !== "object") throw invalidArgType("options", ["string", "Object"], options);
  // Read once, into an object of our own: what the caller has may change, and a getter's answer, too.
  const { encoding, flag, mode, flush, buffer, signal, timeoutMs } = options as FileOptions;
  if ((encoding as string) !== "buffer") validateEncoding(encoding);
  const given: FileOptions = { encoding, flag, mode, flush, buffer, signal, timeoutMs };
  validateLimits(given);
  return given;
}

/** What readdir and opendir take beside an encoding, unchecked; read once, as there. */
export interface FolderOptions {
  encoding?: BufferEncoding | null | undefined;
  recursive: unknown;
  withFileTypes: unknown;
  bufferSize: unknown;
}

/** Options of readdir and opendir, an encoding, or nothing. Throws as `fileOptions` does. */
export function folderOptions(options: unknown): FolderOptions {
  const { encoding } = fileOptions(options);
  const { recursive, withFileTypes, bufferSize } = (
    typeof options === "object" && options !== null ? options : NONE
  ) as Partial<FolderOptions>;
  return { encoding, recursive, withFileTypes, bufferSize };
}

/** What becomes of the page cache. */
export type CacheUse = "keep" | "bypass";

/** Whether `options.cache` asks for "bypass"; throws for a word that is none. */
export function isBypass(cache: CacheUse | undefined): boolean {
  if (cache !== undefined) validateOneOf(cache, "options.cache", ["keep", "bypass"]);
  return cache === "bypass";
}

/** `options.flush`, false by default. */
export function flushOption(options: { flush?: unknown }): boolean {
  const flush = options.flush ?? false;
  validateBoolean(flush, "options.flush");
  return flush;
}

interface StatOptions {
  bigint: boolean;
  throwIfNoEntry: boolean;
  /** Null if there are none. */
  limits: Limits | null;
}

/** The options of stat, lstat and FileHandle.stat. */
export function statOptions(options: unknown): StatOptions {
  validateObject(options, "options");
  const { bigint, throwIfNoEntry = true, signal, timeoutMs } = options as Record<string, unknown>;
  return {
    bigint: bigint === true,
    throwIfNoEntry: Boolean(throwIfNoEntry),
    limits: limitsIn({ signal, timeoutMs }),
  };
}

/** Data that writeFile and appendFile take as a whole. */
export type WholeData = string | View;
/** Data that they take chunk by chunk. */
export type DataChunks = Iterable<WholeData> | AsyncIterable<WholeData>;

/** Arrays, sets, generators, streams: what is iterated, and neither a string nor a view. */
export function isChunks(data: unknown): data is DataChunks {
  if (data === null || typeof data !== "object" || isView(data)) return false;
  const { [Symbol.iterator]: iterator, [Symbol.asyncIterator]: asyncIterator } = data as Record<symbol, unknown>;
  return typeof iterator === "function" || typeof asyncIterator === "function";
}

/** Whole data as bytes: a view as it is, a string in its encoding, utf8 if none is given. */
export function viewOf(data: unknown, name: string, encoding?: BufferEncoding | null): View {
  if (isView(data)) return data as View;
  if (typeof data !== "string") throw invalidArgType(name, ["string", "Buffer", "TypedArray", "DataView"], data);
  return Buffer.from(data, encoding || "utf8");
}

/** The bytes of a string given to FileHandle.write. Node takes an encoding it doesn't know for utf8 here. */
export function stringBytes(data: string, encoding: unknown): Buffer {
  validateStringData(data, encoding);
  return Buffer.from(data, Buffer.isEncoding(encoding as string) ? (encoding as BufferEncoding) : "utf8");
}
