// An HTTP server that answers with files, under load from wrk: what a request costs when reading is not all there is.

import { mkdirSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { KIB, randomNumbers } from "../lib/files.ts";
import { type Contender, Counted, ours, type Workload } from "../lib/workload.ts";

const FILES = 256;
const CONNECTIONS = 64;
const SECONDS = 1;

const filesIn = (folder: string): string => join(folder, "served");
const scriptIn = (folder: string): string => join(folder, "wrk.lua");

/** Sizes from 1 KiB to 1 MiB: as many between 1 and 2 KiB as between 512 KiB and 1 MiB. */
const sizeOf = (file: number): number => Math.round(KIB * 2 ** ((file * 10) / (FILES - 1)));

const UNITS: Record<string, number> = { us: 1e3, ms: 1e6, s: 1e9 };

/** "1.23ms" in nanoseconds, from wrk's line for a percentile. */
function latency(output: string, percentile: number): number {
  const [, value, unit] = new RegExp(`^ +${percentile}% +([\\d.]+)(us|ms|s)$`, "m").exec(output) ?? [];
  return Number(value) * UNITS[unit];
}

async function load(port: number, folder: string): Promise<Counted> {
  const argv = ["wrk", "-t1", `-c${CONNECTIONS}`, `-d${SECONDS}s`, "--latency", "-s", scriptIn(folder)];
  const child = Bun.spawn([...argv, `http://127.0.0.1:${port}/`], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const output = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(await new Response(child.stderr).text());
  if (/Non-2xx|Socket errors/.test(output)) throw new Error(`wrk saw errors: ${output}`);
  const requests = Number(/(\d+) requests in/.exec(output)?.[1]);
  return new Counted(requests, latency(output, 50), latency(output, 99));
}

type Answer = (path: string) => Response | Promise<Response>;

type About = Pick<Contender, "label" | "kind" | "reference">;

function server(about: About, answer: () => Answer | Promise<Answer>): Contender {
  return {
    ...about,
    async open(folder) {
      const respond = await answer();
      const running = Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        fetch: ({ url }) => respond(join(filesIn(folder), url.slice(url.lastIndexOf("/") + 1))),
      });
      return { run: () => load(running.port!, folder), close: () => running.stop(true) };
    },
  };
}

const workload: Workload = {
  title: "Bun.serve, files of 1 KiB to 1 MiB",
  conditions:
    "256 files in the page cache; wrk with 64 connections on the same cores; time is per request; compared with streaming",
  shape: "job",
  depths: [1],
  bytes: 0,
  targets: { 1: { peer: 1.3, p99: 1 } },
  setup(folder) {
    mkdirSync(filesIn(folder));
    const next = randomNumbers(7);
    for (let file = 0; file < FILES; file++) {
      writeFileSync(join(filesIn(folder), `${file}`), new Uint8Array(sizeOf(file)).fill(next()));
    }
    const request = `request = function() return wrk.format("GET", "/" .. math.random(0, ${FILES - 1})) end\n`;
    writeFileSync(scriptIn(folder), request);
  },
  contenders: [
    server({ label: "bun-uring readFile", kind: "ours" }, async () => {
      const library = await ours();
      return async (path) => new Response(await library.readFile(path));
    }),
    server({ label: "bun-uring handle.readableWebStream", kind: "more" }, async () => {
      const library = await ours();
      return async (path) => {
        const handle = await library.open(path);
        return new Response(handle.readableWebStream({ autoClose: true }) as ReadableStream);
      };
    }),
    // To Bun a stream that nobody has read from is the file itself: JavaScript never sees its bytes. The next one does.
    server(
      { label: "Bun.file().stream()", kind: "peer", reference: true },
      () => (path) => new Response(Bun.file(path).stream()),
    ),
    server({ label: "Bun.file().stream(), chunk by chunk", kind: "peer" }, () => (path) => {
      const chunks = async function* (): AsyncGenerator<Uint8Array> {
        for await (const chunk of Bun.file(path).stream() as unknown as AsyncIterable<Uint8Array>) yield chunk;
      };
      return new Response(chunks() as unknown as ReadableStream);
    }),
    server({ label: "Bun.file()", kind: "peer" }, () => (path) => new Response(Bun.file(path))),
    server({ label: "fs.promises.readFile", kind: "peer" }, () => async (path) => new Response(await readFile(path))),
  ],
};

export default workload;
