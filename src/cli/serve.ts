// `bun-uring serve`: a static file server of one folder, on as many Workers as are asked for, all on one port.
// Assumes the library as a value, as the other commands do. A listing is made only where it was asked for, and shows no more
// than the server would give.

import { isMainThread, Worker } from "node:worker_threads";
import type { ServerLibrary } from "./library.ts";
import { bytesText, errorText } from "./text.ts";

export interface ServeRequest {
  readonly folder: string;
  readonly port: number;
  readonly hostname: string;
  /** Missing pages are answered with index.html. */
  readonly spa: boolean;
  /** Access-Control-Allow-Origin: *. */
  readonly cors: boolean;
  /** Seconds of Cache-Control: max-age; null: none. */
  readonly cache: number | null;
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly listing: boolean;
  readonly workers: number;
}

/** Names for people, in a list of folders first. */
async function listingOf(
  library: ServerLibrary,
  root: InstanceType<ServerLibrary["Root"]>,
  request: Request,
): Promise<Response> {
  const { pathname } = new URL(request.url);
  const missing = new Response("Not Found\n", { status: 404 });
  let name: string;
  try {
    name = decodeURIComponent(pathname).replace(/^\/+/, "");
  } catch {
    return missing;
  }
  if (!name.endsWith("/") && name !== "") return missing;
  try {
    const entries = (await root.readdir(name || ".", { withFileTypes: true })).filter(
      (entry) => !entry.name.startsWith("."),
    );
    entries.sort((a, b) => Number(b.isDirectory()) - Number(a.isDirectory()) || a.name.localeCompare(b.name));
    const rows = await Promise.all(
      entries.map(async (entry) => {
        const slash = entry.isDirectory() ? "/" : "";
        const stats = await root.stat(name + entry.name).catch(() => null);
        const size = stats?.isFile() ? bytesText(stats.size) : "";
        const href = `./${encodeURIComponent(entry.name)}${slash}`;
        return `<tr><td><a href="${href}">${Bun.escapeHTML(entry.name + slash)}</a></td><td>${size}</td></tr>`;
      }),
    );
    const title = Bun.escapeHTML(`/${name}`);
    const up = name === "" ? "" : '<tr><td><a href="../">../</a></td><td></td></tr>';
    const style = "body{font:16px system-ui;margin:2rem}td{padding:.15rem 1.5rem .15rem 0}";
    const html = `<!doctype html><meta charset="utf-8"><title>${title}</title><style>${style}</style><h1>${title}</h1><table>${up}${rows.join("")}</table>`;
    return new Response(html, { headers: { "content-type": "text/html;charset=utf-8" } });
  } catch (error) {
    return error instanceof library.OutsideRootError || (error as { code?: string }).code === "ENOENT"
      ? missing
      : new Response("Forbidden\n", { status: 403 });
  }
}

/** Begins to serve on this thread. Resolves to the server. */
async function startServer(library: ServerLibrary, request: ServeRequest): Promise<Bun.Server<undefined>> {
  const root = await library.openRoot(request.folder);
  const cors: Record<string, string> = request.cors ? { "access-control-allow-origin": "*" } : {};
  const options = {
    precompressed: true,
    headers: () => cors,
    ...(request.cache === null ? {} : { maxAge: request.cache }),
    ...(request.spa ? { fallback: "index.html" } : {}),
    ...(request.listing ? { notFound: (asked: Request) => listingOf(library, root, asked) } : {}),
  };
  return Bun.serve({
    port: request.port,
    hostname: request.hostname,
    reusePort: request.workers > 1,
    development: false,
    ...(request.tls === null ? {} : { tls: { cert: Bun.file(request.tls.cert), key: Bun.file(request.tls.key) } }),
    fetch: (asked) =>
      request.cors && asked.method === "OPTIONS"
        ? new Response(null, { status: 204, headers: { ...cors, "access-control-allow-methods": "GET, HEAD" } })
        : library.serveFile(asked, root, options),
  });
}

/** Serves until the signal fires; says where. In a Worker, until that is ended. */
export async function serve(library: ServerLibrary, request: ServeRequest, signal: AbortSignal): Promise<void> {
  const server = await startServer(library, request);
  if (!isMainThread) return;
  const { port } = server;
  // This thread is the first; the others run the same command on the port that it has got.
  const argv = [...process.argv.slice(2), "--port", String(port)];
  const workers = Array.from({ length: request.workers - 1 }, () => {
    const worker = new Worker(process.argv[1]!, { argv });
    worker.on("error", (error) => console.error(`bun-uring: a worker ended: ${errorText(error)}`));
    return worker;
  });
  const scheme = request.tls === null ? "http" : "https";
  console.log(`serving ${request.folder} at ${scheme}://${request.hostname}:${port}/  (Ctrl-C ends it)`);
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  await Promise.all(workers.map((worker) => worker.terminate()));
  await server.stop(true);
}
