// Owns the writers of the durability tests: each acknowledges on stdout only what it was told is durable.
// Assumes the parent ends it at any moment. Never acknowledges ahead: the line goes out after the promise.

import { writeSync } from "node:fs";
import { AppendLog, writeFileAtomic } from "../../src/durable.ts";
import * as fs from "../../src/index.ts";
import { event, outcome, runCases } from "../helpers/cases.ts";

const RECORD = 32;
const record = (i: number): string => `${String(i).padStart(RECORD - 1, "0")}\n`;

const acknowledge = (i: number): void => void writeSync(1, `ack ${i}\n`);

/** The text of generation i of an atomically replaced file: long, and all of one generation. */
const generation = (i: number): string => `${String(i).padStart(9, "0")}\n`.repeat(2000);

await runCases({
  /** One record after the other, each made durable before it is acknowledged. */
  async append(dir: string) {
    const folder = await fs.open(dir, "r");
    const log = await fs.open(`${dir}/log`, "a");
    await log.sync();
    await folder.sync();
    event("ready");
    for (let i = 0; ; i++) {
      await log.write(record(i));
      await log.datasync();
      acknowledge(i);
    }
  },

  /** Replaces a file again and again: new name, fsync, rename, fsync of the folder. */
  async replace(dir: string) {
    const folder = await fs.open(dir, "r");
    await fs.writeFile(`${dir}/value`, generation(0), { flush: true });
    await folder.sync();
    acknowledge(0);
    event("ready");
    for (let i = 1; ; i++) {
      await fs.writeFile(`${dir}/value.new`, generation(i), { flush: true });
      await fs.rename(`${dir}/value.new`, `${dir}/value`);
      await folder.sync();
      acknowledge(i);
    }
  },

  /** An AppendLog, eight records at a time, into a file that is filled ahead: they share groups. */
  async log(dir: string) {
    const log = await AppendLog.open(`${dir}/log`, { durability: "full", preallocate: 64 * 1024 });
    event("ready");
    for (let i = 0; ; i += 8) {
      await Promise.all(Array.from({ length: 8 }, (_, at) => log.append(record(i + at))));
      for (let at = 0; at < 8; at++) acknowledge(i + at);
    }
  },

  /** Small segments, so that many an end meets a rotation. */
  async segments(dir: string) {
    const log = await AppendLog.open(`${dir}/log`, { durability: "full", rotate: { maxBytes: 600 } });
    event("ready");
    for (let i = 0; ; i++) {
      await log.append(record(i));
      acknowledge(i);
    }
  },

  /** writeFileAtomic, which does by itself what `replace` does by hand. */
  async atomic(dir: string) {
    await writeFileAtomic(`${dir}/value`, generation(0));
    acknowledge(0);
    event("ready");
    for (let i = 1; ; i++) {
      await writeFileAtomic(`${dir}/value`, generation(i));
      acknowledge(i);
    }
  },

  /** Many files, each flushed by its own writeFile. */
  async files(dir: string) {
    const folder = await fs.open(dir, "r");
    event("ready");
    for (let i = 0; ; i++) {
      await fs.writeFile(`${dir}/f${i}`, record(i), { flush: true });
      await folder.sync();
      acknowledge(i);
    }
  },

  /** Writeback fails below: the log ends with the first sync that says so. */
  async failedLog({ path, records }: { path: string; records: number }) {
    const log = await AppendLog.open(path);
    const record = Buffer.alloc(1 << 20, 7);
    const outcomes: string[] = [];
    let safeOffset = -1;
    for (let i = 0; i < records; i++)
      await log.append(record).then(
        (offset) => outcomes.push(`at ${offset}`),
        (error) => {
          outcomes.push(`${error.code} ${error.cause?.code}`);
          safeOffset = error.safeOffset;
        },
      );
    return { outcomes, safeOffset, closed: await outcome(log.close()) };
  },

  /** Writeback fails below: the first sync says so, and so does every later one on this handle. */
  async failedSync({ path, bytes }: { path: string; bytes: number }) {
    const handle = await fs.open(path, "w");
    const other = await fs.open(`${path}-small`, "w");
    const chunk = Buffer.alloc(1 << 20, 7);
    const writes: unknown[] = [];
    for (let at = 0; at < bytes; at += chunk.length)
      writes.push(await outcome(handle.write(chunk, 0, chunk.length, at)));
    const syncs = [await outcome(handle.sync()), await outcome(handle.sync()), await outcome(handle.datasync())];
    const closed = await outcome(handle.close());
    await outcome(other.close());
    return { writes: writes.filter((what) => what !== "value").length, syncs, closed };
  },
});
