// `make bench-forms`: multipart beside busboy and @remix-run/multipart-parser, in one process, in alternating rounds; shown are medians.
// The same forms from memory in chunks of 64 KiB: taken apart only, and with the files brought to disk as each way's user would.
// Assumes that npm can be reached: the two are installed into the bench's own folder.

import { createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { boundaryOf, Form } from "../src/server/form.ts";
import { BodyReader } from "../src/server/intake.ts";
import { multipart, openRoot } from "../src/server.ts";
import { environmentOf } from "./lib/environment.ts";

const ROUNDS = Number(process.env["ROUNDS"] ?? 7);
const [KIB, MIB] = [1024, 1024 * 1024];
const VERSIONS = ["busboy@1.6.0", "@remix-run/multipart-parser@0.16.3"];
const TYPE = "multipart/form-data; boundary=----WebKitFormBoundaryABCDEFGH";
const BOUNDARY = boundaryOf(TYPE);
const LIMITS = { headerBytes: 16 * KIB, bodyBytes: 1024 * MIB };
const dir = mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "bench-forms-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));

writeFileSync(join(dir, "package.json"), "{}");
const installing = Bun.spawn([process.execPath, "add", "--silent", ...VERSIONS], { cwd: dir, stderr: "ignore" });
if ((await installing.exited) !== 0) throw new Error("busboy and multipart-parser can't be installed");
const busboy = (await import(join(dir, "node_modules/busboy/lib/index.js"))).default;
const { parseMultipartStream } = await import(
  join(dir, "node_modules/@remix-run/multipart-parser", "dist", "index.js")
);

/* ---- forms --------------------------------------------------------------------------------------------------------- */

const random = Buffer.from(crypto.getRandomValues(new Uint8Array(64 * KIB)));
const content = (bytes: number, isText: boolean): Buffer => Buffer.alloc(bytes, isText ? "a value " : random);
const part = (name: string, filename: string | null, bytes: Buffer): Buffer[] => [
  Buffer.from(
    `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${
      filename === null ? "" : `; filename="${filename}"\r\nContent-Type: application/octet-stream`
    }\r\n\r\n`,
  ),
  bytes,
  Buffer.from("\r\n"),
];
const formOf = (count: number, filename: string | null, bytes: number): Buffer =>
  Buffer.concat([
    ...Array.from({ length: count }, (_, i) => part(`part${i}`, filename, content(bytes, filename === null))).flat(),
    Buffer.from(`--${BOUNDARY}--\r\n`),
  ]);
const FORMS: [title: string, form: Buffer, parts: number][] = [
  ["one file of 64 MiB", formOf(1, "film.bin", 64 * MIB), 1],
  ["100 files of 100 KiB", formOf(100, "picture.jpg", 100 * KIB), 100],
  ["1,000 fields of 20 bytes", formOf(1000, null, 20), 1000],
];

function streamOf(form: Buffer): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream(
    {
      pull(controller) {
        if (at >= form.length) return controller.close();
        // A copy, as a socket's bytes are nobody else's.
        controller.enqueue(new Uint8Array(form.subarray(at, at + 64 * KIB)));
        at += 64 * KIB;
      },
    },
    { highWaterMark: 0 },
  );
}

/* ---- ways; each gives the number of parts -------------------------------------------------------------------------- */

type Way = (body: ReadableStream<Uint8Array>, folder: string) => Promise<number>;

function throughBusboy(take: (file: Readable, folder: string) => Promise<unknown>): Way {
  return (body, folder) =>
    new Promise((resolve, reject) => {
      let parts = 0;
      const files: Promise<unknown>[] = [];
      const parser = busboy({ headers: { "content-type": TYPE } });
      parser.on("field", () => parts++);
      parser.on("file", (_: string, file: Readable) => {
        parts++;
        files.push(take(file, folder));
      });
      parser.on("close", () => Promise.all(files).then(() => resolve(parts), reject));
      parser.on("error", reject);
      Readable.fromWeb(body as never).pipe(parser);
    });
}

let names = 0;
const REMIX = { boundary: BOUNDARY, maxFileSize: 1024 * MIB, maxTotalSize: 1024 * MIB, maxParts: 10_000 };
const APART: Record<string, Way> = {
  "bun-uring": async (body) => {
    const form = new Form(new BodyReader(body, undefined), BOUNDARY, LIMITS);
    let parts = 0;
    for (let part = await form.next(); part !== null; part = await form.next(), parts++) {
      if (part.filename === null) await form.text(MIB);
      else for await (const _ of form.content(1024 * MIB, "file"));
    }
    return parts;
  },
  "multipart-parser": async (body) => {
    let parts = 0;
    for await (const part of parseMultipartStream(body, REMIX)) {
      parts++;
      if (!part.isFile) part.text;
    }
    return parts;
  },
  busboy: throughBusboy(async (file) => void file.resume()),
};
const TO_DISK: Record<string, Way> = {
  "bun-uring": async (body, folder) => {
    await using root = await openRoot(folder);
    const request = new Request("http://x/", { method: "POST", body, headers: { "content-type": TYPE } });
    let parts = 0;
    for await (const _ of multipart(request, root)) parts++;
    return parts;
  },
  "multipart-parser, Bun.write": async (body, folder) => {
    let parts = 0;
    for await (const part of parseMultipartStream(body, REMIX)) {
      parts++;
      if (part.isFile) await Bun.write(join(folder, `f${names++}`), part.bytes);
    }
    return parts;
  },
  "busboy, createWriteStream": throughBusboy(
    (file, folder) =>
      new Promise((resolve, reject) => {
        file
          .pipe(createWriteStream(join(folder, `f${names++}`)))
          .on("close", resolve)
          .on("error", reject);
      }),
  ),
};

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function compare(title: string, ways: Record<string, Way>, form: Buffer, parts: number): Promise<void> {
  const entries = Object.entries(ways);
  const times = entries.map(() => [] as number[]);
  for (let round = -1; round < ROUNDS; round++)
    for (let i = 0; i < entries.length; i++) {
      const index = (i + round + 1) % entries.length;
      const folder = join(dir, `files-${names++}`);
      mkdirSync(folder);
      const start = Bun.nanoseconds();
      const found = await entries[index]![1](streamOf(form), folder);
      if (round >= 0) times[index]!.push(Bun.nanoseconds() - start); // the first is to warm up
      if (found !== parts) throw new Error(`${entries[index]![0]}: ${found} parts of ${parts}`);
      rmSync(folder, { recursive: true });
    }
  const ms = times.map((all) => median(all) / 1e6);
  console.log(`| ${title} | ${ms.map((time) => `${time.toFixed(1)} (${(time / ms[0]!).toFixed(2)})`).join(" | ")} |`);
}

const { cpu, cores, kernel, bun } = environmentOf(dir, null);
console.log(
  `${cpu}, ${cores} processors, ${kernel}, Bun ${bun}, ${VERSIONS.join(", ")}; ms (× ours), medians of ${ROUNDS}`,
);
for (const [title, ways, forms] of [
  ["taken apart", APART, FORMS],
  ["to disk", TO_DISK, FORMS.slice(0, 2)],
] as const) {
  console.log(`\n| ${title} | ${Object.keys(ways).join(" | ")} |\n|---|${"---|".repeat(Object.keys(ways).length)}`);
  for (const [name, form, parts] of forms) await compare(name, ways, form, parts);
}
