// Owns the cases of streams-left.test.ts: streams that are dropped in the middle, and what their handles come to.
// Assumes a process of its own, since the oracle's collected handles may end in an uncaughtException.

import { connect, createServer } from "node:net";
import { runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";

type Fs = typeof import("node:fs/promises");
type Use = (handle: any, path: string) => unknown;

const HANDLES = 40;
/** A conservative collector may take a few for live. */
const MAX_LEFT = 8;
const MAX_ROUNDS = 60;

process.on("warning", () => {});
process.on("uncaughtException", () => {});

const uses: Record<string, Use> = {
  async "read stream, one chunk"(handle) {
    const stream = handle.createReadStream();
    await new Promise((resolve) => stream.once("readable", resolve));
    stream.read(10);
  },
  async "read stream, paused in the middle"(handle) {
    const stream = handle.createReadStream({ start: 5, highWaterMark: 1000 });
    await new Promise<void>((resolve) =>
      stream.on("data", () => {
        stream.pause();
        resolve();
      }),
    );
  },
  "web stream, one chunk": (handle) => handle.readableWebStream().getReader().read(),
  "write stream, one write": (handle) => new Promise((resolve) => handle.createWriteStream().write("x", resolve)),
  async "readLines, left by break"(handle) {
    for await (const _line of handle.readLines()) break;
  },
  async "streams of node:fs, dropped"(handle) {
    const { createReadStream } = await import("node:fs");
    const stream = createReadStream("", { fd: handle });
    await new Promise((resolve) => stream.once("readable", resolve));
  },
};

async function leftAfter(count: () => number): Promise<number> {
  for (let round = 0; count() > MAX_LEFT && round < MAX_ROUNDS; round++) {
    Bun.gc(true);
    await Bun.sleep(20);
  }
  return count();
}

const openOn = (path: string) => (): number => [...openFds().values()].filter((target) => target === path).length;

await runCases({
  async dropped({ module, path }: { module: string; path: string }) {
    const fs: Fs = await import(module);
    const left: Record<string, boolean> = {};
    for (const [name, use] of Object.entries(uses)) {
      await (async () => {
        for (let i = 0; i < HANDLES; i++) await use(await fs.open(path, "r+"), path);
      })();
      left[name] = (await leftAfter(openOn(path))) <= MAX_LEFT;
    }
    return left;
  },

  /** Clients that go away while a file is piped to them. */
  async clientsGone({ module, path }: { module: string; path: string }) {
    const fs: Fs = await import(module);
    const server = createServer(async (socket) => {
      socket.on("error", () => {});
      (await fs.open(path)).createReadStream().pipe(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    for (let i = 0; i < HANDLES; i++) {
      await new Promise<void>((resolve) => {
        const client = connect(port, "127.0.0.1");
        client.once("data", () => client.destroy());
        client.once("close", () => resolve());
      });
    }
    const left = await leftAfter(openOn(path));
    server.close();
    return left <= MAX_LEFT;
  },
});
