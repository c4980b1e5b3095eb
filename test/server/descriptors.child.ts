// The server of descriptors.test.ts: a root for each folder of argv, at /0/, /1/ … ; /state tells what it has open and under way.

import { readdirSync } from "node:fs";
import { stats } from "../../src/index.ts";
import { openRoot, serveFile } from "../../src/server.ts";

const roots = await Promise.all(process.argv.slice(2).map((dir) => openRoot(dir)));
const options = roots.map((_, i) => ({ prefix: `/${i}` }));
const server = Bun.serve({
  port: 0,
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/state")
      return Response.json({ open: readdirSync("/proc/self/fd").length, inFlight: stats().inFlight });
    const index = Number(pathname.split("/")[1]);
    return serveFile(request, roots[index]!, options[index]);
  },
});
console.log(server.port);
