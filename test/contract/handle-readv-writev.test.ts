// Owns FileHandle.readv and writev: scatter and gather, positions, partial ends, refusals.
// Assumes the file is checked with node:fs's synchronous calls.
// Never covers single-buffer read and write.

import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectClosed, expectSystemError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const DATA = patternBytes(50_000);

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();

  it("readv fills the buffers one after another", async () => {
    await using handle = await fs.open(tmp.file(DATA));
    const buffers = [Buffer.alloc(10), new Uint16Array(5), new DataView(new ArrayBuffer(7)), Buffer.alloc(100)];
    const result = await handle.readv(buffers, 33);
    expect(result.bytesRead).toBe(127);
    expect(result.buffers).toBe(buffers);
    expect(Object.keys(result).sort()).toEqual(["buffers", "bytesRead"]);
    const bytes = Buffer.concat(buffers.map((view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength)));
    expect(bytes.equals(DATA.subarray(33, 160))).toBe(true);
  });

  it("readv without a number uses the file's own position and advances it", async () => {
    await using handle = await fs.open(tmp.file(DATA));
    const parts: Buffer[] = [];
    for (const position of [undefined, null, "9", 9n, -1] as any[]) {
      const { buffers, bytesRead } = await handle.readv([Buffer.alloc(3), Buffer.alloc(4)], position);
      expect(bytesRead).toBe(7);
      parts.push(...buffers);
    }
    expect(Buffer.concat(parts).equals(DATA.subarray(0, 35))).toBe(true);
  });

  it("readv at a position leaves the file's own alone", async () => {
    await using handle = await fs.open(tmp.file(DATA));
    await handle.readv([Buffer.alloc(5)], 1000);
    const { buffers } = await handle.readv([Buffer.alloc(5)]);
    expect(buffers[0]!.equals(DATA.subarray(0, 5))).toBe(true);
  });

  it("readv stops at the end of the file", async () => {
    await using handle = await fs.open(tmp.file("12345"));
    const buffers = [Buffer.alloc(3, "."), Buffer.alloc(4, "."), Buffer.alloc(2, ".")];
    expect((await handle.readv(buffers, 0)).bytesRead).toBe(5);
    expect(Buffer.concat(buffers).toString()).toBe("12345....");
    expect((await handle.readv(buffers, 5)).bytesRead).toBe(0);
  });

  it("readv reads past empty buffers, and nothing into only empty ones", async () => {
    await using handle = await fs.open(tmp.file("abcdef"));
    const buffers = [Buffer.alloc(0), Buffer.alloc(2), Buffer.alloc(0), Buffer.alloc(2)];
    expect((await handle.readv(buffers, 0)).bytesRead).toBe(4);
    expect(Buffer.concat(buffers).toString()).toBe("abcd");
    expect((await handle.readv([Buffer.alloc(0)], 0)).bytesRead).toBe(0);
  });

  it("readv takes more buffers than one system call does", async () => {
    await using handle = await fs.open(tmp.file(DATA));
    // IOV_MAX is 1024 on Linux; the kernel refuses a longer vector.
    const buffers = Array.from({ length: 1024 }, () => Buffer.alloc(3));
    expect((await handle.readv(buffers, 0)).bytesRead).toBe(3072);
    expect(Buffer.concat(buffers).equals(DATA.subarray(0, 3072))).toBe(true);
  });

  it("readv of no buffers fails as readv(2) in Node does", async () => {
    await using handle = await fs.open(tmp.file("x"));
    await expectSystemError(handle.readv([]), { code: "EINVAL", syscall: "read" });
  });

  it("writev writes the buffers one after another", async () => {
    const path = tmp.path();
    await using handle = await fs.open(path, "w");
    const buffers = [Buffer.from("ab"), new Uint16Array([0x4241]), Buffer.alloc(0), new DataView(new ArrayBuffer(1))];
    const result = await handle.writev(buffers);
    expect(result.bytesWritten).toBe(5);
    expect(result.buffers).toBe(buffers);
    expect(Object.keys(result).sort()).toEqual(["buffers", "bytesWritten"]);
    expect(readFileSync(path, "latin1")).toBe("abAB\0");
  });

  it("writev without a number uses the file's own position; a number leaves it alone", async () => {
    const path = tmp.file("..........");
    await using handle = await fs.open(path, "r+");
    await handle.writev([Buffer.from("a")]);
    await handle.writev([Buffer.from("X"), Buffer.from("Y")], 6);
    await handle.writev([Buffer.from("b")], null as any);
    await handle.writev([Buffer.from("c")], "3" as any);
    expect(readFileSync(path, "latin1")).toBe("abc...XY..");
  });

  it("writev of no buffers and of empty ones writes nothing", async () => {
    const path = tmp.file("old");
    await using handle = await fs.open(path, "r+");
    const none: Buffer[] = [];
    const result = await handle.writev(none);
    expect(result.bytesWritten).toBe(0);
    expect(result.buffers).toBe(none);
    expect((await handle.writev([Buffer.alloc(0), Buffer.alloc(0)])).bytesWritten).toBe(0);
    expect(readFileSync(path, "latin1")).toBe("old");
  });

  it("writev appends on an 'a' handle, whatever the position", async () => {
    const path = tmp.file("old");
    await using handle = await fs.open(path, "a");
    await handle.writev([Buffer.from("1"), Buffer.from("2")], 0);
    expect(readFileSync(path, "latin1")).toBe("old12");
  });

  it("writev takes 1024 buffers and big ones", async () => {
    const path = tmp.path();
    await using handle = await fs.open(path, "w");
    const small = Array.from({ length: 1024 }, (_, i) => DATA.subarray(i * 3, i * 3 + 3));
    expect((await handle.writev(small, 0)).bytesWritten).toBe(3072);
    const big = [patternBytes(3 << 20, 2), patternBytes(1 << 20, 4)];
    expect((await handle.writev(big, 3072)).bytesWritten).toBe(4 << 20);
    expect(readFileSync(path).equals(Buffer.concat([...small, ...big]))).toBe(true);
  });

  it("both fail like the system calls, without a path", async () => {
    await using readOnly = await fs.open(tmp.file("x"));
    await using writeOnly = await fs.open(tmp.path(), "w");
    await expectSystemError(readOnly.writev([Buffer.from("x")]), { code: "EBADF", syscall: "write" });
    await expectSystemError(writeOnly.readv([Buffer.alloc(1)]), { code: "EBADF", syscall: "read" });
  });

  it("both fail on a closed handle with 'file closed'", async () => {
    const handle = await fs.open(tmp.file("x"), "r+");
    await handle.close();
    await expectClosed(handle.readv([Buffer.alloc(1)]), "readv");
    await expectClosed(handle.writev([Buffer.alloc(1)]), "writev");
  });

  const WANTED = 'The "buffers" argument must be an ArrayBufferView[]. Received';
  const invalid: [title: string, buffers: any, received: string][] = [
    ["nothing", undefined, "undefined"],
    ["a string", "x", "type string ('x')"],
    ["an array of numbers", [1], "an instance of Array"],
    ["an array with one string", [Buffer.alloc(1), "x"], "an instance of Array"],
    ["an array-like object", { length: 1, 0: Buffer.alloc(1) }, "an instance of Object"],
    ["a buffer", Buffer.alloc(1), "an instance of Buffer"],
  ];
  for (const [title, buffers, received] of invalid) {
    it(`readv and writev refuse ${title}`, async () => {
      await using handle = await fs.open(tmp.file("x"), "r+");
      await expectArgumentError(() => handle.readv(buffers), "ERR_INVALID_ARG_TYPE", `${WANTED} ${received}`);
      await expectArgumentError(() => handle.writev(buffers), "ERR_INVALID_ARG_TYPE", `${WANTED} ${received}`);
    });
  }
}, "handle-readv-writev");
