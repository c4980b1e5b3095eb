// Modes and times of what copyTree has made. They have no opcode: on local file systems the shim sets them for many paths in
// one call of ~0.1 ms (2 to 4 µs each; Bun's pool takes 10 and a visit to the loop), elsewhere node:fs does it one by one.

import type { Backend, Path } from "../backend/interface.ts";
import { thread } from "../backend/uring/request.ts";
import type { Facts } from "../backend/uring/statx.ts";
import { bun } from "../node/bun-fs.ts";
import { systemError } from "../node/errors.ts";
import { CELL_HALF, Cell, ownPath, putPath, stableAddress } from "../ring/scratch.ts";

/** Words of the shim's `struct attributes`, and where its result is. */
const RECORD_WORDS = 10;
const RESULT_WORD = 9;
const BATCH = 32;
const NO_MODE = 0xffff_ffff;
const TWO_32 = 2 ** 32;

/** The permissions to set, or KEEP_MODE. */
export const KEEP_MODE = -1;

export interface Attributes {
  /** Gives `path` the times of `facts`, and `mode` unless it is KEEP_MODE. May be done later, at the latest by `flush`. */
  set(path: Path, facts: Facts, mode: number): void | Promise<void>;
  flush(): void;
}

/** How attributes are set below `dest`. */
export function attributesBelow(backend: Backend, dest: Path): Attributes {
  if (backend.name !== "io_uring") return delegated;
  const { mounts } = thread();
  return mounts.any && mounts.holdsPath(dest) ? delegated : new Batch();
}

const delegated: Attributes = {
  async set(path, facts, mode) {
    try {
      if (mode !== KEEP_MODE) await bun.chmod(path, mode);
      const accessed = facts.accessSeconds + facts.accessNanoseconds / 1e9;
      const modified = facts.modificationSeconds + facts.modificationNanoseconds / 1e9;
      await bun.lutimes(path, accessed, modified);
    } catch (error) {
      throw systemError((error as NodeJS.ErrnoException).errno!, "utime", path);
    }
  },
  flush: () => {},
};

class Batch implements Attributes {
  readonly #records: Uint32Array = new Uint32Array(new ArrayBuffer(BATCH * RECORD_WORDS * 4));
  readonly #paths: Path[] = [];
  /** Room for the paths, a cell's half for each; of JavaScript's own, as the call that reads it returns before we do. */
  readonly #room: Cell = roomForPaths();
  readonly #memory: Buffer[] = [];

  set(path: Path, facts: Facts, mode: number): void {
    const address = this.#addressOf(path);
    const words = this.#records;
    const i = this.#paths.length * RECORD_WORDS;
    this.#paths.push(path);
    words[i] = address;
    words[i + 1] = Math.floor(address / TWO_32);
    words[i + 2] = facts.accessSeconds;
    words[i + 3] = Math.floor(facts.accessSeconds / TWO_32);
    words[i + 4] = facts.modificationSeconds;
    words[i + 5] = Math.floor(facts.modificationSeconds / TWO_32);
    words[i + 6] = facts.accessNanoseconds;
    words[i + 7] = facts.modificationNanoseconds;
    words[i + 8] = mode === KEEP_MODE ? NO_MODE : mode;
    if (this.#paths.length === BATCH) this.flush();
  }

  #addressOf(path: Path): number {
    const address = putPath(this.#room, this.#paths.length * CELL_HALF, path);
    if (address >= 0) return address;
    const memory = ownPath(path);
    this.#memory.push(memory);
    return stableAddress(memory, 0);
  }

  flush(): void {
    const count = this.#paths.length;
    if (count === 0) return;
    const failed = thread().native.setAttributes(this.#records, count);
    this.#memory.length = 0;
    const paths = this.#paths.splice(0);
    if (failed === 0) return;
    const first = paths.findIndex((_, n) => this.#records[n * RECORD_WORDS + RESULT_WORD] !== 0);
    throw systemError(this.#records[first * RECORD_WORDS + RESULT_WORD]! | 0, "utime", paths[first]);
  }
}

function roomForPaths(): Cell {
  const bytes = Buffer.alloc(BATCH * CELL_HALF);
  return new Cell(stableAddress(bytes, 0), bytes, new Uint32Array(bytes.buffer), 0);
}
