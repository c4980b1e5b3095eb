// The pages of examples/ in headless Chromium: an upload's progress moves and goes on after a cut, a player's jump is a range,
// the charts move. With SCREENSHOTS=FOLDER pictures of them are left there (those of docs/).
// Assumes Chromium, else skipped. The player has sound of a WAV file made here, or a film where SCREENSHOT_FILM names one.

import { describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { chromiumPath, openPage } from "../helpers/chromium.ts";
import { startExample } from "../helpers/example.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const pictures = process.env.SCREENSHOTS;
const reason = chromiumPath === null ? " [skipped: no chromium]" : "";
const TIMEOUT_MS = 60_000;

/** Between the page and the server: passes bytes on both ways, and can cut all connections. */
function startProxy(target: number): { port: number; cut(): void } & AsyncDisposable {
  interface Side {
    peer: Bun.Socket<Side> | null;
    /** For this side, where its socket was full. */
    waiting: Buffer[];
  }
  const clients = new Set<Bun.Socket<Side>>();
  const flush = (to: Bun.Socket<Side>): void => {
    const { waiting } = to.data;
    while (waiting.length > 0) {
      const chunk = waiting[0]!;
      const sent = to.write(chunk);
      if (sent < chunk.length) {
        waiting[0] = chunk.subarray(Math.max(0, sent));
        return;
      }
      waiting.shift();
    }
  };
  const forward = (from: Bun.Socket<Side>, data: Buffer): void => {
    const to = from.data.peer!;
    to.data.waiting.push(Buffer.from(data));
    flush(to);
  };
  const early = new Map<Bun.Socket<Side>, Buffer[]>();
  const listener = Bun.listen<Side>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      async open(client) {
        client.data = { peer: null, waiting: [] };
        clients.add(client);
        early.set(client, []);
        const peer = await Bun.connect<Side>({
          hostname: "127.0.0.1",
          port: target,
          data: { peer: client, waiting: [] },
          socket: { data: forward, drain: flush, close: (side) => void side.data.peer?.end() },
        });
        client.data.peer = peer;
        for (const data of early.get(client) ?? []) forward(client, data);
        early.delete(client);
      },
      data(client, data) {
        if (client.data.peer === null) early.get(client)!.push(Buffer.from(data));
        else forward(client, data);
      },
      drain: flush,
      close(client) {
        clients.delete(client);
        client.data.peer?.terminate();
      },
    },
  });
  return {
    port: listener.port,
    cut() {
      for (const client of clients) client.terminate();
    },
    async [Symbol.asyncDispose]() {
      listener.stop(true);
    },
  };
}

/** Silence that Chromium can play and jump in: 8-bit mono, `seconds` long. */
function wav(seconds: number): Buffer {
  const rate = 44_100;
  const bytes = Buffer.alloc(44 + rate * seconds, 128);
  bytes.write("RIFF", 0);
  bytes.writeUInt32LE(bytes.length - 8, 4);
  bytes.write("WAVEfmt ", 8);
  bytes.writeUInt32LE(16, 16);
  for (const [at, value] of [[20, 1], [22, 1], [32, 1], [34, 8]] as const) bytes.writeUInt16LE(value, at); // biome-ignore format: a table
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(rate, 28);
  bytes.write("data", 36);
  bytes.writeUInt32LE(bytes.length - 44, 40);
  return bytes;
}

describe.skipIf(chromiumPath === null)(`in Chromium${reason}`, () => {
  test(
    "upload: progress moves; after a cut it goes on from what has arrived, and the file is whole",
    async () => {
      const folder = tmp.path();
      const bytes = patternBytes(30_000_000);
      const source = join(tmp.folder(), "film.bin");
      writeFileSync(source, bytes);
      await using server = await startExample("upload-server.ts", [folder]);
      await using proxy = startProxy(server.port);
      await using page = await openPage(`http://127.0.0.1:${proxy.port}/`, tmp.folder());
      await page.send("Network.enable");
      const conditions = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 12_000_000 };
      await page.send("Network.emulateNetworkConditions", conditions);
      await page.choose("#files", [source]);
      const value = (): Promise<number> => page.evaluate<number>(`document.querySelector("progress")?.value ?? 0`);
      const seen = new Set<number>();
      for (let at = 0; at < 12_000_000; at = await value()) {
        seen.add(at);
        await Bun.sleep(30);
      }
      expect(seen.size).toBeGreaterThan(3);
      proxy.cut();
      await page.until(`document.querySelector("li").dataset.offsets.split(" ").some((offset) => offset > 0)`);
      await page.until(`document.querySelector("progress").value > 20_000_000`);
      if (pictures) await page.screenshot(join(pictures, "upload.png"));
      await page.until(`document.querySelector(".state").textContent === "done"`);
      const offsets = await page.evaluate<string>(`document.querySelector("li").dataset.offsets`);
      expect(Number(offsets.split(" ").at(-1))).toBeGreaterThan(1_000_000);
      expect(readFileSync(join(folder, "film.bin")).equals(bytes)).toBe(true);
    },
    TIMEOUT_MS,
  );

  test(
    "media: a jump asks for the range that it needs, and plays there",
    async () => {
      const dir = tmp.folder();
      const film = process.env.SCREENSHOT_FILM;
      const name = film === undefined ? "tone.wav" : basename(film);
      if (film === undefined) writeFileSync(join(dir, name), wav(600));
      else copyFileSync(film, join(dir, name));
      const { size } = statSync(join(dir, name));
      await using server = await startExample("media.ts", [dir]);
      await using page = await openPage(`${server.url}/`, tmp.folder(), [800, 780]);
      await page.until(`player.readyState >= 1`);
      const duration = await page.evaluate<number>("player.duration");
      expect(duration).toBeGreaterThan(10);
      await page.evaluate(`new Promise((done) => { player.onseeked = done; player.currentTime = ${duration * 0.8}; })`);
      expect(await page.evaluate<number>("player.currentTime")).toBeCloseTo(duration * 0.8, 0);
      await page.until(`document.querySelectorAll("#asked tr").length > 1`);
      const asked = (await (await fetch(`${server.url}/asked`)).json()) as { range: string; status: number }[];
      // 304: a chunk that Chromium had kept, asked for with If-None-Match.
      expect(asked.filter(({ status }) => status !== 206 && status !== 304)).toEqual([]);
      expect(asked.some(({ status }) => status === 206)).toBe(true);
      // Not by reading on from the start: a range that begins far behind it.
      expect(asked.some(({ range }) => Number(/bytes=(\d+)-/.exec(range)?.[1]) > size / 2)).toBe(true);
      if (pictures) await page.screenshot(join(pictures, "media.png"));
    },
    TIMEOUT_MS,
  );

  test(
    "dashboard: the charts move",
    async () => {
      await using server = await startExample("dashboard.ts", []);
      await using page = await openPage(`${server.url}/`, tmp.folder(), [1000, 660]);
      const points = `Array.from(document.querySelectorAll("g[aria-label=line] path"), (line) => line.getAttribute("d"))`;
      await page.until(`${points}.length === 8`);
      const first = await page.evaluate<string[]>(points);
      await page.until(`${points}.every((text) => text.split("L").length > ${pictures ? 40 : 5})`);
      await page.until(`${points}.every((text, i) => text !== ${JSON.stringify(first)}[i])`);
      const later = await page.evaluate<string[]>(points);
      expect(later.filter((text, i) => text === first[i])).toEqual([]);
      expect(later.some((text) => new Set(text.split("L").map((point) => point.split(",")[1])).size > 3)).toBe(true);
      if (pictures) await page.screenshot(join(pictures, "dashboard.png"));
    },
    TIMEOUT_MS,
  );
});
