// Owns the cases of early.test.ts: how a process of "auto" begins, each in a process of its own.
// Assumes an empty folder from the parent, and BUN_URING_BACKEND=auto.

import * as sync from "node:fs";
import * as bun from "node:fs/promises";
import { currentBackend } from "../../src/backend/choose.ts";
import * as early from "../../src/backend/early-calls.ts";
import * as ours from "../../src/promises.ts";
import { presence } from "../../src/ring/presence.ts";
import { runCases } from "../helpers/cases.ts";

type Call = (path: string) => Promise<unknown>;
type Failure = Error & Record<string, unknown>;

const hasRing = (): boolean => presence.ring !== null;
const error = (work: Promise<unknown>): Promise<Failure> =>
  work.then(
    () => null as never,
    (cause: Failure) => cause,
  );
const told = (cause: Failure): unknown => [Object.entries(cause), cause.message];
const block = (ms: number): void => {
  for (const until = performance.now() + ms; performance.now() < until; );
};

/** What a path is and what lies below it: names as bytes, types and permissions, contents and links' texts. */
function manifest(path: Buffer | string): unknown {
  const { mode } = sync.lstatSync(path);
  const type = mode & 0o170000;
  if (type === 0o120000) return [mode, sync.readlinkSync(path)];
  if (type !== 0o040000) return [mode, sync.readFileSync(path, "utf8")];
  const names = sync.readdirSync(path, { encoding: "buffer" }).map((name) => name.toString("latin1"));
  const at = (name: string): Buffer => Buffer.concat([Buffer.from(path as string), Buffer.from(`/${name}`, "latin1")]);
  return [mode, names.sort().map((name) => [name, manifest(at(name))])];
}

await runCases({
  /** Calls that are not plain, which Bun's own functions would do otherwise than Node, are none of backend/early-calls.ts's. */
  async notPlain(dir: string) {
    const again = (): Promise<never> => Promise.reject(new Error("the long way"));
    const [file, other] = [`${dir}/file`, `${dir}/other`];
    sync.writeFileSync(file, "content");
    const { signal } = new AbortController();
    const calls: [string, Promise<unknown> | null][] = [
      ["readFile of bytes", early.readFile(again, Buffer.from(file), undefined)],
      ["readFile, NUL", early.readFile(again, `${file}\0`, undefined)],
      ["readFile, flag", early.readFile(again, file, { flag: "r+" })],
      ["readFile, encoding", early.readFile(again, file, "hex")],
      ["readFile, signal", early.readFile(again, file, { signal })],
      ["readFile, timeout", early.readFile(again, file, { timeoutMs: 5 })],
      ["readFile, buffer", early.readFile(again, file, { buffer: Buffer.alloc(9) })],
      ["writeFile, flush", early.writeFile(again, other, "x", { flush: true })],
      ["writeFile, flag", early.writeFile(again, other, "x", { flag: "as" })],
      ["writeFile, mode", early.writeFile(again, other, "x", { mode: 2 ** 16 })],
      ["writeFile of chunks", early.writeFile(again, other, ["x"], undefined)],
      ["writeFile of nothing", early.writeFile(again, other, new Uint8Array(0), undefined)],
      ["appendFile, flush", early.appendFile(again, other, "x", { flush: true })],
      ["stat, signal", early.stat(again, file, { signal })],
      ["stat, throwIfNoEntry", early.stat(again, file, { throwIfNoEntry: false })],
      ["access, mode", early.access(again, file, 8)],
      ["readdir, recursive", early.readdir(again, dir, { recursive: true })],
      ["mkdir, mode", early.mkdir(again, other, { mode: -1 })],
      ["mkdir, untidy", early.mkdir(again, `${dir}/a/../b`, { recursive: true })],
      ["symlink, type", early.symlink(again, file, other, "file")],
      ["rmdir, options", early.rmdir(again, dir, { recursive: true })],
      ["copyFile, mode", early.copyFile(again, file, other, 1)],
      ["utimes before 1970", early.utimes(again, file, -1, 0)],
      ["rm, retries", early.rm(again, other, { maxRetries: -1 })],
    ];
    const taken = calls.filter(([, result]) => result !== null);
    await Promise.allSettled(taken.map(([, result]) => result));
    const plain = await early.readFile(again, file, "utf8");
    return { taken: taken.map(([name]) => name), plain, made: sync.readdirSync(dir) };
  },

  /** What a copy of a small tree loads of the ring's code, and of open files'. */
  async copied(dir: string) {
    sync.mkdirSync(`${dir}/a/b`, { recursive: true });
    for (const name of ["a/empty", "a/b/one"]) sync.writeFileSync(`${dir}/${name}`, "text".repeat(name.length % 5));
    await ours.cp(`${dir}/a`, `${dir}/tree`, { recursive: true });
    const loaded = Object.keys(require.cache).map((path) => path.replace(/.*\/src\//, ""));
    return [
      sync.readFileSync(`${dir}/tree/b/one`, "utf8").slice(0, 4),
      loaded.includes("tree/walk.ts"),
      loaded.filter((path) => /^(ring\/ring|memory\/pool|kernel\/shim|handle\/core)\.ts$/.test(path)),
    ];
  },

  /** Trees copied early and in the long way: which differ, and which were not copied early at all. */
  async trees(dir: string) {
    process.umask(0o027);
    const { cp } = await import("../../src/tree/cp.ts");
    const trees: Record<string, (root: string) => void> = {
      file: (root) => sync.writeFileSync(root, "text", { mode: 0o755 }),
      modes(root) {
        for (const [i, mode] of [0o600, 0o666, 0o4755, 0o2711, 0o444].entries()) {
          sync.writeFileSync(`${root}${i}`, `${mode}`);
          sync.chmodSync(`${root}${i}`, mode);
          sync.mkdirSync(`${root}d${i}`);
          sync.chmodSync(`${root}d${i}`, mode | 0o100);
        }
      },
      links(root) {
        sync.mkdirSync(`${root}in`);
        for (const [i, to] of ["/etc/hosts", "in", "./in/../in", "../x", "nothing", "."].entries())
          sync.symlinkSync(to, `${root}l${i}`);
        sync.symlinkSync("../in", `${root}in/up`);
      },
      deep: (root) => sync.mkdirSync(`${root}${"d/".repeat(12)}`, { recursive: true }),
      many(root) {
        for (let i = 0; i < 120; i++) sync.writeFileSync(`${root}${i}`, "x".repeat(i * 100));
      },
      tooMany(root) {
        for (let i = 0; i < 401; i++) sync.writeFileSync(`${root}${i}`, "");
      },
      tooDeep: (root) => sync.mkdirSync(`${root}${"d/".repeat(20)}`, { recursive: true }),
      hole(root) {
        sync.writeFileSync(`${root}a`, "text");
        sync.truncateSync(`${root}a`, 100_000);
      },
      bytes: (root) => sync.writeFileSync(Buffer.concat([Buffer.from(`${root}n`), Buffer.of(0xff)]), "text"),
    };
    const late: string[] = [];
    sync.mkdirSync(`${dir}/größe`);
    process.chdir(`${dir}/größe`);
    for (const [name, make] of Object.entries(trees)) {
      if (name !== "file") sync.mkdirSync(name);
      make(name === "file" ? name : `${name}/`);
      const long = async (): Promise<void> => void late.push(name);
      await early.cp(long, name, `${name}.early`, { recursive: true });
    }
    const isEarly = !hasRing(); // the long way may make one
    const differ: string[] = [];
    for (const name of Object.keys(trees).filter((name) => !late.includes(name))) {
      await cp(name, `${name}.long`, { recursive: true });
      const [ours, wanted] = ["early", "long"].map((how) => JSON.stringify(manifest(`${name}.${how}`)));
      if (ours !== wanted) differ.push(`${name}: ${ours} ${wanted}`);
    }
    return [isEarly, differ, late];
  },

  /** What cp refuses, and what it meets: early as ever. Gives what is there afterwards, too. */
  async copyRefused(dir: string) {
    const { cp } = await import("../../src/tree/cp.ts");
    const told: unknown[] = [];
    for (const [i, copy] of [cp, ours.cp].entries()) {
      const root = `${dir}/${i}`;
      sync.mkdirSync(`${root}/a/b`, { recursive: true });
      sync.writeFileSync(`${root}/a/b/file`, "text");
      sync.mkdirSync(`${root}/there/b`, { recursive: true });
      sync.writeFileSync(`${root}/there/b/file`, "old");
      sync.symlinkSync("a", `${root}/alias`);
      sync.symlinkSync("a/b", `${root}/inner`);
      sync.symlinkSync("../..", `${root}/a/b/up`);
      const calls: [string, string, object?][] = [
        ["a", "a/b/c", { recursive: true }],
        ["a", "alias/c", { recursive: true }],
        ["a", "inner/c", { recursive: true }],
        ["a", "a/b/up/a/c", { recursive: true }],
        ["a", "one"],
        ["none", "one", { recursive: true }],
        ["a/b/file", "missing/x/file"],
        ["a/b/file", "there"],
        ["a", "there/b/file", { recursive: true }],
        ["a", "there", { recursive: true }],
        ["a", "two", { recursive: true, force: undefined }],
        ["a", "two", { recursive: 1 }],
      ];
      const outcomes: unknown[] = [];
      for (const [from, to, options] of calls)
        await copy(`${root}/${from}`, `${root}/${to}`, options as never).then(
          () => outcomes.push("done"),
          (error) => outcomes.push(error.code, error.message.replaceAll(root, "")),
        );
      told.push(JSON.stringify([outcomes, manifest(root)]).replaceAll(root, ""));
    }
    return told;
  },

  /** Modes as Stats have them, with the type of the file, and those with special bits. */
  async modes(dir: string) {
    const long = (): Promise<never> => Promise.reject(new Error("the long way"));
    process.umask(0);
    const made: Record<string, number> = {};
    for (const mode of [0o640, 0o100640, 0o104755, 0o41777, 0o177777]) {
      const [file, folder] = [`${dir}/file${mode}`, `${dir}/folder${mode}`];
      await early.writeFile(long, file, "x", { mode });
      await early.mkdir(long, folder, { mode });
      made[`write ${mode.toString(8)}`] = sync.statSync(file).mode & 0o7777;
      made[`mkdir ${mode.toString(8)}`] = sync.statSync(folder).mode & 0o1777;
      await early.chmod(long, file, 0o600);
      await early.chmod(long, file, mode);
      made[`chmod ${mode.toString(8)}`] = sync.statSync(file).mode & 0o7777;
    }
    return Object.entries(made).filter(([name, is]) => {
      const [call, mode] = name.split(" ");
      return is !== (Number.parseInt(mode!, 8) & (call === "mkdir" ? 0o1777 : 0o7777));
    });
  },

  /** A file that is opened early to be appended to, and written through a ring. */
  async appending(dir: string) {
    sync.writeFileSync(`${dir}/file`, "kept ");
    const handle = await ours.open(`${dir}/file`, "a+");
    const early = !hasRing();
    const { name } = currentBackend(); // which settles it
    await handle.write("more");
    const { bytesRead } = await handle.read(Buffer.alloc(20));
    await handle.close();
    return { early, name, bytesRead, content: sync.readFileSync(`${dir}/file`, "utf8") };
  },

  /** What is under way at the exit is done once. */
  async ending(dir: string) {
    sync.writeFileSync(`${dir}/file`, "kept ");
    void ours.appendFile(`${dir}/file`, "and more");
    void ours.writeFile(`${dir}/new`, "content");
    void ours.mkdir(`${dir}/a/b`, { recursive: true });
    void ours.copyFile(`${dir}/file`, `${dir}/copy`);
    process.exit(0);
  },

  /** Descriptors have run out when a stream first asks where its file is: the library can't be loaded just then. */
  async noDescriptorToSeek() {
    const { nativeOrNull } = await import("../../src/kernel/shim.ts"); // so that only the library is lacking
    const backend = currentBackend();
    const taken: number[] = [];
    for (;;) {
      try {
        taken.push(sync.openSync("/dev/null", "r"));
      } catch {
        break;
      }
    }
    const without = [backend.seek, nativeOrNull()];
    for (const fd of taken) sync.closeSync(fd);
    return { without, later: typeof backend.seek };
  },

  /** What programs do: a look, small files, a folder, a stream, a copy, a tree. */
  async program(dir: string) {
    await ours.mkdir(`${dir}/a/b`, { recursive: true });
    await ours.writeFile(`${dir}/a/one`, "one", { encoding: "utf8", mode: 0o600 });
    await ours.appendFile(`${dir}/a/one`, Buffer.from(" and two"));
    sync.writeFileSync(`${dir}/a/large`, Buffer.alloc(3_000_000, "x"));
    await ours.copyFile(`${dir}/a/large`, `${dir}/a/b/copied`);
    await ours.cp(`${dir}/a`, `${dir}/tree`, { recursive: true });
    await ours.rename(`${dir}/tree`, `${dir}/moved`);
    const handle = await ours.open(`${dir}/moved/large`);
    let streamed = 0;
    for await (const chunk of handle.createReadStream()) streamed += chunk.length;
    const text = await ours.readFile(`${dir}/moved/one`, "utf8");
    const names = (await ours.readdir(`${dir}/moved`, { withFileTypes: true })).map((entry) => entry.name).sort();
    await ours.rm(`${dir}/a`, { recursive: true, force: true, maxRetries: 2 });
    const { mode, size } = await ours.stat(`${dir}/moved/one`);
    const copied = sync.statSync(`${dir}/moved/b/copied`).size;
    return [text, names, streamed, copied, sync.existsSync(`${dir}/a`), mode & 0o777, size, hasRing()];
  },

  /** A stream of some chunks, and one of many, which is read ahead by the library's help. */
  async streams(dir: string) {
    const hasLibrary = (): boolean => sync.readFileSync("/proc/self/maps", "utf8").includes("liburing-shim");
    const seen = [];
    for (const bytes of [600_000, 3_000_000]) {
      sync.writeFileSync(`${dir}/file`, Buffer.alloc(bytes, "x"));
      const handle = await ours.open(`${dir}/file`);
      let streamed = 0;
      for await (const chunk of handle.createReadStream()) streamed += chunk.length;
      seen.push(streamed, hasLibrary());
    }
    return [...seen, hasRing()];
  },

  /** Streams on descriptors of the program's own. */
  async adopted(dir: string) {
    const { createReadStream, createWriteStream } = await import("../../src/fs.ts");
    const out = createWriteStream("", { fd: sync.openSync(`${dir}/file`, "w") });
    await new Promise((resolve) => out.on("close", resolve).end("content"));
    const chunks: unknown[] = [];
    for await (const chunk of createReadStream("", { fd: sync.openSync(`${dir}/file`, "r"), start: 3 }))
      chunks.push(`${chunk}`);
    const early = hasRing();
    // And such a stream goes on over the moment when there is one.
    const late = createReadStream("", { fd: sync.openSync(`${dir}/file`, "r"), encoding: "utf8" });
    void currentBackend().name;
    for await (const chunk of late) chunks.push(chunk);
    return [...chunks, early];
  },

  async many(dir: string) {
    sync.writeFileSync(`${dir}/file`, "content");
    const handle = await ours.open(`${dir}/file`);
    const buffer = Buffer.alloc(4);
    const had = [];
    for (let i = 0; i < 5100; i++) {
      await handle.read(buffer, 0, 4, 0);
      if (i === 4000) had.push(hasRing());
    }
    await handle.close();
    return [...had, hasRing()];
  },

  /** A thread that is busy does not hear of what has ended: nothing is stuck for that. */
  async busy(dir: string) {
    sync.writeFileSync(`${dir}/file`, "content");
    await ours.stat(`${dir}/none`).catch(() => {}); // which has ended, too
    block(50);
    const texts = [await ours.readFile(`${dir}/file`, "utf8")];
    for (let i = 0; i < 5; i++) {
      const first = ours.readFile(`${dir}/file`, "utf8");
      block(50);
      texts.push(await ours.readFile(`${dir}/file`, "utf8"), await first);
    }
    return [texts.every((text) => text === "content"), hasRing()];
  },

  /** More FIFOs without a writer than the pool has threads. */
  async stuck(dir: string) {
    sync.writeFileSync(`${dir}/file`, "content");
    const fifo = `${dir}/fifo`;
    Bun.spawnSync(["mkfifo", fifo]);
    for (let i = 0; i < 40; i++) void ours.readFile(fifo, "utf8");
    await Bun.sleep(100);
    const text = await ours.readFile(`${dir}/file`, "utf8");
    const had = hasRing();
    setTimeout(() => process.exit(0), 50); // nobody ever writes
    return [text, had];
  },

  /** Plain looks against Bun's own functions. */
  async looks(dir: string) {
    const [file, link] = [`${dir}/file`, `${dir}/link`];
    sync.writeFileSync(file, "content äöü");
    sync.symlinkSync("file", link);
    sync.mkdirSync(`${dir}/folder`);
    const same: Record<string, boolean> = {};
    const compare = (name: string, one: unknown, other: unknown): void => {
      same[name] = Bun.deepEquals(one, other, true);
    };
    const plain = (stats: sync.Stats | sync.BigIntStats): unknown => Object.entries(stats);
    for (const path of [file, link, `${dir}/folder`, "/proc/self/stat", "/dev/null"]) {
      for (const bigint of [false, true]) {
        compare(`stat ${path}`, plain(await ours.stat(path, { bigint })), plain(await bun.stat(path, { bigint })));
        compare(`lstat ${path}`, plain(await ours.lstat(path, { bigint })), plain(await bun.lstat(path, { bigint })));
      }
    }
    const stats = await ours.stat(file);
    compare("class", [stats instanceof sync.Stats, stats.isFile()], [true, true]);
    compare("realpath", await ours.realpath(link), await bun.realpath(link));
    compare("text", await ours.readFile(link, "utf8"), "content äöü");
    const bytes = await ours.readFile(link);
    compare("bytes", [bytes, bytes.buffer.byteLength], [Buffer.from("content äöü"), bytes.length]);
    compare("endless", (await ours.readFile("/proc/self/mountinfo")).length > 0, true);
    for (const name of ["stat", "lstat", "access", "realpath", "readFile"] as const) {
      const missing = `${dir}/none`;
      const call = (fs: object): Call => (fs as Record<string, Call>)[name]!;
      const [one, other] = [await error(call(ours)(missing)), await error(call(bun)(missing))];
      compare(`${name} of nothing`, one.message, other.message);
      compare(`${name} of nothing, keys`, Object.keys(one), ["errno", "code", "syscall", "path"]);
    }
    return [Object.keys(same).filter((name) => !same[name]), hasRing()];
  },

  /** Options with getters are read once, and what those throw is a rejection. */
  async options(dir: string) {
    const reads: Record<string, number> = {};
    const counted = (values: Record<string, unknown>): any =>
      new Proxy(values, {
        get(target, name: string) {
          reads[name] = (reads[name] ?? 0) + 1;
          return target[name];
        },
      });
    await ours.writeFile(`${dir}/file`, "text", counted({ flag: "w", signal: new AbortController().signal }));
    await ours.writeFile(`${dir}/file`, "text", counted({ encoding: "latin1" }));
    const first = { ...reads };
    for (const name in reads) reads[name] = 0;
    await ours.readFile(`${dir}/file`, counted({ flag: "r+" }));
    await ours.readdir(dir, counted({ recursive: true }));
    await ours.stat(dir, counted({ throwIfNoEntry: false }));
    const thrown = await error(
      ours.readFile(`${dir}/file`, {
        get encoding(): never {
          throw new Error("mine");
        },
      }),
    );
    return [Math.max(...Object.values(first)), Math.max(...Object.values(reads)), thrown.message];
  },

  /** The errors of plain calls are Node's, and name who has waited. */
  async errors(dir: string) {
    sync.writeFileSync(`${dir}/file`, "");
    const below = `${dir}/file/x`;
    async function theCaller(work: () => Promise<unknown>): Promise<void> {
      await work();
    }
    const calls: Record<string, () => Promise<unknown>> = {
      stat: () => ours.stat(below),
      readFile: () => ours.readFile(below),
      writeFile: () => ours.writeFile(below, ""),
      mkdir: () => ours.mkdir(below),
      rename: () => ours.rename(below, `${dir}/y`),
      unlink: () => ours.unlink(below),
      readdir: () => ours.readdir(below),
    };
    const silent = [];
    for (const [name, call] of Object.entries(calls))
      if (!String((await error(theCaller(call))).stack).includes("theCaller")) silent.push(name);
    const renamed = await error(ours.rename(below, `${dir}/y`));
    if (!String(renamed.stack).startsWith(`Error: ${renamed.message}`)) silent.push("rename, awaited by nobody");
    renamed.stack = "another";
    if (renamed.stack !== "another") silent.push("rename, with another stack");
    return [silent, told(renamed), told(await error(ours.rm(`${dir}/none`))), told(await error(ours.rmdir(dir)))];
  },
});
