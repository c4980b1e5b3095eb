// One server of `make bench-serve`: argv is the way it answers and the folder. Prints its port; serves until it is killed.

import { openRoot, serveFile, staticRoutes } from "../src/server.ts";

const [way, dir] = process.argv.slice(2) as [string, string];

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
  "Bun.file": async () => ({
    fetch: ({ url }: Request) => new Response(Bun.file(dir + url.slice(url.indexOf("/", 8)))),
  }),
};

const server = Bun.serve({ port: 0, hostname: "127.0.0.1", development: false, ...(await answer[way]!()) } as never);
console.log(server.port);
