// AppendLog: records appended to a file, many callers at a time, each promise resolved when its record is as durable as was asked
// for. Two buffers: one gathers while the other is written and synced, so that all who wait share one write and one sync.
// A failed sync is final. What is rejected is not in the file; what is acknowledged is.
// Opening and recovery are in recover.ts, changes of the file in exchange.ts, ended segments in segments.ts, reading in read-log.ts.

import { EventEmitter } from "node:events";
import { dirname } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import type { Backend } from "../backend/interface.ts";
import { pause } from "../backend/loops.ts";
import { invalidArgType } from "../node/arguments.ts";
import { setImmediate, setTimeout } from "../node/clock.ts";
import { isBytes } from "../node/views.ts";
import { atExit, notAtExit } from "./at-exit.ts";
import { nextSegment, openAnew } from "./exchange.ts";
import { Group, type LogRecord } from "./group.ts";
import { logClosed, logFailed } from "./log-errors.ts";
import { LogFile } from "./log-file.ts";
import { type AppendLogOptions, type Checked, type LogStats, logOptions } from "./log-options.ts";
import type { Opened, Recovered } from "./recover.ts";
import { Room } from "./room.ts";
import { openLog, type Segments } from "./segments.ts";
import { sweepTemp } from "./temporary.ts";

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
  readonly #room: Room;
  #file: LogFile;
  #gathering: Group;
  #flying: Group | null = null;
  /** What flushSync has put behind the group under way. */
  readonly #ahead: Group[] = [];
  #scheduled = false;
  #pumping: Promise<void> | null = null;
  /** The last of the works on the file itself, which wait for each other: rotating, reopening, closing. */
  #upkeep: Promise<unknown> = Promise.resolve();
  /** Such a work is under way, or waits for the group that is: no other group begins. */
  #isHeld = false;
  #failure: Error | null = null;
  #closing: Promise<void> | null = null;
  readonly #totals = { records: 0, bytes: 0, groups: 0 };

  /** Opens a log, makes it if it is not there, recovers it. Rejects with ERR_LOCKED where it has a writer. */
  static async open(path: string | URL, options: AppendLogOptions = {}): Promise<AppendLog> {
    const checked = logOptions(path, options);
    const backend = currentBackend();
    const { segments, opened } = await openLog(backend, checked);
    sweepTemp(dirname(checked.path)).catch(() => {}); // what crashes have left: nobody waits for it
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
    this.#room = new Room(options);
    this.#file = new LogFile(backend, options, opened);
    this.#gathering = new Group(options.framing, opened.sequence, opened.salt);
    atExit(this);
  }

  /** Offset in the log behind the last record that was taken. */
  get endOffset(): number {
    return this.#file.end + this.pendingBytes;
  }

  get pendingBytes(): number {
    let bytes = this.#gathering.used + (this.#flying?.used ?? 0);
    for (const { used } of this.#ahead) bytes += used;
    return bytes;
  }

  /**
   * Appends a record. Resolves to its offset once it is durable. Rejects with ERR_LOG_FULL ("reject", "drop"), with the error of
   * a write (then it is not in the file), or with ERR_LOG_FAILED once a sync has failed.
   */
  append(record: LogRecord): Promise<number> {
    try {
      this.#check(record);
      if (this.#room.isOpen && this.#room.fits(record, this.pendingBytes)) return this.#taken(record);
      return this.#room.wait(record);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #taken(record: LogRecord): Promise<number> {
    const group = this.#gathering;
    const at = group.used;
    group.add(record);
    group.awaited++;
    this.#schedule();
    return group.done.then(() => group.base + at);
  }

  /**
   * Appends a record that nobody waits for. False: half of `maxPendingBytes` waits, and "drain" follows. Where all of it does, the
   * record is let go, counted and told by "drop"; with "reject" ERR_LOG_FULL is thrown.
   */
  write(record: LogRecord): boolean {
    if (typeof record === "string" && this.#gathering.addLine(record)) return true;
    this.#check(record);
    if (!this.#room.fits(record, this.pendingBytes)) return this.#room.drop();
    this.#gathering.add(record);
    this.#schedule();
    const left = this.#room.beforeDrain(this.pendingBytes);
    if (left > 0 && this.#options.framing === "lines") this.#gathering.allowLines(left);
    return left > 0;
  }

  /**
   * Resolves when all that was appended so far is durable (with "none": written). Rejects where that fails; with a callback, as
   * pino gives one, that hears of it instead.
   */
  flush(done?: (error?: Error | null) => void): Promise<void> {
    const flushed = this.#flush();
    return typeof done === "function" ? flushed.then(() => done(), done) : flushed;
  }

  async #flush(): Promise<void> {
    if (this.#failure !== null) throw this.#failed();
    const group = this.#gathering.used > 0 ? this.#gathering : (this.#ahead.at(-1) ?? this.#flying);
    const { lastWaiting } = this.#room;
    this.#begin();
    await group?.done;
    await lastWaiting;
  }

  /**
   * Writes what waits with blocking calls: for the end of a process, which does it by itself. Throws what has failed. Does nothing
   * for the moment in which the file of a log of records is being exchanged.
   */
  flushSync(): void {
    const group = this.#gathering;
    if (group.used === 0 || this.#failure !== null) return;
    const ahead = this.pendingBytes - group.used;
    try {
      if (this.#flying !== null) this.#file.putAgain(this.#flying.chunks);
      if (!this.#file.putSync(group.chunks, group.used, ahead)) return;
    } catch (error) {
      // A write can be tried again, unless it may have mixed with another; a sync can't.
      if ((error as NodeJS.ErrnoException).syscall === "write" && ahead === 0) throw error;
      this.#fail(error as Error);
      throw this.#failed();
    }
    this.#gather();
    group.base = this.#file.end + ahead;
    if (this.#flying !== null) {
      this.#ahead.push(group); // what is before it may fail yet
      return;
    }
    this.#file.skip(group.used);
    this.#count(group);
    this.#scheduleNext();
  }

  /** Ends this segment, unless it is empty, once all that was appended is in it, and begins the next one. */
  rotate(): Promise<void> {
    return this.#keepUp(() => this.#rotateNow());
  }

  /**
   * Opens the path anew, for logrotate: a file that was renamed is let go, and a new one made. Where it fails the log goes on in
   * the file that it has.
   */
  reopen(): Promise<void> {
    return this.#keepUp(() => this.#reopenNow());
  }

  /** What the log has done since it was opened. */
  stats(): LogStats {
    const [{ dropped }, { end }, failure] = [this.#room, this.#file, this.#failure];
    return { ...this.#totals, pendingBytes: this.pendingBytes, dropped, end, failure };
  }

  /** Writes all that waits, cuts what was filled ahead, lets go of the file. Rejects where the log has failed. */
  close(): Promise<void> {
    this.#gathering.allowLines(0);
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** A node:stream's `end`: a last record, then `close`. */
  end(record?: LogRecord): void {
    try {
      if (record !== undefined) this.write(record);
    } catch (error) {
      this.#tell(error);
    }
    this.close().catch((error) => this.#tell(error));
  }

  #check(record: LogRecord): void {
    if (this.#failure !== null) throw this.#failed();
    if (this.#closing !== null) throw logClosed(this.path);
    if (typeof record !== "string" && !isBytes(record))
      throw invalidArgType("record", ["string", "Buffer", "Uint8Array"], record);
  }

  /** The next group gathers. */
  #gather(): void {
    this.#gathering = new Group(this.#options.framing, this.#gathering.next, this.#file.salt);
  }

  /* ---- writing ----------------------------------------------------------------------------------------------------- */

  /** Begins a group at the end of the turn, or after the time for which records are gathered. */
  #schedule(): void {
    if (this.#scheduled || this.#pumping !== null || this.#isHeld) return;
    this.#scheduled = true;
    const { durability, flushIntervalMs } = this.#options;
    if (durability === "none" && flushIntervalMs > 0) setTimeout(this.#begin, flushIntervalMs);
    else setImmediate(this.#begin);
  }

  /** What has come meanwhile; also who waits for the room that flushSync has made. */
  #scheduleNext(): void {
    if ((this.#gathering.used > 0 || this.#room.isOwed) && this.#failure === null) this.#schedule();
  }

  readonly #begin = (): void => {
    this.#scheduled = false;
    if (this.#isHeld) return;
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = null;
      this.#scheduleNext();
    });
  };

  async #pump(): Promise<void> {
    this.#admit();
    while (this.#gathering.used > 0 && this.#failure === null && !this.#isHeld) {
      await this.#writeGroup();
      this.#admit();
      if (this.#failure === null && this.#file.isDue) await this.#rotateNow().catch((error) => this.#tell(error));
      // Whoever waited has its turn to append before the next group is closed.
      await pause();
    }
  }

  async #writeGroup(): Promise<void> {
    const group = this.#gathering;
    this.#gather();
    this.#flying = group;
    group.base = this.#file.end;
    const progress = { bytesWritten: 0 };
    try {
      await this.#file.put(group.chunks, group.used, progress);
      // A sync beside it has failed: the kernel says so to one of the two.
      if (this.#failure !== null) throw this.#failure;
    } catch (error) {
      this.#flying = null;
      return this.#giveUp(group, error as NodeJS.ErrnoException, progress.bytesWritten);
    }
    this.#flying = null;
    this.#count(group);
    for (const behind of this.#ahead.splice(0)) {
      this.#file.skip(behind.used);
      this.#count(behind);
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
  async #giveUp(group: Group, error: NodeJS.ErrnoException, bytesWritten: number): Promise<void> {
    let isFinal = error.syscall !== "write" || this.#ahead.length > 0 || this.#failure !== null;
    if (!isFinal) {
      try {
        await this.#file.cut(bytesWritten);
        // What has been gathered meanwhile comes in its place.
        this.#gathering.renumber(group.first, this.#file.salt);
      } catch {
        isFinal = true;
      }
    }
    const told = Object.assign(error, { safeOffset: this.#file.end });
    this.#room.dropped += group.records - group.awaited;
    if (isFinal) this.#fail(told);
    group.reject(isFinal ? this.#failed() : told);
    this.#tell(told);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    const failed = this.#failed();
    for (const group of [...this.#ahead.splice(0), this.#gathering]) group.reject(failed);
    this.#gather(); // which lets no line in by itself
    this.#room.refuseAll(failed);
  }

  #failed(): Error {
    return logFailed(this.path, this.#failure!, this.#file.end);
  }

  /** Takes those in who wait for room, and tells what there is to tell. */
  #admit(): void {
    const { untoldDrops } = this.#room;
    if (untoldDrops > 0) this.emit("drop", untoldDrops);
    if (this.#failure !== null) return;
    this.#room.admit(
      () => this.pendingBytes,
      (record) => this.#taken(record),
    );
    if (this.#room.hasDrained(this.pendingBytes)) this.emit("drain");
  }

  #tell(error: unknown): void {
    if (this.listenerCount("error") > 0) this.emit("error", error);
  }

  /** Work that no group is under way beside; all that was appended before is written. One after the other. */
  #keepUp(work: () => Promise<void>): Promise<void> {
    if (this.#closing !== null) return Promise.reject(logClosed(this.path));
    const done = this.#upkeep.then(async () => {
      await this.#flush();
      await this.#alone(work);
    });
    this.#upkeep = done.catch(() => {});
    return done;
  }

  async #alone(work: () => Promise<void>): Promise<void> {
    this.#isHeld = true;
    try {
      await this.#pumping;
      await work();
    } finally {
      this.#isHeld = false;
      this.#scheduleNext();
    }
  }

  async #rotateNow(): Promise<void> {
    const old = this.#file;
    if (old.isEmpty) return;
    try {
      this.#enter(await nextSegment(this.#backend, this.#options, this.#segments, old, this.#gathering.first));
    } catch (error) {
      if (this.#segments.isUncertain || (error as NodeJS.ErrnoException).syscall === "fsync")
        this.#fail(error as Error);
      throw error;
    }
    await old.close();
    this.#segments.tidy();
  }

  async #reopenNow(): Promise<void> {
    const old = this.#file;
    const opened = await openAnew(this.#backend, this.#options, old, this.#gathering.first);
    if (opened === null) return;
    this.#enter(opened);
    await old.close();
  }

  #enter(opened: Opened): void {
    this.#file = new LogFile(this.#backend, this.#options, opened);
    // Another's file may have come to the path: what was gathered counts on from there.
    this.#gathering.renumber(opened.sequence, opened.salt);
  }

  async #close(): Promise<void> {
    let failure: unknown = null;
    const keep = (error: unknown): unknown => (failure ??= error);
    await this.#upkeep;
    await this.#flush().catch(keep);
    await this.#alone(async () => {
      await this.#file.complete().catch(keep);
      notAtExit(this);
      await this.#file.close().catch(keep);
      await this.#segments.close();
    });
    this.emit("close");
    if (failure !== null) throw failure;
  }
}
