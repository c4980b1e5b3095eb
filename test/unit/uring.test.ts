// Owns the Ring class: what it refuses before anything is queued, batches of any length, cancellation, memory taken away,
// rings of one's own, polled ones, and that the kernel refuses this package's rings what the package does not use.
// Assumes io_uring; the opcodes one by one are test/contract/ring-opcodes.test.ts.

import { describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { backend, CqeFlag, OPCODE_SINCE, Opcode, open, Ring, type Sqe, SqeFlag, shutdown } from "../../src/index.ts";
import { writeSqe } from "../../src/kernel/sqe.ts";
import { setUp } from "../../src/ring/setup.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const DATA = patternBytes(100_000);

/** A FIFO that nobody writes to: reads of it stay in the kernel. */
function quietFifo(): number {
  const path = tmp.fifo();
  return openSync(path, constants.O_RDWR);
}

async function refusal(promise: Promise<unknown>): Promise<[unknown, string]> {
  try {
    await promise;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return [code, message];
  }
  throw new Error("it was not refused");
}

describeUnless(backend !== "io_uring" && "no ring", "Ring", () => {
  test("is one for each thread, and a new one after shutdown()", async () => {
    expect(Ring.current()).toBe(Ring.current());
    const before = Ring.current();
    await shutdown();
    expect(Ring.current()).not.toBe(before);
    expect((await Ring.current().submit({ opcode: Opcode.NOP })).res).toBe(0);
    expect((await refusal(before.submit({ opcode: Opcode.NOP })))[1]).toContain("closed");
  });

  describe("refuses", () => {
    const buffer = Buffer.alloc(100);
    const cases: [string, unknown, string, string][] = [
      ["an unknown opcode", { opcode: 9 }, "ERR_INVALID_ARG_VALUE", "must be one of Opcode"],
      ["no object", null, "ERR_INVALID_ARG_TYPE", '"sqe"'],
      ["an address", { opcode: Opcode.READ, fd: 0, addr: 4096, buffer }, "ERR_INVALID_ARG_VALUE", "never an address"],
      ["a number as memory", { opcode: Opcode.READ, fd: 0, buffer: 4096 }, "ERR_INVALID_ARG_TYPE", "Buffer"],
      ["a field of another opcode", { opcode: Opcode.READ, fd: 0, buffer, path: "x" }, "ERR_INVALID_ARG_VALUE", "READ"],
      ["a missing field", { opcode: Opcode.WRITE, fd: 0 }, "ERR_INVALID_ARG_VALUE", "must be there for WRITE"],
      [
        "more bytes than the buffer has",
        { opcode: Opcode.READ, fd: 0, buffer, length: 101 },
        "ERR_OUT_OF_RANGE",
        "<= 100",
      ],
      ["a negative offset", { opcode: Opcode.READ, fd: 0, buffer, offset: -2 }, "ERR_OUT_OF_RANGE", "sqe.offset"],
      ["an offset beyond 2^63", { opcode: Opcode.READ, fd: 0, buffer, offset: 2n ** 63n }, "ERR_OUT_OF_RANGE", "2^63"],
      ["a fractional fd", { opcode: Opcode.FSYNC, fd: 1.5 }, "ERR_OUT_OF_RANGE", "sqe.fd"],
      ["BUFFER_SELECT", { opcode: Opcode.NOP, flags: 32 }, "ERR_INVALID_ARG_VALUE", "SqeFlag"],
      ["CQE_SKIP_SUCCESS", { opcode: Opcode.NOP, flags: 64 }, "ERR_INVALID_ARG_VALUE", "SqeFlag"],
      ["a link to a stranger", { opcode: Opcode.NOP, flags: SqeFlag.IO_LINK }, "ERR_INVALID_ARG_VALUE", "last SQE"],
      ["a NUL in a path", { opcode: Opcode.OPENAT, path: "a\0b" }, "ERR_INVALID_ARG_VALUE", "null bytes"],
      [
        "a direct descriptor of others",
        { opcode: Opcode.READ, fd: 3, flags: 1, buffer },
        "ERR_INVALID_ARG_VALUE",
        "acquireDirect",
      ],
      ["closing one of others", { opcode: Opcode.CLOSE, fileIndex: 3 }, "ERR_INVALID_ARG_VALUE", "acquireDirect"],
      [
        "opening into one of others",
        { opcode: Opcode.OPENAT, path: "x", fileIndex: 3 },
        "ERR_INVALID_ARG_VALUE",
        "acquireDirect",
      ],
      ["a close of nothing", { opcode: Opcode.CLOSE }, "ERR_INVALID_ARG_VALUE", "either"],
      ["a close of two", { opcode: Opcode.CLOSE, fd: 4, fileIndex: 4 }, "ERR_INVALID_ARG_VALUE", "either"],
      ["cancelling everything", { opcode: Opcode.ASYNC_CANCEL, fd: 4, opFlags: 4 }, "ERR_INVALID_ARG_VALUE", "0xb"],
      ["cancelling nothing", { opcode: Opcode.ASYNC_CANCEL }, "ERR_INVALID_ARG_VALUE", "either"],
      [
        "a timeout that fires for ever",
        { opcode: Opcode.TIMEOUT, timeoutMs: 1, opFlags: 64 },
        "ERR_INVALID_ARG_VALUE",
        "0x2d",
      ],
      ["a negative timeout", { opcode: Opcode.TIMEOUT, timeoutMs: -1 }, "ERR_OUT_OF_RANGE", "timeoutMs"],
      ["room for half a statx", { opcode: Opcode.STATX, path: "x", buffer }, "ERR_OUT_OF_RANGE", ">= 256"],
      ["no vector", { opcode: Opcode.READV, fd: 0, buffers: buffer }, "ERR_INVALID_ARG_TYPE", "sqe.buffers"],
    ];
    for (const [what, sqe, code, text] of cases)
      test(what, async () => {
        const before = Ring.current().stats.submitted;
        const [given, message] = await refusal(Ring.current().submit(sqe as Sqe));
        expect(given).toBe(code);
        expect(message).toContain(text);
        expect(Ring.current().stats.submitted).toBe(before);
      });

    test("memory that can be resized or is detached", async () => {
      const resizable = new Uint8Array(new ArrayBuffer(100, { maxByteLength: 200 }));
      expect((await refusal(Ring.current().submit({ opcode: Opcode.READ, fd: 0, buffer: resizable })))[1]).toContain(
        "resized",
      );
      const gone = new Uint8Array(100);
      gone.buffer.transfer();
      expect((await refusal(Ring.current().submit({ opcode: Opcode.READ, fd: 0, buffer: gone })))[1]).toContain(
        "detached",
      );
    });

    testUnless(lacking("MKDIRAT", "UNLINKAT"), "a batch as a whole for a mistake in its last SQE", async () => {
      const path = tmp.path();
      const sqes: Sqe[] = [
        { opcode: Opcode.MKDIRAT, path },
        { opcode: Opcode.READ, fd: 0 },
      ];
      const [code] = await refusal(Ring.current().batch(sqes));
      expect(code).toBe("ERR_INVALID_ARG_VALUE");
      await Ring.current().submit({ opcode: Opcode.NOP });
      expect((await Ring.current().submit({ opcode: Opcode.UNLINKAT, path, opFlags: 0x200 })).res).toBe(-2);
    });

    testUnless(lacking("FTRUNCATE"), "an opcode that the probe lacks", async () => {
      await using own = new Ring({ entries: 8 });
      const setup = (await import("../../src/backend/uring/request.ts")).thread().setup;
      expect(setup.opcodes[Opcode.FTRUNCATE]).toBe(1);
      setup.opcodes[Opcode.FTRUNCATE] = 0;
      try {
        const [code, message] = await refusal(Ring.current().submit({ opcode: Opcode.FTRUNCATE, fd: 0, length: 1 }));
        expect(code).toBe("ERR_FEATURE_UNAVAILABLE_ON_PLATFORM");
        expect(message).toContain("IORING_OP_FTRUNCATE (Linux 6.9");
        expect(Ring.current().opcodes.has("FTRUNCATE")).toBe(false);
        expect(own.opcodes.has("FTRUNCATE")).toBe(true);
      } finally {
        setup.opcodes[Opcode.FTRUNCATE] = 1;
      }
    });

    test("a chain longer than the SQ, and takes one that just fits", async () => {
      await using own = new Ring({ entries: 8 });
      expect(own.entries).toBe(8);
      const chain = (length: number): Sqe[] =>
        Array.from({ length }, (_, i) => ({ opcode: Opcode.NOP, flags: i < length - 1 ? SqeFlag.IO_LINK : 0 }));
      expect((await own.batch(chain(8))).map(({ res }) => res)).toEqual(Array(8).fill(0));
      const [code, message] = await refusal(own.batch(chain(9)));
      expect([code, message.includes("<= 8, the entries of this ring's SQ")]).toEqual(["ERR_OUT_OF_RANGE", true]);
    });
  });

  test("batches longer than the SQ and the CQ keep the order of their results", async () => {
    const path = tmp.file(DATA);
    const fd = openSync(path, "r");
    await using own = new Ring({ entries: 8 });
    for (const one of [own, Ring.current()]) {
      const buffers = Array.from({ length: 3000 }, () => Buffer.alloc(4));
      const sqes = buffers.map((buffer, i): Sqe => ({ opcode: Opcode.READ, fd, buffer, offset: i * 7, length: i % 5 }));
      const results = await one.batch(sqes);
      expect(results.map(({ res }) => res)).toEqual(sqes.map((_, i) => i % 5));
      expect(
        buffers.every((buffer, i) => buffer.subarray(0, i % 5).equals(DATA.subarray(i * 7, i * 7 + (i % 5)))),
      ).toBe(true);
    }
    closeSync(fd);
  });

  testUnless(lacking("UNLINKAT"), "batches throw nothing away", async () => {
    const results = await Ring.current().batch([
      { opcode: Opcode.NOP },
      { opcode: Opcode.UNLINKAT, path: tmp.path() },
      { opcode: Opcode.FSYNC, fd: 9999 },
    ]);
    expect(results).toEqual([
      { res: 0, flags: 0 },
      { res: -2, flags: 0 },
      { res: -9, flags: 0 },
    ]);
    expect(await Ring.current().batch([])).toEqual([]);
  });

  test("hands an aborted operation back with AbortError, once the kernel has", async () => {
    const fd = quietFifo();
    const controller = new AbortController();
    const buffer = Buffer.alloc(10);
    const parked = Ring.current().submit({ opcode: Opcode.READ, fd, buffer }, { signal: controller.signal });
    await Bun.sleep(2);
    controller.abort("enough");
    const error = await parked.then(
      () => null,
      (reason) => reason,
    );
    expect([error.name, error.code, error.cause]).toEqual(["AbortError", "ABORT_ERR", "enough"]);
    expect(Ring.current().stats.inFlight).toBe(0);
    const late = Ring.current().submit({ opcode: Opcode.NOP }, { signal: controller.signal });
    expect((await refusal(late))[0]).toBe("ABORT_ERR");
    closeSync(fd);
  });

  test("notices memory that was taken away meanwhile", async () => {
    const fd = openSync(tmp.file(DATA), "r");
    const buffer = new Uint8Array(5000);
    const read = Ring.current().submit({ opcode: Opcode.READ, fd, buffer, flags: SqeFlag.ASYNC });
    const kept = buffer.buffer.transfer();
    expect((await refusal(read))[0]).toBe("ERR_INVALID_STATE");
    expect(kept.byteLength).toBe(5000);
    closeSync(fd);
  });

  test("a handle's operations keep it open until they end", async () => {
    const path = tmp.fifo();
    const handle = await open(path, constants.O_RDWR);
    const buffer = Buffer.alloc(3);
    const read = Ring.current().submit({ opcode: Opcode.READ, fd: handle, buffer });
    let closed = false;
    const close = handle.close().then(() => {
      closed = true;
    });
    await Bun.sleep(5);
    expect(closed).toBe(false);
    const writer = openSync(path, constants.O_WRONLY);
    writeSync(writer, "abc");
    expect([(await read).res, buffer.toString()]).toEqual([3, "abc"]);
    await close;
    closeSync(writer);
    expect((await refusal(Ring.current().submit({ opcode: Opcode.READ, fd: handle, buffer })))[0]).toBe("EBADF");
  });

  testUnless(lacking("direct descriptors"), "lends direct descriptors, at most half of them", async () => {
    const slots = await Promise.all(Array.from({ length: 128 }, () => Ring.current().acquireDirect()));
    expect(new Set(slots).size).toBe(128);
    expect((await refusal(Ring.current().acquireDirect()))[0]).toBe("ENFILE");
    await Promise.all(slots.map((slot) => Ring.current().releaseDirect(slot)));
    expect((await refusal(Ring.current().releaseDirect(slots[0]!)))[0]).toBe("EBADF");
    await Ring.current().releaseDirect(await Ring.current().acquireDirect());
    await Ring.current().giveSlot(await Ring.current().takeSlot()); // their old names, which programs use
    Ring.current().setWorkers(Ring.current().workers); // not others: this is the ring of all test files
  });

  test("a ring of one's own closes, the shared one does not", async () => {
    const own = new Ring({ entries: 16 });
    const pending = own.submit({ opcode: Opcode.TIMEOUT, timeoutMs: 10 });
    await own.close();
    expect((await pending).res).toBe(-62);
    expect((await refusal(own.submit({ opcode: Opcode.NOP })))[1]).toContain("closed");
    expect((await refusal(Ring.current().close()))[1]).toContain("shutdown()");
    expect(() => new Ring({ entries: 0 })).toThrow("options.entries");
  });

  test("polled I/O is refused, and said so", () => {
    const options = { iopoll: true } as object;
    expect(() => new Ring(options)).toThrow("options.iopoll is unavailable");
  });

  testUnless(
    lacking("restrictions"),
    "the kernel refuses a ring of this package what the package does not use",
    async () => {
      const setup = setUp();
      if (!("ring" in setup)) throw new Error(setup.message);
      const { ring: raw } = setup;
      expect(setup.restricted).toBe(true);
      const SENDMSG = 9;
      const CONNECT = 16;
      const SHUTDOWN = 34;
      const EACCES = -13;
      const EINVAL = -22; // what it does not know
      const results: number[] = [];
      for (const opcode of [SENDMSG, CONNECT, SHUTDOWN, Opcode.NOP]) {
        const operation = raw.acquire((done, res) => {
          results.push(res);
          raw.operations.release(done);
        }, 1);
        const word = raw.next();
        writeSqe(raw.words, word, opcode, 0, 0, 0, 0, 0, 0, operation.slot, operation.generation);
        while (raw.inFlight + raw.queued > 0) raw.turn(4);
      }
      const flagged = raw.acquire((done, res) => {
        results.push(res);
        raw.operations.release(done);
      }, 1);
      const CQE_SKIP_SUCCESS = 64;
      writeSqe(raw.words, raw.next(), Opcode.NOP, CQE_SKIP_SUCCESS, 0, 0, 0, 0, 0, flagged.slot, flagged.generation);
      while (raw.inFlight + raw.queued > 0) raw.turn(4);
      expect(results).toEqual([EACCES, EACCES, setup.opcodes[SHUTDOWN] === 1 ? EACCES : EINVAL, 0, EACCES]);
      raw.close(100);
    },
  );
});

test("constants are the kernel's, each with its kernel", () => {
  expect([SqeFlag.ASYNC, CqeFlag.MORE, Opcode.FTRUNCATE]).toEqual([16, 2, 55]);
  expect(Object.keys(OPCODE_SINCE)).toEqual(Object.keys(Opcode));
  expect([OPCODE_SINCE.NOP, OPCODE_SINCE.FTRUNCATE]).toEqual(["5.1", "6.9"]);
});
