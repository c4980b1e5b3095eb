// AppendLog: what it promises of records, groups, limits, rotation, failure and recovery, on both backends.
// Assumes a folder. Crashes are in test/durability; a full disk and a server that fails in trouble.test.ts.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, renameSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { frameAt } from "../../src/durable/frames.ts";
import { Group } from "../../src/durable/group.ts";
import { Room } from "../../src/durable/room.ts";
import { segmentsOf } from "../../src/durable/segments.ts";
import {
  AppendLog,
  type AppendLogOptions,
  type LogEntry,
  readLog,
  type SegmentInfo,
  tailLog,
} from "../../src/durable.ts";
import { code } from "../helpers/settled.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();

async function entries(path: string, from = 0): Promise<LogEntry[]> {
  const found: LogEntry[] = [];
  for await (const entry of readLog(path, { from })) found.push(entry);
  return found;
}
const texts = async (path: string, from = 0): Promise<string[]> =>
  (await entries(path, from)).map(({ data }) => data.toString());

describe("records", () => {
  test("come back whole and in order, at the offsets that append gave", async () => {
    const path = tmp.path();
    const records = ["", "one", "zwei ü €", Buffer.alloc(0), patternBytes(100_000), "\n", patternBytes(300_000, 7)];
    const log = await AppendLog.open(path);
    const offsets = await Promise.all(records.map((record) => log.append(record)));
    await log.close();
    const found = await entries(path);
    expect(found.map(({ offset }) => offset)).toEqual(offsets);
    expect(found.map(({ sequence }) => sequence)).toEqual(records.map((_, i) => i + 1));
    expect(
      found.map(({ data }) => data.equals(Buffer.from(records[found.findIndex((e) => e.data === data)]!))),
    ).toEqual(records.map(() => true));
    expect((await entries(path, offsets[3])).length).toBe(records.length - 3);
    expect((await entries(path, offsets[3]! + 1)).length).toBe(records.length - 4);
  });

  test("of many writers at once share groups, and none is lost", async () => {
    for (const preallocate of [0, 256 * 1024]) {
      const path = tmp.path();
      const log = await AppendLog.open(path, { preallocate });
      const writers = Array.from({ length: 64 }, async (_, writer) => {
        for (let i = 0; i < 20; i++) await log.append(`${writer}:${i}:${"x".repeat(200)}`);
      });
      await Promise.all(writers);
      const { records, groups } = log.stats();
      expect(records).toBe(1280);
      expect(groups).toBeLessThan(1280 / 8);
      await log.close();
      const found = await texts(path);
      expect(new Set(found).size).toBe(1280);
      for (let writer = 0; writer < 64; writer++) {
        const own = found.filter((text) => text.startsWith(`${writer}:`)).map((text) => Number(text.split(":")[1]));
        expect(own).toEqual(own.toSorted((a, b) => a - b));
      }
      // What was filled ahead is cut at close.
      expect(statSync(path).size).toBe((await entries(path)).reduce((sum, { data }) => sum + 20 + data.length, 32));
    }
  });

  test("of a group that is longer than a chunk of memory come back in order, in every framing, also by flushSync", async () => {
    // Lengths around the end of a chunk, of one that is as long as a chunk, and of one that is longer.
    const lengths = [...Array.from({ length: 3000 }, (_, i) => i % 577), 262_144 - 20, 262_144, 300_000, 5];
    const wanted = lengths.map((length, i) => String(i).padEnd(length, "z"));
    for (const durability of ["data", "none"] as const)
      for (const framing of ["records", "lines", "raw"] as const)
        for (const sync of [false, true]) {
          const path = tmp.path();
          const log = await AppendLog.open(path, { framing, durability });
          for (const text of wanted) log.write(framing === "lines" && text === wanted[7] ? `${text}\n` : text);
          if (sync) log.flushSync();
          await log.close();
          if (framing === "records") expect(await texts(path)).toEqual(wanted);
          else {
            const joined = framing === "raw" ? wanted.join("") : `${wanted.join("\n")}\n`;
            expect(readFileSync(path, "utf8") === joined).toBe(true);
          }
        }
  });

  test("are numbered anew over all chunks of a group", () => {
    const group = new Group("records", 100, 5);
    for (let i = 0; i < 3; i++) group.add("x".repeat(200_000));
    expect(frameAt(group.chunks[2]!, 0, 5)).toMatchObject({ sequence: 102, index: 2 });
    group.renumber(7, 99);
    expect(frameAt(group.chunks[2]!, 0, 5)).toBe(null);
    const frames = group.chunks.map((bytes) => frameAt(bytes, 0, 99));
    expect(frames.map((frame) => typeof frame === "object" && frame && [frame.sequence, frame.index])).toEqual([
      [7, 0],
      [8, 1],
      [9, 2],
    ]);
  });

  test("are taken as they were at the call", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { maxPendingBytes: 4096 });
    const record = Buffer.alloc(1000, "a");
    const appended = Array.from({ length: 20 }, () => log.append(record)); // most of them wait for room
    record.fill("b");
    await Promise.all(appended);
    await log.close();
    expect((await texts(path)).every((text) => text === "a".repeat(1000))).toBe(true);
  });

  test("go on where the log was closed", async () => {
    const path = tmp.path();
    for (let i = 0; i < 3; i++) {
      await using log = await AppendLog.open(path, { durability: "full" });
      expect(log.recovered).toMatchObject({ records: i * 2, cutBytes: 0 });
      await Promise.all([log.append(`${i}a`), log.append(`${i}b`)]);
    }
    expect(await texts(path)).toEqual(["0a", "0b", "1a", "1b", "2a", "2b"]);
    expect((await entries(path)).map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("wrong ones and wrong options are refused before anything is gathered", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { maxPendingBytes: 8192 });
    expect(await code(log.append(5 as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(await code(log.append(Buffer.alloc(9000)))).toBe("ERR_OUT_OF_RANGE");
    expect(() => log.write(null as never)).toThrow();
    expect(log.pendingBytes).toBe(0);
    await log.close();
    expect(await code(log.append("x"))).toBe("ERR_LOG_CLOSED");
    for (const wrong of [
      { durability: "some" },
      { framing: "json" },
      { onFull: "panic" },
      { maxPendingBytes: 1 },
      { preallocate: 4096, framing: "lines" },
      { recover: "maybe" },
      { onSegment: 1 },
      { rotate: { keep: -1 } },
    ])
      expect(await code(AppendLog.open(tmp.path(), wrong as never))).toStartWith("ERR_");
    expect(await code(AppendLog.open(5 as never))).toBe("ERR_INVALID_ARG_TYPE");
  });

  test("one writer each: the second hears who has it, and gets it afterwards", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    const error = await AppendLog.open(path).catch((thrown) => thrown);
    expect([error.code, error.holder]).toEqual(["ERR_LOCKED", process.pid]);
    await log.close();
    await (await AppendLog.open(path)).close();
  });
});

describe("what nobody waits for", () => {
  test("lines get their newline, flush waits for all, and a torn line is cut at the next opening", async () => {
    const path = tmp.path();
    const options: AppendLogOptions = { framing: "lines", durability: "none" };
    const log = await AppendLog.open(path, options);
    log.write("one\n");
    log.write("two");
    expect(await log.append("three")).toBe(8);
    log.write("");
    await log.flush();
    expect(readFileSync(path, "utf8")).toBe("one\ntwo\nthree\n\n");
    log.end("last");
    await new Promise((resolve) => log.once("close", resolve));
    writeFileSync(path, "torn", { flag: "a" });
    const again = await AppendLog.open(path, options);
    expect(again.recovered.cutBytes).toBe(4);
    await again.append("new");
    await again.close();
    expect(readFileSync(path, "utf8")).toBe("one\ntwo\nthree\n\nlast\nnew\n");
    writeFileSync(path, "torn", { flag: "a" });
    expect(await code(AppendLog.open(path, { ...options, recover: "error" }))).toBe("ERR_LOG_TORN");
  });

  test("write says when it is half full, drain follows, what is too much is dropped and counted", async () => {
    const log = await AppendLog.open(tmp.path(), { durability: "none", maxPendingBytes: 10_000, framing: "raw" });
    const drained = new Promise((resolve) => log.once("drain", resolve));
    const dropped = new Promise((resolve) => log.once("drop", resolve));
    const taken: boolean[] = [];
    for (let i = 0; i < 15; i++) taken.push(log.write("x".repeat(1000)));
    expect(taken.indexOf(false)).toBe(4);
    expect(log.pendingBytes).toBeLessThanOrEqual(10_000);
    expect(await dropped).toBe(6);
    await drained;
    expect(log.stats()).toMatchObject({ dropped: 6, pendingBytes: 0, records: 9 });
    await log.close();
    expect(statSync(log.path).size).toBe(9000);
  });

  test('onFull: append waits, or rejects; write throws with "reject"', async () => {
    const rejecting = await AppendLog.open(tmp.path(), { maxPendingBytes: 4096, onFull: "reject" });
    const outcomes = await Promise.all(Array.from({ length: 6 }, () => code(rejecting.append("x".repeat(1000)))));
    expect(outcomes.toSorted()).toEqual(
      ["ERR_LOG_FULL", "ERR_LOG_FULL", "resolved", "resolved", "resolved", "resolved"].toSorted(),
    );
    expect(() => {
      for (let i = 0; i < 10; i++) rejecting.write("x".repeat(1000));
    }).toThrow("wait to be written");
    await rejecting.close();
    const waiting = await AppendLog.open(tmp.path(), { maxPendingBytes: 4096 });
    await Promise.all(Array.from({ length: 50 }, () => waiting.append("x".repeat(1000))));
    expect(waiting.stats()).toMatchObject({ records: 50, dropped: 0 });
    await waiting.close();
  });

  test("flushSync writes at once, also behind a group that is under way", async () => {
    for (const framing of ["records", "lines"] as const) {
      const path = tmp.path();
      const log = await AppendLog.open(path, { framing });
      const first = log.append("under way");
      await new Promise((resolve) => setImmediate(resolve));
      const second = log.append("at once");
      log.flushSync();
      await Promise.all([first, second]);
      await log.append("afterwards");
      await log.close();
      if (framing === "records") expect(await texts(path)).toEqual(["under way", "at once", "afterwards"]);
      else
        expect(readFileSync(path, "utf8").trim().split("\n").toSorted()).toEqual([
          "afterwards",
          "at once",
          "under way",
        ]);
    }
  });
});

describe("flushSync makes room", () => {
  test("for appends that wait for it, and those who wait for drain hear of it", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { maxPendingBytes: 4096 });
    const waiting = [log.append("a".repeat(3000)), log.append("b".repeat(3000)), log.append("c".repeat(3000))];
    log.flushSync();
    const offsets = await Promise.all(waiting);
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
    const drained = Promise.withResolvers<void>();
    log.on("drain", () => drained.resolve());
    while (log.write("d".repeat(100)));
    log.flushSync();
    await drained.promise;
    // Also while the file is the upkeep's.
    const rotated = log.rotate();
    const behind = [log.append("e".repeat(3000)), log.append("f".repeat(3000))];
    for (let i = 0; i < 50; i++) {
      log.flushSync();
      await Promise.resolve();
    }
    await Promise.all([rotated, ...behind]);
    await log.close();
  });
});

describe("segments", () => {
  test("rotate by size and by hand; offsets and numbers go on; readers see one log", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { durability: "full", rotate: { maxBytes: 4000 } });
    const offsets: number[] = [];
    for (let i = 0; i < 40; i++) offsets.push(await log.append(`${i}`.padEnd(300)));
    await log.rotate();
    offsets.push(await log.append("last"));
    await log.close();
    const segments = readdirSync(dirname(path)).filter((name) => name.startsWith(`${basename(path)}.0`));
    expect(segments.length).toBeGreaterThan(2);
    const found = await entries(path);
    expect(found.map(({ offset }) => offset)).toEqual(offsets);
    expect(found.map(({ sequence }) => sequence)).toEqual(offsets.map((_, i) => i + 1));
    expect((await entries(path, offsets[30])).length).toBe(11);
  });

  test("compressed ones read the same; keep removes the oldest", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { rotate: { maxBytes: 2000, compress: true, keep: 2 } });
    for (let i = 0; i < 30; i++) await log.append(`${i}`.padEnd(300));
    const names = (): string[] => readdirSync(dirname(path)).filter((name) => name.startsWith(`${basename(path)}.0`));
    for (let i = 0; i < 200 && !(names().length === 2 && names().every((name) => name.endsWith(".gz"))); i++)
      await Bun.sleep(20);
    await log.close();
    expect(names().map((name) => name.slice(-3))).toEqual([".gz", ".gz"]);
    const found = await entries(path);
    const numbers = found.map(({ sequence }) => sequence);
    expect(numbers.at(-1)).toBe(30);
    expect(numbers).toEqual(Array.from(numbers, (_, i) => numbers[0]! + i));
  });

  test("onSegment has each in order, with its checksum, again until it succeeds, and after a restart", async () => {
    const path = tmp.path();
    const seen: SegmentInfo[] = [];
    let failures = 2;
    const options: AppendLogOptions = {
      rotate: { maxBytes: 1000 },
      onSegment: async (segment) => {
        if (failures-- > 0) throw new Error("not now");
        expect(Bun.hash.crc32(readFileSync(segment.path))).toBe(segment.crc);
        seen.push(segment);
      },
    };
    const log = await AppendLog.open(path, options);
    for (let i = 0; i < 12; i++) await log.append(`${i}`.padEnd(300));
    for (let i = 0; i < 100 && seen.length < 3; i++) await Bun.sleep(20);
    await log.close();
    const first = seen.length;
    expect(first).toBeGreaterThanOrEqual(3);
    for (const [i, segment] of seen.entries()) expect(segment.from).toBe(i === 0 ? 0 : seen[i - 1]!.to);
    const again = await AppendLog.open(path, options);
    await again.rotate(); // it is empty: nothing to end
    await again.append("x");
    await again.rotate();
    for (let i = 0; i < 100 && seen.length === first; i++) await Bun.sleep(20);
    await again.close();
    expect(seen.length).toBe(first + 1);
    expect(seen.at(-1)!.from).toBe(seen.at(-2)!.to);
  });

  test("what was not handed on is kept, however many that are; of two forms of a segment one counts", async () => {
    const path = tmp.path();
    let tries = 0;
    const options: AppendLogOptions = {
      rotate: { maxBytes: 1000, keep: 1 },
      onSegment: async () => {
        tries++;
        throw new Error("not now");
      },
    };
    const log = await AppendLog.open(path, options);
    for (let i = 0; i < 12; i++) await log.append(`${i}`.padEnd(300));
    const before = tries;
    while (tries < before + 2) await Bun.sleep(5); // what is too old is looked for after each
    await log.close();
    const there = await segmentsOf(path);
    expect(there.length).toBeGreaterThan(2);
    expect((await texts(path)).map(Number)).toEqual(Array.from({ length: 12 }, (_, i) => i));
    writeFileSync(`${there[0]!.path}.gz`, "half of one"); // as a crash while it was compressed leaves it
    expect(await segmentsOf(path)).toEqual(there);
  });

  test("a frame of before behind the last group is no record", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    for (const text of ["one", "two", "three"]) await log.append(text);
    const { end } = log.stats();
    await log.close();
    const [one, two] = await entries(path);
    const whole = readFileSync(path);
    const header = whole.length - end;
    writeFileSync(path, Buffer.concat([whole, whole.subarray(header + one!.offset, header + two!.offset)]));
    const again = await AppendLog.open(path);
    expect(again.stats().end).toBe(end);
    await again.append("four");
    await again.close();
    expect(await texts(path)).toEqual(["one", "two", "three", "four"]);
  });

  test("who waits for room is told of a failure", async () => {
    const room = new Room({ onFull: "wait", maxPendingBytes: 10 } as ConstructorParameters<typeof Room>[0]);
    const waiting = [room.wait("one"), room.wait(Buffer.from("two"))];
    room.refuseAll(Object.assign(new Error("lost"), { code: "LOST" }));
    expect(await Promise.all(waiting.map(code))).toEqual(["LOST", "LOST"]);
    expect(room.isOpen).toBe(true);
  });

  test("reopen goes on in a new file, as logrotate wants it", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { framing: "lines" });
    await log.append("old");
    renameSync(path, `${path}.1`);
    await log.append("still old");
    await log.reopen();
    await log.append("new");
    await log.close();
    expect([readFileSync(`${path}.1`, "utf8"), readFileSync(path, "utf8")]).toEqual(["old\nstill old\n", "new\n"]);
  });

  test("tail follows across a rotation until its signal fires", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    await log.append("0");
    const controller = new AbortController();
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { data } of tailLog(path, { signal: controller.signal })) {
        seen.push(data.toString());
        if (seen.length === 30) controller.abort();
      }
    })();
    for (let i = 1; i < 30; i++) {
      await log.append(String(i));
      if (i % 10 === 0) await log.rotate();
      if (i % 7 === 0) await Bun.sleep(5);
    }
    expect(await code(reading)).toBe("ABORT_ERR");
    expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => String(i)));
    await log.close();
  });
});

describe("recovery", () => {
  test("a log torn at every byte of its last group comes back to its last whole record", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    await log.append("kept one");
    await log.append("kept two");
    const kept = statSync(path).size;
    await Promise.all([log.append("torn a"), log.append("torn bb"), log.append("torn ccc")]);
    await log.close();
    const whole = readFileSync(path);
    const ends = [kept, kept + 26, kept + 53, whole.length];
    for (let length = kept; length < whole.length; length++) {
      for (const filled of [0, 64]) {
        // Cut, or the rest still the zeros that were filled ahead.
        writeFileSync(path, Buffer.concat([whole.subarray(0, length), Buffer.alloc(filled)]));
        const again = await AppendLog.open(path);
        const end = ends.findLast((at) => at <= length)!;
        const torn = whole.subarray(end, length);
        const last = torn.findLastIndex((byte) => byte !== 0);
        expect(again.recovered).toEqual({ records: 2 + ends.indexOf(end), bytes: end - 32, cutBytes: last + 1 });
        await again.append("new");
        await again.close();
        expect((await texts(path)).slice(0, 2)).toEqual(["kept one", "kept two"]);
        expect((await texts(path)).at(-1)).toBe("new");
      }
    }
    writeFileSync(path, whole.subarray(0, whole.length - 1));
    expect(await code(AppendLog.open(path, { recover: "error" }))).toBe("ERR_LOG_TORN");
    expect(readFileSync(path).equals(whole.subarray(0, whole.length - 1))).toBe(true);
  }, 60_000);

  test("pages of the last group that came out of order are cut; damage before a later group is refused", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path);
    await log.append("first group");
    const second = statSync(path).size;
    await Promise.all([log.append("second a"), log.append("second b")]);
    const third = statSync(path).size;
    await log.append("third");
    await log.close();
    const whole = readFileSync(path);
    // Of the second group only its second record has reached the disk: it was never acknowledged.
    const outOfOrder = Buffer.from(whole.subarray(0, third));
    outOfOrder.fill(0, second, second + 28);
    writeFileSync(path, outOfOrder);
    const again = await AppendLog.open(path);
    expect(again.recovered).toMatchObject({ records: 1, cutBytes: third - second });
    await again.close();
    // The third group is there, so the second was acknowledged: whatever has damaged it, it is not cut off.
    for (const at of [second, second + 5, second + 22, second + 30]) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 0xff;
      writeFileSync(path, damaged);
      expect(await code(AppendLog.open(path))).toBe("ERR_LOG_DAMAGED");
      expect(readFileSync(path).equals(damaged)).toBe(true);
    }
  });

  test("somebody else's file is not a log, and stays as it is; a torn header is begun anew", async () => {
    const path = tmp.file("this is a text that was here before any log was thought of");
    expect(await code(AppendLog.open(path))).toBe("ERR_LOG_FORMAT");
    expect(readFileSync(path, "utf8")).toStartWith("this is a text");
    const torn = tmp.path();
    await (await AppendLog.open(torn)).close();
    truncateSync(torn, 20);
    const log = await AppendLog.open(torn);
    await log.append("x");
    await log.close();
    expect(await texts(torn)).toEqual(["x"]);
    expect(existsSync(join(dirname(torn), "nothing"))).toBe(false);
  });
});
