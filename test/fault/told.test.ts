// FAULTS rows 26 and 27, looked at closely: what one failed, cut, cancelled or late completion means for the caller, the file and
// the ring. Each is a case in told.child.ts, by its name, with what it must come to. Every function in turn: injected.test.ts.
// Assumes the fault build of the shim. All cases run in one process, each with a ring of its own.

import { beforeAll, expect } from "bun:test";
import { join } from "node:path";
import { patience, runCase } from "../helpers/child.ts";
import { FAULT_LIB, hasFaultBuild } from "../helpers/fault-shim.ts";
import { kernelLogMark, kernelTrouble } from "../helpers/kernel-log.ts";
import { missing } from "../helpers/requirements.ts";
import { lacking, type RingNeed } from "../helpers/ring-needs.ts";
import { testUnless } from "../helpers/skip.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "told.child.ts");
const root = tmpDir();
const needs = ["ioUring", "gcc"] as const;

/** Also where this process is told to have no ring: what the cases' own lacks can't be asked then. */
const reason = missing(needs) ?? (lacking() || null);
const hasRing = reason === null;
/** Small files are written, and copied, by chains; files are read by chains, which read once more than they must. */
const inChains = hasRing && !lacking("direct descriptors that close at once");
const readInChains = hasRing && !lacking("direct descriptors");

/** What each case comes to: how its calls ended, what the files hold, and (empty where all is well) what is still out. */
const EXPECTED: Readonly<Record<string, unknown>> = {
  "durable writes: a sync that is cancelled or interrupted is made up for": ["done", 1, "done", 1],
  "durable writes: a sync that fails is told, and for good": ["EIO fdatasync", "EIO fdatasync"],
  "durable writes: what is written in parts lies behind each other, then one sync": [
    5000,
    5000,
    true,
    5000,
    5000,
    true,
  ],
  "durable writes: a device that takes nothing is full": "ENOSPC write",
  "durable writes: a durable write that fails leaves the own position": ["EIO write", "123456789"],
  "durable writes: data that is taken away meanwhile is told": "ERR_INVALID_STATE",
  "writeFile: a sync that fails is told, however long the data": ["EIO fsync", "1", "EIO fsync", "1"],
  // In steps of its own, where direct descriptors close late, a sync that no thread could be had for says so.
  "writeFile: a sync that is interrupted is made up for": inChains
    ? ["done", 1, "done", 1]
    : ["done", 1, "EAGAIN fsync", 0],
  "writeFile: what fails to be written over a file leaves nothing of before": [
    "EIO write",
    "0 bytes, 0 of before",
    "EIO write",
    "0 bytes, 0 of before",
    "EIO write",
    "1048576 bytes, 0 of before",
    "",
  ],
  "writeFile: short writes over a file are gone on with, and its old end is cut": ["done", true, "done", true],
  "writeFile: a close that fails is told, after a failure the failure": [
    "EIO close",
    "ENOSPC write",
    "EIO close",
    "ENOSPC write",
    "",
  ],
  "writeFile: data that is taken away meanwhile is told": Array(4).fill("ERR_INVALID_STATE"),
  "writeFile: pool memory is lent to nobody else before the kernel is done": true,
  "readFile: a read that is interrupted or must wait is made again": [true, ""],
  "readFile: each read that fails is told": [
    readInChains ? "done,EIO read,done,EIO read,EIO read,EIO read,EIO read" : Array(7).fill("EIO read").join(),
    "",
  ],
  "readFile: a read that fails is told when the kernel is done with the others": ["EIO read", 0],
  "readFile: the bytes of a large file outlive the ring": [true, true],
  "readFile: reads that fail leave no memory": true,
  "readFile: a pipe is read to its end in chunks whose memory is used again": [true, 0],
  "readFile: a close that fails is told; one that was never begun is made again": [
    ...["EIO close", "done", readInChains ? "done" : "EIO read"],
    "",
  ],
  "readFile: an open that is interrupted is made again": [true, ""],
  "readFile: an abort reaches the read that waits; nobody listens afterwards": ["ABORT_ERR", "", "0", 0],
  "readFile: what throws while it begins rejects, and gives everything back": ["ENOMEM", ""],
  "readFile: a file that shrinks or grows meanwhile is told as it is":
    "true,1,true,1,true,1,true,1,true,true,true,true",
  "readFile: what the kernel keeps for itself rejects with the ring's end": "ECANCELED",
  "copyFile: a small copy that goes wrong is made anew, or told": [true, true, ""],
  "copyFile: a target that can't be opened leaves the source closed": ["EACCES copyfile", ""],
  "copyFile: a failing close of the target is told, and the copy gone": ["EIO copyfile", false, ""],
  "copyFile: a target that takes nothing is full, and removed": ["ENOSPC copyfile", false, ""],
  "copyFile: copies with chunks of their own leave no memory": true,
  "copyFile: short reads and writes of a large copy are gone on with": true,
  "open files: a buffer that is taken away meanwhile is told": [1, "ERR_INVALID_STATE"],
  "open files: what was claimed of the own position and not used goes back":
    "EIO read,true,110,true,EIO read,true,230,true,ENOMEM,true",
  "open files: what was not used goes back only where nobody has moved the position": [1000, 5000],
  "open files: an append leaves the own position at the end": [0, 0],
  "open files: data that can be resized is written as it was at the call": "done,true,done,true",
  "open files: what always says EAGAIN is told after some tries, which may wait": [
    10,
    1,
    "EAGAIN read",
    "done",
    "done",
  ],
  "open files: ECANCELED that nobody asked for is a thread that was wanting": "EAGAIN read",
  "open files: one read of a batch that is interrupted or must wait is made again": [
    1,
    "10,10,10",
    true,
    1,
    "10,10,10",
    true,
  ],
  "open files: close waits for a read, a vector and a batch": "read,read,closed,read,closed",
  "open files: a close that was never begun is made all the same": ["done", ""],
  "open files: a file that is closed after its ring is closed": ["done", 0],
  "open files: a ring that has stopped closes files all the same": [true, 0],
  "open files: O_DIRECT: a failure behind some bytes is the next read's": [true, "EIO read"],
  "bun-uring/durable: writeFileAtomic tells a sync of the data or of the folder that fails": [
    "EIO fsync",
    "old",
    "EIO fsync",
    "new",
    "file",
  ],
  "bun-uring/durable: a log whose torn end can't be cut on the device is not opened": ["EIO fsync", ""],
};

/** What a case is about that older kernels have not. */
const ABOUT: Readonly<Record<string, RingNeed>> = {
  "copyFile: a small copy that goes wrong is made anew, or told": "direct descriptors that close at once",
};

/** On a file system without O_DIRECT there is nothing to see. */
const MAY_BE_MISSING = "open files: O_DIRECT: a failure behind some bytes is the next read's";

let seen: Record<string, unknown> = {};
const told = (title: string, body: () => void): void => {
  const why = reason ?? (title in ABOUT && lacking(ABOUT[title]!));
  testUnless(why, title, body);
};

beforeAll(async () => {
  if (reason !== null) return;
  expect(hasFaultBuild()).toBe(true); // make fault
  const env = { BUN_URING_BACKEND: "uring", BUN_URING_LIB: FAULT_LIB };
  const mark = kernelLogMark();
  seen = await runCase(fixture, "all", { input: { folder: root }, env, timeoutMs: 60_000 });
  expect(kernelTrouble(mark)).toEqual([]);
}, 70_000 * patience);

for (const [title, expected] of Object.entries(EXPECTED))
  told(title, () => {
    if (title === MAY_BE_MISSING && seen[title] === null) return;
    expect(seen[title]).toEqual(expected);
  });

told("no case is left out", () => {
  expect(Object.keys(seen)).toEqual(Object.keys(EXPECTED));
});
