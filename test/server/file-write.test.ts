// file() and write() beside Bun.file and Bun.write, on both backends: the same bytes, and what is ours alone.
// Assumes a folder. Differences from Bun's are listed in docs/compatibility.md.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { open } from "../../src/index.ts";
import { file, type Writable, write } from "../../src/server.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error) => error.code ?? String(error),
  );
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

describe("file", () => {
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

  test("of a descriptor or a handle leaves it open", async () => {
    const path = tmp.file("content");
    await using handle = await open(path);
    expect([await file(handle).text(), await file(handle.fd).text(), file(handle.fd).size]).toEqual([
      "content",
      "content",
      7,
    ]);
    expect((await handle.stat()).size).toBe(7);
    expect(() => file(handle).writer()).toThrow(TypeError);
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
    ["a number", ({ write }) => outcome(write(tmp.path(), 5)), 1, "ERR_INVALID_ARG_TYPE"],
    ["mode", ({ write }) => modeOf(write), 0o666 & ~process.umask(), 0o600],
    ["a folder", ({ file }) => outcome(file(tmp.folder()).text()), "EISDIR Directories", "EISDIR directory"],
    [
      "stat() of a missing file",
      ({ file }) =>
        file(tmp.path())
          .stat()
          .catch((e: any) => e.syscall),
      "stat",
      "open",
    ],
  ];

  async function written(make: Ways["file"], options: object): Promise<string> {
    const path = tmp.file("old text");
    const writer = make(path).writer(options);
    await writer.write("!");
    await writer.end();
    return readFileSync(path, "utf8");
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
