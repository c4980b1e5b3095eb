// Setting a ring up on whatever kernel this is, and telling what came of it: flags tried in order, sizes halved where
// memory is short, opcodes probed, the ring restricted to what this package uses, and a few operations
// sent round to prove it.

import { closeSync, readFileSync } from "node:fs";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../kernel/constants.ts";
import { addressOf, letGo, loadNative, type Native } from "../kernel/shim.ts";
import { Opcode, writeSqe } from "../kernel/sqe.ts";
import { clockMs } from "../node/clock.ts";
import { EACCES, EAGAIN, EINVAL, ENOMEM, ENOSYS, EPERM } from "../node/errno.ts";
import { errnoCode } from "../node/errors.ts";
import type { WorkerLimits } from "./remote-work.ts";
import { PASSING, Ring, SetupFlag } from "./ring.ts";

/** Why io_uring is not in use: cause and remedy in one sentence each. */
export interface Reason {
  /** Negative errno of the refused call; 0 where no call was made. */
  errno: number;
  /** Its name, "EPERM" for example, or "SIGSYS", "DISABLED", "PLATFORM", "MISSING", "DLOPEN", "ABI". */
  code: string;
  message: string;
  remedy: string;
}

/** What the ring was given. */
export interface Setup {
  ring: Ring;
  library: string;
  /** Opcodes by number; 1 where the kernel has it. */
  opcodes: Uint8Array;
  restricted: boolean;
  workers: WorkerLimits;
  directDescriptors: number;
  /** A direct descriptor is closed when its CLOSE has completed, and not up to two seconds later. */
  closesAtOnce: boolean;
  fixedBuffers: number;
  /** What is in the dentry cache can be opened by calls that can't block. */
  cachedLookups: boolean;
  /** What the kernel says of itself; null before Linux 6.18, which can't be asked. */
  query: Query | null;
}

/** IORING_REGISTER_QUERY: how many opcodes and registrations the kernel has, whatever this ring may use of them. */
export interface Query {
  opcodes: number;
  registrations: number;
}

export interface SetupOptions {
  entries?: number;
  cqEntries?: number;
  extraFlags?: number;
  restrict?: boolean;
  workers?: WorkerLimits;
}

const ENTRIES = 256;
const CQ_ENTRIES = 1024;
const SMALLEST = 8;
const DIRECT_DESCRIPTORS = 256;
const FIXED_BUFFERS = 64;
/** How long a ring may take to look at "/", in milliseconds. */
const PROOF_MS = 200;
/** Times that a look-up of "/" may be disturbed by somebody who mounts or renames. */
const LOOKUP_TRIES = 3;

/**
 * Setup flags, best first: kernels 6.0, 5.19, 5.10, 5.6. Not DEFER_TASKRUN (6.1): with it each link of a chain that io-wq
 * runs comes back to this thread, which has to wake up for it, and the next link goes out again. Measured, new files one at
 * a time: 77-93 µs without it, 122-140 with; all else within the noise.
 */
const FLAG_SETS = [
  SetupFlag.R_DISABLED | SetupFlag.SINGLE_ISSUER | SetupFlag.COOP_TASKRUN | SetupFlag.TASKRUN_FLAG,
  SetupFlag.R_DISABLED | SetupFlag.COOP_TASKRUN | SetupFlag.TASKRUN_FLAG,
  SetupFlag.R_DISABLED,
  0,
];

/** IORING_RESTRICTION_ kinds. */
const Restriction = { registerOp: 0, sqeOp: 1, sqeFlagsAllowed: 2 } as const;
/** IORING_REGISTER_ operations allowed after the start, oldest first: eventfd, files and buffers updates, io-wq workers, sync cancel. */
const REGISTER_ALLOWED = [4, 5, 6, 14, 16, 19, 24];
/** Every SQE flag but BUFFER_SELECT and CQE_SKIP_SUCCESS. */
const SQE_FLAGS_ALLOWED = 0b11111;

/** A filter can't be taken off again: this thread's is asked once. */
let deadly: number | null = null;

/** Makes a ring, or says why there is none. Never throws. */
export function setUp(options: SetupOptions = {}): Setup | Reason {
  const loaded = loadNative();
  if (loaded.failure !== undefined) return { errno: 0, ...loaded.failure };
  deadly ??= loaded.native.deadly();
  if (deadly > 0) return { errno: 0, ...DEADLY };
  if (deadly < 0) return explain(deadly);
  const made = createRing(loaded.native, options);
  if (typeof made === "number") return explain(made);
  const setup = configure(made, loaded.native, loaded.path, options);
  if (typeof setup === "number") {
    made.close(0);
    return explain(setup);
  }
  return setup;
}

function createRing(native: Native, options: SetupOptions): Ring | number {
  let refusal = ENOSYS;
  for (const flags of FLAG_SETS) {
    let entries = options.entries ?? ENTRIES;
    let cqEntries = options.cqEntries ?? CQ_ENTRIES;
    for (;;) {
      const made = Ring.create(native, entries, cqEntries, flags | (options.extraFlags ?? 0));
      if (typeof made !== "number") return made;
      refusal = made;
      // Kernels before 5.12 and from 6.14 on charge a ring's memory to RLIMIT_MEMLOCK.
      if (made !== ENOMEM || entries <= SMALLEST) break;
      entries >>>= 1;
      cqEntries = Math.max(entries, cqEntries >>> 1);
    }
    if (refusal !== EINVAL) return refusal;
  }
  return refusal;
}

function configure(ring: Ring, native: Native, library: string, options: SetupOptions): Setup | number {
  const { address } = ring;
  const opcodes = new Uint8Array(256);
  const last = native.probe(address, opcodes, opcodes.length);
  if (last < 0) return last;
  const cachedLookups = hasCachedLookups(native);
  if (!cachedLookups) native.statCached = native.readCached = () => EAGAIN;
  const cores = navigator.hardwareConcurrency;
  const workers = options.workers ?? { bounded: Math.max(4, cores), unbounded: Math.max(8, cores * 2) };
  if (native.capWorkers(address, workers.bounded, workers.unbounded) < 0) workers.bounded = workers.unbounded = 0;
  // The table is older than opening into it, which came with 5.15, and of which MKDIRAT is the sign.
  const directDescriptors = opcodes[Opcode.MKDIRAT] === 1 ? registerFiles(native, address) : 0;
  let fixedBuffers = native.registerBuffers(address, FIXED_BUFFERS) < 0 ? 0 : FIXED_BUFFERS;
  let restricted = false;
  if ((ring.setupFlags & SetupFlag.R_DISABLED) !== 0) {
    if (options.restrict !== false) restricted = restrict(native, address, opcodes);
    const enabled = native.enable(address);
    if (enabled < 0) return enabled;
  }
  let proof = prove(ring);
  const query = queried(native);
  if (proof >= 0 && query !== null && query.registrations > FILTER_REGISTRATION) proof = dropDenied(ring, opcodes);
  if (proof < 0) return proof;
  if (FIXED.some((opcode) => opcodes[opcode] === 0)) fixedBuffers = 0;
  // It takes the next CQE for its own: not while another one is still to come.
  const closesAtOnce = directDescriptors > 0 && ring.inFlight === 0 && native.closesAtOnce(address) === 1;
  return {
    ring,
    library,
    opcodes,
    restricted,
    workers: { ...workers },
    directDescriptors,
    closesAtOnce,
    fixedBuffers,
    cachedLookups,
    query,
  };
}

function queried(native: Native): Query | null {
  const answer = new Uint32Array(32); // large enough not to be moved
  return native.query(answer) === 0 ? { opcodes: answer[0]!, registrations: answer[1]! } : null;
}

/** A path, and room for a statx in the second half: large enough not to be moved. */
function pathMemory(path: string): Uint8Array {
  const memory = new Uint8Array(1024);
  memory.set(Buffer.from(path));
  return memory;
}

/** Whether openat2 keeps to the dentry cache (5.12, and no sandbox refuses it): asked once, and if not, never again. */
function hasCachedLookups(native: Native): boolean {
  const memory = pathMemory("/");
  const address = addressOf(memory);
  for (let i = 0; i < LOOKUP_TRIES; i++) if (native.statCached(address, 0, address + 512) !== EAGAIN) return true;
  return false;
}

/** Registers the table of direct descriptors, which may not be larger than RLIMIT_NOFILE. Returns its size, perhaps 0. */
function registerFiles(native: Native, address: number): number {
  for (let size = DIRECT_DESCRIPTORS; size >= SMALLEST; size >>>= 1)
    if (native.registerFiles(address, size) >= 0) return size;
  return 0;
}

/**
 * Allows this package's opcodes, flags and registrations and nothing else (5.10). The kernel refuses a whole list for one
 * entry that it does not know: so opcodes are those of its own probe, and registrations, which no probe tells, are left
 * out from the youngest on until it takes the rest.
 */
function restrict(native: Native, address: number, opcodes: Uint8Array): boolean {
  const rules = [Restriction.sqeFlagsAllowed, SQE_FLAGS_ALLOWED];
  for (const opcode of Object.values(Opcode)) if (opcodes[opcode] === 1) rules.push(Restriction.sqeOp, opcode);
  for (let count = REGISTER_ALLOWED.length; count >= 0; count--) {
    const all = [...rules, ...REGISTER_ALLOWED.slice(0, count).flatMap((op) => [Restriction.registerOp, op])];
    const refusal = native.restrict(address, Uint32Array.from(all), all.length / 2);
    if (refusal !== EINVAL) return refusal === 0;
  }
  return false;
}

/**
 * Sends a NOP round, for some sandboxes let a ring be made but not used; then opens, looks at and closes a path: without these
 * the ring is of no use, whatever its probe says. Returns 0, or -errno.
 */
function prove(ring: Ring): number {
  const nop = roundTrip(ring, Opcode.NOP, -1, 0, 0, 0, 0);
  if (nop < 0) return nop;
  const memory = pathMemory("/");
  const path = addressOf(memory);
  const stat = roundTrip(ring, Opcode.STATX, AT_FDCWD, path + 512, path, 0, 0, memory);
  if (stat < 0 || ring.inFlight > 0) return stat;
  const fd = roundTrip(ring, Opcode.OPENAT, AT_FDCWD, 0, path, 0, O_PATH | O_CLOEXEC, memory);
  return fd < 0 || ring.inFlight > 0 ? fd : roundTrip(ring, Opcode.CLOSE, fd, 0, 0, 0, 0);
}

/** IORING_REGISTER_BPF_FILTER (7.0): where there is such a registration a process may have inherited filters of opcodes. */
const FILTER_REGISTRATION = 37;
/** Without one of these a ring is of no use; without the others one function is (backend/ring-backend.ts). */
const NEEDED = [Opcode.READ, Opcode.WRITE, Opcode.READV, Opcode.WRITEV, Opcode.FSYNC];
/** Without one of these no buffers are fixed. */
const FIXED = [Opcode.READ_FIXED, Opcode.WRITE_FIXED];
const ON_PATHS = [Opcode.MKDIRAT, Opcode.UNLINKAT, Opcode.RENAMEAT, Opcode.LINKAT, Opcode.SYMLINKAT];

/**
 * Takes opcodes that an inherited filter refuses (EACCES) out of those there are. Each is tried on descriptor -1, which without a filter
 * says EBADF, whatever permissions there are. Returns 0, or -errno where the ring is of no use.
 */
function dropDenied(ring: Ring, opcodes: Uint8Array): number {
  const memory = pathMemory("x");
  const path = addressOf(memory);
  for (const opcode of [...NEEDED, ...FIXED, Opcode.FTRUNCATE, ...ON_PATHS]) {
    if (opcodes[opcode] !== 1) continue;
    const second = opcode === Opcode.RENAMEAT || opcode === Opcode.LINKAT || opcode === Opcode.SYMLINKAT ? path : 0;
    const length = opcode === Opcode.RENAMEAT || opcode === Opcode.LINKAT ? -1 : 0; // the second folder
    const first = ON_PATHS.includes(opcode as (typeof ON_PATHS)[number]) ? path : 0;
    if (roundTrip(ring, opcode, -1, second, first, length, 0, memory) !== EACCES) continue;
    if (NEEDED.includes(opcode as (typeof NEEDED)[number])) return EACCES;
    opcodes[opcode] = 0;
  }
  return 0;
}

/**
 * One operation and its result. STATX, and look-ups before 5.12, take a thread: they are waited for, but not for ever. One that is
 * late, on a machine with too much to do, was not refused: 0, and it is still in flight.
 */
function roundTrip(
  ring: Ring,
  opcode: number,
  fd: number,
  offset: number,
  address: number,
  length: number,
  opFlags: number,
  memory: Uint8Array | null = null,
): number {
  let result: number | null = null;
  let isLate = false;
  const operation = ring.acquire((op, res) => {
    result = res;
    ring.operations.release(op);
    if (opcode !== Opcode.OPENAT || res < 0) return;
    letGo(ring.native, res); // a CLOSE of its own follows, which nobody is told of
    if (isLate) closeSync(res);
  }, 1);
  operation.memory = memory; // stays if the operation does not come back in time
  const i = ring.next();
  writeSqe(ring.words, i, opcode, 0, fd, offset, address, length, opFlags, operation.slot, operation.generation);
  const until = clockMs() + PROOF_MS;
  // What passes says nothing of the ring, and its SQE is still to go in.
  const mayPass = (): boolean => PASSING.has(ring.refusal) || (ring.refusal === 0 && opcode !== Opcode.NOP);
  do ring.turn(2);
  while (result === null && mayPass() && clockMs() < until);
  ring.scheduled = false;
  isLate = result === null && ring.refusal === 0 && opcode !== Opcode.NOP;
  return result ?? (isLate ? 0 : ring.refusal !== 0 ? -ring.refusal : ENOSYS);
}

const DEADLY = {
  code: "SIGSYS",
  message: "a seccomp profile ends the process at io_uring's system calls",
  remedy: "Run with a profile that allows io_uring_setup, io_uring_enter and io_uring_register.",
};

function sysctlDisabled(): number {
  try {
    return Number(readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8"));
  } catch {
    return 0;
  }
}

/** Cause and remedy of a refusal. */
export function explain(errno: number): Reason {
  const code = errnoCode(errno);
  const reason = (message: string, remedy: string): Reason => ({ errno, code, message, remedy });
  if (errno === EPERM) {
    const disabled = sysctlDisabled();
    if (disabled > 0)
      return reason(
        `the sysctl kernel.io_uring_disabled is ${disabled}`,
        disabled === 1
          ? "Set kernel.io_uring_disabled=0, or put this user into the group of kernel.io_uring_group."
          : "Set the sysctl kernel.io_uring_disabled to 0 or 1.",
      );
    return reason(
      "a seccomp profile forbids io_uring (Docker's and Kubernetes' default profiles do)",
      "Run with a profile that allows io_uring_setup, io_uring_enter and io_uring_register.",
    );
  }
  if (errno === ENOSYS)
    return reason(
      `this kernel or sandbox (${process.getBuiltinModule("node:os").release()}) has no io_uring`,
      "Use Linux 5.6 or newer (6.0 or newer for full speed), outside gVisor and emulation.",
    );
  if (errno === ENOMEM)
    return reason(
      "RLIMIT_MEMLOCK is too small for a ring (this is not a lack of memory)",
      "Raise the limit: `ulimit -l`, LimitMEMLOCK= in systemd, or --ulimit memlock in a container.",
    );
  return reason(`io_uring can't be used here (${code})`, "The sandbox or kernel refuses it; the node backend is used.");
}

/** IORING_FEAT_ names of a feature word. */
export function featureNames(features: number): string[] {
  const names =
    "SINGLE_MMAP NODROP SUBMIT_STABLE RW_CUR_POS CUR_PERSONALITY FAST_POLL POLL_32BITS SQPOLL_NONFIXED EXT_ARG NATIVE_WORKERS RSRC_TAGS CQE_SKIP LINKED_FILE REG_REG_RING RECVSEND_BUNDLE MIN_TIMEOUT RW_ATTR NO_IOWAIT";
  return names.split(" ").filter((_, bit) => (features >>> bit) & 1);
}

/** IORING_SETUP_ names of a flag word. */
export function setupFlagNames(flags: number): string[] {
  return Object.entries(SetupFlag)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name);
}
