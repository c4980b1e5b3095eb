// The order of a handle's operations: those at the file's own position one after another, as they were called; and what
// must have ended before the file is closed, where the backend doesn't see it as one operation.
// Assumes that the backend counts its operations in `file.inFlight`. The usual case, nothing under way, adds no promise.

import type { Backend, OpenFile } from "../backend/interface.ts";
import { atExit, Moved } from "../node/exit.ts";
import { takeSteps } from "../node/steps.ts";

/** A settled operation on more bytes than this isn't remembered, since its result would keep them alive. */
const REMEMBERED_BYTES = 64 * 1024;

type Pending = Promise<unknown> | null;

/** Handles with an operation of several steps under way: collected, they would close their file between two of them. */
const busy = new Set<object>();

/** A write that waits for its turn. */
interface WaitingWrite {
  file: OpenFile;
  begin: () => Promise<unknown>;
}

/** All of this thread, in their order; null before the first. */
let waiting: Set<WaitingWrite> | null = null;

/** At the end of the thread no promise brings the turn any more: each file's next write is begun when it has none. */
function beginWaiting(): Moved {
  takeSteps(); // what is before it may have some left
  const seen = new Set<OpenFile>();
  let moved: Moved = Moved.idle;
  for (const { file, begin } of [...waiting!]) {
    if (file.inFlight === 0 && !seen.has(file)) {
      begin().catch(() => {});
      moved = Moved.moves;
    }
    seen.add(file);
  }
  return moved;
}

/** When an operation has ended. A plain `then` would make its error name the caller of what comes after it. */
function endOf(operation: Pending): Pending {
  return (
    operation &&
    new Promise<void>((resolve) => {
      const ended = (): void => resolve();
      operation.then(ended, ended);
    })
  );
}

export class Order {
  readonly #backend: Backend;
  readonly #file: OpenFile;
  readonly #handle: object;
  /** Operations of several steps, or waiting for their turn. */
  #held: number = 0;
  /** What keeps the file open without being under way, and what it wants done when somebody closes the handle. */
  readonly #users: Set<() => void> = new Set();
  /** The last operation at the file's own position, and the last that read and wrote there; they may have ended. */
  #last: Pending = null;
  /** The last operation itself, where `#last` is only its end. */
  #lastOperation: Pending = null;
  /** When what was held last has ended. */
  #ended: Pending = null;
  #lastRead: Pending = null;
  #lastWrite: Pending = null;
  #seekable: Promise<boolean> | null = null;
  #drained: (() => void) | null = null;

  constructor(backend: Backend, file: OpenFile, handle: object = file) {
    this.#backend = backend;
    this.#file = file;
    this.#handle = handle;
  }

  /** Runs a read now if it has a position of its own, else in its turn. */
  read<T>(position: number | bigint, byteLength: number, run: () => Promise<T>): Promise<T> {
    if (position !== -1) return run();
    return this.isIdle ? this.#remember(run(), byteLength, true) : this.readInOrder(run);
  }

  /** Runs a write now if it has a position of its own, else in its turn. */
  write<T>(position: number | bigint, byteLength: number, run: () => Promise<T>): Promise<T> {
    if (position !== -1) return run();
    return this.isIdle ? this.#remember(run(), byteLength, false) : this.writeInOrder(run);
  }

  /** Runs something that reads at the file's own position after all earlier operations there, even if they failed. */
  readInOrder<T>(run: () => Promise<T>): Promise<T> {
    const operation = this.#after(this.#lastRead, run);
    this.#last = this.#lastRead = this.#ended;
    this.#lastOperation = operation;
    return operation;
  }

  /** Runs something that writes at the file's own position after all earlier operations there, even if they failed. */
  writeInOrder<T>(run: () => Promise<T>): Promise<T> {
    const operation = this.#after(this.#lastWrite, this.#waiting(run));
    this.#last = this.#lastWrite = this.#ended;
    this.#lastOperation = operation;
    return operation;
  }

  /** Whether this is the last operation at the file's own position, of those that have begun or wait for their turn. */
  isLast(operation: Promise<unknown>): boolean {
    return this.#lastOperation === operation;
  }

  /** Keeps the file open until this operation has ended. What `run` throws is thrown on. */
  hold<T>(run: () => Promise<T>): Promise<T> {
    const release = (): void => {
      if (--this.#held > 0) return;
      busy.delete(this.#handle);
      if (this.#file.inFlight === 0)
        this.#last = this.#lastOperation = this.#ended = this.#lastRead = this.#lastWrite = null;
      this.#settle();
    };
    if (this.#held++ === 0) busy.add(this.#handle);
    try {
      const operation = run();
      this.#ended = operation.then(release, release);
      return operation;
    } catch (error) {
      release();
      throw error;
    }
  }

  /**
   * Keeps the file open until the function that it returns is called; `onClose` is called when the handle is being
   * closed. Unlike an operation under way it doesn't keep the handle: a stream that was left in the middle is collected,
   * and the file closed with it.
   */
  keepOpen(onClose: () => void = () => {}): () => void {
    const user = (): void => onClose();
    this.#users.add(user);
    return () => {
      if (this.#users.delete(user)) this.#settle();
    };
  }

  /** Runs something, the closing of the file, when nothing keeps it open: now, if that is so now. */
  whenUnused<T>(run: () => Promise<T>): Promise<T> {
    if (this.#held === 0 && this.#users.size === 0) return run();
    return new Promise<void>((resolve) => {
      this.#drained = resolve;
    }).then(run);
  }

  /** The handle is being closed: whoever keeps the file open hears of it. */
  tellUsers(): void {
    for (const onClose of [...this.#users]) onClose();
  }

  /** Nothing is under way on this file, at any position. */
  get isIdle(): boolean {
    return this.#file.inFlight === 0 && this.#held === 0;
  }

  /** Something is under way, or keeps the file open. */
  get isUsed(): boolean {
    return !this.isIdle || this.#users.size > 0;
  }

  #settle(): void {
    if (this.#held === 0 && this.#users.size === 0) this.#drained?.();
  }

  #remember<T>(operation: Promise<T>, byteLength: number, isRead: boolean): Promise<T> {
    this.#last = this.#lastOperation = operation;
    if (isRead) this.#lastRead = operation;
    else this.#lastWrite = operation;
    if (byteLength > REMEMBERED_BYTES) {
      const forget = (): void => {
        if (this.#last === operation) this.#last = this.#lastOperation = null;
        if (this.#lastRead === operation) this.#lastRead = null;
        if (this.#lastWrite === operation) this.#lastWrite = null;
      };
      operation.then(forget, forget);
    }
    return operation;
  }

  /** `run`, to be called once: in its turn, or at the end of the thread. */
  #waiting<T>(run: () => Promise<T>): () => Promise<T> {
    if (this.#last === null) return run;
    if (waiting === null) {
      waiting = new Set();
      atExit(beginWaiting);
    }
    const writes = waiting;
    let begun: Promise<T> | null = null;
    const write: WaitingWrite = {
      file: this.#file,
      begin: () => {
        writes.delete(write);
        begun ??= run();
        return begun;
      },
    };
    writes.add(write);
    return write.begin as () => Promise<T>;
  }

  #after<T>(lastOfKind: Pending, run: () => Promise<T>): Promise<T> {
    const last = this.#last === this.#lastOperation ? endOf(this.#last) : this.#last;
    if (lastOfKind === this.#last) lastOfKind = last;
    return this.hold(() => {
      if (last === null) return run();
      if (last === lastOfKind) return last.then(run); // the end of an operation never rejects, as the operation may
      // A read that waits on a pipe for data must not hold up the write that brings it: there, no position is shared.
      this.#seekable ??= this.#askSeekable();
      return this.#seekable.then((seekable) => (seekable ? last : lastOfKind)).then(run, run);
    });
  }

  #askSeekable(): Promise<boolean> {
    return this.#backend.fstat(this.#file, false).then(
      (stats) => stats.isFile() || stats.isBlockDevice() || stats.isDirectory(),
      () => true,
    );
  }
}
