// `make bench-log`: AppendLog beside what people write by hand, bun:sqlite and C; and log lines nobody waits for beside Bun's
// FileSink and sonic-boom. All in one process, in alternating rounds; shown are medians.
// Assumes a folder on a real disk file system. sonic-boom is installed into the bench's own folder, where npm can be reached.
// The loop gap is without the time in which the thread had no processor.

import { Database } from "bun:sqlite";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { AppendLog, writeFileAtomic } from "../src/durable.ts";
import { environmentOf } from "./lib/environment.ts";
import { LoopMonitor, now } from "./lib/loop-monitor.ts";

const ROUNDS = Number(process.env["ROUNDS"] ?? 7);
const ROUND_MS = Number(process.env["ROUND_MS"] ?? 400);
const [WRITERS, RECORD_BYTES, FRAME_BYTES] = [64, 256, 20];
const [LINES, LINES_A_TURN, LINE_BYTES] = [200_000, 1000, 128];
const FILES = 256;
const ZEROS = 64 * 1024 * 1024;
const dir = mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "bench-log-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
let files = 0;
const newPath = (): string => join(dir, `f${files++}`);

interface Result {
  /** Nanoseconds a record, or a line. */
  ns: number;
  /** User time a group, µs; a line's user and system time, ns. */
  cpu: number;
  gapMs: number;
  /** Of a line: nanoseconds in the caller. */
  callNs?: number;
}

/** A contender's round; it resolves when all that it has written is as durable as it says. */
interface Contender {
  label: string;
  run(): Promise<Result>;
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const record = Buffer.alloc(RECORD_BYTES, "x");
const monitor = new LoopMonitor();

async function timed(work: () => Promise<{ records: number; groups: number }>): Promise<Result> {
  monitor.start();
  await Bun.sleep(20);
  const cpu = process.cpuUsage();
  const start = now();
  const { records, groups } = await work();
  const ns = (now() - start) / records;
  const { user } = process.cpuUsage(cpu);
  return { ns, cpu: user / groups, gapMs: monitor.stop() };
}

/* ---- durable appends ----------------------------------------------------------------------------------------------- */

/** 64 writers, each waiting for its record before it appends the next, until the time is over. */
async function writers(append: () => Promise<unknown>): Promise<number> {
  const until = now() + ROUND_MS * 1e6;
  let records = 0;
  const writer = async (): Promise<void> => {
    while (now() < until) {
      await append();
      records++;
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
  return records;
}

const appendLog = (label: string, preallocate: number): Contender => ({
  label,
  async run() {
    const log = await AppendLog.open(newPath(), { preallocate });
    if (preallocate > 0) await Bun.sleep(300); // as in C, the zeros are there before the clock starts
    const result = await timed(async () => {
      const records = await writers(() => log.append(record));
      return { records, groups: log.stats().groups };
    });
    await log.close();
    return result;
  },
});

const byHand: Contender = {
  label: "node:fs/promises write + datasync",
  async run() {
    const handle = await open(newPath(), "a");
    const result = await timed(async () => {
      const records = await writers(async () => {
        await handle.write(record);
        await handle.datasync();
      });
      return { records, groups: records / WRITERS };
    });
    await handle.close();
    return result;
  },
};

const sqlite: Contender = {
  label: "bun:sqlite, WAL, FULL, 64 a transaction",
  async run() {
    const db = new Database(newPath());
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA synchronous = FULL");
    db.run("CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB)");
    const insert = db.prepare("INSERT INTO log (data) VALUES (?)");
    const group = db.transaction(() => {
      for (let i = 0; i < WRITERS; i++) insert.run(record);
    });
    const result = await timed(async () => {
      const until = now() + ROUND_MS * 1e6;
      let groups = 0;
      for (; now() < until; groups++) {
        group();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return { records: groups * WRITERS, groups };
    });
    db.close();
    return result;
  },
};

const inC = (label: string, fill: number): Contender => ({
  label,
  async run() {
    const bytes = WRITERS * (RECORD_BYTES + FRAME_BYTES);
    const program = join(import.meta.dir, "..", "build", "bench", "append");
    const child = Bun.spawn([program, newPath(), String(bytes), String(ROUND_MS), String(fill)], { stdout: "pipe" });
    const [groups, ns] = (await child.stdout.text()).split(" ").map(Number) as [number, number];
    if ((await child.exited) !== 0) throw new Error("the C program failed");
    const { cpuTime } = child.resourceUsage()!;
    return { ns: ns / groups / WRITERS, cpu: Number(cpuTime.user) / groups, gapMs: 0 };
  },
});

/* ---- lines nobody waits for ---------------------------------------------------------------------------------------- */

/** What a logger writes to. */
interface Sink {
  write(line: string): unknown;
  end(): Promise<unknown>;
}

const lines = Array.from(
  { length: LINES_A_TURN },
  (_, i) => `${`{"level":30,"n":${i},"msg":"`.padEnd(LINE_BYTES - 3, "m")}"}\n`,
);

const lineWriter = (label: string, make: () => Promise<Sink>): Contender => ({
  label,
  async run() {
    const sink = await make();
    let inCaller = 0;
    const cpu = process.cpuUsage();
    const result = await timed(async () => {
      for (let sent = 0; sent < LINES; sent += LINES_A_TURN) {
        const start = now();
        for (const line of lines) sink.write(line);
        inCaller += now() - start;
        await new Promise((resolve) => setImmediate(resolve));
      }
      await sink.end();
      return { records: LINES, groups: 1 };
    });
    const used = process.cpuUsage(cpu);
    return { ...result, cpu: ((used.user + used.system) * 1000) / LINES, callNs: inCaller / LINES };
  },
});

const logLines = lineWriter("AppendLog, lines", async () => {
  const log = await AppendLog.open(newPath(), {
    framing: "lines",
    durability: "none",
    maxPendingBytes: 256 * 1024 * 1024,
  });
  return { write: (line) => log.write(line), end: () => log.close() };
});
const fileSink = lineWriter("FileSink", async () => {
  const sink = Bun.file(newPath()).writer();
  return { write: (line) => sink.write(line), end: async () => sink.end() };
});

interface SonicBoom {
  write(line: string): boolean;
  end(): void;
  once(event: string, listener: () => void): void;
}
type MakeSonicBoom = new (options: Record<string, unknown>) => SonicBoom;

const sonicBoom = (label: string, SonicBoom: MakeSonicBoom, sync: boolean): Contender =>
  lineWriter(label, async () => {
    const sonic = new SonicBoom({ dest: newPath(), sync, minLength: 4096 });
    if (!sync) await new Promise<void>((resolve) => sonic.once("ready", resolve));
    const end = (): Promise<void> =>
      new Promise((resolve) => {
        sonic.once("close", resolve);
        sonic.end();
      });
    return { write: (line) => sonic.write(line), end };
  });

/** From the bench's own folder; null where it can't be installed. */
async function findSonicBoom(): Promise<MakeSonicBoom | null> {
  const folder = join(dir, "sonic-boom");
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), "{}");
  const child = Bun.spawn([process.execPath, "add", "--silent", "sonic-boom@4.2.0"], { cwd: folder, stderr: "ignore" });
  if ((await child.exited) !== 0) return null;
  return (await import(join(folder, "node_modules", "sonic-boom", "index.js"))).default;
}

/* ---- whole files, each the old or the new one ---------------------------------------------------------------------- */

/** 256 files of 4 KiB in one folder, 64 at a time, on the device with their names when they resolve. */
const wholeFiles = (label: string, replace: (path: string, data: Buffer) => Promise<unknown>): Contender => ({
  label,
  async run() {
    const folder = newPath();
    mkdirSync(folder);
    const data = Buffer.alloc(4096, "x");
    return timed(async () => {
      let next = 0;
      const worker = async (): Promise<void> => {
        while (next < FILES) await replace(join(folder, `f${next++ % (FILES / 2)}`), data);
      };
      await Promise.all(Array.from({ length: WRITERS }, worker));
      return { records: FILES, groups: FILES };
    });
  },
});

async function replaceByHand(path: string, data: Buffer): Promise<void> {
  const temporary = `${path}.${process.pid}.${files++}.tmp`;
  const handle = await open(temporary, "wx");
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

async function compare(contenders: readonly Contender[]): Promise<Map<string, Result>> {
  const results = contenders.map(() => [] as Result[]);
  for (let round = -1; round < ROUNDS; round++)
    for (let i = 0; i < contenders.length; i++) {
      const index = (i + round + 1) % contenders.length;
      const result = await contenders[index]!.run();
      if (round >= 0) results[index]!.push(result); // the first is to warm up
    }
  return new Map(
    contenders.map(({ label }, i) => {
      const of = (field: (result: Result) => number): number => median(results[i]!.map(field));
      const [ns, cpu, gapMs] = [of(({ ns }) => ns), of(({ cpu }) => cpu), of(({ gapMs }) => gapMs)];
      return [label, { ns, cpu, gapMs, callNs: of(({ callNs }) => callNs ?? 0) }];
    }),
  );
}

const { cpu, cores, kernel, fileSystem, device, bun } = environmentOf(dir, null);
console.log(
  `${cpu}, ${cores} processors, ${kernel}, ${fileSystem} on ${device}, Bun ${bun}; medians of ${ROUNDS} rounds\n`,
);

const SonicBoom = await findSonicBoom();
const others =
  SonicBoom === null
    ? []
    : [sonicBoom("sonic-boom, async", SonicBoom, false), sonicBoom("sonic-boom, sync", SonicBoom, true)];
// Apart: the garbage that sonic-boom leaves in the heap is collected in everybody's rounds.
const unwaited = [...(await compare([logLines, fileSink])), ...(await compare(others))];
console.log("| lines of 128 bytes, nobody waits | ns a line | in the caller | CPU, ns | loop gap, ms |");
console.log("|---|---|---|---|---|");
for (const [label, result] of unwaited)
  console.log(
    `| ${label} | ${result.ns.toFixed(0)} | ${result.callNs!.toFixed(0)} | ${result.cpu.toFixed(0)} | ${result.gapMs.toFixed(1)} |`,
  );

const growing = appendLog("AppendLog", 0);
const filled = appendLog("AppendLog, zeros ahead", ZEROS);
const durable = await compare([
  growing,
  filled,
  byHand,
  sqlite,
  inC("C: one write, one fdatasync a group", 0),
  inC("C, into a file of zeros", ZEROS),
]);
const hand = durable.get(byHand.label)!.ns;
console.log(
  "\n| 64 writers, 256 bytes, durable | µs a record | × as fast as by hand | user CPU a group, µs | loop gap, ms |",
);
console.log("|---|---|---|---|---|");
for (const [label, result] of durable) {
  const gap = label.startsWith("C") ? "" : result.gapMs.toFixed(1);
  console.log(
    `| ${label} | ${(result.ns / 1000).toFixed(1)} | ${(hand / result.ns).toFixed(1)} | ${result.cpu.toFixed(0)} | ${gap} |`,
  );
}

const atomic = await compare([
  wholeFiles("writeFileAtomic, full", (path, data) => writeFileAtomic(path, data)),
  wholeFiles("node:fs/promises, the same steps", replaceByHand),
]);
console.log("\n| 4 KiB replaced, 64 at a time | µs a file | user CPU, µs | loop gap, ms |");
console.log("|---|---|---|---|");
for (const [label, { ns, cpu, gapMs }] of atomic)
  console.log(`| ${label} | ${(ns / 1000).toFixed(0)} | ${cpu.toFixed(0)} | ${gapMs.toFixed(1)} |`);
