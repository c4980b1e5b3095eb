// Why serveFile and receive exist: four downloads from storage that takes 30 ms a read, or an upload to one that takes 30 ms a write,
// and small requests beside them. Ours answers those all the while; Bun's own ways stand still until the downloads or the upload are
// done. Both are asserted, by counts, not by times.
// Assumes root and /dev/fuse. The server is a process of its own: its standing still must not be this one's.

import { describe, expect } from "bun:test";
import { readFile, writeFile } from "node:fs/promises";
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

const UPLOAD_BYTES = 16 * 1024 * 1024;

/** The same beside one upload; what was uploaded is compared. */
async function smallBesideUpload(way: "ours" | "Bun.write"): Promise<number> {
  await using fuse = await startFuse();
  await fuse.mode({ mode: "slow", ms: READ_MS, ops: ["write"] });
  const server = Bun.spawn([process.execPath, join(import.meta.dir, "uploads.child.ts"), way, fuse.path], {
    stdout: "pipe",
    stderr: "inherit",
    env: { ...process.env, MAX_BYTES: String(UPLOAD_BYTES) },
  });
  try {
    const origin = `http://127.0.0.1:${await readLines(server.stdout).next()}`;
    expect(await (await fetch(`${origin}/small`)).text()).toBe("small");
    const body = patternBytes(UPLOAD_BYTES) as Buffer<ArrayBuffer>;
    let under = true;
    let small = 0;
    const upload = fetch(`${origin}/up`, { method: "PUT", body })
      .then(async (answer) => expect([answer.ok, ((await answer.json()) as any).bytes]).toEqual([true, body.length]))
      .finally(() => {
        under = false;
      });
    const times: number[] = [];
    while (under) {
      const start = performance.now();
      await (await fetch(`${origin}/small`)).text();
      if (under) small++;
      times.push(performance.now() - start);
    }
    await upload;
    if (process.env.SHOW === "1") {
      times.sort((a, b) => a - b);
      console.log(`${way}: ${small} small requests, p50 ${times[times.length >> 1]} ms, longest ${times.at(-1)} ms`);
    }
    await fuse.mode({ mode: "ok" });
    expect((await readFile(join(fuse.path, "up"))).equals(body)).toBe(true);
    return small;
  } finally {
    server.kill();
    await server.exited;
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

  faultTest("goes on answering beside receive, and stands still with Bun.write", { needs: ["fuse"] }, async () => {
    const [ours, buns] = [await smallBesideUpload("ours"), await smallBesideUpload("Bun.write")];
    expect(buns).toBeLessThan(8);
    expect(ours).toBeGreaterThan(5 * Math.max(buns, 4));
  });
});
