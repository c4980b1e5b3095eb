// AppendLog at its worst moments: calls in the middle of a rotation, a group that fails while others gather, readers beside a
// writer that compresses and removes, two openers, processes that died half-way through. Nothing acknowledged is lost.
// Assumes a folder, and /dev/fuse where a write has to fail.

import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { AppendLog, type AppendLogOptions, lock, readLog, type SegmentInfo } from "../../src/durable.ts";
import { startFuse } from "../helpers/fuse.ts";
import { readLines } from "../helpers/lines.ts";
import { faultTest } from "../helpers/requirements.ts";
import { code } from "../helpers/settled.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const segmentsOf = (path: string): string[] =>
  readdirSync(dirname(path))
    .filter((name) => new RegExp(`^${basename(path)}\\.\\d+(\\.gz)?$`).test(name))
    .toSorted();

async function found(path: string): Promise<[number, string][]> {
  const entries: [number, string][] = [];
  let sequence = 0;
  for await (const entry of readLog(path)) {
    expect(entry.sequence).toBe(++sequence);
    entries.push([entry.offset, entry.data.toString()]);
  }
  return entries;
}

/** Appends until told to stop; what was acknowledged, by its offset. */
function keepAppending(log: AppendLog): { acknowledged: [number, string][]; stop(): Promise<void> } {
  const acknowledged: [number, string][] = [];
  let isOver = false;
  let next = 0;
  const writers = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      const text = `record ${next++}`;
      acknowledged.push([await log.append(text), text]);
    }
  });
  return {
    acknowledged,
    async stop() {
      isOver = true;
      await Promise.all(writers);
    },
  };
}

const byOffset = (entries: [number, string][]): [number, string][] => entries.toSorted(([a], [b]) => a - b);

describe("while others append", () => {
  for (const preallocate of [0, 64 * 1024])
    test(`rotate and reopen come to their end, and no record is lost (preallocate ${preallocate})`, async () => {
      const path = tmp.path();
      const log = await AppendLog.open(path, { durability: "full", preallocate });
      const writing = keepAppending(log);
      const moved: string[] = [];
      for (let i = 0; i < 12; i++) {
        await Bun.sleep(1);
        if (i % 3 === 2) {
          // As logrotate does, to a name that the log's readers know.
          const to = `${path}.${String(90 + i).padStart(6, "0")}`;
          renameSync(path, to);
          moved.push(to);
          // In the same turn as others are gathered.
          await Promise.all([
            log.reopen(),
            log.append(`beside ${i}`).then((at) => writing.acknowledged.push([at, `beside ${i}`])),
          ]);
        } else
          await Promise.all([
            log.append(`turn ${i}`).then((at) => writing.acknowledged.push([at, `turn ${i}`])),
            log.rotate(),
          ]);
      }
      await writing.stop();
      await log.close();
      expect(moved.length).toBe(4);
      // Their numbers are not in the order of their ends, so they are read one by one.
      const all: [number, string][] = [];
      for (const name of [...segmentsOf(path), basename(path)]) {
        const alone = join(tmp.folder(), "log");
        writeFileSync(alone, readFileSync(join(dirname(path), name)));
        for await (const { offset, data } of readLog(alone)) all.push([offset, data.toString()]);
      }
      expect(byOffset(all)).toEqual(byOffset(writing.acknowledged));
    });

  test("flushSync meets no zeros on their way and no cut: every line of a process that calls it all the time is there", async () => {
    for (const durability of ["data", "none"] as const) {
      const path = tmp.path();
      const log = await AppendLog.open(path, { durability, preallocate: 256 * 1024, rotate: { maxBytes: 20_000 } });
      const wanted: string[] = [];
      for (let i = 0; i < 400; i++) {
        const text = `${i}`.padEnd(100);
        log.write(text);
        wanted.push(text);
        log.flushSync();
        if (i % 40 === 0) log.rotate().catch(() => {});
        if (i % 7 === 0) await Bun.sleep(0);
      }
      await log.close();
      expect((await found(path)).map(([, text]) => text)).toEqual(wanted);
    }
  });

  test("close waits for a rotation that was asked for before, and what comes after it rejects", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    log.write("one");
    const outcomes = [log.rotate(), log.close(), log.rotate(), log.reopen(), log.append("x")].map(code);
    expect(await Promise.all(outcomes)).toEqual(["resolved", "resolved", ...Array(3).fill("ERR_LOG_CLOSED")]);
    const again = await AppendLog.open(path); // nobody has its lock
    await again.append("two");
    await again.close();
    expect((await found(path)).map(([, text]) => text)).toEqual(["one", "two"]);
  });
});

describe("the path during a rotation", () => {
  test("always leads to a file, and no second opener ever gets it", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { durability: "none" });
    let isOver = false;
    const opener = (async () => {
      let tries = 0;
      for (; !isOver; tries++) expect(await code(AppendLog.open(path, { durability: "none" }))).toBe("ERR_LOCKED");
      return tries;
    })();
    for (let i = 0; i < 150; i++) {
      log.write(`${i}`);
      const rotating = log.rotate();
      for (let at = 0; at < 5; at++) {
        expect(existsSync(path)).toBe(true);
        await Bun.sleep(0);
      }
      await rotating;
    }
    isOver = true;
    expect(await opener).toBeGreaterThan(50);
    await log.close();
    expect((await found(path)).length).toBe(150);
  });

  test("a process that died between its two names: the segment has not ended, and nothing is there twice", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    await log.append("one");
    await log.rotate();
    await log.append("two");
    await log.close();
    linkSync(path, `${path}.000002`);
    expect((await found(path)).map(([, text]) => text)).toEqual(["one", "two"]);
    const again = await AppendLog.open(path);
    expect(segmentsOf(path)).toEqual([`${basename(path)}.000001`]);
    await again.append("three");
    await again.rotate();
    await again.close();
    expect((await found(path)).map(([, text]) => text)).toEqual(["one", "two", "three"]);
  });

  test("a process that died before the next file was there: numbers and offsets go on", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    await log.append("one");
    const end = log.endOffset;
    await log.close();
    renameSync(path, `${path}.000001`);
    const again = await AppendLog.open(path);
    expect(await again.append("two")).toBe(end);
    await again.close();
    expect((await found(path)).map(([, text]) => text)).toEqual(["one", "two"]);
  });
});

describe("segments that are let go", () => {
  test("with keep: 0 every one has been handed on, also after a restart, under a number of its own", async () => {
    const path = tmp.path();
    const seen: SegmentInfo[] = [];
    const options: AppendLogOptions = { rotate: { keep: 0 }, onSegment: (segment) => void seen.push(segment) };
    for (let round = 1; round <= 2; round++) {
      const log = await AppendLog.open(path, options);
      for (let i = 0; i < 4; i++) {
        await log.append(`${round}.${i}`);
        await log.rotate();
        while (segmentsOf(path).length > 0) await Bun.sleep(1); // each is gone before the next
      }
      await log.close();
      expect(seen.length).toBe(round * 4);
    }
    expect(new Set(seen.map((segment) => segment.path)).size).toBe(8);
    for (const [i, { from }] of seen.entries()) expect(from).toBe(i === 0 ? 0 : seen[i - 1]!.to);
  });

  test("what says how far they were handed on is no number any more: they are handed on again", async () => {
    const path = tmp.path();
    let handed = 0;
    const options: AppendLogOptions = { onSegment: () => void handed++ };
    writeFileSync(`${path}.shipped`, "not a number");
    const log = await AppendLog.open(path, options);
    await log.append("x");
    await log.rotate();
    for (let i = 0; i < 200 && handed === 0; i++) await Bun.sleep(10);
    await log.close();
    expect(handed).toBe(1);
  });

  test("of lines have the checksum and length of their bytes", async () => {
    const path = tmp.path();
    const seen: SegmentInfo[] = [];
    const log = await AppendLog.open(path, {
      framing: "lines",
      onSegment: (segment) => void seen.push(segment),
    });
    await log.append("ä line");
    await log.rotate();
    for (let i = 0; i < 200 && seen.length === 0; i++) await Bun.sleep(10);
    await log.close();
    const bytes = Buffer.from("ä line\n");
    expect(seen).toEqual([{ path: `${path}.000001`, from: 0, to: bytes.length, crc: Bun.hash.crc32(bytes) as number }]);
  });

  test("that can't be compressed for now are removed all the same", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { rotate: { compress: true, keep: 2 } });
    for (let number = 1; number <= 9; number++) {
      mkdirSync(`${path}.00000${number}.gz`); // in the way of what is compressed
      writeFileSync(`${path}.00000${number}.gz/x`, "");
    }
    for (let i = 0; i < 6; i++) {
      await log.append(`${i}`);
      await log.rotate();
    }
    const plain = (): string[] => segmentsOf(path).filter((name) => !name.endsWith(".gz"));
    for (let i = 0; i < 200 && plain().length > 2; i++) await Bun.sleep(20);
    expect(plain().length).toBe(2);
    await log.close();
  });
});

describe("readers", () => {
  test("read all that is there, though it is compressed meanwhile", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    for (let i = 0; i < 8; i++) {
      await log.append(`${i}`);
      await log.rotate();
    }
    await log.append("8");
    await log.close();
    const iterator = readLog(path);
    const texts = [(await iterator.next()).value.data.toString()];
    const compressing = await AppendLog.open(path, { rotate: { compress: true } });
    while (!segmentsOf(path).every((name) => name.endsWith(".gz"))) await Bun.sleep(5);
    for await (const { data } of iterator) texts.push(data.toString());
    expect(texts).toEqual(Array.from({ length: 9 }, (_, i) => `${i}`));
    await compressing.close();
  });

  test("go on behind segments that are removed meanwhile", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    for (let i = 0; i < 8; i++) {
      await log.append(`${i}`);
      await log.rotate();
    }
    const iterator = readLog(path);
    const texts = [(await iterator.next()).value.data.toString()];
    for (let i = 1; i < 6; i++) unlinkSync(`${path}.00000${i}`);
    for await (const { data } of iterator) texts.push(data.toString());
    expect(texts).toEqual(["0", "5", "6", "7"]);
    await log.close();
  });

  test("that follow read what was added, not what they have had", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { durability: "none" });
    for (let i = 0; i < 64; i++) log.write(Buffer.alloc(64 * 1024));
    await log.flush();
    // Counted by the kernel, which does so for plain system calls only.
    const child = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const { tailLog } = await import(${JSON.stringify(new URL("../../src/durable.ts", import.meta.url).pathname)});
         const bytesRead = () => Number(/^rchar: (\\d+)/m.exec(require("fs").readFileSync("/proc/self/io", "utf8"))[1]);
         let seen = 0, before = 0;
         for await (const _ of tailLog(${JSON.stringify(path)})) {
           if (++seen === 64) { before = bytesRead(); console.log("there"); }
           else if (seen > 64) console.log(bytesRead() - before);
         }`,
      ],
      { stdout: "pipe", env: { ...process.env, BUN_URING_BACKEND: "node" } },
    );
    const lines = readLines(child.stdout);
    expect(await lines.next()).toBe("there");
    let read = 0;
    for (let i = 0; i < 20; i++) {
      await log.append("one more");
      read = Number(await lines.next());
    }
    child.kill();
    expect(read).toBeLessThan(32 * 1024 * 1024); // so many looks at the whole are 80 MiB
    await log.close();
  });

  test("reject where a segment that has ended is damaged, and go over no gap", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    for (let i = 0; i < 3; i++) {
      await log.append(`${i}a`);
      await log.append(`${i}b`);
      await log.rotate();
    }
    await log.close();
    const second = `${path}.000002`;
    const bytes = readFileSync(second);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(second, bytes);
    const texts: string[] = [];
    const reading = (async () => {
      for await (const { data } of readLog(path)) texts.push(data.toString());
    })();
    expect(await code(reading)).toBe("ERR_LOG_DAMAGED");
    expect(texts).toEqual(["0a", "0b", "1a"]);
  });
});

describe("recovery", () => {
  test("a torn record that holds frames of another log, or of this one with other numbers, is torn, not damage", async () => {
    const inner = tmp.path();
    const other = await AppendLog.open(inner);
    for (let i = 0; i < 5; i++) await other.append(`inner ${i}`);
    await other.close();
    const path = tmp.path();
    const log = await AppendLog.open(path);
    await log.append("kept");
    const kept = statSync(path).size;
    await log.append(readFileSync(inner));
    await log.close();
    const whole = readFileSync(path);
    for (const filled of [0, 300_000]) {
      writeFileSync(path, Buffer.concat([whole.subarray(0, -1), Buffer.alloc(filled)]));
      const again = await AppendLog.open(path);
      expect(again.recovered).toMatchObject({ records: 1, cutBytes: whole.length - 1 - kept });
      await again.close();
    }
  });

  test("sweeps what a crash has left in the folder, and leaves a file that somebody is writing", async () => {
    const folder = tmp.folder();
    const old = `.bun-uring-${(Date.now() - 3_600_000).toString(36)}-0123456789ab.tmp`;
    writeFileSync(join(folder, old), "");
    utimesSync(join(folder, old), 1, 1);
    const log = await AppendLog.open(join(folder, "log"));
    for (let i = 0; i < 200 && existsSync(join(folder, old)); i++) await Bun.sleep(10);
    expect(readdirSync(folder)).toEqual(["log"]);
    await log.close();
  });

  test("lines: a file that was emptied from outside is gone on with from its end", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { framing: "lines" });
    await log.append("one");
    truncateSync(path, 0);
    appendFileSync(path, "another's\n");
    await log.append("two");
    await log.close();
    expect(readFileSync(path, "utf8")).toBe("another's\ntwo\n");
  });
});

describe("a group that fails while others gather", () => {
  faultTest("what comes after it has the offsets at which it is found", { needs: ["fuse"] }, async () => {
    await using fuse = await startFuse();
    const path = join(fuse.path, "log");
    const log = await AppendLog.open(path);
    await log.append("one");
    await fuse.mode({ mode: "error", errno: 5, ops: ["write"], count: 1 });
    const failing = code(log.append("a group that is not written"));
    await new Promise((resolve) => setImmediate(resolve)); // it is under way
    const offsets = await Promise.all([log.append("two"), log.append("three")]);
    expect(await failing).toBe("EIO");
    await log.close();
    expect((await found(path)).slice(1)).toEqual([
      [offsets[0]!, "two"],
      [offsets[1]!, "three"],
    ]);
  });

  faultTest(
    "lines: what is cut off is its own, though the file is shorter than it was",
    { needs: ["fuse"] },
    async () => {
      await using fuse = await startFuse();
      const path = join(fuse.path, "log");
      const log = await AppendLog.open(path, { framing: "lines" });
      await log.append("x".repeat(5000));
      truncateSync(path, 0);
      await fuse.mode({ mode: "error", errno: 28, ops: ["write"], count: 1 });
      expect(await code(log.append("two"))).toBe("ENOSPC");
      await log.append("three");
      await log.close();
      expect(readFileSync(path, "utf8")).toBe("three\n");
    },
  );
});

describe("a Worker that ends", () => {
  for (const how of ["terminate", "exit"])
    test(`by ${how} lets go of its log and its locks; what it locks no more stays another's`, async () => {
      const path = tmp.path();
      const worker = new Worker(new URL("./log-worker.ts", import.meta.url).href, {
        env: { ...process.env, LOG_PATH: path, HOW: how },
      } as WorkerOptions);
      await new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }));
      const ended = new Promise((resolve) => worker.addEventListener("close", resolve, { once: true }));
      const own = await lock(`${path}.early`, { wait: false });
      if (how === "terminate") worker.terminate();
      await ended;
      // Its thread may end a moment after it was said.
      await (await lock(`${path}.lock`, { timeoutMs: 20_000 })).release();
      const log = await AppendLog.open(path);
      await log.close();
      const found: string[] = [];
      for await (const { data } of readLog(path)) found.push(data.toString());
      expect(found[0]).toBe("record");
      if (how === "exit") expect(found.at(-1)).toBe("last");
      expect(await code(lock(`${path}.early`, { wait: false }))).toBe("ERR_LOCKED");
      await own.release();
    });
});
