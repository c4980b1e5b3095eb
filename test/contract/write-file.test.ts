// Owns writeFile and appendFile by path: data of every kind, flags, modes, encodings, flush, refusals.
// Assumes results are read back with node:fs's synchronous calls.
// Never covers the FileHandle methods, nor AbortSignal; they have their own files.

import { expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { Readable } from "node:stream";
import { backend, capabilities } from "../../src/index.ts";
import { forEachImplementation, ours } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { describeUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const writeFile = fs.writeFile as (path: any, data: any, options?: any) => Promise<void>;
  const appendFile = fs.appendFile as (path: any, data: any, options?: any) => Promise<void>;
  const text = (path: string): string => readFileSync(path, "latin1");

  for (const size of [0, 1, 1000, 4096, 65_536, 65_537, 524_288, 524_289, 3 << 20]) {
    it(`writes ${size} bytes`, async () => {
      const data = patternBytes(size, size + 7);
      const path = tmp.path();
      expect(await writeFile(path, data)).toBeUndefined();
      expect(readFileSync(path).equals(data)).toBe(true);
      expect(tmp.openFiles().filter((target) => target === path)).toEqual([]);
    });
  }

  it("replaces what a file held, also when that was longer", async () => {
    const path = tmp.file("a long content");
    await writeFile(path, "short");
    expect(text(path)).toBe("short");
    await writeFile(path, "");
    expect(text(path)).toBe("");
  });

  it("writes strings in an encoding, utf8 by default", async () => {
    const path = tmp.path();
    const cases: [data: string, options: any, bytes: string][] = [
      ["hä€", undefined, "h\xc3\xa4\xe2\x82\xac"],
      ["hä", null, "h\xc3\xa4"],
      ["hä", "latin1", "h\xe4"],
      ["6162", "hex", "ab"],
      ["YWJj", { encoding: "base64" }, "abc"],
      ["ab", { encoding: "utf16le" }, "a\0b\0"],
      ["lone \ud800 surrogate", "utf8", "lone \xef\xbf\xbd surrogate"],
    ];
    for (const [data, options, bytes] of cases) {
      await writeFile(path, data, options);
      expect(text(path)).toBe(bytes);
    }
  });

  it("ignores the encoding for a buffer", async () => {
    const path = tmp.path();
    await writeFile(path, Buffer.from("zz"), "hex");
    expect(text(path)).toBe("zz");
  });

  it("writes every kind of view, and only its own part", async () => {
    const memory = Uint8Array.from({ length: 32 }, (_, i) => 65 + i).buffer;
    const views = [new Uint8Array(memory, 3, 4), new Uint16Array(memory, 4, 2), new DataView(memory, 5, 3)];
    for (const view of views) {
      const path = tmp.path();
      await writeFile(path, view);
      expect(readFileSync(path).equals(Buffer.from(memory, view.byteOffset, view.byteLength))).toBe(true);
    }
  });

  it("writes iterables, async iterables and streams of strings and views", async () => {
    const sources: (() => unknown)[] = [
      () => ["a", Buffer.from("b"), new Uint8Array([0x63])],
      () => new Set(["a", "b", "c"]),
      function* () {
        yield "a";
        yield Buffer.from("bc");
      },
      async function* () {
        yield "ab";
        await Promise.resolve();
        yield new Uint8Array([0x63]);
      },
      () => Readable.from(["a", "bc"]),
      () =>
        new ReadableStream({
          start(controller) {
            controller.enqueue(new Uint8Array([0x61, 0x62]));
            controller.enqueue(new Uint8Array([0x63]));
            controller.close();
          },
        }),
    ];
    for (const source of sources) {
      const path = tmp.file("a longer content");
      await writeFile(path, source());
      expect(text(path)).toBe("abc");
    }
  });

  it("takes the encoding for the strings of an iterable", async () => {
    const path = tmp.path();
    await writeFile(path, ["ä", "ö"], "latin1");
    expect(text(path)).toBe("\xe4\xf6");
  });

  it("writes an empty iterable as an empty file", async () => {
    const path = tmp.file("old");
    await writeFile(path, []);
    expect(text(path)).toBe("");
  });

  it("rejects with what the iterable throws, and closes the file", async () => {
    const path = tmp.path();
    const why = new Error("from the source");
    const source = (function* () {
      yield "a";
      throw why;
    })();
    expect(await rejection(writeFile(path, source))).toBe(why);
    expect(text(path)).toBe("a");
    expect(tmp.openFiles()).toEqual([]);
  });

  it("reads an async source slowly and in order", async () => {
    const path = tmp.path();
    const parts = Array.from({ length: 100 }, (_, i) => `part ${i};`.repeat(100));
    await writeFile(
      path,
      (async function* () {
        for (const part of parts) {
          await new Promise((resolve) => setImmediate(resolve));
          yield part;
        }
      })(),
    );
    expect(text(path)).toBe(parts.join(""));
  });

  it("sets the mode of a new file only", async () => {
    const path = tmp.path();
    await writeFile(path, "x", { mode: 0o600 });
    await writeFile(path, "y", { mode: 0o644 });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const other = tmp.path();
    await writeFile(other, "x");
    expect(statSync(other).mode & 0o777).toBe(0o666 & ~process.umask());
    const octal = tmp.path();
    await writeFile(octal, "x", { mode: "640" });
    expect(statSync(octal).mode & 0o777).toBe(0o640);
  });

  it("takes flags", async () => {
    const path = tmp.file("old");
    await writeFile(path, "+new", { flag: "a" });
    expect(text(path)).toBe("old+new");
    await writeFile(path, "OLD", { flag: "r+" });
    expect(text(path)).toBe("OLD+new");
    await expectSystemError(writeFile(path, "x", { flag: "wx" }), { code: "EEXIST", syscall: "open", path });
    await expectSystemError(writeFile(path, "x", { flag: "r" }), { code: "EBADF", syscall: "write" });
    expect(text(path)).toBe("OLD+new");
  });

  it("takes flush: true, false and null", async () => {
    const path = tmp.path();
    await writeFile(path, "x", { flush: true });
    await appendFile(path, "y", { flush: true });
    await writeFile(tmp.path(), "x", { flush: false });
    await writeFile(tmp.path(), "x", { flush: null });
    expect(text(path)).toBe("xy");
  });

  it("writes through a symbolic link", async () => {
    const path = tmp.file("old");
    const link = tmp.path("link");
    symlinkSync(path, link);
    await writeFile(link, "new");
    expect(text(path)).toBe("new");
  });

  it("copies the data before the caller can change it, or writes it whole", async () => {
    const data = Buffer.alloc(1 << 20, "a");
    const path = tmp.path();
    await writeFile(path, data);
    data.fill("b");
    expect(readFileSync(path).equals(Buffer.alloc(1 << 20, "a"))).toBe(true);
  });

  it("writes 200 files at once", async () => {
    const paths = Array.from({ length: 200 }, () => tmp.path());
    await Promise.all(paths.map((path, i) => writeFile(path, `content ${i}`)));
    expect(paths.map(text)).toEqual(paths.map((_, i) => `content ${i}`));
  });

  it("appendFile creates, appends, and takes the same data", async () => {
    const path = tmp.path();
    expect(await appendFile(path, "a")).toBeUndefined();
    await appendFile(path, Buffer.from("b"));
    await appendFile(path, new Uint8Array([0x63]));
    await appendFile(path, "e4", "hex");
    await appendFile(path, "ö", { encoding: "latin1", mode: 0o600 });
    expect(text(path)).toBe("abc\xe4\xf6");
    const fresh = tmp.path();
    await appendFile(fresh, "x", { mode: 0o600 });
    expect(statSync(fresh).mode & 0o777).toBe(0o600);
  });

  it("appendFile takes a flag", async () => {
    const path = tmp.file("old");
    await expectSystemError(appendFile(path, "x", { flag: "ax" }), { code: "EEXIST", syscall: "open", path });
    await appendFile(path, "new", { flag: "w" });
    expect(text(path)).toBe("new");
  });

  it("appendFile takes iterables", async () => {
    const path = tmp.file("old");
    await appendFile(path, ["a", "b"]);
    expect(text(path)).toBe("oldab");
  });

  it("fails like open(2), with the path, and like write(2), without", async () => {
    const folder = tmp.folder();
    const nowhere = `${tmp.path()}/x`;
    for (const call of [writeFile, appendFile]) {
      await expectSystemError(call(folder, "x"), { code: "EISDIR", syscall: "open", path: folder });
      await expectSystemError(call(nowhere, "x"), { code: "ENOENT", syscall: "open", path: nowhere });
      await expectSystemError(call("/dev/full", "x"), { code: "ENOSPC", syscall: "write" });
      await expectSystemError(call("/dev/full", ["x", "y"]), { code: "ENOSPC", syscall: "write" });
    }
  });

  const DATA = 'The "data" argument must be of type string or an instance of Buffer, TypedArray, or DataView. Received';
  const badData: [value: any, received: string][] = [
    [undefined, "undefined"],
    [null, "null"],
    [1, "type number (1)"],
    [true, "type boolean (true)"],
    [1n, "type bigint (1n)"],
    [{}, "an instance of Object"],
    [{ toString: () => "x" }, "an instance of Object"],
    [Symbol("x"), "type symbol (Symbol(x))"],
    [new ArrayBuffer(3), "an instance of ArrayBuffer"],
  ];
  for (const [value, received] of badData) {
    it(`refuses data that is ${received}, and touches nothing`, async () => {
      const path = tmp.path();
      const old = tmp.file("old");
      for (const call of [writeFile, appendFile]) {
        await expectArgumentError(() => call(path, value), "ERR_INVALID_ARG_TYPE", `${DATA} ${received}`);
        await expectArgumentError(() => call(old, value), "ERR_INVALID_ARG_TYPE", `${DATA} ${received}`);
      }
      expect(existsSync(path)).toBe(false);
      expect(text(old)).toBe("old");
    });
  }

  it("refuses an iterable that yields a number", async () => {
    for (const source of [
      [1],
      (async function* () {
        yield 1;
      })(),
    ]) {
      const error = await rejection(writeFile(tmp.path(), source));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe("ERR_INVALID_ARG_TYPE");
      expect(tmp.openFiles()).toEqual([]);
    }
  });

  const invalid: [title: string, options: any, code: any, message: string][] = [
    ["an encoding", "nope", "ERR_INVALID_ARG_VALUE", "The argument 'encoding' is invalid encoding. Received 'nope'"],
    [
      "a flush that is no boolean",
      { flush: 1 },
      "ERR_INVALID_ARG_TYPE",
      'The "options.flush" property must be of type boolean. Received type number (1)',
    ],
    [
      "a mode",
      { mode: "x" },
      "ERR_INVALID_ARG_VALUE",
      "The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received 'x'",
    ],
    ["a flag", { flag: "q" }, "ERR_INVALID_ARG_VALUE", "The argument 'flags' is invalid. Received 'q'"],
    [
      "options of a number",
      1,
      "ERR_INVALID_ARG_TYPE",
      'The "options" argument must be one of type string or object. Received type number (1)',
    ],
    [
      "a signal that is none",
      { signal: 1 },
      "ERR_INVALID_ARG_TYPE",
      'The "options.signal" property must be an instance of AbortSignal. Received type number (1)',
    ],
  ];
  for (const [title, options, code, message] of invalid) {
    it(`refuses ${title}, and touches nothing`, async () => {
      const path = tmp.path();
      await expectArgumentError(() => writeFile(path, "x", options), code, message);
      expect(existsSync(path)).toBe(false);
    });
  }
}, "write-file");

// /dev/null takes every write and refuses fsync(2) with EINVAL: who hears nothing has not synced. Bun's own writeFile resolves.
describeUnless(ours === undefined && "the oracle alone", "flush: true", () => {
  const tmp = scratch();
  const ways: Record<string, (flush: boolean) => Promise<unknown>> = {
    writeFile: (flush) => ours!.writeFile("/dev/null", "data", { flush }),
    "writeFile, large": (flush) => ours!.writeFile("/dev/null", Buffer.alloc(3 << 20), { flush }),
    "writeFile of chunks": (flush) => ours!.writeFile("/dev/null", ["a", "b"], { flush }),
    "writeFile with a signal": (flush) =>
      ours!.writeFile("/dev/null", "data", { flush, signal: new AbortController().signal }),
    appendFile: (flush) => ours!.appendFile("/dev/null", "data", { flush }),
  };
  for (const [name, write] of Object.entries(ways)) {
    test(`${name} syncs, and hears what that says; without it there is no sync`, async () => {
      expect(await rejection(write(true))).toMatchObject({ code: "EINVAL", syscall: "fsync" });
      await write(false);
    });
  }

  for (const [name, options] of Object.entries({
    flushed: { flush: true },
    limited: { signal: new AbortController().signal },
  })) {
    test(`over a longer file, ${name}: nothing of before is left`, async () => {
      for (const length of [1, 5000, 3 << 20]) {
        const path = tmp.file(Buffer.alloc(4 << 20, "!"));
        const data = patternBytes(length, 5);
        await ours!.writeFile(path, data, options);
        expect(readFileSync(path).equals(data)).toBe(true);
      }
    });

    test(`large data that is taken away meanwhile, ${name}: it is told, and the file is as it was`, async () => {
      const path = tmp.file("still");
      const data = new Uint8Array(3 << 20);
      const writing = rejection(ours!.writeFile(path, data, options));
      const kept = structuredClone(data.buffer, { transfer: [data.buffer] });
      expect(await writing).toMatchObject({ code: "ERR_INVALID_STATE" });
      expect(kept.byteLength).toBe(3 << 20);
      // Without that opcode (before Linux 6.9) the ring empties the file as it opens it.
      const cutsLate = backend === "node" || capabilities().opcodes.includes("FTRUNCATE");
      if (cutsLate) expect(readFileSync(path, "utf8")).toBe("still");
    });
  }

  for (const [name, options] of Object.entries({
    plain: {},
    flushed: { flush: true },
    limited: { signal: new AbortController().signal },
  })) {
    test(`data of up to 64 KiB may be transferred, and changed, as soon as the call has returned, ${name}`, async () => {
      for (const length of [1, 1000, 5000, 65_536]) {
        const path = tmp.file("before");
        for (const call of ["writeFile", "appendFile"] as const) {
          const data = patternBytes(length, 7);
          const wanted = Buffer.concat([call === "appendFile" ? readFileSync(path) : Buffer.alloc(0), data]);
          const bytes = new Uint8Array(data); // memory of its own
          const writing = ours![call](path, bytes, options);
          new Uint8Array(structuredClone(bytes.buffer, { transfer: [bytes.buffer] })).fill(0);
          await writing;
          expect(readFileSync(path).equals(wanted)).toBe(true);
        }
      }
    });
  }

  for (const name of ["write", "writev"] as const) {
    test(`a handle's ${name} syncs, at a position and at its own`, async () => {
      await using handle = (await ours!.open("/dev/null", "w")) as unknown as Record<string, any> & AsyncDisposable;
      const data = Buffer.from("data");
      for (const at of [0, null]) {
        const write = (options: object): Promise<unknown> =>
          name === "write" ? handle["write"](data, 0, 4, at, options) : handle["writev"]([data], at, options);
        expect(await rejection(write({ flush: true }))).toMatchObject({ code: "EINVAL", syscall: "fdatasync" });
        await write({ flush: false });
      }
    });
  }
});
