// file() and write() beside Bun.file and Bun.write, on both backends: the same bytes, and what is ours alone.
// Assumes a folder. Differences from Bun's are listed in docs/compatibility.md.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { open as nodeOpen } from "node:fs/promises";
import { join } from "node:path";
import { open } from "../../src/index.ts";
import { file, type Writable, write } from "../../src/server.ts";
import { code } from "../helpers/settled.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const big = patternBytes(3_000_000) as Buffer<ArrayBuffer>;

/** Each made anew for each writer: bodies are read once. */
const DATA: Record<string, () => unknown> = {
  text: () => "grün €",
  nothing: () => "",
  view: () => new Uint16Array([1, 2, 3]),
  "part of a view": () => big.subarray(5, 50),
  "large view": () => big,
  ArrayBuffer: () => new Uint8Array([1, 2, 3]).buffer,
  Blob: () => new Blob(["a", big]),
  BunFile: () => Bun.file(import.meta.path),
  Response: () => new Response(big),
  "Response of a stream": () => new Response(new Blob([big]).stream()),
  Request: () => new Request("http://x/", { method: "POST", body: "asked" }),
};

describe("write", () => {
  for (const [name, data] of Object.entries(DATA)) {
    test(`${name}: the bytes and the count of Bun.write`, async () => {
      const [ours, buns] = [tmp.path(), tmp.path()];
      const [count, expected] = [await write(ours, data() as Writable), await Bun.write(buns, data() as Blob)];
      expect(count).toBe(expected);
      expect(readFileSync(ours).equals(readFileSync(buns))).toBe(true);
      const atomic = tmp.path();
      expect(await write(atomic, data() as Writable, { atomic: true, flush: true })).toBe(expected);
      expect(readFileSync(atomic).equals(readFileSync(buns))).toBe(true);
    });
  }

  test("streams, iterables and arrays; folders are made, or not; append; mode", async () => {
    const path = join(tmp.path(), "a/b/c");
    const stream = new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array([65]));
        controller.close();
      },
    });
    expect(await write(path, [stream, "b", new Blob(["c"]), new Uint8Array([68])])).toBe(4);
    expect(await write(path, "!", { append: true })).toBe(1);
    expect(readFileSync(path, "utf8")).toBe("AbcD!");
    expect(await code(write(join(tmp.path(), "a/b"), "x", { createPath: false }))).toBe("ENOENT");
    const own = tmp.path();
    await write(own, "x", { mode: 0o600 });
    expect(statSync(own).mode & 0o777).toBe(0o600);
  });

  test("what fails leaves the old file, where it was to be atomic; wrong data is refused before anything is opened", async () => {
    const dir = tmp.folder();
    const path = join(dir, "value");
    writeFileSync(path, "old");
    async function* failing(): AsyncGenerator<string> {
      yield "new";
      throw Object.assign(new Error("mine"), { code: "MINE" });
    }
    expect(await code(write(path, failing(), { atomic: true }))).toBe("MINE");
    expect(await code(write(path, "new", { atomic: true, signal: AbortSignal.abort() }))).toBe("ABORT_ERR");
    for (const wrong of [5, null, undefined, {}, Symbol("x")])
      expect(await code(write(path, wrong as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect([readdirSync(dir), readFileSync(path, "utf8")]).toEqual([["value"], "old"]);
    const changing = Buffer.from("first");
    const writing = write(path, changing);
    changing.fill("x");
    await writing;
    expect(readFileSync(path, "utf8")).toBe("first");
  });
});

describe("write, where it could go wrong", () => {
  test("a source that can't be read leaves the file as it is, though it is not atomic", async () => {
    const path = tmp.file("old");
    const used = new Response("used");
    await used.text();
    const locked = new Blob(["x"]).stream();
    locked.getReader();
    const lockedAnswer = new Response("x");
    lockedAnswer.body!.getReader();
    const broken = new ReadableStream({
      pull: () => Promise.reject(Object.assign(new Error("mine"), { code: "MINE" })),
    });
    const gone = tmp.path();
    const sources: [Writable, string][] = [
      [used, "ERR_BODY_ALREADY_USED"],
      [lockedAnswer, "ERR_BODY_ALREADY_USED"],
      [broken, "MINE"],
      [Bun.file(gone), "ENOENT"],
      [file(gone), "ENOENT"],
    ];
    for (const [data, expected] of sources) {
      expect(await code(write(path, data))).toBe(expected);
      expect(readFileSync(path, "utf8")).toBe("old");
    }
    expect(await code(write(path, locked))).not.toBe("resolved");
    expect(await code(write(path, "x", { atomic: true, append: true }))).toBe("ERR_INVALID_ARG_VALUE");
    expect(readFileSync(path, "utf8")).toBe("old");
  });

  test("a source whose target can't be made is let go of", async () => {
    for (const options of [{}, { append: true }, { atomic: true }, { createPath: false }]) {
      const { promise: cancelled, resolve } = Promise.withResolvers<void>();
      const stream = new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(10)),
        cancel: () => resolve(),
      });
      expect(await code(write("/proc/nothing/file", stream, options))).toBe("ENOENT");
      await cancelled;
    }
  });

  test("a file may be its own source, by any of its names", async () => {
    for (const source of [
      (path: string) => file(path),
      (path: string) => Bun.file(path),
      (path: string) => Bun.file(`${path}/../${path.slice(path.lastIndexOf("/") + 1)}`.replace(/[^/]+\/\.\.\//, "./")),
      (path: string) => ["", file(path)],
    ]) {
      const path = tmp.file(big);
      expect(await write(path, source(path) as Writable)).toBe(big.length);
      expect(readFileSync(path).equals(big)).toBe(true);
    }
    const path = tmp.file("0123456789");
    expect(await write(path, [file(path).slice(5), file(path)])).toBe(15);
    expect(readFileSync(path, "utf8")).toBe("567890123456789");
    expect(await write(path, file(path), { append: true })).toBeGreaterThanOrEqual(15);
  });

  test("what is appended comes in its order, however long it is", async () => {
    const path = tmp.file("begin");
    const long = patternBytes(9_000_001, 5);
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < long.length; at += 70_001) yield long.subarray(at, at + 70_001);
    };
    expect(await write(path, chunks(), { append: true })).toBe(long.length);
    expect(await file(path).append(long as Buffer<ArrayBuffer>)).toBe(long.length);
    expect(readFileSync(path).equals(Buffer.concat([Buffer.from("begin"), long, long]))).toBe(true);
  });

  test("an abort ends a source that is silent, and lets go of it", async () => {
    const dir = tmp.folder();
    for (const atomic of [false, true]) {
      for (const begun of [false, true]) {
        const { promise: cancelled, resolve } = Promise.withResolvers<void>();
        const stream = new ReadableStream({
          start: (controller) => void (begun && controller.enqueue(new Uint8Array(10))),
          pull: () => new Promise(() => {}),
          cancel: () => resolve(),
        });
        const controller = new AbortController();
        const writing = write(join(dir, "value"), stream, { atomic, signal: controller.signal });
        setTimeout(() => controller.abort(), 5);
        expect(await code(writing)).toBe("ABORT_ERR");
        await cancelled;
      }
    }
    async function* silent(): AsyncGenerator<string> {
      yield "x";
      await new Promise(() => {});
    }
    const controller = new AbortController();
    const writing = write(join(dir, "other"), silent(), { atomic: true, signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    expect(await code(writing)).toBe("ABORT_ERR");
    expect(readdirSync(dir)).toEqual(["value"]);
  });

  test("goes to what file() and Bun.file() name, and to nothing else that has a name", async () => {
    const path = tmp.path();
    await write(file(path), "1");
    expect(readFileSync(path, "utf8")).toBe("1");
    await write(Bun.file(path), "2");
    expect(readFileSync(path, "utf8")).toBe("2");
    for (const wrong of [new File(["x"], path), { name: path }, new Blob(["x"]), -1, 1.5, null, undefined, {}])
      expect(await code(write(wrong as never, "3"))).toStartWith("ERR_");
    expect(readFileSync(path, "utf8")).toBe("2");
  });

  test("writes that nobody waited for one after another do not hold the loop", async () => {
    const path = tmp.path();
    await using writer = file(path).writer({ highWaterMark: 1 });
    await Promise.all([writer.write("a"), writer.write("b".repeat(100_000)), writer.write("c")]);
    expect(readFileSync(path).length).toBe(100_002);
  });

  test("a writer that has failed rejects, and goes on doing so", async () => {
    const path = tmp.file("full");
    await using handle = await open(path);
    const writer = file(handle).writer({ highWaterMark: 1 }); // it is open for reading only
    for (let i = 0; i < 3; i++) expect(await code(writer.write("x"))).toBe("EBADF");
    expect(await code(writer.flush())).toBe("EBADF");
    expect(await code(writer.end())).toBe("EBADF");
    await using sound = file(path).writer({ append: true });
    for (const wrong of [5, null, {}, new Blob([])])
      expect(await code(sound.write(wrong as never))).toBe("ERR_INVALID_ARG_TYPE");
  });
});

describe("file", () => {
  test("slices, types and times as Bun.file does", async () => {
    const path = join(tmp.folder(), "page.html");
    writeFileSync(path, "0123456789");
    const [ours, buns] = [file(path), Bun.file(path)] as [any, any];
    for (const given of [
      [1.7, 3.2],
      [Number.NaN, 3],
      ["text/plain"],
      [null, null],
      [undefined, 3],
      ["2", "4"],
      [2, 5, "a/b"],
      [0, Infinity],
    ])
      expect([given, await ours.slice(...given).text(), ours.slice(...given).type]).toEqual([
        given,
        await buns.slice(...given).text(),
        buns.slice(...given).type,
      ]);
    for (const type of ["a/b", "ä", "", undefined, "A/B; C=D"])
      expect([type, file(path, { type: type! }).type]).toEqual([type, Bun.file(path, { type: type! }).type]);
    const folder = tmp.folder();
    for (const at of [path, folder, tmp.path(), "/proc/self/stat"]) {
      expect([at, await file(at).exists()]).toEqual([at, await Bun.file(at).exists()]);
      expect([at, await code(file(at).stat())]).toEqual([at, await code(Bun.file(at).stat())]);
    }
    expect(await file("/proc/self/status").text()).toContain("Name:");
    expect([await code(file(tmp.path()).delete()), await code(file(folder).bytes())]).toEqual(["ENOENT", "EISDIR"]);
    writeFileSync(path, "\ufeffü");
    expect(await file(path).text()).toBe(await Bun.file(path).text());
    expect(await file(Buffer.from(path)).text()).toBe(await file(Bun.pathToFileURL(path)).text());
    expect(() => file("a\0b")).toThrow(TypeError);
  });

  test("a FIFO is looked at without being opened, and read as it comes", async () => {
    const path = tmp.path();
    expect(Bun.spawnSync(["mkfifo", path]).success).toBe(true);
    expect([await file(path).exists(), (await file(path).stat()).isFIFO(), file(path).size]).toEqual([true, true, 0]);
    const writing = Bun.spawn(["sh", "-c", `printf 0123456789 > ${path}`]);
    expect(await file(path).slice(2, 7).text()).toBe("23456");
    await writing.exited;
  });

  test("reads as Bun.file does: whole, sliced, as text, JSON, bytes, in an answer", async () => {
    const path = join(tmp.dir, "data.json");
    writeFileSync(path, JSON.stringify({ a: "ü" }));
    const [ours, buns] = [file(path), Bun.file(path)];
    expect([ours.size, ours.type, ours.name, ours.lastModified]).toEqual([
      buns.size,
      buns.type,
      buns.name,
      buns.lastModified,
    ]);
    expect(await ours.text()).toBe(await buns.text());
    expect(await ours.json()).toEqual(await buns.json());
    expect(await ours.bytes()).toEqual(Buffer.from(await buns.bytes()));
    expect(new Uint8Array(await ours.arrayBuffer())).toEqual(await buns.bytes());
    for (const [start, end] of [
      [1, 3],
      [0, -2],
      [-4, -1],
      [-4, undefined],
      [3, 1],
      [100, 200],
      [0, 1000],
    ] as const) {
      expect([start, end, await ours.slice(start, end).text()]).toEqual([
        start,
        end,
        await buns.slice(start, end).text(),
      ]);
      expect(ours.slice(start, end).size).toBe(buns.slice(start, end).size);
    }
    expect(await ours.slice(1, 8).slice(2, 4).text()).toBe(await buns.slice(1, 8).slice(2, 4).text());
    expect(await new Response(ours as never).text()).toBe(await buns.text());
    expect([await ours.exists(), await file(tmp.path()).exists()]).toEqual([true, false]);
    expect(await code(file(tmp.path()).text())).toBe("ENOENT");
    await ours.delete();
    expect(existsSync(path)).toBe(false);
  });

  test("streams what is asked for, and lets go where it is left", async () => {
    const path = tmp.file(big);
    expect(Buffer.from(await new Response(file(path).stream()).bytes()).equals(big)).toBe(true);
    expect(
      Buffer.from(await new Response(file(path).stream({ start: 10, end: 700_000 })).bytes()).equals(
        big.subarray(10, 700_000),
      ),
    ).toBe(true);
    for await (const _ of file(path)) break;
    const reader = file(path).stream().getReader();
    await reader.read();
    await reader.cancel();
    expect(tmp.openFiles().filter((open) => open === path)).toEqual([]);
  });

  test("is a body: of an answer, a part of one, a request; a client that goes away leaves nothing open", async () => {
    const path = tmp.file(big);
    const text = tmp.file("text");
    await using server = Bun.serve({
      port: 0,
      fetch(received) {
        const { pathname } = new URL(received.url);
        return new Response((pathname === "/part" ? file(path).slice(10, 700_000) : file(path)) as never);
      },
    });
    const whole = await fetch(`${server.url}`);
    expect(Buffer.from(await whole.bytes()).equals(big)).toBe(true);
    expect(Buffer.from(await (await fetch(`${server.url}part`)).bytes()).equals(big.subarray(10, 700_000))).toBe(true);
    const sent = new Request(`${server.url}`, { method: "POST", body: file(path) as never });
    expect(Buffer.from(await sent.bytes()).equals(big)).toBe(true);
    const gone = await fetch(`${server.url}`);
    const reader = gone.body!.getReader();
    await reader.read();
    await reader.cancel();
    while (tmp.openFiles().includes(path)) await Bun.sleep(5);
    // Where a Blob is asked for it is none, and no media type goes with it: docs/compatibility.md.
    expect([
      new Response(file(text) as never).headers.get("content-type"),
      new Blob([file(text) as never]).size,
    ]).toEqual([null, "[object Object]".length]);
    expect([new Response(Bun.file(text)).headers.get("content-type"), new Blob([Bun.file(text)]).size]).toEqual([
      "application/octet-stream",
      4,
    ]);
  });

  test("of a descriptor or a handle leaves it open", async () => {
    const path = tmp.file("content");
    await using handle = await open(path);
    expect([await file(handle).text(), await file(handle.fd).text(), file(handle.fd).size]).toEqual([
      "content",
      "content",
      7,
    ]);
    expect((await handle.stat()).size).toBe(7);
    await using writable = await open(path, "r+");
    for (const of of [file(writable), file(writable.fd)]) {
      const writer = of.writer();
      await writer.write("CON");
      expect(await writer.end()).toBe(3);
      expect(await of.append(["!", "?"])).toBe(2);
    }
    expect(await write(writable, "-")).toBe(1);
    expect(await write(writable.fd, new Blob(["-"]))).toBe(1);
    // At the handle's own position, which both have.
    expect(readFileSync(path, "utf8")).toBe("CONCON--?!?");
    expect([(await writable.stat()).size, await code(file(handle).delete())]).toEqual([11, "ERR_INVALID_ARG_TYPE"]);
  });

  test("range answers a Range header", async () => {
    const path = tmp.file("0123456789");
    const part = await file(path).range("bytes=2-4");
    expect([await part!.file.text(), part!.contentRange]).toEqual(["234", "bytes 2-4/10"]);
    expect(await file(path).range(null)).toBeNull();
    expect(await file(path).range("lines=1")).toBeNull();
    expect(file(path).range("bytes=20-")).rejects.toThrow(RangeError);
  });

  test("writer: order, backpressure, append, flush, failure", async () => {
    const path = tmp.path();
    {
      await using writer = file(path).writer({ highWaterMark: 1000, flush: true });
      for (let i = 0; i < 100; i++) await writer.write(`${i}\n`);
      await writer.flush();
      expect(readFileSync(path, "utf8").split("\n").length).toBe(101);
    }
    const appending = file(path).writer({ append: true });
    void appending.write("x");
    void appending.write(new Uint8Array([66]));
    expect(await appending.end()).toBe(2);
    expect(readFileSync(path, "utf8")).toEndWith("99\nxB");
    expect(await code(appending.write("late"))).toContain("TypeError");
    const failing = file(join(tmp.path(), "no/folder")).writer();
    expect(await code(failing.write("x".repeat(2_000_000)))).toBe("ENOENT");
    expect(await code(failing.end())).toBe("ENOENT");
    expect(await file(path).append("!")).toBe(1);
    expect(readFileSync(path, "utf8")).toEndWith("xB!");
  });
});

/** Each row of docs/compatibility.md: what Bun's does, and what ours does. */
describe("differences from Bun.file and Bun.write", () => {
  type Ways = { file: (path: string) => any; write: (path: string, data: any, options?: any) => Promise<number> };
  const outcome = (promise: Promise<unknown>): Promise<unknown> =>
    promise.catch((error) =>
      `${error.code} ${/(directory|Directories|open|stat)/.exec(error.message)?.[0] ?? ""}`.trim(),
    );
  const rows: [string, (ways: Ways) => Promise<unknown>, unknown, unknown][] = [
    ["instanceof Blob", async ({ file }) => file(tmp.file("x")) instanceof Blob, true, false],
    ["bytes()", async ({ file }) => Buffer.isBuffer(await file(tmp.file("x")).bytes()), false, true],
    ["writer() on a longer file", ({ file }) => written(file, {}), "!ld text", "!"],
    ["writer({ append })", ({ file }) => written(file, { append: true }), "!ld text", "old text!"],
    ["slice(-3)", ({ file }) => file(tmp.file("0123456789")).slice(-3).text(), "012", "789"],
    ["a file that is its own source", ({ write }) => ownSource(write), "0 ", "3 old"],
    ["lastModified of a missing file", async ({ file }) => file(tmp.path()).lastModified > 0, true, false],
    ["a descriptor", ({ file }) => twice(file), "rest+", "the rest+the rest"],
    ["an object", ({ write }) => outcome(write(tmp.path(), {})), 15, "ERR_INVALID_ARG_TYPE"],
    ["an async iterable", ({ write }) => write(tmp.path(), lines()), 23, 2],
    ["a number", ({ write }) => outcome(write(tmp.path(), 5)), 1, "ERR_INVALID_ARG_TYPE"],
    ["mode", ({ write }) => modeOf(write), 0o666 & ~process.umask(), 0o600],
    ["a folder", ({ file }) => outcome(file(tmp.folder()).text()), "EISDIR Directories", "EISDIR directory"],
  ];

  async function written(make: Ways["file"], options: object): Promise<string> {
    const path = tmp.file("old text");
    const writer = make(path).writer(options);
    await writer.write("!");
    await writer.end();
    return readFileSync(path, "utf8");
  }
  async function ownSource(writeTo: Ways["write"]): Promise<string> {
    const path = tmp.file("old");
    const bytes = await writeTo(path, Bun.file(path));
    return `${bytes} ${readFileSync(path, "utf8")}`;
  }
  async function twice(make: (fd: any) => any): Promise<string> {
    await using handle = await nodeOpen(tmp.file("the rest"));
    await handle.read(Buffer.alloc(4));
    return `${await make(handle.fd).text()}+${await make(handle.fd).text()}`;
  }
  async function* lines(): AsyncGenerator<string> {
    yield "a";
    yield "b";
  }
  async function modeOf(writeTo: Ways["write"]): Promise<number> {
    const path = tmp.path();
    await writeTo(path, "x", { mode: 0o600 });
    return statSync(path).mode & 0o777;
  }

  for (const [name, of, buns, ours] of rows)
    test(name, async () => {
      expect(await of({ file: Bun.file, write: Bun.write as Ways["write"] })).toEqual(buns);
      expect(await of({ file, write: write as Ways["write"] })).toEqual(ours);
    });
});
