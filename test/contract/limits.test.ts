// Owns what ends an operation early, and what a write is asked beside: signal, timeoutMs, flush.
// Assumes FIFOs for what does not end by itself. Never measures how long anything took: what is late is what never comes.

import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { getEventListeners } from "node:events";
import { closeSync, constants, existsSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import * as library from "../../src/index.ts";
import { expectArgumentError, rejection } from "../helpers/expect-error.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const onRing = library.backend === "io_uring";
const listeners = (signal: AbortSignal): number => getEventListeners(signal, "abort").length;

const { fifo } = tmp;

/** Waits until nothing below the tests' folder is open, also what a thread is about to open. */
async function allClosed(): Promise<void> {
  for (let i = 0, quiet = 0; i < 300 && quiet < 5; i++) {
    quiet = library.stats().inFlight === 0 && tmp.openFiles().length === 0 ? quiet + 1 : 0;
    await Bun.sleep(10);
  }
  expect(tmp.openFiles()).toEqual([]);
}

const LATE = { code: "ETIMEDOUT", errno: -110 };

test("a read that gets no data times out; its buffer is the kernel's until it has answered, and close waits for that", async () => {
  const path = fifo();
  await using handle = await library.open(path, "r+");
  for (const read of [
    () => handle.read({ buffer: Buffer.alloc(10), timeoutMs: 30 }),
    () => handle.read(Buffer.alloc(10), { timeoutMs: 30, signal: new AbortController().signal }),
    () => handle.readv([Buffer.alloc(10)], null, { timeoutMs: 30 }),
  ]) {
    const error = await rejection(read());
    expect(error).toMatchObject({ ...LATE, syscall: "read", message: "ETIMEDOUT: connection timed out, read" });
    expect(error.path).toBeUndefined();
    if (!onRing) writeSync(handle.fd, "0123456789"); // a thread waits for it
  }
  const reason = new Error("enough");
  const controller = new AbortController();
  const reading = handle.read(Buffer.alloc(10), { signal: controller.signal });
  const waiting = handle.read(Buffer.alloc(10), { signal: controller.signal }); // for its turn
  await Bun.sleep(5);
  controller.abort(reason);
  for (const read of [reading, waiting]) {
    expect(await rejection(read)).toMatchObject({ name: "AbortError", code: "ABORT_ERR", cause: reason });
  }
  if (!onRing) writeSync(handle.fd, "0123456789");
  await handle.close();
  expect(listeners(controller.signal)).toBe(0);
  await allClosed();
});

test("an open that waits for the other side times out; what it opens late is closed", async () => {
  const path = fifo();
  const warnings: Error[] = [];
  const warn = (warning: Error): void => void warnings.push(warning);
  process.on("warning", warn); // the collector closes, too, but says so
  const error = await rejection(library.open(path, "w", { timeoutMs: 30 }));
  expect(error).toMatchObject({ ...LATE, syscall: "open", path });
  const controller = new AbortController();
  const opening = library.open(path, "w", { signal: controller.signal });
  await Bun.sleep(20);
  controller.abort("no more");
  expect(await rejection(opening)).toMatchObject({ name: "AbortError", cause: "no more" });
  closeSync(openSync(path, "r+")); // where it could not be cancelled, it opens now
  await allClosed();
  process.off("warning", warn);
  expect(warnings).toEqual([]);
});

test("whole files, copies and many at once time out", async () => {
  const path = fifo();
  const feeder = openSync(path, "r+");
  const target = tmp.path();
  // On the node backend a thread waits for data, and there are few of them.
  const feed = (): void => void (onRing || writeSync(feeder, "0123456789"));
  expect(await rejection(library.readFile(path, { timeoutMs: 30 }))).toMatchObject({ ...LATE, syscall: "read", path });
  feed();
  const many = library.readMany([tmp.file("a"), path], { timeoutMs: 30 });
  expect(await rejection(many)).toMatchObject({ ...LATE, syscall: "read" });
  feed();
  const copy = library.copyFile(path, target, { timeoutMs: 30 });
  expect(await rejection(copy)).toMatchObject({ ...LATE, syscall: "copyfile", path, dest: target });
  feed();
  const handle = await library.open(path, "r");
  expect(await rejection(handle.readFile({ timeoutMs: 30 }))).toMatchObject({ ...LATE, syscall: "read" });
  feed();
  closeSync(feeder);
  await handle.close();
  await allClosed();
});

/** What is in a FIFO: nothing, if what was to write it had not begun when its time was over. */
function readNow(path: string, into: Buffer): number {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return readSync(fd, into, 0, into.length, null);
  } catch (error) {
    expect(error).toMatchObject({ code: "EAGAIN" });
    return 0;
  } finally {
    closeSync(fd);
  }
}

test("a write that is ended says how much has landed", async () => {
  const path = fifo();
  const other = openSync(path, "r+");
  const handle = await library.open(path, "r+");
  const data = patternBytes(300_000, 3);
  const error = await rejection(handle.writeFile(data, { timeoutMs: 50 }));
  expect(error).toMatchObject({ ...LATE, syscall: "write" });
  const into = Buffer.alloc(data.length);
  let there = readNow(path, into);
  if (onRing) {
    // Before Linux 6.5 or so a write that is cancelled does not tell what it has written.
    const told = library.capabilities().lateClose ? [there, 0] : [there];
    expect(told).toContain(error.bytesWritten);
  } else {
    // What its thread has written by then is not known, and it goes on writing when there is room.
    expect(error.bytesWritten).toBe(0);
    while (there < data.length) there += readSync(other, into, there, data.length - there, null);
  }
  expect(into.subarray(0, there).equals(data.subarray(0, there))).toBe(true);
  await handle.close();
  closeSync(other);

  const controller = new AbortController();
  const chunks = (async function* () {
    yield data.subarray(0, 1000);
    await Bun.sleep(5);
    controller.abort("stop");
    yield data.subarray(1000, 2000);
  })();
  const file = tmp.path();
  await using target = await library.open(file, "w");
  const stopped = await rejection(target.writeFile(chunks, { signal: controller.signal }));
  expect(stopped).toMatchObject({ name: "AbortError", cause: "stop", bytesWritten: 1000 });
  expect(readFileSync(file)).toHaveLength(1000);
  expect(listeners(controller.signal)).toBe(0);
});

testUnless(
  !onRing && "a thread can't be called back",
  "what is ended leaves nothing behind: no late byte, none taken, no close that waits",
  async () => {
    const path = fifo();
    const other = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const handle = await library.open(path, "r+");
    // A read that waits would take what comes for whoever reads next.
    expect(await rejection(handle.readFile({ timeoutMs: 20 }))).toMatchObject(LATE);
    writeSync(other, "for the next");
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(64));
    expect(buffer.toString("latin1", 0, bytesRead)).toBe("for the next");
    const copy = tmp.path();
    const copying = await rejection(library.copyFile(path, copy, { signal: AbortSignal.timeout(20) } as never));
    expect([copying.name, existsSync(copy)]).toEqual(["AbortError", false]);
    writeSync(other, "for whoever reads");
    expect(readNow(path, Buffer.alloc(64))).toBe(17);
    // A write that waits would go on as soon as there is room.
    const error = await rejection(handle.writeFile(patternBytes(300_000, 3), { signal: AbortSignal.timeout(20) }));
    expect(error.name).toBe("AbortError");
    const into = Buffer.alloc(300_000);
    let there = 0;
    for (let idle = 0; idle < 5; idle++) {
      const got = readNow(path, into);
      if (got > 0) idle = 0;
      there += got;
      await Bun.sleep(5);
    }
    const told = library.capabilities().lateClose ? [there, 0] : [there];
    expect(told).toContain(error.bytesWritten);
    expect(there).toBeLessThan(300_000);
    await handle.close();
    closeSync(other);
  },
);

test("within the limits, everything is as without them", async () => {
  const path = tmp.path();
  const { signal } = new AbortController();
  for (const limits of [{ timeoutMs: 20_000 }, { signal }, { signal, timeoutMs: 20_000 }]) {
    await library.writeFile(path, "content", limits);
    await library.appendFile(path, " more", limits);
    expect(await library.readFile(path, { ...limits, encoding: "utf8" })).toBe("content more");
    expect((await library.stat(path, limits as never)).size).toBe(12);
    expect((await library.lstat(path, limits as never)).size).toBe(12);
    expect((await library.stat(`${path}/x`, { ...limits, throwIfNoEntry: false } as never)) as unknown).toBeUndefined();
    await library.copyFile(path, `${path}.copy`, limits);
    expect((await library.statMany([path], limits))[0]).toMatchObject({ status: "fulfilled", value: { size: 12 } });
    expect((await library.readMany([path], limits))[0]).toMatchObject({ status: "fulfilled" });
    await using handle = await library.open(path, "r+", limits);
    expect((await handle.stat(limits as never)).size).toBe(12);
    expect((await handle.read({ buffer: Buffer.alloc(7), ...limits })).buffer.toString()).toBe("content");
    expect((await handle.readFile({ ...limits, encoding: "utf8" })).toString()).toBe(" more");
    expect((await handle.write(Buffer.from("C"), { position: 0, ...limits })).bytesWritten).toBe(1);
    expect((await handle.write("O", 1, "utf8", limits)).bytesWritten).toBe(1);
    expect((await handle.writev([Buffer.from("N"), Buffer.from("T")], 2, limits)).bytesWritten).toBe(2);
    const into = Buffer.alloc(4);
    expect([...(await handle.readBatch({ offsets: [0, 2], lengths: 2, into, ...limits }))]).toEqual([2, 2]);
    expect(into.toString()).toBe("CONT");
    await handle.close();
  }
  expect(listeners(signal)).toBe(0);
});

test("a failure before the limit is that failure, and a signal fired before begins nothing", async () => {
  const { signal } = new AbortController();
  const path = tmp.path();
  const missing = { code: "ENOENT", path };
  for (const limits of [{ timeoutMs: 20_000 }, { signal }]) {
    expect(await rejection(library.readFile(path, limits))).toMatchObject({ ...missing, syscall: "open" });
    expect(await rejection(library.stat(path, limits as never))).toMatchObject({ ...missing, syscall: "stat" });
    expect(await rejection(library.open(path, "r", limits))).toMatchObject({ ...missing, syscall: "open" });
  }
  expect(listeners(signal)).toBe(0);
  const fired = { signal: AbortSignal.abort("early"), timeoutMs: 1000 };
  await using handle = await library.open(tmp.file("abc"), "r+");
  const { submitted } = library.stats();
  for (const call of [
    () => handle.read(Buffer.alloc(3), fired),
    () => handle.read(Buffer.alloc(0), fired),
    () => handle.write(Buffer.alloc(3), fired),
    () => handle.write(Buffer.alloc(3), 0, 3, 0, { ...fired, flush: true }),
    () => handle.stat(fired as never),
    () => library.writeFile(path, "x", fired),
    () => library.open(path, "w", fired),
    () => library.statMany([path], fired),
  ]) {
    expect(await rejection(call)).toMatchObject({ name: "AbortError", cause: "early" });
  }
  expect(library.stats().submitted).toBe(submitted);
});

test("wrong limits are refused", async () => {
  await using handle = await library.open(tmp.file("abc"), "r+");
  for (const timeoutMs of [0, -1, 1.5, 2 ** 31]) {
    await expectArgumentError(library.readFile("x", { timeoutMs }), "ERR_OUT_OF_RANGE");
    await expectArgumentError(handle.write("x", 0, "utf8", { timeoutMs }), "ERR_OUT_OF_RANGE");
  }
  await expectArgumentError(handle.read(Buffer.alloc(1), { timeoutMs: "1" as never }), "ERR_INVALID_ARG_TYPE");
  await expectArgumentError(handle.write("x", 0, "utf8", { signal: {} as never }), "ERR_INVALID_ARG_TYPE");
  await expectArgumentError(handle.writev([], 0, { flush: 1 as never }), "ERR_INVALID_ARG_TYPE");
  await expectArgumentError(library.copyFile("x", "y", { timeoutMs: 0 }), "ERR_OUT_OF_RANGE");
});

test("an operation that has ended leaves no timer that would keep the process", () => {
  const source = `const { readFile, open } = await import("./src/index.ts");
    await readFile("package.json", { timeoutMs: 600_000 });
    await using handle = await open("package.json", "r", { timeoutMs: 600_000 });
    await handle.read(Buffer.alloc(10), { timeoutMs: 600_000 });`;
  const cwd = `${import.meta.dir}/../..`;
  expect(spawnSync(process.execPath, ["-e", source], { cwd, timeout: 20_000 }).status).toBe(0);
});

test("flush: everything is written and synced, at positions and at the file's own", async () => {
  const path = tmp.path();
  const data = patternBytes(50_000, 2);
  await using handle = await library.open(path, "w+");
  const { submitted } = library.stats();
  expect(await handle.write(data, 0, 20_000, 0, { flush: true })).toEqual({ bytesWritten: 20_000, buffer: data });
  // The WRITE and its FSYNC.
  if (onRing) expect(library.stats().submitted - submitted).toBe(2);
  const buffers = [data.subarray(20_000, 30_000), data.subarray(30_000, 30_000), data.subarray(30_000, 45_000)];
  expect(await handle.writev(buffers, 20_000, { flush: true })).toEqual({ bytesWritten: 25_000, buffers });
  expect((await handle.write(data, { offset: 45_000, position: 45_000, flush: true })).bytesWritten).toBe(5000);
  expect(readFileSync(path).equals(data)).toBe(true);
  await handle.truncate(0);
  const own = [0, 1, 2, 3].map((i) => handle.write(data, i * 10, 10, null, { flush: i % 2 === 0 }));
  await Promise.all([...own, handle.write("end", null, "latin1", { flush: true })]);
  expect(readFileSync(path).equals(Buffer.concat([data.subarray(0, 40), Buffer.from("end")]))).toBe(true);
  expect((await handle.write(data, 0, 0, 0, { flush: true })).bytesWritten).toBe(0);
  const many = Array.from({ length: 3000 }, (_, i) => Buffer.from([i & 255]));
  expect((await handle.writev(many, 0, { flush: true })).bytesWritten).toBe(3000);
  expect(readFileSync(path).equals(Buffer.concat(many))).toBe(true);

  await using appending = await library.open(path, "a");
  await Promise.all(["x", "y", "z"].map((text) => appending.write(text, null, "utf8", { flush: true })));
  expect(readFileSync(path).subarray(3000).toString()).toBe("xyz");
});

test("flush: a write that fails says so, and what cannot be synced fails for good", async () => {
  await using full = await library.open("/dev/full", "w");
  const error = await rejection(full.write(Buffer.alloc(10), 0, 10, null, { flush: true }));
  expect(error).toMatchObject({ code: "ENOSPC", syscall: "write" });
  await using nothing = await library.open("/dev/null", "w");
  const failed = await rejection(nothing.write(Buffer.alloc(10), 0, 10, null, { flush: true }));
  expect(failed).toMatchObject({ code: "EINVAL", syscall: "fdatasync" });
  expect(await rejection(nothing.writev([Buffer.alloc(1)], null, { flush: true }))).toMatchObject({ code: "EINVAL" });
});
