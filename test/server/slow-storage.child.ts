// A server whose files lie on a slow file server: argv is the way to answer, and the folder. Prints its port.

import { openRoot, serveFile } from "../../src/server.ts";

const [way, dir] = process.argv.slice(2) as ["ours" | "file" | "dir", string];
const root = await openRoot(dir);
const server = Bun.serve({
  port: 0,
  routes: way === "dir" ? { "/files/*": { dir }, "/small": () => new Response("small") } : {},
  fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/small") return new Response("small");
    return way === "file"
      ? new Response(Bun.file(dir + pathname.slice("/files".length)))
      : serveFile(request, root, { prefix: "/files" });
  },
} as Parameters<typeof Bun.serve>[0]);
console.log(server.port);
