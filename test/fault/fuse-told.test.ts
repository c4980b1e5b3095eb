// FAULTS row 10: what a file server says at the close, in the middle of a write and over interruptions is heard by everything that
// writes. Assumes root and /dev/fuse; the server errs but always answers, so that this process may ask it.

import { describe, expect } from "bun:test";
import { existsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../../src/durable.ts";
import { appendFile, copyFile, open, backend as ours, readFile, writeFile } from "../../src/index.ts";
import { openRoot } from "../../src/server.ts";
import { rejection } from "../helpers/expect-error.ts";
import { type Fuse, startFuse } from "../helpers/fuse.ts";
import { faultTest } from "../helpers/requirements.ts";
import { patternBytes, tmpDir } from "../helpers/tmp.ts";

const needs = ["fuse", "gcc"] as const;
const root = tmpDir();
const data = patternBytes(200_000, 3);
const local = join(root, "local");
writeFileSync(local, data);
const [EIO, ENOSPC, EINTR] = [5, 28, 4];

async function withFuse(body: (fuse: Fuse) => Promise<void>): Promise<void> {
  const fuse = await startFuse();
  await Bun.sleep(60); // the table of mounts is looked at every 50 ms: until then this is taken for a local file system
  try {
    await body(fuse);
  } finally {
    await fuse.mode({ mode: "ok" });
    await fuse.stop();
  }
}

/** All that writes a file at a path. */
const writers: Record<string, (path: string, folder: string) => Promise<unknown>> = {
  writeFile: (path) => writeFile(path, data),
  "writeFile, small": (path) => writeFile(path, "small"),
  "writeFile with flush": (path) => writeFile(path, data, { flush: true }),
  "writeFile of chunks": (path) => writeFile(path, [data, data]),
  appendFile: (path) => appendFile(path, data),
  copyFile: (path) => copyFile(local, path),
  "a handle": async (path) => {
    const handle = await open(path, "w");
    const written = await handle.write(data, 0, 10, 0).then(
      () => null,
      (error) => error,
    );
    await handle.close().catch((error) => Promise.reject(written ?? error));
    if (written !== null) throw written;
  },
  writeFileAtomic: (path) => writeFileAtomic(path, data, { durability: "none" }),
  "Root.writeFile": async (_, folder) => {
    await using beneath = await openRoot(folder);
    await beneath.writeFile("file", data);
  },
  "Root.receive, going on": async (_, folder) => {
    await using beneath = await openRoot(folder);
    await beneath
      .receive(new Response(data), "file", { offset: 0 })
      .catch((error) => Promise.reject(error.cause ?? error));
  },
};

describe(ours, () => {
  for (const [name, write] of Object.entries(writers)) {
    // Bun keeps what close(2) says to itself, so the node backend has never heard of it.
    if (ours === "io_uring")
      faultTest(`${name} hears what is said at the close`, { needs }, () =>
        withFuse(async (fuse) => {
          const path = join(fuse.path, "file");
          await fuse.mode({ mode: "error", errno: ENOSPC, ops: ["flush"] });
          expect(await rejection(write(path, fuse.path))).toMatchObject({ code: "ENOSPC" });
          await fuse.mode({ mode: "ok" });
          // What is made beside its place does not come there.
          if (/copy|Atomic/.test(name)) expect(existsSync(path)).toBe(false);
        }),
      );
    faultTest(`${name} tells the write's error, not the close's`, { needs }, () =>
      withFuse(async (fuse) => {
        await fuse.mode({ mode: "error", errno: EIO, ops: ["write", "flush"] });
        const seen = await rejection(write(join(fuse.path, "file"), fuse.path));
        expect(seen).toMatchObject({ code: "EIO" });
        expect(seen.syscall).toBe(name === "copyFile" ? "copyfile" : "write");
      }),
    );
  }

  for (const [name, options] of Object.entries({ plain: {}, flushed: { flush: true }, limited: { timeoutMs: 20_000 } }))
    faultTest(`a ${name} write over a file that fails leaves nothing of before`, { needs }, () =>
      withFuse(async (fuse) => {
        const path = join(fuse.path, "file");
        await writeFile(path, Buffer.alloc(3_000_000, "!"));
        await fuse.mode({ mode: "error", errno: EIO, ops: ["write"], after: 1 });
        expect(await rejection(writeFile(path, Buffer.alloc(2_500_000, "n"), options as object))).toMatchObject({
          code: "EIO",
        });
        await fuse.mode({ mode: "ok" });
        const left = await readFile(path);
        expect(left.equals(Buffer.alloc(left.length, "n"))).toBe(true);
        expect(left.length).toBeLessThan(2_500_000);
      }),
    );

  faultTest("by a link from elsewhere, too", { needs }, () =>
    withFuse(async (fuse) => {
      const link = join(root, `link-${process.hrtime.bigint()}`);
      symlinkSync(fuse.path, link);
      await fuse.mode({ mode: "error", errno: ENOSPC, ops: ["write", "flush"] });
      for (const path of [join(link, "one"), join(fuse.path, "..", fuse.path.split("/").at(-1)!, "two")])
        expect(await rejection(writeFile(path, "small"))).toMatchObject({ code: "ENOSPC" });
    }),
  );

  faultTest("what is interrupted is done again, whole files and single transfers", { needs }, () =>
    withFuse(async (fuse) => {
      const path = join(fuse.path, "file");
      await writeFile(path, data);
      const interrupted = (ops: ("read" | "write" | "fsync")[]): Promise<void> =>
        fuse.mode({ mode: "error", errno: EINTR, ops, count: 3 });
      await interrupted(["read"]);
      expect((await readFile(path)).equals(data)).toBe(true);
      await using handle = await open(path, "r+");
      await interrupted(["read"]);
      expect((await handle.read(Buffer.alloc(10), 0, 10, 5)).buffer.equals(data.subarray(5, 15))).toBe(true);
      await interrupted(["write"]);
      expect((await handle.write(data, 0, 10, 0)).bytesWritten).toBe(10);
      await interrupted(["fsync"]);
      await handle.datasync();
      await interrupted(["fsync"]);
      await handle.write(data, 0, 10, 0, { flush: true });
    }),
  );
});
