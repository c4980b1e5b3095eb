// An access log that never stops the server: lines nobody waits for, gathered and written by the ring, in bounded memory.
// The log is a destination for pino as it is: pino(await AppendLog.open(…)). `kill -HUP` opens its path anew, for logrotate.
// Run it: bun examples/log-server.ts [FILE]. What has been logged is in the file when the process ends, also by SIGTERM.

import { AppendLog } from "../src/durable.ts";

const log = await AppendLog.open(process.argv[2] ?? "access.log", {
  framing: "lines",
  durability: "none",
  flushIntervalMs: 50,
  maxPendingBytes: 8 * 1024 * 1024,
  onFull: "drop", // a disk that hangs costs lines, not the server
});
log.on("drop", (count: number) => info({ dropped: count }, "the disk is too slow for the log"));
log.on("error", (error: Error) => console.error(error));
process.on("SIGHUP", () => log.reopen().catch(console.error));

/** The line that pino writes; with pino installed: const logger = pino(log). */
function info(fields: Record<string, unknown>, msg: string): void {
  log.write(JSON.stringify({ level: 30, time: Date.now(), pid: process.pid, ...fields, msg }));
}

const server = Bun.serve({
  port: Number(process.env["PORT"] ?? 3000),
  routes: {
    "/log": () => Response.json(log.stats()),
  },
  fetch(request) {
    const start = performance.now();
    const response = new Response("hello\n");
    const { method, url } = request;
    info({ method, url, status: response.status, ms: performance.now() - start }, "request");
    return response;
  },
});
console.log(`${server.url}`);
