// serveFile beside nginx, which has answered browsers and caches for twenty years: the same table of conditions and ranges, the
// same file, and each difference with its reason. docs/server.md has them for the reader.
// Assumes nginx in the PATH, else skipped. A difference that is no longer one fails, too.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { openRoot, serveFile } from "../../src/server.ts";
import { rawRequest } from "../helpers/http.ts";
import { CASES, CONTENT, TIME } from "../helpers/http-conditions.ts";
import { scratch } from "../helpers/tmp.ts";

const nginx = Bun.which("nginx") ?? (Bun.which("nginx", { PATH: "/usr/sbin" }) as string | null);

/** What nginx 1.22 answers, by the headers asked with. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  // 13.1.3: If-Modified-Since is not looked at where there is an If-None-Match; a time after the file's is "not modified since".
  "If-None-Match: ETAG, If-Modified-Since: Sat, 02 May 2020 11:59:59 GMT": `200 ${CONTENT}`,
  "If-Modified-Since: Sat, 02 May 2020 12:00:01 GMT": `200 ${CONTENT}`, // only the very time (if_modified_since exact)
  // 13.1.4: If-Unmodified-Since is not looked at where there is an If-Match, nor where it is no date.
  "If-Match: ETAG, If-Unmodified-Since: Sat, 02 May 2020 11:59:59 GMT": "412",
  "If-Unmodified-Since: nonsense": "412",
  // 14.1.2: an end behind the file's is the file's; nginx takes a number that it can't hold for an error.
  "Range: bytes=0-99999999999999999999": "416 bytes */10",
  // 14.2: what is no valid range may be passed over or refused.
  "Range: bytes=4-2": "416 bytes */10",
  "Range: bytes=a-b": "416 bytes */10",
  "Range: bytes=--1": "416 bytes */10",
  // 14.2: several ranges may be answered with all of it; nginx sends multipart/byteranges.
  "Range: bytes=0-1,4-5": "206 several",
};

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe.skipIf(nginx === null)(`beside nginx${nginx === null ? " [skipped: no nginx]" : ""}`, () => {
  const tmp = scratch();
  let ours: Bun.Server<undefined>;
  let child: Bun.Subprocess;
  const ports: number[] = [];
  const etags: string[] = [];

  beforeAll(async () => {
    const dir = tmp.folder("www");
    // nginx's worker reads as another user.
    for (const folder of [tmp.dir, dir]) chmodSync(folder, 0o755);
    writeFileSync(join(dir, "f.txt"), CONTENT);
    utimesSync(join(dir, "f.txt"), TIME, TIME);
    const root = await openRoot(dir);
    ours = Bun.serve({ port: 0, fetch: (request) => serveFile(request, root) });
    const port = await freePort();
    const conf = tmp.file(
      `daemon off; worker_processes 1; pid ${tmp.dir}/pid; error_log /dev/null; events {}
       http { access_log off; server { listen 127.0.0.1:${port}; root ${dir}; } }`,
    );
    child = Bun.spawn([nginx!, "-e", "/dev/null", "-c", conf], { stdout: "ignore", stderr: "ignore" });
    ports.push(ours.port!, port);
    for (const one of ports)
      for (;;) {
        const answer = await rawRequest(one, "HEAD /f.txt HTTP/1.1").catch(() => null);
        if (answer !== null) {
          etags.push(answer.headers.etag!);
          break;
        }
        if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}`);
        await Bun.sleep(20);
      }
  });
  afterAll(async () => {
    child.kill();
    await Promise.all([child.exited, ours.stop(true)]);
  });

  /** Status and what it is about. */
  async function answerOf(server: number, fields: string[]): Promise<string> {
    const lines = fields.map((field) => field.replaceAll("ETAG", etags[server]!));
    const { status, headers, body } = await rawRequest(ports[server]!, ["GET /f.txt HTTP/1.1", ...lines].join("\n"));
    if (status === 206) return `206 ${headers["content-range"] ?? "several"}`;
    if (status === 416) return `416 ${headers["content-range"]}`;
    return status === 200 ? `200 ${body}` : String(status);
  }

  for (const [headers] of CASES) {
    const fields = Object.entries(headers).map(([key, value]) => `${key}: ${value}`);
    const name = fields.join(", ") || "no header";
    test(name, async () => {
      const [mine, theirs] = [await answerOf(0, fields), await answerOf(1, fields)];
      if (name in DIFFERENCES) expect([theirs, mine === theirs]).toEqual([DIFFERENCES[name]!, false]);
      else expect(mine).toBe(theirs);
    });
  }
});
