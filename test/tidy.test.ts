// The rules of the house: which file may import which, how files open and how long they are, what is never committed.
// Assumes git and a work tree; reads sources as text, never runs them. A new folder of src needs a line in ROOMS.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const root = join(import.meta.dir, "..");
const MAX_LINES = 400;

/**
 * The rooms: which folders each folder of src may import, its own always. `seam` stands for the files of backend/ that
 * say what a backend is and choose one. Type imports count. The files beside the rooms are the package's public face.
 */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  node: [],
  kernel: ["node"],
  ring: ["kernel", "node"],
  "backend/uring": ["ring", "kernel", "node", "seam"],
  backend: ["backend/uring", "ring", "kernel", "node"],
  memory: ["seam", "ring", "kernel", "node"],
  streams: ["seam", "node"],
  handle: ["streams", "seam", "node"],
  fs: ["handle", "streams", "seam", "node"],
  tree: ["fs", "seam", "node", "memory"],
  raw: ["handle", "ring", "kernel", "node", "seam"],
  server: ["durable", "tree", "fs", "handle", "streams", "raw", "memory", "seam", "ring", "kernel", "node"],
  durable: ["tree", "fs", "handle", "streams", "memory", "seam", "node"],
  "": ["server", "durable", "tree", "fs", "handle", "streams", "raw", "memory", "backend", "ring", "kernel", "node"],
  cli: [""],
};
const SEAM = ["backend/interface", "backend/choose", "backend/loops", "backend/direct"];

/** What a file other than the command line may import besides its neighbours: nothing is installed with the package. */
const BUILTIN = /^(node:|bun$|bun:)/;

interface Import {
  readonly from: string;
  readonly specifier: string;
  readonly typeOnly: boolean;
}

/** Every file of src, named by its path there without the ending: "ring/loop", "index". */
const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => ({ name: name.slice(0, -3), text: readFileSync(join(root, "src", name), "utf8") }));

/** The shim: one file for the compiler, which includes the others. */
const shim = readdirSync(join(root, "native")).map((name) => {
  return { name: `native/${name}`, text: readFileSync(join(root, "native", name), "utf8") };
});

/** Static imports, re-exports, dynamic imports and requires, as they are written; the formatter keeps them at this shape. */
function importsOf(name: string, text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?(?:[\w*{}\s,$]+?\sfrom\s+)?"([^"]+)"/gm);
  const dynamic = text.matchAll(/\b(?:import\("|require\("(?=[^"]+\.ts"))([^"]+)"\)/g);
  return [
    ...Array.from(statements, (match) => ({ from: name, specifier: match[2]!, typeOnly: match[1] !== undefined })),
    ...Array.from(dynamic, (match) => ({ from: name, specifier: match[1]!, typeOnly: false })),
  ];
}

const imports = sources.flatMap(({ name, text }) => importsOf(name, text));
const neighbour = ({ from, specifier }: Import): string | undefined =>
  /^\.\.?\/.*\.ts$/.test(specifier) ? normalize(join(dirname(from), specifier)).slice(0, -3) : undefined;
const roomOf = (name: string): string => (name.includes("/") ? dirname(name) : "");

function isAllowed(from: string, target: string): boolean {
  const [here, there] = [roomOf(from), roomOf(target)];
  const allowed = ROOMS[here] ?? [];
  return here === there || allowed.includes(there) || (allowed.includes("seam") && SEAM.includes(target));
}

describe("rooms", () => {
  test("every folder of src is a room with its rule, and the seam's files exist", () => {
    const names = sources.map(({ name }) => name);
    expect([...new Set(names.map(roomOf))].filter((room) => !(room in ROOMS))).toEqual([]);
    expect(SEAM.filter((name) => !names.includes(name))).toEqual([]);
  });

  test("a file imports what its room may", () => {
    const breaches = imports.flatMap((one) => {
      const target = neighbour(one);
      return target === undefined || isAllowed(one.from, target) ? [] : [`${one.from} -> ${target}`];
    });
    expect([...new Set(breaches)]).toEqual([]);
  });

  test("a name is exported for another file of src, or for a test that is named here", () => {
    const FOR_TESTS = ["delegateMissing", "explain", "SHAPES", "summaryText"];
    const unused = sources.flatMap(({ name, text }) =>
      Array.from(text.matchAll(/^export (?:async )?(?:const|function\*?|class) (\w+)/gm), ([, exported]) => exported!)
        .filter((exported) => {
          const word = new RegExp(`\\b${exported}\\b`);
          return !sources.some((other) => other.name !== name && word.test(other.text));
        })
        .filter((exported) => !FOR_TESTS.includes(exported) && roomOf(name) !== "")
        .map((exported) => `${name}: ${exported}`),
    );
    expect(unused).toEqual([]);
  });

  test("no two files import each other's values", () => {
    const edges = new Map<string, string[]>();
    for (const one of imports) {
      const target = neighbour(one);
      if (target !== undefined && !one.typeOnly) edges.set(one.from, [...(edges.get(one.from) ?? []), target]);
    }
    // What can be reached from a file, and reaches it, is in a cycle with it.
    const reached = new Map<string, Set<string>>();
    const reach = (name: string): Set<string> => {
      const known = reached.get(name);
      if (known !== undefined) return known;
      const found = new Set<string>();
      // A Set visits what is added to it while it is walked.
      const walk = new Set(edges.get(name) ?? []);
      for (const next of walk) {
        found.add(next);
        for (const further of edges.get(next) ?? []) walk.add(further);
      }
      reached.set(name, found);
      return found;
    };
    const cycles = [...edges.keys()].filter((name) => reach(name).has(name));
    expect(cycles).toEqual([]);
  });

  test("kernel/shim.ts alone speaks to bun:ffi, and room node to Node's own modules only", () => {
    const ffi = imports.filter(({ specifier }) => specifier === "bun:ffi").map(({ from }) => from);
    expect(ffi.filter((name) => name !== "kernel/shim")).toEqual([]);
    const ground = imports.filter(
      (one) => roomOf(one.from) === "node" && neighbour(one) === undefined && !one.specifier.startsWith("node:"),
    );
    expect(ground.map(({ from, specifier }) => `${from}.ts imports ${specifier}`)).toEqual([]);
  });

  test("timers and clocks come from node/clock.ts, which took them before a fake was in their place", () => {
    const strays = sources.flatMap(({ name, text }) => {
      if (name === "node/clock" || roomOf(name) === "cli") return [];
      const code = text.replace(/^\s*(\/\/|\*|\/\*).*$/gm, "");
      const taken = /import \{([^}]*)\} from "[./\w]*clock\.ts";/.exec(code)?.[1] ?? "";
      const used = code.matchAll(
        /(?<![.\w#])(set(?:Immediate|Timeout|Interval)|clear(?:Immediate|Timeout|Interval)|queueMicrotask)\b/g,
      );
      const bare = [...used].map((match) => match[1]!).filter((timer) => !taken.includes(timer));
      const direct =
        code.match(/\b(performance\.now|Date\.now|process\.(nextTick|hrtime|uptime)|globalThis\.set\w+)/g) ?? [];
      return [...new Set([...bare, ...direct])].map((one) => `${name}.ts uses ${one}`);
    });
    expect(strays).toEqual([]);
  });

  test("node:fs as it was at load: its asynchronous functions are had from node/bun-fs.ts only", () => {
    const values = /^import (?!type)(?:(\*) as|\{([^}]+)\}).* from "node:fs(?:\/promises)?";$/gm;
    const wrong = sources.flatMap(({ name, text }) =>
      Array.from(text.matchAll(values), ([, all, names]) => [all ?? "", ...(names ?? "").split(",")])
        .flat()
        .map((one) => one.trim())
        .filter((one) => one !== "" && !/^type |Sync$|^constants$|^Stats$/.test(one))
        .map((one) => `${name}: ${one}`),
    );
    expect(wrong.filter((one) => !/^(node\/bun-fs|cli\/)/.test(one))).toEqual([]);
  });

  test("the library needs no installed package; the command line bundles its own", () => {
    const foreign = imports.filter(
      (one) => neighbour(one) === undefined && !BUILTIN.test(one.specifier) && roomOf(one.from) !== "cli",
    );
    expect(foreign.map(({ from, specifier }) => `${from}.ts imports ${specifier}`)).toEqual([]);
    expect(Object.keys(manifest().dependencies ?? {})).toEqual([]);
  });
});

describe("sources", () => {
  test(`no file is longer than ${MAX_LINES} lines`, () => {
    const long = [...sources, ...shim].filter(({ text }) => text.trimEnd().split("\n").length > MAX_LINES);
    expect(long.map(({ name }) => name)).toEqual([]);
  });

  test("every file opens by saying what it owns", () => {
    const silent = [...sources, ...shim].filter(({ text }) => !/^(#!.*\n)?\/[/*] ?\S/.test(text));
    expect(silent.map(({ name }) => name)).toEqual([]);
  });

  test("no file is unused", () => {
    const used = new Set(["index", "promises", "fs", "register", "server", "durable", "cli/main"]);
    // A Set visits what is added to it while it is walked.
    for (const name of used) {
      for (const one of imports) {
        const target = neighbour(one);
        if (one.from === name && target !== undefined) used.add(target);
      }
    }
    expect(sources.map(({ name }) => name).filter((name) => !used.has(name))).toEqual([]);
  });
});

describe("what is committed", () => {
  const tracked = Bun.spawnSync(["git", "ls-files", "--cached", "--others", "--exclude-standard"], { cwd: root })
    .stdout.toString()
    .split("\n")
    .filter((path) => path !== "" && existsSync(join(root, path)) && statSync(join(root, path)).isFile());
  const texts = tracked
    .filter((path) => !/\.(png|gz|tgz|bin)$/.test(path))
    .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));

  test("git lists the tree", () => {
    expect(tracked.length).toBeGreaterThan(sources.length);
  });

  test("no path of one developer's machine", () => {
    // In two parts, so that this file passes its own test.
    const machinePath = new RegExp(
      `(^|[\\s"'\`=(:])/(${["wo" + "rk/", "ho" + "me/[a-z]", "Us" + "ers/"].join("|")})`,
      "m",
    );
    expect(texts.filter(({ text }) => machinePath.test(text)).map(({ path }) => path)).toEqual([]);
  });

  test("no address of a package registry or mirror", () => {
    const host = new RegExp(
      `https?://[a-z0-9.-]*(${["regis" + "try", "mir" + "ror", "deb\\.deb" + "ian"].join("|")})[a-z0-9.-]*`,
      "i",
    );
    expect(texts.filter(({ text }) => host.test(text)).map(({ path }) => path)).toEqual([]);
    expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain('"resolved"');
  });

  test("every command the documents name is one the Makefile or the manifest has", () => {
    const makefile = readFileSync(join(root, "Makefile"), "utf8");
    const targets = new Set(Array.from(makefile.matchAll(/^([a-z][a-z-]*):/gm), (match) => match[1]!));
    const benches = join(root, "bench", "workloads");
    for (const file of existsSync(benches) ? readdirSync(benches) : [])
      targets.add(`bench-${file.replace(/\.ts$/, "")}`);
    const unknown: string[] = [];
    for (const { path, text } of texts) {
      if (!path.endsWith(".md")) continue;
      for (const command of commandsIn(text)) {
        for (const word of command.split(/\s+/).slice(1)) {
          if (/^[a-z][a-z-]*$/.test(word) && !targets.has(word)) unknown.push(`${path}: ${command}`);
        }
      }
    }
    expect(unknown).toEqual([]);
  });
});

/** `make …` commands in code spans and code blocks, without comments and without what a placeholder stands for. */
function commandsIn(markdown: string): string[] {
  const blocks = Array.from(markdown.matchAll(/^```[^\n]*\n([\s\S]*?)^```/gm), (match) => match[1]!.split("\n")).flat();
  const spans = Array.from(markdown.matchAll(/`([^`\n]+)`/g), (match) => match[1]!);
  return [...blocks, ...spans]
    .map((line) => line.replace(/^\$ /, "").replace(/\s*(#|&&|\||;).*$/, ""))
    .filter((line) => /^make( |$)/.test(line));
}

function manifest(): { dependencies?: Record<string, string> } {
  return JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
}
