// A file that changes, is closed or leaves the table at the worst moment: between the look at it and its bytes. Each moment is made
// by a backend that does the mischief within its own read, so nothing here depends on luck.
// Assumes io_uring or node:fs as the backend, and the native library for what is answered in the turn.

import { describe, expect, test } from "bun:test";
import { closeSync, openSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { currentBackend } from "../../src/backend/choose.ts";
import type { Backend, OpenFile } from "../../src/backend/interface.ts";
import { RESOLVE_BENEATH } from "../../src/kernel/constants.ts";
import { loadNative } from "../../src/kernel/shim.ts";
import { bodyLater, bodyNow } from "../../src/server/body.ts";
import { Entry } from "../../src/server/entry.ts";
import { FileCache } from "../../src/server/file-cache.ts";
import { rawRequest } from "../helpers/http.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const MIB = 1024 * 1024;
const EAGAIN = -11;
const native = loadNative().native ?? null;

/** A file in a folder of its own, known to a cache whose reads do something first. */
async function known(content: Uint8Array) {
  const path = tmp.file(Buffer.from(content));
  const name = path.slice(dirname(path).length + 1);
  const real = currentBackend();
  const folder = await real.open(dirname(path), 0, 0);
  let mischief = (): void => {};
  let stats = 0;
  const backend = new Proxy(real, {
    get: (target, key) => {
      const found = Reflect.get(target, key) as unknown;
      if (key === "fstat") stats++;
      if (key !== "read" || typeof found !== "function")
        return typeof found === "function" ? found.bind(target) : found;
      return (...args: unknown[]) => {
        const act = mischief;
        mischief = () => {};
        act();
        return found.apply(target, args);
      };
    },
  }) as Backend;
  let fails = (): void => {};
  const open = (asked: string, flags: number): Promise<OpenFile> => {
    fails();
    return real.openBeneath(folder.fd, asked, flags, 0, RESOLVE_BENEATH);
  };
  const cache = new FileCache(backend, native, folder.fd, RESOLVE_BENEATH, true, open);
  const find = async (asked = name): Promise<Entry> => (await cache.find(asked, 0, 60_000)) as Entry;
  return {
    path,
    name,
    backend,
    cache,
    find,
    stats: () => stats,
    whenRead(act: () => void): void {
      mischief = act;
    },
    whenOpened(act: () => void): void {
      fails = act;
    },
    async [Symbol.asyncDispose]() {
      cache.close();
      await real.close(folder);
    },
  };
}

const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error) => error.code,
  );

/** Another version, in place: of the same length, but of another time. */
function overwrite(path: string, content: Uint8Array): void {
  const fd = openSync(path, "r+");
  try {
    writeFileSync(fd, content);
  } finally {
    closeSync(fd);
  }
  utimesSync(path, 5, 5);
}

async function bytesOf(body: unknown): Promise<Buffer> {
  return Buffer.from(await new Response(body as Blob).bytes());
}

describe("a file that changes between the look and its bytes", () => {
  for (const size of [1000, 3 * MIB, 12 * MIB]) {
    test(`read later, ${size} bytes: another version is an error, in the same turn, too`, async () => {
      await using k = await known(patternBytes(size));
      const entry = await k.find();
      k.cache.look(entry, 0, 0); // this turn has looked
      k.whenRead(() => overwrite(k.path, patternBytes(size, 7)));
      expect(await code(bodyLater(k.cache, k.backend, entry, 0, size))).toBe("ERR_FILE_CHANGED");
    });
  }

  testUnless(native === null && "no native library", "read in the turn: no part of a longer version", async () => {
    await using k = await known(patternBytes(1000));
    const entry = await k.find();
    expect(k.cache.look(entry, 0, 0)).toBe(EAGAIN);
    writeFileSync(k.path, patternBytes(2000, 7));
    expect(bodyNow(k.cache, entry, 0, 1000, EAGAIN)).toBeNull();
    expect(entry.size).toBe(2000);
  });

  test("streamed: a client sees a broken connection", async () => {
    const size = 6 * MIB;
    await using k = await known(patternBytes(size));
    const entry = await k.find();
    entry.local = false; // as on a file server
    const server = Bun.serve({
      port: 0,
      fetch: async () => new Response((await bodyLater(k.cache, k.backend, entry, 0, size)) as ReadableStream),
    });
    try {
      expect((await rawRequest(server.port!, "GET / HTTP/1.1")).whole).toBe(true);
      let reads = 0;
      const twelfth = (): void => {
        if (++reads === 12) overwrite(k.path, patternBytes(size, 7));
        else k.whenRead(twelfth);
      };
      k.whenRead(twelfth);
      const { whole, body } = await rawRequest(server.port!, "GET / HTTP/1.1");
      expect([whole, reads]).toEqual([false, 12]);
      expect(body.equals(Buffer.from(patternBytes(size)).subarray(0, body.length))).toBe(true);
      for (let i = 0; i < 500 && entry.users > 0; i++) await Bun.sleep(2); // what was being read ahead
      expect(entry.users).toBe(0);
    } finally {
      await server.stop(true);
    }
  });

  test("a file server is asked before an answer is whole, once", async () => {
    await using k = await known(patternBytes(3 * MIB));
    const entry = await k.find();
    for (const [local, size, expected] of [
      [true, 1000, 0],
      [false, 1000, 1],
      [false, 3 * MIB, 1],
    ] as const) {
      entry.local = local;
      const before = k.stats();
      expect((await bytesOf(await bodyLater(k.cache, k.backend, entry, 0, size))).length).toBe(size);
      expect([local, size, native === null ? expected : k.stats() - before]).toEqual([local, size, expected]);
    }
  });

  test("streamed: whoever takes it slowly holds a few chunks of it", async () => {
    await using k = await known(patternBytes(8 * MIB));
    const entry = await k.find();
    entry.local = false;
    let read = 0;
    const count = (): void => {
      read++;
      k.whenRead(count);
    };
    k.whenRead(count);
    const reader = ((await bodyLater(k.cache, k.backend, entry, 0, 8 * MIB)) as ReadableStream).getReader();
    let taken = (await reader.read()).value!.length;
    await Bun.sleep(50);
    expect(read).toBeLessThanOrEqual(6);
    for (let next = await reader.read(); !next.done; next = await reader.read()) taken += next.value.length;
    expect(taken).toBe(8 * MIB);
    for (let i = 0; i < 500 && entry.users > 0; i++) await Bun.sleep(2);
    expect(entry.users).toBe(0);
  });

  test("streamed: broken off, not mixed", async () => {
    await using k = await known(patternBytes(3 * MIB));
    const entry = await k.find();
    entry.local = false; // as on a file server
    const stream = (await bodyLater(k.cache, k.backend, entry, 0, 3 * MIB)) as ReadableStream;
    const reader = stream.getReader();
    expect((await reader.read()).done).toBe(false);
    overwrite(k.path, patternBytes(3 * MIB, 7));
    const outcome = (async () => {
      while (!(await reader.read()).done);
    })();
    expect(await code(outcome)).toBe("ERR_FILE_CHANGED");
  });

  test("what has just been written is not kept in memory: its time may be older than its bytes", async () => {
    await using k = await known(patternBytes(1000));
    const entry = await k.find();
    expect(entry.keepBody(patternBytes(1000) as Uint8Array<ArrayBuffer>)).toBeNull();
    utimesSync(k.path, 5, 5);
    await k.cache.isStill(entry, 0, false);
    expect(entry.keepBody(patternBytes(1000) as Uint8Array<ArrayBuffer>)).toBeInstanceOf(Blob);
  });
});

describe("a descriptor that leaves the table between the look and its bytes", () => {
  for (const size of [1000, 3 * MIB, 12 * MIB]) {
    test(`${size} bytes: they are the file's, though its number is free for others`, async () => {
      await using k = await known(patternBytes(size));
      const entry = await k.find();
      k.whenRead(() => k.cache.close());
      const body = await bodyLater(k.cache, k.backend, entry, 0, size);
      const decoys = Array.from({ length: 20 }, () => openSync(tmp.file("x"), "r"));
      try {
        expect((await bytesOf(body)).equals(Buffer.from(patternBytes(size)))).toBe(true);
      } finally {
        for (const fd of decoys) closeSync(fd);
      }
    });
  }

  test("a stream goes on to its end", async () => {
    await using k = await known(patternBytes(3 * MIB));
    const entry = await k.find();
    entry.local = false;
    const body = await bodyLater(k.cache, k.backend, entry, 0, 3 * MIB);
    k.cache.close();
    expect((await bytesOf(body)).equals(Buffer.from(patternBytes(3 * MIB)))).toBe(true);
    for (let i = 0; i < 500 && !entry.closed; i++) await Bun.sleep(2);
    expect(entry.closed).toBe(true);
  });
});

describe("what a look-up says", () => {
  test("a failure that says nothing of the next look-up is not remembered; a missing name is", async () => {
    await using k = await known(patternBytes(10));
    let asked = 0;
    k.whenOpened(() => {
      asked++;
      throw Object.assign(new Error("EIO"), { code: "EIO" });
    });
    for (let i = 0; i < 2; i++) expect((await k.find("none")) instanceof Entry).toBe(false);
    expect(asked).toBe(2);
    k.whenOpened(() => void asked++);
    for (let i = 0; i < 2; i++) expect((await k.find("none")) instanceof Entry).toBe(false);
    expect(asked).toBe(3);
    writeFileSync(`${dirname(k.path)}/later`, "x");
    expect(await k.find("later")).toBeInstanceOf(Entry);
  });

  test("where there are no descriptors left the tables give some back, and it is tried again", async () => {
    await using k = await known(patternBytes(10));
    const first = await k.find();
    let full = true;
    k.whenOpened(() => {
      if (!full) return;
      full = false;
      throw Object.assign(new Error("EMFILE"), { code: "EMFILE" });
    });
    expect(((await k.cache.find("none", 0, 60_000)) as { error: { code?: string } }).error.code).toBe("ENOENT");
    expect(first.closed).toBe(true);
  });
});
