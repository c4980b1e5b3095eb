// staticRoutes: a folder as routes of Bun.serve. Small files are held in memory as Bun's own static routes, which never enter
// JavaScript; everything else goes to serveFile by a last route.
// Assumes that small files don't change but by `reload()`. Holds no more than it was allowed to.

import { validateInteger } from "../node/arguments.ts";
import { openRoot, type Root } from "./root.ts";
import { serveFile } from "./serve-file.ts";
import type { ServeOptions } from "./serve-options.ts";

/** As for `serveFile`, and how much is held in memory. */
export interface StaticRoutesOptions extends ServeOptions {
  /** Files up to this many bytes are held in memory (default 64 KiB). */
  maxFileBytes?: number | undefined;
  /** All that are held together (default 16 MiB). */
  maxBytes?: number | undefined;
  /** What the routes begin with: "/assets" (default: nothing). */
  prefix?: string | undefined;
}

type Handler = (request: Request) => Response | Promise<Response>;

/** Routes by path, for `Bun.serve({ routes })`. The methods are not enumerable, so Bun does not take them for routes. */
export type StaticRoutes = Record<string, Response | Handler> & {
  /** Reads the folder again; afterwards `server.reload({ routes })` takes the routes over. Resolves to these. */
  reload(): Promise<StaticRoutes>;
  /** Lets go of the folder. */
  close(): Promise<void>;
};

/** Paths that Bun's router takes for themselves: no parameter, no wildcard, nothing that would be written as a code. */
const PLAIN = /^[\w\-./~!$&'()+,;=@]+$/;

/** A folder as routes. Options that begin with `max` bound what is held; the others are serveFile's, read once. */
export async function staticRoutes(folder: string | URL, options: StaticRoutesOptions = {}): Promise<StaticRoutes> {
  const { maxFileBytes = 64 * 1024, maxBytes = 16 * 1024 * 1024, ...serve } = options;
  validateInteger(maxFileBytes, "options.maxFileBytes", 0);
  validateInteger(maxBytes, "options.maxBytes", 0);
  const root = await openRoot(folder);
  const prefix = (serve.prefix ?? "").replace(/\/+$/, "");
  const routes: Record<string, Response | Handler> = {};
  const reload = async (): Promise<StaticRoutes> => {
    const found = await heldFiles(root, serve, prefix, maxFileBytes, maxBytes);
    for (const path of Object.keys(routes)) delete routes[path];
    Object.assign(routes, found, { [`${prefix}/*`]: (request: Request) => serveFile(request, root, serve) });
    return routes as StaticRoutes;
  };
  Object.defineProperties(routes, {
    reload: { value: reload },
    close: { value: () => root.close() },
  });
  try {
    return await reload();
  } catch (error) {
    await root.close();
    throw error;
  }
}

async function heldFiles(
  root: Root,
  serve: ServeOptions,
  prefix: string,
  maxFileBytes: number,
  maxBytes: number,
): Promise<Record<string, Response>> {
  const held: Record<string, Response> = {};
  let bytes = 0;
  const names = (await root.readdir(".", { recursive: true })).sort();
  const encoded = new Set(
    names.filter((name) => /\.(br|zst|gz)$/.test(name)).map((name) => name.replace(/\.\w+$/, "")),
  );
  const index = serve.index ?? "index.html";
  for (const name of names) {
    // What has encoded siblings is chosen among at each request.
    if (!PLAIN.test(name) || (serve.precompressed && encoded.has(name))) continue;
    const stats = await root.stat(name).catch(() => null); // links that lead out, and what is gone meanwhile
    if (!stats?.isFile() || stats.size > maxFileBytes || bytes + stats.size > maxBytes) continue;
    const answer = await serveFile(new Request("http://localhost/"), root, { ...serve, name });
    if (answer.status !== 200) continue; // a dot file
    const body = await answer.blob();
    bytes += body.size;
    held[`${prefix}/${name}`] = new Response(body, { headers: answer.headers });
    if (index !== false && (name === index || name.endsWith(`/${index}`)))
      held[`${prefix}/${name.slice(0, -index.length)}`] = new Response(body, { headers: answer.headers });
  }
  return held;
}
