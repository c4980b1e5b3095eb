// RFC 9110's conditions and ranges as a table: what is asked of a file of ten bytes, and what a server answers.
// Pure data. Each row names its section.

export const CONTENT = "0123456789";
/** Saturday, 2 May 2020 12:00:00 GMT. */
export const TIME = 1_588_420_800;
export const DATE = "Sat, 02 May 2020 12:00:00 GMT";
const [BEFORE, AFTER] = ["Sat, 02 May 2020 11:59:59 GMT", "Sat, 02 May 2020 12:00:01 GMT"];

/** ETAG stands for the file's own. Status, and body or Content-Range. */
export const CASES: readonly [Record<string, string>, number, string?][] = [
  [{}, 200, CONTENT],
  // If-None-Match (13.1.2): weak comparison, before If-Modified-Since
  [{ "If-None-Match": "ETAG" }, 304],
  [{ "If-None-Match": "W/ETAG" }, 304],
  [{ "If-None-Match": '"x", ETAG' }, 304],
  [{ "If-None-Match": '"a,b", W/ETAG , "c"' }, 304],
  [{ "If-None-Match": "*" }, 304],
  [{ "If-None-Match": '"x"' }, 200, CONTENT],
  [{ "If-None-Match": '"x"', "If-Modified-Since": AFTER }, 200, CONTENT],
  [{ "If-None-Match": "ETAG", "If-Modified-Since": BEFORE }, 304],
  // If-Modified-Since (13.1.3), in all three forms of a date
  [{ "If-Modified-Since": DATE }, 304],
  [{ "If-Modified-Since": AFTER }, 304],
  [{ "If-Modified-Since": BEFORE }, 200, CONTENT],
  [{ "If-Modified-Since": "Saturday, 02-May-20 12:00:00 GMT" }, 304],
  [{ "If-Modified-Since": "Sat May  2 12:00:00 2020" }, 304],
  [{ "If-Modified-Since": "yesterday" }, 200, CONTENT],
  [{ "If-Modified-Since": "1588420800" }, 200, CONTENT],
  // If-Match (13.1.1): strong comparison, before If-Unmodified-Since
  [{ "If-Match": "ETAG" }, 200, CONTENT],
  [{ "If-Match": "*" }, 200, CONTENT],
  [{ "If-Match": '"x"' }, 412],
  [{ "If-Match": "W/ETAG" }, 412],
  [{ "If-Match": 'W/ETAG, ETAG, "x"' }, 200, CONTENT],
  [{ "If-Match": "ETAG", "If-Unmodified-Since": BEFORE }, 200, CONTENT],
  // If-Unmodified-Since (13.1.4)
  [{ "If-Unmodified-Since": DATE }, 200, CONTENT],
  [{ "If-Unmodified-Since": BEFORE }, 412],
  [{ "If-Unmodified-Since": "nonsense" }, 200, CONTENT],
  // order (13.2.2)
  [{ "If-Match": '"x"', "If-None-Match": "ETAG" }, 412],
  [{ "If-None-Match": "ETAG", Range: "bytes=0-1" }, 304],
  // one range (14.1.2)
  [{ Range: "bytes=0-0" }, 206, "bytes 0-0/10"],
  [{ Range: "bytes=2-4" }, 206, "bytes 2-4/10"],
  [{ Range: "bytes=5-" }, 206, "bytes 5-9/10"],
  [{ Range: "bytes=-3" }, 206, "bytes 7-9/10"],
  [{ Range: "bytes=-30" }, 206, "bytes 0-9/10"],
  [{ Range: "bytes=9-99" }, 206, "bytes 9-9/10"],
  [{ Range: "BYTES=0-3" }, 206, "bytes 0-3/10"],
  [{ Range: "bytes=0-99999999999999999999" }, 206, "bytes 0-9/10"],
  [{ Range: "bytes=10-" }, 416, "bytes */10"],
  [{ Range: "bytes=10-20" }, 416, "bytes */10"],
  [{ Range: "bytes=-0" }, 416, "bytes */10"],
  // what is no valid range, another unit, or several, is not looked at (14.2)
  [{ Range: "bytes=4-2" }, 200, CONTENT],
  [{ Range: "bytes=a-b" }, 200, CONTENT],
  [{ Range: "bytes=" }, 200, CONTENT],
  [{ Range: "bytes=--1" }, 200, CONTENT],
  [{ Range: "lines=1-2" }, 200, CONTENT],
  [{ Range: "bytes=0-1,4-5" }, 200, CONTENT],
  [{ Range: "bytes 0-1" }, 200, CONTENT],
  // If-Range (13.1.5): strong, or a date that is the file's
  [{ Range: "bytes=0-1", "If-Range": "ETAG" }, 206, "bytes 0-1/10"],
  [{ Range: "bytes=0-1", "If-Range": DATE }, 206, "bytes 0-1/10"],
  [{ Range: "bytes=0-1", "If-Range": "W/ETAG" }, 200, CONTENT],
  [{ Range: "bytes=0-1", "If-Range": '"x"' }, 200, CONTENT],
  [{ Range: "bytes=0-1", "If-Range": AFTER }, 200, CONTENT],
  [{ Range: "bytes=0-1", "If-Range": BEFORE }, 200, CONTENT],
];
