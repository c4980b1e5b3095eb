// A folder over HTTP: contained in it by the kernel, with ETags, ranges and precompressed siblings, and one route of one's own.
// Run it: bun examples/static-server.ts [FOLDER], then open the address that it prints. Only reads.

import { openRoot, serveFile } from "../src/server.ts";

const root = await openRoot(process.argv[2] ?? ".");
// Read once: made here, not at each request.
const options = { prefix: "/files", precompressed: true, maxAge: 60, immutable: /-[0-9a-f]{8}\./ };

const server = Bun.serve({
  port: Number(process.env["PORT"] ?? 3000),
  routes: {
    "/": async () => Response.json({ files: await root.readdir(".") }),
    "/files/*": (request) => serveFile(request, root, options),
  },
});
console.log(`${server.url}`);
