// A log whose ended segments are kept in an S3-compatible store as well, each at least once and in order, also across crashes;
// and the second machine, which reads them back.
//
//   bun examples/ship-segments.ts write FOLDER     each line of stdin is a record; prints its offset once it is durable
//   bun examples/ship-segments.ts replay FOLDER    fetches all segments into FOLDER, prints their records
//
// Bun's S3 client takes its store from S3_ENDPOINT, S3_BUCKET, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY.

import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { S3Client } from "bun";
import { AppendLog, readLog, type SegmentInfo } from "../src/durable.ts";
import { write } from "../src/server.ts";

const PREFIX = "orders/";
const store = new S3Client();

/** A segment that is shipped twice, after a crash between shipping and noting it, has the same name and the same bytes. */
async function ship({ path, to }: SegmentInfo): Promise<void> {
  await store.write(PREFIX + basename(path), Bun.file(path));
  shippedTo = to;
}
let shippedTo = 0;

async function writeLog(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await using log = await AppendLog.open(join(folder, "orders.log"), {
    durability: "full",
    rotate: { maxBytes: Number(process.env["SEGMENT_BYTES"] ?? 64 * 1024 * 1024), keep: 2 },
    onSegment: ship,
  });
  const acknowledged: Promise<void>[] = [];
  let records = 0;
  for await (const line of console) {
    records++;
    acknowledged.push(log.append(line).then((offset) => console.log(offset)));
    if (acknowledged.length === 1024) await Promise.all(acknowledged.splice(0));
  }
  await Promise.all(acknowledged);
  await log.rotate(); // the rest, too; closing would leave to the next start what has not been handed on
  while (records > 0 && shippedTo < log.endOffset) await Bun.sleep(20);
}

async function* shipped(): AsyncGenerator<string> {
  for (let continuationToken: string | undefined; ; ) {
    const page = await store.list({ prefix: PREFIX, ...(continuationToken && { continuationToken }) });
    for (const { key } of page.contents ?? []) yield key;
    continuationToken = page.nextContinuationToken;
    if (!page.isTruncated || continuationToken === undefined) return;
  }
}

async function replay(folder: string): Promise<void> {
  for await (const key of shipped())
    await write(join(folder, basename(key)), new Response(store.file(key).stream()), { atomic: true });
  // Checks each record's length, checksum and number on the way.
  for await (const { data } of readLog(join(folder, "orders.log"))) console.log(data.toString());
}

const [command, folder = "."] = process.argv.slice(2);
if (command === "write") await writeLog(folder);
else if (command === "replay") await replay(folder);
else console.error("usage: ship-segments.ts write|replay FOLDER");
