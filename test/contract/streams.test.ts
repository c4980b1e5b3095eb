// Owns FileHandle.createReadStream, createWriteStream, readableWebStream and readLines.
// Assumes node:stream's own rules for what a stream is; only what files add is tested.
// Never waits by time: every wait is for an event.

import { expect } from "bun:test";
import { once } from "node:events";
import { appendFileSync, readFileSync, truncateSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, rejection } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const collect = async (stream: AsyncIterable<any>): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
};

/** Until a stream is closed, whether by its end or by an error. */
const settled = (stream: Readable | Writable): Promise<void> =>
  new Promise((resolve) => (stream.closed ? resolve() : stream.once("close", resolve)));

/**
 * A stream whose options are refused leaves Node's and Bun's handle impossible to close; those are kept until the process ends,
 * so that the collector doesn't close them with an error of its own.
 */
const unclosable: FileHandle[] = [];

forEachImplementation((fs, name, it) => {
  const tmp = scratch();
  const data = patternBytes(1_000_003, 21);
  const text = (path: string): string => readFileSync(path, "latin1");

  it("createReadStream reads the file in order and closes the handle", async () => {
    const handle = await fs.open(tmp.file(data));
    const stream = handle.createReadStream();
    expect(stream).toBeInstanceOf(Readable);
    expect((await collect(stream)).equals(data)).toBe(true);
    await settled(stream);
    expect(handle.fd).toBe(-1);
    expect(stream.bytesRead).toBe(data.length);
  });

  it("createReadStream gives chunks of highWaterMark, 64 KiB by default", async () => {
    for (const [highWaterMark, size] of [
      [undefined, 65_536],
      [1000, 1000],
    ] as const) {
      await using handle = await fs.open(tmp.file(data.subarray(0, 200_000)));
      const stream = handle.createReadStream({ highWaterMark });
      const sizes: number[] = [];
      for await (const chunk of stream) sizes.push(chunk.length);
      expect(Math.max(...sizes)).toBe(size);
      expect(sizes.reduce((sum, n) => sum + n)).toBe(200_000);
    }
  });

  it("createReadStream takes start and an inclusive end", async () => {
    const path = tmp.file(data);
    const cases: [start: number | undefined, end: number | undefined, from: number, to: number][] = [
      [0, 0, 0, 1],
      [90, 99, 90, 100],
      [999_990, undefined, 999_990, 1_000_003],
      [70_000, 270_001, 70_000, 270_002],
      [5, 2 ** 40, 5, 1_000_003],
      [2 ** 40, undefined, 0, 0],
    ];
    for (const [start, end, from, to] of cases) {
      const handle = await fs.open(path);
      expect((await collect(handle.createReadStream({ start, end }))).equals(data.subarray(from, to))).toBe(true);
    }
  });

  it("createReadStream without start goes on from the file's own position", async () => {
    const handle = await fs.open(tmp.file(data));
    await handle.read(Buffer.alloc(1000));
    expect((await collect(handle.createReadStream())).equals(data.subarray(1000))).toBe(true);
  });

  it("createReadStream with autoClose: false leaves the handle open", async () => {
    await using handle = await fs.open(tmp.file("abc"));
    expect((await collect(handle.createReadStream({ autoClose: false, start: 0 }))).toString()).toBe("abc");
    expect(handle.fd).toBeGreaterThan(0);
    expect((await handle.read(Buffer.alloc(3), 0, 3, 0)).bytesRead).toBe(3);
  });

  it("createReadStream decodes, across chunk ends", async () => {
    const handle = await fs.open(tmp.file("€".repeat(1000)));
    let all = "";
    for await (const chunk of handle.createReadStream({ encoding: "utf8", highWaterMark: 100 })) {
      expect(typeof chunk).toBe("string");
      all += chunk;
    }
    expect(all).toBe("€".repeat(1000));
  });

  it("createReadStream can be left early, and then closes the handle", async () => {
    const handle = await fs.open(tmp.file(data));
    const stream = handle.createReadStream({ highWaterMark: 1000 });
    for await (const chunk of stream) {
      expect(data.subarray(0, 1000).equals(chunk)).toBe(true);
      break;
    }
    await settled(stream);
    expect(handle.fd).toBe(-1);
  });

  it("createReadStream stops at an aborted signal", async () => {
    const handle = await fs.open(tmp.file(data));
    const controller = new AbortController();
    const stream = handle.createReadStream({ signal: controller.signal, highWaterMark: 1000 });
    const error = await rejection(async () => {
      for await (const _chunk of stream) controller.abort();
    });
    expect(error.name).toBe("AbortError");
    await settled(stream);
    expect(handle.fd).toBe(-1);
  });

  it("createReadStream says what read(2) says", async () => {
    const handle = await fs.open(tmp.folder());
    const error = await rejection(collect(handle.createReadStream()));
    expect({ code: error.code, syscall: error.syscall }).toEqual({ code: "EISDIR", syscall: "read" });
    await handle.close();
  });

  it("createWriteStream writes in order and closes the handle", async () => {
    const path = tmp.path();
    const handle = await fs.open(path, "w");
    const stream = handle.createWriteStream();
    expect(stream).toBeInstanceOf(Writable);
    for (let i = 0; i < 1000; i++) stream.write(`line ${i}\n`);
    stream.end("end");
    await once(stream, "close");
    expect(handle.fd).toBe(-1);
    expect(text(path)).toBe(`${Array.from({ length: 1000 }, (_, i) => `line ${i}\n`).join("")}end`);
    expect(stream.bytesWritten).toBe(text(path).length);
  });

  it("createWriteStream takes start, and keeps what is around it", async () => {
    const path = tmp.file("0123456789");
    const handle = await fs.open(path, "r+");
    const stream = handle.createWriteStream({ start: 3 });
    stream.write("ab");
    stream.end("cd");
    await once(stream, "close");
    expect(text(path)).toBe("012abcd789");
  });

  it("createWriteStream takes encodings, autoClose: false and flush", async () => {
    const path = tmp.path();
    await using handle = await fs.open(path, "w");
    const stream = handle.createWriteStream({ encoding: "latin1", autoClose: false, flush: true });
    stream.write("ä");
    stream.write("6162", "hex");
    stream.end();
    await once(stream, "finish");
    // A stream that doesn't close the handle by itself holds it until it is destroyed.
    stream.destroy();
    expect(handle.fd).toBeGreaterThan(0);
    expect(text(path)).toBe("\xe4ab");
  });

  it("createWriteStream holds back beyond highWaterMark, and drains", async () => {
    const handle = await fs.open(tmp.path(), "w");
    const stream = handle.createWriteStream({ highWaterMark: 1000 });
    expect(stream.write(Buffer.alloc(2000))).toBe(false);
    await once(stream, "drain");
    stream.end();
    await once(stream, "close");
  });

  it("createWriteStream gives the error of write(2)", async () => {
    const handle = await fs.open("/dev/full", "w");
    const stream = handle.createWriteStream();
    const failed = once(stream, "error");
    stream.write("x");
    const [error] = await failed;
    expect({ code: error.code, syscall: error.syscall }).toEqual({ code: "ENOSPC", syscall: "write" });
    await settled(stream);
    expect(handle.fd).toBe(-1);
  });

  it("a pipeline copies a file", async () => {
    const dest = tmp.path();
    const from = await fs.open(tmp.file(data));
    const to = await fs.open(dest, "w");
    await pipeline(from.createReadStream(), to.createWriteStream());
    expect(readFileSync(dest).equals(data)).toBe(true);
    expect([from.fd, to.fd]).toEqual([-1, -1]);
  });

  const START = 'The value of "start" is out of range. It must be';
  const badStreams: [title: string, options: any, code: any, message: string, write: boolean][] = [
    ["start -1", { start: -1 }, "ERR_OUT_OF_RANGE", `${START} >= 0 && <= 9007199254740991. Received -1`, true],
    [
      "start '1'",
      { start: "1" },
      "ERR_INVALID_ARG_TYPE",
      `The "start" argument must be of type number. Received type string ('1')`,
      true,
    ],
    ["start 1.5", { start: 1.5 }, "ERR_OUT_OF_RANGE", `${START} an integer. Received 1.5`, true],
    ["start behind end", { start: 5, end: 2 }, "ERR_OUT_OF_RANGE", `${START} <= "end" (here: 2). Received 5`, false],
    [
      "end -1",
      { end: -1 },
      "ERR_OUT_OF_RANGE",
      'The value of "end" is out of range. It must be >= 0 && <= 9007199254740991. Received -1',
      false,
    ],
  ];
  for (const [title, options, code, message, write] of badStreams) {
    it(`streams refuse ${title} at the call`, async () => {
      const handle = await fs.open(tmp.file("x"), "r+");
      await expectArgumentError(() => void handle.createReadStream(options), code, message);
      if (write) await expectArgumentError(() => void handle.createWriteStream(options), code, message);
      if (name === "bun-uring") await handle.close();
      else unclosable.push(handle);
    });
  }

  it("a refused stream leaves the handle as it was", async () => {
    const handle = await fs.open(tmp.file("content"), "r+");
    unclosable.push(handle);
    await rejection(() => void handle.createReadStream({ start: -1 }));
    expect(await handle.readFile("utf8")).toBe("content");
    await handle.close();
  });

  it("createWriteStream refuses a flush that is no boolean", async () => {
    const handle = await fs.open(tmp.path(), "w");
    await expectArgumentError(
      () => void handle.createWriteStream({ flush: 1 as any }),
      "ERR_INVALID_ARG_TYPE",
      'The "options.flush" property must be of type boolean. Received type number (1)',
    );
    if (name === "bun-uring") await handle.close();
    else unclosable.push(handle);
  });

  it("readableWebStream gives the file's bytes and leaves the handle open", async () => {
    await using handle = await fs.open(tmp.file(data));
    const stream = handle.readableWebStream();
    expect(stream).toBeInstanceOf(ReadableStream);
    expect((await collect(stream as any)).equals(data)).toBe(true);
    expect(handle.fd).toBeGreaterThan(0);
  });

  it("readableWebStream is a byte stream that reads into the caller's buffer", async () => {
    await using handle = await fs.open(tmp.file("hello world"));
    const reader = (handle.readableWebStream() as any).getReader({ mode: "byob" });
    const first = await reader.read(new Uint8Array(5));
    expect(Buffer.from(first.value).toString()).toBe("hello");
    const second = await reader.read(new Uint8Array(100));
    expect(Buffer.from(second.value).toString()).toBe(" world");
    expect((await reader.read(new Uint8Array(10))).done).toBe(true);
  });

  it("readableWebStream with autoClose closes the handle at the end", async () => {
    const handle = await fs.open(tmp.file("abc"));
    const closed = once(handle as any, "close");
    expect((await collect(handle.readableWebStream({ autoClose: true }) as any)).toString()).toBe("abc");
    await closed;
    expect(handle.fd).toBe(-1);
  });

  it("readableWebStream can be had once, and not from a closed handle", async () => {
    await using handle = await fs.open(tmp.file("abc"));
    handle.readableWebStream();
    expect((await rejection(() => void handle.readableWebStream())).code).toBe("ERR_INVALID_STATE");
    const other = await fs.open(tmp.file("abc"));
    await other.close();
    expect((await rejection(() => void other.readableWebStream())).code).toBe("ERR_INVALID_STATE");
  });

  it("readLines gives the lines, whatever ends them", async () => {
    const path = tmp.file(`one\ntwo\r\n\nfour €\n${"x".repeat(100_000)}\nlast`);
    const handle = await fs.open(path);
    const lines: string[] = [];
    for await (const line of handle.readLines()) lines.push(line);
    expect(lines).toEqual(["one", "two", "", "four €", "x".repeat(100_000), "last"]);
    const part: string[] = [];
    for await (const line of (await fs.open(path)).readLines({ start: 4, end: 10 })) part.push(line);
    expect(part).toEqual(["two", "", "f"]);
  });

  it("readLines of an empty file gives none", async () => {
    const lines: string[] = [];
    for await (const line of (await fs.open(tmp.file())).readLines()) lines.push(line);
    expect(lines).toEqual([]);
  });

  const readAll: Record<string, (handle: FileHandle) => AsyncIterable<any>> = {
    "createReadStream()": (handle) => handle.createReadStream(),
    "createReadStream({ start: 0 })": (handle) => handle.createReadStream({ start: 0 }),
    "createReadStream({ start, end })": (handle) => handle.createReadStream({ start: 0, end: 799_999 }),
    "createReadStream({ end })": (handle) => handle.createReadStream({ end: 799_999 }),
    "createReadStream({ highWaterMark })": (handle) => handle.createReadStream({ highWaterMark: 1000 }),
    "readableWebStream()": (handle) => handle.readableWebStream() as AsyncIterable<Uint8Array>,
  };
  for (const [title, stream] of Object.entries(readAll)) {
    it(`${title} ends where the file ends when all before it was taken`, async () => {
      const path = tmp.file(data.subarray(0, 400_000));
      await using handle = await fs.open(path);
      const chunks: Uint8Array[] = [];
      for await (const chunk of stream(handle)) {
        // By then whoever reads ahead has seen the old end.
        for (let i = 0; chunks.length === 0 && i < 20; i++) await handle.stat();
        if (chunks.length === 0) appendFileSync(path, data.subarray(400_000, 800_000));
        chunks.push(chunk);
      }
      expect(Buffer.concat(chunks).equals(data.subarray(0, 800_000))).toBe(true);
    });
  }

  it("readLines gives the lines of a file that grows while it is read", async () => {
    const path = tmp.file("first\n".repeat(50_000));
    const handle = await fs.open(path);
    const seen = { first: 0, second: 0 };
    for await (const line of handle.readLines()) {
      if (seen.first === 0) {
        for (let i = 0; i < 20; i++) await handle.stat();
        appendFileSync(path, "second\n".repeat(50_000));
      }
      seen[line as "first"]++;
    }
    expect(seen).toEqual({ first: 50_000, second: 50_000 });
  });

  it("a file that shrinks under a stream and grows again is read on where the stream is", async () => {
    const path = tmp.file(data.subarray(0, 800_000));
    await using handle = await fs.open(path);
    const chunks: Uint8Array[] = [];
    for await (const chunk of handle.createReadStream({ start: 0, autoClose: false })) {
      if (chunks.length === 0) {
        truncateSync(path, 300_000);
        for (let i = 0; i < 20; i++) await handle.stat();
        appendFileSync(path, data.subarray(300_000, 700_000));
      }
      chunks.push(chunk);
    }
    expect(Buffer.concat(chunks).length).toBeGreaterThanOrEqual(700_000);
    expect(Buffer.concat(chunks).equals(data.subarray(0, Buffer.concat(chunks).length))).toBe(true);
  });

  it("createReadStream gives whole chunks from the first on", async () => {
    const handle = await fs.open(tmp.file(data));
    const sizes: number[] = [];
    for await (const chunk of handle.createReadStream()) sizes.push(chunk.length);
    expect(sizes.slice(0, -1).every((size) => size === 65_536)).toBe(true);
  });
}, "streams");
