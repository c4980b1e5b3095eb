// Whole-file chains at their edges: aborted at every point, waiting for a slot, without a table, their data taken away, their
// ring closed under them. Nothing is left in the kernel, in the table or on the signal, and every promise settles.
// Assumes a kernel that gives rings. Runs on this thread's own ring.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFile as writeFileInThread,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { uringBackend } from "../../src/backend/uring/backend.ts";
import { copySmall } from "../../src/backend/uring/copy-small.ts";
import { parseFlags } from "../../src/node/open-flags.ts";
import { toPath } from "../../src/node/path.ts";
import { existingThread, type RingThread, ringThread } from "../../src/ring/context.ts";
import { DirectTable } from "../../src/ring/direct-descriptors.ts";
import { run } from "../helpers/mounts.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { testUnless } from "../helpers/skip.ts";
import { outcomeWithin } from "../helpers/small-ring.ts";
import { patternBytes, tmpDir } from "../helpers/tmp.ts";

const dir = tmpDir();
const READ = parseFlags("r");
const WRITE = parseFlags("w");
let names = 0;

const thread = (): RingThread => ringThread() as RingThread;
const read = (path: string | Buffer, signal?: AbortSignal): Promise<Buffer> =>
  uringBackend.readFile(path, READ, { signal }) as Promise<Buffer>;
const write = (path: string | Buffer, data: Uint8Array, signal?: AbortSignal): Promise<void> =>
  uringBackend.writeFile(path, data, WRITE, 0o666, { signal });

function file(content: string | Uint8Array = "content"): string {
  const path = join(dir, `file-${names++}`);
  writeFileSync(path, content);
  return path;
}

/** A FIFO held open: opening it waits for nobody, reading it for data. */
function fifo(): { path: string; fd: number } {
  const path = join(dir, `fifo-${names++}`);
  run("mkfifo", path);
  return { path, fd: openSync(path, "r+") };
}

beforeEach(() => {
  thread().readBuffers.expected = 4096; // after many large files, small ones would not go through chains either
});

async function idle(t: RingThread = thread()): Promise<void> {
  for (let i = 0; i < 1000 && (t.ring.inFlight > 0 || t.ring.queued > 0 || t.direct.used > 0); i++) await Bun.sleep(2);
  expect({ inFlight: t.ring.inFlight, queued: t.ring.queued, slots: t.direct.used }).toEqual({
    inFlight: 0,
    queued: 0,
    slots: 0,
  });
}

const openFiles = (): string[] =>
  readdirSync("/proc/self/fd")
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return "";
      }
    })
    .filter((target) => target.startsWith(dir));

describe("abort", () => {
  test("of reads parked in the kernel leaves nothing there, whichever link has begun", async () => {
    for (const count of [1, 2, 20]) {
      const pipes = Array.from({ length: count }, fifo);
      const controller = new AbortController();
      const warm = read(file()); // the first of a turn goes by plain calls
      const reads = pipes.map(({ path }) => read(path, controller.signal));
      expect((await warm).toString()).toBe("content");
      await Bun.sleep(10);
      controller.abort("enough");
      for (const result of await Promise.allSettled(reads))
        expect(result).toMatchObject({ status: "rejected", reason: { name: "AbortError", cause: "enough" } });
      await idle();
      for (const { fd } of pipes) closeSync(fd);
    }
    expect(openFiles()).toEqual([]);
  });

  test("while the first part has come and the second has not", async () => {
    const { path, fd } = fifo();
    const controller = new AbortController();
    const warm = read(file());
    const parked = read(path, controller.signal);
    await warm;
    writeSync(fd, "part");
    await Bun.sleep(10);
    controller.abort();
    expect(await outcomeWithin(parked)).toContain("aborted");
    await idle();
    closeSync(fd);
  });

  test("is heard by who waits for a slot, though no slot comes free", async () => {
    const t = thread();
    const slots: number[] = [];
    for (let slot = t.direct.tryAcquire(); slot >= 0; slot = t.direct.tryAcquire()) slots.push(slot);
    const controller = new AbortController();
    const path = file();
    const waiting = [read(path), read(path, controller.signal), write(file(), Buffer.from("x"), controller.signal)];
    const other = read(path);
    controller.abort();
    expect(await outcomeWithin(waiting[1]!)).toContain("aborted");
    expect(await outcomeWithin(waiting[2]!)).toContain("aborted");
    for (const slot of slots) t.direct.release(slot);
    expect((await other).toString()).toBe("content");
    await waiting[0];
    await idle();
  });

  test("of 50,000 at once, most of them waiting, settles each and stops nothing", async () => {
    const path = file();
    const controller = new AbortController();
    const all = Array.from({ length: 50_000 }, () => read(path, controller.signal));
    queueMicrotask(() => queueMicrotask(() => controller.abort()));
    const settled = await Promise.allSettled(all);
    expect(settled.filter(({ status }) => status === "rejected").length).toBeGreaterThan(40_000);
    await idle();
    expect(thread().ring.poisoned).toBeNull();
    expect((await read(path)).toString()).toBe("content");
  });
});

test("a path in a Buffer may be changed as soon as the call has returned, also while it waits for a slot", async () => {
  const t = thread();
  const path = file("mine");
  const other = file("other");
  const slots: number[] = [];
  for (let slot = t.direct.tryAcquire(); slot >= 0; slot = t.direct.tryAcquire()) slots.push(slot);
  const bytes = Buffer.from(path);
  const plain = read(file()); // takes the plain way of this turn
  const waiting = read(toPath(bytes)); // whose copy it is
  bytes.set(Buffer.from(other).subarray(0, bytes.length));
  for (const slot of slots) t.direct.release(slot);
  expect((await waiting).toString()).toBe("mine");
  await plain;
});

test("a path in a Buffer may be changed, too, while it waits for the event loop's turn", async () => {
  const t = thread();
  const { inlineUs } = t.loop.limits;
  const path = file("mine");
  const other = file("other");
  t.readBuffers.expected = 64 * 1024; // as after large files, which are copied by plain calls, but not all in one turn
  t.loop.limits.inlineUs = 0;
  const bytes = Buffer.from(path);
  const waiting = read(toPath(bytes)); // whose copy it is
  t.loop.limits.inlineUs = inlineUs;
  expect(t.placement.hasLater).toBe(true);
  bytes.set(Buffer.from(other).subarray(0, bytes.length));
  expect((await waiting).toString()).toBe("mine");
});

describe("a ring without a direct table", () => {
  let table: DirectTable;
  const swap = (to: DirectTable): void => {
    (thread() as { direct: DirectTable }).direct = to;
  };
  beforeAll(() => {
    table = thread().direct;
    swap(new DirectTable(0));
  });
  afterAll(() => swap(table));

  test("reads and writes files by their descriptors, and closes them", async () => {
    const big = patternBytes(3_000_000);
    const path = join(dir, "by-descriptor");
    await write(path, big);
    expect(readFileSync(path).equals(big)).toBe(true);
    const [one, two] = await Promise.all([read(path), read(path)]);
    expect(one.equals(big) && two.equals(big)).toBe(true);
    const missing = join(dir, "missing");
    const results = await Promise.allSettled([read(missing), read(missing), write(join(missing, "x"), big)]);
    for (const result of results)
      expect(result).toMatchObject({ status: "rejected", reason: { code: "ENOENT", syscall: "open" } });
    expect(openFiles()).toEqual([]);
  });

  test("reads a large file into memory of its size", async () => {
    const { native } = thread();
    const { regionNew, readCached } = native;
    const mapped: unknown[] = [];
    Object.assign(native, {
      readCached: () => -11, // not cached
      regionNew: (...args: Parameters<typeof regionNew>) => {
        if (args[1] === 3_000_000) mapped.push(args[1]);
        return regionNew(...args);
      },
    });
    try {
      for (const length of [0, 5000, 60_000, 3_000_000]) {
        const data = patternBytes(length);
        expect((await read(file(data))).equals(data)).toBe(true);
      }
    } finally {
      Object.assign(native, { regionNew, readCached });
    }
    expect(mapped).toEqual([3_000_000]);
  });

  test("reads from a remote file system by threads, into memory of the ring's", async () => {
    const t = thread();
    const { mounts } = t;
    Object.defineProperty(mounts, "any", { value: true, configurable: true });
    Object.assign(mounts, { holdsFile: () => true, holdsPath: () => true });
    try {
      for (const length of [5000, 300_000]) {
        const data = patternBytes(length);
        const path = file(data);
        const { asyncForced } = t.ring.stats();
        expect((await read(path)).equals(data)).toBe(true);
        expect(t.ring.stats().asyncForced - asyncForced).toBeGreaterThan(3); // OPENAT, READ, READ at the end, CLOSE
      }
    } finally {
      for (const name of ["any", "holdsFile", "holdsPath"]) Reflect.deleteProperty(mounts, name);
    }
  });
});

test("data that is taken away while a large file is written rejects: nothing short passes for whole", async () => {
  let rejected = 0;
  for (let round = 0; round < 5; round++) {
    const path = join(dir, `large-${round}`);
    const data = new Uint8Array(48 << 20).fill(7);
    const promise = write(path, data);
    while ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) < 1 << 20) await new Promise(setImmediate);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    const outcome = await outcomeWithin(promise, 10_000);
    if (outcome === "resolved") expect(statSync(path).size).toBe(48 << 20);
    else {
      expect(outcome).toContain("detached");
      rejected++;
    }
  }
  expect(rejected).toBeGreaterThan(0);
  await idle();
  expect(openFiles()).toEqual([]);
}, 30_000);

test("data that is taken away while the write waits for its slot rejects", async () => {
  const t = thread();
  const slots: number[] = [];
  for (let slot = t.direct.tryAcquire(); slot >= 0; slot = t.direct.tryAcquire()) slots.push(slot);
  const data = new Uint8Array(5000);
  const promise = write(join(dir, "waiting"), data);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  for (const slot of slots) t.direct.release(slot);
  // The helper may have written it before it was taken: then it is all there.
  const outcome = await outcomeWithin(promise);
  if (outcome === "resolved") expect(readFileSync(join(dir, "waiting")).equals(Buffer.alloc(5000))).toBe(true);
  else expect(outcome).toContain("detached");
  await idle();
});

testUnless(
  lacking("direct descriptors that close at once"),
  "who waited for a slot, and then gets no memory, rejects alone and keeps nothing",
  async () => {
    const t = thread();
    const [path, target] = [file(), join(dir, `copy-${names++}`)];
    const slots: number[] = [];
    for (let slot = t.direct.tryAcquire(); slot >= 0; slot = t.direct.tryAcquire()) slots.push(slot);
    t.loop.firstOfTurn(); // now nobody is alone, and does without a slot
    const waiting = [
      read(path),
      write(join(dir, "not-made"), Buffer.from("x")),
      copySmall(path, target, 7, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644),
    ];
    const other = read(path); // behind all of them
    const settled = Promise.all(waiting.map((promise) => outcomeWithin(promise)));
    // Each gives its slot to the next.
    const acquireForPath = t.cells.acquireForPath.bind(t.cells);
    let refusals = waiting.length;
    t.cells.acquireForPath = () => {
      if (refusals-- > 0) throw new Error("no memory");
      return acquireForPath();
    };
    try {
      t.direct.release(slots.pop()!); // nobody who gives hears of it
    } finally {
      delete (t.cells as Partial<typeof t.cells>).acquireForPath; // the class's own again
    }
    expect(await settled).toEqual(Array.from(waiting, () => "rejected: no memory"));
    for (const slot of slots) t.direct.release(slot);
    expect((await other).toString()).toBe("content");
    await idle();
    expect([existsSync(target), t.ring.operations.used, t.ring.poisoned]).toEqual([false, 0, null]);
  },
);

test("what a FIFO gives in parts is whole, also when its name is gone, or another file's", async () => {
  const data = patternBytes(300_000); // more than the chain's first read can take: its second brings something, too
  for (const change of [() => {}, rmSync, (path: string) => renameSync(file(Buffer.alloc(500_000)), path)]) {
    const { path, fd } = fifo();
    while (thread().direct.size > 0 && thread().direct.isSpent) await Bun.sleep(50); // direct descriptors close late
    thread().readBuffers.expected = 4096;
    const warm = read(file()); // the first of a turn goes by plain calls
    const reading = read(path);
    await warm;
    await Bun.sleep(50); // it is opened by then, also where a kernel thread has to
    change(path);
    await new Promise((resolve) => void writeFileInThread(fd, data, resolve));
    closeSync(fd);
    expect((await reading).equals(data)).toBe(true);
  }
});

test("an open handle's path of more than 255 bytes opens, fails and is said as it was given", async () => {
  const long = join(dir, "x".repeat(200), "y".repeat(200));
  await expect(uringBackend.open(long, READ, 0o666)).rejects.toMatchObject({ code: "ENOENT", path: long });
  const bytes = Buffer.from(`${dir}/${"./".repeat(150)}${file("deep").slice(dir.length + 1)}`);
  const handle = await uringBackend.open(bytes, READ, 0o666);
  await uringBackend.close(handle);
  // A FIFO without a reader is opened again, in a thread: with the same path, though it is long.
  const { path, fd } = fifo();
  closeSync(fd);
  const winding = `${dir}/${"./".repeat(150)}${path.slice(dir.length + 1)}`;
  const opening = uringBackend.open(winding, parseFlags("w") & ~0o1100, 0o666);
  await Bun.sleep(20);
  const reader = openSync(path, "r+");
  const writer = await opening;
  await uringBackend.close(writer);
  closeSync(reader);
  expect(thread().ring.poisoned).toBeNull();
});

describe("shutDown", () => {
  test("past its deadline rejects what is parked, lets handles close, and the next call makes a new ring", async () => {
    const t = thread();
    const { path, fd } = fifo();
    const { path: second, fd: secondFd } = fifo();
    const handle = await uringBackend.open(path, READ, 0o666);
    const view = Buffer.alloc(100);
    const parked = uringBackend.read(handle, view, 0, 100, -1);
    const warm = read(file());
    const chain = read(second);
    await warm;
    writeSync(secondFd, "part");
    await Bun.sleep(10);
    writeSync(secondFd, "more"); // from here on in single reads
    await Bun.sleep(10);
    const closing = uringBackend.close(handle);
    await t.shutDown(50);
    for (const promise of [parked, chain]) expect(await outcomeWithin(promise)).toMatch(/rejected/);
    expect(await outcomeWithin(closing)).toBe("resolved");
    expect(existingThread()).toBeNull();
    writeSync(fd, "late");
    await Bun.sleep(20);
    expect(view.every((byte) => byte === 0)).toBe(true);
    closeSync(fd);
    closeSync(secondFd);
    expect((await read(file())).toString()).toBe("content");
    expect(thread()).not.toBe(t);
    expect(openFiles()).toEqual([]);
    await idle();
  });

  test("a handle that is closed afterwards makes no new ring", async () => {
    const handle = await uringBackend.open(file(), READ, 0o666);
    const { fd } = handle;
    await thread().shutDown(1000);
    await uringBackend.close(handle);
    expect(existingThread()).toBeNull();
    expect(() => fstatSync(fd)).toThrow("EBADF");
  });

  test("waits for what ends by itself, twice does no harm, and leaves no descriptor", async () => {
    const path = file(patternBytes(500_000));
    await read(path);
    await thread().shutDown(1000);
    const before = readdirSync("/proc/self/fd").length;
    for (let round = 0; round < 5; round++) {
      const t = thread();
      const reads = Array.from({ length: 20 }, () => read(path));
      await Promise.all([t.shutDown(5000), t.shutDown(5000)]);
      for (const bytes of await Promise.all(reads)) expect(bytes.length).toBe(500_000);
    }
    for (let i = 0; i < 100 && readdirSync("/proc/self/fd").length > before; i++) await Bun.sleep(5);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });
});
