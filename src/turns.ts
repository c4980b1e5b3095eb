// The order of a handle's operations: those at the file's own position one after another, as they were called; and what
// must have ended before the file is closed, where the backend doesn't see it as one operation.
// Assumes that the backend counts its operations in `file.inFlight`. The usual case, nothing under way, adds no promise.

import type { OpenFile } from "./backend-interface.ts";

/** A settled operation on more bytes than this isn't remembered, since its result would keep them alive. */
const REMEMBERED_BYTES = 64 * 1024;

export class Turns {
  readonly #file: OpenFile;
  /** Operations of several steps, or waiting for their turn. */
  #held: number = 0;
  /** The last operation at the file's own position; it may have ended. */
  #last: Promise<unknown> | null = null;
  #drained: (() => void) | null = null;

  constructor(file: OpenFile) {
    this.#file = file;
  }

  /** Runs an operation now if it has a position of its own, else in its turn. */
  at<T>(position: number | bigint, byteLength: number, run: () => Promise<T>): Promise<T> {
    if (position !== -1) return run();
    // Something is under way, perhaps at the same position.
    if (this.#file.inFlight > 0 || this.#held > 0) return this.inOrder(run);
    const operation = run();
    this.#last = operation;
    if (byteLength > REMEMBERED_BYTES) {
      const forget = (): void => {
        if (this.#last === operation) this.#last = null;
      };
      operation.then(forget, forget);
    }
    return operation;
  }

  /** Runs an operation at the file's own position after all earlier ones there, even if they failed. */
  inOrder<T>(run: () => Promise<T>): Promise<T> {
    const last = this.#last;
    const operation = this.hold(() => (last === null ? run() : last.then(run, run)));
    this.#last = operation;
    return operation;
  }

  /** Keeps the file open until this operation has ended. What `run` throws is thrown on. */
  hold<T>(run: () => Promise<T>): Promise<T> {
    const release = (): void => {
      if (--this.#held > 0) return;
      if (this.#file.inFlight === 0) this.#last = null;
      this.#drained?.();
    };
    this.#held++;
    try {
      const operation = run();
      operation.then(release, release);
      return operation;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Null if nothing keeps the file open, else a promise for the moment when nothing does. */
  drain(): Promise<void> | null {
    if (this.#held === 0) return null;
    return new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
  }
}
