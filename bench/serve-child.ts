// One server of `make bench-serve`: argv is the way it answers, the folder, and a folder with hono and elysia. Prints its port;
// serves until it is killed. "2 Workers": two threads of serveFile on one port.

import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";
import { openRoot, serveFile, staticRoutes } from "../src/server.ts";

const [way, dir, peers = ""] = process.argv.slice(2) as [string, string, string?];
/** A package that is no dependency of this one. */
const peer = (name: string): Promise<any> => import(createRequire(`${peers}/x.js`).resolve(name));

const answer: Record<string, () => Promise<object>> = {
  serveFile: async () => {
    const root = await openRoot(dir);
    const options = { maxAge: 60, precompressed: true };
    return { fetch: (request: Request) => serveFile(request, root, options) };
  },
  staticRoutes: async () => ({
    routes: await staticRoutes(dir, { maxAge: 60 }),
    fetch: () => new Response(null, { status: 404 }),
  }),
  "{ dir }": async () => ({ routes: { "/*": { dir } }, fetch: () => new Response(null, { status: 404 }) }),
  hono: async () => {
    const [{ Hono }, { serveStatic }] = await Promise.all([peer("hono"), peer("hono/bun")]);
    const app = new Hono();
    // It takes names relative to the working directory.
    process.chdir(dir);
    app.use("/*", serveStatic({ root: "./", precompressed: true }));
    return { fetch: app.fetch };
  },
  elysia: async () => {
    const [{ Elysia }, { staticPlugin }] = await Promise.all([peer("elysia"), peer("@elysiajs/static")]);
    const app = new Elysia().use(
      await staticPlugin({ assets: dir, prefix: "/", alwaysStatic: false, indexHTML: false }),
    );
    return { fetch: app.fetch };
  },
  "Bun.file": async () => ({
    fetch: ({ url }: Request) => new Response(Bun.file(dir + url.slice(url.indexOf("/", 8)))),
  }),
};

answer["2 Workers"] = answer["serveFile"]!;

if (way === "2 Workers" && isMainThread) {
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const argv = [way, dir, "", String(port)];
  const workers = Array.from({ length: 2 }, () => new Worker(import.meta.url, { argv }));
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.addEventListener("message", resolve))));
  console.log(port);
} else {
  const port = isMainThread ? 0 : Number(process.argv[5]);
  const options = { port, hostname: "127.0.0.1", development: false, reusePort: !isMainThread };
  const server = Bun.serve({ ...options, ...(await answer[way]!()) } as never);
  if (isMainThread) console.log(server.port);
  else postMessage("serving");
}
