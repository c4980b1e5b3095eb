// FAULTS rows 10 and 12 for durable writes: what is short is gone on with before anything is synced, what fails is named,
// and a sync that failed once fails for good.
// Assumes root and /dev/fuse. The server errs, does half or is late, but always answers.

import { describe, expect } from "bun:test";
import { join } from "node:path";
import { appendFile, type FileHandle, open, backend as ours, readFile, writeFile } from "../../src/index.ts";
import { rejection } from "../helpers/expect-error.ts";
import { type Fuse, startFuse } from "../helpers/fuse.ts";
import { faultTest } from "../helpers/requirements.ts";
import { patternBytes } from "../helpers/tmp.ts";

const needs = ["fuse", "gcc"] as const;
const data = patternBytes(65_536, 3);
const flush = true;

async function withFile(body: (handle: FileHandle, fuse: Fuse, path: string) => Promise<void>): Promise<void> {
  const fuse = await startFuse();
  // Only through the page cache does the kernel pass on a short answer to the ring.
  const path = join(fuse.path, "cached-file");
  try {
    await using handle = await open(path, "w+");
    await body(handle, fuse, path);
  } finally {
    await fuse.stop();
  }
}

describe(ours, () => {
  for (const at of [0, null]) {
    faultTest(`short writes at ${at ?? "the file's own position"} are completed, then synced once`, { needs }, () =>
      withFile(async (handle, fuse, path) => {
        await fuse.mode({ mode: "short", ops: ["write"], count: 3 });
        expect((await handle.write(data, 0, data.length, at, { flush })).bytesWritten).toBe(data.length);
        const { write, fsync } = await fuse.stats();
        expect({ write, fsync }).toEqual({ write: 4, fsync: 1 });
        await fuse.mode({ mode: "short", ops: ["write"], count: 2 });
        const parts = [data.subarray(0, 100), data.subarray(100, 30_000), data.subarray(30_000)];
        expect((await handle.writev(parts, at, { flush })).bytesWritten).toBe(data.length);
        expect((await fuse.stats()).fsync).toBe(2);
        const expected = at === 0 ? data : Buffer.concat([data, data]);
        expect((await readFile(path)).equals(expected)).toBe(true);
      }),
    );
  }

  faultTest("nothing is synced before the write has ended", { needs }, () =>
    withFile(async (handle, fuse) => {
      await fuse.mode({ mode: "slow", ms: 300, ops: ["write"] });
      const writing = handle.write(data, 0, data.length, 0, { flush });
      while ((await fuse.stats()).write === 0) await Bun.sleep(5);
      await Bun.sleep(100);
      expect((await fuse.stats()).fsync).toBe(0);
      await writing;
      expect((await fuse.stats()).fsync).toBe(1);
    }),
  );

  faultTest("a sync that failed once fails for good, though the server's next ones succeed", { needs }, () =>
    withFile(async (handle, fuse) => {
      await fuse.mode({ mode: "error", errno: 5, ops: ["fsync"], count: 1 });
      const failed = await rejection(handle.write(data, 0, 10, 0, { flush }));
      expect(failed).toMatchObject({ code: "EIO", syscall: "fdatasync" });
      for (const again of [
        () => handle.write(data, 0, 10, 0, { flush }),
        () => handle.writev([data], 0, { flush }),
        () => handle.sync(),
        () => handle.datasync(),
      ]) {
        expect(await rejection(again)).toMatchObject({ code: "EIO" });
      }
      expect((await handle.write(data, 0, 10, 0)).bytesWritten).toBe(10);
    }),
  );

  faultTest("a write that failed is named and syncs nothing; the next may succeed", { needs }, () =>
    withFile(async (handle, fuse) => {
      await fuse.mode({ mode: "error", errno: 5, ops: ["write"], count: 1 });
      const failed = await rejection(handle.write(data, 0, 10, 0, { flush }));
      expect(failed).toMatchObject({ code: "EIO", syscall: "write" });
      expect((await fuse.stats()).fsync).toBe(0);
      await handle.sync();
      expect((await handle.write(data, 0, 10, 0, { flush })).bytesWritten).toBe(10);
    }),
  );

  faultTest("syncs asked for in one turn are one sync", { needs }, () =>
    withFile(async (handle, fuse) => {
      await handle.write(data);
      await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? handle.datasync() : handle.sync())));
      expect((await fuse.stats()).fsync).toBe(1);
    }),
  );

  faultTest("a sync that has begun serves nobody who comes later; all who come meanwhile share one", { needs }, () =>
    withFile(async (handle, fuse) => {
      await fuse.mode({ mode: "slow", ms: 150, ops: ["fsync"] });
      const first = handle.datasync();
      while ((await fuse.stats()).fsync === 0) await Bun.sleep(5);
      const order: string[] = [];
      // Not a write: a file server's write waits until the sync that runs has ended.
      const later = [handle.datasync(), handle.sync(), handle.datasync()].map((one) =>
        one.then(() => order.push("later")),
      );
      await first.then(() => order.push("first"));
      await Promise.all(later);
      expect(order[0]).toBe("first");
      expect((await fuse.stats()).fsync).toBe(2);
      expect((await handle.write(data, 0, 5, 0, { flush })).bytesWritten).toBe(5);
      expect((await fuse.stats()).fsync).toBe(3);
    }),
  );

  faultTest("who shares a sync that fails has an error of its own, and no later sync succeeds", { needs }, () =>
    withFile(async (handle, fuse) => {
      await fuse.mode({ mode: "error", errno: 5, ops: ["fsync"], count: 1 });
      const errors = await Promise.all([handle.datasync(), handle.sync(), handle.datasync()].map(rejection));
      expect(new Set(errors).size).toBe(3);
      expect(errors.map(({ code, syscall }: any) => `${code} ${syscall}`)).toEqual([
        "EIO fdatasync",
        "EIO fsync",
        "EIO fdatasync",
      ]);
      expect(await rejection(handle.sync())).toMatchObject({ code: "EIO", syscall: "fsync" });
    }),
  );

  faultTest("close() waits for a sync that has not begun", { needs }, () =>
    withFile(async (handle, fuse) => {
      await fuse.mode({ mode: "slow", ms: 100, ops: ["fsync"] });
      const order: string[] = [];
      const syncs = [handle.datasync().then(() => order.push("first"))];
      await Bun.sleep(20);
      syncs.push(handle.datasync().then(() => order.push("second")));
      await handle.close();
      order.push("closed");
      await Promise.all(syncs);
      expect(order).toEqual(["first", "second", "closed"]);
    }),
  );

  faultTest("a file server gets each write by itself, in order", { needs }, () =>
    withFile(async (handle, fuse, path) => {
      const writes = Array.from({ length: 12 }, (_, i) => handle.write(data, i * 100, 100));
      for (const { bytesWritten } of await Promise.all(writes)) expect(bytesWritten).toBe(100);
      expect((await fuse.stats()).write).toBe(12);
      expect((await readFile(path)).equals(data.subarray(0, 1200))).toBe(true);
    }),
  );

  for (const [name, write] of Object.entries<(path: string, options: object) => Promise<unknown>>({
    writeFile: (path, options) => writeFile(path, data, options),
    "writeFile of chunks": (path, options) => writeFile(path, [data, data], options),
    "writeFile, large": (path, options) => writeFile(path, Buffer.alloc(3 << 20), options),
    appendFile: (path, options) => appendFile(path, data, options),
  }))
    faultTest(`${name} with flush: true hears a failed sync, without it there is none`, { needs }, () =>
      withFile(async (_, fuse, path) => {
        await write(path, {});
        expect((await fuse.stats()).fsync).toBe(0);
        await write(path, { flush });
        expect((await fuse.stats()).fsync).toBe(1);
        await fuse.mode({ mode: "error", errno: 5, ops: ["fsync"] });
        expect(await rejection(write(path, { flush }))).toMatchObject({ code: "EIO", syscall: "fsync" });
      }),
    );
});
