// serveFile's other faces: staticRoutes, Hono's, Elysia's and node:http's shapes, and the command line's server.
// Assumes each framework's shape as its documents have it; the frameworks themselves are not installed.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { openRoot, serveElysia, serveNode, serveStatic, staticRoutes } from "../../src/server.ts";
import { rawRequest } from "../helpers/http.ts";
import { readLines } from "../helpers/lines.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();

function folder(): string {
  const dir = tmp.folder();
  mkdirSync(join(dir, "sub"));
  writeFileSync(join(dir, "index.html"), "top");
  writeFileSync(join(dir, "sub/index.html"), "below");
  writeFileSync(join(dir, "a b.txt"), "spaced");
  writeFileSync(join(dir, ".env"), "secret");
  writeFileSync(join(dir, "big"), patternBytes(2_000_000));
  writeFileSync(join(dir, "c.js"), "plain");
  writeFileSync(join(dir, "c.js.gz"), "GZ");
  symlinkSync("/etc/passwd", join(dir, "out"));
  return dir;
}

describe("staticRoutes", () => {
  test("holds small files with their headers, leaves the rest to serveFile, and reads anew when told", async () => {
    const dir = folder();
    const routes = await staticRoutes(dir, { prefix: "/s", maxAge: 5, precompressed: true });
    expect(Object.keys(routes).sort()).toEqual([
      "/s/",
      "/s/*",
      "/s/c.js.gz",
      "/s/index.html",
      "/s/sub/",
      "/s/sub/index.html",
    ]);
    const server = Bun.serve({ port: 0, routes, fetch: () => new Response("other", { status: 418 }) });
    const get = (path: string, headers = {}): Promise<Response> => fetch(new URL(path, server.url), { headers });
    const top = await get("/s/");
    expect([await top.text(), top.headers.get("cache-control"), top.headers.get("content-type")]).toEqual([
      "top",
      "public, max-age=5",
      "text/html;charset=utf-8",
    ]);
    expect((await get("/s/", { "If-None-Match": top.headers.get("etag")! })).status).toBe(304);
    expect(await (await get("/s/a%20b.txt")).text()).toBe("spaced");
    expect((await (await get("/s/big")).bytes()).length).toBe(2_000_000);
    expect((await get("/s/.env")).status).toBe(404);
    expect((await get("/s/out")).status).toBe(404);
    expect((await get("/elsewhere")).status).toBe(418);
    const encoded = await rawRequest(server.port!, "GET /s/c.js HTTP/1.1\nAccept-Encoding: gzip");
    expect([encoded.body.toString(), encoded.headers["content-encoding"]]).toEqual(["GZ", "gzip"]);

    writeFileSync(join(dir, "index.html"), "changed");
    expect(await (await get("/s/")).text()).toBe("top");
    server.reload({ routes: await routes.reload(), fetch: () => new Response("other") });
    expect(await (await get("/s/")).text()).toBe("changed");
    await server.stop(true);
    await routes.close();
  });

  test("holds no more than it may", async () => {
    const dir = folder();
    const none = await staticRoutes(dir, { maxBytes: 3 });
    expect(Object.keys(none).sort()).toEqual(["/*", "/c.js.gz"]);
    await none.close();
    const small = await staticRoutes(dir, { maxFileBytes: 5 });
    expect(small["/sub/index.html"]).toBeInstanceOf(Response);
    expect(small["/big"]).toBeUndefined();
    await small.close();
  });
});

describe("frameworks", () => {
  test("Hono: a file, or the next handler", async () => {
    await using root = await openRoot(folder());
    const handler = serveStatic(root, { prefix: "/static" });
    let passed = 0;
    const next = async (): Promise<void> => void passed++;
    const ask = (path: string, method = "GET") =>
      handler({ req: { raw: new Request(`http://x${path}`, { method }) } }, next);
    expect(await (await ask("/static/"))?.text()).toBe("top");
    for (const path of ["/static/none", "/static/out", "/static/.env", "/api", "/staticky"])
      expect(await ask(path)).toBeUndefined();
    expect(await ask("/static/", "POST")).toBeUndefined();
    expect(passed).toBe(6);
  });

  test("Elysia: an answer in every case", async () => {
    await using root = await openRoot(folder());
    const handler = serveElysia(root);
    expect(await (await handler({ request: new Request("http://x/") })).text()).toBe("top");
    expect((await handler({ request: new Request("http://x/none") })).status).toBe(404);
  });

  test("node:http: whole files, ranges, HEAD, misses, with and without a next", async () => {
    await using root = await openRoot(folder());
    const handle = serveNode(root);
    for (const next of [undefined, (response: { end(text: string): void }) => response.end("next")]) {
      const server = createServer((request, response) => handle(request, response, next && (() => next(response))));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as { port: number };
      const get = (line: string) => rawRequest(port, line);
      expect((await get("GET / HTTP/1.1")).body.toString()).toBe("top");
      const big = await get("GET /big HTTP/1.1");
      expect(big.body.equals(patternBytes(2_000_000))).toBe(true);
      expect([big.headers["content-length"], big.headers["transfer-encoding"] ?? "none"]).toEqual(["2000000", "none"]);
      const part = await get("GET /big HTTP/1.1\nRange: bytes=5-9");
      expect([part.status, part.body.equals(patternBytes(2_000_000).subarray(5, 10))]).toEqual([206, true]);
      expect((await get("HEAD /big HTTP/1.1")).headers["content-length"]).toBe("2000000");
      const miss = await get("GET //etc/passwd HTTP/1.1");
      expect(miss.body.toString()).toBe(next === undefined ? "Not Found\n" : "next");
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

describe("bun-uring serve", () => {
  const main = join(import.meta.dir, "..", "..", "src", "cli", "main.ts");

  async function started(...args: string[]) {
    const child = Bun.spawn([process.execPath, main, "serve", ...args, "--port", "0"], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const line = await readLines(child.stdout).next();
    return { child, port: Number(/:(\d+)\//.exec(line ?? "")?.[1]) };
  }

  test("serves a folder on one port with several workers, lists, and ends by a signal", async () => {
    const dir = folder();
    const { child, port } = await started(dir, "--workers", "2", "--listing", "--cors", "--cache", "9");
    for (let i = 0; i < 20; i++) {
      const { body, headers } = await rawRequest(port, "GET / HTTP/1.1");
      expect([body.toString(), headers["cache-control"], headers["access-control-allow-origin"]]).toEqual([
        "top",
        "public, max-age=9",
        "*",
      ]);
    }
    mkdirSync(join(dir, "list<i>"));
    writeFileSync(join(dir, "list<i>", "x&y"), "");
    const listing = await rawRequest(port, "GET /list%3Ci%3E/ HTTP/1.1");
    expect(listing.body.toString()).toContain('<a href="./x%26y">x&amp;y</a>');
    expect(listing.body.toString()).not.toContain("<i>");
    expect((await rawRequest(port, "GET /../ HTTP/1.1")).body.toString()).not.toContain("passwd");
    child.kill("SIGINT");
    await child.exited;
    expect(await rawRequest(port, "GET / HTTP/1.1").catch(() => null)).toBeNull();
  });

  test("--spa answers pages with index.html; a folder that is not there is one line and exit code 1", async () => {
    const { child, port } = await started(folder(), "--spa");
    expect((await rawRequest(port, "GET /some/page HTTP/1.1\nAccept: text/html")).body.toString()).toBe("top");
    child.kill();
    const failing = Bun.spawnSync([process.execPath, main, "serve", tmp.path(), "--port", "0"]);
    expect([failing.exitCode, failing.stderr.toString().trim().split("\n").length]).toEqual([1, 1]);
    const usage = Bun.spawnSync([process.execPath, main, "serve", "--workers", "0"]);
    expect(usage.exitCode).toBe(2);
  });

  test("--tls", async () => {
    const dir = folder();
    const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
    const made = Bun.spawnSync([
      "openssl",
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-keyout",
      key,
      "-out",
      cert,
      "-days",
      "1",
      "-subj",
      "/CN=localhost",
    ]);
    if (made.exitCode !== 0 || !existsSync(cert)) throw new Error(`no certificate could be made: ${made.stderr}`);
    const { child, port } = await started(dir, "--tls", cert, key);
    const answer = await fetch(`https://localhost:${port}/big`, { tls: { rejectUnauthorized: false } });
    expect((await answer.bytes()).length).toBe(2_000_000);
    child.kill();
  });
});
