// Why serveFile exists: four downloads from storage that takes 30 ms a read, and small requests beside them. Ours answers those
// all the while; Bun's own ways stand still until the downloads are done. Both are asserted, by counts, not by times.
// Assumes root and /dev/fuse. The server is a process of its own: its standing still must not be this one's.

import { describe, expect } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startFuse } from "../helpers/fuse.ts";
import { readLines } from "../helpers/lines.ts";
import { faultTest } from "../helpers/requirements.ts";
import { patternBytes } from "../helpers/tmp.ts";

const [DOWNLOADS, BYTES, READ_MS] = [4, 1024 * 1024, 30];
const content = patternBytes(BYTES);

/** Small requests that one client had answered while the downloads were under way, one after another. */
async function smallBesideDownloads(way: "ours" | "file" | "dir"): Promise<number> {
  const fuse = await startFuse();
  const file = (i: number): string => `cached-${i}`;
  try {
    for (let i = 0; i < DOWNLOADS; i++) await writeFile(join(fuse.path, file(i)), content);
    await fuse.mode({ mode: "slow", ms: READ_MS, ops: ["read"] });
    const server = Bun.spawn([process.execPath, join(import.meta.dir, "slow-storage.child.ts"), way, fuse.path], {
      stdout: "pipe",
      stderr: "inherit",
    });
    try {
      const origin = `http://127.0.0.1:${await readLines(server.stdout).next()}`;
      expect(await (await fetch(`${origin}/small`)).text()).toBe("small");
      let under = true;
      let small = 0;
      const downloads = Promise.all(
        Array.from({ length: DOWNLOADS }, async (_, i) => {
          const body = await (await fetch(`${origin}/files/${file(i)}`)).bytes();
          expect(Buffer.from(body).equals(content)).toBe(true);
        }),
      ).finally(() => {
        under = false;
      });
      while (under) {
        await (await fetch(`${origin}/small`)).text();
        if (under) small++;
      }
      await downloads;
      return small;
    } finally {
      server.kill();
      await server.exited;
    }
  } finally {
    await fuse.stop();
  }
}

describe("a server on slow storage", () => {
  faultTest("goes on answering with serveFile, and stands still with Bun's own ways", { needs: ["fuse"] }, async () => {
    const [ours, file, dir] = [
      await smallBesideDownloads("ours"),
      await smallBesideDownloads("file"),
      await smallBesideDownloads("dir"),
    ];
    expect(file).toBeLessThan(8);
    expect(dir).toBeLessThan(8);
    expect(ours).toBeGreaterThan(5 * Math.max(file, dir, 4));
  });
});
