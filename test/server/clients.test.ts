// Many clients that are slow, and many that go away: the server's descriptors and memory come back to what they were, and others
// are answered meanwhile. Its numbers are the kernel's, of a process of its own (examples/static-server.ts).
// Assumes Linux' /proc and room for descriptors. The full numbers take BUN_URING_SLOW.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startExample } from "../helpers/example.ts";
import { startFuse } from "../helpers/fuse.ts";
import { readLines } from "../helpers/lines.ts";
import { faultTest } from "../helpers/requirements.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const SLOW = process.env.BUN_URING_SLOW === "1";
const MIB = 1024 * 1024;
const TIMEOUT_MS = 240_000;
/** A file for each way to answer: from memory, by a read, by sendfile. */
const SIZES = { small: 10_000, middle: 500_000, large: 8 * MIB };

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
const memoryMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

async function site() {
  const dir = tmp.folder();
  for (const [name, size] of Object.entries(SIZES)) {
    writeFileSync(join(dir, name), patternBytes(size));
    utimesSync(join(dir, name), 5, 5); // what has just been written is not kept in memory
  }
  const server = await startExample("static-server.ts", [dir]);
  const { pid } = server.child;
  for (const name of Object.keys(SIZES))
    for (let i = 0; i < 5; i++) await (await fetch(`${server.url}/files/${name}`)).bytes();
  return { server, pid, before: descriptors(pid) };
}

/** When the server has let go of all that the clients had. */
async function settled(pid: number, before: number): Promise<void> {
  // fetch keeps a connection or two for the next request.
  while (descriptors(pid) > before + 2) await Bun.sleep(20);
}

/** Asks, takes `take` bytes, and then nothing more. */
async function startClient(
  port: number,
  name: string,
  take: number,
  prefix = "/files/",
): Promise<Bun.Socket<undefined>> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let got = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(client, data) {
        got += data.length;
        if (got < take) return;
        client.pause();
        resolve();
      },
      close: () => resolve(),
      error: () => resolve(),
    },
  });
  socket.write(`GET ${prefix}${name} HTTP/1.1\r\nHost: x\r\n\r\n`);
  await promise;
  return socket;
}

describe("clients", () => {
  const slowOnes = SLOW ? 2000 : 200;
  test(
    `${slowOnes} that read nothing more hold bounded memory, and others are answered`,
    async () => {
      const { server, pid, before } = await site();
      await using _ = server;
      const memoryBefore = memoryMib(pid);
      const clients: Bun.Socket<undefined>[] = [];
      // Half of them by sendfile, half from memory.
      const name = (i: number): string => (i % 2 === 0 ? "large" : "middle");
      for (let i = 0; i < slowOnes; i += 50)
        clients.push(
          ...(await Promise.all(Array.from({ length: 50 }, (_, k) => startClient(server.port, name(i + k), 1)))),
        );
      expect(descriptors(pid)).toBeGreaterThanOrEqual(slowOnes);
      // Their bodies alone would be 8 and 0.5 MiB each.
      expect(memoryMib(pid) - memoryBefore).toBeLessThan(256);
      const answer = await fetch(`${server.url}/files/large`);
      expect((await answer.bytes()).length).toBe(SIZES.large);
      for (const client of clients) client.terminate();
      await settled(pid, before);
    },
    TIMEOUT_MS,
  );

  const aborted = SLOW ? 10_000 : 500;
  test(
    `${aborted} downloads that are broken off leave nothing`,
    async () => {
      const { server, pid, before } = await site();
      await using _ = server;
      const names = Object.keys(SIZES);
      const breakOff = async (count: number): Promise<void> => {
        for (let i = 0; i < count; ) {
          const batch = Array.from({ length: Math.min(50, count - i) }, async () => {
            const client = await startClient(server.port, names[i++ % names.length]!, 1 + ((i * 7919) % 100_000) / 10);
            client.terminate();
          });
          await Promise.all(batch);
        }
        await settled(pid, before);
      };
      await breakOff(1000); // what is allocated once is
      const memoryBefore = memoryMib(pid);
      // The collector comes when it likes; what leaks grows each time.
      const growths: number[] = [];
      while (growths.length < 5 && (growths.at(-1) ?? Infinity) > 48) {
        await breakOff(aborted);
        growths.push(memoryMib(pid) - memoryBefore);
      }
      expect(Math.min(...growths)).toBeLessThan(48);
      expect((await (await fetch(`${server.url}/files/large`)).bytes()).length).toBe(SIZES.large);
    },
    TIMEOUT_MS,
  );

  faultTest(
    `${SLOW ? 1000 : 100} streamed downloads that are broken off leave neither descriptor nor slot`,
    { needs: ["fuse"] },
    async () => {
      const fuse = await startFuse();
      const child = Bun.spawn([process.execPath, join(import.meta.dir, "descriptors.child.ts"), fuse.path], {
        stdout: "pipe",
        stderr: "inherit",
      });
      try {
        await writeFile(join(fuse.path, "big"), patternBytes(4 * MIB));
        const port = Number(await readLines(child.stdout).next());
        const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
        expect((await (await get("/0/big")).bytes()).length).toBe(4 * MIB);
        const state = async () => (await (await get("/state")).json()) as { inFlight: number; open: number };
        const before = await state();
        for (let i = 0; i < (SLOW ? 1000 : 100); i += 20)
          await Promise.all(
            Array.from({ length: 20 }, async () => {
              const client = await startClient(port, "big", 1, "/0/");
              client.terminate();
            }),
          );
        let after = await state();
        for (let i = 0; i < 500 && (after.inFlight > 0 || after.open > before.open + 2); i++) {
          await Bun.sleep(20);
          after = await state();
        }
        expect([after.inFlight, after.open <= before.open + 2]).toEqual([0, true]);
        expect((await (await get("/0/big")).bytes()).length).toBe(4 * MIB);
      } finally {
        child.kill("SIGKILL");
        await child.exited;
        await fuse.stop();
      }
    },
  );
});
