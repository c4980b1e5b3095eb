// Removing and listing trees as one operation each: the shim's helper threads do it by plain calls in a row, relative to open
// folders (native/trees.h); the ring reads the eventfd that tells the end, so that a job counts, wakes and ends as all
// operations do. Nothing runs on the JavaScript thread but the decoding of names, in slices.

import { type Address, memoryAt } from "../../kernel/shim.ts";
import { Opcode } from "../../kernel/sqe.ts";
import { clockMs } from "../../node/clock.ts";
import { closedError, systemError } from "../../node/errors.ts";
import { encodePath } from "../../node/path.ts";
import type { RingThread } from "../../ring/context.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
import type { Ring } from "../../ring/ring.ts";
import { type NamesAs, OpenFile, type Path, type VisitNames } from "../interface.ts";
import { pause, SLICE_MS } from "../loops.ts";
import { begin, EINTR, end, fail, stage, thread } from "./request.ts";

/** Kinds of jobs, and their flags. */
const [REMOVE, LIST] = [1, 2];
const [RECURSIVE, REMOTE] = [1, 2];
/** What failed, by the shim's number. */
const CALLS = ["", "lstat", "unlink", "rmdir", "scandir"];
const ENOENT = -2;
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

const free = ({ t, address }: Job, ended: boolean): void => t.native.jobFree(t.ring.address, address, Number(ended));
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

/** Runs a job. Resolves when it has ended; then its outcome can be had until it is freed. */
function run(kind: number, flags: number, where: Path | OpenFile, syscall: string): Promise<Job> {
  const t = thread();
  const { native, ring, mounts } = t;
  const file = where instanceof OpenFile ? where : null;
  const remote = file === null ? mounts.any && mounts.holdsPath(where as Path) : file.slow;
  const path = file === null ? encodePath(where as Path) : null;
  const cell = t.cells.take();
  const rc = native.jobStart(ring.address, kind, path, file?.fd ?? -1, flags | (remote ? REMOTE : 0), started);
  if (rc < 0) {
    t.cells.give(cell);
    const call = rc === ENOENT ? CALLS[1]! : syscall; // only removing looks for what is missing
    return Promise.reject(systemError(rc, call, file === null ? (where as Path) : undefined));
  }
  const operation = begin(t, finish, syscall, file);
  operation.cell = cell;
  operation.state = { t, address: addressIn(started, 0), wake: started[2]! } satisfies Job;
  stageWake(operation);
  return promiseFor(operation);
}

/** The error of a job that has failed: the path is the root's and what lies between. */
function failureOf(root: Path | undefined): Error {
  const length = outcome[7]!;
  const below = length === 0 ? null : Buffer.from(Buffer.from(memoryAt(addressIn(outcome, 5), length)));
  const path = below === null ? root : root === undefined ? below : joined(root, below);
  return systemError(outcome[0]! | 0, CALLS[outcome[1]!]!, path);
}

function joined(root: Path, below: Buffer): Path {
  const slash = typeof root === "string" ? root.endsWith("/") : root.at(-1) === 0x2f;
  return Buffer.concat([Buffer.from(root as string), Buffer.from(slash ? "" : "/"), below]);
}

/** Removes a folder with all in it, or what else is there. Rejects with what stood in the way, and stops there. */
export async function removeTree(path: Path): Promise<void> {
  const job = await run(REMOVE, 0, path, "rm");
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
  const job = await run(LIST, recursive ? RECURSIVE : 0, where, "scandir");
  const { ring, native } = job.t;
  if (ring.closed) throw closed();
  native.jobOutcome(job.address, outcome);
  try {
    if (outcome[0] !== 0) throw failureOf(file === null ? (where as Path) : undefined);
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
