// serveFile where a framework calls: Hono, Elysia, and the (request, response, next) of node:http and Express.
// Assumes of each only the few fields that it names here, so that none of them is needed to load this.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Root } from "./root.ts";
import { serveFile } from "./serve-file.ts";
import { kLengths, type ServeOptions } from "./serve-options.ts";

/** Stands for "there is no such file here": the next handler's turn. */
const MISS: Response = new Response(null, { status: 404 });

/** A file, or null where there is none. */
function fileOrNull(request: Request, root: Root, options: ServeOptions): Promise<Response | null> | Response | null {
  const found = serveFile(request, root, options);
  if (found instanceof Promise) return found.then((response) => (response === MISS ? null : response));
  return found === MISS || found.status === 405 ? null : found;
}

/** The options, with a miss that can be told from every answer; one object, so that it is checked once. */
const missing = (options: ServeOptions): ServeOptions => ({ ...options, notFound: () => MISS });

/** Hono: `app.use("/static/*", serveStatic(root, { prefix: "/static" }))`. */
export function serveStatic(
  root: Root,
  options: ServeOptions = {},
): (context: { req: { raw: Request } }, next: () => Promise<void>) => Promise<Response | undefined> {
  const own = missing(options);
  return async ({ req }, next) => {
    const found = await fileOrNull(req.raw, root, own);
    if (found !== null) return found;
    await next();
    return undefined;
  };
}

/** Elysia: `app.get("/static/*", serveElysia(root, { prefix: "/static" }))`. */
export function serveElysia(
  root: Root,
  options: ServeOptions = {},
): (context: { request: Request }) => Response | Promise<Response> {
  return ({ request }) => serveFile(request, root, options);
}

/** node:http and Express: `app.use(serveNode(root))`. Answers, or calls `next`. */
export function serveNode(
  root: Root,
  options: ServeOptions = {},
): (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void) => void {
  const own = { ...missing(options), [kLengths]: true };
  return (incoming, outgoing, next) => {
    respond(incoming, outgoing, root, own).then(
      (found) => {
        if (found) return;
        if (next !== undefined) return next();
        outgoing.writeHead(404).end("Not Found\n");
      },
      (error) => {
        if (next !== undefined && !outgoing.headersSent) return next(error);
        outgoing.destroy(error);
      },
    );
  };
}

async function respond(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  root: Root,
  options: ServeOptions,
): Promise<boolean> {
  const { method = "GET", url = "/" } = incoming;
  if (method !== "GET" && method !== "HEAD") return false;
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers))
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  const request = new Request(`http://localhost${url.replace(/^\/*/, "/")}`, { method, headers });
  const found = await fileOrNull(request, root, options);
  if (found === null) return false;
  outgoing.writeHead(found.status, Object.fromEntries(found.headers));
  if (found.body === null || method === "HEAD") {
    outgoing.end();
    return true;
  }
  const { pipeline } = process.getBuiltinModule("node:stream/promises");
  const { Readable } = process.getBuiltinModule("node:stream");
  // A client that goes away ends the pipeline, which lets go of the file.
  await pipeline(Readable.fromWeb(found.body as never), outgoing).catch(() => {});
  return true;
}
