// Much at once with one promise: whole files (readMany), stats (statMany).
// Failures are returned beside the results, as Promise.allSettled does.
// Assumes nothing of its arguments; a wrong one rejects before anything is queued.

import type { BigIntStats, Stats } from "node:fs";
import { cancellable, currentBackend } from "../backend/choose.ts";
import { abortable, type Limits, limited, throwIfAborted } from "../node/abort.ts";
import { invalidArgType, validateEncoding, validateInteger, validateObject } from "../node/arguments.ts";
import { parseFlags } from "../node/open-flags.ts";
import { limitsIn } from "../node/options.ts";
import { toPath } from "../node/path.ts";
import { isAborted } from "../node/signal.ts";

type PathLike = string | Uint8Array | URL;

/** Files read at once where the caller does not say: one turn of the ring holds their chains. */
const CONCURRENCY = 64;

/** `signal` and `timeoutMs` end the whole call. */
export interface ManyOptions extends Limits {
  /** Operations in flight at once; 64 by default. */
  concurrency?: number;
}

export interface ReadManyOptions extends ManyOptions {
  /** Files as strings of this encoding; as Buffers without one. */
  encoding?: BufferEncoding | null | undefined;
}

/**
 * Reads whole files, `concurrency` at a time. Resolves, as Promise.allSettled does, to one entry for each path, in their
 * order: `{ status: "fulfilled", value }` or `{ status: "rejected", reason }` with that file's error.
 * Rejects only for wrong arguments (ERR_*) and when the signal is aborted (AbortError).
 */
export function readMany(
  paths: Iterable<PathLike>,
  options: ReadManyOptions & { encoding: BufferEncoding },
): Promise<PromiseSettledResult<string>[]>;
export function readMany(
  paths: Iterable<PathLike>,
  options?: ReadManyOptions & { encoding?: null | undefined },
): Promise<PromiseSettledResult<Buffer>[]>;
export async function readMany(
  paths: Iterable<PathLike>,
  options: ReadManyOptions = {},
): Promise<PromiseSettledResult<Buffer | string>[]> {
  const list = pathsOf(paths);
  const { concurrency, limits } = manyOptions(options);
  const { encoding } = options;
  validateEncoding(encoding, "options.encoding");
  const backend = currentBackend();
  const flags = parseFlags("r");
  return settleAll(list.length, concurrency, limits, "read", (i, signal) =>
    backend.readFile(list[i]!, flags, { encoding, signal }),
  );
}

/**
 * Stats of many paths, following symbolic links. Resolves, as Promise.allSettled does, to one entry for each path, in
 * their order. Rejects only for wrong arguments (ERR_*) and when the signal is aborted (AbortError).
 */
export function statMany(
  paths: Iterable<PathLike>,
  options: ManyOptions & { bigint: true },
): Promise<PromiseSettledResult<BigIntStats>[]>;
export function statMany(
  paths: Iterable<PathLike>,
  options?: ManyOptions & { bigint?: false },
): Promise<PromiseSettledResult<Stats>[]>;
export async function statMany(
  paths: Iterable<PathLike>,
  options: ManyOptions & { bigint?: boolean } = {},
): Promise<PromiseSettledResult<Stats | BigIntStats>[]> {
  const list = pathsOf(paths);
  const { concurrency, limits } = manyOptions(options);
  const bigint = options.bigint === true;
  const backend = currentBackend();
  return settleAll(list.length, concurrency, limits, "stat", (i, signal) => {
    const stat = (): Promise<Stats | BigIntStats> => backend.stat(list[i]!, bigint);
    return signal === undefined ? stat() : cancellable(stat, signal);
  });
}

function pathsOf(paths: Iterable<PathLike>): (string | Buffer)[] {
  if (typeof paths === "string" || typeof paths?.[Symbol.iterator] !== "function")
    throw invalidArgType("paths", "Iterable", paths);
  return Array.from(paths, (path, i) => toPath(path, `paths[${i}]`));
}

function manyOptions(options: ManyOptions): { concurrency: number; limits: Limits | null } {
  validateObject(options, "options");
  const { concurrency = CONCURRENCY, signal, timeoutMs } = options;
  validateInteger(concurrency, "options.concurrency", 1);
  const limits = limitsIn({ signal, timeoutMs });
  throwIfAborted(limits?.signal);
  return { concurrency, limits };
}

type Start<T> = (index: number, signal: AbortSignal | undefined) => Promise<T>;

/** Runs `start(0 … count - 1)`, `concurrency` at a time, and keeps each outcome. The limits are those of the whole. */
function settleAll<T>(
  count: number,
  concurrency: number,
  limits: Limits | null,
  syscall: string,
  start: Start<T>,
): Promise<PromiseSettledResult<T>[]> {
  const results = new Array<PromiseSettledResult<T>>(count);
  let next = 0;
  const worker = async (signal: AbortSignal | undefined): Promise<void> => {
    while (next < count && !isAborted(signal)) {
      const i = next++;
      try {
        results[i] = { status: "fulfilled", value: await start(i, signal) };
      } catch (reason) {
        results[i] = { status: "rejected", reason };
      }
    }
  };
  const run = (signal: AbortSignal | undefined): Promise<PromiseSettledResult<T>[]> =>
    Promise.all(Array.from({ length: Math.min(concurrency, count) }, () => worker(signal))).then(() => results);
  return limits === null ? run(undefined) : limited(limits, syscall, (signal) => abortable(run(signal), signal));
}
