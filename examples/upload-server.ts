// Resumable uploads, with a page to drag files to. A cut upload keeps what has arrived; the page asks how much that is, and goes
// on from there.
// Run it: bun examples/upload-server.ts [FOLDER], then open the address that it prints. Files are never replaced.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { openRoot, ReceiveError, receive, serveFile } from "../src/server.ts";

const MAX_BYTES = 4 * 1024 ** 3;
const folder = process.argv[2] ?? "uploads";
await mkdir(folder, { recursive: true });
const root = await openRoot(folder);
const page = join(import.meta.dir, "pages", "upload.html");
/** One upload of a name at a time. */
const busy = new Set<string>();

/** Bytes that are there of a name. */
async function sizeOf(name: string): Promise<number> {
  try {
    return (await root.stat(name)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

async function upload(request: Request, name: string): Promise<Response> {
  const offset = Number(new URL(request.url).searchParams.get("offset") ?? 0);
  if (!Number.isSafeInteger(offset) || offset < 0 || !/^[\w][\w. -]*$/.test(name))
    return new Response("a name of letters and digits, an offset in bytes\n", { status: 400 });
  if (busy.has(name)) return new Response("is being uploaded\n", { status: 409 });
  busy.add(name);
  try {
    const { size } = await receive(request, { root, name }, { offset, maxBytes: MAX_BYTES, durability: "data" });
    return Response.json({ size }, { status: 201 });
  } catch (error) {
    if (error instanceof ReceiveError) return error.toResponse();
    throw error;
  } finally {
    busy.delete(name);
  }
}

const server = Bun.serve({
  port: Number(process.env["PORT"] ?? 3000),
  maxRequestBodySize: MAX_BYTES,
  routes: {
    "/": (request) => serveFile(request, page),
    "/files/:name": {
      GET: (request) => serveFile(request, root, { name: request.params.name }),
      HEAD: async ({ params: { name } }) =>
        new Response(null, { headers: { "upload-offset": String(await sizeOf(name)) } }),
      PUT: (request) => upload(request, request.params.name),
    },
  },
});
console.log(`${server.url}`);
