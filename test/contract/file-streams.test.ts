// Owns fs.createReadStream and fs.createWriteStream, ReadStream and WriteStream: by path, descriptor and FileHandle; their
// classes, events, options and errors; and how streams end. Assumes Bun's own fs as the oracle.
// Never waits by time: every wait is for an event.

import { expect } from "bun:test";
import { once } from "node:events";
import * as nodeFs from "node:fs";
import { appendFileSync, closeSync, fstatSync, openSync, readFileSync, statSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";
import * as ours from "../../src/streams/node-stream.ts";
import { forEachImplementation } from "../helpers/backends.ts";
import { runCase } from "../helpers/child.ts";
import { expectArgumentError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const collect = async (stream: AsyncIterable<any>): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
};

/** The names of a stream's events until it is closed, as they come. */
const eventsOf = (stream: any): Promise<string[]> => {
  const seen: string[] = [];
  for (const name of ["open", "ready", "end", "finish"]) stream.on(name, () => seen.push(name));
  stream.on("error", (error: any) => seen.push(`error ${error.code}`));
  return new Promise((resolve) => stream.on("close", () => resolve([...seen, "close"])));
};

const settled = (stream: Readable | Writable): Promise<void> =>
  new Promise((resolve) => (stream.closed ? resolve() : stream.once("close", resolve)));

/** Handles that the oracle can't close: it would end in an error when they are collected. */
const kept: unknown[] = [];

forEachImplementation((fs, name, it) => {
  const tmp = scratch();
  const data = patternBytes(300_003, 11);
  const isOurs = name === "bun-uring";
  const { createReadStream, createWriteStream, ReadStream, WriteStream } = (isOurs ? ours : nodeFs) as typeof nodeFs;

  const openOn = (path: string): number => tmp.openFiles().filter((target) => target === path).length;

  /* ---- functions that the program has replaced --------------------------------------------------------------------- */

  /** Lines that a program prints which has `fs` as its own, and `path` of a file. */
  const lines = async (path: string, source: string): Promise<string[]> => {
    const from = isOurs ? join(import.meta.dir, "../../src/fs.ts") : "node:fs";
    const text = `import fs from ${JSON.stringify(from)};
      const path = ${JSON.stringify(path)}; const say = (...words) => console.log(...words);
      process.on("uncaughtException", (error) => say("uncaught", error.message));
      ${source}`;
    const child = Bun.spawn([process.execPath, "-e", text], { env: process.env, stderr: "inherit" });
    return (await child.stdout.text()).trim().split("\n");
  };

  it("streams by path call the open, read and close that a program has put in the place of node:fs's", async () => {
    const source = `const { open, read, close } = fs;
      fs.open = (...args) => { say("open", args[0] === path, args.length); open(...args); };
      fs.read = (fd, buffer, ...rest) => { say("read", fd === stream.fd, rest.length); read(fd, buffer, ...rest); };
      fs.close = (fd, done) => { say("close", fd === stream.fd); close(fd, done); };
      const stream = fs.createReadStream(path, { start: 2, end: 6, highWaterMark: 3, encoding: "utf8" });
      stream.on("data", say).on("end", () => say("end")).on("close", () => say("closed", stream.fd, stream.bytesRead));`;
    const seen = await lines(tmp.file("0123456789"), source);
    const READ = "read true 4";
    expect(seen).toEqual(["open true 4", READ, "234", READ, "56", "end", "close true", "closed null 5"]);
  });

  it("what a replaced read or close fails with is the stream's error", async () => {
    const source = `fs.read = (...args) => setTimeout(args.at(-1), 1, new Error("read fails"));
      fs.close = (fd, done) => { fs.closeSync(fd); done(new Error("close fails")); };
      fs.createReadStream(path).on("data", say).on("error", (error) => say(error.message)).on("close", () => say("closed"));`;
    const [error, ...rest] = await lines(tmp.file("text"), source);
    expect(["read fails", "close fails"]).toContain(error!);
    expect(rest).toEqual(["closed"]);
  });

  it("streams call a write, writev, fsync and close that have been replaced, also after they were made", async () => {
    const source = `const { write, writev, fsync, close } = fs;
      const stream = fs.createWriteStream(path, { flush: true });
      fs.write = (...args) => { say("write", args[0] === stream.fd, String(args[1])); write(...args); };
      fs.writev = (...args) => { say("writev", args[1].join("+")); writev(...args); };
      fs.fsync = (...args) => { say("fsync"); fsync(...args); };
      fs.close = (...args) => { say("close"); close(...args); };
      stream.write("one", () => { stream.cork(); stream.write("two"); stream.write("three"); stream.uncork(); stream.end(); });
      stream.on("close", () => say("closed", stream.bytesWritten, fs.readFileSync(path, "utf8")));`;
    expect(await lines(tmp.path(), source)).toEqual([
      "write true one",
      "writev two+three",
      "fsync",
      "close",
      "closed 11 onetwothree",
    ]);
  });

  it("a replaced write that writes in part is called for the rest, one that fails is the stream's error", async () => {
    const source = `const { write } = fs; let calls = 0;
      fs.write = (fd, data, at, length, position, done) => {
        say(length);
        if (++calls === 3) return setImmediate(done, new Error("full"));
        write(fd, data, at, Math.min(length, 4), position, done);
      };
      const stream = fs.createWriteStream(path, { start: 1 });
      stream.write("0123456789", (error) => say("told", error?.message));
      stream.on("error", (error) => say("error", error.message)).on("close", () => say(fs.readFileSync(path).length));`;
    const seen = await lines(tmp.path(), source);
    expect(seen).toEqual(["10", "6", "2", "told full", "error full", "9"]);
  });

  it("functions that are put back are no longer called, and a FileHandle's stream never calls them", async () => {
    const source = `const { close, read } = fs;
      fs.close = () => say("never"); fs.close = close; fs.read = () => say("never");
      const handle = await fs.promises.open(path);
      handle.createReadStream({ encoding: "utf8" }).on("data", say).on("close", () => {
        fs.read = read;
        fs.createReadStream(path, "utf8").on("data", say).on("close", () => say("closed"));
      });`;
    expect(await lines(tmp.file("text"), source)).toEqual(["text", "text", "closed"]);
  });

  /* ---- by path ----------------------------------------------------------------------------------------------------- */

  it("createReadStream opens, reads and closes, with Node's events in order", async () => {
    const path = tmp.file(data);
    const stream = createReadStream(path);
    const events = eventsOf(stream);
    expect({ pending: stream.pending, fd: (stream as any).fd, path: stream.path }).toEqual({
      pending: true,
      fd: null,
      path,
    } as any);
    const [fd] = await once(stream, "open");
    expect([typeof fd, (stream as any).fd, stream.pending]).toEqual(["number", fd, false]);
    expect((await collect(stream)).equals(data)).toBe(true);
    await settled(stream);
    expect(await events).toEqual(["open", "ready", "end", "close"]);
    expect([stream.bytesRead, (stream as any).fd, tmp.openFiles()]).toEqual([data.length, null, []]);
  });

  it("createReadStream takes paths of all kinds, options and an encoding in their place", async () => {
    const path = tmp.file("0123456789");
    const text = async (...args: [any, any?]): Promise<string> => {
      let all = "";
      for await (const chunk of createReadStream(...args)) all += chunk;
      return all;
    };
    expect(await text(path, "hex")).toBe("30313233343536373839");
    expect(await text(pathToFileURL(path), { start: 2, end: 4 })).toBe("234");
    expect(await text(path, { end: 4 })).toBe("01234");
    expect(await text(path, { start: 50 })).toBe("");
    expect(await text(path, null)).toBe("0123456789");
    const stream = createReadStream(path, { start: 4 }) as any;
    expect([stream.start, stream.end, stream.pos, stream.flags, stream.mode]).toEqual([4, Infinity, 4, "r", 0o666]);
    await collect(stream);
    expect(stream.pos).toBe(10);
  });

  it("createReadStream takes a Buffer as its path, as it is at the call", async () => {
    const path = Buffer.from(tmp.file("0123456789"));
    const stream = createReadStream(path, { encoding: "latin1", start: 3 });
    path.fill(0);
    let all = "";
    for await (const chunk of stream) all += chunk;
    expect(all).toBe("3456789");
  });

  it("what can't be opened is an error event with the path, then close", async () => {
    const path = tmp.path("missing");
    for (const make of [() => createReadStream(path), () => createWriteStream(`${path}/below`)]) {
      const stream = make();
      const failed = once(stream, "error");
      const events = eventsOf(stream);
      const [error] = await failed;
      expect([error.code, error.syscall, error.path]).toEqual(["ENOENT", "open", (stream as any).path]);
      expect(await events).toEqual(["error ENOENT", "close"]);
      expect(stream.destroyed).toBe(true);
    }
  });

  it("createWriteStream makes the file, with Node's events in order", async () => {
    const path = tmp.path();
    const stream = createWriteStream(path, { mode: 0o600 });
    const events = eventsOf(stream);
    expect(stream.pending).toBe(true);
    stream.write("one,");
    stream.write(Buffer.from("two,"));
    stream.end("three");
    expect(await events).toEqual(["open", "ready", "finish", "close"]);
    expect(readFileSync(path, "latin1")).toBe("one,two,three");
    expect([stream.bytesWritten, statSync(path).mode & 0o777, tmp.openFiles()]).toEqual([13, 0o600, []]);
  });

  it("createWriteStream takes flags, start and an encoding", async () => {
    const path = tmp.file("0123456789");
    createWriteStream(path, { flags: "a" }).end("ab");
    for (const options of [{ flags: "r+", start: 3 }, "hex"]) {
      const before = createWriteStream(tmp.path());
      before.end();
      await settled(before);
      const stream = createWriteStream(path, options as any);
      stream.end(options === "hex" ? "4142" : "AB");
      await settled(stream);
      if (options !== "hex") expect(readFileSync(path, "latin1").slice(0, 6)).toBe("012AB5");
    }
    expect(readFileSync(path, "latin1")).toBe("AB");
    const refused = createWriteStream(path, { flags: "wx" });
    expect((await once(refused, "error"))[0].code).toBe("EEXIST");
  });

  it("wrong arguments are refused at the call; wrong flags when it is opened", async () => {
    const path = tmp.file("x");
    const cases: [args: any[], code: string][] = [
      [[{}], "ERR_INVALID_ARG_TYPE"],
      [[path, 5], "ERR_INVALID_ARG_TYPE"],
      [[path, "no encoding"], "ERR_INVALID_ARG_VALUE"],
      [[path, { start: "1" }], "ERR_INVALID_ARG_TYPE"],
      [[path, { start: -1 }], "ERR_OUT_OF_RANGE"],
      [[path, { fd: "1" }], "ERR_INVALID_ARG_TYPE"],
      [[path, { fd: -1 }], "ERR_OUT_OF_RANGE"],
      [[path, { fd: 1.5 }], "ERR_OUT_OF_RANGE"],
      [[path, { fd: {} }], "ERR_INVALID_ARG_TYPE"],
      [[path, { signal: 1 }], "ERR_INVALID_ARG_TYPE"],
    ];
    for (const [args, code] of cases) {
      await expectArgumentError(() => void (createReadStream as any)(...args), code as any);
      await expectArgumentError(() => void (createWriteStream as any)(...args), code as any);
    }
    await expectArgumentError(() => void createReadStream(path, { start: 2, end: 1 }), "ERR_OUT_OF_RANGE" as any);
    await expectArgumentError(() => void createWriteStream(path, { flush: 1 as any }), "ERR_INVALID_ARG_TYPE" as any);
    const [error] = await once(createReadStream(path, { flags: "what" as any }), "error");
    expect(error.code).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("a path with a NUL byte is refused at the call", async () => {
    await expectArgumentError(() => void createReadStream("a\0b"), "ERR_INVALID_ARG_VALUE" as any);
    await expectArgumentError(() => void createWriteStream("a\0b"), "ERR_INVALID_ARG_VALUE" as any);
  });

  it("destroyed or closed before it is open, it leaves nothing open", async () => {
    for (const make of [createReadStream, createWriteStream]) {
      const path = tmp.file(data);
      const destroyed = make(path);
      destroyed.destroy();
      await settled(destroyed as Readable);
      const closed = make(path);
      await new Promise<void>((resolve) => closed.close(() => resolve()));
      expect(openOn(path)).toBe(0);
    }
  });

  it("a signal ends it", async () => {
    const controller = new AbortController();
    const path = tmp.file(data);
    const stream = createReadStream(path, { signal: controller.signal });
    const failed = once(stream, "error");
    stream.once("open", () => controller.abort());
    expect((await failed)[0].name).toBe("AbortError");
    await settled(stream);
    expect(openOn(path)).toBe(0);
  });

  it("a signal that is aborted already leaves nothing open", async () => {
    const path = tmp.file(data);
    const stream = createReadStream(path, { signal: AbortSignal.abort() });
    expect((await once(stream, "error"))[0].name).toBe("AbortError");
    await settled(stream);
    expect(openOn(path)).toBe(0);
  });

  /* ---- by descriptor, by handle, by functions ------------------------------------------------------------------------ */

  it("descriptors are read and written, closed or left open as autoClose says", async () => {
    const path = tmp.file(data);
    for (const autoClose of [true, false]) {
      const fd = openSync(path, "r");
      const stream = createReadStream("", { fd, autoClose, start: 100 });
      expect([(stream as any).fd, stream.pending, stream.path]).toEqual([fd, false, undefined as any]);
      const events = eventsOf(stream);
      expect((await collect(stream)).equals(data.subarray(100))).toBe(true);
      if (autoClose) expect(await events).toEqual(["end", "close"]);
      expect(openOn(path)).toBe(autoClose ? 0 : 1);
      if (!autoClose) closeSync(fd);
    }
    const fd = openSync(path, "r+");
    const stream = createWriteStream("", { fd, autoClose: false });
    await new Promise<void>((resolve) => void stream.end("hello", () => resolve()));
    expect(fstatSync(fd).size).toBe(data.length);
    closeSync(fd);
    expect(readFileSync(path, "latin1").slice(0, 5)).toBe("hello");
    const closed = createReadStream("", { fd }).resume();
    expect((await once(closed, "error"))[0].code).toBe("EBADF");
  });

  it("a FileHandle in the options", async () => {
    const path = tmp.file(data);
    const handle = await fs.open(path, "r+");
    const stream = createReadStream("", { fd: handle as any, end: 9 });
    expect((await collect(stream)).equals(data.subarray(0, 10))).toBe(true);
    await settled(stream);
    expect(handle.fd).toBe(-1);
  });

  it("a read that was put in the place of the handle's is called", async () => {
    const handle: any = await fs.open(tmp.file(data));
    const { read } = handle;
    let calls = 0;
    handle.read = function (...args: unknown[]) {
      calls++;
      return read.apply(this, args);
    };
    expect((await collect(handle.createReadStream())).equals(data)).toBe(true);
    expect(calls).toBeGreaterThan(1);
  });

  it("with autoClose: false the descriptor is the user's, also when the stream is collected", async () => {
    const path = tmp.file(data);
    const fds: number[] = [];
    const read = async (): Promise<void> => {
      const stream: any = createReadStream(path, { autoClose: false });
      await collect(stream);
      fds.push(stream.fd);
    };
    for (let i = 0; i < 10; i++) await read();
    for (let i = 0; i < 5; i++) {
      Bun.gc(true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(openOn(path)).toBe(10);
    const again = createReadStream("", { fd: fds[0]!, start: 7 });
    expect((await collect(again)).equals(data.subarray(7))).toBe(true);
    for (const fd of fds.slice(1)) closeSync(fd);
  });

  it("functions of the user's own in the place of fs", async () => {
    const calls: string[] = [];
    const standard: Pick<typeof nodeFs, "open" | "read" | "close"> = nodeFs;
    const noting =
      (name: "open" | "read" | "close") =>
      (...args: any[]) => {
        calls.push(name);
        return (standard[name] as any)(...args);
      };
    const own = { open: noting("open"), read: noting("read"), close: noting("close") };
    const stream = createReadStream(tmp.file("content"), { fs: own as any });
    expect(stream instanceof ReadStream && stream instanceof nodeFs.ReadStream).toBe(true);
    expect((await collect(stream)).toString()).toBe("content");
    await settled(stream);
    expect([...new Set(calls)]).toEqual(["open", "read", "close"]);
  });

  /* ---- classes ----------------------------------------------------------------------------------------------------- */

  it("their classes are fs's, with its names and defaults, with and without new", async () => {
    const handle = await fs.open(tmp.file(data), "r+");
    const path = tmp.file(data);
    const reads = [
      createReadStream(path),
      new (ReadStream as any)(path, {}),
      (ReadStream as any)(path),
      handle.createReadStream({ autoClose: false }),
    ];
    const writes = [
      createWriteStream(path),
      new (WriteStream as any)(path, {}),
      (WriteStream as any)(path),
      handle.createWriteStream({ autoClose: false }),
    ];
    for (const stream of reads) {
      expect(stream).toBeInstanceOf(Readable);
      expect(stream instanceof nodeFs.ReadStream && stream instanceof ReadStream).toBe(true);
      expect(stream instanceof nodeFs.WriteStream || stream instanceof WriteStream).toBe(false);
      expect([stream.constructor.name, stream.readableHighWaterMark, stream.autoClose !== undefined]).toEqual([
        "ReadStream",
        65_536,
        true,
      ]);
    }
    for (const stream of writes) {
      expect(stream).toBeInstanceOf(Writable);
      expect(stream instanceof nodeFs.WriteStream && stream instanceof WriteStream).toBe(true);
      expect([stream.constructor.name, stream.writableHighWaterMark]).toEqual(["WriteStream", 65_536]);
    }
    expect([ReadStream.name, WriteStream.name, ReadStream.length, WriteStream.length]).toEqual([
      "ReadStream",
      "WriteStream",
      2,
      2,
    ]);
    expect(nodeFs.createReadStream(path).destroy() instanceof ReadStream).toBe(true);
    for (const stream of [...reads, ...writes]) stream.destroy();
    await Promise.all([...reads, ...writes].map(settled));
    await handle.close();
  });

  it("subclasses, and functions of before classes that put an open of their own in place", async () => {
    const path = tmp.file("content");
    class Upper extends (ReadStream as any) {
      push(chunk: Buffer | null): boolean {
        return super.push(chunk && Buffer.from(chunk.toString().toUpperCase()));
      }
    }
    const upper: any = new (Upper as any)(path);
    expect(upper instanceof Upper).toBe(true);
    expect(createReadStream(path).destroy() instanceof Upper).toBe(false);
    expect((await collect(upper)).toString()).toBe("CONTENT");

    function Old(this: any, ...args: any[]): any {
      (ReadStream as any).apply(this, args);
    }
    Old.prototype = Object.create(ReadStream.prototype);
    Old.prototype.open = function (this: any) {
      nodeFs.open(this.path, this.flags, this.mode, (error, fd) => {
        if (error) return this.emit("error", error);
        this.fd = fd;
        this.emit("open", fd);
        this.read();
      });
    };
    const old: any = new (Old as any)(path);
    let opened = 0;
    old.on("open", () => opened++);
    expect((await collect(old)).toString()).toBe("content");
    expect(opened).toBe(1);
    const missing: any = new (Old as any)(tmp.path());
    expect((await once(missing, "error"))[0].code).toBe("ENOENT");
  });

  /* ---- flowing, ends ------------------------------------------------------------------------------------------------ */

  it("flowing, it gives one chunk a tick", async () => {
    const handle = await fs.open(tmp.file(data));
    const stream = handle.createReadStream({ highWaterMark: 10_000 });
    await new Promise<void>((resolve) => {
      let chunks = 0;
      stream.on("data", () => {
        chunks++;
        if (chunks === 3) process.nextTick(() => stream.pause());
        if (chunks === 3) resolve();
      });
    });
    for (let i = 0; i < 20; i++) await handle.stat();
    expect(stream.bytesRead - stream.readableLength).toBe(30_000);
    stream.destroy();
    await settled(stream);
  });

  it("a listener or callback that throws is an uncaught exception", async () => {
    const [module, promises] = isOurs
      ? ["../../src/streams/node-stream.ts", "../../src/promises.ts"].map((file) => join(import.meta.dir, file))
      : ["node:fs", "node:fs/promises"];
    const input = { module, promises, path: tmp.file("content") };
    const seen = await runCase(join(import.meta.dir, "file-streams.child.ts"), "throwing", { input });
    expect(seen).toEqual([
      "uncaughtException: read data",
      "uncaughtException: read end",
      "uncaughtException: read close",
      "uncaughtException: handle's read data",
      "uncaughtException: handle's read end",
      "uncaughtException: handle's read close",
      "uncaughtException: write callback",
      "uncaughtException: handle's write callback",
    ]);
  });

  const endings: Record<string, (stream: any) => Promise<unknown>> = {
    "end(callback)": (stream) => new Promise<void>((resolve) => void stream.end("hello", resolve)),
    finished: (stream) => finished(stream.end("hello")),
    pipeline: (stream) => pipeline(Readable.from(["hello"]), stream),
    "destroy()": (stream) => {
      stream.write("hello");
      return settled(stream.destroy());
    },
    "nothing written": async () => {},
    "an end that isn't waited for": async (stream) => stream.end("hello"),
    "an end with nothing written": (stream) => new Promise<void>((resolve) => stream.end(resolve)),
    "an error": async (stream) => {
      stream.on("error", () => {});
      stream.write("hello");
      await once(stream, "error");
    },
  };
  for (const [title, end] of Object.entries(endings)) {
    it(`close() settles after a write stream with autoClose: false: ${title}`, async () => {
      for (const flush of [false, true]) {
        const path = title === "an error" ? "/dev/full" : tmp.path();
        const handle = await fs.open(path, "w");
        kept.push(handle);
        const stream = handle.createWriteStream({ autoClose: false, flush });
        await end(stream);
        const closed = await Promise.race([handle.close().then(() => true), Bun.sleep(2000).then(() => false)]);
        expect(closed).toBe(true);
        expect(handle.fd).toBe(-1);
        if (!/error|nothing|destroy/.test(title)) expect(readFileSync(path, "latin1")).toBe("hello");
      }
    });
  }

  it("streams that have ended leave no listener on their handle", async () => {
    const handle: FileHandle & { listenerCount(name: string): number } = (await fs.open(tmp.file(data), "r+")) as any;
    for (let i = 0; i < 20; i++) {
      await collect(handle.createReadStream({ autoClose: false, start: 0, end: 99 }));
    }
    kept.push(handle);
    expect(handle.listenerCount("close")).toBe(0);
    for (let i = 0; i < 20; i++) {
      const stream = handle.createWriteStream({ autoClose: false, start: 0 });
      await new Promise<void>((resolve) => stream.end("x", resolve));
    }
    expect(handle.listenerCount("close")).toBe(0);
    appendFileSync(tmp.path(), "");
    await handle.close();
  });

  it("close(callback) of a write stream that has finished and is left open closes it", async () => {
    const handle = await fs.open(tmp.path(), "w");
    kept.push(handle);
    const stream = handle.createWriteStream({ autoClose: false });
    await new Promise<void>((resolve) => void stream.end("x", () => resolve()));
    const closed = await Promise.race([
      new Promise((resolve) => stream.close(() => resolve(true))),
      Bun.sleep(2000).then(() => false),
    ]);
    expect([closed, handle.fd]).toEqual([true, -1]);
  });
}, "file-streams");
