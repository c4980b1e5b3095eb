// Owns the rest of FileHandle's own calls: stat, truncate, sync, datasync, close, asyncDispose, the close event.
// Assumes nothing of the handle's class but that it is an EventEmitter.
// Never waits by time: what must come later is awaited.

import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { EventEmitter } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectClosed, expectSystemError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();

  it("stat gives the numbers of stat(2), and bigint ones on request", async () => {
    const path = tmp.file("12345");
    await using handle = await fs.open(path);
    const { ino, size, mode } = statSync(path);
    expect(await handle.stat()).toMatchObject({ ino, size: 5, mode });
    expect(size).toBe(5);
    const big = await handle.stat({ bigint: true });
    expect(big.ino).toBe(BigInt(ino));
    expect(big.size).toBe(5n);
  });

  it("stat sees what was written through the handle", async () => {
    await using handle = await fs.open(tmp.path(), "w");
    await handle.write("abc");
    expect((await handle.stat()).size).toBe(3);
    await handle.truncate(10);
    expect((await handle.stat()).size).toBe(10);
  });

  it("truncate shortens, lengthens with zeros, and is 0 by default", async () => {
    const path = tmp.file("0123456789");
    await using handle = await fs.open(path, "r+");
    expect(await handle.truncate(4)).toBeUndefined();
    expect(readFileSync(path, "latin1")).toBe("0123");
    await handle.truncate(6);
    expect(readFileSync(path, "latin1")).toBe("0123\0\0");
    await handle.truncate();
    expect(readFileSync(path, "latin1")).toBe("");
  });

  it("truncate takes a negative length as 0", async () => {
    const path = tmp.file("0123456789");
    await using handle = await fs.open(path, "r+");
    await handle.truncate(-5);
    expect(readFileSync(path, "latin1")).toBe("");
  });

  it("truncate works beyond 4 GiB", async () => {
    await using handle = await fs.open(tmp.path(), "w");
    await handle.truncate(2 ** 32 + 5);
    expect((await handle.stat()).size).toBe(2 ** 32 + 5);
  });

  it("truncate fails like ftruncate(2)", async () => {
    await using readOnly = await fs.open(tmp.file("x"));
    await expectSystemError(readOnly.truncate(0), { code: "EINVAL", syscall: "ftruncate" });
    await using handle = await fs.open(tmp.file("x"), "r+");
    await expectSystemError(handle.truncate(Number.MAX_SAFE_INTEGER), { code: "EFBIG", syscall: "ftruncate" });
  });

  const LEN = 'The "len" argument must be of type number. Received';
  const badLengths: [value: any, code: any, message: string][] = [
    ["5", "ERR_INVALID_ARG_TYPE", `${LEN} type string ('5')`],
    [2n, "ERR_INVALID_ARG_TYPE", `${LEN} type bigint (2n)`],
    [null, "ERR_INVALID_ARG_TYPE", `${LEN} null`],
    [{}, "ERR_INVALID_ARG_TYPE", `${LEN} an instance of Object`],
    [1.5, "ERR_OUT_OF_RANGE", 'The value of "len" is out of range. It must be an integer. Received 1.5'],
    [Number.NaN, "ERR_OUT_OF_RANGE", 'The value of "len" is out of range. It must be an integer. Received NaN'],
  ];
  for (const [value, code, message] of badLengths) {
    it(`truncate refuses ${String(value)} (${typeof value})`, async () => {
      const path = tmp.file("abc");
      await using handle = await fs.open(path, "r+");
      await expectArgumentError(() => handle.truncate(value), code, message);
      expect(readFileSync(path, "latin1")).toBe("abc");
    });
  }

  it("sync and datasync resolve to undefined", async () => {
    await using handle = await fs.open(tmp.path(), "w");
    await handle.write("abc");
    expect(await handle.sync()).toBeUndefined();
    expect(await handle.datasync()).toBeUndefined();
  });

  it("sync and datasync fail where the kernel cannot", async () => {
    await using handle = await fs.open("/dev/null", "r+");
    await expectSystemError(handle.sync(), { code: "EINVAL", syscall: "fsync" });
    await expectSystemError(handle.datasync(), { code: "EINVAL", syscall: "fdatasync" });
  });

  it("close resolves to undefined, once and again", async () => {
    const handle = await fs.open(tmp.file());
    expect(await handle.close()).toBeUndefined();
    expect(await handle.close()).toBeUndefined();
    const other = await fs.open(tmp.file());
    expect(await Promise.all([other.close(), other.close(), other.close()])).toEqual([undefined, undefined, undefined]);
  });

  it("close waits for the operations in flight, and each has its own file's bytes", async () => {
    const data = patternBytes(1 << 20);
    const path = tmp.file(data);
    const others = Array.from({ length: 100 }, (_, i) => tmp.file(Buffer.alloc(4096, i)));
    const handle = await fs.open(path);
    const reads = Array.from({ length: 100 }, (_, i) => handle.read(Buffer.alloc(4096), 0, 4096, i * 4096));
    const closed = handle.close();
    const opened = await Promise.all(others.map((other) => fs.open(other)));
    for (const [i, { bytesRead, buffer }] of (await Promise.all(reads)).entries()) {
      expect(bytesRead).toBe(4096);
      expect(buffer.equals(data.subarray(i * 4096, (i + 1) * 4096))).toBe(true);
    }
    await closed;
    await Promise.all(opened.map((other) => other.close()));
  });

  it("close waits for a write in flight", async () => {
    const path = tmp.path();
    const data = patternBytes(4 << 20);
    const handle = await fs.open(path, "w");
    const write = handle.write(data);
    await handle.close();
    expect(readFileSync(path).equals(data)).toBe(true);
    expect((await write).bytesWritten).toBe(data.length);
  });

  it("asyncDispose closes", async () => {
    const handle = await fs.open(tmp.file());
    await handle[Symbol.asyncDispose]();
    expect(handle.fd).toBe(-1);
    let kept: { fd: number } | undefined;
    {
      await using scoped = await fs.open(tmp.file());
      kept = scoped;
      expect(scoped.fd).toBeGreaterThan(0);
    }
    expect(kept.fd).toBe(-1);
  });

  it("is an EventEmitter that says 'close' once", async () => {
    const handle: any = await fs.open(tmp.file());
    expect(handle).toBeInstanceOf(EventEmitter);
    let closes = 0;
    handle.on("close", () => closes++);
    await handle.close();
    await handle.close();
    expect(closes).toBe(1);
  });

  it("leaves no descriptor open after close", async () => {
    const handles = await Promise.all(Array.from({ length: 20 }, () => fs.open(tmp.file())));
    await Promise.all(handles.map((handle) => handle.close()));
    expect(tmp.openFiles()).toEqual([]);
  });

  it("a file just written and closed can be executed", async () => {
    // ETXTBSY would mean that close() resolved before the kernel let the file go.
    for (let i = 0; i < 10; i++) {
      const path = tmp.path("script");
      const handle = await fs.open(path, "w", 0o755);
      await handle.write("#!/bin/sh\nexit 7\n");
      await handle.close();
      expect(spawnSync(path).status).toBe(7);
    }
  });

  const onClosed: [call: string, args: any[], syscall: string][] = [
    ["stat", [], "fstat"],
    ["truncate", [1], "ftruncate"],
    ["sync", [], "fsync"],
    ["datasync", [], "fdatasync"],
    ["chmod", [0o644], "fchmod"],
    ["chown", [0, 0], "fchown"],
    ["utimes", [0, 0], "futimes"],
    ["readFile", [], "readFile"],
    ["writeFile", ["x"], "writeFile"],
    ["appendFile", ["x"], "writeFile"],
  ];
  for (const [call, args, syscall] of onClosed) {
    it(`${call} on a closed handle fails with 'file closed'`, async () => {
      const handle: any = await fs.open(tmp.file(), "r+");
      await handle.close();
      await expectClosed(() => handle[call](...args), syscall);
    });
  }
}, "handle-stat-truncate-sync-close");
