// Chains: linked SQEs that the kernel runs one after another from a single submit, built link by link.
// A file that a chain opens is closed when the chain is over, however it went. A chain that broke says at which link,
// and which links never ran.

import { closeSync, type Stats } from "node:fs";
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  FSYNC_DATASYNC,
  O_CLOEXEC,
  STATX_BASIC_STATS,
  STATX_BTIME,
  STATX_WORDS,
} from "../kernel/constants.ts";
import { DEAF, Opcode, SqeFlag } from "../kernel/sqe.ts";
import { bufferList, codedError, validateAbortSignal } from "../node/arguments.ts";
import { ECANCELED, ETIME } from "../node/errno.ts";
import { errnoOf, systemError } from "../node/errors.ts";
import { parseFlags, parseMode } from "../node/open-flags.ts";
import { toPath } from "../node/path.ts";
import { statsFromStatx } from "../node/stats.ts";
import { byteLengthOf, totalLength } from "../node/views.ts";
import { type Sqe, takenOnce } from "./sqe-fields.ts";
import type { Runner } from "./submit.ts";

type View = NodeJS.ArrayBufferView;
type PathLike = string | Uint8Array | URL;
/** What links act on: a descriptor, an open handle. */
type File = number | { readonly fd: number };

interface Link {
  /** What the chain calls it, and the system call that its error names. */
  name: string;
  syscall: string;
  /** Made when the direct descriptors are known. */
  sqe: (slots: readonly number[]) => Sqe;
  path?: PathLike;
  dest?: PathLike;
  /** Bytes that a transfer asks for: fewer break the chain. */
  wanted?: number;
  /** Which of the chain's direct descriptors it opens or closes. */
  opens?: number;
  closes?: number;
  /** It opens a plain descriptor, which is the caller's if the chain succeeds. */
  opensFd?: boolean;
  hard: boolean;
  /** The LINK_TIMEOUT after it, in milliseconds. */
  timeoutMs?: number;
  /** What the link's result is made of, where that isn't `res` itself. */
  value?: () => unknown;
}

/** What a broken chain rejects with: the error of the link that failed, as Node's errors are, and where it was. */
export interface ChainError extends NodeJS.ErrnoException {
  /** Number of the link that failed, from 0, and its name. */
  link: number;
  linkName: string;
  /** Numbers of the links that were cancelled because of it. */
  cancelled: number[];
  /** Every link's `res`. */
  results: number[];
}

/**
 * Links are started in order, each when the one before has succeeded; a failure or a short transfer cancels the rest,
 * unless that link is `hard()`. Without another file, links act on the one that the chain opened last.
 * Everything goes to the kernel in one submit, except after a link whose failure the kernel does not heed (syncs,
 * allocation, truncation, stats, names, attributes): there the chain waits for its result, then submits the rest. A link
 * that is `hard()` is never waited for.
 * `submit()` resolves to the results of all links, or rejects with a ChainError.
 */
export class Chain<T extends unknown[] = []> {
  readonly #runner: Runner;
  readonly #hardlink: boolean;
  readonly #links: Link[] = [];
  #directFiles = 0;
  /** What links act on: the chain's direct descriptor of that number, or an open file of the caller's. */
  #current: { direct: number } | { file: File } | null = null;
  #submitted = false;

  constructor(runner: Runner, hardlink: boolean) {
    this.#runner = runner;
    this.#hardlink = hardlink;
  }

  #add<R = number>(link: Omit<Link, "hard">): Chain<[...T, R]> {
    this.#links.push({ ...link, hard: this.#hardlink });
    return this as unknown as Chain<[...T, R]>;
  }

  #last(what: string): Link {
    const link = this.#links.at(-1);
    if (link === undefined) throw new TypeError(`bun-uring: ${what}() needs a link before it`);
    return link;
  }

  /** Adds a link that acts on the current file. */
  #addOnFile(name: string, sqe: Sqe, more: Partial<Link> = {}): Chain<[...T, number]> {
    const current = this.#current;
    if (current === null)
      throw new TypeError(`bun-uring: ${name}() needs a file: openDirect() or file() must come before it`);
    const withFile = (slots: readonly number[]): Sqe =>
      "direct" in current
        ? { ...sqe, fd: slots[current.direct]!, flags: SqeFlag.FIXED_FILE }
        : { ...sqe, fd: current.file };
    return this.#add({ name, syscall: name, sqe: withFile, ...more });
  }

  /** Adds a link that acts on a path, or two. */
  #addOnPath(name: string, sqe: Sqe, path: PathLike, dest?: PathLike): Chain<[...T, number]> {
    return this.#add({ name, syscall: name, sqe: () => sqe, path, ...(dest === undefined ? {} : { dest }) });
  }

  /** The links that follow act on this open file, which must stay open until the chain is over. */
  file(file: File): this {
    this.#current = { file };
    return this;
  }

  /** Opens a file that later links don't act on. Result: its descriptor (close-on-exec), closed again if the chain fails. */
  open(path: PathLike, flags: string | number = "r", mode: number | string = 0o666): Chain<[...T, number]> {
    const opFlags = parseFlags(flags) | O_CLOEXEC;
    const sqe = { opcode: Opcode.OPENAT, path, opFlags, mode: parseMode(mode, "mode") };
    return this.#add({ name: "open", syscall: "open", sqe: () => sqe, path, opensFd: true });
  }

  /** Opens a file into a direct descriptor, for the links that follow. Result: 0. Closed at the chain's end at the latest. */
  openDirect(path: PathLike, flags: string | number = "r", mode: number | string = 0o666): Chain<[...T, number]> {
    const sqe = { opcode: Opcode.OPENAT, path, opFlags: parseFlags(flags), mode: parseMode(mode, "mode") };
    const n = this.#directFiles++;
    this.#current = { direct: n };
    const withSlot = (slots: readonly number[]): Sqe => ({ ...sqe, fileIndex: slots[n]! });
    return this.#add({ name: "openDirect", syscall: "open", sqe: withSlot, path, opens: n });
  }

  /** Reads into `buffer` at `position`, by default the file's own. Result: bytes read; fewer than it holds break the chain. */
  read(buffer: View, position: number | bigint = -1): Chain<[...T, number]> {
    const sqe = { opcode: Opcode.READ, buffer, offset: position };
    return this.#addOnFile("read", sqe, { wanted: byteLengthOf(buffer) });
  }

  /** Writes `buffer` at `position`, by default the file's own. Result: bytes written; fewer break the chain. */
  write(buffer: View, position: number | bigint = -1): Chain<[...T, number]> {
    const sqe = { opcode: Opcode.WRITE, buffer, offset: position };
    return this.#addOnFile("write", sqe, { wanted: byteLengthOf(buffer) });
  }

  /** Reads into the views one after the other; resolves to the bytes read. Position −1: the file's own (readv(2)). */
  readv(buffers: readonly View[], position: number | bigint = -1): Chain<[...T, number]> {
    const sqe = { opcode: Opcode.READV, buffers: bufferList(buffers, "buffers"), offset: position };
    return this.#addOnFile("readv", sqe, { syscall: "read", wanted: totalLength(sqe.buffers) });
  }

  /** Writes the views one after the other; resolves to the bytes written. Position −1: the file's own (writev(2)). */
  writev(buffers: readonly View[], position: number | bigint = -1): Chain<[...T, number]> {
    const sqe = { opcode: Opcode.WRITEV, buffers: bufferList(buffers, "buffers"), offset: position };
    return this.#addOnFile("writev", sqe, { syscall: "write", wanted: totalLength(sqe.buffers) });
  }

  /** Data and metadata of the chain's file to the disk (fsync(2)); resolves to 0. */
  fsync(): Chain<[...T, number]> {
    return this.#addOnFile("fsync", { opcode: Opcode.FSYNC });
  }

  /** As `fsync`, without metadata that reading does not need (fdatasync(2)). */
  datasync(): Chain<[...T, number]> {
    return this.#addOnFile("datasync", { opcode: Opcode.FSYNC, opFlags: FSYNC_DATASYNC }, { syscall: "fdatasync" });
  }

  /** Cuts or extends the chain's file to `length` bytes (Linux 6.9). */
  ftruncate(length: number): Chain<[...T, number]> {
    return this.#addOnFile("ftruncate", { opcode: Opcode.FTRUNCATE, length });
  }

  /** `mode`: FALLOC_FL_ flags. */
  fallocate(offset: number, length: number, mode = 0): Chain<[...T, number]> {
    return this.#addOnFile("fallocate", { opcode: Opcode.FALLOCATE, offset, length, mode });
  }

  /** `advice`: POSIX_FADV_ number. */
  fadvise(offset: number, length: number, advice: number): Chain<[...T, number]> {
    return this.#addOnFile("fadvise", { opcode: Opcode.FADVISE, offset, length, opFlags: advice });
  }

  /** `flags`: SYNC_FILE_RANGE_ bits. */
  syncRange(offset: number, length: number, flags: number): Chain<[...T, number]> {
    const sqe = { opcode: Opcode.SYNC_FILE_RANGE, offset, length, opFlags: flags };
    return this.#addOnFile("syncRange", sqe, { syscall: "sync_file_range" });
  }

  /** Moves `length` bytes from the pipe (or, if the current file is one, the file) `from` into the current file. */
  splice(from: number, length: number, offsets: { in?: number; out?: number } = {}): Chain<[...T, number]> {
    const { in: inOffset = -1, out: offset = -1 } = offsets;
    const sqe = { opcode: Opcode.SPLICE, inFd: from, length, inOffset, offset };
    return this.#addOnFile("splice", sqe, { wanted: length });
  }

  /** Makes a descriptor of the direct one (close-on-exec). Result: that descriptor, closed again if the chain fails. */
  install(): Chain<[...T, number]> {
    return this.#addOnFile("install", { opcode: Opcode.FIXED_FD_INSTALL }, { opensFd: true });
  }

  /** Closes the current file: the chain's own, or the descriptor given to `file()`. A handle has its own `close()`. */
  close(): Chain<[...T, number]> {
    const current = this.#current;
    this.#current = null;
    if (current !== null && "direct" in current) {
      const sqe = (slots: readonly number[]): Sqe => ({ opcode: Opcode.CLOSE, fileIndex: slots[current.direct]! });
      return this.#add({ name: "close", syscall: "close", sqe, closes: current.direct });
    }
    if (typeof current?.file !== "number")
      throw new TypeError("bun-uring: close() in a chain needs openDirect() or a descriptor in file() before it");
    const sqe = { opcode: Opcode.CLOSE, fd: current.file };
    return this.#add({ name: "close", syscall: "close", sqe: () => sqe });
  }

  /** Stats of a path, or without one of the file given to `file()` (a direct descriptor has none). Result: Stats. */
  statx(path?: PathLike, flags = 0): Chain<[...T, Stats]> {
    const words = new Uint32Array(STATX_WORDS);
    const mask = STATX_BASIC_STATS | STATX_BTIME;
    const sqe = { opcode: Opcode.STATX, path: path ?? "", buffer: words, mask, opFlags: flags };
    const value = (): unknown => statsFromStatx(words, 0, false);
    if (path !== undefined) return this.#add({ name: "statx", syscall: "statx", sqe: () => sqe, path, value });
    if (this.#current !== null && "direct" in this.#current)
      throw new TypeError("bun-uring: statx() of a direct descriptor is not in the kernel: give it the path");
    sqe.opFlags |= AT_EMPTY_PATH;
    return this.#addOnFile("statx", sqe, { value }) as unknown as Chain<[...T, Stats]>;
  }

  /** `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE. */
  rename(from: PathLike, to: PathLike, flags = 0): Chain<[...T, number]> {
    const sqe = { opcode: Opcode.RENAMEAT, path: from, newPath: to, opFlags: flags };
    return this.#addOnPath("rename", sqe, from, to);
  }

  /** Removes a name that is no folder (unlink(2); Linux 5.11). */
  unlink(path: PathLike): Chain<[...T, number]> {
    return this.#addOnPath("unlink", { opcode: Opcode.UNLINKAT, path }, path);
  }

  /** Removes an empty folder (rmdir(2); Linux 5.11). */
  rmdir(path: PathLike): Chain<[...T, number]> {
    return this.#addOnPath("rmdir", { opcode: Opcode.UNLINKAT, path, opFlags: AT_REMOVEDIR }, path);
  }

  /** Makes a folder; its parent must be there (mkdir(2); Linux 5.15). */
  mkdir(path: PathLike, mode: number | string = 0o777): Chain<[...T, number]> {
    return this.#addOnPath("mkdir", { opcode: Opcode.MKDIRAT, path, mode: parseMode(mode, "mode") }, path);
  }

  /** Makes `path` a symbolic link with the text `target` (symlink(2); Linux 5.15). */
  symlink(target: PathLike, path: PathLike): Chain<[...T, number]> {
    return this.#addOnPath("symlink", { opcode: Opcode.SYMLINKAT, path: target, newPath: path }, target, path);
  }

  /** Gives `existing` a second name (link(2); Linux 5.15). */
  link(existing: PathLike, path: PathLike): Chain<[...T, number]> {
    return this.#addOnPath("link", { opcode: Opcode.LINKAT, path: existing, newPath: path }, existing, path);
  }

  /** Adds any SQE. Its link flags are the chain's. */
  add(sqe: Sqe): Chain<[...T, number]> {
    const taken = takenOnce(sqe);
    return this.#add({ name: `SQE ${taken.opcode}`, syscall: "io_uring_enter", sqe: () => taken });
  }

  /** The next link starts however the last one ended (IOSQE_IO_HARDLINK): for a read of unknown length, say. */
  hard(): this {
    this.#last("hard").hard = true;
    return this;
  }

  /** Gives the last link so many milliseconds (LINK_TIMEOUT). When they are over it is cancelled: ETIMEDOUT. */
  timeout(ms: number): this {
    this.#last("timeout").timeoutMs = ms;
    return this;
  }

  /** Queues the chain; see the class for how many submits that takes. A chain is submitted once. */
  async submit(options: { signal?: AbortSignal } = {}): Promise<T> {
    const { signal = null } = options;
    if (signal !== null) validateAbortSignal(signal, "options.signal");
    if (this.#submitted) throw new TypeError("bun-uring: a chain is submitted once");
    this.#submitted = true;
    const slots = await this.#runner.acquireDirect(this.#directFiles, signal);
    const named = new Set([...this.#runner.lent, ...slots]);
    const results: number[] = this.#links.map(() => ECANCELED);
    const timedOut = new Set<number>();
    try {
      const sqes = this.#links.map((link) => link.sqe(slots));
      for (let first = 0; first < sqes.length; ) {
        const next = this.#segmentEnd(sqes, first);
        await this.#runSegment(sqes, first, next, results, timedOut, signal, named);
        if (results[next - 1]! < 0) break;
        first = next;
      }
      this.#throwIfBroken(results, timedOut);
      return this.#links.map((link, i) => link.value?.() ?? results[i]) as T;
    } catch (error) {
      await this.#closeDescriptors(results);
      throw error;
    } finally {
      await this.#releaseSlots(slots, results);
    }
  }

  /** One past the last link of the segment that starts at `first`: a deaf link ends it, unless it is hard. */
  #segmentEnd(sqes: readonly Sqe[], first: number): number {
    let n = first;
    while (n < sqes.length - 1 && (this.#links[n]!.hard || !DEAF.has(sqes[n]!.opcode))) n++;
    return n + 1;
  }

  /** Submits links [first, end) with their timeouts, and notes their results. */
  async #runSegment(
    all: readonly Sqe[],
    first: number,
    end: number,
    results: number[],
    timedOut: Set<number>,
    signal: AbortSignal | null,
    named: ReadonlySet<number>,
  ): Promise<void> {
    const sqes: Sqe[] = [];
    const linkOf: number[] = []; // -1: a timeout
    for (let n = first; n < end; n++) {
      const { hard, timeoutMs } = this.#links[n]!;
      const flag = hard ? SqeFlag.IO_HARDLINK : SqeFlag.IO_LINK;
      const onward = n === end - 1 ? 0 : flag;
      const own = (all[n]!.flags ?? 0) & ~(SqeFlag.IO_LINK | SqeFlag.IO_HARDLINK);
      sqes.push({ ...all[n]!, flags: own | (timeoutMs === undefined ? onward : flag) });
      linkOf.push(n);
      if (timeoutMs === undefined) continue;
      sqes.push({ opcode: Opcode.LINK_TIMEOUT, timeoutMs, flags: onward });
      linkOf.push(-1);
    }
    const note = (cqes: Int32Array): void =>
      cqes.forEach((res, i) => {
        if (linkOf[i]! >= 0) results[linkOf[i]!] = res;
        else if (res === ETIME) timedOut.add(linkOf[i - 1]!);
      });
    await this.#runner.run(sqes, note, signal, named);
  }

  #throwIfBroken(results: readonly number[], timedOut: ReadonlySet<number>): void {
    let link = results.findIndex((res, n) => res < 0 && (res !== ECANCELED || timedOut.has(n)));
    const firstCancelled = results.indexOf(ECANCELED);
    // Nothing failed by itself, yet something was cancelled: the link before it was short.
    const short = link < 0 && firstCancelled > 0 && this.#isShort(firstCancelled - 1, results);
    if (short) link = firstCancelled - 1;
    else if (link < 0) link = firstCancelled;
    if (link < 0) return;
    throw this.#error(link, results, timedOut.has(link), short);
  }

  #isShort(n: number, results: readonly number[]): boolean {
    const { wanted } = this.#links[n]!;
    return wanted !== undefined && results[n]! >= 0 && results[n]! < wanted;
  }

  #error(link: number, results: readonly number[], timedOut: boolean, short: boolean): ChainError {
    const { name, syscall, path, dest, wanted, timeoutMs } = this.#links[link]!;
    const cancelled = results.flatMap((res, n) => (res === ECANCELED && n !== link ? [n] : []));
    const shown = (value?: PathLike): string | Buffer | undefined => (value === undefined ? value : toPath(value));
    const error = short
      ? codedError(Error, "ERR_SHORT_TRANSFER", `${syscall} moved ${results[link]} of ${wanted} bytes`)
      : systemError(timedOut ? errnoOf("ETIMEDOUT") : results[link]!, syscall, shown(path), shown(dest));
    const after = timedOut ? ` after ${timeoutMs} ms` : "";
    const rest = cancelled.map((n) => `${n} ${this.#links[n]!.name}`).join(", ") || "none";
    error.message += ` (link ${link} of the chain, ${name}${after}; cancelled: ${rest})`;
    return Object.assign(error, { link, linkName: name, cancelled, results: [...results] });
  }

  /** A chain that failed gives no descriptors: what it opened is closed. */
  async #closeDescriptors(results: readonly number[]): Promise<void> {
    const opened = this.#links.flatMap((link, n) => (link.opensFd && results[n]! >= 0 ? [results[n]!] : []));
    const { ring } = this.#runner.thread;
    if (ring.closed || ring.poisoned !== null) return opened.forEach((fd) => void closeSync(fd));
    await this.#runner.run(
      opened.map((fd) => ({ opcode: Opcode.CLOSE, fd })),
      () => {},
    );
  }

  /** Closes the direct descriptors that are still open, and gives all back. */
  async #releaseSlots(slots: readonly number[], results: readonly number[]): Promise<void> {
    const { direct, ring } = this.#runner.thread;
    if (ring.closed || ring.poisoned !== null) return; // the table is gone with it
    const isOpen = (n: number): boolean =>
      this.#links.some((link, i) => link.opens === n && results[i]! >= 0) &&
      !this.#links.some((link, i) => link.closes === n && results[i] === 0);
    for (const [n, slot] of slots.entries()) if (!isOpen(n)) direct.release(slot);
    await this.#runner.closeDirect(slots.filter((_, n) => isOpen(n)));
  }
}
