// Films and music of a folder, with a page that plays them: a player that jumps asks for a range of bytes, and gets that alone.
// Run it: bun examples/media.ts FOLDER, then open the address that it prints. Only reads.

import { join } from "node:path";
import { openRoot, serveFile } from "../src/server.ts";

const MEDIA = /\.(mp4|m4v|webm|ogv|mp3|m4a|ogg|opus|flac|wav)$/i;
const root = await openRoot(process.argv[2] ?? ".");
const page = join(import.meta.dir, "pages", "media.html");
const options = { prefix: "/media" };
/** The ranges that were asked for, for the page to show. */
const asked: { name: string; range: string; status: number }[] = [];

const server = Bun.serve({
  port: Number(process.env["PORT"] ?? 3000),
  routes: {
    "/": (request) => serveFile(request, page),
    "/list": async () => Response.json((await root.readdir(".")).filter((name) => MEDIA.test(String(name))).sort()),
    "/asked": () => Response.json(asked.slice(-8)),
    "/media/*": async (request) => {
      const response = await serveFile(request, root, options);
      const name = decodeURIComponent(new URL(request.url).pathname.slice("/media/".length));
      asked.push({ name, range: request.headers.get("range") ?? "", status: response.status });
      if (asked.length > 1000) asked.splice(0, 500);
      return response;
    },
  },
});
console.log(`${server.url}`);
