// The tables of a thread: what each root knows by name, the oldest out first, with one bound on the descriptors of all of them.
// An answer may still be opened by a descriptor's path (/proc/self/fd/N): until it can't be any more that descriptor is not
// closed, also when its entry has left the table, since the number would lead to another file. Those are bounded as well.

import { readFileSync } from "node:fs";
import type { Backend } from "../backend/interface.ts";
import { clockMs, setTimeout } from "../node/clock.ts";
import { Entry, type Missing } from "./entry.ts";

/** Names that a table knows, and descriptors that all tables of a thread hold, at the most. */
const MAX_ENTRIES = 1024;
/**
 * How long after an answer by its path was given a descriptor stays open at the least: a Blob or a stream that was taken out of
 * the answer may outlive it.
 */
const LENT_MS = 10_000;

const tables = new Set<Table>();
/** Entries that have left their tables and whose descriptors somebody may need. */
const retired = new Map<Entry, Backend>();
/** Entries whose descriptors an answer may be opened by, in a table or not. */
const lent = new Set<Entry>();
/** Descriptors that the tables hold. */
let held = 0;
let limit = 0;
let timer: ReturnType<typeof setTimeout> | null = null;

const answers = new FinalizationRegistry<Entry>(release);

/** A quarter of what this process may have open. */
function descriptorLimit(): number {
  if (limit === 0) {
    let most = MAX_ENTRIES;
    try {
      most = Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? most);
    } catch {} // no /proc
    limit = Math.max(4, Math.min(MAX_ENTRIES, Math.floor(most / 4)));
  }
  return limit;
}

/** Keeps a descriptor open until `release`. */
export function hold(entry: Entry): void {
  entry.users++;
}

export function release(entry: Entry): void {
  entry.users--;
  settle(entry);
}

/** Whether one more answer may be given by the path of a file's descriptor; else its bytes have to be read here. */
export const mayLend = (entry: Entry): boolean => lent.has(entry) || lent.size < descriptorLimit();

/** Lets an answer open the file by its path: its descriptor stays open until the answer has been collected, and a while. */
export function lend(entry: Entry, answer: object): void {
  entry.users++;
  entry.lentAt = clockMs();
  lent.add(entry);
  answers.register(answer, entry);
}

function retire(entry: Entry, backend: Backend): void {
  entry.listed = false;
  entry.forgetBody();
  if (entry.file === null) return;
  retired.set(entry, backend);
  settle(entry);
}

/** Sees whether nobody needs a descriptor any more; closes it if no table has it. */
function settle(entry: Entry): void {
  if (entry.users > 0) return;
  const wait = lent.has(entry) ? entry.lentAt + LENT_MS - clockMs() : 0;
  if (wait > 0) {
    // One timer for all; it need not be exact.
    timer ??= setTimeout(settleAll, Math.max(wait, LENT_MS / 10));
    timer.unref();
    return;
  }
  lent.delete(entry);
  const backend = retired.get(entry);
  if (backend === undefined) return;
  retired.delete(entry);
  backend.close(entry.file!).catch(() => {});
}

function settleAll(): void {
  timer = null;
  for (const entry of lent) settle(entry);
}

/** Gives descriptors back where there are no more to be had: half of what the tables hold. */
export function shed(): void {
  for (const most = held >> 1; held > most; ) largest()!.evict();
}

function largest(): Table | undefined {
  let found: Table | undefined;
  for (const table of tables) if (found === undefined || table.held > found.held) found = table;
  return found;
}

export class Table {
  readonly #backend: Backend;
  readonly #entries = new Map<string, Entry | Missing>();
  #closed = false;
  /** Descriptors that it holds. */
  held = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
    tables.add(this);
  }

  get(name: string): Entry | Missing | undefined {
    return this.#entries.get(name);
  }

  /** Takes in what a name leads to, in place of what it led to. In a closed table nothing stays. */
  put(name: string, made: Entry | Missing): void {
    const known = this.#entries.get(name);
    if (known !== undefined) this.#remove(name, known);
    if (this.#closed) {
      if (made instanceof Entry) retire(made, this.#backend);
      return;
    }
    const opens = made instanceof Entry && made.file !== null;
    while (this.#entries.size >= MAX_ENTRIES) this.evict();
    while (opens && held >= descriptorLimit()) largest()!.evict();
    this.#entries.set(name, made);
    if (made instanceof Entry) made.listed = true;
    if (opens) {
      this.held++;
      held++;
    }
  }

  #remove(name: string, known: Entry | Missing): void {
    this.#entries.delete(name);
    if (!(known instanceof Entry)) return;
    if (known.file !== null) {
      this.held--;
      held--;
    }
    retire(known, this.#backend);
  }

  /** Drops the oldest that was not used since the clock's hand was last here. */
  evict(): void {
    for (const [name, entry] of this.#entries) {
      if (entry instanceof Entry && entry.used) {
        entry.used = false;
        this.#entries.delete(name);
        this.#entries.set(name, entry);
        continue;
      }
      return this.#remove(name, entry);
    }
  }

  /** Lets go of all; answers that are under way keep what they need. */
  close(): void {
    this.#closed = true;
    tables.delete(this);
    for (const [name, entry] of this.#entries) this.#remove(name, entry);
  }
}
