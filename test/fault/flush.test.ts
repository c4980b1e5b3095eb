// FAULTS rows 10 and 12 for durable writes: what is short is gone on with before anything is synced, what fails is named,
// and a sync that failed once fails for good.
// Assumes root and /dev/fuse. The server errs, does half or is late, but always answers.

import { describe, expect } from "bun:test";
import { join } from "node:path";
import { type FileHandle, open, backend as ours, readFile } from "../../src/index.ts";
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
});
