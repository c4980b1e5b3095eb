// The file that a log's groups go to: its position, what is filled with zeros ahead of it, and how a group is put there, cut off
// again, and the file completed and let go.
// Assumes one group at a time. Knows nothing of who waits for a group.

import { fdatasyncSync } from "node:fs";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { writeThenSync } from "../backend/loops.ts";
import { epochMs } from "../node/clock.ts";
import { writeAllSync } from "./at-exit.ts";
import type { Checked } from "./log-options.ts";
import type { Opened } from "./recover.ts";
import { ZeroFill } from "./zero-fill.ts";

export class LogFile {
  readonly #backend: Backend;
  readonly #file: OpenFile;
  readonly #isDurable: boolean;
  /** Records stand where they are put, everything else at the end. */
  readonly #isPlaced: boolean;
  readonly #openedAt: number = epochMs();
  #zeros: ZeroFill | null;
  /** Of the next group. */
  #position: number;
  /** Offset in the log of the file's beginning. */
  readonly base: number;

  constructor(backend: Backend, options: Checked, { file, position, base }: Opened) {
    this.#backend = backend;
    this.#file = file;
    this.#isDurable = options.durability !== "none";
    this.#isPlaced = options.framing === "records";
    this.#position = position;
    this.base = base;
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

  get ageMs(): number {
    return epochMs() - this.#openedAt;
  }

  /** Writes a group, and syncs it if the log is durable. Where it fails the position stays. */
  async put(pieces: readonly Buffer[], length: number): Promise<void> {
    await this.#zeros?.before(this.#position + length);
    const position = this.#isPlaced ? this.#position : -1;
    const landed = { bytes: 0 };
    if (this.#isDurable) await this.#backend.writeSynced(this.#file, pieces, position, landed);
    else await writeThenSync(this.#backend, this.#file, pieces, position, landed, async () => {});
    this.#position += length;
  }

  /** Counts bytes that `putSync` has put behind a group that was under way. */
  skip(length: number): void {
    this.#position += length;
  }

  /** Writes bytes `ahead` of the position, holding the thread; false where zeros may be on their way there. */
  putSync(pieces: readonly Buffer[], length: number, ahead: number): boolean {
    let place = this.#position + ahead;
    if (this.#file.fd < 0 || this.#zeros?.overlaps(place + length)) return false;
    for (const bytes of pieces) {
      writeAllSync(this.#file.fd, bytes, this.#isPlaced ? place : null);
      place += bytes.length;
    }
    if (this.#isDurable) fdatasyncSync(this.#file.fd);
    return true;
  }

  /** Cuts off what a failed write has left behind the position. */
  async cut(): Promise<void> {
    const zeros = this.#zeros;
    this.#zeros = null; // where there is no room nothing is filled ahead
    await zeros?.settle();
    await this.#backend.ftruncate(this.#file, this.#position);
  }

  /** Completes the file on the device, runs `then` while it is still locked, and closes it. */
  async letGo(then?: () => Promise<void>): Promise<void> {
    const zeros = this.#zeros;
    this.#zeros = null;
    if (zeros !== null) {
      await zeros.settle();
      await this.#backend.ftruncate(this.#file, this.#position);
      if (this.#isDurable) await this.#backend.fsync(this.#file);
    }
    await then?.();
    await this.#backend.close(this.#file);
  }
}
