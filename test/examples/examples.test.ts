// The servers and stores of examples/: each is started as its user would, asked for its main answer, and killed where surviving
// is what it is for. Their pages in a browser are in pages.test.ts.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Example, startExample } from "../helpers/example.ts";
import { rawRequest } from "../helpers/http.ts";
import { startS3 } from "../helpers/s3.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const SLOW = process.env.BUN_URING_SLOW === "1";

describe("static-server", () => {
  test("lists, serves ranges of files, and nothing outside", async () => {
    const dir = tmp.folder();
    writeFileSync(join(dir, "a.txt"), "0123456789");
    await using server = await startExample("static-server.ts", [dir]);
    expect(await (await fetch(server.url)).json()).toEqual({ files: ["a.txt"] });
    const part = await fetch(`${server.url}/files/a.txt`, { headers: { range: "bytes=2-4" } });
    expect([part.status, await part.text(), part.headers.get("cache-control")]).toEqual([
      206,
      "234",
      "public, max-age=60",
    ]);
    expect((await rawRequest(server.port, "GET /files/..%2f..%2fetc/passwd HTTP/1.1")).status).toBeGreaterThanOrEqual(
      400,
    );
  });
});

describe("wal-kv", () => {
  test("after SIGKILL at any moment everything acknowledged is there, and nothing is older than it was", async () => {
    const dir = tmp.path();
    const acknowledged = new Map<string, number>();
    let sent = 0;
    for (let kill = 0; kill < (SLOW ? 60 : 6); kill++) {
      await using server = await startExample("wal-kv.ts", [dir]);
      for (const [key, value] of acknowledged) {
        const found = Number(await (await fetch(`${server.url}/${key}`)).text());
        expect([key, found >= value]).toEqual([key, true]); // a later one may be there unacknowledged
      }
      let alive = true;
      const clients = Array.from({ length: 16 }, async (_, client) => {
        while (alive) {
          const value = ++sent;
          const done = await fetch(`${server.url}/k${client}`, { method: "PUT", body: String(value) }).catch(
            () => null,
          );
          if (done?.status === 204) acknowledged.set(`k${client}`, value);
        }
      });
      await Bun.sleep(200 + Math.random() * 300);
      server.child.kill("SIGKILL");
      alive = false;
      await Promise.all(clients);
    }
    expect(acknowledged.size).toBe(16);
    expect(existsSync(join(dir, "snapshot.json"))).toBe(true);
    expect(readdirSync(dir).filter((name) => /^changes\.log\.\d+$/.test(name)).length).toBeLessThanOrEqual(2);
    await using server = await startExample("wal-kv.ts", [dir]);
    expect((await fetch(`${server.url}/k0`, { method: "DELETE" })).status).toBe(204);
    expect((await fetch(`${server.url}/k0`)).status).toBe(404);
  });
});

describe("log-server", () => {
  test("logs each request, opens its file anew by SIGHUP, and loses nothing by SIGTERM", async () => {
    const path = tmp.path();
    await using server = await startExample("log-server.ts", [path]);
    const ask = (n: number) =>
      Promise.all(Array.from({ length: n }, async (_, i) => (await fetch(`${server.url}/r${i}`)).text()));
    await ask(100);
    const pending = async (): Promise<number> =>
      ((await (await fetch(`${server.url}/log`)).json()) as { pendingBytes: number }).pendingBytes;
    while ((await pending()) > 0) await Bun.sleep(10);
    renameSync(path, `${path}.1`);
    server.child.kill("SIGHUP");
    while (!existsSync(path)) await Bun.sleep(5);
    await ask(50);
    server.child.kill("SIGTERM");
    await server.child.exited;
    const urls = (file: string): string[] =>
      readFileSync(file, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).url.split("/").at(-1));
    expect(urls(`${path}.1`).sort()).toEqual(Array.from({ length: 100 }, (_, i) => `r${i}`).sort());
    expect(urls(path).sort()).toEqual(Array.from({ length: 50 }, (_, i) => `r${i}`).sort());
  });
});

describe("ship-segments", () => {
  test("with the shipper killed and the store refusing, a replay has every acknowledged record, in order", async () => {
    await using s3 = startS3();
    const folder = tmp.path();
    const env = { ...s3.env, SEGMENT_BYTES: "4000" };
    let refusals = 3;
    s3.onPut = () => (refusals-- > 0 ? 503 : undefined);
    const acknowledged: string[] = [];
    let next = 0;
    for (let kill = 0; kill < (SLOW ? 30 : 3); kill++) {
      await using writer = await startExample("ship-segments.ts", ["write", folder], { env, serves: false });
      for (let i = 0; i < 60; i++) {
        const record = `order ${next++} ${"x".repeat(100)}`;
        writer.child.stdin.write(`${record}\n`);
        writer.child.stdin.flush();
        const offset = await writer.lines.next();
        if (offset === null) throw new Error("the writer ended");
        acknowledged.push(record);
      }
      writer.child.kill("SIGKILL");
    }
    // The last one ends by itself, and has shipped all when it does, though the store takes nothing when it would end.
    refusals = 12;
    await using writer = await startExample("ship-segments.ts", ["write", folder], { env, serves: false });
    writer.child.stdin.write("last\n");
    await writer.lines.next();
    const done = (): boolean => [...s3.objects.values()].some((bytes) => bytes.includes("last"));
    writer.child.stdin.end();
    expect(await writer.child.exited).toBe(0);
    expect(done()).toBe(true);
    expect(s3.objects.size).toBeGreaterThan(3);
    await using replay = await startExample("ship-segments.ts", ["replay", tmp.path()], { env, serves: false });
    await replay.child.exited;
    await replay.lines.ended;
    expect(replay.lines.text().trimEnd().split("\n")).toEqual([...acknowledged, "last"]);
  });
});

async function cutUpload(server: Example, name: string, bytes: Buffer, length: number): Promise<void> {
  const socket = await Bun.connect({ hostname: "127.0.0.1", port: server.port, socket: { data() {} } });
  socket.write(`PUT /files/${name} HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\n`);
  for (let at = 0; at < length; ) {
    at += socket.write(bytes.subarray(at, Math.min(length, at + 65_536)));
    await Bun.sleep(1);
  }
  socket.terminate();
}

describe("upload-server", () => {
  test("a cut upload is gone on with from where it was cut; what is there is not written over", async () => {
    const folder = tmp.path();
    const bytes = patternBytes(5_000_000) as Buffer<ArrayBuffer>;
    await using server = await startExample("upload-server.ts", [folder]);
    const url = `${server.url}/files/film.bin`;
    const offset = async (): Promise<number> =>
      Number((await fetch(url, { method: "HEAD" })).headers.get("upload-offset"));
    expect(await offset()).toBe(0);
    await cutUpload(server, "film.bin", bytes, 3_000_000);
    let at = 0;
    // The server needs a moment to see that the client is gone; until then it refuses a second writer.
    for (let answer = 409; answer === 409; await Bun.sleep(20)) {
      at = await offset();
      answer = (await fetch(`${url}?offset=${at}`, { method: "PUT", body: bytes.subarray(at) })).status;
      if (answer !== 409) expect(answer).toBe(201);
    }
    expect(at).toBeGreaterThan(0);
    const hash = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
    expect(hash(readFileSync(join(folder, "film.bin")))).toBe(hash(bytes));
    expect((await fetch(url, { method: "PUT", body: "again" })).status).toBe(409);
    for (const name of ["..%2fout", "%00", ".hidden"])
      expect([name, (await fetch(`${server.url}/files/${name}`, { method: "PUT", body: "x" })).status]).toEqual([
        name,
        400,
      ]);
    expect(readdirSync(folder)).toEqual(["film.bin"]);
    expect((await (await fetch(server.url)).text()).includes("Drag files here")).toBe(true);
  });
});

describe("media", () => {
  test("lists what can be played, and answers the range that a player asks for", async () => {
    const dir = tmp.folder();
    for (const name of ["b.mp3", "a.webm", "notes.txt"]) writeFileSync(join(dir, name), "0123456789");
    await using server = await startExample("media.ts", [dir]);
    expect(await (await fetch(`${server.url}/list`)).json()).toEqual(["a.webm", "b.mp3"]);
    const part = await fetch(`${server.url}/media/a.webm`, { headers: { range: "bytes=5-" } });
    expect([part.status, part.headers.get("content-type"), await part.text()]).toEqual([206, "video/webm", "56789"]);
    expect(await (await fetch(`${server.url}/asked`)).json()).toEqual([
      { name: "a.webm", range: "bytes=5-", status: 206 },
    ]);
    expect((await (await fetch(server.url)).text()).includes("<video")).toBe(true);
  });
});

describe("dashboard", () => {
  test("has samples that move, and every counter in Prometheus' text format", async () => {
    await using server = await startExample("dashboard.ts", []);
    const samples = async (): Promise<Record<string, number>[]> =>
      (await fetch(`${server.url}/samples`)).json() as never;
    while ((await samples()).length < 3) await Bun.sleep(100);
    const response = await fetch(`${server.url}/metrics`);
    expect(response.headers.get("content-type")).toContain("version=0.0.4");
    const text = await response.text();
    // https://prometheus.io/docs/instrumenting/exposition_formats: comments, and names with labels and a number.
    for (const line of text.trimEnd().split("\n"))
      expect(line).toMatch(/^(# TYPE \w+ (counter|gauge|summary)|\w+(\{\w+="[^"]*"\})? [\d.e+-]+)$/);
    const value = (name: string): number => Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
    expect(value("bun_uring_in_flight")).toBeGreaterThanOrEqual(0);
    expect(value('bun_uring_read_latency_seconds\\{quantile="0.5"\\}')).toBeGreaterThan(0);
    const { backend } = await import("../../src/index.ts");
    if (backend === "io_uring") {
      expect(value("bun_uring_completed_total")).toBeGreaterThan(50);
      expect((await samples()).at(-1)!["operations a second"]).toBeGreaterThan(0);
    }
  });
});
