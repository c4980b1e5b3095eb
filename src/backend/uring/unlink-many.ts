// Unlinking many names of many folders: UNLINKATs without a promise each, on a small ring of their own, which has no
// doorbell but is looked at once a millisecond while there is much to do. On the main ring every completion wakes
// JavaScript, and that, not the kernel, is what removing files then costs (measured: twice the CPU time).
// Never follows a link, never says why a name could not be unlinked: whoever calls does it again the plain way, and sees.

import { AT_REMOVEDIR } from "../../kernel/constants.ts";
import { type Address, memoryAt } from "../../kernel/shim.ts";
import { AT_FDCWD, Opcode, SqeFlag, writeSqe } from "../../kernel/sqe.ts";
import { after, queueMicrotask, setImmediate } from "../../node/clock.ts";
import type { RingThread } from "../../ring/context.ts";
import { highOfMany, lowOfMany, MAX_MANY, type Operation } from "../../ring/operation.ts";
import { Ring, SetupFlag } from "../../ring/ring.ts";
import type { Path } from "../interface.ts";
import { thread } from "./request.ts";

/** UNLINKATs in flight: a few milliseconds' work for the io-wq threads, so that they never wait for JavaScript. */
const IN_FLIGHT = 512;
const ENTRIES = 256;
const CQ_ENTRIES = 1024;
/** Memory for paths that are staged. The kernel has copied them when the submit returns (IORING_FEAT_SUBMIT_STABLE). */
const PATH_BYTES = 128 * 1024;
const SUBMIT_STABLE = 1 << 2;
/** Below so many in flight a completion is looked for at once, for some rounds; then, and above, once a millisecond. */
const FEW = 64;
const SPIN_ROUNDS = 24;
const MAX_PAUSE_MS = 16;
const [ENOENT, EISDIR] = [-2, -21];
/** IORING_RESTRICTION_ kinds (io_uring_register(2)), and the registration that closing a ring needs: sync cancel. */
const [ALLOW_REGISTER, ALLOW_OPCODE, ALLOW_FLAGS] = [0, 1, 2];
const SYNC_CANCEL = 24;
/** Setup flags, best first: kernels 6.1 and 5.10. */
const FLAG_SETS = [
  SetupFlag.R_DISABLED | SetupFlag.SINGLE_ISSUER | SetupFlag.DEFER_TASKRUN | SetupFlag.TASKRUN_FLAG,
  SetupFlag.R_DISABLED,
];

type Name = string | Buffer;
type Utf8Buffer = Buffer & { utf8Write(text: string, offset: number, length: number): number };

/** What became of a folder's names. What is in neither list is gone. */
export interface Unlinked {
  /** Indices of those that are folders. */
  folders: number[];
  /** Indices of those that could not be unlinked. */
  failed: number[];
  /** All names are gone, and so is the folder. */
  removed: boolean;
}

/** One folder's names on their way out. */
interface Job extends Unlinked {
  prefix: Buffer;
  names: readonly Name[];
  operation: Operation;
  staged: number;
  resolve: (unlinked: Unlinked) => void;
}

class Unlinker {
  readonly #ring: Ring;
  readonly #paths: Utf8Buffer;
  readonly #pathsAddress: Address;
  /** Bytes of staged paths. */
  #pathsEnd = 0;
  /** Jobs with names, or the folder itself, to be staged. */
  readonly #jobs: Job[] = [];
  #flushing = false;
  #looking = false;
  #emptyLooks = 0;
  readonly #flush = (): void => {
    this.#flushing = false;
    this.#turn();
  };
  readonly #look = (): void => {
    this.#looking = false;
    const before = this.#ring.completed;
    this.#turn();
    this.#emptyLooks = this.#ring.completed > before ? 0 : this.#emptyLooks + 1;
  };

  constructor(ring: Ring, paths: Address) {
    this.#ring = ring;
    this.#pathsAddress = paths;
    this.#paths = Buffer.from(memoryAt(paths, PATH_BYTES)) as Utf8Buffer;
  }

  get usable(): boolean {
    return !this.#ring.closed && this.#ring.poisoned === null;
  }

  /** Ends what is under way with a rejection, and the ring. */
  close(): void {
    for (const operation of this.#ring.operations.waiting()) operation.reject(closed());
    this.#ring.close(100);
  }

  /** Unlinks all names of a folder; then, if they are all gone, the folder. */
  unlink(folder: Path, names: readonly Name[]): Promise<Unlinked> {
    return new Promise((resolve, reject) => {
      const operation = this.#ring.acquireMany(this.#finish, names.length + 1);
      const prefix = Buffer.concat([Buffer.from(folder as string), Buffer.from("/")]);
      const job: Job = { prefix, names, operation, staged: 0, resolve, folders: [], failed: [], removed: false };
      operation.state = job;
      operation.reject = reject;
      this.#jobs.push(job);
      if (this.#flushing) return;
      this.#flushing = true;
      queueMicrotask(this.#flush);
    });
  }

  #turn(): void {
    const ring = this.#ring;
    if (this.usable) ring.turn(1);
    if (this.usable) this.#stage();
    if (!this.usable) {
      this.#jobs.length = 0;
      return;
    }
    if (this.#looking || (ring.inFlight === 0 && this.#jobs.length === 0)) return;
    this.#looking = true;
    // Nobody rings for this ring: what takes long is asked for ever more rarely.
    if (ring.inFlight < FEW && this.#emptyLooks < SPIN_ROUNDS) setImmediate(this.#look);
    else after(Math.min(MAX_PAUSE_MS, 1 + (this.#emptyLooks >>> 3)), this.#look);
  }

  /** Stages and submits until enough is in flight; a name of each folder in turn, as the kernel locks a folder for each. */
  #stage(): void {
    const ring = this.#ring;
    const jobs = this.#jobs;
    let turn = 0;
    while (jobs.length > 0 && ring.inFlight + ring.queued < IN_FLIGHT) {
      if (turn >= jobs.length) turn = 0;
      const job = jobs[turn]!;
      if (!this.#stageNext(job)) {
        if (!this.#submit()) return;
        continue;
      }
      if (job.staged < job.names.length) turn++;
      else jobs.splice(turn, 1);
    }
    this.#submit();
  }

  /** Hands what is staged to the kernel. False if it did not take all: then the paths' memory is still in use. */
  #submit(): boolean {
    const ring = this.#ring;
    if (ring.queued > 0) ring.turn(4);
    if (ring.queued > 0 || ring.unsubmitted > 0 || !this.usable) return false;
    this.#pathsEnd = 0;
    return true;
  }

  /** Stages a job's next name, or the folder behind the last one. False if there is no room for its path. */
  #stageNext(job: Job): boolean {
    const { operation, names, prefix, staged } = job;
    const name = staged < names.length ? names[staged]! : "";
    const longest = prefix.length + 1 + (typeof name === "string" ? name.length * 3 : name.length);
    const start = this.#pathsEnd;
    if (start + longest > PATH_BYTES) return false;
    const bytes = this.#paths;
    bytes.set(prefix, start);
    let end = start + prefix.length;
    if (typeof name === "string") end += bytes.utf8Write(name, end, PATH_BYTES - end - 1);
    else end += name.copy(bytes, end);
    bytes[end] = 0;
    this.#pathsEnd = end + 1;
    job.staged++;
    const ring = this.#ring;
    const word = ring.next();
    const address = this.#pathsAddress + start;
    const what = staged < names.length ? 0 : AT_REMOVEDIR;
    const high = highOfMany(operation) + staged;
    writeSqe(ring.words, word, Opcode.UNLINKAT, 0, AT_FDCWD, 0, address, 0, what, lowOfMany(operation), high);
    return true;
  }

  readonly #finish = (operation: Operation, res: number, _flags: number, index: number): void => {
    const job = operation.state as Job;
    const { names, folders, failed } = job;
    const gone = res === 0 || res === ENOENT;
    if (index === names.length) job.removed = gone;
    else if (res === EISDIR) folders.push(index);
    else if (!gone) failed.push(index);
    if (operation.pending > 1) return;
    // The last name: now the folder, if there is nothing left in it.
    if (operation.pending === 1 && folders.length + failed.length === 0) return void this.#jobs.push(job);
    this.#ring.operations.releaseMany(operation);
    job.resolve(job);
  };
}

const closed = (): Error => new Error("bun-uring: this ring is closed");

const unlinkers = new WeakMap<RingThread, Unlinker | null>();

function unlinkerOf(t: RingThread): Unlinker | null {
  const known = unlinkers.get(t);
  if (known !== undefined) return known?.usable ? known : null;
  const made = t.setup.opcodes[Opcode.UNLINKAT] === 1 ? openUnlinker(t) : null;
  unlinkers.set(t, made);
  if (made !== null) t.beforeClose.add(() => made.close());
  return made;
}

/** A ring that can unlink and nothing else; null where there is no memory for a second one, or no way to restrict it. */
function openUnlinker({ native }: RingThread): Unlinker | null {
  for (const flags of FLAG_SETS) {
    const ring = Ring.create(native, ENTRIES, CQ_ENTRIES, flags);
    if (typeof ring === "number") continue;
    const paths = native.regionNew(ring.address, PATH_BYTES, 0);
    if (paths !== null && (ring.features & SUBMIT_STABLE) !== 0 && restrict(ring)) return new Unlinker(ring, paths);
    ring.close(0);
  }
  return null;
}

function restrict({ native, address }: Ring): boolean {
  const rules = [ALLOW_FLAGS, SqeFlag.ASYNC, ALLOW_OPCODE, Opcode.UNLINKAT, ALLOW_REGISTER, SYNC_CANCEL];
  return native.restrict(address, Uint32Array.from(rules), rules.length / 2) >= 0 && native.enable(address) >= 0;
}

/**
 * Unlinks all names of a folder and, if none is left, removes it. Null where that can't be had: then one name at a time
 * goes through the backend.
 */
export function unlinkMany(folder: Path, names: readonly Name[]): Promise<Unlinked> | null {
  if (names.length >= MAX_MANY) return null;
  return unlinkerOf(thread())?.unlink(folder, names) ?? null;
}
