// The file that a log's groups go to: its position, what is filled with zeros ahead of it, and how a group is put there, cut off
// again, and the file completed and let go.
// Assumes one group at a time. Knows nothing of who waits for a group.

import { fdatasyncSync, fstatSync, ftruncateSync, type Stats } from "node:fs";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { writeThenSync } from "../backend/loops.ts";
import type { Written } from "../node/abort.ts";
import { clockMs } from "../node/clock.ts";
import { writeAllSync } from "./at-exit.ts";
import { SEGMENT_HEADER_BYTES } from "./frames.ts";
import type { Checked } from "./log-options.ts";
import type { Opened } from "./recover.ts";
import { ZeroFill } from "./zero-fill.ts";

export class LogFile {
  readonly #backend: Backend;
  readonly file: OpenFile;
  readonly #isDurable: boolean;
  /** Records stand where they are put, everything else at the end. */
  readonly #isPlaced: boolean;
  /** On a clock that nobody sets. */
  readonly #openedAt: number = clockMs();
  readonly #maxAgeMs: number;
  readonly #maxBytes: number;
  #zeros: ZeroFill | null;
  /** Of the next group. */
  #position: number;
  /** Offset in the log of the file's beginning. */
  readonly base: number;
  /** What the checksums of its records begin with. */
  readonly salt: number;
  /** While it is cut, or its end stands written in another: nothing may be put behind it. */
  isClosedOff = false;

  constructor(backend: Backend, options: Checked, { file, position, base, salt }: Opened) {
    this.#backend = backend;
    this.file = file;
    this.#isDurable = options.durability !== "none";
    this.#isPlaced = options.framing === "records";
    this.#position = position;
    this.#maxAgeMs = options.maxAgeMs;
    this.#maxBytes = options.maxBytes;
    this.base = base;
    this.salt = salt;
    this.#zeros = options.preallocate > 0 ? new ZeroFill(backend, file, options.preallocate, position) : null;
  }

  /** Bytes of the file that hold records. */
  get position(): number {
    return this.#position;
  }

  /** Offset in the log behind its last record. */
  get end(): number {
    return this.base + this.#position;
  }

  get isEmpty(): boolean {
    return this.#position === (this.#isPlaced ? SEGMENT_HEADER_BYTES : 0);
  }

  /** Long or old enough for the next segment to begin. */
  get isDue(): boolean {
    return this.#position >= this.#maxBytes || clockMs() - this.#openedAt >= this.#maxAgeMs;
  }

  /** Writes a group, and syncs it if the log is durable. Where it fails the position stays; `progress` tells what is there. */
  async put(chunks: readonly Buffer[], length: number, progress: Written): Promise<void> {
    if (this.#zeros !== null) await this.#zeros.before(this.#position + length);
    const position = this.#isPlaced ? this.#position : -1;
    if (this.#isDurable) await this.#backend.writeSynced(this.file, chunks, position, progress);
    else await writeThenSync(this.#backend, this.file, chunks, position, progress, async () => {});
    this.#position += length;
  }

  /** The next file says where this one ends: no record may be put behind that. Lines may, nobody counts them. */
  closeOff(): void {
    this.isClosedOff = this.#isPlaced;
  }

  /** Counts bytes that `putSync` has put behind a group that was under way. */
  skip(length: number): void {
    this.#position += length;
  }

  /** Writes what is under way a second time, holding the thread: no crash leaves a hole in its place, before what `putSync` puts. */
  putAgain(chunks: readonly Buffer[]): void {
    if (!this.#isPlaced || this.file.fd < 0 || this.isClosedOff) return;
    writeAllSync(this.file.fd, chunks, this.#position);
  }

  /**
   * Writes bytes `ahead` of the position, holding the thread; false where somebody else writes there now. What fails throws with
   * its syscall.
   */
  putSync(chunks: readonly Buffer[], length: number, ahead: number): boolean {
    const start = this.#position + ahead;
    if (this.file.fd < 0 || this.isClosedOff || this.#zeros?.overlaps(start + length)) return false;
    const progress = { bytesWritten: 0 };
    try {
      writeAllSync(this.file.fd, chunks, this.#isPlaced ? start : null, progress);
    } catch (error) {
      // What is placed is written over by the next try. Behind a group under way nobody knows whose bytes are the last.
      if (!this.#isPlaced && ahead === 0)
        ftruncateSync(this.file.fd, fstatSync(this.file.fd).size - progress.bytesWritten);
      throw error;
    }
    if (this.#isDurable) fdatasyncSync(this.file.fd);
    return true;
  }

  /** Cuts off what a failed write has left behind the position. */
  async cut(bytesWritten: number): Promise<void> {
    this.isClosedOff = true;
    const zeros = this.#zeros;
    await zeros?.settle();
    this.#zeros = null; // where there is no room nothing is filled ahead
    if (this.#isPlaced) await this.#backend.ftruncate(this.file, this.#position);
    else if (bytesWritten > 0) {
      // Not at the position: lines may have been cut or added from outside.
      const { size } = (await this.#backend.fstat(this.file, false)) as Stats;
      await this.#backend.ftruncate(this.file, Math.max(0, size - bytesWritten));
    }
    this.isClosedOff = false;
  }

  /** Ends what was filled ahead: the file is as long as its records, on the device. */
  async complete(): Promise<void> {
    const zeros = this.#zeros;
    if (zeros === null) return;
    this.isClosedOff = true;
    await zeros.settle();
    this.#zeros = null;
    await this.#backend.ftruncate(this.file, this.#position);
    if (this.#isDurable) await this.#backend.fsync(this.file);
    this.isClosedOff = false;
  }

  close(): Promise<void> {
    return this.#backend.close(this.file);
  }
}
