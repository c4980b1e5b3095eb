// What a program can't do to others through Ring.current(), and what it can't do to itself by changing what it gave: SQEs,
// arrays and options are read once, at the call.
// Assumes io_uring.

import { afterAll, expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { closeSync, constants, openSync, writeFileSync, writeSync } from "node:fs";
import { BufferPool, backend, Opcode, open, Ring, readFile, type Sqe, SqeFlag, shutdown } from "../../src/index.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
afterAll(() => shutdown({ timeoutMs: 100 }));

async function code(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => value,
    (error) => error.code,
  );
}

const soon = <T>(promise: Promise<T>): Promise<T | "pending"> =>
  Promise.race([promise, Bun.sleep(2000).then(() => "pending" as const)]);

/** An object whose fields are getters that count, and say something else from the second time on. */
function changing(fields: Record<string, [first: unknown, later: unknown]>): {
  value: any;
  counts: Map<string, number>;
} {
  const counts = new Map<string, number>();
  const value = {};
  for (const [name, [first, later]] of Object.entries(fields))
    Object.defineProperty(value, name, {
      enumerable: true,
      get() {
        counts.set(name, (counts.get(name) ?? 0) + 1);
        return counts.get(name) === 1 ? first : later;
      },
    });
  return { value, counts };
}

describeUnless(backend !== "io_uring" && "no ring", "the shared ring", () => {
  testUnless(
    lacking("cancellation without an SQE"),
    "takes no IO_DRAIN, a ring of one's own does, and cancels behind it",
    async () => {
      const drain: Sqe = { opcode: Opcode.NOP, flags: SqeFlag.IO_DRAIN };
      expect(await code(Ring.current().submit(drain))).toBe("ERR_INVALID_ARG_VALUE");
      expect(await code(Ring.current().chain().add(drain).submit())).toBe("ERR_INVALID_ARG_VALUE");
      await using own = new Ring({ entries: 8 });
      const controller = new AbortController();
      const timeout = own.submit({ opcode: Opcode.TIMEOUT, timeoutMs: 60_000 }, { signal: controller.signal });
      const drained = own.submit(drain);
      await Bun.sleep(10);
      controller.abort();
      expect(await soon(code(timeout))).toBe("ABORT_ERR");
      expect(await soon(drained)).toMatchObject({ res: 0 });
    },
  );

  testUnless(
    lacking("direct descriptors"),
    "lets nobody name a direct descriptor by an object, or one of a chain",
    async () => {
      const ring = Ring.current();
      const buffer = Buffer.alloc(4);
      await using handle = await open("/proc/self/cmdline");
      for (const fd of [{ fd: 0 }, handle]) {
        const sqe = { opcode: Opcode.READ, fd, flags: SqeFlag.FIXED_FILE, buffer };
        expect(await code(ring.submit(sqe))).toBe("ERR_INVALID_ARG_VALUE");
        const cancel = { opcode: Opcode.ASYNC_CANCEL, fd, opFlags: 8 };
        expect(await code(ring.submit(cancel))).toBe("ERR_INVALID_ARG_VALUE");
      }
      const path = tmp.fifo();
      const writer = openSync(path, constants.O_RDWR);
      const chain = ring.chain().openDirect(path).read(buffer).submit();
      await Bun.sleep(10);
      for (let slot = 0; slot < 256; slot++) {
        const sqe = { opcode: Opcode.FADVISE, fd: slot, flags: SqeFlag.FIXED_FILE, opFlags: 0 };
        expect(await code(ring.submit(sqe))).toBe("ERR_INVALID_ARG_VALUE");
      }
      writeSync(writer, "1234");
      await chain;
      closeSync(writer);
    },
  );

  testUnless(lacking("direct descriptors"), "gives a direct descriptor back after the SQEs that name it", async () => {
    const ring = Ring.current();
    const slot = await ring.acquireDirect();
    const path = tmp.file("mine");
    await ring.submit({ opcode: Opcode.OPENAT, path, opFlags: 0, fileIndex: slot });
    const buffer = Buffer.alloc(16);
    const late = ring.batch([
      { opcode: Opcode.TIMEOUT, timeoutMs: 100, flags: SqeFlag.IO_HARDLINK },
      { opcode: Opcode.READ, fd: slot, buffer, flags: SqeFlag.FIXED_FILE },
    ]);
    let given = false;
    const release = ring.releaseDirect(slot).then(() => {
      given = true;
    });
    expect(await code(ring.submit({ opcode: Opcode.CLOSE, fileIndex: slot }))).toBe("ERR_INVALID_ARG_VALUE");
    expect(await code(ring.releaseDirect(slot))).toBe("EBADF");
    await Bun.sleep(20);
    expect(given).toBe(false);
    expect((await late)[1]!.res).toBe(4);
    await release;
    expect(buffer.subarray(0, 4).toString()).toBe("mine");
  });

  testUnless(
    lacking("direct descriptors"),
    "refuses chains of more files than can be had, and keeps its own functions going",
    async () => {
      const ring = Ring.current();
      const slots = await Promise.all(Array.from({ length: 128 }, () => ring.acquireDirect()));
      const chainOf = (count: number) => {
        let chain: any = ring.chain();
        for (let i = 0; i < count; i++) chain = chain.openDirect("/proc/self/cmdline").close();
        return chain;
      };
      expect(await code(chainOf(129).submit())).toBe("ENFILE");
      const controller = new AbortController();
      const waiting = code(chainOf(2).submit({ signal: controller.signal }));
      const other = code(chainOf(1).submit());
      expect((await soon(Promise.all(Array.from({ length: 200 }, () => readFile("/proc/self/stat"))))).length).toBe(
        200,
      );
      controller.abort();
      expect(await soon(waiting)).toBe("ABORT_ERR");
      await Promise.all(slots.map((slot) => ring.releaseDirect(slot)));
      expect(await soon(other)).toEqual([0, 0]);
    },
  );

  testUnless(
    lacking("direct descriptors that close at once"),
    "an acquireDirect() that waits hears its signal and its time",
    async () => {
      const path = tmp.fifo();
      const end = new AbortController();
      const held = Array.from({ length: 300 }, () => readFile(path, { signal: end.signal }).catch(() => {}));
      await Bun.sleep(20);
      const ring = Ring.current();
      const controller = new AbortController();
      const waiting = [ring.acquireDirect({ signal: controller.signal }), ring.acquireDirect({ timeoutMs: 20 })].map(
        code,
      );
      controller.abort();
      expect(await soon(Promise.all(waiting))).toEqual(["ABORT_ERR", "ETIMEDOUT"]);
      end.abort();
      await Promise.all(held);
      const slot = await ring.acquireDirect();
      await ring.releaseDirect(slot);
    },
  );

  testUnless(
    lacking("direct descriptors"),
    "two that collect many direct descriptors at once both get them",
    async () => {
      const ring = Ring.current();
      const chains = Array.from({ length: 6 }, () => {
        let chain: any = ring.chain();
        for (let i = 0; i < 60; i++) chain = chain.openDirect("/proc/self/cmdline").close();
        return chain.submit() as Promise<number[]>;
      });
      const all = await soon(Promise.all(chains));
      expect(all === "pending" ? all : all.map((results) => results.every((res) => res === 0))).toEqual(
        Array(6).fill(true),
      );
    },
  );
});

describeUnless(backend !== "io_uring" && "no ring", "what is given is read once", () => {
  test("the fields of an SQE, its handle, how and options", async () => {
    const path = tmp.file("0123456789");
    const fd = openSync(path, "r");
    const buffer = Buffer.alloc(4);
    const { signal } = new AbortController();
    const handle = changing({ fd: [fd, -1] });
    const sqe = changing({
      opcode: [Opcode.READ, Opcode.FTRUNCATE],
      fd: [handle.value, fd],
      buffer: [buffer, Buffer.alloc(1)],
      length: [4, 4096],
      offset: [2, 0],
      flags: [0, SqeFlag.IO_DRAIN],
    });
    const options = changing({ signal: [signal, null], timeoutMs: [1000, -1] });
    const { res } = await Ring.current().submit(sqe.value, options.value);
    expect([res, buffer.toString()]).toEqual([4, "2345"]);
    for (const { counts } of [sqe, handle, options]) expect(new Set(counts.values())).toEqual(new Set([1]));
    const how = changing({ flags: [0, constants.O_CREAT], mode: [0, 0o777], resolve: [0, 1] });
    const opened = await Ring.current().submit({ opcode: Opcode.OPENAT2, path, how: how.value });
    expect(opened.res).toBeGreaterThan(2);
    expect(new Set(how.counts.values())).toEqual(new Set([1]));
    closeSync(opened.res);
    closeSync(fd);
  });

  test("SQEs of a class", async () => {
    class Nop {
      get opcode(): number {
        return Opcode.NOP;
      }
    }
    class Wrong extends Nop {
      get user_data(): number {
        return 1;
      }
    }
    expect((await Ring.current().submit(new Nop())).res).toBe(0);
    expect((await Ring.current().submit(new Wrong() as Sqe)).res).toBe(0); // not a field of its own
  });

  test("arrays of SQEs, of a chain's vectors, and SQEs of a chain", async () => {
    const path = tmp.path("vectors");
    writeFileSync(path, "");
    const fd = openSync(path, "r+");
    const buffers: Buffer[] = [Buffer.from("ab"), Buffer.from("cd")];
    const own: Sqe = { opcode: Opcode.WRITE, fd, buffer: Buffer.from("ef"), offset: 4 };
    const chain = Ring.current().chain().file(fd).writev(buffers, 0).add(own);
    buffers.length = 0;
    own.opcode = Opcode.FTRUNCATE;
    expect(await chain.submit()).toEqual([4, 2]);
    const sqes: Sqe[] = [
      { opcode: Opcode.NOP },
      {
        get opcode() {
          sqes.push({ opcode: Opcode.NOP });
          return Opcode.NOP;
        },
      },
    ];
    expect(await Ring.current().batch(sqes)).toHaveLength(2);
    expect((await readFile(path, "utf8")) as string).toBe("abcdef");
    closeSync(fd);
  });
});

testUnless(backend !== "io_uring" && "no ring", "one listener a signal, whatever is begun with it", async () => {
  const fd = openSync(tmp.file("hello"), "r");
  const { signal } = new AbortController();
  await using handle = await open(tmp.file("hello"), "r");
  using pool = new BufferPool({ size: 4096, count: 1 });
  const lease = await pool.acquire();
  const leases = Array.from({ length: 50 }, () => pool.acquire({ signal }));
  const work = Array.from({ length: 50 }, () => [
    Ring.current().submit({ opcode: Opcode.FSYNC, fd }, { signal }),
    handle.readBatch({ offsets: [0], lengths: 4, into: Buffer.alloc(4), signal }),
  ]);
  expect(getEventListeners(signal, "abort").length).toBe(1);
  await Promise.all(work.flat());
  lease.release();
  for (const next of leases) (await next).release();
  expect(getEventListeners(signal, "abort").length).toBe(0);
  closeSync(fd);
});
