// serveFile: a request answered with a file beneath a root, in the request's own turn wherever the file's bytes are at hand.
// That matters twice: Bun sends such an answer with one system call, and nothing here waits on the JavaScript thread for a
// disk or a file server. Conditions, ranges, encodings and headers are RFC 9110's.
// Never opens anything but by the root's own opens; never answers with a folder, a FIFO or a device.

import { resolve as absolute } from "node:path";
import { currentBackend } from "../backend/choose.ts";
import type { Backend } from "../backend/interface.ts";
import { O_PATH } from "../kernel/constants.ts";
import { nativeOrNull } from "../kernel/shim.ts";
import { AT_FDCWD } from "../kernel/sqe.ts";
import { invalidArgType } from "../node/arguments.ts";
import { clockMs } from "../node/clock.ts";
import { closedError } from "../node/errors.ts";
import { SLASH } from "../node/path.ts";
import { type Body, bodyLater, bodyNow, changed, SENDFILE_BYTES, scratchMemory } from "./body.ts";
import { acceptedEncodings, type Decision, decide } from "./conditional.ts";
import { Entry, type EntryHeaders, type Missing } from "./entry.ts";
import { FileCache } from "./file-cache.ts";
import { internalsOf, Root } from "./root.ts";
import {
  type Checked,
  type Encoding,
  knownHeaders,
  makeHeaders,
  type ServeOptions,
  serveOptions,
  siblingOf,
} from "./serve-options.ts";
import { lend } from "./table.ts";

/** Small files are read whole as they are looked at. */
const LOOK_BYTES = SENDFILE_BYTES - 1;
/** Answers begun anew because the file changed, or was closed, under them, before that is an error. */
const MAX_CHANGES = 3;

interface Site {
  readonly cache: FileCache;
  readonly backend: Backend;
}

const sites = new WeakMap<Root, Site>();
/** For files by absolute path: names relative to nothing. */
let paths: Site | Promise<Site> | null = null;

/** One request on its way. */
interface Answering {
  readonly request: Request;
  readonly site: Site;
  readonly options: Checked;
  /** Names that had to be waited for, and what they are. */
  readonly found: Map<string, Entry | Missing>;
  /** The answer is the fallback already. */
  fellBack: boolean;
  changes: number;
}

/**
 * Answers GET and HEAD with a file: of a root, by the request's path (or `options.name`), or the one file at `path`. Everything
 * else is 405. Returns a Response where the file is known and its bytes are in the page cache, a promise of one elsewhere;
 * never rejects for what a client or a file can do. Throws for wrong arguments.
 */
export function serveFile(
  request: Request,
  where: Root | string,
  options?: ServeOptions,
): Response | Promise<Response> {
  const checked = serveOptions(options);
  const { method } = request;
  if (method !== "GET" && method !== "HEAD")
    return new Response("Method Not Allowed\n", { status: 405, headers: { allow: "GET, HEAD" } });
  if (where instanceof Root) {
    const name = checked.name ?? nameOf(request.url, checked);
    if (name === null) return plain("Bad Request\n", 400);
    const state = { request, site: siteOf(where), options: checked, found: new Map(), fellBack: false, changes: 0 };
    if (name === OTHER_PREFIX || (!checked.dotfiles && isHidden(name))) return notFound(state);
    return answer(state, name);
  }
  if (typeof where !== "string") throw invalidArgType("where", ["Root", "string"], where);
  const name = absolute(where);
  paths ??= pathSite();
  const begin = (site: Site): Response | Promise<Response> =>
    answer({ request, site, options: checked, found: new Map(), fellBack: false, changes: 0 }, name);
  return paths instanceof Promise ? paths.then(begin) : begin(paths);
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

/** Stands for a path that the prefix is not of. */
const OTHER_PREFIX = "\0";

/** The name beneath the root that a URL's path stands for; null if it is malformed. "" at its end or whole: a folder. */
function nameOf(url: string, { prefix }: Checked): string | null {
  const start = url.indexOf("/", url.indexOf("//") + 2);
  const query = url.indexOf("?", start);
  // A Request's URL has no fragment.
  let path = start < 0 ? "/" : query < 0 ? url.slice(start) : url.slice(start, query);
  if (path.includes("%")) {
    // A slash or a NUL that is written as a code stays one that no name has.
    if (/%2f|%00/i.test(path)) return null;
    try {
      path = decodeURIComponent(path);
    } catch {
      return null;
    }
  }
  if (path.includes("\0")) return null;
  if (prefix !== "") {
    if (path !== prefix && !path.startsWith(`${prefix}/`)) return OTHER_PREFIX;
    path = path.slice(prefix.length) || "/";
  }
  let from = 0;
  while (path.charCodeAt(from) === SLASH) from++;
  return path.slice(from);
}

const isHidden = (name: string): boolean =>
  (name.startsWith(".") || name.includes("/.")) && /(^|\/)\.(?!well-known(\/|$))/.test(name);

/* ---- sites --------------------------------------------------------------------------------------------------------- */

function siteOf(root: Root): Site {
  const { backend, folder, resolve, open, onClose } = internalsOf(root); // throws if it is closed
  let site = sites.get(root);
  if (site === undefined) {
    const cache = new FileCache(backend, nativeOrNull(), folder.fd, resolve, !folder.remote, open);
    site = { cache, backend };
    sites.set(root, site);
    onClose.add(() => cache.close());
  }
  return site;
}

async function pathSite(): Promise<Site> {
  const backend = currentBackend();
  const top = await backend.open("/", O_PATH, 0);
  const local = !top.remote;
  await backend.close(top);
  const open = (name: string, flags: number) => backend.open(name, flags, 0);
  const cache = new FileCache(backend, nativeOrNull(), AT_FDCWD, 0, local, open);
  paths = { cache, backend };
  return paths;
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

/** Goes as far as it can at once; what has to be waited for is waited for, and then it goes the same way again. */
function answer(state: Answering, name: string): Response | Promise<Response> {
  const { options } = state;
  const isFolder = name === "" || name.endsWith("/");
  if (isFolder && options.index === false) return notFound(state);
  const wanted = isFolder ? name + options.index : name;
  return choose(state, wanted, name);
}

function find(state: Answering, name: string): Entry | Missing | Promise<unknown> {
  const known = state.found.get(name);
  if (known !== undefined) return known;
  const found = state.site.cache.find(name, clockMs(), state.options.revalidateMs);
  return found instanceof Promise ? found.then((made) => state.found.set(name, made)) : found;
}

/** The file, or the one of its encoded siblings that the client likes best. */
function choose(state: Answering, name: string, asked: string): Response | Promise<Response> {
  const { options, request } = state;
  const again = (): Response | Promise<Response> => choose(state, name, asked);
  if (options.encodings.length > 0) {
    for (const encoding of acceptedEncodings(request.headers.get("accept-encoding"), options.encodings)) {
      if (encoding === "") break;
      const sibling = find(state, siblingOf(name, encoding));
      if (sibling instanceof Promise) return sibling.then(again);
      if (sibling instanceof Entry && sibling.kind === "file") return send(state, sibling, name, encoding);
    }
  }
  const found = find(state, name);
  if (found instanceof Promise) return found.then(again);
  if (!(found instanceof Entry)) return refuse(state, found.error);
  if (found.kind === "file") return send(state, found, name, "");
  if (found.kind === "folder" && options.index !== false && name === asked && options.name === undefined)
    return redirect(state, name);
  return notFound(state);
}

/** To the same path with a slash at its end, if there is an index; relative, so that no host or scheme is guessed. */
function redirect(state: Answering, name: string): Response | Promise<Response> {
  const index = find(state, `${name}/${state.options.index}`);
  if (index instanceof Promise) return index.then(() => redirect(state, name));
  if (!(index instanceof Entry) || index.kind !== "file") return notFound(state);
  const { url } = state.request;
  const query = url.indexOf("?");
  const last = name.slice(name.lastIndexOf("/") + 1);
  const location = `./${encodeURIComponent(last)}/${query < 0 ? "" : url.slice(query)}`;
  return new Response(null, { status: 301, headers: { location } });
}

function send(state: Answering, entry: Entry, name: string, encoding: Encoding | ""): Response | Promise<Response> {
  // It left the table, and was closed, while another name was waited for.
  if (entry.closed) return anew(state, name, closedError("open"));
  const { cache } = state.site;
  const { request, options } = state;
  const isHead = request.method === "HEAD";
  // A file that is kept in memory, or is likely to be unchanged, needs no bytes, only to be looked at.
  const looksOnly = isHead || entry.body !== null || request.headers.get("if-none-match") !== null;
  const capacity = looksOnly ? 0 : LOOK_BYTES;
  let cached = cache.look(entry, scratchMemory(), capacity);
  entry.hits++;
  let headers = knownHeaders(entry, name, options);
  if (headers === null) {
    const { version } = entry;
    try {
      headers = makeHeaders(entry, name, encoding, options);
    } catch (error) {
      return failed(state, error as Error);
    }
    if (options.headers !== undefined) {
      // The user's function may have answered with another file, or closed the root: what was read may be gone.
      if (entry.closed) return anew(state, name, closedError("open"));
      cached = cache.look(entry, scratchMemory(), capacity);
      if (entry.version !== version) return anew(state, name, changed(name));
    }
  }
  const decision = decide(request.headers, entry, isHead);
  const part = partOf(decision, entry, headers);
  if (part instanceof Response) return part;
  if (isHead)
    return new Response(null, { status: part.status, headers: withLength(part.headers, part.end - part.start) });
  const body = bodyNow(cache, entry, part.start, part.end, cached);
  if (body !== null || part.start === part.end) return respond(state, entry, part, body);
  return bodyLater(cache, state.site.backend, entry, part.start, part.end).then(
    (later) => respond(state, entry, part, later),
    (error) => {
      const { code } = error as { code?: string };
      return code === "ERR_FILE_CHANGED" ? anew(state, name, error as Error) : failed(state, error as Error);
    },
  );
}

/** Begins once more with the look-up; not for ever. */
function anew(state: Answering, name: string, why: Error): Response | Promise<Response> {
  if (++state.changes > MAX_CHANGES) return failed(state, why);
  state.found.clear();
  return choose(state, name, "");
}

interface Part {
  status: number;
  headers: Headers;
  start: number;
  end: number;
}

function partOf(decision: Decision, entry: Entry, { whole, unchanged }: EntryHeaders): Part | Response {
  switch (decision.status) {
    case 200:
      return { status: 200, headers: whole, start: 0, end: entry.size };
    case 206: {
      const { start, end } = decision;
      const own = new Headers(whole);
      own.set("content-range", `bytes ${start}-${end - 1}/${entry.size}`);
      return { status: 206, headers: own, start, end };
    }
    case 304:
      return new Response(null, { status: 304, headers: unchanged });
    case 412:
      return plain("Precondition Failed\n", 412);
    case 416:
      return new Response("Range Not Satisfiable\n", {
        status: 416,
        headers: { "content-range": `bytes */${entry.size}`, "content-type": "text/plain;charset=utf-8" },
      });
  }
}

function withLength(headers: Headers, length: number): Headers {
  const own = new Headers(headers);
  own.set("content-length", String(length));
  return own;
}

function respond(state: Answering, entry: Entry, { status, headers, start, end }: Part, body: Body): Response {
  const sent = state.options.lengths ? withLength(headers, end - start) : headers;
  const response = new Response(body, { status, headers: sent });
  // Bun opens it by its path when it sends it.
  if (body instanceof Blob && body !== entry.body && body.size >= SENDFILE_BYTES) lend(entry, response);
  return response;
}

const plain = (text: string, status: number): Response =>
  new Response(text, { status, headers: { "content-type": "text/plain;charset=utf-8" } });

/** What can't be opened is, to a client, not there; only what it may not see, and what failed, is said to be so. */
function refuse(state: Answering, error: Error & { code?: string }): Response | Promise<Response> {
  switch (error.code) {
    case "ENOENT":
    case "ENOTDIR":
    case "ENAMETOOLONG":
    case "ELOOP":
    case "ENXIO":
    case "ERR_OUTSIDE_ROOT":
      return notFound(state);
    case "EACCES":
    case "EPERM":
      return plain("Forbidden\n", 403);
    default:
      return failed(state, error);
  }
}

function notFound(state: Answering): Response | Promise<Response> {
  const { options, request } = state;
  const { fallback } = options;
  // A page, not a script or an image that is missing.
  if (fallback !== undefined && !state.fellBack && /text\/html|^\*\/\*$/.test(request.headers.get("accept") ?? "*/*")) {
    state.fellBack = true;
    return choose(state, fallback, "");
  }
  return options.notFound === undefined ? plain("Not Found\n", 404) : options.notFound(request);
}

function failed(state: Answering, error: Error): Response | Promise<Response> {
  const { onError } = state.options;
  return onError === undefined ? plain("Internal Server Error\n", 500) : onError(error, state.request);
}
