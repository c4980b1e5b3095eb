// RFC 9110 sections 13 and 14: whether a request's preconditions hold for a file, and which bytes of it are asked for.
// Assumes a strong entity tag and a modification time in whole seconds. Pure: reads headers, decides, touches nothing.

/** What a request is answered with: all of the file, a part of it, or a status without a body of the file. */
export type Decision =
  | { status: 200 }
  | { status: 206; start: number; end: number }
  | { status: 304 | 412 }
  | { status: 416 };

const WHOLE: Decision = { status: 200 };
const NOT_MODIFIED: Decision = { status: 304 };
const FAILED: Decision = { status: 412 };
const UNSATISFIABLE: Decision = { status: 416 };

/** What a decision needs to know of the file. */
interface Validators {
  /** Strong, with its quotes. */
  etag: string;
  /** Seconds since 1970. */
  modified: number;
  size: number;
}

/** Decides for GET and HEAD, in the order of RFC 9110 section 13.2.2. A range is `end`-exclusive; HEAD has none (14.2). */
export function decide(headers: Headers, { etag, modified, size }: Validators, isHead: boolean): Decision {
  const ifMatch = headers.get("if-match");
  const unmodifiedSince = ifMatch === null ? secondsOf(headers.get("if-unmodified-since")) : null;
  if (ifMatch !== null && !matches(ifMatch, etag, false)) return FAILED;
  if (unmodifiedSince !== null && modified > unmodifiedSince) return FAILED;
  const ifNoneMatch = headers.get("if-none-match");
  const modifiedSince = ifNoneMatch === null ? secondsOf(headers.get("if-modified-since")) : null;
  if (ifNoneMatch !== null && matches(ifNoneMatch, etag, true)) return NOT_MODIFIED;
  if (modifiedSince !== null && modified <= modifiedSince) return NOT_MODIFIED;
  const range = isHead ? null : headers.get("range");
  if (range === null) return WHOLE;
  const ifRange = headers.get("if-range");
  return ifRange !== null && !isSameVersion(ifRange, etag, modified) ? WHOLE : rangeOf(range, size);
}

/** A list of entity tags, or "*". The weak comparison (If-None-Match) takes W/"x" for "x". */
function matches(list: string, etag: string, weak: boolean): boolean {
  if (list === etag) return true;
  if (list.trim() === "*") return true;
  // A tag may hold commas, so the list is read tag by tag.
  for (const [, isWeak, tag] of list.matchAll(/(W\/)?("[^"]*")/g))
    if (tag === etag && (weak || isWeak === undefined)) return true;
  return false;
}

/** If-Range: a strong tag or a date, which must be the file's exactly. */
function isSameVersion(value: string, etag: string, modified: number): boolean {
  const text = value.trim();
  return text.startsWith('"') || text.startsWith("W/") ? text === etag : secondsOf(text) === modified;
}

/** An HTTP date in seconds since 1970; null if it is none. */
function secondsOf(date: string | null): number | null {
  // All three forms of RFC 9110 5.6.7 begin with a letter; Date.parse also takes what is no HTTP date.
  if (date === null || !/^[A-Z]/.test(date)) return null;
  // asctime's form names no zone; it is UTC.
  const ms = Date.parse(/\d{4}$/.test(date) ? `${date} GMT` : date);
  return Number.isNaN(ms) ? null : Math.floor(ms / 1000);
}

/** One byte range. What is malformed, of another unit, or several ranges are answered with all of the file (14.2). */
export function rangeOf(text: string, size: number): Decision {
  const match = /^bytes\s*=\s*(?:(\d+)-(\d*)|-(\d+))\s*$/i.exec(text);
  if (match === null) return WHOLE;
  const [, first, last, suffix] = match;
  if (suffix !== undefined) {
    const length = Math.min(Number(suffix), size);
    // All of an empty file is no range of it.
    return length === 0 ? UNSATISFIABLE : { status: 206, start: size - length, end: size };
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return WHOLE;
  if (start >= size) return UNSATISFIABLE;
  return { status: 206, start, end: last === "" ? size : Math.min(Number(last) + 1, size) };
}

/** The encodings of `offered`, best first, that Accept-Encoding allows; "" stands for the file as it is. */
export function acceptedEncodings<E extends string>(header: string | null, offered: readonly E[]): (E | "")[] {
  if (header === null) return [""];
  const weights = new Map<string, number>();
  for (const part of header.toLowerCase().split(",")) {
    const [name, ...parameters] = part.split(";").map((text) => text.trim());
    const q = parameters.find((text) => text.startsWith("q="));
    const weight = q === undefined ? 1 : Number(q.slice(2));
    if (name) weights.set(name, weight >= 0 && weight <= 1 ? weight : 0);
  }
  const any = weights.get("*");
  // Unlisted, the file as it is stays acceptable (12.5.3), behind what is asked for.
  const identity = weights.get("identity") ?? (any === 0 ? 0 : 0.001);
  const accepted = offered
    .map((name): [E | "", number] => [name, weights.get(name) ?? any ?? 0])
    .concat([["", identity]])
    .filter(([, weight]) => weight > 0);
  accepted.sort(([, a], [, b]) => b - a); // stable: the server's order where the client has none
  return accepted.map(([name]) => name);
}
