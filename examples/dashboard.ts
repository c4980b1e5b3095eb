// What the ring does while a server is under load: live charts of `stats()`, and the same for Prometheus at /metrics.
// Run it: bun examples/dashboard.ts, then open the address that it prints. LOAD=0 leaves the load out that it makes itself.

import { createHistogram } from "node:perf_hooks";
import { open, stats } from "../src/index.ts";
import page from "./pages/dashboard.html";

const SAMPLE_MS = 500;
const SAMPLES = 240;

/* ---- the load: readers of random blocks; each read is timed ---------------------------------------------------------- */

const latencies = createHistogram();

async function reader(file: Awaited<ReturnType<typeof open>>, size: number): Promise<void> {
  const block = Buffer.alloc(4096);
  for (;;) {
    const start = Bun.nanoseconds();
    await file.read(block, 0, block.length, Math.floor((Math.random() * size) / 4096) * 4096);
    latencies.record(Math.max(1, Math.round(Bun.nanoseconds() - start)));
    // Between 1 and 64 readers at once, up and down.
    await Bun.sleep(Math.random() * 8 * (1 + Math.sin(Date.now() / 5000)) + 0.5);
  }
}

if (process.env["LOAD"] !== "0") {
  const file = await open(process.execPath);
  const { size } = await file.stat();
  for (let i = 0; i < 64; i++) void reader(file, size);
}

/* ---- samples ------------------------------------------------------------------------------------------------------- */

interface Sample {
  at: number;
  "operations a second": number;
  "inline, %": number;
  "operations a system call": number;
  "in the kernel, and waiting": number;
  "wake-ups a second": number;
  "latency p50, µs": number;
  "latency p99, µs": number;
  "loop delay, ms": number;
}
const samples: Sample[] = [];
let before = stats();
let beforeAt = performance.now();
let loopDelay = 0;
let lastTick = performance.now();
setInterval(() => {
  const at = performance.now();
  loopDelay = Math.max(loopDelay, at - lastTick - 10);
  lastTick = at;
}, 10);

setInterval(() => {
  const [now, at] = [stats(), performance.now()];
  const seconds = (at - beforeAt) / 1000;
  const of = (name: keyof typeof now): number => now[name] - before[name];
  samples.push({
    at: Date.now(),
    "operations a second": of("completed") / seconds,
    "inline, %": (100 * of("inlineCompletions")) / Math.max(1, of("completed")),
    "operations a system call": of("submitted") / Math.max(1, of("enters")),
    "in the kernel, and waiting": now.inFlight + now.queued,
    "wake-ups a second": of("wakeups") / seconds,
    "latency p50, µs": latencies.percentile(50) / 1000,
    "latency p99, µs": latencies.percentile(99) / 1000,
    "loop delay, ms": loopDelay,
  });
  if (samples.length > SAMPLES) samples.shift();
  [before, beforeAt, loopDelay] = [now, at, 0];
  latencies.reset();
}, SAMPLE_MS);

/* ---- faces --------------------------------------------------------------------------------------------------------- */

const GAUGES = ["inFlight", "queued"];

/** Prometheus' text format: every counter of `stats()`, and the newest sample's latency and loop delay. */
function metrics(): string {
  const lines = Object.entries(stats()).flatMap(([key, value]) => {
    const isGauge = GAUGES.includes(key);
    const name = `bun_uring_${key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}${isGauge ? "" : "_total"}`;
    return [`# TYPE ${name} ${isGauge ? "gauge" : "counter"}`, `${name} ${value}`];
  });
  const newest = samples.at(-1);
  if (newest !== undefined)
    lines.push(
      "# TYPE bun_uring_read_latency_seconds summary",
      `bun_uring_read_latency_seconds{quantile="0.5"} ${newest["latency p50, µs"] / 1e6}`,
      `bun_uring_read_latency_seconds{quantile="0.99"} ${newest["latency p99, µs"] / 1e6}`,
      "# TYPE bun_uring_loop_delay_seconds gauge",
      `bun_uring_loop_delay_seconds ${newest["loop delay, ms"] / 1000}`,
    );
  return `${lines.join("\n")}\n`;
}

const server = Bun.serve({
  port: Number(process.env["PORT"] ?? 3000),
  development: false,
  routes: {
    "/": page, // bundled by Bun, with the charts' library
    "/samples": () => Response.json(samples),
    "/metrics": () =>
      new Response(metrics(), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } }),
  },
});
console.log(`${server.url}`);
