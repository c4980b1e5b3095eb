// When the ring runs: nothing starves, nothing stalls, a completion wakes the loop, and a ring that is stopped holds nobody.
// Assumes a kernel that gives rings. Counts and orders, never times.

import { dlopen, FFIType } from "bun:ffi";
import { afterEach, expect, test } from "bun:test";
import { readdirSync, readlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Opcode } from "../../src/kernel/sqe.ts";
import type { RingThread } from "../../src/ring/context.ts";
import { runCase, startCase } from "../helpers/child.ts";
import { run } from "../helpers/mounts.ts";
import { endThread, nop, parkRead, smallThread, submitOne } from "../helpers/small-ring.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "loop.child.ts");
const dir = tmpDir();
let names = 0;
let t: RingThread | null = null;
const fds: number[] = [];

/** FIFOs, made by one process: starting one takes up to half a second where the kernel is emulated. */
function fifos(count: number): string[] {
  const paths = Array.from({ length: count }, () => join(dir, `fifo-${names++}`));
  run("mkfifo", ...paths);
  return paths;
}
const fifo = (): string => fifos(1)[0]!;

afterEach(() => {
  if (t !== null) endThread(t, fds.splice(0));
  t = null;
});

test("an endless chain of inline completions lets every kind of callback have its turn", async () => {
  t = smallThread({ entries: 64, cqEntries: 64 });
  let immediates = 0;
  let timers = 0;
  let over = false;
  const again = (): void => {
    immediates++;
    if (!over) setImmediate(again);
  };
  setImmediate(again);
  const timer = setInterval(() => timers++, 1);
  const inlineBefore = t.ring.inlineCompletions;
  let operations = 0;
  while (timers < 5 && operations < 2_000_000) {
    await nop(t.ring);
    operations++;
  }
  over = true;
  clearInterval(timer);
  expect(timers).toBeGreaterThanOrEqual(5);
  expect(immediates).toBeGreaterThanOrEqual(5);
  expect(t.ring.inlineCompletions - inlineBefore).toBe(operations);
});

test("such a chain is bounded in time, too, where it may be long", async () => {
  t = smallThread({ entries: 64, cqEntries: 64 });
  t.loop.limits.microtaskRounds = Number.POSITIVE_INFINITY;
  t.loop.limits.microtaskMs = 0.001;
  let turns = 0;
  setImmediate(() => turns++);
  for (let operations = 0; turns === 0 && operations < 20_000; operations++) await nop(t.ring);
  expect(turns).toBe(1);
});

test("operations of one turn go out in one submit, and end in it if they can", async () => {
  t = smallThread({ entries: 64, cqEntries: 64 });
  const { enters, nativeCalls } = t.ring.stats();
  let turns = 0;
  setImmediate(() => turns++);
  await Promise.all(Array.from({ length: 64 }, () => nop(t!.ring)));
  expect(turns).toBe(0);
  expect(t.ring.stats().enters - enters).toBe(1);
  expect(t.ring.nativeCalls - nativeCalls).toBeLessThanOrEqual(2);
});

test("what completes in the flush that submitted it teaches nothing of waits", async () => {
  const t = smallThread();
  let learned = 0;
  t.loop.spin.seen = t.loop.spin.slept = () => void learned++;
  for (let i = 0; i < 500; i++) await nop(t.ring);
  expect(learned).toBe(0);
});

test("a completion wakes the loop out of its sleep, again and again", async () => {
  t = smallThread();
  const path = fifo();
  for (let i = 0; i < 20; i++) {
    const { read, view, fd } = parkRead(t.ring, path);
    fds.push(fd);
    while (t.loop.doorbell === null) await Bun.sleep(1);
    await Bun.sleep(i % 4);
    writeSync(fd, `number${i % 10}`);
    expect(await read).toBe(7);
    expect(view.toString("latin1", 0, 7)).toBe(`number${i % 10}`);
  }
  expect(t.loop.doorbell).toBe("socket");
  expect(t.ring.wakeups).toBeGreaterThan(0);
});

test("work staged while the loop sleeps goes out, and the sleeper is not forgotten", async () => {
  t = smallThread();
  const { read, fd } = parkRead(t.ring, fifo());
  fds.push(fd);
  await Bun.sleep(30);
  for (let i = 0; i < 200; i++) expect(await nop(t.ring)).toBe(0);
  await Bun.sleep(10);
  writeSync(fd, "12345678");
  expect(await read).toBe(8);
});

test("what is queued goes out as long as some can, though nothing completes: here it feeds what is parked", async () => {
  t = smallThread({ entries: 8, cqEntries: 512 });
  t.loop.spin.spinUs = t.loop.spin.maxSpinUs = 0;
  const first = parkRead(t.ring, fifo());
  fds.push(first.fd);
  while (t.loop.doorbell === null) await Bun.sleep(1);
  await Bun.sleep(20); // the bell is ready: the loop could sleep at once
  writeSync(first.fd, "1");
  await first.read;
  const paths = fifos(100);
  const reads = paths.map((path) => parkRead(t!.ring, path));
  fds.push(...reads.map(({ fd }) => fd));
  // First in, first out: these are behind all of the reads.
  const writes = reads.map(({ fd }) => submitOne(t!.ring, { opcode: Opcode.WRITE, fd, view: Buffer.from("12345678") }));
  expect(await Promise.all(writes)).toEqual(Array(100).fill(8));
  expect(await Promise.all(reads.map(({ read }) => read))).toEqual(Array(100).fill(8));
});

test("a ring without a bell is looked after by timer", async () => {
  t = smallThread();
  t.ring.native.bellOpen = () => -38;
  const { read, fd } = parkRead(t.ring, fifo());
  fds.push(fd);
  while (t.loop.doorbell === null) await Bun.sleep(1);
  expect(t.loop.doorbell).toBe("timer");
  writeSync(fd, "12345678");
  expect(await read).toBe(8);
  await Bun.sleep(10);
  const second = parkRead(t.ring, fifo());
  fds.push(second.fd);
  await Bun.sleep(10);
  writeSync(second.fd, "1234");
  expect(await second.read).toBe(4);
});

test("a bell that is lost while the loop sleeps is replaced, and nothing is missed", async () => {
  const others = sockets();
  t = smallThread();
  const { read, fd } = parkRead(t.ring, fifo());
  fds.push(fd);
  while (t.loop.doorbell === null) await Bun.sleep(1);
  await Bun.sleep(20);
  expect(t.loop.doorbell).toBe("socket");
  shutDown(sockets().filter((one) => !others.includes(one)));
  for (let i = 0; i < 500 && t.loop.doorbell !== "timer"; i++) await Bun.sleep(2);
  expect(t.loop.doorbell).toBe("timer");
  writeSync(fd, "12345678");
  expect(await read).toBe(8);
});

/** Descriptors of the process's sockets. */
function sockets(): string[] {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      return false;
    }
  });
}

function shutDown(ends: readonly string[]): void {
  expect(ends.length).toBe(2); // the bell's
  const libc = dlopen("libc.so.6", {
    shutdown: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  });
  for (const fd of ends) libc.symbols.shutdown(Number(fd), 2);
}

test("a pending operation keeps the process alive, an idle ring does not", async () => {
  const child = startCase(fixture, "lives", { input: fifo(), timeoutMs: 20_000 });
  const { stdout, exitCode } = await child.finished();
  expect(exitCode).toBe(0);
  expect(stdout).toContain("@event bytes 4");
});

test("nor does one that became idle as something else was submitted", async () => {
  expect(await runCase<number[]>(fixture, "idleInFlush", { input: fifo(), timeoutMs: 20_000 })).toEqual([4, 0]);
});

test("a shutdown tells who has memory of the ring, before it is closed, and takes the doorbell along", async () => {
  t = smallThread();
  const { read, fd } = parkRead(t.ring, fifo());
  fds.push(fd);
  while (t.loop.doorbell === null) await Bun.sleep(1);
  writeSync(fd, "late");
  await read;
  const told: boolean[] = [];
  t.beforeClose.add(() => told.push(t!.ring.closed));
  await t.shutDown(1000);
  expect(told).toEqual([false]);
  expect(t.loop.doorbell).toBeNull();
});

test("a stopped ring with reads in the kernel lets the process end", async () => {
  expect(await runCase<string>(fixture, "poisoned", { input: fifo(), timeoutMs: 20_000 })).toContain(
    "the ring is stopped",
  );
});

test("a ring whose descriptor is gone stops instead of trying for ever", async () => {
  const seen = await runCase<string>(fixture, "descriptorGone", { timeoutMs: 20_000 });
  expect(seen).toContain("io_uring_enter fails with EBADF");
});

test("closing a sleeping ring leaves its bell without effect", async () => {
  t = smallThread();
  const { read, fd } = parkRead(t.ring, fifo());
  fds.push(fd);
  read.catch(() => {});
  await Bun.sleep(30);
  t.ring.close(1000); // before the loop is: the bell rings for the cancelled read
  await Bun.sleep(30);
  await expect(read).rejects.toThrow("the ring was closed");
});
