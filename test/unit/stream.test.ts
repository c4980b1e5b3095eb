// The streams of FileHandle where they differ from a plain loop of reads: read-ahead, the shared position, files that
// change, memory, the handle's lifetime. What Node documents is in the contract suite; this is about not losing a byte.
// Never waits by time: every wait is for an event.

import { describe, expect, test } from "bun:test";
import { once } from "node:events";
import { appendFileSync, existsSync, readFileSync, truncateSync } from "node:fs";
import { open } from "../../src/promises.ts";
import { ReadStream, WriteStream } from "../../src/streams/node-stream.ts";
import { positionOf } from "../helpers/fds.ts";
import { collect } from "../helpers/settled.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const MIB = 1024 * 1024;
const tmp = scratch();
const data = patternBytes(5 * MIB + 12_345, 3);
const path = tmp.file(data);

const { fifo } = tmp;

describe("reading", () => {
  for (const highWaterMark of [777, 4096, 65_536, 100_000, 300_000, 3 * MIB]) {
    for (const start of [undefined, 54_321]) {
      test(`every byte once and in order: highWaterMark ${highWaterMark}, start ${start}`, async () => {
        const handle = await open(path);
        const stream = handle.createReadStream({ highWaterMark, start });
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk);
        expect(Buffer.concat(chunks).equals(data.subarray(start ?? 0))).toBe(true);
        expect(Math.max(...chunks.map((chunk) => chunk.length))).toBe(highWaterMark);
        expect(stream.bytesRead).toBe(data.length - (start ?? 0));
      });
    }
  }

  test("the own position ends where the file does, or behind `end`", async () => {
    await using handle = await open(path);
    const part = await collect(handle.createReadStream({ autoClose: false, end: 1_999_999 }));
    expect(part.equals(data.subarray(0, 2_000_000))).toBe(true);
    expect(positionOf(handle.fd)).toBe(2_000_000);
    const rest = await collect(handle.createReadStream({ autoClose: false }));
    expect(rest.equals(data.subarray(2_000_000))).toBe(true);
    expect(positionOf(handle.fd)).toBe(data.length);
  });

  test("a stream with `start` leaves the own position alone", async () => {
    await using handle = await open(path);
    await handle.read(Buffer.alloc(10));
    await collect(handle.createReadStream({ autoClose: false, start: 100 }));
    expect(positionOf(handle.fd)).toBe(10);
  });

  test("reads at the own position and a stream there share the file: no byte twice, none lost", async () => {
    await using handle = await open(path);
    const seen = new Uint8Array(data.length);
    const account = (bytes: Uint8Array): void => {
      // The pattern's period is longer than the file: a chunk is found at one place only.
      const at = data.indexOf(bytes);
      expect(at).toBeGreaterThanOrEqual(0);
      for (let i = 0; i < bytes.length; i++) seen[at + i]!++;
    };
    let round = 0;
    for await (const chunk of handle.createReadStream({ autoClose: false })) {
      account(chunk);
      if (++round % 3 !== 0) continue;
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(30_000));
      if (bytesRead > 0) account(buffer.subarray(0, bytesRead));
    }
    expect(seen.every((times) => times === 1)).toBe(true);
  });

  test("operations that were called before the stream was made come first", async () => {
    await using handle = await open(path);
    const before = handle.read(Buffer.alloc(1000));
    const after = await collect(handle.createReadStream({ autoClose: false }));
    expect((await before).buffer.equals(data.subarray(0, 1000))).toBe(true);
    expect(after.equals(data.subarray(1000))).toBe(true);
  });

  test("a file that grows while it is read is read to its new end", async () => {
    for (const start of [undefined, 0]) {
      const growing = tmp.file(data);
      const more = patternBytes(2 * MIB, 9);
      const handle = await open(growing);
      const chunks: Buffer[] = [];
      for await (const chunk of handle.createReadStream({ start })) {
        if (chunks.length === 0) appendFileSync(growing, more);
        chunks.push(chunk);
      }
      expect(Buffer.concat(chunks).equals(Buffer.concat([data, more]))).toBe(true);
    }
  });

  test("a file that shrinks while it is read gives a part of it, in order", async () => {
    for (const start of [undefined, 0]) {
      const shrinking = tmp.file(data);
      await using handle = await open(shrinking);
      const chunks: Buffer[] = [];
      for await (const chunk of handle.createReadStream({ start, autoClose: false })) {
        if (chunks.length === 0) truncateSync(shrinking, 3_000_001);
        chunks.push(chunk);
      }
      const all = Buffer.concat(chunks);
      expect(all.equals(data.subarray(0, all.length))).toBe(true);
      expect(all.length).toBe(3_000_001);
      if (start === undefined) expect(positionOf(handle.fd)).toBe(3_000_001);
    }
  });

  test("files without a size are read to their end", async () => {
    for (const name of ["/proc/version", "/proc/kallsyms", "/proc/filesystems"]) {
      if (!existsSync(name)) continue;
      const expected = readFileSync(name);
      expect((await collect((await open(name)).createReadStream())).equals(expected)).toBe(true);
      expect((await collect((await open(name)).createReadStream({ start: 5 }))).equals(expected.subarray(5))).toBe(
        true,
      );
    }
  });

  test("a pipe is not asked for more than was wanted", async () => {
    await using handle = await open(fifo(), "r+");
    await handle.write("first");
    const stream = handle.createReadStream({ highWaterMark: 5, end: 9 });
    const iterator = stream[Symbol.asyncIterator]();
    expect((await iterator.next()).value.toString()).toBe("first");
    await handle.write("other");
    expect((await iterator.next()).value.toString()).toBe("other");
    expect((await iterator.next()).done).toBe(true);
  });

  test("a stream that nobody reads holds a window, not the file", async () => {
    await using handle = await open(path);
    const stream = handle.createReadStream({ autoClose: false });
    await once(stream, "readable");
    await handle.stat(); // whatever was in flight has gone on
    expect(positionOf(handle.fd)).toBeLessThanOrEqual(2 * MIB);
    expect(stream.readableLength).toBeLessThanOrEqual(65_536);
  });

  test("a chunk's memory is its own: taking it away loses nothing", async () => {
    for (const highWaterMark of [1000, 65_536]) {
      const handle = await open(path);
      const chunks: Uint8Array[] = [];
      for await (const chunk of handle.createReadStream({ highWaterMark })) {
        const { byteOffset, byteLength } = chunk;
        chunks.push(
          new Uint8Array(structuredClone(chunk.buffer, { transfer: [chunk.buffer] }), byteOffset, byteLength),
        );
        expect(chunk.byteLength).toBe(0);
      }
      expect(Buffer.concat(chunks).equals(data)).toBe(true);
    }
  });

  test("destroyed in mid-flight, it closes the handle once the kernel is done", async () => {
    for (let round = 0; round < 20; round++) {
      const handle = await open(path);
      const stream = handle.createReadStream();
      if (round % 2 === 0) stream.resume();
      for (let turn = 0; turn < round; turn++) await Promise.resolve();
      stream.destroy();
      await once(stream, "close");
      expect(handle.fd).toBe(-1);
    }
  });

  test("handle.close() destroys the stream, and then resolves", async () => {
    const handle = await open(path);
    const stream = handle.createReadStream();
    const closed = once(stream, "close");
    await handle.close();
    expect(stream.destroyed).toBe(true);
    await closed;
    expect(handle.fd).toBe(-1);
  });

  test("an error without autoClose leaves the handle open", async () => {
    await using handle = await open(tmp.folder());
    const stream = handle.createReadStream({ autoClose: false });
    const failed = once(stream, "error");
    stream.resume();
    expect((await failed)[0].code).toBe("EISDIR");
    expect([stream.destroyed, handle.fd > 0]).toEqual([false, true]);
  });

  test("a signal that is aborted already destroys the stream", async () => {
    const handle = await open(path);
    const stream = handle.createReadStream({ signal: AbortSignal.abort() });
    const [error] = await once(stream, "error");
    expect(error.name).toBe("AbortError");
    if (!stream.closed) await once(stream, "close");
    expect(handle.fd).toBe(-1);
  });
});

test("autoClose of what is no stream is refused", () => {
  for (const { prototype } of [ReadStream, WriteStream]) {
    let code: unknown;
    try {
      void (prototype as { autoClose?: unknown }).autoClose;
    } catch (error) {
      code = (error as NodeJS.ErrnoException).code;
    }
    expect(code).toBe("ERR_INVALID_THIS");
  }
});

describe("writing", () => {
  /** The handle's own write and writev, with what they were asked for written down, and at most `limit` bytes at a time. */
  const watch = (handle: any, limit = Infinity): string[] => {
    const calls: string[] = [];
    const { write, writev } = handle;
    handle.write = (bytes: Buffer, offset: number, length: number, position: number | null) => {
      calls.push("write");
      return write.call(handle, bytes, offset, Math.min(length, limit), position);
    };
    handle.writev = (buffers: Buffer[], position: number | null) => {
      calls.push(`writev ${buffers.length}`);
      return limit === Infinity
        ? writev.call(handle, buffers, position)
        : writev.call(handle, [buffers[0]!.subarray(0, limit)], position);
    };
    return calls;
  };

  for (const start of [undefined, 100]) {
    test(`goes on after short writes, start ${start}`, async () => {
      const at = tmp.file("-".repeat(100));
      const handle = await open(at, "r+");
      const calls = watch(handle, 3000);
      const stream = handle.createWriteStream({ start });
      const chunks = [10_000, 5000, 1, 2999, 3000, 3001, 100_000].map((length, i) => patternBytes(length, i + 1));
      for (const chunk of chunks) stream.write(chunk);
      stream.end();
      await once(stream, "close");
      const all = Buffer.concat(chunks);
      expect(
        readFileSync(at)
          .subarray(start ?? 0)
          .equals(all),
      ).toBe(true);
      expect(stream.bytesWritten).toBe(all.length);
      expect(calls).toContain("writev 6");
    });
  }

  test("what waits is written at once", async () => {
    const at = tmp.path();
    const handle = await open(at, "w");
    const calls = watch(handle);
    const stream = handle.createWriteStream({ highWaterMark: 16_384 });
    const large = Array.from({ length: 5 }, (_, i) => patternBytes(10_000, i + 1));
    for (const chunk of large) stream.write(chunk);
    await once(stream, "drain");
    const small = Array.from({ length: 2000 }, (_, i) => `line ${i}\n`);
    for (const line of small) stream.write(line);
    stream.end();
    await once(stream, "close");
    expect(calls).toEqual(["write", "writev 4", "write", "write"]);
    expect(readFileSync(at).equals(Buffer.concat([...large, Buffer.from(small.join(""))]))).toBe(true);
  });

  test("handle.close() writes what is waiting first", async () => {
    const at = tmp.path();
    const handle = await open(at, "w");
    const stream = handle.createWriteStream();
    for (let i = 0; i < 100; i++) stream.write(`${i},`);
    await handle.close();
    expect(readFileSync(at, "utf8")).toBe(Array.from({ length: 100 }, (_, i) => `${i},`).join(""));
    expect([stream.writableFinished, handle.fd]).toEqual([true, -1]);
  });

  test("flush syncs before the handle is closed, and says what went wrong", async () => {
    for (const fails of [false, true]) {
      const handle = await open(tmp.path(), "w");
      const order: string[] = [];
      const { sync } = handle;
      handle.sync = async () => {
        order.push(`sync of ${handle.fd > 0 ? "an open" : "a closed"} file`);
        await sync.call(handle);
        if (fails) throw new Error("lost");
      };
      const stream = handle.createWriteStream({ flush: true });
      stream.on("error", (error) => order.push(error.message));
      stream.on("close", () => order.push("close"));
      stream.end("x");
      await once(handle, "close");
      await new Promise<void>((resolve) => (stream.closed ? resolve() : stream.once("close", resolve)));
      expect(order).toEqual(["sync of an open file", ...(fails ? ["lost"] : []), "close"]);
    }
  });

  test("left open, it syncs before it finishes, and says what went wrong", async () => {
    for (const fails of [false, true]) {
      const handle = await open(tmp.path(), "w");
      const order: string[] = [];
      const { sync } = handle;
      handle.sync = async () => {
        await sync.call(handle);
        order.push("sync");
        if (fails) throw new Error("lost");
      };
      const stream = handle.createWriteStream({ flush: true, autoClose: false });
      const ended = new Promise<void>((resolve) => {
        const note = (what: string): void => {
          order.push(what);
          resolve();
        };
        stream.on("finish", () => note("finish"));
        stream.on("error", ({ message }) => note(message));
      });
      stream.end("x");
      await ended;
      expect(order).toEqual(["sync", fails ? "lost" : "finish"]);
      await handle.close();
    }
  });

  test("a close that fails is the stream's error", async () => {
    const handle = await open(tmp.path(), "w");
    const { close } = handle;
    handle.close = async () => {
      await close.call(handle);
      throw new Error("lost");
    };
    const stream = handle.createWriteStream();
    stream.end("x");
    const [error] = await once(stream, "error");
    expect(error.message).toBe("lost");
  });

  test("a file that takes nothing is an error after some tries", async () => {
    const handle: any = await open(tmp.path(), "w");
    let tries = 0;
    handle.write = async () => {
      if (++tries > 100) throw new Error("endless");
      return { bytesWritten: 0 };
    };
    const stream = handle.createWriteStream();
    stream.write("x");
    const [error] = await once(stream, "error");
    expect(error.message).toBe("write failed");
  });

  test("destroyed in mid-flight, it syncs what the write under way has written", async () => {
    const handle: any = await open(tmp.path(), "w");
    const order: string[] = [];
    for (const name of ["write", "sync"]) {
      const method = handle[name];
      handle[name] = async (...args: unknown[]) => {
        order.push(name);
        const result = await method.apply(handle, args);
        order.push(`${name} done`);
        return result;
      };
    }
    const stream = handle.createWriteStream({ flush: true });
    stream.on("error", () => {});
    stream.write(Buffer.alloc(MIB));
    stream.destroy();
    await once(stream, "close");
    expect(order).toEqual(["write", "write done", "sync", "sync done"]);
  });

  test("destroyed in mid-flight, it waits for the write and drops the rest", async () => {
    const at = tmp.path();
    const handle = await open(at, "w");
    const stream = handle.createWriteStream();
    const results: (string | undefined)[] = [];
    const note = (error?: any): void => void results.push(error?.code);
    stream.write(Buffer.alloc(300_000, 1), note);
    stream.write("never", note);
    stream.destroy();
    await once(stream, "close");
    expect(readFileSync(at).length).toBe(300_000);
    expect(results).toEqual(["ERR_STREAM_DESTROYED", "ERR_STREAM_DESTROYED"]);
    expect(handle.fd).toBe(-1);
  });
});
