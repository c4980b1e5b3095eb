// Addresses that hold: views that would move, cells that are nobody else's, paths that fit or don't (docs/architecture.md 3.1).
// Assumes a kernel that gives rings, for the shim's memory.

import { read as readMemory } from "bun:ffi";
import { afterAll, describe, expect, test } from "bun:test";
import { stableAddress } from "../../src/kernel/address.ts";
import { addressOf } from "../../src/kernel/shim.ts";
import { isResizable } from "../../src/node/views.ts";
import { READ_BYTES } from "../../src/ring/read-buffer.ts";
import { CELL_BYTES, CELL_HALF, type Cell, ownPath, putPath } from "../../src/ring/scratch.ts";
import { endThread, smallThread } from "../helpers/small-ring.ts";

const t = smallThread();
afterAll(() => endThread(t));

const bytesAt = (address: number, length: number): number[] =>
  Array.from({ length }, (_, i) => readMemory.u8(address as any, i));

describe("stableAddress", () => {
  for (const length of [1, 8, 100, 999, 1000, 1001, 4096])
    test(`of a view of ${length} bytes is where its data stays`, () => {
      const kinds = [new Uint8Array(length), Buffer.alloc(length), new Uint8Array(length + 9).subarray(9)];
      for (const view of kinds) {
        const address = stableAddress(view, 0);
        void view.buffer;
        Bun.gc(true);
        expect(addressOf(view)).toBe(address);
        view[length - 1] = 77;
        expect(readMemory.u8(address as any, length - 1)).toBe(77);
        expect(stableAddress(view, length - 1)).toBe(address + length - 1);
      }
    });
});

test("resizable memory is known as such, also through a view of fixed length", () => {
  const resizable = new ArrayBuffer(8, { maxByteLength: 16 });
  expect(isResizable(new Uint8Array(resizable))).toBe(true);
  expect(isResizable(new Uint8Array(resizable, 0, 4))).toBe(true);
  expect(isResizable(new Uint8Array(8))).toBe(false);
  expect(isResizable(new Uint8Array(new SharedArrayBuffer(8)))).toBe(false);
});

describe("cells", () => {
  test("overlap with no other, and their address is where their bytes are", () => {
    const cells = Array.from({ length: 300 }, () => t.cells.acquire());
    const addresses = cells.map(({ address }) => address).toSorted((a, b) => a - b);
    for (let i = 1; i < addresses.length; i++)
      expect(addresses[i]! - addresses[i - 1]!).toBeGreaterThanOrEqual(CELL_BYTES);
    for (const [i, cell] of cells.entries()) cell.bytes.fill(i & 0xff, cell.offset, cell.offset + CELL_BYTES);
    for (const [i, cell] of cells.entries()) {
      expect(bytesAt(cell.address, 4)).toEqual(Array(4).fill(i & 0xff));
      expect(readMemory.u8((cell.address + CELL_BYTES - 1) as any, 0)).toBe(i & 0xff);
      expect(cell.words[cell.halfWord]).toBe(0x0101_0101 * (i & 0xff));
    }
    for (const cell of cells) t.cells.release(cell);
    expect(t.cells.acquire()).toBe(cells.at(-1)!);
  });
});

describe("putPath", () => {
  const stringAt = (cell: Cell, at: number): string => {
    const bytes = cell.bytes.subarray(cell.offset + at, cell.offset + CELL_BYTES);
    return bytes.toString("utf8", 0, bytes.indexOf(0));
  };
  const cell = t.cells.acquire();
  const paths = ["/", "a", "x".repeat(85), "x".repeat(255), "é".repeat(127), "😀".repeat(63), "€".repeat(85)];

  for (const path of paths)
    test(`keeps ${path.length} units of ${JSON.stringify(path.slice(0, 2))} whole, with a NUL behind, in either half`, () => {
      for (const at of [0, CELL_HALF]) {
        for (const form of [path, Buffer.from(path)]) {
          cell.bytes.fill(0xff, cell.offset, cell.offset + CELL_BYTES);
          expect(putPath(cell, at, form)).toBe(cell.address + at);
          expect(stringAt(cell, at)).toBe(path);
        }
      }
    });

  test("leaves the other half alone", () => {
    cell.bytes.fill(0xaa, cell.offset, cell.offset + CELL_BYTES);
    putPath(cell, 0, "x".repeat(255));
    expect(cell.bytes[cell.offset + CELL_HALF]).toBe(0xaa);
    cell.bytes.fill(0xaa, cell.offset, cell.offset + CELL_BYTES);
    putPath(cell, CELL_HALF, "x".repeat(255));
    expect(cell.bytes[cell.offset + CELL_HALF - 1]).toBe(0xaa);
  });

  for (const path of ["x".repeat(256), "é".repeat(128), "😀".repeat(64), "€".repeat(86)])
    test(`refuses ${Buffer.byteLength(path)} bytes in ${path.length} units, which ownPath takes`, () => {
      for (const form of [path, Buffer.from(path)]) {
        expect(putPath(cell, 0, form)).toBe(-1);
        const memory = ownPath(form);
        const address = stableAddress(memory, 0);
        void memory.buffer;
        expect(addressOf(memory)).toBe(address);
        expect(memory.toString("utf8", 0, memory.indexOf(0))).toBe(path);
      }
    });

  test("takes bytes that are no UTF-8 as they are", () => {
    putPath(cell, 0, Buffer.from([0x2f, 0xff, 0xfe, 0x80]));
    expect(bytesAt(cell.address, 5)).toEqual([0x2f, 0xff, 0xfe, 0x80, 0]);
  });
});

describe("readBuffers", () => {
  test("overlap with no other", () => {
    const readBuffers = Array.from({ length: 20 }, () => t.readBuffers.acquire());
    const addresses = readBuffers.map(({ address }) => address).toSorted((a, b) => a - b);
    for (let i = 1; i < addresses.length; i++)
      expect(addresses[i]! - addresses[i - 1]!).toBeGreaterThanOrEqual(2 * READ_BYTES);
    for (const buffer of readBuffers) t.readBuffers.release(buffer);
  });

  test("give results of their own: what comes into the read buffer later changes none", () => {
    const buffer = t.readBuffers.acquire();
    buffer.bytes.write("héllo wörld");
    const bytes = t.readBuffers.result(buffer, 13, null) as Buffer;
    const text = t.readBuffers.result(buffer, 13, "utf8");
    const hex = t.readBuffers.result(buffer, 2, "hex");
    buffer.bytes.fill(0);
    expect(bytes.toString()).toBe("héllo wörld");
    expect(text).toBe("héllo wörld");
    expect(hex).toBe("68c3");
    expect(bytes.byteLength).toBe(13);
    t.readBuffers.release(buffer);
  });
});
