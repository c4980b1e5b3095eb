// The options of AppendLog, read once and checked, and what it says of itself.
// Assumes nothing of what it is given. Opens nothing.

import { resolve } from "node:path";
import { type CacheUse, isBypass } from "../fs/open.ts";
import {
  invalidArgValue,
  validateBoolean,
  validateFunction,
  validateInteger,
  validateObject,
  validateOneOf,
} from "../node/arguments.ts";
import { FILE_MODE, parseMode } from "../node/open-flags.ts";
import { toPath } from "../node/path.ts";
import { type Durability, validateDurability } from "./atomic.ts";
import { FRAME_HEADER_BYTES, MAX_RECORD_BYTES } from "./frames.ts";

/** "records": any bytes, each checked and found again; "lines": text, one line each; "raw": bytes as they are. */
export type Framing = "records" | "lines" | "raw";

/** A segment that is complete and on the device. */
export interface SegmentInfo {
  path: string;
  /** Offsets in the log: of its first record, and behind its last (of lines and raw bytes: in the file). */
  from: number;
  to: number;
  /** CRC-32 of the file as it was written (before compression). */
  crc: number;
}

/** When a log goes on in a new segment, and what becomes of the old ones. */
export interface RotateOptions {
  /** A segment is ended at the first group that takes it beyond so many bytes. */
  maxBytes?: number | undefined;
  /** … or that comes after so many milliseconds. */
  maxAgeMs?: number | undefined;
  /** Ended segments that are kept (default: all); only such as `onSegment` has had. */
  keep?: number | undefined;
  /** Ended segments are compressed with gzip. */
  compress?: boolean | undefined;
}

/** How a log is written, what it promises, and what it does when it is full. */
export interface AppendLogOptions {
  /**
   * When `append` resolves: "data" (default) once the record is on the device, "full" also once the file's name is, at its making
   * and at each rotation, "none" once the kernel has it.
   */
  durability?: Durability | undefined;
  framing?: Framing | undefined;
  /** Bytes that may wait, in both buffers together (default 16 MiB). */
  maxPendingBytes?: number | undefined;
  /** What `append` does when that many wait: waits (default), rejects, or lets the record go (and rejects). */
  onFull?: "wait" | "drop" | "reject" | undefined;
  /** With "none": milliseconds for which records are gathered (default 0: until the end of the turn). */
  flushIntervalMs?: number | undefined;
  /** Bytes that are filled with zeros ahead, a step at a time: a durable append into them is cheaper (default 0). "records" only. */
  preallocate?: number | undefined;
  /** "bypass": records leave the page cache when they are on the device, as with `open`. Default "keep". */
  cache?: CacheUse | undefined;
  /** Permissions of the file, less the umask (default 0o666). */
  mode?: number | string | undefined;
  /** A torn end, as a crash leaves it: "truncate" (default) cuts it off and says so, "error" rejects with ERR_LOG_TORN. */
  recover?: "truncate" | "error" | undefined;
  rotate?: RotateOptions | undefined;
  /** Called with each segment that has ended, in order, again until it resolves, also after a restart: at least once. */
  onSegment?: ((segment: SegmentInfo) => Promise<void> | void) | undefined;
}

/** Counts of one log since it was opened. */
export interface LogStats {
  /** Records and bytes that are as durable as was asked for, and the groups in which they were written. */
  records: number;
  bytes: number;
  groups: number;
  /** Bytes that wait. */
  pendingBytes: number;
  /** Records that nobody waited for and that are not in the log: it was full, or their write failed. */
  dropped: number;
  /** Offset behind the last durable record. */
  end: number;
  /** What has ended the log; null while it works. */
  failure: Error | null;
}

/** The options with defaults, in memory of its own. */
export interface Checked
  extends Readonly<Required<Omit<AppendLogOptions, "cache" | "mode" | "rotate" | "onSegment">>>,
    Readonly<Required<RotateOptions>> {
  readonly path: string;
  readonly mode: number;
  readonly bypass: boolean;
  readonly onSegment: AppendLogOptions["onSegment"];
}

const MIB = 1024 * 1024;

export function logOptions(path: string | URL, options: AppendLogOptions): Checked {
  const target = resolve(toPath(path).toString());
  validateObject(options, "options");
  const { durability = "data", framing = "records", maxPendingBytes = 16 * MIB, onFull = "wait" } = options;
  const { flushIntervalMs = 0, preallocate = 0, cache, mode, recover = "truncate", rotate = {}, onSegment } = options;
  validateDurability(durability);
  validateOneOf(framing, "options.framing", ["records", "lines", "raw"]);
  validateOneOf(onFull, "options.onFull", ["wait", "drop", "reject"]);
  validateOneOf(recover, "options.recover", ["truncate", "error"]);
  validateInteger(maxPendingBytes, "options.maxPendingBytes", 4096, 2 ** 31 - 1);
  validateInteger(flushIntervalMs, "options.flushIntervalMs", 0, 2 ** 31 - 1);
  validateInteger(preallocate, "options.preallocate", 0);
  if (preallocate > 0 && framing !== "records")
    throw invalidArgValue("options.preallocate", preallocate, 'needs framing "records": zeros are no lines');
  validateObject(rotate, "options.rotate");
  const { maxBytes = 0, maxAgeMs = 0, keep = Number.POSITIVE_INFINITY, compress = false } = rotate;
  validateInteger(maxBytes, "options.rotate.maxBytes", 0);
  validateInteger(maxAgeMs, "options.rotate.maxAgeMs", 0);
  if (keep !== Number.POSITIVE_INFINITY) validateInteger(keep, "options.rotate.keep", 0);
  validateBoolean(compress, "options.rotate.compress");
  if (onSegment !== undefined) validateFunction(onSegment, "options.onSegment");
  return {
    path: target,
    durability,
    framing,
    maxPendingBytes,
    onFull,
    flushIntervalMs,
    preallocate,
    bypass: isBypass(cache),
    mode: parseMode(mode, "options.mode", FILE_MODE),
    recover,
    maxBytes: maxBytes || Number.POSITIVE_INFINITY,
    maxAgeMs: maxAgeMs || Number.POSITIVE_INFINITY,
    keep,
    compress,
    onSegment,
  };
}

/** The longest record of a log. */
export const maxRecordBytes = ({ maxPendingBytes }: Checked): number =>
  Math.min(MAX_RECORD_BYTES, maxPendingBytes - FRAME_HEADER_BYTES);
