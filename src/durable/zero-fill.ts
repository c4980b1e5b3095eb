// Zeros written ahead of a log, in steps: an append into blocks that are written already changes neither the file's size nor its
// extents, so that its sync needs no journal commit (fallocate alone leaves both to do). Off the groups' path; where a group
// comes near a step that is being written, it waits for it.
// By a descriptor of its own: the kernel reports lost data once to each open file, and the log's own syncs have to hear of it.
// Never writes where a record may be. The first step leaves some room before it: what is written by blocking calls, at an end of the
// process just after the opening, must not wait for zeros.

import { constants } from "node:fs";
import type { Backend, OpenFile } from "../backend/interface.ts";
import { writeAll } from "../backend/loops.ts";

const CHUNK_BYTES = 1024 * 1024;
const FIRST_ROOM_BYTES = 256 * 1024;
const zeros = Buffer.alloc(CHUNK_BYTES);

export class ZeroFill {
  readonly #backend: Backend;
  readonly #file: OpenFile;
  readonly #step: number;
  /** All before it is written, with records or zeros. */
  #filledTo: number;
  /** Where the zeros begin that are being written, or were last. */
  #start: number;
  #filling: Promise<void> | null = null;
  #own: OpenFile | null = null;
  /** Where it failed nothing is filled ahead any more; appending says what is wrong. */
  #failed = false;

  constructor(backend: Backend, file: OpenFile, step: number, end: number) {
    this.#backend = backend;
    this.#file = file;
    this.#step = step;
    this.#filledTo = end;
    this.#start = end + Math.min(step, FIRST_ROOM_BYTES);
    this.#begin();
  }

  /** Whether a blocking write up to `end` would meet zeros that are being written. */
  overlaps(end: number): boolean {
    return this.#filling !== null && end > this.#start;
  }

  /** Before a group is written up to `end`. */
  async before(end: number): Promise<void> {
    while (this.overlaps(end)) await this.#filling;
    if (end > this.#filledTo) this.#filledTo = end;
    if (this.#filling === null) this.#start = Math.max(this.#start, this.#filledTo);
    if (this.#filledTo - end < this.#step / 2) this.#begin();
  }

  /** When nothing is being written any more. */
  async settle(): Promise<void> {
    this.#failed = true; // nothing new begins
    await this.#filling;
    if (this.#own !== null) await this.#backend.close(this.#own).catch(() => {}); // zeros that are lost are no loss
    this.#own = null;
  }

  #begin(): void {
    if (this.#filling !== null || this.#failed) return;
    this.#filling = this.#fill()
      .catch(() => {
        this.#failed = true;
      })
      .finally(() => {
        this.#filling = null;
      });
  }

  async #fill(): Promise<void> {
    this.#own ??= await this.#backend.open(`/proc/self/fd/${this.#file.fd}`, constants.O_WRONLY, 0);
    const file = this.#own;
    const end = this.#start + this.#step;
    for (let at = this.#start; at < end; at += CHUNK_BYTES) {
      const chunk = zeros.subarray(0, Math.min(CHUNK_BYTES, end - at));
      await writeAll(this.#backend, file, chunk, null, undefined, at);
    }
    await this.#backend.fdatasync(file);
    this.#filledTo = this.#start = end;
  }
}
