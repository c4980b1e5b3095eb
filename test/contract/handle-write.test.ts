// Owns FileHandle.write: buffers and strings, positions, append mode, bounds and refusals.
// Assumes the file is read back with node:fs's synchronous calls, never with the API under test.
// Never covers writev, writeFile or streams; they have their own files.

import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectClosed, expectSystemError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  /** Runs `body` on a handle open with `flags` on a file holding `before`, and gives what the file holds after. */
  const written = async (body: (handle: FileHandle) => Promise<void>, before = "", flags = "r+"): Promise<string> => {
    const path = tmp.file(before);
    await using handle = await fs.open(path, flags);
    await body(handle);
    return readFileSync(path, "latin1");
  };

  it("writes a buffer and says how much", async () => {
    const data = Buffer.from("hello");
    const content = await written(async (handle) => {
      const result = await handle.write(data);
      expect(result.bytesWritten).toBe(5);
      expect(result.buffer).toBe(data);
      expect(Object.keys(result).sort()).toEqual(["buffer", "bytesWritten"]);
    });
    expect(content).toBe("hello");
  });

  it("writes a part of the buffer", async () => {
    const data = Buffer.from("0123456789");
    expect(await written(async (handle) => void (await handle.write(data, 3, 4)))).toBe("3456");
    expect(await written(async (handle) => void (await handle.write(data, 7)))).toBe("789");
    expect(await written(async (handle) => void (await handle.write(data, { offset: 2, length: 3 })))).toBe("234");
    expect(await written(async (handle) => void (await handle.write(data, { offset: 8 })))).toBe("89");
    expect(await written(async (handle) => void (await handle.write(data, null as any)))).toBe("0123456789");
  });

  it("writes at a position without moving the file's own", async () => {
    const content = await written(async (handle) => {
      await handle.write(Buffer.from("ab"));
      await handle.write(Buffer.from("XY"), 0, 2, 6);
      await handle.write(Buffer.from("Z"), { position: 4 });
      await handle.write(Buffer.from("cd"));
    }, "..........");
    expect(content).toBe("abcdZ.XY..");
  });

  it("treats a position that is no number as the file's own", async () => {
    for (const position of [null, undefined, "3", 3n, {}, -1] as any[]) {
      const content = await written(async (handle) => {
        await handle.write(Buffer.from("a"), 0, 1, position);
        await handle.write(Buffer.from("b"), 0, 1, position);
      }, ".....");
      expect(content).toBe("ab...");
    }
  });

  it("writes strings at a position and in an encoding", async () => {
    const content = await written(async (handle) => {
      const result = await handle.write("hä");
      expect(result.bytesWritten).toBe(3);
      expect(result.buffer).toBe("hä");
      expect((await handle.write("6162", null, "hex")).bytesWritten).toBe(2);
      expect((await handle.write("ä", 8, "latin1")).bytesWritten).toBe(1);
      expect((await handle.write("YWJj", 10, "base64")).bytesWritten).toBe(3);
      expect((await handle.write("z", 14, "utf16le")).bytesWritten).toBe(2);
    });
    expect(content).toBe("h\xc3\xa4ab\0\0\0\xe4\0abc\0z\0");
  });

  it("writes nothing for an empty buffer, an empty string and length 0", async () => {
    const content = await written(async (handle) => {
      expect((await handle.write(Buffer.alloc(0))).bytesWritten).toBe(0);
      expect((await handle.write(Buffer.alloc(0), 0, 0, 0)).bytesWritten).toBe(0);
      expect((await handle.write("")).bytesWritten).toBe(0);
      expect((await handle.write(Buffer.from("abc"), 0, 0)).bytesWritten).toBe(0);
      expect((await handle.write(Buffer.from("abc"), 3)).bytesWritten).toBe(0);
    }, "old");
    expect(content).toBe("old");
  });

  it("gives the empty buffer back for an empty write", async () => {
    const empty = Buffer.alloc(0);
    await written(async (handle) => {
      const result = await handle.write(empty);
      expect(result.buffer).toBe(empty);
    });
  });

  it("counts bytes, not elements, in every kind of view", async () => {
    for (const view of [new Uint16Array([1, 2, 3]), new Float64Array([1.5]), new DataView(new ArrayBuffer(6))]) {
      const bytes = Buffer.from(view.buffer).toString("latin1");
      const content = await written(async (handle) => {
        const result = await handle.write(view as any);
        expect(result.bytesWritten).toBe(view.byteLength);
        expect(result.buffer).toBe(view as any);
      });
      expect(content).toBe(bytes);
      expect(await written(async (handle) => void (await handle.write(view as any, 1, 3)))).toBe(bytes.slice(1, 4));
    }
  });

  it("always appends on an 'a' handle, whatever the position", async () => {
    const content = await written(
      async (handle) => {
        await handle.write(Buffer.from("1"), 0, 1, 0);
        await handle.write("2", 0);
      },
      "old",
      "a",
    );
    expect(content).toBe("old12");
  });

  it("fills the hole when it writes beyond the end", async () => {
    expect(await written(async (handle) => void (await handle.write("x", 5)), "ab")).toBe("ab\0\0\0x");
  });

  it("writes beyond 4 GiB", async () => {
    const path = tmp.path("sparse");
    await using handle = await fs.open(path, "w+");
    await handle.write("far", 2 ** 32 + 7);
    expect((await handle.stat()).size).toBe(2 ** 32 + 10);
    expect((await handle.read(Buffer.alloc(3), 0, 3, 2 ** 32 + 7)).buffer.toString()).toBe("far");
  });

  it("does 200 positioned writes in one turn", async () => {
    const data = patternBytes(200 * 50, 9);
    const content = await written(async (handle) => {
      const writes = Array.from({ length: 200 }, (_, i) => handle.write(data, i * 50, 50, i * 50));
      for (const { bytesWritten } of await Promise.all(writes)) expect(bytesWritten).toBe(50);
    });
    expect(content).toBe(data.toString("latin1"));
  });

  it("keeps 50 writes at the file's own position in the order of the calls", async () => {
    const words = Array.from({ length: 50 }, (_, i) => `word ${i};`);
    const content = await written(async (handle) => void (await Promise.all(words.map((word) => handle.write(word)))));
    expect(content).toBe(words.join(""));
  });

  it("writes 8 MiB in one call", async () => {
    const data = patternBytes(8 << 20, 5);
    const path = tmp.path();
    await using handle = await fs.open(path, "w");
    expect((await handle.write(data)).bytesWritten).toBe(data.length);
    expect(readFileSync(path).equals(data)).toBe(true);
  });

  it("fails like write(2), without a path", async () => {
    await using readOnly = await fs.open(tmp.file("x"));
    await expectSystemError(readOnly.write("x"), { code: "EBADF", syscall: "write" });
    await expectSystemError(readOnly.write(Buffer.from("x"), 0, 1, 0), { code: "EBADF", syscall: "write" });
    await using full = await fs.open("/dev/full", "w");
    await expectSystemError(full.write("x"), { code: "ENOSPC", syscall: "write" });
  });

  it("on a closed handle fails with 'file closed'", async () => {
    const handle = await fs.open(tmp.path(), "w");
    await handle.close();
    await expectClosed(handle.write("x"), "write");
    await expectClosed(handle.write(Buffer.from("x")), "write");
  });

  const OFFSET = 'The value of "offset" is out of range. It must be';
  const LENGTH = 'The value of "length" is out of range. It must be';
  const BUFFER =
    'The "buffer" argument must be of type string or an instance of Buffer, TypedArray, or DataView. Received';
  const b = Buffer.alloc(10, "x");
  const invalid: [title: string, args: any[], code: any, message: string][] = [
    ["no data", [], "ERR_INVALID_ARG_TYPE", `${BUFFER} undefined`],
    ["null", [null], "ERR_INVALID_ARG_TYPE", `${BUFFER} null`],
    ["a number", [1], "ERR_INVALID_ARG_TYPE", `${BUFFER} type number (1)`],
    ["an object", [{}], "ERR_INVALID_ARG_TYPE", `${BUFFER} an instance of Object`],
    ["an object with toString", [{ toString: () => "x" }], "ERR_INVALID_ARG_TYPE", `${BUFFER} an instance of Object`],
    ["an array", [[1]], "ERR_INVALID_ARG_TYPE", `${BUFFER} an instance of Array`],
    ["offset -1", [b, -1], "ERR_OUT_OF_RANGE", `${OFFSET} >= 0 && <= 9007199254740991. Received -1`],
    ["offset beyond the buffer", [b, 11], "ERR_OUT_OF_RANGE", `${OFFSET} <= 10. Received 11`],
    ["options.offset beyond the buffer", [b, { offset: 11 }], "ERR_OUT_OF_RANGE", `${OFFSET} <= 10. Received 11`],
    ["offset 1.5", [b, 1.5], "ERR_OUT_OF_RANGE", `${OFFSET} an integer. Received 1.5`],
    [
      "offset '1'",
      [b, "1"],
      "ERR_INVALID_ARG_TYPE",
      `The "offset" argument must be of type number. Received type string ('1')`,
    ],
    ["length beyond the buffer", [b, 0, 11], "ERR_OUT_OF_RANGE", `${LENGTH} <= 10. Received 11`],
    ["length -1", [b, 0, -1], "ERR_OUT_OF_RANGE", `${LENGTH} >= 0. Received -1`],
    ["length 1.5", [b, 0, 1.5], "ERR_OUT_OF_RANGE", `${LENGTH} an integer. Received 1.5`],
    [
      "half a byte of hex",
      ["616", 0, "hex"],
      "ERR_INVALID_ARG_VALUE",
      "The argument 'encoding' is invalid for data of length 3. Received 'hex'",
    ],
  ];
  for (const [title, args, code, message] of invalid) {
    it(`refuses ${title}, and writes nothing`, async () => {
      const content = await written(
        (handle) => expectArgumentError(() => (handle.write as any)(...args), code, message),
        "old",
      );
      expect(content).toBe("old");
    });
  }
}, "handle-write");
