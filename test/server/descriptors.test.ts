// How many descriptors serveFile holds: a part of what the process may have, however many roots, files and clients there are, and
// none for a root that nobody has any more. The limits are set by a shell for a process of its own.

import { describe, expect, test } from "bun:test";
import { readdirSync, readlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openRoot, serveFile } from "../../src/server.ts";
import { readLines } from "../helpers/lines.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const MIB = 1024 * 1024;

async function started(limit: number, dirs: string[]) {
  const child = Bun.spawn(
    ["sh", "-c", `ulimit -n ${limit}; exec "$0" "$@"`, process.execPath, join(import.meta.dir, "descriptors.child.ts"), ...dirs], // biome-ignore format: a command
    { stdout: "pipe", stderr: "inherit" },
  );
  const port = Number(await readLines(child.stdout).next());
  const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`);
  return {
    port,
    get,
    count: async (): Promise<number> => ((await (await get("/state")).json()) as { open: number }).open,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** Asks, takes the first bytes of the answer and goes away. Resolves to its status line. */
async function breakOff(port: number, path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (client, data) => {
        resolve(data.toString("latin1").split("\r\n")[0]!);
        client.terminate();
      },
      close: () => resolve("closed"),
      error: (_, error) => reject(error),
    },
  });
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  return promise;
}

describe("descriptors", () => {
  test("all roots together hold a quarter of what may be open", async () => {
    const dirs = Array.from({ length: 5 }, () => tmp.folder());
    for (const dir of dirs) for (let i = 0; i < 50; i++) writeFileSync(join(dir, `f${i}`), `${i}`);
    await using server = await started(200, dirs);
    const before = await server.count();
    for (let round = 0; round < 2; round++)
      for (let root = 0; root < dirs.length; root++)
        for (let i = 0; i < 50; i++) {
          const answer = await server.get(`/${root}/f${i}`);
          expect([answer.status, await answer.text()]).toEqual([200, `${i}`]);
        }
    expect(await server.count()).toBeLessThanOrEqual(before + 50 + 5);
  }, 60_000);

  test("answers by sendfile that are broken off hold another quarter at the most, and the rest is sent all the same", async () => {
    const dir = tmp.folder();
    const files = 150;
    for (let i = 0; i < files; i++) {
      writeFileSync(join(dir, `f${i}`), "");
      truncateSync(join(dir, `f${i}`), MIB + i);
    }
    await using server = await started(120, [dir]);
    const before = await server.count();
    for (let i = 0; i < files; i += 5) {
      const lines = await Promise.all(Array.from({ length: 5 }, (_, k) => breakOff(server.port, `/0/f${i + k}`)));
      expect(lines).toEqual(lines.map(() => "HTTP/1.1 200 OK"));
    }
    const last = await (await server.get(`/0/f${files - 1}`)).bytes();
    expect([last.length, last.some((byte) => byte !== 0)]).toEqual([MIB + files - 1, false]);
    // Bun closes the connections, and what they sent from, when it comes to it.
    let count = await server.count();
    for (let i = 0; i < 500 && count > before + 60 + 5; i++) {
      await Bun.sleep(10);
      count = await server.count();
    }
    expect(count).toBeLessThanOrEqual(before + 60 + 5);
  }, 60_000);

  test("a root that nobody has any more gives all of them back", async () => {
    const dir = tmp.folder();
    for (let i = 0; i < 20; i++) {
      writeFileSync(join(dir, `f${i}`), "x");
      utimesSync(join(dir, `f${i}`), 5, 5);
    }
    const open = (): number => readdirSync("/proc/self/fd").filter((fd) => isIn(fd, dir)).length;
    await (async () => {
      const root = await openRoot(dir);
      for (let i = 0; i < 20; i++) await (await serveFile(new Request(`http://x/f${i}`), root)).text();
      expect(open()).toBeGreaterThanOrEqual(20);
    })();
    for (let i = 0; i < 200 && open() > 0; i++) {
      Bun.gc(true);
      await Bun.sleep(10);
    }
    expect(open()).toBe(0);
  }, 60_000);
});

function isIn(fd: string, dir: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith(dir);
  } catch {
    return false;
  }
}
