// What a server knows of the files beneath one folder, and how it comes to know it. A hit is one fstat; the name is looked up
// again when that is `revalidateMs` old. Nothing is watched. Look-ups are made at once where they can't block (dentry cache,
// local file systems), through the backend elsewhere.

import type { BigIntStats } from "node:fs";
import type { Backend } from "../backend/interface.ts";
import { OpenFile } from "../backend/interface.ts";
import { withFile } from "../backend/loops.ts";
import { constants, O_PATH, RESOLVE_CACHED, RESOLVE_NO_XDEV, STATX_WORDS } from "../kernel/constants.ts";
import { hold, type Native } from "../kernel/shim.ts";
import { AT_FDCWD } from "../kernel/sqe.ts";
import { clockMs, setImmediate } from "../node/clock.ts";
import { EAGAIN } from "../node/errno.ts";
import { encodePath } from "../node/path.ts";
import { Entry, identityOf, type Missing, wordsOf } from "./entry.ts";
import { shed, Table } from "./table.ts";

const { O_NONBLOCK } = constants;
/** What a name is taken for until it is looked up again; other errors say nothing of the next look-up. */
const LASTING = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "EACCES", "EPERM", "ENXIO", "ERR_OUTSIDE_ROOT"]);

let turn = 0;
let turnEnds = false;

/** The number of this turn of the event loop. */
function thisTurn(): number {
  if (!turnEnds) {
    turnEnds = true;
    setImmediate(() => {
      turnEnds = false;
      turn++;
    });
  }
  return turn;
}

/** Tables of roots that were never closed let go of their descriptors when nobody can ask for the roots' files any more. */
const abandoned = new FinalizationRegistry<Table>((table) => table.close());

/** Opens by name, for what can't be had at once. Rejects with the reason. */
type OpenByName = (name: string, flags: number) => Promise<OpenFile>;

export class FileCache {
  readonly #backend: Backend;
  readonly #native: Native | null;
  readonly #folder: number;
  readonly #resolve: number;
  readonly #local: boolean;
  readonly #open: OpenByName;
  readonly #table: Table;
  readonly #pending = new Map<string, Promise<Entry | Missing>>();
  readonly #words = new Uint32Array(STATX_WORDS);

  /**
   * `folder`: descriptor that names are relative to; `resolve`: RESOLVE_ flags of each open; `local`: nothing beneath it waits
   * for a server, so that it may be asked at once.
   */
  constructor(
    backend: Backend,
    native: Native | null,
    folder: number,
    resolve: number,
    local: boolean,
    open: OpenByName,
  ) {
    this.#backend = backend;
    this.#native = native;
    this.#folder = folder;
    this.#resolve = resolve;
    this.#local = local && native !== null;
    this.#open = open;
    this.#table = new Table(backend);
    abandoned.register(this, this.#table, this.#table);
  }

  /** The file of a name, as it was at most `revalidateMs` ago: at once where that can be told without waiting. */
  find(name: string, now: number, revalidateMs: number): Entry | Missing | Promise<Entry | Missing> {
    const known = this.#table.get(name);
    if (known !== undefined) {
      if (known instanceof Entry) known.used = true;
      if (now - known.checkedAt < revalidateMs) return known;
    }
    return (this.#local ? this.#findNow(name, known, now) : null) ?? this.#findLater(name);
  }

  /**
   * Looks at an open file: takes in what changed, and reads all of it into `into` if it is small enough and cached. Returns the
   * bytes read, or a negative number if they are to be had in another way.
   */
  look(entry: Entry, into: number, capacity: number): number {
    if (this.#native === null) return EAGAIN;
    // Requests that came together are answered from one look: each was there before it was made.
    if (entry.turn === turn && capacity === 0) return EAGAIN;
    entry.turn = thisTurn();
    const read = this.#native.look(entry.file!.fd, this.#words, into, entry.local ? capacity : 0);
    if (read >= 0 || read === EAGAIN) entry.update(this.#words);
    return read;
  }

  /**
   * Whether what was read since `version` was seen is of that version: asks the file, whenever it was last asked. A file server is
   * asked as well if `thoroughly`, at the end of what is sent.
   */
  isStill(entry: Entry, version: number, thoroughly: boolean): boolean | Promise<boolean> {
    if (this.#native !== null && (entry.local || !thoroughly)) {
      if (this.#native.look(entry.file!.fd, this.#words, 0, 0) !== EAGAIN) return false;
      entry.update(this.#words);
      return entry.version === version;
    }
    const words = new Uint32Array(STATX_WORDS);
    return this.#stat(entry.file!, words).then(() => {
      entry.update(words);
      return entry.version === version;
    });
  }

  /** By a look-up that never waits: null where it would have to. */
  #findNow(name: string, known: Entry | Missing | undefined, now: number): Entry | null {
    const native = this.#native!;
    const resolve = this.#resolve | RESOLVE_CACHED | RESOLVE_NO_XDEV;
    // O_PATH first: a FIFO or a device must not be opened, not even for a moment.
    const place = native.openBeneath(this.#folder, encodePath(name), O_PATH, 0, resolve);
    if (place < 0) return null; // not cached, on another mount, missing, outside: the other way tells which
    const file = hold(native, new OpenFile(place));
    try {
      if (native.look(place, this.#words, 0, 0) !== EAGAIN) return null;
      const same = this.#isSame(known, this.#words, now);
      if (same !== null) return same;
      const entry = new Entry(name, this.#words, now);
      entry.local = true;
      if (entry.kind === "file") {
        const fd = native.openBeneath(AT_FDCWD, encodePath(`/proc/self/fd/${place}`), O_NONBLOCK, 0, 0);
        if (fd < 0) return null; // the slow way says why
        entry.file = hold(native, new OpenFile(fd));
      }
      this.#table.put(name, entry);
      return entry;
    } finally {
      this.#backend.close(file).catch(() => {});
    }
  }

  /** The file that is open already, if the name still leads to it. */
  #isSame(known: Entry | Missing | undefined, words: Uint32Array, now: number): Entry | null {
    if (!(known instanceof Entry) || known.identity !== identityOf(words) || known.closed) return null;
    known.update(words);
    known.checkedAt = now;
    return known;
  }

  #findLater(name: string): Promise<Entry | Missing> {
    let pending = this.#pending.get(name);
    if (pending === undefined) {
      pending = this.#findByBackend(name).finally(() => this.#pending.delete(name));
      this.#pending.set(name, pending);
    }
    return pending;
  }

  async #findByBackend(name: string): Promise<Entry | Missing> {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#openByBackend(name);
      } catch (error) {
        const { code } = error as { code?: string };
        if ((code === "EMFILE" || code === "ENFILE") && tries === 0) {
          shed();
          continue;
        }
        const missing: Missing = { error: error as Error, checkedAt: clockMs() };
        if (LASTING.has(code!)) this.#table.put(name, missing);
        return missing;
      }
    }
  }

  #openByBackend(name: string): Promise<Entry> {
    return withFile(this.#backend, this.#open(name, O_PATH), async (place) => {
      const words = new Uint32Array(STATX_WORDS);
      await this.#stat(place, words);
      const same = this.#isSame(this.#table.get(name), words, clockMs());
      if (same !== null) return same;
      const entry = new Entry(name, words, clockMs());
      if (entry.kind === "file") {
        entry.file = await this.#backend.open(`/proc/self/fd/${place.fd}`, O_NONBLOCK, 0);
        entry.local = !entry.file.remote;
      }
      this.#table.put(name, entry);
      return entry;
    });
  }

  async #stat(file: OpenFile, words: Uint32Array): Promise<void> {
    wordsOf((await this.#backend.fstat(file, true)) as BigIntStats, words);
  }

  /** Whether a range, of so many pages, is in the page cache. Requests that came together share the look at a file's front. */
  isCached(entry: Entry, offset: number, length: number, pages: number): boolean {
    if (this.#native === null) return false;
    if (offset === 0 && entry.frontTurn === turn && length <= entry.frontBytes) return true;
    if (this.#native.cachedPages(entry.file!.fd, offset, length) < pages) return false;
    if (offset === 0) {
      entry.frontTurn = thisTurn();
      entry.frontBytes = length;
    }
    return true;
  }

  /** Reads cached bytes into shim or typed-array memory at once; -errno. */
  readNow(entry: Entry, into: number, length: number, offset: number): number {
    return this.#native === null || !entry.local ? EAGAIN : this.#native.readNow(entry.file!.fd, into, length, offset);
  }

  /** Lets go of all; answers that are under way keep what they need. */
  close(): void {
    abandoned.unregister(this.#table);
    this.#table.close();
  }
}
