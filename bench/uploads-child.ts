// One server of `make bench-uploads`: argv is the way it takes bodies and the folder. A PUT to /NAME becomes FOLDER/NAME; GET / tells
// the processor time and the longest loop gap since the last one. Prints its port; serves until it is killed.

import { join } from "node:path";
import { openRoot, receive } from "../src/server.ts";
import { LoopMonitor } from "./lib/loop-monitor.ts";

const [way, dir] = process.argv.slice(2) as [string, string];
const MAX_BYTES = 4 * 1024 ** 3;
const root = await openRoot(dir);

const take: Record<string, (request: Request, name: string) => Promise<unknown>> = {
  receive: (request, name) => receive(request, { root, name }, { maxBytes: MAX_BYTES }),
  "receive, sha256": (request, name) => receive(request, { root, name }, { maxBytes: MAX_BYTES, hash: "sha256" }),
  "Bun.write(path, request)": (request, name) => Bun.write(join(dir, name), request as never),
  "Bun.write(path, await bytes())": async (request, name) => Bun.write(join(dir, name), await request.bytes()),
  FileSink: async (request, name) => {
    const sink = Bun.file(join(dir, name)).writer();
    for await (const chunk of request.body!) {
      sink.write(chunk);
      await sink.flush();
    }
    await sink.end();
  },
  "nothing kept": async (request) => {
    for await (const _ of request.body!);
  },
};

const monitor = new LoopMonitor();
monitor.start();
let cpu = process.cpuUsage();
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  development: false,
  idleTimeout: 255,
  maxRequestBodySize: MAX_BYTES,
  async fetch(request) {
    const name = request.url.slice(request.url.indexOf("/", 8) + 1);
    if (name !== "") {
      await take[way]!(request, name);
      return new Response(null, { status: 201 });
    }
    const { user, system } = process.cpuUsage(cpu);
    const gapMs = monitor.stop();
    monitor.start();
    cpu = process.cpuUsage();
    return Response.json({ cpuMs: (user + system) / 1000, gapMs });
  },
});
console.log(server.port);
