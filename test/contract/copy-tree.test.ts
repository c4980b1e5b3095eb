// Owns copyTree: what arrives, what it does with what is there, what it refuses, how it ends early.
// Assumes node:fs, cp and find as judges. Runs on the backend of the process. Never compares access times of what the
// comparison itself has read.

import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { backend, copyTree, cp, rm, type TreeCounts } from "../../src/index.ts";
import { asUser, NOBODY } from "../helpers/as-user.ts";
import { rejection } from "../helpers/expect-error.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const isRoot = process.getuid?.() === 0;
const coded = (code: string): object => expect.objectContaining({ code });

/** Every entry below a folder: type, mode, modification time to the nanosecond, link target, contents. */
function snapshot(root: string): Record<string, string> {
  const seen: Record<string, string> = {};
  const visit = (path: string, name: string): void => {
    const stats = lstatSync(path, { bigint: true });
    const common = `${stats.mode.toString(8)} ${stats.mtimeNs}`;
    if (stats.isDirectory()) {
      seen[name] = common;
      for (const entry of readdirSync(path)) visit(join(path, entry), `${name}/${entry}`);
    } else if (stats.isSymbolicLink()) seen[name] = `${common} -> ${readlinkSync(path)}`;
    else if (stats.isFile()) seen[name] = `${common} ${Bun.hash(readFileSync(path))}`;
    else seen[name] = "special";
  };
  visit(root, ".");
  return seen;
}

/** Gives every entry a modification time of its own, in whole milliseconds. */
function setTimes(root: string): void {
  let ms = 1_000_000_000_123;
  const set = (path: string): void => {
    ms += 1_111_007;
    if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) set(join(path, name));
    lutimesSync(path, ms / 1000 - 5, ms / 1000);
  };
  set(root);
}

/** As it is on io_uring; with times to the nearest 10 µs elsewhere, where they pass through node:fs as doubles. */
function rounded(tree: Record<string, string>): Record<string, string> {
  if (backend === "io_uring") return tree;
  const round = (text: string): string =>
    text.replace(/^(\d+) (\d+)/, (_, mode, ns) => `${mode} ${Math.round(Number(ns) / 10_000)}`);
  return Object.fromEntries(Object.entries(tree).map(([name, text]) => [name, round(text)]));
}

/** Folders, files of all sizes, odd names and modes, links: what trees are made of. */
function makeTree(): string {
  const root = tmp.folder("tree");
  for (const folder of ["a", "a/deep", "a/deep/er", "empty", "many", "spaß und ✓"]) mkdirSync(join(root, folder));
  for (const [name, size] of [
    ["zero", 0],
    ["a/one", 1],
    ["a/deep/page", 4096],
    ["a/deep/er/border", 128 * 1024],
    ["a/over", 128 * 1024 + 1],
    ["large", 3_000_001],
    ["spaß und ✓/naïve", 77],
  ] as const)
    writeFileSync(join(root, name), patternBytes(size, size + 1));
  for (let i = 0; i < 150; i++) writeFileSync(join(root, "many", `file-${i}`), patternBytes(i * 13, i));
  for (const [name, mode] of [
    ["zero", 0o600],
    ["a/one", 0o4755],
    ["a/over", 0o666],
    ["large", 0o444],
    ["many/file-1", 0o777],
    ["many/file-2", 0o400],
    ["empty", 0o711],
    ["a/deep", 0o555],
  ] as const)
    chmodSync(join(root, name), mode);
  symlinkSync("../zero", join(root, "a", "link"));
  symlinkSync("/nowhere/at/all", join(root, "dangling"));
  symlinkSync("a", join(root, "to-folder"));
  setTimes(root);
  return root;
}

describe("a whole tree", () => {
  test("arrives with contents, modes, times and links, and is counted", async () => {
    const from = makeTree();
    const to = tmp.path("copy");
    const counts = await copyTree(from, to);
    expect(rounded(snapshot(to))).toEqual(rounded(snapshot(from)));
    const bytes = Object.keys(snapshot(from))
      .map((name) => lstatSync(join(from, name)))
      .filter((stats) => stats.isFile())
      .reduce((sum, { size }) => sum + size, 0);
    expect(counts).toEqual({ files: 157, directories: 7, symlinks: 3, bytes, skipped: 0 });
    expect(tmp.openFiles()).toEqual([]);
  });

  for (const options of [{ concurrency: 1 }, { concurrency: 256 }, { direct: true }]) {
    test(`${JSON.stringify(options)}: the same`, async () => {
      const from = makeTree();
      const to = tmp.path("copy");
      await copyTree(from, to, options);
      expect(rounded(snapshot(to))).toEqual(rounded(snapshot(from)));
    });
  }

  test("a second time over the first: nothing changes, and nothing is in the way", async () => {
    const from = makeTree();
    const to = tmp.path("copy");
    const first = await copyTree(from, to);
    expect(await copyTree(from, to)).toEqual(first);
    expect(rounded(snapshot(to))).toEqual(rounded(snapshot(from)));
  });

  test("names that are no UTF-8, and paths longer than 255 bytes", async () => {
    const from = tmp.folder();
    const odd = Buffer.concat([Buffer.from(`${from}/`), Buffer.from([0xff, 0xfe, 0x41])]);
    mkdirSync(odd);
    writeFileSync(Buffer.concat([odd, Buffer.from([0x2f, 0xc3])]), "odd");
    let long = from;
    for (let i = 0; i < 4; i++) long = join(long, "x".repeat(100));
    mkdirSync(long, { recursive: true });
    writeFileSync(join(long, "y".repeat(200)), "long");
    symlinkSync("z".repeat(300), join(long, "link"));
    execFileSync("find", [from, "-depth", "-exec", "touch", "-h", "-d", "@1000000000.125", "{}", "+"]);
    const digits = backend === "io_uring" ? /$^/gm : /\d{7}$/gm;
    const to = tmp.path();
    await copyTree(from, to);
    execFileSync("diff", ["-r", "--no-dereference", from, to]);
    const times = (root: string): string =>
      execFileSync("find", [".", "-printf", "%P %m %y %T@\n"], { cwd: root, encoding: "latin1" });
    const sorted = (root: string): string[] => times(root).replace(digits, "").split("\n").sort();
    expect(sorted(to)).toEqual(sorted(from));
  });

  test("a single file, a single link; missing folders above the target are made", async () => {
    const file = tmp.file("content");
    const to = join(tmp.path(), "b", "c");
    expect(await copyTree(file, to)).toMatchObject({ files: 1, bytes: 7 });
    expect(readFileSync(to, "utf8")).toBe("content");
    const link = tmp.path();
    symlinkSync("some/where", link);
    const copy = tmp.path();
    expect(await copyTree(link, copy)).toMatchObject({ symlinks: 1, files: 0 });
    expect(readlinkSync(copy)).toBe("some/where");
  });

  test("400 files leave no descriptor open and never take more than the limit", async () => {
    const from = tmp.folder();
    for (let i = 0; i < 400; i++) writeFileSync(join(from, `${i}`), `${i}`);
    let most = 0;
    const timer = setInterval(() => {
      most = Math.max(most, tmp.openFiles().length);
    }, 10);
    const to = tmp.path();
    expect((await copyTree(from, to, { concurrency: 8 })).files).toBe(400);
    clearInterval(timer);
    for (let i = 0; i < 400; i += 37) expect(readFileSync(join(to, `${i}`), "utf8")).toBe(`${i}`);
    expect(tmp.openFiles()).toEqual([]);
    expect(most).toBeLessThanOrEqual(8 * 2 + 4);
  });
});

describe("what is there already", () => {
  test("folders are merged, files overwritten to their length, links and special files replaced", async () => {
    const from = tmp.folder();
    mkdirSync(join(from, "sub"));
    for (const name of ["longer", "shorter", "was-link", "was-fifo", "sub/x"]) writeFileSync(join(from, name), name);
    symlinkSync("new", join(from, "link"));
    symlinkSync("new", join(from, "link-over-file"));
    setTimes(from);
    const to = tmp.folder();
    mkdirSync(join(to, "sub"), { mode: 0o700 });
    writeFileSync(join(to, "longer"), "l");
    writeFileSync(join(to, "shorter"), "a much longer content than the new one");
    chmodSync(join(to, "shorter"), 0o606);
    const outside = tmp.file("outside");
    symlinkSync(outside, join(to, "was-link"));
    execFileSync("mkfifo", [join(to, "was-fifo")]);
    symlinkSync("old", join(to, "link"));
    writeFileSync(join(to, "link-over-file"), "x");
    writeFileSync(join(to, "sub", "kept"), "kept");
    await copyTree(from, to);
    expect(readFileSync(outside, "utf8")).toBe("outside"); // never through a link
    expect(readFileSync(join(to, "sub", "kept"), "utf8")).toBe("kept");
    const { "./sub/kept": _, ...copied } = rounded(snapshot(to));
    expect(copied).toEqual(rounded(snapshot(from)));
  });

  test("the very same file under both names stays whole", async () => {
    const from = tmp.folder();
    const to = tmp.folder();
    writeFileSync(join(from, "same"), "content");
    linkSync(join(from, "same"), join(to, "same"));
    await copyTree(from, to);
    expect(readFileSync(join(to, "same"), "utf8")).toBe("content");
  });

  test("a folder where a file should go, and the reverse: an error, and what is there stays", async () => {
    const from = tmp.folder();
    writeFileSync(join(from, "x"), "file");
    const to = tmp.folder();
    mkdirSync(join(to, "x"));
    await expect(copyTree(from, to)).rejects.toEqual(coded("EISDIR"));
    expect(statSync(join(to, "x")).isDirectory()).toBe(true);
    await expect(copyTree(to, from)).rejects.toEqual(coded("ENOTDIR"));
    expect(readFileSync(join(from, "x"), "utf8")).toBe("file");
  });

  test("a folder where a link should go: an error, and nothing is tried with it", async () => {
    const [from, to] = [tmp.folder(), tmp.folder()];
    symlinkSync("nowhere", join(from, "x"));
    mkdirSync(join(to, "x"));
    const error = await rejection(copyTree(from, to));
    expect(error).toMatchObject({ code: "EISDIR", syscall: "cp", path: join(from, "x"), dest: join(to, "x") });
    expect(lstatSync(join(to, "x")).isDirectory()).toBe(true);
  });

  testUnless(!isRoot && "not root", "a folder that nobody may write to is filled by who has no privileges", () => {
    const folder = tmp.folder();
    const [from, to] = [join(folder, "from"), join(folder, "to")];
    mkdirSync(join(from, "closed/below"), { recursive: true });
    for (const name of ["x", "y", "below/z"]) writeFileSync(join(from, "closed", name), name);
    chmodSync(join(from, "closed/below"), 0o500);
    chmodSync(join(from, "closed"), 0o555);
    chmodSync(tmp.dir, 0o755);
    execFileSync("chown", ["-R", `${NOBODY}:${NOBODY}`, folder]);
    const program =
      "const { copyTree } = await import(process.argv[1]); await copyTree(process.argv[2], process.argv[3]);";
    const index = join(import.meta.dir, "../../src/index.ts");
    const run = Bun.spawnSync([...asUser(), process.execPath, "-e", program, index, from, to], { env: process.env });
    expect(run.stderr.toString()).toBe("");
    expect(rounded(snapshot(to))).toEqual(rounded(snapshot(from)));
  });
});

describe("somebody else at work in the tree", () => {
  // Exchanges two names (RENAME_EXCHANGE) until it is killed.
  const swapper = `
    const { dlopen, FFIType: T } = require("bun:ffi");
    const types = [T.i32, T.cstring, T.i32, T.cstring, T.u32];
    const { renameat2 } = dlopen("libc.so.6", { renameat2: { args: types, returns: T.i32 } }).symbols;
    const [a, b] = process.argv.slice(1).map((path) => Buffer.from(path + "\\0"));
    console.log("ready");
    for (;;) renameat2(-100, a, -100, b, 2);
  `;
  const swapping = async (a: string, b: string, work: () => Promise<void>): Promise<void> => {
    const swap = Bun.spawn([process.execPath, "-e", swapper, a, b], { stdout: "pipe" });
    await swap.stdout.getReader().read();
    await work().finally(async () => {
      swap.kill(9);
      await swap.exited;
    });
  };

  for (const copy of [copyTree, (from: string, to: string) => cp(from, to, { recursive: true })])
    test(`${copy === copyTree ? "copyTree" : "cp"}: a file or folder exchanged for a link is not followed`, async () => {
      const [from, outside] = [tmp.folder(), tmp.folder()];
      writeFileSync(join(outside, "secret"), "SECRET");
      mkdirSync(join(outside, "folder"));
      writeFileSync(join(outside, "folder/inside"), "SECRET");
      for (const name of ["file", "sub"]) {
        const own = join(tmp.folder(), "link");
        symlinkSync(join(outside, name === "file" ? "secret" : "folder"), own);
        if (name === "file") writeFileSync(join(from, name), "public");
        else mkdirSync(join(from, name));
        await swapping(join(from, name), own, async () => {
          for (let i = 0; i < 60; i++) {
            const to = tmp.path();
            await copy(from, to).catch(() => {});
            const there = lstatSync(join(to, name), { throwIfNoEntry: false });
            if (there?.isFile()) expect(readFileSync(join(to, name), "utf8")).not.toBe("SECRET");
            if (there?.isDirectory()) expect(readdirSync(join(to, name))).toEqual([]);
          }
        });
      }
    });

  test("modes and times are given to what was copied, never through a link in its place", async () => {
    const [from, to, outside] = [tmp.folder(), tmp.folder(), tmp.folder()];
    const victim = join(outside, "victim");
    writeFileSync(victim, "x", { mode: 0o600 });
    writeFileSync(join(from, "file"), "data");
    chmodSync(join(from, "file"), 0o666);
    const own = join(outside, "link");
    symlinkSync(victim, own);
    writeFileSync(join(to, "file"), "");
    const { mtimeMs } = statSync(victim);
    await swapping(join(to, "file"), own, async () => {
      for (let i = 0; i < 100; i++) await copyTree(from, to).catch(() => {});
    });
    expect([statSync(victim).mode & 0o777, statSync(victim).mtimeMs, readFileSync(victim, "utf8")]).toEqual([
      0o600,
      mtimeMs,
      "x",
    ]);
  });

  test("a tree deeper than PATH_MAX is copied", async () => {
    const [from, lower] = [tmp.folder(), tmp.folder()];
    const half = (root: string): string => {
      const deepest = join(root, ...Array.from({ length: 60 }, () => "d".repeat(55)));
      mkdirSync(deepest, { recursive: true });
      writeFileSync(join(deepest, "file"), "deep");
      return deepest;
    };
    half(lower);
    renameSync(lower, join(half(from), "lower"));
    for (const copy of [copyTree, (a: string, b: string) => cp(a, b, { recursive: true })]) {
      const to = tmp.path();
      await copy(from, to);
      const found = Bun.spawnSync(["find", to, "-name", "file"]).stdout.toString().trim().split("\n");
      expect(found.length).toBe(2);
      await rm(to, { recursive: true });
    }
    await rm(from, { recursive: true });
    expect(tmp.openFiles()).toEqual([]);
  });

  testUnless(process.getuid!() !== 0 && "not root", "set-id bits go unless the owner is kept", async () => {
    const from = tmp.folder();
    for (const [name, uid] of [
      ["theirs", 65534],
      ["own", 0],
    ] as const) {
      writeFileSync(join(from, name), "x");
      chownSync(join(from, name), uid, uid);
      chmodSync(join(from, name), 0o6755);
    }
    const to = tmp.path();
    await copyTree(from, to);
    expect(["theirs", "own"].map((name) => statSync(join(to, name)).mode & 0o7777)).toEqual([0o755, 0o6755]);
  });
});

describe("refusals", () => {
  test("a tree into itself, below itself, above itself: also through links", async () => {
    const from = makeTree();
    const link = tmp.path();
    symlinkSync(from, link);
    for (const to of [from, `${from}/`, join(from, "new", "er"), join(link, "a"), join(from, "..")]) {
      await expect(copyTree(from, to)).rejects.toEqual(coded("ERR_FS_CP_EINVAL"));
    }
    expect(existsSync(join(from, "new"))).toBe(false);
    // A name that only begins alike is another folder.
    await copyTree(from, `${from}-2`);
    expect(existsSync(join(`${from}-2`, "large"))).toBe(true);
  });

  test("cp with links followed: one that leads upwards is a loop, and ends it", async () => {
    const from = tmp.folder();
    mkdirSync(join(from, "below"));
    writeFileSync(join(from, "below", "file"), "x");
    symlinkSync("..", join(from, "below", "up"));
    const to = tmp.path();
    await expect(cp(from, to, { recursive: true, dereference: true })).rejects.toEqual(coded("ELOOP"));
    expect(existsSync(join(to, "below", "up"))).toBe(false);
  });

  test("a missing source, a wrong option", async () => {
    await expect(copyTree(tmp.path(), tmp.path())).rejects.toEqual(coded("ENOENT"));
    for (const [options, code] of [
      [{ concurrency: 0 }, "ERR_OUT_OF_RANGE"],
      [{ filter: 1 }, "ERR_INVALID_ARG_TYPE"],
      [{ onProgress: {} }, "ERR_INVALID_ARG_TYPE"],
      [{ signal: 1 }, "ERR_INVALID_ARG_TYPE"],
    ] as [any, string][])
      await expect(copyTree(tmp.folder(), tmp.path(), options)).rejects.toEqual(coded(code));
  });

  test("FIFOs and sockets are passed over and counted", async () => {
    const from = tmp.folder();
    execFileSync("mkfifo", [join(from, "fifo")]);
    writeFileSync(join(from, "file"), "x");
    using _socket = Bun.listen({ unix: join(from, "socket"), socket: { data() {} } });
    const to = tmp.path();
    expect(await copyTree(from, to)).toEqual({ files: 1, directories: 1, symlinks: 0, bytes: 1, skipped: 2 });
    expect(readdirSync(to)).toEqual(["file"]);
  });
});

describe("on the way", () => {
  test("filter decides, with paths of both sides, and keeps out of folders that it refuses", async () => {
    const from = makeTree();
    const asked: [string, string][] = [];
    const to = tmp.path();
    await copyTree(from, to, {
      filter: async (source, dest) => {
        asked.push([source, dest]);
        await null;
        return !source.endsWith("/many") && !source.endsWith("zero");
      },
    });
    const expected = Object.keys(snapshot(from)).filter((name) => !/\/many|\/zero$/.test(name));
    expect(Object.keys(snapshot(to)).sort()).toEqual(expected.sort());
    expect(asked.some(([source]) => source.includes("/many/"))).toBe(false);
    for (const [source, dest] of asked) expect(dest).toBe(to + source.slice(from.length));
  });

  test("onProgress ends with the result", async () => {
    const seen: TreeCounts[] = [];
    const counts = await copyTree(makeTree(), tmp.path(), { onProgress: (progress) => seen.push(progress) });
    expect(seen.at(-1)).toEqual(counts);
    const files = seen.map((progress) => progress.files);
    expect(files).toEqual(files.toSorted((a, b) => a - b));
  });

  test("an abort ends it: AbortError, every file that is there is whole, no descriptor stays", async () => {
    const from = tmp.folder();
    const size = 200_000;
    for (let i = 0; i < 300; i++) writeFileSync(join(from, `${i}`), patternBytes(i % 2 === 0 ? size : 1000, i));
    const abort = new AbortController();
    const to = tmp.path();
    let calls = 0;
    const copying = copyTree(from, to, {
      signal: abort.signal,
      filter() {
        if (++calls === 150) abort.abort("stop");
        return true;
      },
    });
    const failure = await copying.catch((error) => error);
    expect([failure.name, failure.cause]).toEqual(["AbortError", "stop"]);
    const there = readdirSync(to);
    expect(there.length).toBeLessThan(300);
    for (const name of there) expect(readFileSync(join(to, name)).equals(readFileSync(join(from, name)))).toBe(true);
    expect(tmp.openFiles()).toEqual([]);
    await expect(copyTree(from, tmp.path(), { signal: abort.signal })).rejects.toEqual(coded("ABORT_ERR"));
  });

  test("what onProgress throws is the rejection", async () => {
    const from = makeTree();
    const onProgress = (): never => {
      throw new Error("mine");
    };
    expect((await rejection(copyTree(from, tmp.path(), { onProgress }))).message).toBe("mine");
    expect(tmp.openFiles()).toEqual([]);
  });

  test("the first failure ends it, when everything else has ended", async () => {
    const from = tmp.folder();
    for (let i = 0; i < 200; i++) writeFileSync(join(from, `${i}`), patternBytes(1000, i));
    const to = tmp.folder();
    mkdirSync(join(to, "100"));
    await expect(copyTree(from, to)).rejects.toEqual(coded("EISDIR"));
    const after = readdirSync(to).length;
    await Bun.sleep(20);
    expect([readdirSync(to).length, tmp.openFiles()]).toEqual([after, []]);
  });

  test("after the first failure no folder is begun", async () => {
    const from = tmp.folder();
    for (let i = 0; i < 500; i++) mkdirSync(join(from, `folder${i}`));
    writeFileSync(join(from, "file"), "x");
    const to = tmp.folder();
    mkdirSync(join(to, "file"));
    await expect(copyTree(from, to)).rejects.toEqual(coded("EISDIR"));
    expect(readdirSync(to).length).toBeLessThan(250); // a few are under way at a time
    expect(tmp.openFiles()).toEqual([]);
  });
});
