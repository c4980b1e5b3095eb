// watch: the changes of a file or folder as an async iterable, over node:fs's watcher, with Node's queue before it.
// Assumes nothing of its arguments. Never watches before the first value is asked for, nor after the loop was left.

import type * as fs from "node:fs";
import type * as node from "node:fs/promises";
import {
  codedError,
  invalidArgType,
  validateAbortSignal,
  validateBoolean,
  validateEncoding,
  validateInteger,
  validateOneOf,
} from "../node/arguments.ts";
import { bunFs } from "../node/bun-fs.ts";
import { abortError, systemError } from "../node/errors.ts";
import { toPath } from "../node/path.ts";
import { isAborted } from "../node/signal.ts";

/** Changes that are kept for a slow reader, unless `maxQueue` says otherwise. */
const MAX_QUEUE = 2048;

type Change = node.FileChangeInfo<string | NonSharedBuffer>;
type Given = fs.WatchOptions & { maxQueue: number; overflow: "ignore" | "error"; ignore: unknown };

/**
 * Tells of changes of a file or folder until the signal is aborted or the loop is left. Beyond `maxQueue` (2048) changes
 * that nobody has taken further ones are lost with a warning, or end it with ERR_FS_WATCH_QUEUE_OVERFLOW if `overflow` is
 * "error". `ignore` leaves out names: a glob, a regular expression, a function, or an array of them.
 */
export const watch: (typeof node)["watch"] = (filename: fs.PathLike, options: unknown = {}): any =>
  watching(filename, options);

async function* watching(filename: fs.PathLike, options: unknown): AsyncGenerator<Change> {
  const path = toPath(filename);
  const given = checkedOptions(options);
  const { signal } = given;
  if (isAborted(signal)) throw abortError(signal);
  const queue = new Queue(given.maxQueue, given.overflow === "error");
  const abort = (): void => queue.fail(abortError(signal));
  signal?.addEventListener("abort", abort);
  let watcher: fs.FSWatcher | null = null;
  try {
    watcher = start(path, filename, given, queue);
    for (;;) yield await queue.next();
  } finally {
    signal?.removeEventListener("abort", abort);
    watcher?.close();
  }
}

function checkedOptions(options: unknown): Given {
  const given = (typeof options === "string" ? { encoding: options } : options) as Partial<Given>;
  if (given === null || typeof given !== "object") throw invalidArgType("options", ["string", "Object"], options);
  const { persistent = true, recursive = false, maxQueue = MAX_QUEUE, overflow = "ignore", ignore } = given;
  const { encoding, signal } = given;
  validateBoolean(persistent, "options.persistent");
  validateBoolean(recursive, "options.recursive");
  validateInteger(maxQueue, "options.maxQueue");
  validateOneOf(overflow, "options.overflow", ["ignore", "error"]);
  validateAbortSignal(signal, "options.signal");
  if ((encoding as string) !== "buffer") validateEncoding(encoding);
  return { persistent, recursive, maxQueue, overflow, ignore, encoding, signal };
}

function start(path: string | Buffer, filename: fs.PathLike, given: Given, queue: Queue): fs.FSWatcher {
  const refused = (error: NodeJS.ErrnoException): Error =>
    typeof error.errno === "number" ? Object.assign(systemError(error.errno, "watch", path), { filename }) : error;
  // The signal stays here: node:fs would end the watcher without a word.
  const { persistent, recursive, encoding, ignore } = given;
  const options = { persistent, recursive, encoding, ...(ignore === undefined ? {} : { ignore }) };
  try {
    const watcher = bunFs.watch(path, options as fs.WatchOptionsWithStringEncoding, (eventType, name) => {
      queue.push({ eventType, filename: name });
    });
    return watcher.on("error", (error) => queue.fail(refused(error)));
  } catch (error) {
    throw refused(error as NodeJS.ErrnoException);
  }
}

/** Changes on their way to one reader. */
class Queue {
  readonly #limit: number;
  readonly #overflowIsError: boolean;
  #changes: Change[] = [];
  #failure: Error | null = null;
  #wake: (() => void) | null = null;

  constructor(limit: number, overflowIsError: boolean) {
    this.#limit = limit;
    this.#overflowIsError = overflowIsError;
  }

  push(change: Change): void {
    if (this.#changes.length < this.#limit) this.#changes.push(Object.assign(Object.create(null), change));
    else if (this.#overflowIsError) this.fail(queueOverflow(this.#limit));
    else process.emitWarning("fs.watch maxQueue exceeded");
    this.#wake?.();
  }

  /** Changes that were not taken yet are dropped, as in Node. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#changes = [];
    this.#wake?.();
  }

  async next(): Promise<Change> {
    while (this.#changes.length === 0 && this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure !== null) throw this.#failure;
    return this.#changes.shift()!;
  }
}

function queueOverflow(limit: number): Error {
  return codedError(Error, "ERR_FS_WATCH_QUEUE_OVERFLOW", `fs.watch() queued more than ${limit} events`);
}
