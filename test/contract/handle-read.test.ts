// Owns FileHandle.read: its three call forms, positions, bounds and refusals.
// Assumes bytes that differ along the file, so that a wrong offset shows.
// Never covers readv, readFile or streams; they have their own files.

import { expect } from "bun:test";
import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectClosed, expectSystemError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const DATA = patternBytes(100_000);

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const withHandle = async (body: (handle: FileHandle) => Promise<void>, content: Uint8Array | string = DATA) => {
    await using handle = await fs.open(tmp.file(content), "r+");
    await body(handle);
  };

  it("fills the buffer from a position and says how much", () =>
    withHandle(async (handle) => {
      const buffer = Buffer.alloc(1000);
      const result = await handle.read(buffer, 0, 1000, 4321);
      expect(result.bytesRead).toBe(1000);
      expect(result.buffer).toBe(buffer);
      expect(Object.keys(result).sort()).toEqual(["buffer", "bytesRead"]);
      expect(buffer.equals(DATA.subarray(4321, 5321))).toBe(true);
    }));

  it("writes only inside offset and length", () =>
    withHandle(async (handle) => {
      const buffer = Buffer.alloc(20, 0xaa);
      expect((await handle.read(buffer, 5, 10, 50)).bytesRead).toBe(10);
      expect(buffer.subarray(5, 15).equals(DATA.subarray(50, 60))).toBe(true);
      expect([...buffer.subarray(0, 5), ...buffer.subarray(15)]).toEqual(Array(10).fill(0xaa));
    }));

  it("without arguments reads 16384 bytes into a buffer of its own", () =>
    withHandle(async (handle) => {
      const { bytesRead, buffer } = await handle.read();
      expect(Buffer.isBuffer(buffer)).toBe(true);
      expect(buffer.byteLength).toBe(16384);
      expect(bytesRead).toBe(16384);
      expect(Buffer.from(buffer).equals(DATA.subarray(0, 16384))).toBe(true);
    }));

  it("takes an options object, alone and after the buffer, and null for it", () =>
    withHandle(async (handle) => {
      const mine = Buffer.alloc(10);
      const alone = await handle.read({ buffer: mine, offset: 2, length: 3, position: 70 });
      expect(alone.bytesRead).toBe(3);
      expect(alone.buffer).toBe(mine);
      expect(mine.subarray(2, 5).equals(DATA.subarray(70, 73))).toBe(true);
      const after = await handle.read(mine, { offset: 5, length: 5, position: 90 });
      expect(after.bytesRead).toBe(5);
      expect(mine.subarray(5).equals(DATA.subarray(90, 95))).toBe(true);
      expect((await handle.read({ position: 99_990 })).bytesRead).toBe(10);
      expect((await handle.read(mine, null as any)).bytesRead).toBe(10);
      expect((await handle.read(null as any)).bytesRead).toBe(16384);
    }));

  it("reads from offset to the end of the buffer when no length is given", () =>
    withHandle(async (handle) => {
      const buffer = Buffer.alloc(10);
      expect((await handle.read(buffer, 4)).bytesRead).toBe(6);
      expect((await handle.read(buffer, { offset: 7 })).bytesRead).toBe(3);
      expect((await handle.read(buffer, null, null, 0)).bytesRead).toBe(10);
      expect((await handle.read(buffer, undefined, undefined, 0)).bytesRead).toBe(10);
    }));

  it("null, undefined and -1 use the file's own position and advance it", () =>
    withHandle(async (handle) => {
      const seen: Buffer[] = [];
      for (const position of [null, undefined, -1, -1n, null]) {
        const { buffer } = await handle.read(Buffer.alloc(7), 0, 7, position);
        seen.push(buffer);
      }
      expect(Buffer.concat(seen).equals(DATA.subarray(0, 35))).toBe(true);
    }));

  it("a number or bigint position leaves the file's own position alone", () =>
    withHandle(async (handle) => {
      await handle.read(Buffer.alloc(3));
      await handle.read(Buffer.alloc(3), 0, 3, 500);
      const big = await handle.read(Buffer.alloc(3), 0, 3, 600n);
      expect(big.buffer.equals(DATA.subarray(600, 603))).toBe(true);
      const { buffer } = await handle.read(Buffer.alloc(3));
      expect(buffer.equals(DATA.subarray(3, 6))).toBe(true);
    }));

  it("reads with a shared position and without awaiting come in the order of the calls", () =>
    withHandle(async (handle) => {
      const results = await Promise.all(Array.from({ length: 50 }, () => handle.read(Buffer.alloc(100))));
      expect(Buffer.concat(results.map(({ buffer }) => buffer)).equals(DATA.subarray(0, 5000))).toBe(true);
    }));

  it("reads a short count at the end, and 0 beyond it", () =>
    withHandle(async (handle) => {
      const buffer = Buffer.alloc(100);
      expect((await handle.read(buffer, 0, 100, 99_950)).bytesRead).toBe(50);
      expect((await handle.read(buffer, 0, 100, 100_000)).bytesRead).toBe(0);
      expect((await handle.read(buffer, 0, 100, 2 ** 40)).bytesRead).toBe(0);
      expect((await handle.read(buffer, 0, 1, Number.MAX_SAFE_INTEGER)).bytesRead).toBe(0);
      expect((await handle.read(buffer, 0, 1, 2n ** 53n + 1n)).bytesRead).toBe(0);
    }));

  it("reads nothing for length 0, wherever the offset is", () =>
    withHandle(async (handle) => {
      const buffer = Buffer.alloc(10, 7);
      for (const offset of [0, 5, 10]) expect((await handle.read(buffer, offset, 0, 0)).bytesRead).toBe(0);
      expect((await handle.read(buffer, 10)).bytesRead).toBe(0);
      const empty = Buffer.alloc(0);
      const result = await handle.read(empty);
      expect(result.bytesRead).toBe(0);
      expect(result.buffer).toBe(empty);
      expect((await handle.read(empty, 0, 0)).bytesRead).toBe(0);
      expect([...buffer]).toEqual(Array(10).fill(7));
    }));

  it("counts bytes, not elements, in every kind of view", () =>
    withHandle(async (handle) => {
      const views = [
        new Uint8Array(16),
        new Uint8ClampedArray(16),
        new Int8Array(16),
        new Uint16Array(8),
        new Int32Array(4),
        new Float32Array(4),
        new Float64Array(2),
        new BigUint64Array(2),
        new DataView(new ArrayBuffer(16)),
      ];
      for (const view of views) {
        const result = await handle.read(view as any, 3, 13, 200);
        expect(result.bytesRead).toBe(13);
        expect(result.buffer).toBe(view as any);
        const bytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
        expect(bytes.subarray(0, 3).equals(Buffer.alloc(3))).toBe(true);
        expect(bytes.subarray(3).equals(DATA.subarray(200, 213))).toBe(true);
      }
    }));

  it("fills a view in the middle of its ArrayBuffer and nothing around it", () =>
    withHandle(async (handle) => {
      const memory = new ArrayBuffer(64);
      await handle.read(new Uint8Array(memory, 20, 10), 0, 10, 0);
      const bytes = Buffer.from(memory);
      expect(bytes.subarray(20, 30).equals(DATA.subarray(0, 10))).toBe(true);
      expect(bytes.subarray(0, 20).equals(Buffer.alloc(20))).toBe(true);
      expect(bytes.subarray(30).equals(Buffer.alloc(34))).toBe(true);
    }));

  it("a small view whose .buffer is touched right after the call receives its bytes", () =>
    withHandle(async (handle) => {
      // Small typed arrays move when .buffer is first read; the address the kernel has must not be the old one.
      for (const length of [1, 16, 100, 1000, 1001]) {
        const view = new Uint8Array(length);
        const read = handle.read(view, 0, length, 10);
        const memory = view.buffer;
        await read;
        expect(Buffer.from(memory).equals(DATA.subarray(10, 10 + length))).toBe(true);
      }
    }));

  it("reads into a SharedArrayBuffer", () =>
    withHandle(async (handle) => {
      const shared = new Uint8Array(new SharedArrayBuffer(32));
      await handle.read(shared, 0, 32, 5);
      expect(Buffer.from(shared).equals(DATA.subarray(5, 37))).toBe(true);
    }));

  it("reads into a resizable ArrayBuffer", () =>
    withHandle(async (handle) => {
      const view = new Uint8Array(new ArrayBuffer(32, { maxByteLength: 64 }));
      await handle.read(view, 0, 32, 5);
      expect(Buffer.from(view).equals(DATA.subarray(5, 37))).toBe(true);
    }));

  it("gives 200 reads in one turn each their own bytes", () =>
    withHandle(async (handle) => {
      const reads = Array.from({ length: 200 }, (_, i) => handle.read(Buffer.alloc(64), 0, 64, i * 480));
      for (const [i, { bytesRead, buffer }] of (await Promise.all(reads)).entries()) {
        expect(bytesRead).toBe(64);
        expect(buffer.equals(DATA.subarray(i * 480, i * 480 + 64))).toBe(true);
      }
    }));

  it("reads 8 MiB in one call", () => {
    const big = patternBytes(8 << 20, 3);
    return withHandle(async (handle) => {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(big.length + 10), 0, big.length + 10, 0);
      expect(bytesRead).toBe(big.length);
      expect(buffer.subarray(0, big.length).equals(big)).toBe(true);
    }, big);
  });

  it("reads beyond 4 GiB of a sparse file", async () => {
    const path = tmp.path("sparse");
    const fd = openSync(path, "w");
    ftruncateSync(fd, 2 ** 33);
    writeSync(fd, "far", 2 ** 32 + 7);
    closeSync(fd);
    await using handle = await fs.open(path);
    expect((await handle.read(Buffer.alloc(5), 0, 5, 2 ** 32 + 6)).buffer.toString()).toBe("\0far\0");
    expect((await handle.read(Buffer.alloc(3), 0, 3, 2n ** 32n + 7n)).buffer.toString()).toBe("far");
  });

  it("reads a file that was unlinked", async () => {
    const path = tmp.file("still here");
    await using handle = await fs.open(path);
    unlinkSync(path);
    expect((await handle.read(Buffer.alloc(10))).buffer.toString()).toBe("still here");
  });

  it("fails like read(2), without a path", async () => {
    await using writeOnly = await fs.open(tmp.path(), "w");
    await expectSystemError(writeOnly.read(Buffer.alloc(4)), { code: "EBADF", syscall: "read" });
    await using folder = await fs.open(tmp.folder());
    await expectSystemError(folder.read(Buffer.alloc(4)), { code: "EISDIR", syscall: "read" });
  });

  it("on a closed handle fails with 'file closed'", async () => {
    const handle = await fs.open(tmp.file());
    await handle.close();
    await expectClosed(handle.read(Buffer.alloc(1)), "read");
  });

  const OFFSET = 'The value of "offset" is out of range. It must be';
  const LENGTH = 'The value of "length" is out of range. It must be';
  const POSITION = 'The value of "position" is out of range. It must be';
  const NUMBER_MAX = ">= -1 && <= 9007199254740991";
  const BIGINT_MAX = ">= -1 && <= 9223372036854775806";
  const POSITION_TYPE = 'The "position" argument must be of type bigint or integer. Received';
  const b = Buffer.alloc(10);
  const invalid: [title: string, args: any[], code: any, message: string][] = [
    ["offset -1", [b, -1], "ERR_OUT_OF_RANGE", `${OFFSET} >= 0 && <= 9007199254740991. Received -1`],
    ["offset 1.5", [b, 1.5], "ERR_OUT_OF_RANGE", `${OFFSET} an integer. Received 1.5`],
    [
      "offset '1'",
      [b, "1"],
      "ERR_INVALID_ARG_TYPE",
      `The "offset" argument must be of type number. Received type string ('1')`,
    ],
    ["offset beyond the buffer", [b, 11], "ERR_OUT_OF_RANGE", `${LENGTH} >= 0. Received -1`],
    ["offset beyond the buffer and a length", [b, 11, 1], "ERR_OUT_OF_RANGE", `${LENGTH} <= -1. Received 1`],
    ["length beyond the buffer", [b, 0, 11], "ERR_OUT_OF_RANGE", `${LENGTH} <= 10. Received 11`],
    ["length beyond what offset leaves", [b, 4, 7], "ERR_OUT_OF_RANGE", `${LENGTH} <= 6. Received 7`],
    ["length -1", [b, 0, -1], "ERR_OUT_OF_RANGE", `${LENGTH} >= 0. Received -1`],
    ["length beyond a view's bytes", [new Uint16Array(4), 0, 9], "ERR_OUT_OF_RANGE", `${LENGTH} <= 8. Received 9`],
    ["options.length beyond the buffer", [b, { length: 11 }], "ERR_OUT_OF_RANGE", `${LENGTH} <= 10. Received 11`],
    ["position -2", [b, 0, 1, -2], "ERR_OUT_OF_RANGE", `${POSITION} ${NUMBER_MAX}. Received -2`],
    ["position 1.5", [b, 0, 1, 1.5], "ERR_OUT_OF_RANGE", `${POSITION} an integer. Received 1.5`],
    ["position NaN", [b, 0, 1, Number.NaN], "ERR_OUT_OF_RANGE", `${POSITION} an integer. Received NaN`],
    [
      "position 2^53",
      [b, 0, 1, 2 ** 53],
      "ERR_OUT_OF_RANGE",
      `${POSITION} ${NUMBER_MAX}. Received 9_007_199_254_740_992`,
    ],
    ["position -2n", [b, 0, 1, -2n], "ERR_OUT_OF_RANGE", `${POSITION} ${BIGINT_MAX}. Received -2n`],
    [
      "position 2n ** 63n",
      [b, 0, 1, 2n ** 63n],
      "ERR_OUT_OF_RANGE",
      `${POSITION} ${BIGINT_MAX}. Received 9_223_372_036_854_775_808n`,
    ],
    ["position '1'", [b, 0, 1, "1"], "ERR_INVALID_ARG_TYPE", `${POSITION_TYPE} type string ('1')`],
    ["position true", [b, 0, 1, true], "ERR_INVALID_ARG_TYPE", `${POSITION_TYPE} type boolean (true)`],
    ["options.position '1'", [b, { position: "1" }], "ERR_INVALID_ARG_TYPE", `${POSITION_TYPE} type string ('1')`],
    [
      "an empty buffer with a length",
      [Buffer.alloc(0), 0, 1],
      "ERR_INVALID_ARG_VALUE",
      "The argument 'buffer' is empty and cannot be written. Received <Buffer >",
    ],
    [
      "a string in place of the buffer",
      ["abc"],
      "ERR_INVALID_ARG_TYPE",
      `The "options" argument must be of type object. Received type string ('abc')`,
    ],
    [
      "a number in place of the buffer",
      [1],
      "ERR_INVALID_ARG_TYPE",
      'The "options" argument must be of type object. Received type number (1)',
    ],
    [
      "an options.buffer that is no view",
      [{ buffer: "abc" }],
      "ERR_INVALID_ARG_TYPE",
      `The "buffer" argument must be an instance of Buffer, TypedArray, or DataView. Received type string ('abc')`,
    ],
  ];
  for (const [title, args, code, message] of invalid) {
    it(`refuses ${title}`, () =>
      withHandle(async (handle) => {
        await expectArgumentError(() => (handle.read as any)(...args), code, message);
        // Nothing was queued: the file's own position has not moved.
        expect((await handle.read(Buffer.alloc(4))).buffer.equals(DATA.subarray(0, 4))).toBe(true);
      }));
  }
}, "handle-read");
