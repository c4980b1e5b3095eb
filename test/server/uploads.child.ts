// A server that takes uploads, in a process of its own whose descriptors and memory the tests count. argv: its way ("ours" or
// "Bun.write"), a folder, and one on a file system with little room. Prints its port.
// PUT /NAME, PUT /full/NAME (to the small one), PUT /resume/NAME?offset=N, POST /form; GET /small answers at once, GET /state after a
// garbage collection.

import { join } from "node:path";
import { multipart, openRoot, ReceiveError, type Root, receive } from "../../src/server.ts";

const [way, folder, small = folder] = process.argv.slice(2) as [string, string, string?];
const MAX_BYTES = Number(process.env["MAX_BYTES"] ?? 4 * 1024 * 1024);
const [root, full] = [await openRoot(folder), await openRoot(small)];
let running = 0;
let refused = 0;

async function take(request: Request, { pathname, searchParams }: URL): Promise<Response> {
  if (way === "Bun.write") return Response.json({ bytes: await Bun.write(join(folder, pathname), request as never) });
  if (pathname === "/form") {
    const stored: string[] = [];
    try {
      for await (const part of multipart(request, root, { limits: { fileBytes: MAX_BYTES } }))
        if (part.kind === "file") stored.push(part.storedAs);
    } finally {
      // What was whole before the form broke is the program's to keep or not.
      for (const name of stored) await root.unlink(name);
    }
    return Response.json({ files: stored.length }, { status: 201 });
  }
  const [, prefix, rest] = /^\/(?:(full|resume)\/)?(.+)$/.exec(pathname)!;
  const target: { root: Root; name: string } = { root: prefix === "full" ? full : root, name: rest! };
  const offset = prefix === "resume" ? Number(searchParams.get("offset")) : undefined;
  return Response.json(await receive(request, target, { maxBytes: MAX_BYTES, hash: "sha256", offset }), {
    status: 201,
  });
}

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  development: false,
  // Bun's 10 s would end an upload for which the disk makes it wait so long.
  idleTimeout: 255,
  maxRequestBodySize: 2 * 1024 ** 3,
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/small") return new Response("small");
    if (url.pathname === "/state") {
      Bun.gc(true);
      return Response.json({ running, refused });
    }
    running++;
    try {
      return await take(request, url);
    } catch (error) {
      if (!(error instanceof ReceiveError)) throw error;
      refused++;
      return error.toResponse();
    } finally {
      running--;
    }
  },
  error(error) {
    // Whatever is no ReceiveError was not foreseen.
    return new Response(`${error.name} ${(error as { code?: string }).code} ${error.message}\n`, { status: 500 });
  },
});
console.log(server.port);
