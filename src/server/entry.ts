// One file as a server knows it: what its stat says, what options and requests have made of it, and who may still need its
// descriptor. Assumes that a file's bytes have not changed as long as its size, modification time and inode have not.

import type { OpenFile } from "../backend/interface.ts";
import { constants } from "../kernel/constants.ts";
import { epochMs } from "../node/clock.ts";

const { S_IFDIR, S_IFMT, S_IFREG } = constants;
const TWO_32 = 2 ** 32;
/** Bytes of the bodies that are kept in memory, of all roots together; half of them is for bodies up to SMALL_BYTES alone. */
const BODY_BYTES = 64 * 1024 * 1024;
const SMALL_BYTES = 64 * 1024;
/**
 * How old a modification must be for a file's bytes to be kept. The kernel sets the time before it copies the bytes of a write,
 * so that what is read just then may be older than what the stat promises, and nothing would ever tell.
 */
const SETTLED_MS = 2000;

type Kind = "file" | "folder" | "other";

/** What options have made of one version of a file. */
export interface EntryHeaders {
  readonly of: object;
  readonly name: string;
  /** Of an answer with all of the file. */
  readonly whole: Headers;
  /** Of a 304: what a cache would update (RFC 9110 15.4.5). */
  readonly unchanged: Headers;
}

/** Why a name gives no file. */
export interface Missing {
  readonly error: Error & { code?: string };
  /** When the name was looked up. */
  readonly checkedAt: number;
}

let bodyBytes = 0;

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
  /** The turn in which its front was last found in the page cache, and how much of it. */
  frontTurn = -1;
  frontBytes = 0;
  /** When the name was last looked up. */
  checkedAt: number;
  /** Answers since the file changed. */
  hits = 0;
  /** The second chance of the clock that evicts. */
  used = true;
  /** A table has it. */
  listed = false;
  /** Bytes kept in memory; null if none. */
  body: Blob | null = null;
  /** Headers that options have given this version. */
  headers: EntryHeaders | null = null;
  /** Identity: device and inode. */
  identity = "";
  /** Who reads it, and answers by its descriptor's path that have not been collected. */
  users = 0;
  /** When an answer by its path was last given. */
  lentAt = 0;

  constructor(name: string, words: Uint32Array, checkedAt: number) {
    this.name = name;
    this.checkedAt = checkedAt;
    this.update(words);
  }

  /** Whether its descriptor was closed: an entry that somebody waited with for too long. */
  get closed(): boolean {
    return this.file !== null && this.file.fd < 0;
  }

  /** Takes a statx (struct statx as words) in; says whether the file is another version than it was. */
  update(words: Uint32Array): boolean {
    const size = words[11]! * TWO_32 + words[10]!;
    const modified = (words[29]! | 0) * TWO_32 + words[28]!;
    const modifiedNs = words[30]!;
    if (size === this.size && modified === this.modified && modifiedNs === this.modifiedNs && this.etag !== "")
      return false;
    const mode = words[7]! & 0xffff & S_IFMT;
    this.kind = mode === S_IFREG ? "file" : mode === S_IFDIR ? "folder" : "other";
    this.size = size;
    this.modified = modified;
    this.modifiedNs = modifiedNs;
    this.identity = identityOf(words);
    const inode = words[9]! * TWO_32 + words[8]!;
    this.etag = `"${[size, modified, modifiedNs, inode].map((part) => part.toString(36)).join("-")}"`;
    this.version++;
    this.hits = 0;
    this.headers = null;
    this.forgetBody();
    return true;
  }

  /** Keeps the bytes of this version in memory, as far as there is room and they are surely its own. */
  keepBody(bytes: Uint8Array<ArrayBuffer>): Blob | null {
    const settled = epochMs() - (this.modified * 1000 + this.modifiedNs / 1e6) >= SETTLED_MS;
    const room = bytes.length > SMALL_BYTES ? BODY_BYTES / 2 : BODY_BYTES;
    if (!settled || !this.listed || bodyBytes + bytes.length > room) return null;
    this.body = new Blob([bytes]);
    bodyBytes += bytes.length;
    return this.body;
  }

  forgetBody(): void {
    if (this.body === null) return;
    bodyBytes -= this.body.size;
    this.body = null;
  }
}

/** Device and inode of a statx. */
export const identityOf = (words: Uint32Array): string => `${words[34]}:${words[35]}:${words[9]}:${words[8]}`;

/** A statx's words from the Stats of the node backend. */
export function wordsOf(stats: import("node:fs").BigIntStats, words: Uint32Array): void {
  const wide = (at: number, value: bigint): void => {
    words[at] = Number(value & 0xffff_ffffn);
    words[at + 1] = Number((value >> 32n) & 0xffff_ffffn);
  };
  const { dev, ino, mode, mtimeNs, size } = stats;
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
