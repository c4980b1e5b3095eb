// Path arguments: strings, bytes and file: URLs, checked and turned into what the kernel takes.
// Assumes UTF-8 for strings, as Node does; bytes are copied unchanged. Length limits are the kernel's to judge.
// Never resolves, normalises or looks at a path. Cuts and joins them where they are bytes, too.

import { codedError, invalidArgType, invalidArgValue } from "./arguments.ts";
import { bytesOf, isBytes } from "./views.ts";

const withoutNul = "must be a string, Uint8Array, or URL without null bytes";

/**
 * A path argument as the string or the bytes it stands for, in memory of their own.
 * Throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE for a NUL byte, and for URLs ERR_INVALID_URL_SCHEME,
 * ERR_INVALID_FILE_URL_HOST and ERR_INVALID_FILE_URL_PATH.
 */
export function toPath(path: unknown, name = "path"): string | Buffer {
  if (typeof path === "string") {
    if (path.includes("\0")) throw invalidArgValue(name, path, withoutNul);
    return path;
  }
  if (isBytes(path)) {
    const bytes = Buffer.from(bytesOf(path)); // whoever gave it may change it at once, and it is used later, in errors too
    if (bytes.includes(0)) throw invalidArgValue(name, path, withoutNul);
    return bytes;
  }
  if (isUrl(path)) return toPath(fileUrlPath(path), name);
  throw invalidArgType(name, ["string", "Buffer", "URL"], path);
}

/** The path's bytes and a terminating NUL, in memory of their own. Lone surrogates become U+FFFD, as in Node. */
export function encodePath(path: string | Buffer): Buffer {
  if (typeof path === "string") {
    const byteLength = Buffer.byteLength(path);
    const bytes = Buffer.allocUnsafe(byteLength + 1);
    bytes.write(path);
    bytes[byteLength] = 0;
    return bytes;
  }
  const bytes = Buffer.allocUnsafe(path.byteLength + 1);
  bytes.set(path);
  bytes[path.byteLength] = 0;
  return bytes;
}

/** The bytes of a path as characters: what cuts or joins paths of text does so to any others, and each byte stays. */
export const latin1 = (path: string | Buffer): string => Buffer.from(path as string).toString("latin1");

/** What parts the names of a path, in bytes. */
export const SLASH = 0x2f;

/** The path of a name in a folder; "" is no name, and no folder. */
export function pathIn(folder: string | Buffer, name: string | Buffer): string | Buffer {
  if (folder.length === 0 || name.length === 0) return folder.length === 0 ? name : folder;
  if (typeof folder === "string" && typeof name === "string")
    return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
  const [above, below] = [folder, name].map((part) => (typeof part === "string" ? Buffer.from(part) : part));
  return Buffer.concat(above!.at(-1) === SLASH ? [above!, below!] : [above!, Buffer.of(SLASH), below!]);
}

/** Node's test, which also takes URL objects of other realms; url.parse() results have auth and path, and are none. */
function isUrl(value: unknown): value is URL {
  if (value === null || typeof value !== "object") return false;
  const url = value as { href?: unknown; protocol?: unknown; auth?: unknown; path?: unknown };
  return Boolean(url.href && url.protocol) && url.auth === undefined && url.path === undefined;
}

const encodedSlash = /%2f/i;

function fileUrlPath(url: URL): string {
  if (process.platform === "win32") return process.getBuiltinModule("node:url").fileURLToPath(url);
  if (url.protocol !== "file:") {
    throw codedError(TypeError, "ERR_INVALID_URL_SCHEME", "The URL must be of scheme file");
  }
  if (url.hostname !== "") {
    const message = `File URL host must be "localhost" or empty on ${process.platform}`;
    throw codedError(TypeError, "ERR_INVALID_FILE_URL_HOST", message);
  }
  if (encodedSlash.test(url.pathname)) {
    const message = "File URL path must not include encoded / characters";
    throw codedError(TypeError, "ERR_INVALID_FILE_URL_PATH", message);
  }
  return decodeURIComponent(url.pathname);
}
