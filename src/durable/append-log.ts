// AppendLog: records appended to a file, many callers at a time, each promise resolved when its record is as durable as was asked
// for. Two buffers: one gathers while the other is written and synced, so that all who wait share one write and one sync.
// A failed sync is final. What is rejected is not in the file; what is acknowledged is.
// Opening and recovery are in recover.ts, ended segments in segments.ts, reading in read-log.ts.

import { EventEmitter } from "node:events";
import { currentBackend } from "../backend/choose.ts";
import type { Backend } from "../backend/interface.ts";
import { pause } from "../backend/loops.ts";
import { codedError, invalidArgType, outOfRange } from "../node/arguments.ts";
import { setImmediate, setTimeout } from "../node/clock.ts";
import { atExit, notAtExit } from "./at-exit.ts";
import { FRAME_HEADER_BYTES } from "./frames.ts";
import { Group, type LogRecord } from "./group.ts";
import { LogFile } from "./log-file.ts";
import { type AppendLogOptions, type Checked, logOptions, maxRecordBytes } from "./log-options.ts";
import { type Opened, openSegment, type Recovered } from "./recover.ts";
import { Segments } from "./segments.ts";

/** Counts of one log since it was opened. */
export interface LogStats {
  /** Records and bytes that are as durable as was asked for, and the groups in which they were written. */
  records: number;
  bytes: number;
  groups: number;
  /** Bytes that wait. */
  pendingBytes: number;
  /** Records that were let go because the log was full. */
  dropped: number;
  /** Offset behind the last durable record. */
  end: number;
  /** What has ended the log; null while it works. */
  failure: Error | null;
}

interface Waiter {
  record: LogRecord;
  resolve: (offset: Promise<number>) => void;
  reject: (error: unknown) => void;
}

/**
 * A log's one writer. Events: "drain" (after `write` said false), "drop" (with a count), "error" (where somebody listens: what
 * nobody's promise tells), "close". Made by `AppendLog.open`.
 */
export class AppendLog extends EventEmitter implements AsyncDisposable {
  readonly path: string;
  /** What opening has found, and cut. */
  readonly recovered: Recovered;
  readonly #options: Checked;
  readonly #backend: Backend;
  readonly #segments: Segments;
  readonly #maxRecordBytes: number;
  #file: LogFile;
  /** Sequence number of the next record to be gathered. */
  #sequence = 1;
  #gathering: Group = new Group();
  #flying: Group | null = null;
  /** Bytes that flushSync has put behind the group under way. */
  #ahead = 0;
  #scheduled = false;
  #pumping: Promise<void> | null = null;
  /** Work on the file itself: rotating, reopening, closing. Groups wait for it. */
  #upkeep: Promise<void> = Promise.resolve();
  #failure: Error | null = null;
  #closing: Promise<void> | null = null;
  readonly #waiting: Waiter[] = [];
  #needsDrain = false;
  #dropped = 0;
  #toldDropped = 0;
  readonly #totals = { records: 0, bytes: 0, groups: 0 };

  /** Opens a log, makes it if it is not there, recovers it. Rejects with ERR_LOCKED where it has a writer. */
  static async open(path: string | URL, options: AppendLogOptions = {}): Promise<AppendLog> {
    const checked = logOptions(path, options);
    const backend = currentBackend();
    const segments = await Segments.find(backend, checked);
    const opened = await openSegment(backend, checked, segments.next);
    segments.resume();
    return new AppendLog(backend, checked, segments, opened);
  }

  /** Logs come from `open`. */
  constructor(backend: Backend, options: Checked, segments: Segments, opened: Opened) {
    super();
    this.path = options.path;
    this.recovered = opened.recovered;
    this.#backend = backend;
    this.#options = options;
    this.#segments = segments;
    this.#maxRecordBytes = maxRecordBytes(options);
    this.#file = new LogFile(backend, options, opened);
    this.#sequence = opened.sequence;
    atExit(this);
  }

  /** Offset in the log behind the last record that was taken. */
  get endOffset(): number {
    return this.#file.end + this.#ahead + this.pendingBytes;
  }

  get pendingBytes(): number {
    return this.#gathering.used + (this.#flying?.used ?? 0);
  }

  /**
   * Appends a record. Resolves to its offset once it is durable. Rejects with ERR_LOG_FULL ("reject", "drop"), with the error of
   * a write (then it is not in the file), or with ERR_LOG_FAILED once a sync has failed.
   */
  append(record: LogRecord): Promise<number> {
    try {
      this.#check(record);
      if (this.#waiting.length === 0 && this.#hasRoom(record)) return this.#taken(record);
      if (this.#options.onFull !== "wait") throw this.#drop();
      const copy = typeof record === "string" ? record : Buffer.from(record);
      return new Promise((resolve, reject) => {
        this.#waiting.push({ record: copy, resolve, reject });
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #taken(record: LogRecord): Promise<number> {
    const offset = this.endOffset;
    const { done } = this.#gathering;
    this.#gather(record);
    this.#schedule();
    return done.then(() => offset);
  }

  /**
   * Appends a record that nobody waits for. False: half of `maxPendingBytes` waits, and "drain" follows. Where all of it does, the
   * record is let go, counted and told by "drop"; with "reject" ERR_LOG_FULL is thrown.
   */
  write(record: LogRecord): boolean {
    this.#check(record);
    if (!this.#hasRoom(record)) {
      const full = this.#drop();
      if (this.#options.onFull === "reject") throw full;
      this.#needsDrain = true;
      return false;
    }
    this.#gather(record);
    this.#schedule();
    const goesOn = this.pendingBytes < this.#options.maxPendingBytes / 2;
    if (!goesOn) this.#needsDrain = true;
    return goesOn;
  }

  /** Resolves when all that was appended so far is durable (with "none": written). Rejects where the log has failed. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0 || this.pendingBytes > 0) {
      if (this.#failure !== null) throw this.#failed();
      const last = this.#gathering.used > 0 ? this.#gathering : this.#flying;
      this.#begin();
      await last?.done;
      if (this.#waiting.length > 0) await pause();
    }
    if (this.#failure !== null) throw this.#failed();
  }

  /** Writes what waits with blocking calls: for the end of a process, which does it by itself. */
  flushSync(): void {
    const group = this.#gathering;
    if (group.used === 0 || this.#failure !== null) return;
    const ahead = this.#ahead + (this.#flying?.used ?? 0);
    if (!this.#file.putSync(group.pieces, group.used, ahead)) return;
    this.#gathering = new Group();
    if (this.#flying === null) this.#file.skip(group.used);
    else this.#ahead += group.used;
    this.#count(group);
  }

  /** Ends this segment once all that was appended is in it, and begins the next one. */
  rotate(): Promise<void> {
    return this.#keepUp(() => this.#rotateNow());
  }

  /** Opens the path anew, for logrotate: a file that was renamed is let go, and a new one made. */
  reopen(): Promise<void> {
    return this.#keepUp(async () => {
      const next = { base: this.#file.end, sequence: this.#sequence };
      await this.#file.letGo();
      this.#enter(await openSegment(this.#backend, this.#options, next));
    });
  }

  /** What the log has done since it was opened. */
  stats(): LogStats {
    const { end } = this.#file;
    return { ...this.#totals, pendingBytes: this.pendingBytes, dropped: this.#dropped, end, failure: this.#failure };
  }

  /** Writes all that waits, cuts what was filled ahead, lets go of the file. Rejects where the log has failed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** A node:stream's `end`: a last record, then `close`. */
  end(record?: LogRecord): void {
    if (record !== undefined) this.write(record);
    this.close().catch((error) => this.#tell(error));
  }

  /* ---- gathering --------------------------------------------------------------------------------------------------- */

  #check(record: LogRecord): void {
    if (this.#failure !== null) throw this.#failed();
    if (this.#closing !== null) throw codedError(Error, "ERR_LOG_CLOSED", `${this.path} is closed`);
    if (typeof record !== "string" && !(record instanceof Uint8Array))
      throw invalidArgType("record", ["string", "Buffer", "Uint8Array"], record);
  }

  /** The most that a record can take: a string's length is known when it is encoded. */
  #hasRoom(record: LogRecord): boolean {
    const length = typeof record === "string" ? record.length * 3 : record.byteLength;
    if (length > this.#maxRecordBytes) {
      const exact = typeof record === "string" ? Buffer.byteLength(record) : length;
      if (exact > this.#maxRecordBytes) throw outOfRange("record.length", `<= ${this.#maxRecordBytes} bytes`, exact);
    }
    const { maxPendingBytes } = this.#options;
    if (this.pendingBytes + length + FRAME_HEADER_BYTES <= maxPendingBytes) return true;
    if (typeof record !== "string") return false;
    return this.pendingBytes + Buffer.byteLength(record) + FRAME_HEADER_BYTES <= maxPendingBytes;
  }

  #gather(record: LogRecord): void {
    this.#gathering.add(record, this.#options.framing, this.#sequence++);
  }

  #drop(): Error {
    this.#dropped++;
    const { maxPendingBytes } = this.#options;
    return codedError(Error, "ERR_LOG_FULL", `${this.path}: ${maxPendingBytes} bytes wait to be written`);
  }

  /* ---- writing ----------------------------------------------------------------------------------------------------- */

  /** Begins a group at the end of the turn, or after the time for which records are gathered. */
  #schedule(): void {
    if (this.#scheduled || this.#pumping !== null) return;
    this.#scheduled = true;
    const begin = (): void => {
      this.#scheduled = false;
      this.#begin();
    };
    const { durability, flushIntervalMs } = this.#options;
    if (durability === "none" && flushIntervalMs > 0) setTimeout(begin, flushIntervalMs);
    else setImmediate(begin);
  }

  #begin(): void {
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = null;
      if (this.#gathering.used > 0 && this.#failure === null) this.#schedule();
    });
  }

  async #pump(): Promise<void> {
    while (this.#gathering.used > 0 && this.#failure === null) {
      await this.#upkeep;
      if (this.#gathering.used === 0) break;
      await this.#writeGroup();
      this.#admit();
      const { maxAgeMs, maxBytes } = this.#options;
      if (this.#file.position >= maxBytes || this.#file.ageMs >= maxAgeMs)
        await this.#rotateNow().catch((error) => this.#tell(error));
      // Whoever waited has its turn to append before the next group is closed.
      await pause();
    }
  }

  async #writeGroup(): Promise<void> {
    const group = this.#gathering;
    this.#gathering = new Group();
    this.#flying = group;
    try {
      await this.#file.put(group.pieces, group.used);
      this.#file.skip(this.#ahead);
      this.#ahead = 0;
      this.#flying = null;
      this.#count(group);
    } catch (error) {
      this.#flying = null;
      await this.#giveUp(group, error as NodeJS.ErrnoException);
    }
  }

  #count(group: Group): void {
    this.#totals.records += group.records;
    this.#totals.bytes += group.used;
    this.#totals.groups++;
    group.release();
    group.resolve();
  }

  /** A group that was not written is cut off; after a failed sync nobody knows what is there, and the log ends. */
  async #giveUp(group: Group, error: NodeJS.ErrnoException): Promise<void> {
    let isFinal = error.syscall !== "write" || this.#ahead > 0;
    if (!isFinal) {
      try {
        await this.#file.cut();
        // What has been gathered meanwhile counts on from there.
        this.#sequence -= group.records;
        if (this.#options.framing === "records") this.#gathering.renumber(this.#sequence - this.#gathering.records);
      } catch {
        isFinal = true;
      }
    }
    const told = Object.assign(error, { safeOffset: this.#file.end });
    if (isFinal) this.#fail(told);
    group.reject(isFinal ? this.#failed() : told);
    this.#tell(told);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    const failed = this.#failed();
    this.#gathering.reject(failed);
    for (const { reject } of this.#waiting.splice(0)) reject(failed);
  }

  #failed(): Error {
    const cause = this.#failure!;
    const error = codedError(
      Error,
      "ERR_LOG_FAILED",
      `${this.path}: a sync failed, nothing more is appended: ${cause.message}`,
    );
    return Object.assign(error, { cause, safeOffset: this.#file.end });
  }

  /** Takes those in who wait for room, and tells what there is to tell. */
  #admit(): void {
    while (this.#waiting.length > 0 && this.#failure === null && this.#hasRoom(this.#waiting[0]!.record)) {
      const { record, resolve } = this.#waiting.shift()!;
      resolve(this.#taken(record));
    }
    if (this.#dropped > this.#toldDropped) {
      const count = this.#dropped - this.#toldDropped;
      this.#toldDropped = this.#dropped;
      this.emit("drop", count);
    }
    if (this.#needsDrain && this.pendingBytes < this.#options.maxPendingBytes / 2) {
      this.#needsDrain = false;
      this.emit("drain");
    }
  }

  #tell(error: unknown): void {
    if (this.listenerCount("error") > 0) this.emit("error", error);
  }

  /* ---- the file ---------------------------------------------------------------------------------------------------- */

  /** Work that no group is under way beside; all that was appended before it is written. */
  async #keepUp(work: () => Promise<void>): Promise<void> {
    await this.flush();
    while (this.#pumping !== null) await this.#pumping;
    const done = this.#upkeep.then(work);
    this.#upkeep = done.catch(() => {});
    return done;
  }

  async #rotateNow(): Promise<void> {
    await this.#file.letGo(() => this.#segments.end());
    const next = { base: this.#file.end, sequence: this.#sequence - this.#gathering.records };
    this.#enter(await openSegment(this.#backend, this.#options, next));
    this.#segments.tidy();
  }

  #enter(opened: Opened): void {
    this.#file = new LogFile(this.#backend, this.#options, opened);
    // Another's file may have come to the path: its numbers go on.
    this.#sequence = Math.max(this.#sequence, opened.sequence);
  }

  async #close(): Promise<void> {
    let failure: unknown = null;
    try {
      await this.flush();
    } catch (error) {
      failure = error;
    }
    while (this.#pumping !== null) await this.#pumping;
    await this.#upkeep;
    notAtExit(this);
    await this.#file.letGo();
    await this.#segments.close();
    this.emit("close");
    if (failure !== null) throw failure;
  }
}
