// What the package knows about itself: which backend and why, what the kernel gave its ring, counters, and the way out.
// Assumes nothing: every call works on either backend and on any platform. Never throws because a detail can't be read.

import { readFileSync } from "node:fs";
import { currentBackend, fallbackReason } from "./backend/choose.ts";
import { existingThread, type RingThread, ringThread } from "./ring/context.ts";
import type { RingStats } from "./ring/ring.ts";
import { featureNames, type Query, type Reason, setupFlagNames } from "./ring/setup.ts";

/** Sizes and limits. 0 where there is no ring, or where the kernel refused that registration. */
export interface Limits {
  /** Submission queue entries: operations handed over in one system call, at most. */ sqEntries: number;
  /** Completion queue entries: operations in the kernel at the same time, at most; more wait in JavaScript. */
  cqEntries: number;
  /** Files that can be open in the ring's own table at the same time. */ directDescriptors: number;
  /** Buffers that can be registered with the kernel. */ fixedBuffers: number;
  /** Kernel threads for what can't complete inline: for regular files, and for the rest. */
  workers: { bounded: number; unbounded: number };
  /** Soft RLIMIT_MEMLOCK in bytes; null if unlimited, or unknown on this platform. */ memlock: number | null;
  /** Soft RLIMIT_NOFILE; null if unlimited, or unknown on this platform. */ nofile: number | null;
}

/** What this process found on this machine, and why it runs as it does; `bun-uring doctor` prints it. */
export interface Capabilities {
  backend: "io_uring" | "node";
  /** Why it is the node backend; null on io_uring. */
  reason: Reason | null;
  /** The operating system's name and release, "Linux 6.18.4" for example. */
  kernel: string;
  /** The native library in use; null without a ring. */
  library: string | null;
  /** IORING_SETUP_ names the ring was made with. */
  setupFlags: string[];
  /** IORING_FEAT_ names this kernel reports. */
  features: string[];
  /** IORING_OP_ names this kernel has, by its own probe. */
  opcodes: string[];
  /** What the kernel says of itself (IORING_REGISTER_QUERY, Linux 6.18): how many opcodes and registrations it has; null where it can't be asked. */
  query: Query | null;
  /** The kernel refuses, on this ring, every opcode that this package doesn't use. */
  restricted: boolean;
  /**
   * The kernel closes direct descriptors up to two seconds after their CLOSE has completed (before Linux 6.12 or so), as was
   * seen when the ring was made. What is written or copied then takes ordinary descriptors, and so do most reads.
   */
  lateClose: boolean;
  /** What is in the dentry cache is opened and looked up by plain calls that can't block: openat2 with RESOLVE_CACHED (Linux 5.12). */
  cachedLookups: boolean;
  limits: Limits;
  /** How completions wake the event loop; null until it first had to sleep. */
  doorbell: "socket" | "timer" | null;
}

/** Names by number, from the kernel's include/uapi/linux/io_uring.h. */
const OPCODE_NAMES =
  "NOP READV WRITEV FSYNC READ_FIXED WRITE_FIXED POLL_ADD POLL_REMOVE SYNC_FILE_RANGE SENDMSG RECVMSG TIMEOUT TIMEOUT_REMOVE ACCEPT ASYNC_CANCEL LINK_TIMEOUT CONNECT FALLOCATE OPENAT CLOSE FILES_UPDATE STATX READ WRITE FADVISE MADVISE SEND RECV OPENAT2 EPOLL_CTL SPLICE PROVIDE_BUFFERS REMOVE_BUFFERS TEE SHUTDOWN RENAMEAT UNLINKAT MKDIRAT SYMLINKAT LINKAT MSG_RING FSETXATTR SETXATTR FGETXATTR GETXATTR SOCKET URING_CMD SEND_ZC SENDMSG_ZC READ_MULTISHOT WAITID FUTEX_WAIT FUTEX_WAKE FUTEX_WAITV FIXED_FD_INSTALL FTRUNCATE BIND LISTEN RECV_ZC EPOLL_WAIT READV_FIXED WRITEV_FIXED PIPE";

function opcodeNames(available: Uint8Array): string[] {
  const names = OPCODE_NAMES.split(" ");
  return Array.from(available.keys())
    .filter((opcode) => available[opcode] === 1)
    .map((opcode) => names[opcode] ?? `OP_${opcode}`);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The soft limit in a line of /proc/self/limits, such as "Max open files   1024   4096   files". */
function softLimit(limits: string, name: string): number | null {
  const soft = new RegExp(`^${name} +(\\d+)`, "m").exec(limits)?.[1];
  return soft === undefined ? null : Number(soft);
}

function kernelName(): string {
  const release = readText("/proc/sys/kernel/osrelease").trim();
  return release === "" ? process.platform : `Linux ${release}`;
}

/** This thread's ring, if io_uring is the backend; a ring that was shut down is made anew. */
function ringInUse(): RingThread | null {
  if (fallbackReason() !== null) return null;
  const thread = ringThread();
  return "ring" in thread ? thread : null;
}

/** What this package runs on here. Makes this thread's ring if there is none yet. */
export function capabilities(): Capabilities {
  const thread = ringInUse();
  const setup = thread?.setup;
  const ring = thread?.ring;
  const limits = readText("/proc/self/limits");
  const reason = fallbackReason();
  return {
    backend: currentBackend().name,
    // A copy: what a caller does to the answer must not change the next one.
    reason: reason === null ? null : { ...reason },
    kernel: kernelName(),
    library: setup?.library ?? null,
    setupFlags: setupFlagNames(ring?.setupFlags ?? 0),
    features: featureNames(ring?.features ?? 0),
    opcodes: setup === undefined ? [] : opcodeNames(setup.opcodes),
    query: setup?.query ? { ...setup.query } : null,
    restricted: setup?.restricted ?? false,
    lateClose: setup !== undefined && setup.directDescriptors > 0 && !setup.closesAtOnce,
    cachedLookups: setup?.cachedLookups ?? false,
    limits: {
      sqEntries: ring?.sqEntries ?? 0,
      cqEntries: ring?.cqEntries ?? 0,
      directDescriptors: setup?.directDescriptors ?? 0,
      fixedBuffers: setup?.fixedBuffers ?? 0,
      workers: { bounded: setup?.workers.bounded ?? 0, unbounded: setup?.workers.unbounded ?? 0 },
      memlock: softLimit(limits, "Max locked memory"),
      nofile: softLimit(limits, "Max open files"),
    },
    doorbell: (thread?.loop.doorbell ?? null) as Capabilities["doorbell"],
  };
}

/** Counters of this thread's ring since it was made; all 0 on the node backend, and after shutdown(). */
export function stats(): RingStats {
  const thread = existingThread();
  if (thread !== null && fallbackReason() === null) return thread.ring.stats();
  return {
    submitted: 0,
    completed: 0,
    inFlight: 0,
    queued: 0,
    nativeCalls: 0,
    enters: 0,
    inlineCompletions: 0,
    wakeups: 0,
    spins: 0,
    asyncForced: 0,
    punts: 0,
    resubmissions: 0,
    overflows: 0,
  };
}

let shuttingDown: Promise<void> | null = null;

/**
 * Waits until every operation of this thread has ended, then closes its ring and frees its memory. The next operation
 * makes a new ring. What has not ended after `timeoutMs` (default 10,000; a read of an empty FIFO may wait for ever)
 * is cancelled and rejects with ECANCELED. Nothing happens on the node backend, which has nothing to close.
 */
export function shutdown({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<void> {
  const thread = existingThread();
  if (thread === null) return shuttingDown ?? Promise.resolve();
  shuttingDown ??= thread.shutDown(timeoutMs).finally(() => {
    shuttingDown = null;
  });
  return shuttingDown;
}
