// What a user gets: the tarball is packed, added to an empty folder, and used there.
// Assumes a compiler here (packing builds) and none there: the programs run with an empty PATH, away from this tree.
// Never reaches a registry: the package has no dependencies, and the one configured below does not answer.

import { beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run as command } from "./helpers/mounts.ts";
import { onDeath } from "./helpers/on-death.ts";
import { faultTest } from "./helpers/requirements.ts";
import { tmpDir } from "./helpers/tmp.ts";

const root = join(import.meta.dir, "..");
const folder = tmpDir();
const app = join(folder, "app");
const installed = join(app, "node_modules", "bun-uring");
const shim = join(installed, "prebuilds", `linux-${process.arch}`, "liburing-shim.so");

const bareEnvironment = {
  PATH: join(folder, "no-commands-here"),
  HOME: folder,
  BUN_INSTALL_CACHE_DIR: join(folder, "cache"),
  BUN_CONFIG_REGISTRY: "http://127.0.0.1:9/",
};

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the same Bun as this test, or another command, and never inherits this test's environment. */
function run(command: readonly string[], cwd: string, env: Record<string, string | undefined>): Ran {
  const child = Bun.spawnSync([...command], { cwd, env, stdin: "ignore" });
  return { code: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

function program(source: string, env: Record<string, string> = {}): Ran {
  const file = join(app, "program.ts");
  writeFileSync(file, source);
  return run([process.execPath, file], app, { ...bareEnvironment, ...env });
}

beforeAll(() => {
  mkdirSync(app);
  writeFileSync(join(app, "package.json"), '{ "name": "app", "private": true, "type": "module" }\n');
  const packed = run([process.execPath, "pm", "pack", "--destination", folder], root, process.env);
  expect(packed, packed.stderr).toMatchObject({ code: 0 });
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"))!;
  const added = run([process.execPath, "add", join(folder, tarball)], app, bareEnvironment);
  expect(added, added.stderr).toMatchObject({ code: 0 });
}, 120_000);

describe("the tarball", () => {
  test("holds the library, the shim for this machine, the command line, the documents and the licences; no tests, no benches", () => {
    const entries = readdirSync(installed).filter((name) => !name.startsWith("."));
    expect(entries.sort()).toEqual([
      "CHANGELOG.md",
      "CONTRIBUTING.md",
      "LICENSE",
      "Makefile",
      "README.md",
      "SECURITY.md",
      "THIRD_PARTY_LICENSES",
      "dist",
      "docs",
      "native",
      "package.json",
      "prebuilds",
      "src",
    ]);
    expect(statSync(shim).size).toBeGreaterThan(10_000);
  });

  test("the entry points and the command line share one copy of the library, in a chunk of its own", () => {
    const scripts = readdirSync(join(installed, "dist")).filter((name) => name.endsWith(".js"));
    const texts = scripts.map((name) => ({ name, text: readFileSync(join(installed, "dist", name), "utf8") }));
    const holders = texts.filter(({ text }) => text.includes("bun:ffi")).map(({ name }) => name);
    expect(holders).toEqual([expect.stringMatching(/^chunk-/)]);
    expect(scripts).toEqual(expect.arrayContaining(["cli.js", "index.js", "promises.js"]));
    const [cli] = texts.filter(({ name }) => name === "cli.js");
    expect(cli!.text.split("\n")[0]).toBe("#!/usr/bin/env bun");
  });

  test("says the SHA-256 sum of each library in it", () => {
    const folder = join(installed, "prebuilds");
    const libraries = readdirSync(folder).filter((name) => name.startsWith("linux-"));
    const sum = (name: string): string =>
      new Bun.CryptoHasher("sha256").update(readFileSync(join(folder, name, "liburing-shim.so"))).digest("hex");
    const wanted = libraries.toSorted().map((name) => `${sum(name)}  ${name}/liburing-shim.so\n`);
    expect(readFileSync(join(folder, "SHA256SUMS"), "utf8")).toBe(wanted.join(""));
  });

  test("names the licence of everything that is bundled", () => {
    const bundle = readFileSync(join(installed, "dist", "cli.js"), "utf8");
    const licences = readFileSync(join(installed, "THIRD_PARTY_LICENSES"), "utf8");
    const bundled = new Set(
      Array.from(bundle.matchAll(/^\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)\//gm), ([, name]) => name!),
    );
    expect([...bundled].filter((name) => !new RegExp(`\\b${name} \\d`).test(licences))).toEqual([]);
    expect(licences).toContain("liburing");
  });

  test("brings nothing else into node_modules", () => {
    expect(readdirSync(join(app, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["bun-uring"]);
  });
});

describe("the packed shim", () => {
  const readelf = (flag: string): string => run(["readelf", flag, "--wide", shim], root, process.env).stdout;

  test("needs libc and nothing else", () => {
    const needed = Array.from(readelf("--dynamic").matchAll(/\(NEEDED\).*\[(.+)\]/g), (match) => match[1]);
    expect(needed).toEqual(["libc.so.6"]);
  });

  test("exports its own functions only, and no hook of the fault build", () => {
    const exported = readelf("--dyn-syms")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((words) => words[4] === "GLOBAL" && words[6] !== "UND")
      .map((words) => words[7]!);
    expect(exported).toContain("bun_uring_tick");
    const own = /^(bun_uring_(?!.*fault)|napi_register_module_v1$)/;
    expect(exported.filter((name) => !own.test(name))).toEqual([]);
  });

  test("is fully relocated before use, with no executable stack", () => {
    expect(readelf("--dynamic")).toContain("BIND_NOW");
    const segments = readelf("--program-headers");
    expect(segments).toContain("GNU_RELRO");
    expect(/GNU_STACK.*/.exec(segments)?.[0]).toMatch(/ RW +0x/);
  });
});

describe("in a folder with no compiler and no liburing", () => {
  test("a file is read and written, through io_uring, with the shim of the package and no liburing.so", () => {
    const ran = program(`
      import { backend } from "bun-uring";
      import { readFile, writeFile } from "bun-uring/promises";
      import { readFileSync } from "node:fs";
      await writeFile("note.txt", "hello ring");
      const maps = readFileSync("/proc/self/maps", "utf8").split("\\n").map((line) => line.split(" ").at(-1));
      const libraries = [...new Set(maps.filter((path) => path.includes("liburing")))];
      console.log(JSON.stringify({ text: await readFile("note.txt", "utf8"), backend, libraries }));
    `);
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(ran.stdout)).toEqual({ text: "hello ring", backend: "io_uring", libraries: [shim] });
  });

  test("both entry points are one library with one ring", () => {
    const ran = program(`
      import * as index from "bun-uring";
      import * as promises from "bun-uring/promises";
      await promises.readFile(import.meta.path);
      console.log(index.readFile === promises.readFile, index.stats().submitted > 0);
    `);
    expect(ran.stdout, ran.stderr).toBe("true true\n");
  });

  test("what no function needs is not loaded: reading and writing a file takes two scripts", () => {
    const ran = program(`
      import { open, readFile, rm, writeFile } from "bun-uring/promises";
      const loaded = () => Object.keys(require.cache).filter((path) => path.includes("/dist/")).length;
      await writeFile("note.txt", "hello");
      await readFile("note.txt", { encoding: "utf8" });
      const before = loaded();
      await (await open("note.txt")).close();
      await rm("note.txt");
      console.log(before, loaded() > before);
    `);
    expect(ran.stdout, ran.stderr).toBe("2 true\n");
  });

  test("functions and classes have their own names, and a stack names the source", () => {
    const ran = program(`
      import * as promises from "bun-uring/promises";
      import * as index from "bun-uring";
      const all = { ...promises, ...index };
      const other = Object.keys(all).filter((name) => typeof all[name] === "function" && all[name].name !== name);
      const handle = await promises.open(import.meta.path);
      const error = await promises.cp("/nowhere/a", "/nowhere/b").catch((reason) => reason);
      console.log(JSON.stringify({ other, handle: handle.constructor.name, stack: error.stack }));
      await handle.close();
      await promises.readFile("/nowhere");
    `);
    const said = JSON.parse(ran.stdout);
    expect(said).toMatchObject({ other: [], handle: "FileHandle" });
    expect(said.stack).toMatch(/src\/[a-z/-]+\.ts:\d+/);
    expect(ran.stderr).not.toContain("missing sourcemaps");
  });

  test("the node backend works where it is asked for", () => {
    const ran = program(
      `import { backend, readFile } from "bun-uring";
       console.log(backend, (await readFile(import.meta.path, "utf8")).length > 0);`,
      { BUN_URING_BACKEND: "node" },
    );
    expect(ran.stdout, ran.stderr).toBe("node true\n");
  });

  test("the command line runs", () => {
    const cli = join(app, "node_modules", ".bin", "bun-uring");
    const doctor = run([process.execPath, cli, "doctor", "--json"], app, bareEnvironment);
    expect(doctor, doctor.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(doctor.stdout)).toMatchObject({ backend: "io_uring" });
    writeFileSync(join(app, "from.txt"), "copied by the command line");
    const copied = run([process.execPath, cli, "cp", "from.txt", "to.txt"], app, bareEnvironment);
    expect(copied, copied.stderr).toMatchObject({ code: 0 });
    expect(readFileSync(join(app, "to.txt"), "utf8")).toBe("copied by the command line");
  });

  test("a strict TypeScript program compiles against it without allowing .ts imports", () => {
    writeFileSync(
      join(app, "typed.ts"),
      `import { open, readFile } from "bun-uring/promises";
       export async function size(path: string): Promise<number> {
         await using handle = await open(path);
         const { bytesRead } = await handle.read(Buffer.alloc(16), 0, 16, 0);
         return bytesRead + (await readFile(path)).length;
       }\n`,
    );
    const settings = {
      compilerOptions: {
        strict: true,
        noEmit: true,
        target: "esnext",
        module: "esnext",
        moduleResolution: "bundler",
        lib: ["esnext"],
        skipLibCheck: false,
        types: [join(root, "node_modules", "@types", "bun")],
      },
      files: ["typed.ts"],
    };
    writeFileSync(join(app, "tsconfig.json"), JSON.stringify(settings));
    const compiled = run([process.execPath, join(root, "node_modules", ".bin", "tsc"), "-p", "."], app, process.env);
    const ours = compiled.stdout.split("\n").filter((line) => line.includes("error") && !line.includes("@types"));
    expect(ours).toEqual([]);
  }, 120_000);
});

describe("imported by another runtime", () => {
  const source = `
    import * as index from "bun-uring";
    import * as promises from "bun-uring/promises";
    import * as server from "bun-uring/server";
    await promises.writeFile("note.txt", "hello");
    const [one, none] = await index.readMany(["note.txt", "none"], { encoding: "utf8" });
    let said = "";
    try { await index.copyTree("a", "b"); } catch (error) { said = error.message; }
    const names = [index, promises, server].map((face) => Object.keys(face).sort());
    const text = await promises.readFile("note.txt", "utf8");
    const sizes = (await index.statMany(["note.txt"])).map(({ value }) => value.size);
    await index.shutdown();
    const { backend, reason } = index.capabilities();
    console.log(JSON.stringify({ text, read: [one.value, none.reason.code], sizes, said, backend, reason: reason.code, names }));
  `;

  for (const runtime of ["node", "deno"]) {
    const found = Bun.which(runtime);
    test.skipIf(found === null)(
      `${runtime}: node:fs/promises' functions under the same names, and a clear word for the rest${found === null ? ` [skipped: no ${runtime}]` : ""}`,
      () => {
        writeFileSync(join(app, "elsewhere.mjs"), source);
        const start = runtime === "deno" ? [found!, "run", "-A", "elsewhere.mjs"] : [found!, "elsewhere.mjs"];
        const ran = run(start, app, { ...process.env, DENO_NO_UPDATE_CHECK: "1" });
        expect(ran, ran.stderr).toMatchObject({ code: 0 });
        const { said, names, ...rest } = JSON.parse(ran.stdout);
        expect(rest).toEqual({
          text: "hello",
          read: ["hello", "ENOENT"],
          sizes: [5],
          backend: "node",
          reason: "PLATFORM",
        });
        expect(said).toMatch(/^copyTree is unavailable: bun-uring uses io_uring in Bun only, and this is /);
        const here = program(`
          const faces = [import("bun-uring"), import("bun-uring/promises"), import("bun-uring/server")];
          console.log(JSON.stringify((await Promise.all(faces)).map((face) => Object.keys(face).sort())));
        `);
        // What holds the chunks of the bundle together is no name of the package's.
        const wanted = JSON.parse(here.stdout).map((face: string[]) => face.filter((name) => name !== "core"));
        expect(names).toEqual(wanted);
      },
    );
  }
});

describe("bundled by its user, and moved away from node_modules", () => {
  const source = `
    import { backend, capabilities, shutdown } from "bun-uring";
    import { readFile, writeFile } from "bun-uring/promises";
    async function main() {
      await writeFile(process.argv[2], "hello ring");
      const text = await readFile(process.argv[2], "utf8");
      console.log(JSON.stringify({ text, backend, reason: capabilities().reason?.message ?? null }));
      await shutdown();
    }
    void main();
  `;

  /** Bundles the program and returns the folder that holds what came of it, and nothing else. */
  function bundled(...flags: readonly string[]): string {
    writeFileSync(join(app, "main.ts"), source);
    const out = tmpDir();
    const built = run([process.execPath, "build", "main.ts", ...flags, join(out, "app")], app, process.env);
    expect(built, built.stderr).toMatchObject({ code: 0 });
    const elsewhere = tmpDir();
    cpSync(out, elsewhere, { recursive: true });
    return elsewhere;
  }

  const ways: readonly [string, readonly string[]][] = [
    ["--compile", ["--compile", "--outfile"]],
    ["--compile --minify --bytecode", ["--compile", "--minify", "--bytecode", "--outfile"]],
    ["--target bun", ["--target", "bun", "--outdir"]],
    ["--target bun --minify --splitting", ["--target", "bun", "--minify", "--splitting", "--outdir"]],
  ];
  for (const [name, flags] of ways)
    test(`${name}: io_uring as before`, () => {
      const folder = bundled(...flags);
      const start = flags[0] === "--compile" ? [join(folder, "app")] : [process.execPath, join(folder, "app/main.js")];
      const ran = run([...start, join(folder, "note.txt")], folder, bareEnvironment);
      expect(ran, ran.stderr).toMatchObject({ code: 0 });
      expect(JSON.parse(ran.stdout)).toEqual({ text: "hello ring", backend: "io_uring", reason: null });
    }, 120_000);

  faultTest(
    "a temporary folder that is full, or where nothing may be executed: the node backend, and why",
    { needs: ["root", "tmpfs", "ioUring"] },
    async () => {
      const folder = bundled("--compile", "--outfile");
      const temporary = tmpDir();
      for (const options of ["size=4k", "size=1m,noexec"]) {
        command("mount", "-t", "tmpfs", "-o", options, "bun-uring-test", temporary);
        const guard = onDeath('umount -l "$1"', temporary);
        try {
          const env = { ...bareEnvironment, TMPDIR: temporary, BUN_TMPDIR: temporary };
          const ran = run([join(folder, "app"), join(folder, "note.txt")], folder, env);
          expect(ran, ran.stderr).toMatchObject({ code: 0 });
          const said = JSON.parse(ran.stdout);
          expect(said).toMatchObject({ text: "hello ring", backend: "node" });
          expect(said.reason).toContain("can't be loaded");
        } finally {
          command("umount", temporary);
          await guard.standDown();
        }
      }
    },
  );
});
