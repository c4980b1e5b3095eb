// Owns what a hostile caller can't do: lie about a view's size, give a getter that answers differently the second time or
// throws, change an array after the call. Assumes memory around each buffer that must stay as it is.
// Never expects more of the oracle than that nothing is written outside the buffer.

import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { ours } from "../helpers/backends.ts";
import { rejection } from "../helpers/expect-error.ts";
import { describeUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const { open, readFile, writeFile, appendFile, readMany, statMany } = (await import(
  "../../src/index.ts" as string
)) as any;
const tmp = scratch();
const SIZE = 64 * 1024;
const ROOM = 16;

/** A view of 16 bytes at the start of a large buffer, which says that it has all of it. */
type Liar = (arena: ArrayBuffer) => Uint8Array;

class LyingGetter extends Uint8Array<ArrayBuffer> {
  override get byteLength(): number {
    return SIZE;
  }
  override get length(): number {
    return SIZE;
  }
}
class Throwing extends Uint8Array<ArrayBuffer> {
  override get byteLength(): number {
    throw new Error("byteLength was asked");
  }
  override get byteOffset(): number {
    throw new Error("byteOffset was asked");
  }
  override get buffer(): ArrayBuffer {
    throw new Error("buffer was asked");
  }
}
/** Says the truth so often, and then something else. */
const wavering = (truths: number): Liar => {
  let asked = 0;
  return (arena) => {
    const view = new Uint8Array(arena, 0, ROOM);
    Object.defineProperty(view, "byteLength", { get: () => (asked++ < truths ? ROOM : SIZE) });
    return view;
  };
};

const LIARS: Record<string, Liar> = {
  "an own byteLength": (arena) => Object.defineProperty(new Uint8Array(arena, 0, ROOM), "byteLength", { value: SIZE }),
  "an own buffer and byteOffset": (arena) =>
    Object.defineProperties(new Uint8Array(arena, 0, ROOM), {
      buffer: { value: new ArrayBuffer(SIZE) },
      byteOffset: { value: ROOM * 2 },
    }),
  "a subclass's getters": (arena) => new LyingGetter(arena, 0, ROOM),
  "getters that throw": (arena) => new Throwing(arena, 0, ROOM),
  "a DataView with an own byteLength": (arena) =>
    Object.defineProperty(new DataView(arena, 0, ROOM), "byteLength", { value: SIZE }) as never,
  "the truth once": wavering(1),
  "the truth three times": wavering(3),
};

/** Bytes behind the view that are not as they were. */
const spoilt = (arena: ArrayBuffer): number => new Uint8Array(arena, ROOM).filter((byte) => byte !== 0).length;

describeUnless(ours === undefined && "the oracle alone", "a view that lies", () => {
  const data = Buffer.alloc(SIZE, "A");

  for (const [kind, make] of Object.entries(LIARS)) {
    test(`with ${kind}: reads stay inside it`, async () => {
      const path = tmp.file(data);
      await using handle = await open(path, "r+");
      const calls: ((view: Uint8Array) => Promise<unknown>)[] = [
        (view) => handle.read(view, 0, ROOM, 0),
        (view) => handle.read(view, 0, SIZE, 0),
        (view) => handle.read(view, { position: 0 }),
        (view) => handle.read(view),
        (view) => handle.read({ buffer: view }),
        (view) => handle.readv([view], 0),
        (view) => handle.readv([view, view]),
        (view) => handle.readBatch({ offsets: [0], lengths: ROOM, into: view }),
        (view) => handle.readBatch({ offsets: [0], lengths: SIZE, into: view }),
        (view) => handle.readBatch({ offsets: [0, 1], lengths: [ROOM, SIZE], into: [view, view] }),
        (view) => readFile(path, { buffer: view }),
      ];
      for (const call of calls) {
        const arena = new ArrayBuffer(SIZE);
        const told = await call(make(arena)).then(
          () => "ok",
          (error: Error) => error.message,
        );
        expect([spoilt(arena), told]).toEqual([0, expect.not.stringContaining("was asked")]);
      }
    });

    test(`with ${kind}: writes take its bytes and no others`, async () => {
      const calls: ((path: string, handle: any, view: Uint8Array) => Promise<unknown>)[] = [
        (_, handle, view) => handle.write(view, 0, ROOM, 0),
        (_, handle, view) => handle.write(view),
        (_, handle, view) => Promise.all([handle.write(view), handle.write(view)]),
        (_, handle, view) => handle.write(view, 0, ROOM, 0, { flush: true }),
        (_, handle, view) => handle.writev([view], 0),
        (_, handle, view) => handle.writev([view, view], 0, { flush: true }),
        (_, handle, view) => handle.writeFile(view),
        (path, _, view) => writeFile(path, view),
        (path, _, view) => writeFile(path, view, { flush: true }),
        (path, _, view) => appendFile(path, view),
        (path, _, view) => writeFile(path, [view, view]),
        (_, handle, view) => handle.write(view, 0, SIZE, 0).catch(() => handle.write(view, 0, ROOM, 0)),
      ];
      for (const call of calls) {
        const path = tmp.file("");
        const arena = new ArrayBuffer(SIZE);
        new Uint8Array(arena).fill(0x53, ROOM); // what must not get out
        new Uint8Array(arena, 0, ROOM).fill(0x61);
        await using handle = await open(path, "r+");
        await call(path, handle, make(arena));
        const written = readFileSync(path, "latin1");
        expect([ROOM, 2 * ROOM]).toContain(written.length);
        expect(written).toMatch(/^a+$/);
      }
    });
  }

  test("a Proxy of a view is no view", async () => {
    const path = tmp.file(data);
    await using handle = await open(path, "r+");
    const proxy = new Proxy(new Uint8Array(ROOM), { get: (view, name) => Reflect.get(view, name, view) });
    for (const call of [() => handle.read(proxy, 0, ROOM, 0), () => handle.write(proxy, 0, ROOM, 0)])
      expect((await call().catch((error: unknown) => error)).code).toBe("ERR_INVALID_ARG_TYPE");
  });
});

/** An object whose every property counts how often it is read. */
function counting<T extends object>(target: T): { options: T; most: () => [string, number] } {
  const counts = new Map<string, number>();
  const options = {} as T;
  for (const name of Object.keys(target)) {
    const get = (): unknown => {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      return target[name as keyof T];
    };
    Object.defineProperty(options, name, { get, enumerable: true });
  }
  return { options, most: () => [...counts].reduce((most, one) => (one[1] > most[1] ? one : most), ["", 0]) };
}

describeUnless(ours === undefined && "the oracle alone", "options", () => {
  const { signal } = new AbortController();
  const limits = { signal, timeoutMs: 10_000 };
  const view = (): Uint8Array => new Uint8Array(8);

  const CALLS: Record<string, [object, (options: any, handle: any, path: string) => Promise<unknown>]> = {
    "read(view, options)": [{ offset: 0, length: 4, position: 0, ...limits }, (o, h) => h.read(view(), o)],
    "read(options)": [{ buffer: view(), offset: 0, length: 4, position: 0, ...limits }, (o, h) => h.read(o)],
    "write(view, options)": [
      { offset: 0, length: 4, position: 0, flush: true, ...limits },
      (o, h) => h.write(view(), o),
    ],
    "write(…, options)": [{ flush: true, ...limits }, (o, h) => h.write(view(), 0, 4, 0, o)],
    "write(string, …, options)": [{ flush: true, ...limits }, (o, h) => h.write("text", 0, "utf8", o)],
    readv: [limits, (o, h) => h.readv([view()], 0, o)],
    writev: [{ flush: true, ...limits }, (o, h) => h.writev([view()], 0, o)],
    "handle.readFile": [{ encoding: "utf8", ...limits }, (o, h) => h.readFile(o)],
    "handle.writeFile": [{ encoding: "utf8", flush: true, ...limits }, (o, h) => h.writeFile("text", o)],
    "handle.stat": [{ bigint: true, ...limits }, (o, h) => h.stat(o)],
    "handle.readBatch": [{ offsets: [0], lengths: [4], into: view(), ...limits }, (o, h) => h.readBatch(o)],
    readFile: [{ encoding: "utf8", flag: "r", ...limits }, (o, _, path) => readFile(path, o)],
    "readFile into a buffer": [{ buffer: new Uint8Array(64), flag: "r", ...limits }, (o, _, path) => readFile(path, o)],
    writeFile: [
      { encoding: "utf8", flag: "w", mode: 0o600, flush: true, ...limits },
      (o, _, p) => writeFile(p, "x", o),
    ],
    "writeFile of chunks": [
      { encoding: "utf8", flag: "w", mode: 0o600, ...limits },
      (o, _, p) => writeFile(p, ["x"], o),
    ],
    readMany: [{ concurrency: 2, encoding: "utf8", ...limits }, (o, _, path) => readMany([path], o)],
    statMany: [{ concurrency: 2, bigint: true, ...limits }, (o, _, path) => statMany([path], o)],
  };
  for (const [name, [target, call]] of Object.entries(CALLS))
    test(`${name} reads each of its options once, at the call`, async () => {
      const path = tmp.file("some content");
      await using handle = await open(path, "r+");
      const { options, most } = counting(target);
      const result = call(options, handle, path);
      const atCall = most();
      await result;
      expect(most()).toEqual(atCall);
      expect(atCall[1]).toBe(1);
    });

  const HALF: Record<string, unknown> = {
    "an object with `aborted`": { aborted: false },
    "an EventTarget with `aborted`": Object.assign(new EventTarget(), { aborted: false }),
    "a Proxy of a signal": new Proxy(signal, {}),
    "an heir of a signal": Object.create(signal),
    null: null,
  };
  for (const [name, [target, call]] of Object.entries(CALLS))
    test(`${name} refuses what only looks like a signal`, async () => {
      const path = tmp.file("some content");
      await using handle = await open(path, "r+");
      for (const half of Object.values(HALF)) {
        const told: any = await call({ ...target, signal: half }, handle, path).catch((error: unknown) => error);
        expect(told?.code).toBe("ERR_INVALID_ARG_TYPE");
      }
      expect(readFileSync(path, "utf8")).toBe("some content");
    });
});

describeUnless(ours === undefined && "the oracle alone", "arrays that change after the call", () => {
  const COUNT = 700;
  const BYTES = 512;

  /** Reads of one file whose arrays are spoilt while they are under way. */
  async function batch(spoil: (offsets: number[], lengths: number[], into: Uint8Array[]) => void): Promise<void> {
    const data = Buffer.from(Array.from({ length: COUNT * BYTES }, (_, i) => (i >> 9) & 0xff));
    await using handle = await open(tmp.file(data));
    const arena = new ArrayBuffer(2 * COUNT * BYTES);
    const offsets = Array.from({ length: COUNT }, (_, i) => i * BYTES);
    const lengths = new Array<number>(COUNT).fill(BYTES);
    const into = Array.from({ length: COUNT }, (_, i) => new Uint8Array(arena, i * BYTES, BYTES));
    const reads = handle.readBatch({ offsets, lengths, into });
    spoil(offsets, lengths, into);
    expect(Array.from(await reads)).toEqual(new Array(COUNT).fill(BYTES));
    expect(Buffer.from(arena, 0, COUNT * BYTES).equals(data)).toBe(true);
    expect(new Uint8Array(arena, COUNT * BYTES).every((byte) => byte === 0)).toBe(true);
  }

  test("readBatch: lengths", () => batch((_, lengths) => void lengths.fill(1 << 20)));
  test("readBatch: offsets", () => batch((offsets) => void offsets.fill(-1)));
  test("readBatch: views", () => batch((_, __, into) => void into.fill(new Uint8Array(1))));
  test("readBatch: all emptied", () =>
    batch((...arrays) => {
      for (const array of arrays) array.length = 0;
    }));

  test("readBatch: getters that change their answer", async () => {
    await using handle = await open(tmp.file(Buffer.alloc(SIZE, "A")));
    const arena = new ArrayBuffer(SIZE);
    let asked = 0;
    const lengths = Object.defineProperty([ROOM], 0, { get: () => (asked++ === 0 ? ROOM : SIZE) });
    await handle.readBatch({ offsets: [0], lengths, into: new Uint8Array(arena, 0, ROOM) });
    expect([spoilt(arena), asked]).toEqual([0, 1]);
  });

  for (const queued of [false, true])
    test(`readv and writev${queued ? " that wait for their turn" : ""}: views put in place of others`, async () => {
      const path = tmp.file("");
      await using handle = await open(path, "r+");
      if (queued) void handle.write(Buffer.alloc(4));
      const from = [Buffer.from("one "), Buffer.from("two ")];
      const written = handle.writev(from);
      from.length = 0;
      expect((await written).buffers).toBe(from);
      expect(readFileSync(path, "latin1").replaceAll("\0", "")).toBe("one two ");

      writeFileSync(path, "abcdefgh");
      await using reader = await open(path);
      const first = [new Uint8Array(1)];
      const waiting = queued ? reader.readv(first) : null;
      const views = [new Uint8Array(3), new Uint8Array(3)];
      const into = [...views];
      const read = reader.readv(into);
      into.fill(new Uint8Array(1000));
      await waiting;
      expect(await read).toEqual({ bytesRead: 6, buffers: into });
      expect(Buffer.concat(views).toString()).toBe(queued ? "bcdefg" : "abcdef");
    });

  test("a vector of getters: each is asked once", async () => {
    await using handle = await open(tmp.file("abcdefgh"));
    let asked = 0;
    const view = new Uint8Array(4);
    const into = Object.defineProperty([view], 0, { get: () => (asked++ === 0 ? view : "no view") });
    expect((await handle.readv(into, 0)).bytesRead).toBe(4);
    expect(asked).toBe(1);
  });

  test("an offset or length that is a symbol or a bigint is a rejection, never a throw", async () => {
    await using handle = await open(tmp.file("abcdefgh"), "r+");
    const memory = Buffer.alloc(8);
    for (const wrong of [Symbol("x"), 1n, -1n, 2n ** 70n]) {
      for (const [name, args] of [
        ["read", [memory, wrong, 1, 0]],
        ["read", [memory, 0, wrong, 0]],
        ["write", [memory, wrong, 1, 0]],
      ] as const) {
        let call: Promise<unknown> | undefined;
        expect(() => {
          call = handle[name](...args);
        }).not.toThrow();
        expect(((await rejection(call!)) as Error & { code?: string }).code).toBe("ERR_INVALID_ARG_TYPE");
      }
    }
    // Node takes a length of a write that is no number for none.
    expect((await handle.write(memory, 0, 3n, 0)).bytesWritten).toBe(8);
  });
});
