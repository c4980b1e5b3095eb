// serveFile: RFC 9110's conditions and ranges, names, encodings, options, and files that change, over raw sockets.
// Assumes nothing but a folder. Never looks inside: only at what a client gets.

import { afterAll, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openRoot, type Root, type ServeOptions, serveFile } from "../../src/server.ts";
import { type RawAnswer, rawRequest } from "../helpers/http.ts";
import { CASES, CONTENT, DATE, TIME } from "../helpers/http-conditions.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const MIB = 1024 * 1024;

interface Site extends AsyncDisposable {
  dir: string;
  root: Root;
  port: number;
  get(path: string, headers?: Record<string, string>, method?: string): Promise<RawAnswer>;
}

async function site(options: ServeOptions = {}, files: Record<string, string | Buffer> = {}): Promise<Site> {
  const dir = tmp.folder("www");
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(dir, name, ".."), { recursive: true });
    writeFileSync(join(dir, name), content);
  }
  const root = await openRoot(dir);
  const server = Bun.serve({ port: 0, development: false, fetch: (request) => serveFile(request, root, options) });
  return {
    dir,
    root,
    port: server.port!,
    get: (path, headers = {}, method = "GET") =>
      rawRequest(
        server.port!,
        [`${method} ${path} HTTP/1.1`, ...Object.entries(headers).map(([key, value]) => `${key}: ${value}`)].join("\n"),
      ),
    async [Symbol.asyncDispose]() {
      await server.stop(true);
      await root.close();
    },
  };
}

/* ---- conditions and ranges ----------------------------------------------------------------------------------------- */

describe("conditions and ranges (RFC 9110)", () => {
  const dir = tmp.folder("rfc");
  writeFileSync(join(dir, "f.txt"), CONTENT);
  utimesSync(join(dir, "f.txt"), TIME, TIME);
  let server: Bun.Server<undefined> | undefined;
  let port = 0;
  let etag = "";
  afterAll(() => server?.stop(true));
  const ready = (async () => {
    const root = await openRoot(dir);
    server = Bun.serve({ port: 0, fetch: (request) => serveFile(request, root) });
    port = server.port!;
    etag = (await rawRequest(port, "HEAD /f.txt HTTP/1.1")).headers.etag!;
  })();

  for (const [headers, status, expected] of CASES) {
    const shown = Object.entries(headers).map(([key, value]) => `${key}: ${value}`);
    test(`${shown.join(", ") || "no header"} -> ${status}`, async () => {
      await ready;
      const fields = shown.map((field) => field.replaceAll("ETAG", etag));
      for (const method of ["GET", "HEAD"]) {
        const answer = await rawRequest(port, [`${method} /f.txt HTTP/1.1`, ...fields].join("\n"));
        if (method === "HEAD" && (status === 206 || status === 416)) {
          // Ranges are GET's alone (14.2).
          const { "content-range": part = "none", "content-length": length = "none" } = answer.headers;
          expect([answer.status, part, length]).toEqual([200, "none", String(CONTENT.length)]);
          continue;
        }
        expect(answer.status).toBe(status);
        if (status === 206 || status === 416) expect(answer.headers["content-range"]).toBe(expected!);
        if (status === 200 || status === 206 || status === 304) {
          expect([answer.headers.etag, answer.headers["last-modified"]]).toEqual([etag, DATE]);
        }
        if (method === "HEAD") expect(answer.body.length).toBe(0);
        else if (status === 200) expect(answer.body.toString()).toBe(expected!);
        else if (status === 206) {
          const [, start, end] = /(\d+)-(\d+)/.exec(expected!)!;
          expect(answer.body.toString()).toBe(CONTENT.slice(Number(start), Number(end) + 1));
        }
        const length = { 200: CONTENT.length, 206: answer.body.length }[status];
        if (method === "GET" && length !== undefined) expect(answer.headers["content-length"]).toBe(String(length));
      }
    });
  }
});

/* ---- names --------------------------------------------------------------------------------------------------------- */

describe("names", () => {
  test("folders have their index; without a slash they are redirected, with what was asked", async () => {
    await using s = await site({}, { "index.html": "top", "sub/index.html": "below", "bare/x": "x" });
    expect((await s.get("/sub%2findex.html")).status).toBe(400); // no slash of the path's
    expect((await s.get("/")).body.toString()).toBe("top");
    expect((await s.get("/sub/")).body.toString()).toBe("below");
    const redirect = await s.get("/sub?a=b");
    expect([redirect.status, redirect.headers.location]).toEqual([301, "./sub/?a=b"]);
    expect((await s.get("/bare/")).status).toBe(404);
    expect((await s.get("/bare")).status).toBe(404);
  });

  test("index: false answers no folder; another name for it does", async () => {
    await using none = await site({ index: false }, { "index.html": "x" });
    expect((await none.get("/")).status).toBe(404);
    await using own = await site({ index: "start.htm" }, { "start.htm": "started" });
    expect((await own.get("/")).body.toString()).toBe("started");
  });

  test("nothing that begins with a dot, but .well-known; unless allowed", async () => {
    const files = { ".env": "secret", "a/.git/config": "secret", ".well-known/x": "known" };
    await using s = await site({}, files);
    for (const path of ["/.env", "/%2eenv", "/a/.git/config", "/./.env"]) expect((await s.get(path)).status).toBe(404);
    expect((await s.get("/.well-known/x")).body.toString()).toBe("known");
    await using open = await site({ dotfiles: "allow" }, files);
    expect((await open.get("/.env")).body.toString()).toBe("secret");
  });

  test("nothing outside, by any spelling", async () => {
    await using s = await site({ precompressed: true }, { "in/file.txt": "inside", "index.html": "top" });
    writeFileSync(join(s.dir, "..", "outside-secret"), "secret");
    symlinkSync("../outside-secret", join(s.dir, "link"));
    symlinkSync("/etc", join(s.dir, "etc"));
    symlinkSync("../../outside-secret", join(s.dir, "in/file.txt.br"));
    symlinkSync("/proc/self/root", join(s.dir, "magic"));
    mkdirSync(join(s.dir, "folder"));
    symlinkSync("../../outside-secret", join(s.dir, "folder/index.html"));
    for (const path of [
      "/link",
      "/etc/passwd",
      "/magic/etc/passwd",
      "/../outside-secret",
      "/..%2foutside-secret",
      "/%2e%2e/outside-secret",
      "/%2e%2e%2foutside-secret",
      "/in/../../outside-secret",
      "//etc/passwd",
      "/%2fetc/passwd",
      "/in/..%5c..%5coutside-secret",
      "/in%00/../../outside-secret",
      "/folder/",
      "/folder/index.html",
      "/..;/outside-secret",
      "/.../outside-secret",
      "/%c0%ae%c0%ae/x",
      "/in/%2e%2e/%2e%2e/outside-secret",
      "/LINK",
      "/link/",
      "/link.",
      "/%",
      "/%zz",
    ]) {
      // biome-ignore format: a list of names
      const answer = await s.get(path);
      expect([path, answer.status >= 400, answer.body.includes("secret") || answer.body.includes("root:")]).toEqual([
        path,
        true,
        false,
      ]);
    }
    // The sibling leads out: it is as if it were not there.
    const plain = await s.get("/in/file.txt", { "Accept-Encoding": "br" });
    expect([plain.status, plain.headers["content-encoding"] ?? "none", plain.body.toString()]).toEqual([
      200,
      "none",
      "inside",
    ]);
  });

  test("FIFOs and devices are not there, and nobody waits for one", async () => {
    await using s = await site();
    Bun.spawnSync(["mkfifo", join(s.dir, "fifo")]);
    expect((await s.get("/fifo")).status).toBe(404);
  });

  test("a prefix is taken off, a name stands for the path, a path for a root", async () => {
    await using s = await site({ prefix: "/static" }, { "a.txt": "a" });
    expect((await s.get("/static/a.txt")).body.toString()).toBe("a");
    expect((await s.get("/a.txt")).status).toBe(404);
    expect((await s.get("/staticky/a.txt")).status).toBe(404);
    await using named = await site({ name: "a.txt" }, { "a.txt": "a" });
    expect((await named.get("/whatever")).body.toString()).toBe("a");
    const path = join(named.dir, "a.txt");
    const one = await serveFile(new Request("http://x/"), path);
    expect(await one.text()).toBe("a");
    expect((await serveFile(new Request("http://x/"), `${path}x`)).status).toBe(404);
    // A path is the program's own word: its folders may begin with a dot.
    mkdirSync(join(named.dir, ".hidden"));
    writeFileSync(join(named.dir, ".hidden/b.txt"), "b");
    const hidden = await serveFile(new Request("http://x/"), join(named.dir, ".hidden/b.txt"));
    expect(await hidden.text()).toBe("b");
  });

  test("a folder that is named like an index is none", async () => {
    await using s = await site({}, { "sub/index.html/x": "x" });
    for (const path of ["/sub/", "/sub/index.html", "/sub/index.html/"]) expect((await s.get(path)).status).toBe(404);
  });

  test("spaces and other letters are decoded", async () => {
    await using s = await site({}, { "ä b.txt": "x", "100%.txt": "y" });
    expect((await s.get("/%C3%A4%20b.txt")).body.toString()).toBe("x");
    expect((await s.get("/100%25.txt")).body.toString()).toBe("y");
  });

  test("other methods are refused", async () => {
    await using s = await site({}, { "a.txt": "a" });
    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      const answer = await s.get("/a.txt", {}, method);
      expect([answer.status, answer.headers.allow]).toEqual([405, "GET, HEAD"]);
    }
  });
});

/* ---- headers and options ------------------------------------------------------------------------------------------- */

describe("headers and options", () => {
  test("media types with their charset, and none that Bun does not know", async () => {
    await using s = await site({}, { "a.html": "", "a.js": "", "a.png": "", "a.unknown-ending": "", plain: "" });
    const type = async (path: string): Promise<string | undefined> => (await s.get(path)).headers["content-type"];
    expect(await type("/a.html")).toBe("text/html;charset=utf-8");
    expect(await type("/a.js")).toBe("text/javascript;charset=utf-8");
    expect(await type("/a.png")).toBe("image/png");
    expect(await type("/plain")).toBe("application/octet-stream");
  });

  test("cacheControl, maxAge, immutable, headers, download", async () => {
    const files = { "app-0a1b2c3d.js": "x", "a.txt": "x" };
    await using s = await site(
      {
        maxAge: 60,
        immutable: /-[0-9a-f]{8}\./g,
        headers: (name, { size }) => ({ "X-Name": name, "X-Size": String(size) }),
        download: "grün.txt",
      },
      files,
    );
    for (let i = 0; i < 2; i++) {
      const immutable = await s.get("/app-0a1b2c3d.js");
      expect(immutable.headers["cache-control"]).toBe("public, max-age=31536000, immutable");
    }
    const { headers } = await s.get("/a.txt");
    expect([headers["cache-control"], headers["x-name"], headers["x-size"]]).toEqual([
      "public, max-age=60",
      "a.txt",
      "1",
    ]);
    expect(headers["content-disposition"]).toBe(`attachment; filename="gr_n.txt"; filename*=UTF-8''gr%C3%BCn.txt`);
  });

  test("no header can be made of a name, and what can be none is refused at the call", async () => {
    const request = new Request("http://x/");
    const path = tmp.file("x");
    for (const cacheControl of ["a\r\nSet-Cookie: b", "a\0"])
      expect(() => serveFile(request, path, { cacheControl })).toThrow(TypeError);
    for (const download of ['a"\r\nX: y', "\0", "\ud800", 'x"; filename="y', "a\\"]) {
      await using s = await site({ download }, { a: "a" });
      const { headers } = await s.get("/a");
      expect(headers["content-disposition"]).toMatch(/^attachment; filename="[^"\\]*"; filename\*=UTF-8''[\w.!~%-]*$/);
      expect(headers["x"]).toBeUndefined();
    }
    await using bad = await site({ headers: (name) => ({ "X-Name": `${name}\r\nX: y` }) }, { a: "a" });
    expect((await bad.get("/a")).status).toBe(500);
  });

  test("Last-Modified is never later than the answer", async () => {
    await using s = await site({}, { a: "a" });
    utimesSync(join(s.dir, "a"), 4_000_000_000, 4_000_000_000);
    const { headers } = await s.get("/a");
    expect(Date.parse(headers["last-modified"]!)).toBeLessThanOrEqual(Date.now());
  });

  test("a `headers` that answers with another file leaves each its own bytes", async () => {
    await using s = await site({}, { a: "of a", b: "of b, which is longer" });
    const inner: string[] = [];
    const options: ServeOptions = {
      headers: (name) => {
        if (name !== "a") return {};
        const other = serveFile(new Request("http://x/b"), s.root);
        inner.push(other instanceof Promise ? "later" : other.headers.get("etag")!);
        return {};
      },
    };
    await serveFile(new Request("http://x/b"), s.root); // known, so that it is answered in the turn
    const answer = await serveFile(new Request("http://x/a"), s.root, options);
    expect([await answer.text(), inner.length]).toEqual(["of a", 1]);
  });

  test("fallback is for pages, notFound and onError for the rest", async () => {
    await using s = await site(
      { fallback: "app.html", notFound: () => new Response("own", { status: 404 }) },
      { "app.html": "the app" },
    );
    expect((await s.get("/some/route", { Accept: "text/html,*/*" })).body.toString()).toBe("the app");
    const script = await s.get("/missing.js", { Accept: "text/javascript" });
    expect([script.status, script.body.toString()]).toEqual([404, "own"]);
    await using broken = await site({ fallback: "none.html" }, {});
    expect((await broken.get("/x", { Accept: "text/html" })).status).toBe(404);
    await using failing = await site(
      {
        headers: () => {
          throw new Error("mine");
        },
        onError: (error) => new Response(error.message, { status: 503 }),
      },
      { a: "a" },
    );
    const failed = await failing.get("/a");
    expect([failed.status, failed.body.toString()]).toEqual([503, "mine"]);
  });

  test("encoded siblings by what the client likes, each with its own tag", async () => {
    await using s = await site(
      { precompressed: true },
      { "a.js": "plain", "a.js.br": "BR", "a.js.gz": "GZ", "a.js.zst": "ZST", "b.js": "plain" },
    );
    const of = async (accept: string, path = "/a.js"): Promise<string> => {
      const answer = await s.get(path, { "Accept-Encoding": accept });
      expect(answer.headers.vary).toBe("Accept-Encoding");
      expect(answer.headers["content-type"]).toBe("text/javascript;charset=utf-8");
      expect(answer.headers["content-encoding"] ?? "").toBe(
        { BR: "br", GZ: "gzip", ZST: "zstd" }[answer.body.toString()] ?? "",
      );
      return answer.body.toString();
    };
    expect(await of("gzip, br")).toBe("BR");
    expect(await of("gzip;q=1, br;q=0.5")).toBe("GZ");
    expect(await of("zstd, br;q=0")).toBe("ZST");
    expect(await of("*;q=0")).toBe("plain"); // nothing is wanted, and no encoding is what is least unwanted
    expect(await of("*")).toBe("BR");
    expect(await of("identity")).toBe("plain");
    expect(await of("br;q=0.2, identity;q=0.8")).toBe("plain");
    expect(await of("br;q=x")).toBe("plain");
    expect(await of("")).toBe("plain");
    expect(await of("br", "/b.js")).toBe("plain");
    const tags = await Promise.all(
      ["br", "gzip", "identity"].map(
        async (accept) => (await s.get("/a.js", { "Accept-Encoding": accept })).headers.etag,
      ),
    );
    expect(new Set(tags).size).toBe(3);
    expect((await s.get("/a.js", { "Accept-Encoding": "br", "If-None-Match": tags[0]! })).status).toBe(304);
    expect((await s.get("/a.js", { "Accept-Encoding": "gzip", "If-None-Match": tags[0]! })).status).toBe(200);
    // Asked for by its own name it is what it is.
    expect((await s.get("/a.js.br")).headers["content-encoding"]).toBeUndefined();
  });

  test("wrong options throw at the call, and options are read once", async () => {
    const { root } = await site();
    const request = new Request("http://x/");
    for (const wrong of [
      { prefix: 1 }, { maxAge: -1 }, { immutable: "x" }, { headers: 1 }, { index: true }, { dotfiles: "x" }, { precompressed: ["lz4"] },
      { revalidateMs: "x" }, { notFound: 1 }, { download: 1 },
    ]) expect(() => serveFile(request, root, wrong as never)).toThrow(); // biome-ignore format: a list
    expect(() => serveFile(request, 5 as never)).toThrow(TypeError);
    const options: ServeOptions = { cacheControl: "first" };
    const path = tmp.file("x");
    await serveFile(request, path, options);
    options.cacheControl = "second";
    expect((await serveFile(request, path, options)).headers.get("cache-control")).toBe("first");
    await root.close();
  });
});

/* ---- files that change --------------------------------------------------------------------------------------------- */

describe("files that change", () => {
  test("a change in place is seen at once, also of what is kept in memory", async () => {
    await using s = await site({ revalidateMs: 60_000 }, { "a.txt": "one" });
    utimesSync(join(s.dir, "a.txt"), TIME, TIME); // what has just been written is not kept
    const etags = new Set<string>();
    for (let i = 0; i < 8; i++) expect((await s.get("/a.txt")).body.toString()).toBe("one");
    for (const content of ["two", "three", ""]) {
      writeFileSync(join(s.dir, "a.txt"), content);
      const { body, headers } = await s.get("/a.txt");
      expect(body.toString()).toBe(content);
      etags.add(headers.etag!);
    }
    expect(etags.size).toBe(3);
  });

  test("a file put in another's place, a removed and a new one are seen after revalidateMs", async () => {
    await using s = await site({ revalidateMs: 0 }, { "a.txt": "one", "b.txt": "two" });
    expect((await s.get("/a.txt")).body.toString()).toBe("one");
    renameSync(join(s.dir, "b.txt"), join(s.dir, "a.txt"));
    expect((await s.get("/a.txt")).body.toString()).toBe("two");
    unlinkSync(join(s.dir, "a.txt"));
    expect((await s.get("/a.txt")).status).toBe(404);
    writeFileSync(join(s.dir, "a.txt"), "three");
    expect((await s.get("/a.txt")).body.toString()).toBe("three");
  });

  test("within revalidateMs the name stands for what was found, and nobody is asked", async () => {
    await using s = await site({ revalidateMs: 60_000 }, { "a.txt": "one" });
    expect((await s.get("/a.txt")).status).toBe(200);
    expect((await s.get("/b.txt")).status).toBe(404);
    rmSync(join(s.dir, "a.txt"));
    writeFileSync(join(s.dir, "b.txt"), "two");
    expect((await s.get("/a.txt")).body.toString()).toBe("one");
    expect((await s.get("/b.txt")).status).toBe(404);
  });

  test("all sizes, whole and in part, cached and not, have their own bytes", async () => {
    const sizes = [0, 1, 4095, 65536, 65537, 300_000, MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 12 * MIB];
    const content = new Map(sizes.map((size) => [`f${size}`, patternBytes(size, size + 1)]));
    await using s = await site({}, Object.fromEntries(content));
    for (const cached of [true, false]) {
      for (const [name, bytes] of content) {
        const parts: [number, number][] = [[0, bytes.length], [1, 70_000], [100, 2 * MIB], [bytes.length - 5, bytes.length]]; // biome-ignore format: short
        for (const [start, end] of parts) {
          // biome-ignore format: short
          if (!cached) Bun.spawnSync(["dd", `of=${join(s.dir, name)}`, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"]);
          if (end > bytes.length || start < 0 || start === end) continue;
          const part: Record<string, string> = start === 0 ? {} : { Range: `bytes=${start}-${end - 1}` };
          const answer = await s.get(`/${name}`, part);
          expect([name, answer.status, answer.whole]).toEqual([name, start === 0 ? 200 : 206, true]);
          expect(answer.body.equals(bytes.subarray(start, end))).toBe(true);
        }
      }
    }
  }, 60_000);

  test("what is cut or replaced while it is sent ends whole, short, or as a broken connection: never mixed", async () => {
    const [a, b] = [Buffer.alloc(2 * MIB, "a"), Buffer.alloc(2 * MIB, "b")];
    await using s = await site({ revalidateMs: 0 }, { big: a });
    const path = join(s.dir, "big");
    const until = Date.now() + 1500;
    let served = 0;
    const clients = Array.from({ length: 4 }, async () => {
      while (Date.now() < until) {
        const { status, body } = await s.get("/big");
        if (status !== 200 || body.length === 0) continue;
        const first = body[0]!;
        expect(body.every((byte) => byte === first)).toBe(true);
        served++;
      }
    });
    for (let i = 0; Date.now() < until; i++) {
      writeFileSync(`${path}.new`, i % 2 === 0 ? b : a);
      renameSync(`${path}.new`, path);
      if (i % 5 === 4) truncateSync(path, MIB + 1000);
      if (i % 7 === 6) appendFileSync(path, i % 2 === 0 ? "b" : "a");
      if (i % 11 === 10) unlinkSync(path);
      await Bun.sleep(3);
    }
    await Promise.all(clients);
    expect(served).toBeGreaterThan(0);
  });

  test("clients that go away, and files that are gone, leave no descriptor behind but the table's", async () => {
    const files = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`f${i}`, patternBytes(2 * MIB + i, i + 1)]));
    const s = await site({ revalidateMs: 0 }, files);
    for (let i = 0; i < 30; i++) {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port: s.port, socket: { data() {} } });
      socket.write(`GET /f${i} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await Bun.sleep(1);
      socket.terminate();
    }
    await s[Symbol.asyncDispose]();
    // What was handed to Bun by its path stays open a while, and no longer.
    const left = (): number => readdirSync("/proc/self/fd").filter((fd) => isIn(fd, s.dir)).length;
    for (let i = 0; i < 150 && left() > 0; i++) {
      Bun.gc(true);
      await Bun.sleep(100);
    }
    expect(left()).toBe(0);
  }, 40_000);
});

function isIn(fd: string, dir: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith(dir);
  } catch {
    return false;
  }
}
