// What a ring's end leaves to the next one: nothing. Operations that end late, signals that fire late, waiting lines,
// descriptors, memory: each belongs to the ring that it was begun on.
// Assumes the ring; on the node backend there is none to end.

import { afterAll, expect } from "bun:test";
import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { backend, Opcode, open, Ring, readFile, SqeFlag, shutdown, stat, stats } from "../../src/index.ts";
import { existingThread } from "../../src/ring/context.ts";
import { faultTest } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
afterAll(() => shutdown({ timeoutMs: 100 }));

const { fifo } = tmp;

const isOpen = (fd: number): boolean => {
  try {
    return fstatSync(fd) !== undefined;
  } catch {
    return false;
  }
};

/** How each promise has settled by now. */
async function states(promises: readonly Promise<unknown>[]): Promise<string[]> {
  return Promise.all(
    promises.map((promise) =>
      Promise.race([
        promise.then(
          () => "resolved",
          (error) => String(error.code),
        ),
        Bun.sleep(1000).then(() => "pending"),
      ]),
    ),
  );
}

describeUnless(backend !== "io_uring" && "no ring", "after shutdown() gave up", () => {
  faultTest("signals that fire reach nobody, and the next ring works", { needs: ["ioUring"] }, async () => {
    const path = fifo();
    const controllers = Array.from({ length: 400 }, () => new AbortController());
    const reads = controllers.map(({ signal }) => readFile(path, { signal }));
    const handle = await open(path, "r+");
    const more = new AbortController();
    const others = [
      handle.read({ buffer: Buffer.alloc(8), signal: more.signal }),
      handle.readBatch({ offsets: [0], lengths: 8, into: Buffer.alloc(8), signal: more.signal }),
      Ring.current().submit({ opcode: Opcode.TIMEOUT, timeoutMs: 60_000 }, { signal: more.signal }),
    ];
    const settled = states([...reads, ...others]);
    await Bun.sleep(50);
    await shutdown({ timeoutMs: 20 });
    await stat("/"); // a new ring
    expect(new Set(await settled)).toEqual(new Set(["ECANCELED"])); // all are told by now
    for (const controller of controllers) controller.abort();
    more.abort();
    await handle.close();
    const now = await states(Array.from({ length: 300 }, () => readFile("/proc/self/cmdline")));
    expect(now.every((state) => state === "resolved")).toBe(true);
    expect(existingThread()!.direct.used).toBe(0);
    expect(stats().inFlight).toBe(0);
  });

  testUnless(
    lacking("direct descriptors that close at once"),
    "who waits for a direct descriptor is told",
    async () => {
      const path = fifo();
      const reads = Array.from({ length: 300 }, () => readFile(path));
      const held = states(reads);
      await Bun.sleep(30);
      const ring = Ring.current();
      const waiting = states([
        ring.acquireDirect(),
        ring.chain().openDirect("/proc/self/cmdline").close().submit(),
        ring.chain().openDirect("/proc/self/cmdline").openDirect("/proc/self/stat").submit(),
      ]);
      await Bun.sleep(10);
      await shutdown({ timeoutMs: 20 });
      expect(await waiting).toEqual(["ECANCELED", "ECANCELED", "ECANCELED"]);
      expect(new Set(await held)).toEqual(new Set(["ECANCELED"]));
    },
  );

  faultTest(
    "only what opens have brought is closed, in whatever order a batch ends",
    { needs: ["ioUring"] },
    async () => {
      const fd = openSync(tmp.path("dirty"), "w");
      for (let i = 0; i < 4; i++) writeSync(fd, Buffer.alloc(4 << 20, 1));
      const sync = { opcode: Opcode.FSYNC, fd, flags: SqeFlag.ASYNC };
      const missing = { opcode: Opcode.OPENAT, path: tmp.path("none"), opFlags: 0, flags: SqeFlag.ASYNC };
      const there = { opcode: Opcode.OPENAT, path: "/proc/self/cmdline", opFlags: 0, flags: SqeFlag.ASYNC };
      await shutdown({ timeoutMs: 0 }); // a ring that is there has descriptors of its own
      const before = openSync("/dev/null", "r");
      closeSync(before); // the next descriptor there is
      for (const sqes of [
        [sync, missing],
        [missing, sync],
        [there, sync],
        [sync, there],
      ]) {
        Ring.current()
          .batch(sqes)
          .catch(() => {});
        await Promise.resolve();
        await Promise.resolve();
        await shutdown({ timeoutMs: 0 });
        expect(isOpen(0)).toBe(true);
        expect(isOpen(fd)).toBe(true);
      }
      const after = openSync("/dev/null", "r");
      closeSync(after);
      closeSync(fd);
      expect(after).toBe(before);
    },
  );

  faultTest("a CLOSE that was not begun is made up for", { needs: ["ioUring"] }, async () => {
    const { ring } = await stat("/").then(() => existingThread()!);
    const handle = await open(tmp.file("x"), "r");
    const { fd } = handle;
    const closing = handle.close(); // staged
    ring.close(0);
    await closing;
    expect(isOpen(fd)).toBe(false);
    expect((await stat("/")).isDirectory()).toBe(true);
  });
});
