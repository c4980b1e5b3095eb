// Removing, listing and copying in trees as one operation each: threads of the shim do it by plain calls in a row, relative to open
// folders (native/trees.h); the ring reads the eventfd that tells the end, so that a job counts, wakes and ends as all
// operations do. Nothing runs on the JavaScript thread but the decoding of names, in slices.

import { type Address, memoryAt } from "../../kernel/shim.ts";
import { Opcode } from "../../kernel/sqe.ts";
import { clockMs } from "../../node/clock.ts";
import { EINTR, ENOENT } from "../../node/errno.ts";
import { closedError, systemError } from "../../node/errors.ts";
import type { FileInfo } from "../../node/file-info.ts";
import { lateRejection } from "../../node/late-error.ts";
import { encodePath, pathIn } from "../../node/path.ts";
import { setOpenAttributes } from "../../node/set-attributes.ts";
import { offAbort, onAbort } from "../../node/signal.ts";
import type { RingThread } from "../../ring/context.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import type { Ring } from "../../ring/ring.ts";
import { type CopiedName, type CopyHow, type NamesAs, OpenFile, type Path, type VisitNames } from "../interface.ts";
import { pause, SLICE_MS } from "../loops.ts";
import { begin, end, fail, stage, thread } from "./request.ts";

/** Kinds of jobs, and their flags. */
const [REMOVE, LIST, COPY] = [1, 2, 3];
const [RECURSIVE, REMOTE, FOLLOW, OVERWRITE, TIMES, DROP_SET_ID, ACCESSED] = [1, 2, 4, 8, 16, 32, 64];
/** Words of what became of one name that was copied: status, size. */
const COPIED_WORDS = 3;
/** What failed, by the shim's number. */
const CALLS = ["", "lstat", "unlink", "rmdir", "scandir"];
const TWO_32 = 2 ** 32;
const WAKE_BYTES = 8;
/** Three words: bytes of the folder's path, names, bytes of the names. */
const HEAD_BYTES = 12;
const NUL = "\0";
const REPLACED = "\ufffd";

/** A job that has been started; it is freed with its ring at the latest, and then its memory must not be looked at. */
interface Job {
  t: RingThread;
  address: Address;
  wake: number;
}

const started = new Uint32Array(3);
const outcome = new Uint32Array(8);
const addressIn = (words: Uint32Array, at: number): Address => words[at + 1]! * TWO_32 + words[at]!;

function free(job: Job, ended: boolean): void {
  const { t, address } = job;
  job.address = 0;
  t.native.jobFree(t.ring.address, address, Number(ended));
}
const closed = (): Error => new Error("bun-uring: this ring is closed");

function stageWake(operation: Operation): void {
  const { t, wake } = operation.state as Job;
  stage(t, operation, Opcode.READ, 0, wake, 0, operation.cell!.address, WAKE_BYTES, 0);
}

function finish(operation: Operation, res: number): void {
  if (res === EINTR) return stageWake(operation);
  const { resolve, state } = operation;
  if (res < 0) {
    free(state as Job, false);
    return fail(operation, res);
  }
  end(operation);
  resolve(state);
}

/** What a job is to work on. */
interface Work {
  kind: number;
  flags: number;
  /** A path with its NUL, or names. */
  bytes: Uint8Array | null;
  folder: OpenFile | null;
  target: OpenFile | null;
  remote: boolean;
}

/**
 * Starts a job. Resolves when it has ended, and then its outcome can be had until it is freed; rejects if it can't be started.
 * `begun` is called with it at once.
 */
function start(
  { kind, flags, bytes, folder, target, remote }: Work,
  syscall: string,
  path?: Path,
  begun?: (job: Job) => void,
): Promise<Job> {
  const t = thread();
  const cell = t.cells.acquire();
  const wish = flags | (remote ? REMOTE : 0);
  const [from, to] = [folder?.fd ?? -1, target?.fd ?? -1];
  const rc = t.native.jobStart(t.ring.address, kind, bytes, bytes?.length ?? 0, from, to, wish, started);
  if (rc < 0) {
    t.cells.release(cell);
    return Promise.reject(systemError(rc, rc === ENOENT ? CALLS[1]! : syscall, path)); // only removing looks for its path here
  }
  const operation = begin(t, finish, syscall, folder);
  operation.cell = cell;
  const job: Job = { t, address: addressIn(started, 0), wake: started[2]! };
  operation.state = job;
  begun?.(job);
  stageWake(operation);
  return promiseFor(operation);
}

/** Whether a path leads, or may lead, to a remote file system. */
function isRemote(path: Path): boolean {
  const { mounts } = thread();
  return mounts.holdsPath(path);
}

const onPath = (kind: number, flags: number, path: Path): Work => {
  return { kind, flags, bytes: encodePath(path), folder: null, target: null, remote: isRemote(path) };
};
const onFolder = (kind: number, flags: number, folder: OpenFile): Work => {
  return { kind, flags, bytes: null, folder, target: null, remote: folder.remote };
};

/** The error of a job that has failed: the path is the root's and what lies between. */
function failureOf(root: Path | undefined): Error {
  const length = outcome[7]!;
  const below = length === 0 ? null : Buffer.from(Buffer.from(memoryAt(addressIn(outcome, 5), length)));
  const path = below === null ? root : pathIn(root ?? "", below);
  return systemError(outcome[0]! | 0, CALLS[outcome[1]!]!, path);
}

/** Removes a folder with all in it, or what else is there. Rejects with what stood in the way, and stops there. */
export async function removeTree(path: Path): Promise<void> {
  const job = await start(onPath(REMOVE, 0, path), "rm", path);
  if (job.t.ring.closed) return;
  job.t.native.jobOutcome(job.address, outcome);
  const failure = outcome[0] === 0 ? null : failureOf(path);
  free(job, true);
  if (failure !== null) throw failure;
}

/** The names in a folder, and with `recursive` those below it, folder by folder. */
export async function list<N extends NamesAs>(
  where: Path | OpenFile,
  recursive: boolean,
  namesAs: N,
  visit: VisitNames<N>,
): Promise<void> {
  const file = where instanceof OpenFile ? where : null;
  if (file !== null && file.fd < 0) throw closedError("scandir");
  const flags = recursive ? RECURSIVE : 0;
  const job = await (file === null
    ? start(onPath(LIST, flags, where as Path), "scandir", where as Path)
    : start(onFolder(LIST, flags, file), "scandir"));
  const { ring, native } = job.t;
  if (ring.closed) throw closed();
  native.jobOutcome(job.address, outcome);
  try {
    if (outcome[0] !== 0) return lateRejection(() => failureOf(file === null ? (where as Path) : undefined));
    if (outcome[4]! > 0) await decode(ring, Buffer.from(memoryAt(addressIn(outcome, 2), outcome[4]!)), namesAs, visit);
  } finally {
    if (!ring.closed) free(job, true);
  }
}

/** Calls `visit` for each batch; the event loop has its turn in between. `bytes` is the job's memory: gone with the ring. */
async function decode<N extends NamesAs>(ring: Ring, bytes: Buffer, namesAs: N, visit: VisitNames<N>): Promise<void> {
  let since = clockMs();
  for (let at = 0; at < bytes.length; ) {
    const pathEnd = at + HEAD_BYTES + bytes.readUInt32LE(at);
    const namesAt = pathEnd + bytes.readUInt32LE(at + 4);
    const end = namesAt + bytes.readUInt32LE(at + 8);
    const folder = bytes.subarray(at + HEAD_BYTES, pathEnd);
    const types = bytes.subarray(pathEnd, namesAt);
    (visit as VisitNames<NamesAs>)(nameAs(folder, namesAs), namesIn(bytes.subarray(namesAt, end - 1), namesAs), types);
    at = end;
    if (at < bytes.length && clockMs() - since > SLICE_MS) {
      await pause();
      if (ring.closed) throw closed();
      since = clockMs();
    }
  }
}

/** Names with a NUL between each two. */
function namesIn(bytes: Buffer, namesAs: NamesAs): (string | Buffer)[] {
  if (namesAs !== "bytes") {
    const names = bytes.toString().split(NUL);
    if (namesAs === "text" || !names.some((name) => name.includes(REPLACED))) return names;
  }
  const names: (string | Buffer)[] = [];
  for (let at = 0, end = 0; at <= bytes.length; at = end + 1) {
    end = bytes.indexOf(0, at);
    if (end < 0) end = bytes.length;
    names.push(nameAs(bytes.subarray(at, end), namesAs));
  }
  return names;
}

/** A name in memory of its own. */
function nameAs(bytes: Buffer, namesAs: NamesAs): string | Buffer {
  if (namesAs === "bytes") return Buffer.from(bytes);
  const text = bytes.toString();
  return namesAs === "exact" && text.includes(REPLACED) ? Buffer.from(bytes) : text;
}

/** Backend.copyNames. */
export async function copyNames(
  from: OpenFile,
  to: OpenFile,
  names: readonly (string | Buffer)[],
  how: CopyHow,
  signal: AbortSignal | null,
): Promise<CopiedName[]> {
  let flags = how.follow ? FOLLOW : 0;
  if (how.overwrite) flags |= OVERWRITE;
  if (how.times) flags |= how.accessed ? TIMES | ACCESSED : TIMES;
  if (how.dropSetId) flags |= DROP_SET_ID;
  const bytes = Buffer.concat([...names.flatMap((name) => [Buffer.from(name as string), END]), END]);
  const work: Work = { kind: COPY, flags, bytes, folder: from, target: to, remote: from.remote || to.remote };
  let running: Job | null = null;
  const stop = (): void => {
    if (running !== null && running.address !== 0 && !running.t.ring.closed) running.t.native.jobStop(running.address);
  };
  if (signal !== null) onAbort(signal, stop);
  try {
    const job = await start(work, "copyfile", undefined, (begun) => {
      running = begun;
    });
    if (job.t.ring.closed) throw closed();
    job.t.native.jobOutcome(job.address, outcome);
    const copied: CopiedName[] = [];
    const count = outcome[4]! / (COPIED_WORDS * 4);
    const memory = count > 0 ? memoryAt(addressIn(outcome, 2), outcome[4]!) : new ArrayBuffer(0);
    const words = new Uint32Array(memory);
    for (let i = 0; i < count * COPIED_WORDS; i += COPIED_WORDS)
      copied.push({ status: words[i]! | 0, size: words[i + 2]! * TWO_32 + words[i + 1]! });
    const error = outcome[0]! | 0;
    free(job, true);
    if (error !== 0) throw systemError(error, "copyfile");
    return copied;
  } finally {
    if (signal !== null) offAbort(signal, stop);
  }
}

const END = Buffer.alloc(1);
const attributes = new Uint32Array(8);
const NO_MODE = 0xffff_ffff;

/** Backend.setAttributes: at once on a local file system (a few microseconds); a server is asked by a thread of Bun's. */
export function setAttributes(file: OpenFile, info: FileInfo, mode: number | null): Promise<void> | void {
  if (file.remote) return setOpenAttributes(file.fd, info, mode);
  attributes[0] = info.accessSeconds;
  attributes[1] = Math.floor(info.accessSeconds / TWO_32);
  attributes[2] = info.modificationSeconds;
  attributes[3] = Math.floor(info.modificationSeconds / TWO_32);
  attributes[4] = info.accessNanoseconds;
  attributes[5] = info.modificationNanoseconds;
  attributes[6] = mode ?? NO_MODE;
  const rc = thread().native.setAttributes(file.fd, attributes);
  if (rc < 0) throw systemError(rc, "utime");
}
