// Owns what becomes of what was asked for in the turn of process.exit(): it is done, in the process and in a Worker, also
// where it takes several steps, and an operation that may wait for ever does not keep the process. Assumes processes of its
// own, one each.
// Never asks Bun's own API, which promises less.

import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ours } from "../helpers/backends.ts";
import { startFuse } from "../helpers/fuse.ts";
import { missing } from "../helpers/requirements.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const INDEX = join(import.meta.dir, "../../src/index.ts");

/** Runs a program in a folder, in a Worker or not: the body of an async function that ends with process.exit(7). */
async function runIn(dir: string, body: string, inWorker: boolean): Promise<void> {
  const program = `
    import { isMainThread } from "node:worker_threads";
    const main = async () => {
      const U = await import(${JSON.stringify(INDEX)});
      const dir = ${JSON.stringify(dir)};
      ${body}
    };
    if (${inWorker} && isMainThread) {
      const worker = new Worker(import.meta.path);
      await new Promise((resolve) => worker.addEventListener("close", resolve));
      process.exit(7);
    } else await main();
  `;
  writeFileSync(join(dir, "main.ts"), program);
  const child = Bun.spawn([process.execPath, join(dir, "main.ts")], { env: process.env, stderr: "inherit" });
  expect(await child.exited).toBe(7);
}

/** Runs a program whose last act is process.exit(7). `dir` is its folder; `handle` appends to its file "log". */
async function ends(body: string, inWorker: boolean): Promise<string> {
  const dir = tmp.folder();
  writeFileSync(join(dir, "log"), "");
  writeFileSync(join(dir, "lock"), "");
  const opened = `
      const handle = await U.open(dir + "/log", "a");
      await handle.write("first\\n");`;
  await runIn(dir, `${opened}\n${body}\nprocess.exit(7);`, inWorker);
  return dir;
}

const log = (dir: string): string[] => readFileSync(join(dir, "log"), "utf8").split("\n").filter(Boolean);

for (const inWorker of [false, true])
  describeUnless(ours === undefined && "the oracle alone", `process.exit() in a Worker: ${inWorker}`, () => {
    test("a write", async () => {
      expect(log(await ends(`void handle.write("last\\n");`, inWorker))).toEqual(["first", "last"]);
    });

    test("writes that wait for their turn, in order", async () => {
      const writes = `for (const line of ["a\\n", "b\\n", "c\\n"]) void handle.write(line); void handle.writeFile("d\\n");`;
      expect(log(await ends(writes, inWorker))).toEqual(["first", "a", "b", "c", "d"]);
    });

    test("a stream's writes, also those that it holds", async () => {
      const writes = `const stream = handle.createWriteStream(); for (const line of ["a\\n", "b\\n", "c\\n"]) stream.write(line);`;
      expect(log(await ends(writes, inWorker))).toEqual(["first", "a", "b", "c"]);
    });

    test("unlink, mkdir and writeFile", async () => {
      const dir = await ends(
        `void U.unlink(dir + "/lock"); void U.mkdir(dir + "/made"); void U.writeFile(dir + "/new", "content");`,
        inWorker,
      );
      expect([existsSync(join(dir, "lock")), existsSync(join(dir, "made"))]).toEqual([false, true]);
      if (process.env.BUN_URING_BACKEND !== "node") expect(readFileSync(join(dir, "new"), "utf8")).toBe("content");
    });

    test("what a listener of 'exit' asks for", async () => {
      const body = `process.on("exit", () => void handle.write("from the listener\\n")); await 0;`;
      expect(log(await ends(body, inWorker))).toEqual(["first", "from the listener"]);
    });

    // Bun waits for its own thread pool where a Worker ends.
    const waitsForPool = inWorker && process.env.BUN_URING_BACKEND === "node";
    testUnless(waitsForPool && "Bun waits for its pool", "nor does a FIFO that nobody reads", async () => {
      const body = `
        Bun.spawnSync(["mkfifo", dir + "/fifo"]);
        void U.writeFile(dir + "/fifo", "x");
        void handle.write("last\\n");`;
      expect(log(await ends(body, inWorker))).toEqual(["first", "last"]);
    });

    testUnless(waitsForPool && "Bun waits for its pool", "a read that waits for ever does not hold it up", async () => {
      const body = `
      Bun.spawnSync(["mkfifo", dir + "/fifo"]);
      const fifo = await U.open(dir + "/fifo", "r+");
      void fifo.read(Buffer.alloc(1)).catch(() => {});
      await Bun.sleep(10);
    `;
      expect(log(await ends(body, inWorker))).toEqual(["first"]);
    });
  });

const contents = new Map<string, Buffer>();

/** Content of a length, different for each name. */
function content(name: string, length: number): Buffer {
  const key = `${name} ${length}`;
  const known = contents.get(key) ?? Buffer.alloc(length, `${name} says something. `);
  contents.set(key, known);
  return known;
}

/** Files of the program below: what each holds before, and afterwards. */
const FILES: Record<string, (length: number) => [before: Buffer | null, after: Buffer]> = {
  new: (length) => [null, content("new", length)],
  longer: (length) => [content("old", 2 * length + 7), content("longer", length)],
  flushed: (length) => [content("old", 10), content("flushed", length)],
  limited: (length) => [null, content("limited", length)],
  appended: (length) => [content("old", 10), Buffer.concat([content("old", 10), content("appended", length)])],
  handle: (length) => [null, content("handle", length)],
  whole: (length) => [null, Buffer.concat([content("whole", length), content("then", 9)])],
  stream: (length) => [null, Buffer.concat([content("s1", length), content("s2", length), content("s3", 11)])],
  atomic: (length) => [content("old", 10), content("atomic", length)],
  copy: (length) => [content("old", length + 3), content("source", length)],
  log: (length) => [null, Buffer.concat([content("r1", length), content("r2", 5)])],
};

const WORK: Record<string, string> = {
  new: `void U.writeFile(at("new"), content("new"));`,
  longer: `void U.writeFile(at("longer"), content("longer"));`,
  flushed: `void U.writeFile(at("flushed"), content("flushed"), { flush: true });`,
  limited: `void U.writeFile(at("limited"), content("limited"), { signal: new AbortController().signal });`,
  appended: `void U.appendFile(at("appended"), content("appended"));`,
  handle: `void handle.write(content("handle"));`,
  whole: `void whole.writeFile(content("whole")); void whole.writeFile(content("then", 9));`,
  stream: `stream.write(content("s1")); stream.write(content("s2")); stream.write(content("s3", 11));`,
  atomic: `void D.writeFileAtomic(at("atomic"), content("atomic"));`,
  copy: `void U.copyFile(at("source"), at("copy"));`,
  log: `void log.append(content("r1")); void log.append(content("r2", 5));`,
};

/** Runs a program that does this work and ends at once, "turn", or when SIGTERM comes, or in a Worker. */
async function worksAndEnds(
  names: readonly string[],
  length: number,
  where: "turn" | "SIGTERM" | "Worker",
): Promise<string> {
  const dir = tmp.folder();
  writeFileSync(join(dir, "source"), content("source", length));
  for (const name of names) {
    const [before] = FILES[name]!(length);
    if (before !== null) writeFileSync(join(dir, name), before);
  }
  const work = names.map((name) => WORK[name]).join("\n");
  const body = `
      const D = await import(${JSON.stringify(join(import.meta.dir, "../../src/durable.ts"))});
      const at = (name) => dir + "/" + name;
      const content = (name, length = ${length}) => Buffer.alloc(length, name + " says something. ");
      const handle = await U.open(at("handle"), "w");
      const whole = await U.open(at("whole"), "w");
      const stream = (await U.open(at("stream"), "w")).createWriteStream();
      const log = await D.AppendLog.open(at("log"), { framing: "raw", durability: "none", maxPendingBytes: 2 ** 26 });
      const end = () => { ${work} process.exit(7); };
      if (${where !== "SIGTERM"}) return end();
      process.on("SIGTERM", end);
      process.kill(process.pid, "SIGTERM");
      setInterval(() => {}, 1000);`;
  await runIn(dir, body, where === "Worker");
  return dir;
}

/** Names of the files that are not as they must be, with how much of it they hold. */
function wrongIn(dir: string, names: readonly string[], length: number): string[] {
  return names.filter((name) => {
    const [, after] = FILES[name]!(length);
    return !existsSync(join(dir, name)) || !readFileSync(join(dir, name)).equals(after);
  });
}

const ALL = Object.keys(FILES);

describeUnless(ours === undefined && "the oracle alone", "work of several steps, and process.exit()", () => {
  for (const [length, title] of [
    [100, "100 B"],
    [600 * 1024, "600 KiB"],
    [3 * 2 ** 19 + 17, "1.5 MiB"], // of more than one chunk, in whatever chunks it goes
  ] as const) {
    for (const where of ["turn", "SIGTERM", "Worker"] as const) {
      test(`${title}, ${where === "turn" ? "in the same turn" : where === "SIGTERM" ? "in a handler of SIGTERM" : "in a Worker"}`, async () => {
        // Few at a time: what takes longer than a moment is given up.
        for (const names of length > 2 ** 20 ? [ALL.slice(0, 4), ALL.slice(4, 7), ALL.slice(7)] : [ALL]) {
          const dir = await worksAndEnds(names, length, where);
          expect(wrongIn(dir, names, length)).toEqual([]);
          expect(readdirSync(dir).filter((name) => name.startsWith(".bun-uring"))).toEqual([]);
        }
      }, 120_000);
    }
  }

  test("a thread pool that is full of reads which never end: whole files, folders, what a listener asks for", async () => {
    const dir = await ends(
      `Bun.spawnSync(["mkfifo", dir + "/fifo"]);
      const fifos = [];
      for (let i = 0; i < 12; i++) fifos.push(await U.open(dir + "/fifo", "r+"));
      process.on("exit", () => void handle.write("from the listener\\n"));
      await 0;
      for (const fifo of fifos) void fifo.read(Buffer.alloc(1)).catch(() => {});
      void U.writeFile(dir + "/new", "content");
      void U.writeFile(dir + "/lock", "longer");
      void U.mkdir(dir + "/a/b", { recursive: true });`,
      false,
    );
    expect(log(dir)).toEqual(["first", "from the listener"]);
    expect(["new", "lock"].map((name) => readFileSync(join(dir, name), "utf8"))).toEqual(["content", "longer"]);
    expect(existsSync(join(dir, "a/b"))).toBe(true);
  });

  const reason = missing(["fuse"]);
  test.skipIf(reason !== null)(
    `a file server is mounted elsewhere${reason === null ? "" : ` [skipped: ${reason}]`}`,
    async () => {
      await using _ = await startFuse();
      const dir = await worksAndEnds(ALL, 100, "turn");
      expect(wrongIn(dir, ALL, 100)).toEqual([]);
    },
  );

  test("truncate, and folders in folders", async () => {
    const dir = await ends(
      `void U.truncate(dir + "/log", 3); void U.mkdir(dir + "/a/b/c/", { recursive: true }); void U.mkdir(Buffer.from(dir + "/d/e"), { recursive: true });`,
      false,
    );
    expect(log(dir)).toEqual(["fir"]);
    expect([existsSync(join(dir, "a/b/c")), existsSync(join(dir, "d/e"))]).toEqual([true, true]);
  });
});
