// The one door to C: finds the shim, checks that it is the one this TypeScript was written for, and types its calls.
// It never throws on import or on load: a shim that can't be used is a value that says why and what to do.

import { dlopen, FFIType, ptr, toArrayBuffer } from "bun:ffi";
import { existsSync } from "node:fs";
import { ABI, LAYOUT } from "./abi.ts";
import { libraryCandidates } from "./library.ts";

/** An address in this process. Addresses are below 2^53, so a number holds them exactly. */
export type Address = number;

/** The shim's functions. All are called on the thread that made the ring; all return -errno on failure. */
export interface Native {
  /** The signal with which a seccomp filter ends the process at io_uring's calls; 0 where none does, or -errno. */
  deadly(): number;
  create(entries: number, cqEntries: number, setupFlags: number, info: Uint32Array): number;
  probe(ring: Address, out: Uint8Array, capacity: number): number;
  /** `out[0]`: opcodes, `out[1]`: registrations that the kernel has; 0, or -errno where it can't be asked (before 6.18). */
  query(out: Uint32Array): number;
  capWorkers(ring: Address, bounded: number, unbounded: number): number;
  registerFiles(ring: Address, count: number): number;
  registerBuffers(ring: Address, count: number): number;
  updateBuffer(ring: Address, index: number, address: Address, length: number): number;
  restrict(ring: Address, rules: Uint32Array, count: number): number;
  enable(ring: Address): number;
  /** 1: a direct descriptor is closed when its CLOSE has completed; 0: some time later. */
  closesAtOnce(ring: Address): number;
  tick(ring: Address, staged: Uint32Array, first: number, count: number, room: number): number;
  cancel(ring: Address, userDataLow: number, userDataHigh: number): number;
  bellOpen(ring: Address): number;
  arm(ring: Address): number;
  disarm(ring: Address): void;
  /** Memory that the ring holds, and of which up to `shares` ArrayBuffers may hold parts: `sharedMemory`. */
  regionNew(ring: Address, length: number, huge: number, shares: number): Address | null;
  /** What `regionShare` and `regionHeld` call the region at this address. */
  regionAt(ring: Address, address: Address): Address | null;
  regionShare(region: Address, index: number): Address | null;
  /** 1 while the ArrayBuffer that was made for the share has its memory, wherever it was transferred to. */
  regionHeld(region: Address, index: number): number;
  /** The ring lets it go; it is unmapped when no share is held either. */
  regionFree(ring: Address, address: Address): number;
  /** `flags`: 1 does not follow a last symbolic link, 2 takes what is known and asks no server. */
  statCached(path: Address, flags: number, out: Address): number;
  /** `user`: whose own files have no access control list to read. */
  accessCached(path: Address, mode: number, user: number): number;
  realpathCached(path: Address, into: Address, capacity: number): number;
  readCached(path: Address, flags: number, into: Address, capacity: number, opened: Address): number;
  /** All of an open file into a buffer of its length, if that can't block: then it is closed, too. */
  readOpened(fd: number, into: Uint8Array, length: number): number;
  fstat(fd: number, dontSync: number, out: Address): number;
  /** lseek(2): the new position, or -errno. */
  seek(fd: number, offset: number, whence: number): number;
  /** memcpy: the bytes copied, or -errno: -EFAULT where memory is not there. */
  copy(to: Address, from: Address, length: number): number;
  /** 1 where all of this memory is anonymous, 0 where some of it may be a file's, or -errno. */
  isAnonymous(address: Address, length: number): number;
  /** Moves the file's own position by a transfer's bytes: where they begin, or -errno; `claimed[0]` is how many they are. */
  claim(fd: number, length: number, ofRead: number, claimed: Float64Array): number;
  /** fchmod and futimens: 0 or -errno. */
  setAttributes(fd: number, attributes: Uint32Array): number;
  listXattr(path: Address, fd: number, out: Address, capacity: number): number;
  removeXattr(path: Address, fd: number, name: Address): number;
  /** Extended attributes and access control list of the file at a path: 0, 8 | the group's permissions, or -errno. */
  copyXattrs(path: Uint8Array, fd: number): number;
  seekable(fd: number): number;
  mountsChanged(ring: Address): number;
  /** Starts the ring's helper thread, if the process has fewer than `limit` of them. */
  helperStart(ring: Address, limit: number, processors: number): number;
  /** One call by the helper, waited for for a while: its result, NOT_TAKEN, or PENDING: then adopt it as an operation. */
  helperCall(ring: Address, opcode: number, path: Address, second: Address, length: number, flags: number): number;
  helperAdopt(ring: Address, userDataLow: number, userDataHigh: number): void;
  /** Whether the helper is there; calls posted, wake-ups, penalties, calls taken back since it was started. */
  helperCounts(ring: Address, out: Uint32Array): void;
  /** openat2(2) as a plain call: the descriptor or -errno. `resolve`: RESOLVE_ flags. */
  openBeneath(dir: number, path: Address | Uint8Array, flags: number, mode: number, resolve: number): number;
  /** statx into `out`, and a small file's cached bytes into `into`: how many, -EAGAIN if not all, or -errno. */
  look(fd: number, out: Uint32Array, into: Address, capacity: number): number;
  /** Bytes of the page cache from `offset` on, without waiting: how many, or -errno. */
  readNow(fd: number, into: Address, length: number, offset: number): number;
  /** A buffered write that does not wait (RWF_NOWAIT): how many bytes, or -errno. */
  writeNow(fd: number, from: Address, length: number, offset: number): number;
  /** flock(2): 0 or -errno. `operation`: LOCK_ flags. */
  flock(fd: number, operation: number): number;
  /** A file that this thread, a Worker, has opened is closed when the Worker ends: until `forgetFile`. */
  holdFile(fd: number): number;
  /** Before a descriptor that is held, or locked, is closed or given away: the end of the thread is no matter to it any more. */
  forgetFile(fd: number): number;
  /** Pages of a range that are cached, or -errno (-ENOSYS below Linux 6.5). */
  cachedPages(fd: number, offset: number, length: number): number;
  /** Starts work on a tree on a thread; `started`: the job's address (two words) and the eventfd that tells its end. */
  jobStart(
    ring: Address,
    kind: number,
    path: Uint8Array | null,
    length: number,
    folder: number,
    target: number,
    flags: number,
    started: Uint32Array,
  ): number;
  jobStop(job: Address): void;
  /** Of a job that has ended: errno, call, address (two words) and length of its output, the same of a path. */
  jobOutcome(job: Address, outcome: Uint32Array): void;
  jobFree(ring: Address, job: Address, ended: number): void;
  /**
   * Cancels all that is in the kernel and waits for it, before `close`. Writes the user_data of what was never done, in
   * two words each; returns how many.
   */
  cancelAll(ring: Address, deadlineMs: number, undone: Uint32Array, capacity: number): number;
  close(ring: Address, deadlineMs: number): number;
}

/** Why there is no shim: a code, one sentence of cause and one of remedy. */
interface LoadFailure {
  code: "PLATFORM" | "MISSING" | "DLOPEN" | "ABI";
  message: string;
  remedy: string;
}

type Loaded = { native: Native; path: string; failure?: undefined } | { native?: undefined; failure: LoadFailure };

const { i32, u32, f64, ptr: pointer, void: nothing } = FFIType;

/** The shim's functions by the names that they have here: `regionNew` is bun_uring_region_new in C. */
const SYMBOLS = {
  abi: { args: [], returns: i32 },
  layout: { args: [pointer, u32], returns: i32 },
  deadly: { args: [], returns: i32 },
  create: { args: [u32, u32, u32, pointer], returns: i32 },
  probe: { args: [pointer, pointer, u32], returns: i32 },
  query: { args: [pointer], returns: i32 },
  capWorkers: { args: [pointer, u32, u32], returns: i32 },
  registerFiles: { args: [pointer, u32], returns: i32 },
  registerBuffers: { args: [pointer, u32], returns: i32 },
  updateBuffer: { args: [pointer, u32, pointer, f64], returns: i32 },
  restrict: { args: [pointer, pointer, u32], returns: i32 },
  enable: { args: [pointer], returns: i32 },
  closesAtOnce: { args: [pointer], returns: i32 },
  tick: { args: [pointer, pointer, u32, u32, u32], returns: i32 },
  cancel: { args: [pointer, u32, u32], returns: i32 },
  bellOpen: { args: [pointer], returns: i32 },
  arm: { args: [pointer], returns: i32 },
  disarm: { args: [pointer], returns: nothing },
  regionNew: { args: [pointer, f64, i32, u32], returns: pointer },
  regionAt: { args: [pointer, pointer], returns: pointer },
  regionShare: { args: [pointer, u32], returns: pointer },
  regionHeld: { args: [pointer, u32], returns: i32 },
  regionFree: { args: [pointer, pointer], returns: i32 },
  statCached: { args: [pointer, u32, pointer], returns: i32 },
  accessCached: { args: [pointer, i32, u32], returns: i32 },
  realpathCached: { args: [pointer, pointer, u32], returns: i32 },
  readCached: { args: [pointer, i32, pointer, u32, pointer], returns: i32 },
  readOpened: { args: [i32, pointer, u32], returns: i32 },
  fstat: { args: [i32, i32, pointer], returns: i32 },
  seek: { args: [i32, f64, i32], returns: f64 },
  copy: { args: [pointer, pointer, f64], returns: f64 },
  isAnonymous: { args: [pointer, f64], returns: i32 },
  claim: { args: [i32, f64, i32, pointer], returns: f64 },
  setAttributes: { args: [i32, pointer], returns: i32 },
  listXattr: { args: [pointer, i32, pointer, u32], returns: i32 },
  removeXattr: { args: [pointer, i32, pointer], returns: i32 },
  copyXattrs: { args: [pointer, i32], returns: i32 },
  seekable: { args: [i32], returns: i32 },
  mountsChanged: { args: [pointer], returns: i32 },
  helperStart: { args: [pointer, i32, i32], returns: i32 },
  helperCall: { args: [pointer, u32, pointer, pointer, i32, u32], returns: i32 },
  helperAdopt: { args: [pointer, u32, u32], returns: nothing },
  helperCounts: { args: [pointer, pointer], returns: nothing },
  openBeneath: { args: [i32, pointer, i32, u32, u32], returns: i32 },
  look: { args: [i32, pointer, pointer, u32], returns: i32 },
  readNow: { args: [i32, pointer, u32, f64], returns: i32 },
  writeNow: { args: [i32, pointer, u32, f64], returns: i32 },
  flock: { args: [i32, i32], returns: i32 },
  holdFile: { args: [i32], returns: i32 },
  forgetFile: { args: [i32], returns: i32 },
  cachedPages: { args: [i32, f64, f64], returns: i32 },
  jobStart: { args: [pointer, i32, pointer, u32, i32, i32, i32, pointer], returns: i32 },
  jobStop: { args: [pointer], returns: nothing },
  jobOutcome: { args: [pointer, pointer], returns: nothing },
  jobFree: { args: [pointer, pointer, i32], returns: nothing },
  cancelAll: { args: [pointer, u32, pointer, u32], returns: i32 },
  close: { args: [pointer, u32], returns: i32 },
} as const satisfies Record<keyof Symbols, object>;

type Symbols = Native & { abi(): number; layout(out: Uint32Array, capacity: number): number };
const NAMES = Object.keys(SYMBOLS) as (keyof typeof SYMBOLS)[];
const nameInC = (name: string): string => `bun_uring_${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;
const SYMBOLS_IN_C = Object.fromEntries(NAMES.map((name) => [nameInC(name), SYMBOLS[name]]));

function failure(code: LoadFailure["code"], message: string, remedy: string): Loaded {
  return { failure: { code, message, remedy } };
}

function checkLayout(out: Uint32Array, reported: number): string | null {
  if (reported !== LAYOUT.length) return `it reports ${reported} sizes, ${LAYOUT.length} are expected`;
  for (let i = 0; i < LAYOUT.length; i++) {
    const [name, value] = LAYOUT[i]!;
    if (out[i] !== value) return `${name} is ${out[i]}, ${value} is expected`;
  }
  return null;
}

/** Loads and checks the shim for this thread: the first candidate that is this version's. Never throws. */
export function loadNative(): Loaded {
  if (process.platform !== "linux")
    return failure("PLATFORM", `io_uring is Linux's; this is ${process.platform}`, "Run on Linux to use io_uring.");
  const tried: string[] = [];
  let first: Loaded | null = null;
  for (const path of libraryCandidates()) {
    tried.push(path);
    if (!existsSync(path)) continue;
    const loaded = load(path);
    if (loaded.failure === undefined) return loaded;
    first ??= loaded;
  }
  return (
    first ??
    failure(
      "MISSING",
      `no native library for linux-${process.arch} (looked for ${tried.join(", ")})`,
      "Build it with `make` in the package's folder (needs gcc and liburing's headers), or point BUN_URING_LIB at it.",
    )
  );
}

let shared: Native | null | undefined;

/** The calls that need no ring, loaded once; null where they can't be had. Where only a descriptor was lacking, the next call tries again. */
export function nativeOrNull(): Native | null {
  if (shared === undefined) {
    const { native, failure } = loadNative();
    if (native === undefined && /too many open files/i.test(failure.message)) return null;
    shared = native ?? null;
  }
  return shared;
}

function load(path: string): Loaded {
  let native: Symbols;
  try {
    const { symbols } = dlopen(path, SYMBOLS_IN_C);
    native = Object.fromEntries(NAMES.map((name) => [name, symbols[nameInC(name)]])) as unknown as Symbols;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return failure(
      "DLOPEN",
      `${path} can't be loaded: ${text}`,
      path.startsWith("/$bunfs/")
        ? "A compiled program unpacks it into the temporary folder, which must have room and not be mounted noexec: set BUN_TMPDIR."
        : "It may be built for another processor, or be another version: build it here with `make`.",
    );
  }
  const out = new Uint32Array(64);
  const abi = native.abi();
  const wrong =
    abi !== ABI ? `its ABI is ${abi}, ${ABI} is expected` : checkLayout(out, native.layout(out, out.length));
  if (wrong !== null)
    return failure("ABI", `${path} is not this version's: ${wrong}`, "Run `make`, or reinstall the package.");
  if (!Bun.isMainThread) endWithWorker(path);
  return { path, native };
}

/**
 * Has the shim end this thread's operations before the Worker's heap is freed: also on terminate(), where no handler of
 * JavaScript's runs. Only an environment of Node-API can tell, and only process.dlopen has one.
 */
function endWithWorker(path: string): void {
  try {
    process.dlopen({ exports: {} }, path);
  } catch {
    // The end of the thread is noticed all the same, a moment after the heap's.
  }
}

interface Holdable {
  fd: number;
  forget: ((fd: number) => void) | null;
}
const LOCK_NB = 4;

/** It ends with the process. */
const { isMainThread } = Bun;

/** Has a Worker's end close the file, unless it is closed or given away before. */
export function hold<F extends Holdable>(native: Native, file: F): F {
  if (!isMainThread && native.holdFile(file.fd) === 1) file.forget = native.forgetFile;
  return file;
}

/** The same of what its ring has opened: the native half has noted that, as its JavaScript may be ended before it hears of it. */
export function held<F extends Holdable>(native: Native, file: F): F {
  if (!isMainThread) file.forget = native.forgetFile;
  return file;
}

/** What a Worker's ring has opened is somebody's who has its number: its end is no matter to it. */
export function letGo(native: Native, fd: number): void {
  if (!isMainThread) native.forgetFile(fd);
}

/** flock(2) without waiting: 0 or -errno. The lock is let go when the thread ends, unless the file is closed before. */
export function flock(native: Native, file: Holdable, operation: number): number {
  const rc = native.flock(file.fd, operation | LOCK_NB);
  if (rc === 0) file.forget = native.forgetFile;
  return rc;
}

/** Address of a view's first byte. The view's `.buffer` must have been read before, or a later read moves the data. */
export function addressOf(view: ArrayBufferView): Address {
  return ptr(view as Uint8Array) as unknown as number;
}

/** An ArrayBuffer over shim memory, which stays the shim's: for use while that is mapped. */
export function memoryAt(address: Address, byteLength: number): ArrayBuffer {
  return toArrayBuffer(address as any, 0, byteLength);
}

/**
 * An ArrayBuffer that holds its region by share number `index`: mapped for as long as anybody, also on another thread,
 * has its memory. `release` is the shim's finalizer (RingInfo).
 */
export function sharedMemory(
  native: Native,
  release: Address,
  region: Address,
  index: number,
  address: Address,
  byteLength: number,
): ArrayBuffer {
  const share = native.regionShare(region, index);
  if (share === null) throw new Error("bun-uring: a part of a region is held already");
  const toFinalizedBuffer = toArrayBuffer as (...args: number[]) => ArrayBuffer;
  return toFinalizedBuffer(address, 0, byteLength, share, release);
}
