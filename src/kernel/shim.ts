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
  /** Before a descriptor that this thread has locked is closed: the lock is no longer let go when the thread ends. */
  forgetLock(fd: number): number;
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
export interface LoadFailure {
  code: "PLATFORM" | "MISSING" | "DLOPEN" | "ABI";
  message: string;
  remedy: string;
}

export type Loaded =
  | { native: Native; path: string; failure?: undefined }
  | { native?: undefined; failure: LoadFailure };

const { i32, u32, f64, ptr: pointer, void: nothing } = FFIType;

const SYMBOLS = {
  bun_uring_abi: { args: [], returns: i32 },
  bun_uring_layout: { args: [pointer, u32], returns: i32 },
  bun_uring_deadly: { args: [], returns: i32 },
  bun_uring_create: { args: [u32, u32, u32, pointer], returns: i32 },
  bun_uring_probe: { args: [pointer, pointer, u32], returns: i32 },
  bun_uring_query: { args: [pointer], returns: i32 },
  bun_uring_cap_workers: { args: [pointer, u32, u32], returns: i32 },
  bun_uring_register_files: { args: [pointer, u32], returns: i32 },
  bun_uring_register_buffers: { args: [pointer, u32], returns: i32 },
  bun_uring_update_buffer: { args: [pointer, u32, pointer, f64], returns: i32 },
  bun_uring_restrict: { args: [pointer, pointer, u32], returns: i32 },
  bun_uring_enable: { args: [pointer], returns: i32 },
  bun_uring_closes_at_once: { args: [pointer], returns: i32 },
  bun_uring_tick: { args: [pointer, pointer, u32, u32, u32], returns: i32 },
  bun_uring_cancel: { args: [pointer, u32, u32], returns: i32 },
  bun_uring_bell_open: { args: [pointer], returns: i32 },
  bun_uring_arm: { args: [pointer], returns: i32 },
  bun_uring_disarm: { args: [pointer], returns: nothing },
  bun_uring_region_new: { args: [pointer, f64, i32, u32], returns: pointer },
  bun_uring_region_at: { args: [pointer, pointer], returns: pointer },
  bun_uring_region_share: { args: [pointer, u32], returns: pointer },
  bun_uring_region_held: { args: [pointer, u32], returns: i32 },
  bun_uring_region_free: { args: [pointer, pointer], returns: i32 },
  bun_uring_stat_cached: { args: [pointer, u32, pointer], returns: i32 },
  bun_uring_access_cached: { args: [pointer, i32, u32], returns: i32 },
  bun_uring_realpath_cached: { args: [pointer, pointer, u32], returns: i32 },
  bun_uring_read_cached: { args: [pointer, i32, pointer, u32, pointer], returns: i32 },
  bun_uring_read_opened: { args: [i32, pointer, u32], returns: i32 },
  bun_uring_fstat: { args: [i32, i32, pointer], returns: i32 },
  bun_uring_seek: { args: [i32, f64, i32], returns: f64 },
  bun_uring_copy: { args: [pointer, pointer, f64], returns: f64 },
  bun_uring_is_anonymous: { args: [pointer, f64], returns: i32 },
  bun_uring_claim: { args: [i32, f64, i32, pointer], returns: f64 },
  bun_uring_set_attributes: { args: [i32, pointer], returns: i32 },
  bun_uring_list_xattr: { args: [pointer, i32, pointer, u32], returns: i32 },
  bun_uring_remove_xattr: { args: [pointer, i32, pointer], returns: i32 },
  bun_uring_copy_xattrs: { args: [pointer, i32], returns: i32 },
  bun_uring_seekable: { args: [i32], returns: i32 },
  bun_uring_mounts_changed: { args: [pointer], returns: i32 },
  bun_uring_helper_start: { args: [pointer, i32, i32], returns: i32 },
  bun_uring_helper_call: { args: [pointer, u32, pointer, pointer, i32, u32], returns: i32 },
  bun_uring_helper_adopt: { args: [pointer, u32, u32], returns: nothing },
  bun_uring_helper_counts: { args: [pointer, pointer], returns: nothing },
  bun_uring_open_beneath: { args: [i32, pointer, i32, u32, u32], returns: i32 },
  bun_uring_look: { args: [i32, pointer, pointer, u32], returns: i32 },
  bun_uring_read_now: { args: [i32, pointer, u32, f64], returns: i32 },
  bun_uring_write_now: { args: [i32, pointer, u32, f64], returns: i32 },
  bun_uring_flock: { args: [i32, i32], returns: i32 },
  bun_uring_forget_lock: { args: [i32], returns: i32 },
  bun_uring_cached_pages: { args: [i32, f64, f64], returns: i32 },
  bun_uring_job_start: { args: [pointer, i32, pointer, u32, i32, i32, i32, pointer], returns: i32 },
  bun_uring_job_stop: { args: [pointer], returns: nothing },
  bun_uring_job_outcome: { args: [pointer, pointer], returns: nothing },
  bun_uring_job_free: { args: [pointer, pointer, i32], returns: nothing },
  bun_uring_cancel_all: { args: [pointer, u32, pointer, u32], returns: i32 },
  bun_uring_close: { args: [pointer, u32], returns: i32 },
} as const;

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
  let symbols: Record<keyof typeof SYMBOLS, (...args: any[]) => any>;
  try {
    symbols = dlopen(path, SYMBOLS).symbols as typeof symbols;
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
  const abi = symbols.bun_uring_abi();
  const wrong =
    abi !== ABI ? `its ABI is ${abi}, ${ABI} is expected` : checkLayout(out, symbols.bun_uring_layout(out, out.length));
  if (wrong !== null)
    return failure("ABI", `${path} is not this version's: ${wrong}`, "Run `make`, or reinstall the package.");
  if (!Bun.isMainThread) endWithWorker(path);
  return {
    path,
    native: {
      deadly: symbols.bun_uring_deadly,
      create: symbols.bun_uring_create,
      probe: symbols.bun_uring_probe,
      query: symbols.bun_uring_query,
      capWorkers: symbols.bun_uring_cap_workers,
      registerFiles: symbols.bun_uring_register_files,
      registerBuffers: symbols.bun_uring_register_buffers,
      updateBuffer: symbols.bun_uring_update_buffer,
      restrict: symbols.bun_uring_restrict,
      enable: symbols.bun_uring_enable,
      closesAtOnce: symbols.bun_uring_closes_at_once,
      tick: symbols.bun_uring_tick,
      cancel: symbols.bun_uring_cancel,
      bellOpen: symbols.bun_uring_bell_open,
      arm: symbols.bun_uring_arm,
      disarm: symbols.bun_uring_disarm,
      regionNew: symbols.bun_uring_region_new,
      regionAt: symbols.bun_uring_region_at,
      regionShare: symbols.bun_uring_region_share,
      regionHeld: symbols.bun_uring_region_held,
      regionFree: symbols.bun_uring_region_free,
      statCached: symbols.bun_uring_stat_cached,
      accessCached: symbols.bun_uring_access_cached,
      realpathCached: symbols.bun_uring_realpath_cached,
      readCached: symbols.bun_uring_read_cached,
      readOpened: symbols.bun_uring_read_opened,
      fstat: symbols.bun_uring_fstat,
      seek: symbols.bun_uring_seek,
      copy: symbols.bun_uring_copy,
      isAnonymous: symbols.bun_uring_is_anonymous,
      claim: symbols.bun_uring_claim,
      setAttributes: symbols.bun_uring_set_attributes,
      listXattr: symbols.bun_uring_list_xattr,
      removeXattr: symbols.bun_uring_remove_xattr,
      copyXattrs: symbols.bun_uring_copy_xattrs,
      seekable: symbols.bun_uring_seekable,
      mountsChanged: symbols.bun_uring_mounts_changed,
      helperStart: symbols.bun_uring_helper_start,
      helperCall: symbols.bun_uring_helper_call,
      helperAdopt: symbols.bun_uring_helper_adopt,
      helperCounts: symbols.bun_uring_helper_counts,
      openBeneath: symbols.bun_uring_open_beneath,
      look: symbols.bun_uring_look,
      readNow: symbols.bun_uring_read_now,
      writeNow: symbols.bun_uring_write_now,
      flock: symbols.bun_uring_flock,
      forgetLock: symbols.bun_uring_forget_lock,
      cachedPages: symbols.bun_uring_cached_pages,
      jobStart: symbols.bun_uring_job_start,
      jobStop: symbols.bun_uring_job_stop,
      jobOutcome: symbols.bun_uring_job_outcome,
      jobFree: symbols.bun_uring_job_free,
      cancelAll: symbols.bun_uring_cancel_all,
      close: symbols.bun_uring_close,
    },
  };
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

interface Lockable {
  fd: number;
  forgetLock: ((fd: number) => void) | null;
}
const LOCK_NB = 4;

/** flock(2) without waiting: 0 or -errno. The lock is let go when the thread ends, unless the file is closed before. */
export function flock(native: Native, file: Lockable, operation: number): number {
  const rc = native.flock(file.fd, operation | LOCK_NB);
  if (rc === 0) file.forgetLock = native.forgetLock;
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
