// Owns FileHandle.readFile, writeFile and appendFile, and the functions of the same name given a FileHandle.
// Assumes results are read back with node:fs's synchronous calls.
// Never closes the handle it was given: neither does the API.

import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectAbortError, expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const text = (path: string): string => readFileSync(path, "latin1");

  it("readFile reads from the current position to the end and leaves the position there", async () => {
    const data = patternBytes(300_000);
    await using handle = await fs.open(tmp.file(data));
    await handle.read(Buffer.alloc(1000));
    expect((await handle.readFile()).equals(data.subarray(1000))).toBe(true);
    expect((await handle.readFile()).length).toBe(0);
  });

  it("readFile takes an encoding, and options", async () => {
    const path = tmp.file("hä");
    for (const [options, expected] of [
      ["utf8", "hä"],
      [{ encoding: "hex" }, "68c3a4"],
      ["latin1", "h\xc3\xa4"],
    ] as any[]) {
      await using handle = await fs.open(path);
      expect(await handle.readFile(options)).toBe(expected);
    }
    await using handle = await fs.open(path);
    expect(Buffer.isBuffer(await handle.readFile(null))).toBe(true);
  });

  it("readFile reads into a buffer of the caller", async () => {
    await using handle = await fs.open(tmp.file("hello world"));
    const buffer = Buffer.alloc(16, ".");
    const result = await handle.readFile({ buffer } as any);
    expect(result.toString()).toBe("hello world");
    expect(result.buffer).toBe(buffer.buffer);
    await using small = await fs.open(tmp.file("hello world"));
    await expectArgumentError(
      small.readFile({ buffer: Buffer.alloc(3) } as any),
      "ERR_INVALID_ARG_VALUE",
      "The property 'options.buffer.byteLength' is smaller than the file size of 11 bytes. Received 3",
    );
  });

  it("readFile reads what the size does not tell", async () => {
    await using handle = await fs.open("/proc/version");
    expect(await handle.readFile("utf8")).toBe(readFileSync("/proc/version", "utf8"));
    await using shared = await fs.open("/proc/self/status");
    await shared.read(Buffer.alloc(6));
    expect(await shared.readFile("utf8")).toStartWith(readFileSync("/proc/self/status", "utf8").slice(6, 10));
  });

  it("readFile of a growing file gets all that was there", async () => {
    const path = tmp.file("first");
    await using handle = await fs.open(path, "r+");
    expect(await handle.readFile("utf8")).toBe("first");
    await handle.write(" second", 5);
    expect(await handle.readFile("utf8")).toBe(" second");
  });

  it("writeFile writes at the current position and does not truncate", async () => {
    const path = tmp.file("0123456789");
    await using handle = await fs.open(path, "r+");
    await handle.write("ab");
    expect(await handle.writeFile("cd")).toBeUndefined();
    await handle.writeFile(Buffer.from("ef"));
    expect(text(path)).toBe("abcdef6789");
  });

  it("writeFile takes strings, views, iterables and async iterables", async () => {
    const path = tmp.path();
    await using handle = await fs.open(path, "w");
    await handle.writeFile("ä", "latin1");
    await handle.writeFile(new Uint16Array([0x4241]));
    await handle.writeFile(["c", Buffer.from("d")]);
    await handle.writeFile(
      (async function* () {
        yield "e";
        yield "f";
      })(),
    );
    await handle.writeFile("6768", { encoding: "hex" });
    expect(text(path)).toBe("\xe4ABcdefgh");
  });

  it("writeFile writes several MiB", async () => {
    const data = patternBytes(5 << 20, 8);
    const path = tmp.path();
    await using handle = await fs.open(path, "w");
    await handle.writeFile(data);
    expect(readFileSync(path).equals(data)).toBe(true);
  });

  it("appendFile is writeFile: at the current position, at the end of an 'a' handle", async () => {
    const path = tmp.file("0123");
    await using handle = await fs.open(path, "r+");
    await handle.appendFile("X");
    expect(text(path)).toBe("X123");
    await using appending = await fs.open(path, "a");
    await appending.appendFile("Y");
    await appending.appendFile(Buffer.from("Z"));
    expect(text(path)).toBe("X123YZ");
  });

  it("the functions take a FileHandle, and leave it open", async () => {
    const path = tmp.file("0123456789");
    await using handle = await fs.open(path, "r+");
    await handle.read(Buffer.alloc(2));
    expect(await fs.readFile(handle, "utf8")).toBe("23456789");
    await fs.writeFile(handle, "ab");
    await fs.appendFile(handle, "cd");
    expect(text(path)).toBe("0123456789abcd");
    expect(handle.fd).toBeGreaterThan(0);
  });

  it("flush works on a handle", async () => {
    const path = tmp.path();
    await using handle = await fs.open(path, "w");
    await handle.appendFile("x", { flush: true } as any);
    await fs.writeFile(handle, "y", { flush: true });
    expect(text(path)).toBe("xy");
  });

  it("an aborted signal rejects before anything is done", async () => {
    const path = tmp.file("old");
    await using handle = await fs.open(path, "r+");
    const why = new Error("why");
    await expectAbortError(handle.readFile({ signal: AbortSignal.abort(why) }), why);
    await expectAbortError(handle.writeFile("new", { signal: AbortSignal.abort(why) }), why);
    await expectAbortError(fs.writeFile(handle, "new", { signal: AbortSignal.abort() }));
    expect(text(path)).toBe("old");
    expect(await handle.readFile("utf8")).toBe("old");
  });

  it("fail like read(2) and write(2), without a path", async () => {
    await using readOnly = await fs.open(tmp.file("x"));
    await using writeOnly = await fs.open(tmp.path(), "w");
    await expectSystemError(readOnly.writeFile("x"), { code: "EBADF", syscall: "write" });
    await expectSystemError(readOnly.appendFile("x"), { code: "EBADF", syscall: "write" });
    await expectSystemError(writeOnly.readFile(), { code: "EBADF", syscall: "read" });
    await using folder = await fs.open(tmp.folder());
    const error = await rejection(folder.readFile());
    expect({ code: error.code, syscall: error.syscall }).toEqual({ code: "EISDIR", syscall: "read" });
    await using full = await fs.open("/dev/full", "w");
    await expectSystemError(full.writeFile("x"), { code: "ENOSPC", syscall: "write" });
  });

  const DATA = 'The "data" argument must be of type string or an instance of Buffer, TypedArray, or DataView. Received';
  it("refuse bad data and bad options", async () => {
    await using handle: any = await fs.open(tmp.file("old"), "r+");
    for (const call of ["writeFile", "appendFile"]) {
      await expectArgumentError(() => handle[call](), "ERR_INVALID_ARG_TYPE", `${DATA} undefined`);
      await expectArgumentError(() => handle[call](1), "ERR_INVALID_ARG_TYPE", `${DATA} type number (1)`);
      await expectArgumentError(() => handle[call]({}), "ERR_INVALID_ARG_TYPE", `${DATA} an instance of Object`);
    }
    const encoding = "The argument 'encoding' is invalid encoding. Received 'nope'";
    await expectArgumentError(() => handle.readFile("nope"), "ERR_INVALID_ARG_VALUE", encoding);
    await expectArgumentError(() => handle.writeFile("x", "nope"), "ERR_INVALID_ARG_VALUE", encoding);
    expect(await handle.readFile("utf8")).toBe("old");
  });
}, "handle-readfile-writefile");
