// What a server knows of the files beneath one folder: open descriptors with their stats, and which names lead to nothing.
// A hit is one fstat; the name is looked up again when that is `revalidateMs` old. Nothing is watched. Look-ups are made at
// once where they can't block (dentry cache, local file systems), through the backend elsewhere.
// Never closes a descriptor that an answer may still be opened by.

import type { Backend } from "../backend/interface.ts";
import { OpenFile } from "../backend/interface.ts";
import { constants, O_PATH, RESOLVE_CACHED, RESOLVE_NO_XDEV } from "../kernel/constants.ts";
import type { Native } from "../kernel/shim.ts";
import { AT_FDCWD } from "../kernel/sqe.ts";
import { clockMs, setImmediate, setTimeout } from "../node/clock.ts";
import { encodePath } from "../node/path.ts";

const { O_NONBLOCK, S_IFDIR, S_IFMT, S_IFREG } = constants;
const EAGAIN = -11;
const TWO_32 = 2 ** 32;
/** How long after it was handed to Bun by its path a descriptor stays open at the least. */
const HANDED_OVER_MS = 10_000;

export type Kind = "file" | "folder" | "other";

/** What options have made of one version of a file. */
export interface EntryHeaders {
  readonly of: object;
  readonly name: string;
  /** Of an answer with all of the file. */
  readonly whole: Headers;
  /** Of a 304: what a cache would update (RFC 9110 15.4.5). */
  readonly unchanged: Headers;
}

/** One open file. `version` changes with what is in it, as far as its size, time and inode tell. */
export class Entry {
  readonly name: string;
  /** Whether its bytes may be asked for in the caller's own turn: no server is waited for. */
  local = false;
  /** Descriptor of a regular file; of a folder or anything else none is kept. */
  file: OpenFile | null = null;
  kind: Kind = "other";
  size = 0;
  modified = 0;
  modifiedNs = 0;
  etag = "";
  /** Counts the changes that were seen. */
  version = 0;
  /** The turn of the event loop in which it was last looked at. */
  turn = -1;
  /** When the name was last looked up. */
  checkedAt = 0;
  /** Answers since the file changed. */
  hits = 0;
  /** The second chance of the clock that evicts. */
  used = true;
  /** Bytes kept in memory; null if none. */
  body: Blob | null = null;
  /** Headers that options have given this version. */
  headers: EntryHeaders | null = null;
  /** Identity: device and inode. */
  identity = "";
  /** Answers by path that have not been collected, and when the last was given. */
  handedOver = 0;
  handedOverAt = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Takes a statx (struct statx as words) in; says whether the file is another version than it was. */
  update(words: Uint32Array): boolean {
    const mode = words[7]! & 0xffff & S_IFMT;
    const size = words[11]! * TWO_32 + words[10]!;
    const modified = (words[29]! | 0) * TWO_32 + words[28]!;
    const modifiedNs = words[30]!;
    if (size === this.size && modified === this.modified && modifiedNs === this.modifiedNs && this.etag !== "")
      return false;
    this.kind = mode === S_IFREG ? "file" : mode === S_IFDIR ? "folder" : "other";
    this.size = size;
    this.modified = modified;
    this.modifiedNs = modifiedNs;
    this.identity = identityOf(words);
    const inode = words[9]! * TWO_32 + words[8]!;
    this.etag = `"${[size, modified, modifiedNs, inode].map((part) => part.toString(36)).join("-")}"`;
    this.version++;
    this.hits = 0;
    this.body = null;
    this.headers = null;
    return true;
  }
}

const identityOf = (words: Uint32Array): string => `${words[34]}:${words[35]}:${words[9]}:${words[8]}`;

/** Why a name gives no file. */
export interface Missing {
  readonly error: Error & { code?: string };
}

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

/** Words of a struct statx. */
const STATX_WORDS = 64;

export interface CacheOptions {
  /** Descriptors kept. */
  capacity: number;
  /** Bytes of bodies kept in memory. */
  bodyBytes: number;
}

/** Opens by name, for what can't be had at once. Rejects with the reason. */
export type OpenByName = (name: string, flags: number) => Promise<OpenFile>;

export class FileCache {
  readonly #backend: Backend;
  readonly #native: Native | null;
  readonly #folder: number;
  readonly #resolve: number;
  readonly #local: boolean;
  readonly #open: OpenByName;
  readonly #options: CacheOptions;
  readonly #entries = new Map<string, Entry | Missing>();
  readonly #missedAt = new WeakMap<Missing, number>();
  readonly #pending = new Map<string, Promise<Entry | Missing>>();
  /** Entries that are gone from the table, whose descriptors may still be opened by their path. */
  readonly #leaving = new Set<Entry>();
  readonly #words = new Uint32Array(STATX_WORDS);
  readonly #answers: FinalizationRegistry<Entry>;
  #bodyBytes = 0;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | null = null;

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
    options: CacheOptions,
  ) {
    this.#backend = backend;
    this.#native = native;
    this.#folder = folder;
    this.#resolve = resolve;
    this.#local = local && native !== null;
    this.#open = open;
    this.#options = options;
    this.#answers = new FinalizationRegistry((entry) => {
      entry.handedOver--;
      if (this.#leaving.has(entry)) this.#sweep();
    });
  }

  /** What is open just now: entries with a descriptor, and such that wait to be closed. */
  get descriptors(): number {
    let count = this.#leaving.size;
    for (const entry of this.#entries.values()) if (entry instanceof Entry && entry.file !== null) count++;
    return count;
  }

  /** The file of a name, as it was at most `revalidateMs` ago: at once where that can be told without waiting. */
  find(name: string, now: number, revalidateMs: number): Entry | Missing | Promise<Entry | Missing> {
    const known = this.#entries.get(name);
    if (known instanceof Entry) {
      known.used = true;
      if (now - known.checkedAt < revalidateMs) return known;
    } else if (known !== undefined && now - this.#missedAt.get(known)! < revalidateMs) {
      return known;
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
    if (read >= 0 || read === EAGAIN) this.#take(entry);
    return read;
  }

  #take(entry: Entry): void {
    const { body } = entry;
    if (entry.update(this.#words) && body !== null) this.#bodyBytes -= body.size;
  }

  /** By a look-up that never waits: null where it would have to. */
  #findNow(name: string, known: Entry | Missing | undefined, now: number): Entry | Missing | null {
    const native = this.#native!;
    const resolve = this.#resolve | RESOLVE_CACHED | RESOLVE_NO_XDEV;
    // O_PATH first: a FIFO or a device must not be opened, not even for a moment.
    const place = native.openBeneath(this.#folder, encodePath(name), O_PATH, 0, resolve);
    if (place < 0) return null; // not cached, on another mount, missing, outside: the other way tells which
    const file = new OpenFile(place);
    const entry = new Entry(name);
    native.look(place, this.#words, 0, 0);
    entry.update(this.#words);
    if (known instanceof Entry && known.identity === entry.identity) {
      closeNow(this.#backend, file);
      this.#take(known);
      known.checkedAt = now;
      return known;
    }
    entry.checkedAt = now;
    entry.local = true;
    if (entry.kind === "file") {
      const opened = native.openBeneath(AT_FDCWD, encodePath(`/proc/self/fd/${place}`), O_NONBLOCK, 0, 0);
      closeNow(this.#backend, file);
      if (opened < 0) return null; // the slow way says why
      entry.file = new OpenFile(opened);
    } else {
      closeNow(this.#backend, file);
    }
    return this.#put(name, entry);
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
    const known = this.#entries.get(name);
    const words = new Uint32Array(STATX_WORDS);
    try {
      const place = await this.#open(name, O_PATH);
      const entry = new Entry(name);
      try {
        await this.#stat(place, words);
        entry.update(words);
        entry.checkedAt = clockMs();
        if (known instanceof Entry && known.identity === entry.identity) {
          const { body } = known;
          if (known.update(words) && body !== null) this.#bodyBytes -= body.size;
          known.checkedAt = entry.checkedAt;
          return known;
        }
        if (entry.kind === "file") {
          entry.file = await this.#backend.open(`/proc/self/fd/${place.fd}`, O_NONBLOCK, 0);
          entry.local = !entry.file.slow;
        }
      } finally {
        await this.#backend.close(place);
      }
      return this.#put(name, entry);
    } catch (error) {
      const missing: Missing = { error: error as Error };
      this.#missedAt.set(missing, clockMs());
      return this.#put(name, missing);
    }
  }

  async #stat(file: OpenFile, words: Uint32Array): Promise<void> {
    const stats = await this.#backend.fstat(file, true);
    const wide = (at: number, value: bigint): void => {
      words[at] = Number(value & 0xffff_ffffn);
      words[at + 1] = Number((value >> 32n) & 0xffff_ffffn);
    };
    const { dev, ino, mode, mtimeNs, size } = stats as import("node:fs").BigIntStats;
    words[7] = Number(mode);
    wide(8, ino);
    wide(10, size);
    const seconds = mtimeNs / 1_000_000_000n - (mtimeNs % 1_000_000_000n < 0n ? 1n : 0n);
    wide(28, BigInt.asUintN(64, seconds));
    words[30] = Number(mtimeNs - seconds * 1_000_000_000n);
    // makedev(3): the two halves as statx gives them.
    words[34] = Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n));
    words[35] = Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n));
  }

  #put<T extends Entry | Missing>(name: string, made: T): T {
    if (this.#closed) {
      if (made instanceof Entry) this.#drop(made);
      return made;
    }
    const known = this.#entries.get(name);
    this.#entries.delete(name);
    if (known instanceof Entry) this.#drop(known);
    while (this.#entries.size >= this.#options.capacity) this.#evict();
    this.#entries.set(name, made);
    return made;
  }

  /** The oldest that was not used since the clock's hand was last here. */
  #evict(): void {
    for (const [name, entry] of this.#entries) {
      this.#entries.delete(name);
      if (entry instanceof Entry && entry.used) {
        entry.used = false;
        this.#entries.set(name, entry);
        continue;
      }
      if (entry instanceof Entry) this.#drop(entry);
      return;
    }
  }

  #drop(entry: Entry): void {
    if (entry.body !== null) this.#bodyBytes -= entry.body.size;
    entry.body = null;
    this.#leaving.add(entry);
    this.#sweep();
  }

  /** Closes what nobody can open any more. */
  #sweep(): void {
    const now = clockMs();
    for (const entry of this.#leaving) {
      const { file } = entry;
      if (file !== null && (entry.handedOver > 0 || now - entry.handedOverAt < HANDED_OVER_MS)) continue;
      this.#leaving.delete(entry);
      if (file !== null && file.fd >= 0) closeNow(this.#backend, file);
    }
    if (this.#leaving.size > 0 && this.#timer === null) {
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#sweep();
      }, HANDED_OVER_MS);
      this.#timer.unref();
    }
  }

  /** Keeps a small body in memory, as far as there is room. */
  keep(entry: Entry, bytes: Uint8Array<ArrayBuffer>): Blob | null {
    if (this.#bodyBytes + bytes.length > this.#options.bodyBytes || this.#entries.get(entry.name) !== entry)
      return null;
    entry.body = new Blob([bytes]);
    this.#bodyBytes += bytes.length;
    return entry.body;
  }

  /** Pages of a range that are cached; -errno where that can't be told. */
  cachedPages(entry: Entry, offset: number, length: number): number {
    return this.#native === null ? EAGAIN : this.#native.cachedPages(entry.file!.fd, offset, length);
  }

  /** Reads cached bytes into shim or typed-array memory at once; -errno. */
  readNow(entry: Entry, into: number, length: number, offset: number): number {
    return this.#native === null || !entry.local ? EAGAIN : this.#native.readNow(entry.file!.fd, into, length, offset);
  }

  /** Lets an answer open the file by its path: it stays open until the answer has been collected, and a while. */
  handOver(entry: Entry, answer: object): void {
    entry.handedOver++;
    entry.handedOverAt = clockMs();
    this.#answers.register(answer, entry);
  }

  /** Keeps the file open for an answer that reads it piece by piece, until `release`. */
  hold(entry: Entry): void {
    entry.handedOver++;
  }

  release(entry: Entry): void {
    entry.handedOver--;
    if (this.#leaving.has(entry)) this.#sweep();
  }

  /** Lets go of all; answers that are under way keep what they need. */
  close(): void {
    this.#closed = true;
    for (const entry of this.#entries.values()) if (entry instanceof Entry) this.#drop(entry);
    this.#entries.clear();
  }
}

function closeNow(backend: Backend, file: OpenFile): void {
  backend.close(file).catch(() => {});
}
