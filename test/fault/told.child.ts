// Owns the cases of told.test.ts: single completions of the ring gone wrong, and what the caller, the file and the ring have then.
// Assumes the fault build as this process's shim, io_uring, and a folder of its own for each case.
// Each case begins with a new ring, and returns what told.test.ts expects by its name.

import * as plain from "node:fs";
import { thread } from "../../src/backend/uring/request.ts";
import { AppendLog, writeFileAtomic } from "../../src/durable.ts";
import * as fs from "../../src/index.ts";
import type { RingThread } from "../../src/ring/context.ts";
import { READ_BYTES } from "../../src/ring/read-buffer.ts";
import { runCases } from "../helpers/cases.ts";
import { clearFaults, type FaultRule, faultHits, setFaults } from "../helpers/fault-shim.ts";
import { openFds } from "../helpers/fds.ts";

const { READ, WRITE, FSYNC, CLOSE, OPENAT, READV, WRITEV, STATX } = fs.Opcode;
const [EINTR, EIO, EAGAIN, EACCES, ECANCELED] = [-4, -5, -11, -13, -125];
const MIB = 1024 * 1024;
const flush = true;
const FOR_EVER = Number.POSITIVE_INFINITY;

const pattern = (length: number, seed = 1): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8) * 7 + seed) & 0xff));
const large = Buffer.alloc(3 * MIB, "0123456789abcdefg");
const small = pattern(5000);

/** What a promise came to, in a word or two. */
async function told(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "done";
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    return [code ?? String(error), syscall].filter(Boolean).join(" ");
  }
}

let t: RingThread;
let dir = "";

type NativeRead = { readCached: (...args: unknown[]) => number };
const native = (): NativeRead => t.native as unknown as NativeRead;
/** The plain calls by which a cached file is read where the kernel's completions don't matter. */
const { readCached } = thread().native as unknown as NativeRead;

/** From here on these completions go wrong. What went before has taught nothing: each file takes the way of small ones first. */
function faults(...rules: FaultRule[]): void {
  t.readBuffers.expected = 4096;
  setFaults(t.ring, rules);
}
/** Counts the SQEs of an opcode: as a rule it makes nothing of them but a little late. */
const counting = (opcode: number, nth = 1): FaultRule => ({ opcode, delayMs: 1, nth, times: FOR_EVER });
const hits = (rule = 0): number => faultHits(t.ring, rule);

/** Takes the memory of a view away, right after the call that has it: the kernel still writes to it, so it is kept. */
const taken: ArrayBuffer[] = [];
function take(view: Uint8Array): void {
  taken.push(structuredClone(view.buffer as ArrayBuffer, { transfer: [view.buffer as ArrayBuffer] }));
}

/** Files in the ring's table of direct descriptors, as the kernel shows them. */
function directFiles(): number {
  let files = 0;
  for (const [fd, target] of openFds()) {
    if (target !== "anon_inode:[io_uring]") continue;
    const info = plain.readFileSync(`/proc/self/fdinfo/${fd}`, "latin1");
    const table = /^UserFiles:.*\n((?: +\d+: .*\n)*)/m.exec(info)?.[1] ?? "";
    files += table.split("\n").filter((line) => /: (?!<none>)\S/.test(line)).length;
  }
  return files;
}

/** Waits, not for ever, until nothing of the ring's is out; what is. */
async function out(): Promise<string> {
  for (let round = 0; ; round++) {
    const now = {
      slots: t.ring.operations.used,
      readBuffers: t.readBuffers.used,
      direct: t.direct.used,
      files: directFiles(),
      open: [...openFds().values()].filter((target) => target.startsWith(dir)).length,
    };
    const left = Object.entries(now).filter(([, count]) => count !== 0);
    if (left.length === 0 || round === 100) return left.map(([what, count]) => `${what} ${count}`).join();
    await Bun.sleep(5);
  }
}

const open = (name: string, flags = "r+"): Promise<fs.FileHandle> => fs.open(`${dir}/${name}`, flags);
function made(name: string, content: Uint8Array | string): string {
  const path = `${dir}/${name}`;
  plain.writeFileSync(path, content);
  return path;
}
function fifo(name: string): string {
  const path = `${dir}/${name}`;
  Bun.spawnSync(["mkfifo", path]);
  return path;
}
/** Where direct descriptors close late small files are node:fs's, but for those that are flushed. */
const byRing = (): { flush?: boolean } => (t.direct.forWriting ? {} : { flush });
const holds = (name: string, content: Uint8Array): boolean => plain.readFileSync(`${dir}/${name}`).equals(content);
/** The length of a file, and how much of it is of before. */
function leftOf(name: string, before: string): string {
  const bytes = plain.readFileSync(`${dir}/${name}`);
  return `${bytes.length} bytes, ${bytes.filter((byte) => byte === before.charCodeAt(0)).length} of before`;
}

type Case = () => Promise<unknown>;

const durable: Record<string, Case> = {
  async "a sync that is cancelled or interrupted is made up for"() {
    const seen: unknown[] = [];
    await using handle = await open("file", "w+");
    for (const result of [ECANCELED, EINTR]) {
      faults({ opcode: FSYNC, result }, counting(FSYNC, 1));
      seen.push(await told(handle.write(small, 0, 10, 0, { flush })), hits(1));
    }
    return seen;
  },
  async "a sync that fails is told, and for good"() {
    await using handle = await open("file", "w+");
    faults({ opcode: FSYNC, result: EIO });
    const first = await told(handle.write(small, 0, 10, 0, { flush }));
    return [first, await told(handle.datasync())];
  },
  async "what is written in parts lies behind each other, then one sync"() {
    const seen: unknown[] = [];
    for (const at of [100, null]) {
      const name = `file${at}`;
      const handle = await open(name, "w+");
      faults({ opcode: WRITE, shortTo: 1000, times: 3 }, { opcode: WRITEV, shortTo: 700, times: 3 }, counting(FSYNC));
      seen.push((await handle.write(small, 0, 5000, at, { flush })).bytesWritten);
      const views = [small.subarray(0, 300), small.subarray(300, 4000), small.subarray(4000)];
      seen.push((await handle.writev(views, at === null ? null : 5100, { flush })).bytesWritten);
      clearFaults(t.ring);
      await handle.close();
      const expected = [Buffer.alloc(at ?? 0), small, small];
      seen.push(holds(name, Buffer.concat(expected)));
    }
    return seen;
  },
  async "a device that takes nothing is full"() {
    await using handle = await open("file", "w+");
    faults({ opcode: WRITE, result: 0, times: FOR_EVER });
    return told(handle.write(small, 0, 10, 0, { flush }));
  },
  async "a durable write that fails leaves the own position"() {
    await using handle = await open("file", "w+");
    await handle.write("12345");
    faults({ opcode: WRITE, result: EIO });
    const seen = [await told(handle.write(small, 0, 10, null, { flush }))];
    await handle.write("6789");
    return [...seen, plain.readFileSync(`${dir}/file`, "latin1")];
  },
  async "data that is taken away meanwhile is told"() {
    await using handle = await open("file", "w+");
    const data = new Uint8Array(100_000);
    const writing = told(handle.write(data, 0, data.length, 0, { flush }));
    take(data);
    return writing;
  },
};

const whole: Record<string, Case> = {
  async "a sync that fails is told, however long the data"() {
    const seen: string[] = [];
    for (const data of [small, large]) {
      faults({ opcode: FSYNC, result: EIO });
      seen.push(await told(fs.writeFile(`${dir}/file${data.length}`, data, { flush })), `${hits()}`);
    }
    return seen;
  },
  async "a sync that is interrupted is made up for"() {
    const seen: unknown[] = [];
    for (const result of [EINTR, ECANCELED]) {
      faults({ opcode: FSYNC, result }, counting(FSYNC));
      seen.push(await told(fs.writeFile(`${dir}/file`, small, { flush })), hits(1));
    }
    return seen;
  },
  async "what fails to be written over a file leaves nothing of before"() {
    const seen: string[] = [];
    for (const [data, nth] of [
      [small, 1],
      [large, 1],
      [large, 2],
    ] as const) {
      made("file", Buffer.alloc(5 * MIB, "!"));
      faults({ opcode: WRITE, result: EIO, nth });
      seen.push(await told(fs.writeFile(`${dir}/file`, data, byRing())), leftOf("file", "!"));
    }
    return [...seen, await out()];
  },
  async "short writes over a file are gone on with, and its old end is cut"() {
    const seen: unknown[] = [];
    for (const data of [small, large]) {
      made("file", Buffer.alloc(5 * MIB, "!"));
      faults({ opcode: WRITE, shortBy: 7, times: 3 });
      seen.push(await told(fs.writeFile(`${dir}/file`, data, byRing())), holds("file", data));
    }
    return seen;
  },
  async "a close that fails is told, after a failure the failure"() {
    const seen: string[] = [];
    for (const data of [small, large]) {
      faults({ opcode: CLOSE, result: EIO });
      seen.push(await told(fs.writeFile(`${dir}/file`, data, byRing())));
      faults({ opcode: WRITE, result: -28 }, { opcode: CLOSE, result: EIO });
      seen.push(await told(fs.writeFile(`${dir}/file`, data, byRing())));
    }
    return [...seen, await out()];
  },
  async "data that is taken away meanwhile is told"() {
    const seen: string[] = [];
    for (const length of [100_000, 3 * MIB]) {
      const data = new Uint8Array(length);
      const writing = told(fs.writeFile(`${dir}/file`, data));
      take(data);
      seen.push(await writing);
      faults({ opcode: WRITE, delayMs: 200 });
      const late = new Uint8Array(length);
      const later = told(fs.writeFile(`${dir}/file`, late));
      while (hits() === 0) await Bun.sleep(0); // it is with the kernel
      take(late);
      seen.push(await later);
    }
    return seen;
  },
  async "pool memory is lent to nobody else before the kernel is done"() {
    const seen: unknown[] = [];
    const handle = await open("file", "w+");
    const works: ((bytes: Buffer) => Promise<unknown>)[] = [
      (bytes) => fs.writeFile(`${dir}/other`, bytes),
      (bytes) => handle.write(bytes, 0, bytes.length, 0, { flush }),
      (bytes) => handle.writev([bytes], 0),
      (bytes) => handle.readv([bytes], 0),
      (bytes) => handle.read(bytes, 0, bytes.length, 0),
      (bytes) => handle.readBatch({ offsets: [0], lengths: 4096, into: bytes }),
    ];
    const opcodes = [WRITE, READ, WRITEV, READV, fs.Opcode.READ_FIXED, fs.Opcode.WRITE_FIXED];
    for (const work of works) {
      using pool = new fs.BufferPool({ size: 65536, count: 1 });
      const lease = pool.tryAcquire()!;
      faults(...opcodes.map((opcode) => ({ opcode, delayMs: 20 })));
      const under = work(lease.bytes);
      lease.release();
      seen.push(pool.tryAcquire() === null);
      await under.catch(() => {});
      const again = await pool.acquire({ timeoutMs: 2000 });
      seen.push(again.bytes.length === 65536);
      again.release();
    }
    clearFaults(t.ring);
    await handle.close();
    return seen.every((one) => one === true);
  },
};

const reading: Record<string, Case> = {
  async "a read that is interrupted or must wait is made again"() {
    const [path, big, empty] = [made("file", small), made("large", large), made("empty", "")];
    const seen: unknown[] = [];
    for (const result of [EINTR, EAGAIN])
      for (const nth of [1, 2, 4]) {
        faults({ opcode: READ, result, nth });
        seen.push((await fs.readFile(empty)).length === 0);
        faults({ opcode: READ, result, nth });
        seen.push((await fs.readFile(path)).equals(small));
        faults({ opcode: READ, result, nth });
        seen.push((await fs.readFile(big)).equals(large));
      }
    return [seen.every((one) => one === true), await out()];
  },
  async "each read that fails is told"() {
    const [path, big] = [made("file", small), made("large", large)];
    const seen: string[] = [];
    for (const [file, most] of [
      [path, 2],
      [big, 5],
    ] as const)
      for (let nth = 1; nth <= most; nth++) {
        faults({ opcode: READ, result: EIO, nth });
        seen.push(await told(fs.readFile(file)));
      }
    return [seen.join(), await out()];
  },
  async "a read that fails is told when the kernel is done with the others"() {
    const path = made("large", Buffer.alloc(6 * MIB, "x"));
    faults({ opcode: READ, result: EIO, nth: 4 }, { opcode: READ, delayMs: 100, nth: 5, times: FOR_EVER });
    const seen = await told(fs.readFile(path));
    return [seen, fs.stats().inFlight];
  },
  async "the bytes of a large file outlive the ring"() {
    const path = made("large", large);
    const [bytes, text] = await Promise.all([fs.readFile(path), fs.readFile(path, "latin1")]);
    await fs.shutdown();
    await fs.readFile(path); // a new ring
    await fs.shutdown();
    return [bytes.equals(large), text === large.toString("latin1")];
  },
  async "reads that fail leave no memory"() {
    const path = made("large", Buffer.alloc(32 * MIB));
    const pages = (): number => Number(plain.readFileSync("/proc/self/statm", "latin1").split(" ")[0]);
    const fail = async (): Promise<void> => {
      faults({ opcode: READ, result: EIO, nth: 5 });
      if ((await told(fs.readFile(path))) !== "EIO read") throw new Error("the read did not fail");
      Bun.gc(true);
      await Bun.sleep(5);
    };
    for (let i = 0; i < 3; i++) await fail();
    const before = pages();
    for (let i = 0; i < 10; i++) await fail();
    // Ten results are 320 MiB.
    return ((pages() - before) * 4096) / MIB < 160;
  },
  async "a pipe is read to its end in chunks whose memory is used again"() {
    const path = fifo("fifo");
    const data = pattern(300_000);
    const { native } = t as unknown as { native: { regionNew: (...args: unknown[]) => unknown } };
    const { regionNew } = native;
    let regions = 0;
    native.regionNew = (...args) => {
      regions++;
      return regionNew(...args);
    };
    const seen: unknown[] = [];
    for (let i = 0; i < 12; i++) {
      if (i === 2) regions = 0;
      const reading = fs.readFile(path); // both of the chain's reads bring something
      await fs.writeFile(path, data);
      seen.push((await reading).equals(data));
    }
    native.regionNew = regionNew;
    return [seen.every((one) => one === true), regions];
  },
  async "a close that fails is told; one that was never begun is made again"() {
    const path = made("file", small);
    faults({ opcode: CLOSE, result: EIO });
    const seen = [await told(fs.readFile(path))];
    faults({ opcode: CLOSE, result: ECANCELED });
    seen.push(await told(fs.readFile(path)));
    faults({ opcode: READ, result: EIO }, { opcode: CLOSE, result: ECANCELED });
    seen.push(await told(fs.readFile(path)));
    return [...seen, await out()];
  },
  async "an open that is interrupted is made again"() {
    const path = made("file", small);
    faults({ opcode: OPENAT, result: EINTR });
    return [(await fs.readFile(path)).equals(small), await out()];
  },
  async "an abort reaches the read that waits; nobody listens afterwards"() {
    const listeners = (signal: AbortSignal): number =>
      (process.getBuiltinModule("node:events") as any).getEventListeners(signal, "abort").length;
    const controller = new AbortController();
    const path = fifo("fifo");
    const other = plain.openSync(path, "r+");
    const seen: unknown[] = [];
    const reading = told(fs.readFile(path, { signal: controller.signal }));
    await Bun.sleep(20);
    controller.abort();
    const end = await reading;
    plain.closeSync(other);
    seen.push(end, await out(), listeners(controller.signal));
    const { signal } = new AbortController();
    await fs.readFile(made("file", small), { signal });
    await fs.writeFile(`${dir}/new`, small, { signal });
    return [...seen.map(String), listeners(signal)];
  },
  async "what throws while it begins rejects, and gives everything back"() {
    const path = made("file", small);
    const { readBuffers } = t;
    const { acquire: real } = readBuffers;
    const seen: string[] = [];
    const works: (() => Promise<unknown>)[] = [() => fs.readFile(path)];
    if (t.direct.forWriting) works.push(() => fs.copyFile(path, `${dir}/copy`)); // else it has no use for such a buffer
    for (const work of works) {
      readBuffers.acquire = () => {
        readBuffers.acquire = real;
        throw Object.assign(new Error("none"), { code: "ENOMEM" });
      };
      seen.push(await told(work()));
      readBuffers.acquire = real;
    }
    return [...new Set(seen), await out()];
  },
  async "a file that shrinks or grows meanwhile is told as it is"() {
    const changes: ((path: string) => void)[] = [
      (path) => plain.truncateSync(path, 2 * MIB + 5),
      (path) => plain.truncateSync(path, 70_000),
      (path) => plain.truncateSync(path, 0),
      (path) => plain.appendFileSync(path, Buffer.alloc(300_000, "+")),
    ];
    const seen: unknown[] = [];
    for (const change of changes) {
      const path = made("large", large);
      // When its size has been looked at: by a descriptor that is closed then, or before 6.8 by its path.
      const installs = fs.Ring.current().opcodes.has("FIXED_FD_INSTALL");
      faults({ opcode: installs ? CLOSE : STATX, delayMs: 200 });
      const reading = fs.readFile(path);
      while (hits() === 0) await Bun.sleep(0);
      change(path);
      const bytes = await reading;
      const now = plain.readFileSync(path);
      const read = now.length < READ_BYTES ? large.subarray(0, READ_BYTES) : now; // so much had been read before
      seen.push(bytes.equals(read), hits());
    }
    clearFaults(t.ring);
    t.loop.limits.inlineUs = 100_000;
    for (const change of changes) {
      const path = made("large", large);
      native().readCached = (...args) => {
        const res = readCached(...args);
        change(path);
        return res;
      };
      t.readBuffers.expected = 4096;
      const bytes = await fs.readFile(path);
      const now = plain.readFileSync(path);
      seen.push(bytes.equals(now) || (now.length > large.length && bytes.equals(large)));
    }
    return seen.join();
  },
  async "what the kernel keeps for itself rejects with the ring's end"() {
    const path = made("file", small);
    faults({ opcode: READ, drop: true });
    const reading = told(fs.readFile(path));
    await Bun.sleep(10);
    await fs.shutdown({ timeoutMs: 10 });
    return reading;
  },
};

const copying: Record<string, Case> = {
  async "a small copy that goes wrong is made anew, or told"() {
    const seen: unknown[] = [];
    const rules: FaultRule[] = [
      { opcode: READ, shortBy: 5 },
      { opcode: WRITE, shortBy: 5 },
      { opcode: WRITE, result: EIO },
      { opcode: CLOSE, result: EIO },
      { opcode: fs.Opcode.FTRUNCATE, result: EIO },
    ];
    for (const there of [false, true])
      for (const rule of rules) {
        const from = made("from", small);
        plain.rmSync(`${dir}/to`, { force: true });
        if (there) made("to", Buffer.alloc(9000, "!"));
        faults(rule, counting(OPENAT, 3));
        const end = await told(fs.copyFile(from, `${dir}/to`));
        const isThere = plain.existsSync(`${dir}/to`);
        // Hit, it was told, or all was done once more.
        if (hits() > 0) seen.push(end === "done" ? holds("to", small) && hits(1) > 0 : !isThere);
      }
    return [seen.length > 6, seen.every((one) => one === true), await out()];
  },
  async "a target that can't be opened leaves the source closed"() {
    const from = made("from", small);
    faults({ opcode: OPENAT, result: EACCES, nth: 2, times: 2 });
    const end = await told(fs.copyFile(from, `${dir}/to`));
    return [end, await out()];
  },
  async "a failing close of the target is told, and the copy gone"() {
    const from = made("from", large);
    made("to", Buffer.alloc(100, "!"));
    faults({ opcode: CLOSE, result: EIO });
    return [await told(fs.copyFile(from, `${dir}/to`)), plain.existsSync(`${dir}/to`), await out()];
  },
  async "a target that takes nothing is full, and removed"() {
    const from = made("from", large);
    faults(
      { opcode: WRITE, result: 0, times: FOR_EVER },
      { opcode: fs.Opcode.WRITE_FIXED, result: 0, times: FOR_EVER },
    );
    return [await told(fs.copyFile(from, `${dir}/to`)), plain.existsSync(`${dir}/to`), await out()];
  },
  async "copies with chunks of their own leave no memory"() {
    const from = made("from", large);
    const pages = (): number => Number(plain.readFileSync("/proc/self/statm", "latin1").split(" ")[0]);
    const copy = (): Promise<void> => fs.copyFile(from, `${dir}/to`, { chunkSize: 8 * MIB, queueDepth: 4 });
    for (let i = 0; i < 2; i++) await copy();
    Bun.gc(true);
    const before = pages();
    for (let i = 0; i < 8; i++) await copy();
    Bun.gc(true);
    // Eight pools are 256 MiB.
    return ((pages() - before) * 4096) / MIB < 128;
  },
  async "short reads and writes of a large copy are gone on with"() {
    const from = made("from", large);
    const seen: unknown[] = [];
    for (const rule of [{ shortTo: 70_000 }, { shortBy: 1 }]) {
      for (const opcode of [READ, WRITE, fs.Opcode.READ_FIXED, fs.Opcode.WRITE_FIXED]) {
        made("to", Buffer.alloc(4 * MIB, "!"));
        faults({ ...rule, opcode, times: 5 });
        await fs.copyFile(from, `${dir}/to`);
        seen.push(holds("to", large));
      }
    }
    return seen.every((one) => one === true);
  },
};

const transfers: Record<string, Case> = {
  async "a buffer that is taken away meanwhile is told"() {
    const seen: string[] = [];
    made("file", large);
    const handle = await open("file");
    const works: [number, (data: Uint8Array) => Promise<unknown>][] = [
      [READ, (data) => handle.read(data, 0, data.length, 0)],
      [WRITE, (data) => handle.write(data, 0, data.length, 0)],
      [READV, (data) => handle.readv([data], 0)],
      [WRITEV, (data) => handle.writev([data], 0)],
      [READ, (data) => handle.readBatch({ offsets: [0], lengths: data.length, into: data })],
    ];
    for (const [opcode, work] of works) {
      const data = new Uint8Array(100_000);
      faults({ opcode, delayMs: 5 });
      const end = told(work(data));
      take(data);
      seen.push(await end);
    }
    for (const [opcode, work] of works.slice(0, 4)) {
      const data = new Uint8Array(100_000);
      faults({ opcode, result: EAGAIN });
      const end = told(work(data));
      take(data); // before the second try
      seen.push(await end);
    }
    clearFaults(t.ring);
    await handle.close();
    return [new Set(seen).size, seen[0]];
  },
  async "what was claimed of the own position and not used goes back"() {
    made("file", small);
    await using handle = await open("file");
    const into = Buffer.alloc(1000);
    const seen: unknown[] = [];
    const next = async (): Promise<boolean> => {
      clearFaults(t.ring);
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(10), 0, 10, null);
      expectedAt += bytesRead;
      return buffer.equals(small.subarray(expectedAt - 10, expectedAt));
    };
    let expectedAt = 0;
    faults({ opcode: READ, result: EIO });
    seen.push(await told(handle.read(into, 0, 1000, null)), await next());
    faults({ opcode: READ, shortTo: 100 });
    expectedAt += (await handle.read(into, 0, 1000, null)).bytesRead;
    seen.push(expectedAt, await next());
    faults({ opcode: READV, result: EIO });
    seen.push(await told(handle.readv([into, Buffer.alloc(9)])), await next());
    faults({ opcode: READV, shortTo: 100 });
    expectedAt += (await handle.readv([into, Buffer.alloc(9)])).bytesRead;
    seen.push(expectedAt, await next());
    const { memory } = t;
    const { acquire: real } = memory;
    memory.acquire = () => {
      memory.acquire = real;
      throw Object.assign(new Error("none"), { code: "ENOMEM" });
    };
    seen.push(await told(handle.write(small, 0, 1000, null)), await next());
    return seen.map(String).join();
  },
  async "what was not used goes back only where nobody has moved the position"() {
    const handle = await open("file", "w+");
    faults({ opcode: WRITE, shortTo: 1000 });
    const write = handle.write(small, 0, 5000, null);
    plain.writeSync(handle.fd, "xyz"); // behind what the write has claimed
    const { bytesWritten } = await write;
    clearFaults(t.ring);
    await handle.write("end", null);
    await handle.close();
    return [bytesWritten, plain.readFileSync(`${dir}/file`).indexOf("xyzend")];
  },
  async "an append leaves the own position at the end"() {
    made("file", "0123456789");
    await using handle = await open("file", "a+");
    const seen: unknown[] = [];
    for (const write of [() => handle.write("abc"), () => handle.writev([small.subarray(0, 9)])]) {
      await handle.read(Buffer.alloc(4), 0, 4, null);
      await write();
      seen.push((await handle.read(Buffer.alloc(4), 0, 4, null)).bytesRead);
    }
    return seen;
  },
  async "data that can be resized is written as it was at the call"() {
    const seen: unknown[] = [];
    for (const options of [{}, { flush }]) {
      const handle = await open("file", "w+");
      const memory = new ArrayBuffer(100_000, { maxByteLength: 200_000 });
      const data = new Uint8Array(memory);
      data.set(large.subarray(0, 100_000));
      const end = told(handle.write(data, 0, data.length, 0, options));
      memory.resize(10);
      seen.push(await end, holds("file", large.subarray(0, 100_000)));
      await handle.close();
    }
    return seen.join();
  },
  async "what always says EAGAIN is told after some tries, which may wait"() {
    made("file", small);
    await using handle = await open("file");
    faults({ opcode: READ, result: EAGAIN });
    const before = fs.stats().asyncForced;
    const seen: unknown[] = [
      (await handle.read(Buffer.alloc(10), 0, 10, 0)).bytesRead,
      fs.stats().asyncForced - before,
    ];
    faults({ opcode: READ, result: EAGAIN, times: FOR_EVER });
    seen.push(await told(handle.read(Buffer.alloc(10), 0, 10, 0)));
    clearFaults(t.ring);
    faults({ opcode: READ, result: EAGAIN, times: 15 });
    seen.push(await told(handle.read(Buffer.alloc(10), 0, 10, 0)), await told(handle.read(Buffer.alloc(10), 0, 10, 0)));
    return seen;
  },
  async "ECANCELED that nobody asked for is a thread that was wanting"() {
    made("file", small);
    await using handle = await open("file");
    faults({ opcode: READ, result: ECANCELED });
    return told(handle.read(Buffer.alloc(10), 0, 10, 0));
  },
  async "one read of a batch that is interrupted or must wait is made again"() {
    made("file", small);
    await using handle = await open("file");
    const seen: unknown[] = [];
    for (const result of [EINTR, EAGAIN]) {
      const into = Buffer.alloc(30);
      faults({ opcode: READ, result, nth: 2 });
      const counts = await handle.readBatch({ offsets: [0, 100, 200], lengths: 10, into });
      const expected = Buffer.concat([0, 100, 200].map((at) => small.subarray(at, at + 10)));
      seen.push(hits(), [...counts].join(), into.equals(expected));
    }
    return seen;
  },
  async "close waits for a read, a vector and a batch"() {
    made("file", small);
    const order: string[] = [];
    for (const opcode of [READ, READV]) {
      const handle = await open("file");
      faults({ opcode, delayMs: 30, times: FOR_EVER });
      const ends: Promise<unknown>[] =
        opcode === READ
          ? [
              handle.read(Buffer.alloc(10), 0, 10, 0),
              handle.readBatch({ offsets: [0], lengths: 4, into: Buffer.alloc(4) }),
            ]
          : [handle.readv([Buffer.alloc(10)], 0)];
      for (const end of ends) void end.then(() => order.push("read"));
      await handle.close();
      order.push("closed");
    }
    return order.join();
  },
  async "a close that was never begun is made all the same"() {
    made("file", small);
    const handle = await open("file");
    faults({ opcode: CLOSE, result: ECANCELED });
    return [await told(handle.close()), await out()];
  },
  async "a file that is closed after its ring is closed"() {
    made("file", small);
    const handle = await open("file");
    await fs.shutdown();
    return [await told(handle.close()), [...openFds().values()].filter((target) => target === `${dir}/file`).length];
  },
  async "a ring that has stopped closes files all the same"() {
    made("file", small);
    const handle = await open("file");
    faults({ opcode: STATX, duplicate: true });
    await told(fs.stat(`${dir}/one`));
    await told(fs.stat(`${dir}/two`));
    const stopped = t.ring.poisoned !== null;
    await told(handle.close());
    return [stopped, [...openFds().values()].filter((target) => target === `${dir}/file`).length];
  },
  async "O_DIRECT: a failure behind some bytes is the next read's"() {
    made("file", large);
    await using handle = await fs.open(`${dir}/file`, "r", undefined, { direct: true });
    if (!handle.direct) return null; // the file system has none
    faults({ opcode: READ, result: EIO, nth: 2 });
    const into = Buffer.alloc(2 * MIB);
    const { bytesRead } = await handle.read(into, 1, 2 * MIB - 1, 1);
    const right =
      bytesRead > 0 &&
      bytesRead < 2 * MIB - 1 &&
      into.subarray(1, 1 + bytesRead).equals(large.subarray(1, 1 + bytesRead));
    faults({ opcode: READ, result: EIO });
    return [right, await told(handle.read(into, 1, 100, 1))];
  },
};

const durability: Record<string, Case> = {
  async "writeFileAtomic tells a sync of the data or of the folder that fails"() {
    const seen: string[] = [];
    for (const nth of [1, 2]) {
      made("file", "old");
      faults({ opcode: FSYNC, result: EIO, nth });
      seen.push(await told(writeFileAtomic(`${dir}/file`, "new")), plain.readFileSync(`${dir}/file`, "latin1"));
    }
    return [...seen, plain.readdirSync(dir).join()];
  },
  async "a log whose torn end can't be cut on the device is not opened"() {
    made("log", "one\ntwo\nthr");
    faults({ opcode: FSYNC, result: EIO });
    return [await told(AppendLog.open(`${dir}/log`, { framing: "lines" })), await out()];
  },
};

const named = (group: string, cases: Record<string, Case>): Record<string, Case> =>
  Object.fromEntries(Object.entries(cases).map(([title, run]) => [`${group}: ${title}`, run]));
const CASES: Record<string, Case> = {
  ...named("durable writes", durable),
  ...named("writeFile", whole),
  ...named("readFile", reading),
  ...named("copyFile", copying),
  ...named("open files", transfers),
  ...named("bun-uring/durable", durability),
};

await runCases({
  /** Each with a new ring. */
  async all({ folder }: { folder: string }) {
    const seen: Record<string, unknown> = {};
    let count = 0;
    for (const [title, run] of Object.entries(CASES)) {
      dir = `${folder}/${count++}`;
      plain.mkdirSync(dir);
      await fs.shutdown();
      t = thread();
      t.loop.limits.inlineUs = 0; // nothing is answered without a completion
      native().readCached = () => EAGAIN; // nor in the loop's next turn
      seen[title] = await run().catch((error: unknown) => `threw ${(error as Error)?.stack ?? error}`);
      if (!t.ring.closed) clearFaults(t.ring);
      await fs.shutdown({ timeoutMs: 100 });
    }
    return seen;
  },
});
