// Owns readFile(path): encodings, flags, the buffer option, odd sizes, refusals.
// Assumes files are made with node:fs's synchronous calls.
// Never covers readFile of a FileHandle, nor AbortSignal; they have their own files.

import { expect } from "bun:test";
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const readFile = fs.readFile as (path: any, options?: any) => Promise<any>;

  // Around the sizes at which implementations change their way: pages, pool chunks, the inline byte budget.
  const sizes = [0, 1, 100, 1000, 1001, 4095, 4096, 4097, 65_535, 65_536, 65_537, 262_144, 262_145, 524_289, 3 << 20];
  for (const size of sizes) {
    it(`reads ${size} bytes`, async () => {
      const data = patternBytes(size, size + 1);
      const result = await readFile(tmp.file(data));
      expect(Buffer.isBuffer(result)).toBe(true);
      expect(result.length).toBe(size);
      expect(result.equals(data)).toBe(true);
    });
  }

  it("gives a string in every encoding", async () => {
    const data = Buffer.from("ÿ grün €\u{1f600}\0 end");
    const path = tmp.file(data);
    const encodings: BufferEncoding[] = ["utf8", "utf-8", "latin1", "binary", "ascii", "hex", "base64", "base64url"];
    for (const encoding of [...encodings, "utf16le", "ucs2", "UTF8"] as BufferEncoding[]) {
      expect(await readFile(path, encoding)).toBe(data.toString(encoding));
      expect(await readFile(path, { encoding })).toBe(data.toString(encoding));
    }
  });

  it("keeps a byte order mark and replaces what is no UTF-8", async () => {
    const data = Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0xff, 0xc3, 0x28, 0xe2, 0x82]);
    expect(await readFile(tmp.file(data), "utf8")).toBe(data.toString("utf8"));
  });

  it("decodes a multi-byte character that lies across chunk ends", async () => {
    const text = "€".repeat(400_000);
    expect((await readFile(tmp.file(text), "utf8")) === text).toBe(true);
  });

  it("gives a Buffer for no options, null, an empty encoding and a null encoding", async () => {
    const path = tmp.file("x");
    for (const options of [undefined, null, {}, { encoding: null }, { encoding: "" }, { encoding: undefined }, ""]) {
      const result = await readFile(path, options);
      expect(Buffer.isBuffer(result)).toBe(true);
      expect(result.toString()).toBe("x");
    }
  });

  it("gives memory that nobody else writes to", async () => {
    const path = tmp.file("stay");
    const first = await readFile(path);
    const others = await Promise.all(Array.from({ length: 100 }, (_, i) => readFile(tmp.file(`other ${i}`))));
    first.fill("#");
    expect((await readFile(path)).toString()).toBe("stay");
    expect(others.map(String)).toEqual(Array.from({ length: 100 }, (_, i) => `other ${i}`));
    expect(first.toString()).toBe("####");
  });

  it("reads 300 files at once, each with its own bytes", async () => {
    const paths = Array.from({ length: 300 }, (_, i) => tmp.file(patternBytes(100 + i * 37, i + 1)));
    const results = await Promise.all(paths.map((path) => readFile(path)));
    for (const [i, result] of results.entries()) expect(result.equals(patternBytes(100 + i * 37, i + 1))).toBe(true);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("reads files whose size says 0", async () => {
    expect(await readFile("/proc/self/stat", "utf8")).toContain(`${process.pid} (`);
    expect(await readFile("/proc/version", "utf8")).toBe(readFileSync("/proc/version", "utf8"));
    const maps = await readFile("/proc/self/maps", "utf8");
    expect(maps.length).toBeGreaterThan(4096);
    expect(maps.endsWith("\n")).toBe(true);
  });

  it("reads a file whose size says more than it has", async () => {
    const path = "/sys/kernel/mm/transparent_hugepage/enabled";
    if (existsSync(path)) expect(await readFile(path, "utf8")).toBe(readFileSync(path, "utf8"));
  });

  it("reads nothing from /dev/null", async () => {
    expect((await readFile("/dev/null")).length).toBe(0);
    expect(await readFile("/dev/null", "utf8")).toBe("");
  });

  it("follows symbolic links", async () => {
    const link = tmp.path("link");
    symlinkSync(tmp.file("target"), link);
    expect(await readFile(link, "utf8")).toBe("target");
  });

  it("takes flags: creates with a+, refuses to read with w", async () => {
    const path = tmp.path();
    expect((await readFile(path, { flag: "a+" })).length).toBe(0);
    expect(existsSync(path)).toBe(true);
    const taken = tmp.file("x");
    await expectSystemError(readFile(taken, { flag: "wx" }), { code: "EEXIST", syscall: "open", path: taken });
    expect(await readFile(tmp.file("abc"), { flag: fs.constants.O_RDONLY, encoding: "utf8" })).toBe("abc");
  });

  it("reads into a buffer of the caller", async () => {
    const path = tmp.file("hello world");
    const buffer = Buffer.alloc(20, ".");
    const result = await readFile(path, { buffer });
    expect(result.toString()).toBe("hello world");
    expect(result.buffer).toBe(buffer.buffer);
    expect(result.byteOffset).toBe(buffer.byteOffset);
    expect(buffer.toString()).toBe("hello world.........");
    const exact = Buffer.alloc(11);
    expect((await readFile(path, { buffer: exact })).length).toBe(11);
    expect((await readFile(path, { buffer: new Uint16Array(10) })).toString()).toBe("hello world");
    expect(await readFile(path, { buffer, encoding: "utf8" })).toBe("hello world");
  });

  it("asks the caller for a buffer of the file's size", async () => {
    const asked: number[] = [];
    const buffer = Buffer.alloc(11);
    const result = await readFile(tmp.file("hello world"), {
      buffer: (size: number) => {
        asked.push(size);
        return buffer;
      },
    });
    expect(asked).toEqual([11]);
    expect(result.toString()).toBe("hello world");
    expect(result.buffer).toBe(buffer.buffer);
  });

  it("refuses a buffer that is too small", async () => {
    await expectArgumentError(
      readFile(tmp.file("hello world"), { buffer: Buffer.alloc(3) }),
      "ERR_INVALID_ARG_VALUE",
      "The property 'options.buffer.byteLength' is smaller than the file size of 11 bytes. Received 3",
    );
  });

  it("refuses a buffer option that is none", async () => {
    const wanted = "must be of type function or an instance of Buffer, TypedArray, or DataView. Received";
    for (const [buffer, received] of [
      ["x", "type string ('x')"],
      [1, "type number (1)"],
      [null, "null"],
    ] as const) {
      await expectArgumentError(
        readFile(tmp.file("x"), { buffer }),
        "ERR_INVALID_ARG_TYPE",
        `The "options.buffer" property ${wanted} ${received}`,
      );
    }
    await expectArgumentError(
      readFile(tmp.file("x"), { buffer: () => "x" }),
      "ERR_INVALID_ARG_TYPE",
      `The "options.buffer()" property must be an instance of Buffer, TypedArray, or DataView. Received type string ('x')`,
    );
    expect(tmp.openFiles()).toEqual([]);
  });

  it("fails like open(2), with the path", async () => {
    const file = tmp.file("x");
    const missing = tmp.path();
    await expectSystemError(readFile(missing), { code: "ENOENT", syscall: "open", path: missing });
    await expectSystemError(readFile(missing, "utf8"), { code: "ENOENT", syscall: "open", path: missing });
    await expectSystemError(readFile(`${file}/x`), { code: "ENOTDIR", syscall: "open", path: `${file}/x` });
    await expectSystemError(readFile(""), { code: "ENOENT", syscall: "open", path: "" });
  });

  it("fails on a directory with EISDIR of read, and closes it", async () => {
    const folder = tmp.folder();
    for (const options of [undefined, "utf8"]) {
      const error = await rejection(readFile(folder, options));
      expect({ code: error.code, syscall: error.syscall, errno: error.errno }).toEqual({
        code: "EISDIR",
        syscall: "read",
        errno: -21,
      });
      expect(error.message).toStartWith("EISDIR: illegal operation on a directory, read");
    }
    expect(tmp.openFiles()).toEqual([]);
  });

  const ENCODING = "The argument 'encoding' is invalid encoding. Received";
  const OPTIONS = 'The "options" argument must be one of type string or object. Received';
  const invalid: [title: string, options: any, code: any, message: string][] = [
    ["an unknown encoding", "nope", "ERR_INVALID_ARG_VALUE", `${ENCODING} 'nope'`],
    ["an unknown options.encoding", { encoding: "nope" }, "ERR_INVALID_ARG_VALUE", `${ENCODING} 'nope'`],
    ["an options.encoding of a number", { encoding: 1 }, "ERR_INVALID_ARG_VALUE", `${ENCODING} 1`],
    ["options of a number", 1, "ERR_INVALID_ARG_TYPE", `${OPTIONS} type number (1)`],
    ["options of a boolean", true, "ERR_INVALID_ARG_TYPE", `${OPTIONS} type boolean (true)`],
    ["an unknown flag", { flag: "zz" }, "ERR_INVALID_ARG_VALUE", "The argument 'flags' is invalid. Received 'zz'"],
    [
      "a signal that is none",
      { signal: {} },
      "ERR_INVALID_ARG_TYPE",
      'The "options.signal" property must be an instance of AbortSignal. Received an instance of Object',
    ],
  ];
  for (const [title, options, code, message] of invalid) {
    it(`refuses ${title}`, () => expectArgumentError(() => readFile(tmp.file("x"), options), code, message));
  }
}, "read-file");
