// Root: what it does, on both backends, and that no name leads out of it, whatever the name and whatever is swapped meanwhile.
// Assumes Linux 5.6 or newer. The other process of the race is a C-like loop of renames in a child.

import { afterAll, describe, expect, test } from "bun:test";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { backend } from "../../src/index.ts";
import { OutsideRootError, openRoot, type Root, serveFile } from "../../src/server.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { code } from "../helpers/settled.ts";
import { describeUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const outside = tmp.folder("outside");
writeFileSync(join(outside, "secret"), "secret");

/** A folder with links of all kinds, and its root. */
async function made(symlinks: "inside" | "never" = "inside"): Promise<{ dir: string; root: Root }> {
  const dir = tmp.folder("root");
  mkdirSync(join(dir, "sub/deep"), { recursive: true });
  writeFileSync(join(dir, "file"), "content");
  writeFileSync(join(dir, "sub/file"), "deeper");
  symlinkSync("file", join(dir, "link"));
  symlinkSync("sub", join(dir, "folder-link"));
  symlinkSync(join(outside, "secret"), join(dir, "out-file"));
  symlinkSync(outside, join(dir, "out-folder"));
  symlinkSync("../../..", join(dir, "sub/up"));
  symlinkSync("/proc/self/root", join(dir, "magic"));
  symlinkSync("loop", join(dir, "loop"));
  const root = await openRoot(dir, { symlinks });
  return { dir, root };
}

describe("what a root does", () => {
  test("reads, writes, appends, and says what there is", async () => {
    const { root } = await made();
    await using _ = root;
    expect(await root.readFile("file", "utf8")).toBe("content");
    expect(String(await root.readFile("sub/../file"))).toBe("content");
    expect(await root.readFile("link", { encoding: "utf8" })).toBe("content");
    await root.writeFile("new", "one");
    await root.appendFile("new", "two");
    expect(await root.readFile("new", "utf8")).toBe("onetwo");
    expect((await root.stat("link")).isFile()).toBe(true);
    expect((await root.lstat("link")).isSymbolicLink()).toBe(true);
    expect(await root.exists("new")).toBe(true);
    expect(await root.exists("nothing")).toBe(false);
    expect(await code(root.writeFile("file", "x", { flag: "wx" }))).toBe("EEXIST");
  });

  test("makes, lists, renames, copies and removes", async () => {
    const { root, dir } = await made();
    await using _ = root;
    expect(await root.mkdir("a")).toBeUndefined();
    expect(await root.mkdir("a/b/c", { recursive: true })).toBe("a/b");
    expect(await root.mkdir("a/b/c", { recursive: true })).toBeUndefined();
    expect(await code(root.mkdir("a"))).toBe("EEXIST");
    expect(await code(root.mkdir("file/x", { recursive: true }))).toBe("ENOTDIR");
    await root.rename("file", "a/moved");
    await root.copyFile("a/moved", "a/copy");
    expect(await code(root.copyFile("a/moved", "a/copy", 1))).toBe("EEXIST");
    expect((await root.readdir("a")).sort()).toEqual(["b", "copy", "moved"]);
    const entries = await root.readdir("a", { withFileTypes: true });
    expect(entries.map((entry) => [entry.parentPath, entry.name, entry.isDirectory()]).sort()).toEqual([
      ["a", "b", true],
      ["a", "copy", false],
      ["a", "moved", false],
    ]);
    const names: string[] = [];
    for await (const entry of await root.opendir("a")) names.push(entry.name);
    expect(names.sort()).toEqual(["b", "copy", "moved"]);
    await root.unlink("a/copy");
    expect(await code(root.rmdir("a/b"))).toBe("ENOTEMPTY");
    await root.rm("a", { recursive: true });
    expect(await code(root.rm("a"))).toBe("ENOENT");
    await root.rm("a/b/c", { force: true });
    expect(readFileSync(join(outside, "secret"), "utf8")).toBe("secret");
    expect(tmp.openFiles().filter((path) => path.startsWith(`${dir}/`))).toEqual([]);
  });

  test("streams read and write, and let go of the file", async () => {
    const { root, dir } = await made();
    await using _ = root;
    await finished(root.createWriteStream("sub/streamed", { mode: 0o600 }).end("0123456789"));
    expect((await root.stat("sub/streamed")).mode & 0o777).toBe(0o600);
    let text = "";
    for await (const chunk of root.createReadStream("sub/streamed", { encoding: "utf8", start: 2, end: 5 }))
      text += chunk;
    expect(text).toBe("2345");
    const missing = await finished(root.createReadStream("none")).catch((error) => error);
    expect([missing.code, missing.path]).toEqual(["ENOENT", "none"]);
    expect(() => root.createReadStream("/file")).toThrow(OutsideRootError);
    // Of the options only what says how: never which file.
    const own = root.createReadStream("file", { encoding: "utf8", fd: 0, fs: {} } as object);
    expect((await own.toArray()).join("")).toBe("content");
    await Bun.sleep(1);
    expect(tmp.openFiles().filter((path) => path.startsWith(`${dir}/`))).toEqual([]);
  });

  test("a handle's procPath leads Bun's own API to the open file", async () => {
    const { root, dir } = await made();
    await using _ = root;
    await using handle = await root.open("file");
    renameSync(join(dir, "file"), join(dir, "elsewhere"));
    writeFileSync(join(dir, "file"), "another");
    expect(await Bun.file(handle.procPath).text()).toBe("content");
  });

  test("errors name what the caller named", async () => {
    const { root } = await made();
    await using _ = root;
    for (const act of [
      () => root.readFile("no/such"),
      () => root.stat("no/such"),
      () => root.readdir("no/such"),
      () => root.unlink("no/such"),
      () => root.rm("no/such"),
      () => root.mkdir("no/such"),
      () => root.rename("no/such", "x"),
      () => root.copyFile("no/such", "x"),
    ]) {
      const error = await act().catch((thrown) => thrown);
      expect([error.code, error.path]).toEqual(["ENOENT", "no/such"]);
    }
  });

  test("once closed it refuses; what it opened stays open", async () => {
    const { root } = await made();
    const handle = await root.open("file");
    await root.close();
    await root.close();
    for (const act of [() => root.readFile("file"), () => root.unlink("file"), () => root.stat(".")])
      expect(await code(act())).toBe("ERR_ROOT_CLOSED");
    expect(await handle.readFile("utf8")).toBe("content");
    await handle.close();
  });

  test("a missing folder, a file, and wrong arguments are refused as Node refuses them", async () => {
    expect(await code(openRoot(tmp.path()))).toBe("ENOENT");
    expect(await code(openRoot(tmp.file("x")))).toBe("ENOTDIR");
    expect(await code(openRoot(5 as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(await code(openRoot(outside, { symlinks: "yes" as never }))).toBe("ERR_INVALID_ARG_VALUE");
    const { root } = await made();
    await using _ = root;
    expect(await code(root.readFile(5 as never))).toBe("ERR_INVALID_ARG_TYPE");
  });
});

/** Names that lead out, or try to. */
const ESCAPES = [
  "..", "../", "../outside/secret", "../../etc/passwd", "sub/../../outside", "./../x", ".//../x", "sub/deep/../../../x",
  "/etc/passwd", "/", "//etc/passwd", "/proc/self/root/etc/passwd", "/dev/null",
  "out-file", "out-folder", "out-folder/secret", "./out-folder/secret", "out-folder/", "out-folder/.", "out-folder/..",
  "out-folder/../file", "sub/up", "sub/up/etc/passwd", "folder-link/up/etc", "folder-link/../../x", "sub/up/..",
  "magic", "magic/etc/passwd", "magic/..", "file\0", "\0", "sub\0/../../x", "../file\0", "sub/../..", "sub/./../..",
  "sub//..//..", "link/../../x", "folder-link/deep/../../../x", "....//../..", "sub/deep/../../..", "../root",
  "sub/%2e%2e/../../x", "..\\\\..\\\\x/../../..", "../OUTSIDE/secret", ".. /../../x", ".../../../x", "sub/deep/../../../outside/secret", "/../x", "sub/../../root/../outside",
  "magic/self/root/etc/passwd", "/proc/self/fd/0", "/proc/self/cwd/x", "out-folder/./secret", "out-folder//secret", "folder-link/up/../etc/passwd", "link/..", "sub/up/proc/self/root", `../${"x".repeat(255)}`, `${"x/".repeat(2500)}y`,
  `${"sub/../".repeat(500)}../x`, `${"./".repeat(1000)}../x`, "out-file/", "out-file/..", "loop/../../x",
]; // biome-ignore format: a list of names

/** Every method that takes a name, none of which may succeed with one of those. */
const METHODS: readonly [string, (root: Root, name: string) => Promise<unknown>][] = [
  ["open", (root, name) => root.open(name).then((handle) => handle.close())],
  ["open for writing", (root, name) => root.open(name, "a").then((handle) => handle.close())],
  ["readFile", (root, name) => root.readFile(name)],
  ["writeFile", (root, name) => root.writeFile(name, "overwritten")],
  ["appendFile", (root, name) => root.appendFile(name, "appended")],
  ["writeFileAtomic", (root, name) => root.writeFileAtomic(`${name}/secret`, "replaced")],
  ["receive", (root, name) => root.receive(new Response("received"), `${name}/secret`)],
  [
    "createReadStream",
    async (root, name) => {
      for await (const chunk of root.createReadStream(name)) return chunk;
    },
  ],
  ["createWriteStream", async (root, name) => finished(root.createWriteStream(name, { flags: "a" }).end("streamed"))],
  ["stat", (root, name) => root.stat(name)],
  ["lstat below", (root, name) => root.lstat(`${name}/secret`)],
  ["readdir", (root, name) => root.readdir(name)],
  ["opendir", (root, name) => root.opendir(name).then((dir) => dir.close())],
  ["mkdir -p", (root, name) => root.mkdir(`${name}/made/deep`, { recursive: true })],
  ["copyFile from", (root, name) => root.copyFile(name, "copied")],
  ["copyFile to", (root, name) => root.copyFile("file", name)],
  ["rename from below", (root, name) => root.rename(`${name}/secret`, "stolen")],
  ["rename to below", (root, name) => root.rename("file", `${name}/left`)],
  ["unlink below", (root, name) => root.unlink(`${name}/secret`)],
  ["rm below", (root, name) => root.rm(`${name}/secret`, { recursive: true })],
  ["rmdir below", (root, name) => root.rmdir(`${name}/secret`)],
];

/** Errors that keep a name inside: the root's own, or the kernel's that there is no such thing. */
/** EAGAIN: a rename somewhere on the machine raced with each of 17 look-ups through `..`. */
const REFUSALS = ["EAGAIN", "ERR_OUTSIDE_ROOT", "ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EINVAL", "EISDIR"];

describe("names that lead out", () => {
  for (const symlinks of ["inside", "never"] as const) {
    for (const [method, act] of METHODS) {
      test(`${method} refuses each of ${ESCAPES.length} (symlinks: ${symlinks})`, async () => {
        const { root } = await made(symlinks);
        await using _ = root;
        for (const name of ESCAPES) {
          const outcome = await code(act(root, name));
          expect([name.slice(0, 40), REFUSALS.includes(outcome) ? "refused" : outcome]).toEqual([
            name.slice(0, 40),
            "refused",
          ]);
        }
        expect(readFileSync(join(outside, "secret"), "utf8")).toBe("secret");
      });
    }
  }

  test(`serveFile answers none of ${ESCAPES.length} with what is outside: as URLs, in codes, as \`name\`, as index and sibling`, async () => {
    const { root, dir } = await made();
    await using _ = root;
    symlinkSync(join(outside, "secret"), join(dir, "file.br"));
    symlinkSync("../out-file", join(dir, "sub/index.html"));
    symlinkSync("/proc/self/root/etc/passwd", join(dir, "sub/deep/index.html"));
    const headers = { "accept-encoding": "br" };
    const options = { precompressed: true, dotfiles: "allow" } as const;
    const dots = (text: string): string => text.replaceAll(".", "%2e");
    const ask = async (path: string, name?: string): Promise<string> => {
      const own = name === undefined ? options : { ...options, name };
      const answer = await serveFile(new Request(`http://x/${path}`, { headers }), root, own);
      return `${answer.status} ${await answer.text()}`;
    };
    for (const name of [...ESCAPES, "file", "sub/", "sub/deep/", "folder-link/"]) {
      const coded = name.split("/").map(encodeURIComponent).join("/");
      const answers = [
        await ask(coded),
        await ask(dots(coded)),
        await ask(encodeURIComponent(name)),
        await ask("", name),
      ];
      for (const answer of answers)
        expect([name.slice(0, 40), /secret|root:/.test(answer)]).toEqual([name.slice(0, 40), false]);
    }
    expect(await ask("file")).toBe("200 content");
  });

  test("the error is typed, and its cause is the kernel's", async () => {
    const { root } = await made();
    await using _ = root;
    const error = await root.readFile("out-folder/secret").catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OutsideRootError);
    expect([error.code, error.path, error.cause.code]).toEqual(["ERR_OUTSIDE_ROOT", "out-folder/secret", "EXDEV"]);
    expect((await root.readFile("/file").catch((thrown) => thrown)).code).toBe("ERR_OUTSIDE_ROOT");
  });

  test('with "never" links that stay inside are refused, too', async () => {
    const { root } = await made("never");
    await using _ = root;
    expect(await code(root.readFile("link"))).toBe("ERR_OUTSIDE_ROOT");
    expect(await code(root.readFile("folder-link/file"))).toBe("ERR_OUTSIDE_ROOT");
    expect(await root.readFile("sub/file", "utf8")).toBe("deeper");
    expect((await root.lstat("link")).isSymbolicLink()).toBe(true);
  });
});

// The other process has a ring, whatever this one runs on.
const noSwap = backend === "io_uring" && lacking("RENAMEAT");
describeUnless(noSwap, "a folder and a link that another process swaps all the time", () => {
  const dir = tmp.folder("race");
  mkdirSync(join(dir, "a"));
  for (const name of ["secret", "index.html", "page", "page.br"]) {
    writeFileSync(join(dir, "a", name), "inside");
    writeFileSync(join(outside, name), "secret");
  }
  symlinkSync(outside, join(dir, "b"));
  writeFileSync(join(dir, "f"), "inside");
  symlinkSync(join(outside, "secret"), join(dir, "g"));
  // A file whose sibling is swapped.
  writeFileSync(join(dir, "p"), "inside");
  symlinkSync("f", join(dir, "p.br"));
  const swap = `
    import { rename } from ${JSON.stringify(new URL("../../src/index.ts", import.meta.url).pathname)};
    for (;;) await Promise.all([
      rename("a", "b", { exchange: true }), rename("f", "g", { exchange: true }),
    ]).catch(() => process.exit(1));`;
  const child = Bun.spawn([process.execPath, "-e", swap], { cwd: dir, env: { ...process.env, BUN_URING_BACKEND: "" } });
  afterAll(() => child.kill());

  test("no method gives a byte of what is outside, while realpath and compare does", async () => {
    const root = await openRoot(dir);
    await using _ = root;
    const { realpath, readFile } = await import("node:fs/promises");
    let [inside, refused, raced] = [0, 0, 0];
    const until = Date.now() + 1500;
    while (Date.now() < until) {
      const tries = ["a/secret", "b/secret", "f", "g"].map((name) =>
        root.readFile(name, "utf8").then(
          (text) => {
            expect(text).toBe("inside");
            inside++;
          },
          () => refused++,
        ),
      );
      await Promise.all(tries);
      // What people write by hand: it is seen to leak, so the race is a real one.
      for (const name of ["a/secret", "f"]) {
        const path = join(dir, name);
        const real = await realpath(path).catch(() => "");
        if (!real.startsWith(`${dir}/`)) continue;
        if ((await readFile(path, "utf8").catch(() => "")) === "secret") raced++;
      }
    }
    expect(child.exitCode).toBeNull();
    expect(inside).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(0);
    expect(raced).toBeGreaterThan(0);
  });

  test("no way to read gives a byte of it, nor serveFile, its siblings and its index", async () => {
    const root = await openRoot(dir);
    await using _ = root;
    const options = { precompressed: true, revalidateMs: 0 };
    const served = async (name: string): Promise<string> => {
      const headers = { "accept-encoding": "br" };
      const answer = await serveFile(new Request(`http://x/${name}`, { headers }), root, options);
      return answer.status === 200 ? answer.text() : Promise.reject(new Error(String(answer.status)));
    };
    const outsideInode = lstatSync(join(outside, "secret")).ino;
    const ways: Record<string, (name: string) => Promise<unknown>> = {
      open: async (name) => {
        await using handle = await root.open(name);
        return [await handle.readFile("utf8"), await Bun.file(handle.procPath).text()];
      },
      createReadStream: (name) => root.createReadStream(name, "utf8").toArray(),
      copyFile: async (name) => {
        await root.copyFile(name, "copied");
        return root.readFile("copied", "utf8");
      },
      stat: async (name) => ((await root.stat(name)).ino === outsideInode ? "secret" : "inside"),
      readdir: async (name) =>
        (await root.readdir(name.split("/")[0])).includes("only-outside") ? "secret" : "inside",
      opendir: async (name) => {
        for await (const entry of await root.opendir(name.split("/")[0]))
          if (entry.name === "only-outside") return "secret";
        return "inside";
      },
      serveFile: served,
      index: (name) => served(`${name.split("/")[0]}/`),
      siblings: async (name) => [await served(`${name.split("/")[0]}/page`), await served("p")],
    };
    writeFileSync(join(outside, "only-outside"), "secret");
    const counts = Object.fromEntries(Object.keys(ways).map((way) => [way, [0, 0] as [number, number]]));
    const until = Date.now() + 2500;
    while (Date.now() < until)
      for (const [way, act] of Object.entries(ways)) {
        const count = counts[way]!;
        await Promise.all(
          ["a/secret", "b/secret", "f", "g"].map(async (name) => {
            try {
              const got = JSON.stringify(await act(name));
              expect([way, got.includes("secret")]).toEqual([way, false]);
              if (got.includes("inside")) count[0]++;
            } catch (error) {
              if ((error as Error).message.includes("expect")) throw error;
              count[1]++;
            }
          }),
        );
      }
    expect(child.exitCode).toBeNull();
    // Each was let in and kept out: the race is one.
    for (const [way, [inside, refused]] of Object.entries(counts))
      expect([way, inside > 0, refused > 0 || way === "siblings"]).toEqual([way, true, true]);
    rmSync(join(outside, "only-outside"));
    await root.rm("copied", { force: true });
  }, 30_000);

  test("nothing outside is written or removed", async () => {
    const root = await openRoot(dir);
    await using _ = root;
    const until = Date.now() + 700;
    while (Date.now() < until) {
      await Promise.allSettled([
        root.writeFile("a/new", "x"),
        root.writeFile("b/new", "x"),
        root.mkdir("a/made"),
        root.rm("a/made", { recursive: true, force: true }),
        root.rename("a/new", "b/newer"),
        root.unlink("b/newer"),
        root.appendFile("g", "x"),
        root.writeFileAtomic("a/page", "inside"),
        root.receive(new Response("inside"), "b/page.br"),
        finished(root.createWriteStream("b/streamed").end("x")),
        root.copyFile("p", "b/index.html"),
        root.rmdir("b/made"),
        root.mkdir("b/c/d", { recursive: true }),
      ]);
    }
    expect(readdirSync(outside).sort()).toEqual(["index.html", "page", "page.br", "secret"]);
    for (const name of readdirSync(outside)) expect(readFileSync(join(outside, name), "utf8")).toBe("secret");
  });
});
