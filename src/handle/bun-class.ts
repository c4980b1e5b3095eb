// Makes FileHandle a descendant of Bun's own class, so that what takes only that one takes ours too: fs.createReadStream
// and fs.createWriteStream with `fd: handle`, pull and writer, and a transfer to a Worker, where Bun makes a handle of its
// own of it.
// Assumes the names of Bun's hidden symbols; where one is missing nothing is changed. This package never relies on it.

import type { EventEmitter } from "node:events";
import { closeSync } from "node:fs";
import type { FileHandle as BunFileHandle } from "node:fs/promises";
import { codedError } from "../node/arguments.ts";
import { bun } from "../node/bun-fs.ts";

/** What Bun's code wants of a handle. */
export interface BunHandle {
  readonly fd: number;
  /** Something is under way, or keeps the file open. */
  readonly inUse: boolean;
  /** The promise of `close()`, once it was called. */
  readonly closed: Promise<void> | null;
  /** Keeps the file open until the function that it returns is called; not the handle from being collected. */
  keepOpen(): () => void;
  /** Gives the descriptor away without closing it; the handle is closed by that. */
  disown(): number;
}

const NAMES = ["kFd", "kRef", "kUnref", "kClosePromise", "kCloseSync", "kTransfer"] as const;
type Symbols = Record<(typeof NAMES)[number], symbol>;
type Transfer = { data: object };

/** A starved thread pool must not keep the first file from being opened. */
const MAX_WAIT_MS = 100;

/** True when there is nothing to wait for: `linkBunClass` has ended. */
export let isBunClassLinked = false;
let linking: Promise<void> | null = null;

/** Done once, by the first `open`: Bun's class can be had only from a handle. Never rejects. */
export function linkBunClass(prototype: object, bunHandleOf: (handle: object) => BunHandle): Promise<void> {
  linking ??= Promise.race([link(prototype, bunHandleOf), Bun.sleep(MAX_WAIT_MS)]).then(() => {
    isBunClassLinked = true;
  });
  return linking;
}

async function link(prototype: object, bunHandleOf: (handle: object) => BunHandle): Promise<void> {
  try {
    const handle = await bun.open("/dev/null");
    const symbols = symbolsOf(handle);
    if (symbols === null) return await handle.close();
    // Handing it over tells how Bun does that, and leaves its descriptor to us.
    const { fd } = handle;
    const transfer = (handle as any)[symbols.kTransfer]() as Transfer;
    closeSync(fd);
    Object.setPrototypeOf(prototype, Object.getPrototypeOf(handle));
    Object.defineProperties(prototype, membersOf(symbols, transfer, bunHandleOf));
  } catch {
    // Another Bun, other ways: then only its own handles fit its streams.
  }
}

function symbolsOf(handle: BunFileHandle): Symbols | null {
  const all = [...Object.getOwnPropertySymbols(handle), ...Object.getOwnPropertySymbols(Object.getPrototypeOf(handle))];
  const find = (name: string): symbol | undefined => all.find((symbol) => symbol.description === name);
  if (NAMES.some((name) => find(name) === undefined)) return null;
  return Object.fromEntries(NAMES.map((name) => [name, find(name)])) as Symbols;
}

function membersOf(
  symbols: Symbols,
  transfer: Transfer,
  bunHandleOf: (handle: object) => BunHandle,
): PropertyDescriptorMap {
  const releases = new WeakMap<object, (() => void)[]>();
  function ref(this: object): void {
    releases.set(this, [...(releases.get(this) ?? []), bunHandleOf(this).keepOpen()]);
  }
  function unref(this: object): void {
    releases.get(this)?.pop()?.();
  }
  /** How a writer or pullSync with `autoClose` ends: at once, unless an operation of the ring still uses the descriptor. */
  function closeAtOnce(this: object): void {
    const handle = this as BunFileHandle & EventEmitter;
    const own = bunHandleOf(handle);
    if (own.fd < 0) return;
    if (own.closed !== null) {
      throw codedError(Error, "ERR_INVALID_STATE", "Invalid state: The FileHandle is closing");
    }
    if (own.inUse) return void handle.close().catch(() => {});
    closeSync(own.disown());
    handle.emit("close");
  }
  function handOver(this: object): Transfer {
    const own = bunHandleOf(this);
    if (own.inUse || own.closed !== null) {
      throw new DOMException("Cannot transfer FileHandle while in use", "DataCloneError");
    }
    return { ...transfer, data: { ...transfer.data, fd: own.disown() } };
  }
  const getter = (get: (this: object) => unknown): PropertyDescriptor => ({ get, configurable: true });
  const method = (value: (this: object) => unknown): PropertyDescriptor => ({ value, configurable: true });
  return {
    [symbols.kFd]: getter(function () {
      return bunHandleOf(this).fd;
    }),
    [symbols.kClosePromise]: getter(function () {
      return bunHandleOf(this).closed;
    }),
    [symbols.kRef]: method(ref),
    [symbols.kUnref]: method(unref),
    [symbols.kCloseSync]: method(closeAtOnce),
    [symbols.kTransfer]: method(handOver),
  };
}
