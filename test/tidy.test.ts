// The rules of the house: which file may import which, how files open and how long they are, what is never committed.
// Assumes git and a work tree; reads sources as text, never runs them. A new folder of src needs a line in ROOMS.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { dirname, join, normalize } from "node:path";
import { allMutants, misfits } from "./mutants/mutant.ts";

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
/** What the package and its command are entered by. */
const ENTRIES = ["index", "promises", "fs", "register", "server", "durable", "cli/main"];
/** Exported for tests alone. */
const FOR_TESTS = ["CELL_BYTES", "delegateMissing", "explain", "SetupOptions", "SHAPES", "summaryText"];
/** Negative numbers that are no errno. */
const NO_ERRNO = ["AT_FDCWD", "INCOMPLETE", "NOT_A_FILE"];
/** Packages whose command has another name. */
const COMMANDS = ["@arethetypeswrong/cli"];
/** Files that rules below speak of. */
const RULED = ["kernel/shim", "node/bun-fs", "node/clock", "node/errno"];
/** Files that comments and documents name which are not the repository's: a reader's own, and the kernel's. */
const NOT_OURS = /^(app\.ts|examples\/NAME\.ts|(asm|asm-generic|include|io_uring|linux|fs\/fuse)\/.*\.[ch])$/;

/** What a file other than the command line may import besides its neighbours: nothing is installed with the package. */
const BUILTIN = /^(node:|bun$|bun:)/;

interface Import {
  readonly from: string;
  readonly specifier: string;
  /** The names that are taken; null: all, as one object. */
  readonly names: readonly string[] | null;
}

/** Every file of src, named by its path there without the ending: "ring/loop", "index". */
const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => ({ name: name.slice(0, -3), text: readFileSync(join(root, "src", name), "utf8") }));

/** The shim: one file for the compiler, which includes the others. */
const shim = readdirSync(join(root, "native")).map((name) => {
  return { name: `native/${name}`, text: readFileSync(join(root, "native", name), "utf8") };
});

const namesIn = (list: string): string[] =>
  list
    .split(",")
    .map((one) => one.trim().replace(/^type /, ""))
    .filter((one) => one !== "");

/** Static imports, re-exports, dynamic imports and requires, of types, too, as they are written; the formatter keeps them at this shape. */
function importsOf(name: string, text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(?:type\s)?(?:([\w*{}\s,$]+?)\sfrom\s+)?"([^"]+)"/gm);
  const dynamic = text.matchAll(/\b(?:import\("|require\("(?=[^"]+\.ts"))([^"]+)"\)(?:\.(\w+))?/g);
  return [
    ...Array.from(statements, ([, taken = "{}", specifier]) => {
      const list = /^\{([^}]*)\}$/.exec(taken)?.[1];
      const names = list === undefined ? null : namesIn(list).map((one) => one.split(" as ")[0]!);
      return { from: name, specifier: specifier!, names };
    }),
    ...Array.from(dynamic, ([, specifier, one]) => ({
      from: name,
      specifier: specifier!,
      names: one === undefined ? null : [one],
    })),
  ];
}

/** The names that a file exports: declared there, or in a list. */
function exportsOf(text: string): string[] {
  const declared =
    /^export (?:async |abstract )*(?:const|function\*?|class|interface|type|enum) (\w+)|^export \{([^}]*)\}/gm;
  return Array.from(text.matchAll(declared), ([, one, list]) =>
    one === undefined ? namesIn(list!).map((each) => each.split(" as ").at(-1)!) : [one],
  ).flat();
}

/** Whether some other file imports the name, or takes the whole file and has the name after a dot, in braces or in quotes. */
function isTaken(name: string, exported: string): boolean {
  const mentioned = new RegExp(`[.{,"]\\s*${exported}\\b`);
  return imports.some((one) => {
    if (neighbour(one) !== name) return false;
    if (one.names !== null) return one.names.includes(exported);
    const text = sources.find((other) => other.name === one.from)!.text;
    return mentioned.test(text) || /^export \* from/m.test(text);
  });
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
  test("every folder of src is a room with its rule, and every name that a rule lists is there", () => {
    const names = sources.map(({ name }) => name);
    const rooms = [...new Set(names.map(roomOf))];
    expect(rooms.filter((room) => !(room in ROOMS))).toEqual([]);
    const listed = Object.entries(ROOMS).flatMap(([room, allowed]) => [room, ...allowed]);
    expect(listed.filter((room) => room !== "seam" && !rooms.includes(room))).toEqual([]);
    expect([...SEAM, ...ENTRIES, ...RULED].filter((name) => !names.includes(name))).toEqual([]);
    const declared = (word: string): boolean =>
      sources.some(({ text }) => new RegExp(`^export \\w+ ${word}\\b`, "m").test(text));
    expect(FOR_TESTS.filter((word) => !declared(word))).toEqual([]);
    expect(NO_ERRNO.filter((word) => !sources.some(({ text }) => text.includes(`const ${word} = -`)))).toEqual([]);
  });

  test("a file imports what its room may", () => {
    const breaches = imports.flatMap((one) => {
      const target = neighbour(one);
      return target === undefined || isAllowed(one.from, target) ? [] : [`${one.from} -> ${target}`];
    });
    expect([...new Set(breaches)]).toEqual([]);
  });

  test("which backend runs is asked by nobody: its name stands where it is given, and where it is shown", () => {
    const naming = sources.filter(({ text }) => text.includes('"io_uring"')).map(({ name }) => name);
    expect(naming.sort()).toEqual(["backend/interface", "backend/uring/backend", "index", "status"]);
  });

  test("a name is exported for another file of src, or for a test that is listed here", () => {
    const unused = sources.flatMap(({ name, text }) =>
      roomOf(name) === ""
        ? []
        : exportsOf(text)
            .filter((exported) => !FOR_TESTS.includes(exported) && !isTaken(name, exported))
            .map((exported) => `${name}: ${exported}`),
    );
    expect(unused).toEqual([]);
  });

  test("no files import each other, their types included", () => {
    const edges = new Map<string, string[]>();
    for (const one of imports) {
      const target = neighbour(one);
      if (target !== undefined && target !== one.from) edges.set(one.from, [...(edges.get(one.from) ?? []), target]);
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

  test("node/bun-fs.ts alone imports the values of node:fs/promises", () => {
    const values =
      /^import (?!type\b)(?!\{(?:\s*type \w+,?)+\s*\})[^;]* from "node:fs\/promises";$|(?:import|require|getBuiltinModule)\("node:fs\/promises"\)/m;
    const importing = sources.filter(({ text }) => values.test(text.replace(/typeof import\([^)]*\)/g, "")));
    expect(importing.map(({ name }) => name).filter((name) => !/^(node\/bun-fs|cli\/\w+)$/.test(name))).toEqual([]);
  });

  test("errno numbers stand in node/errno.ts alone", () => {
    const names = Object.keys(osConstants.errno).join("|");
    const patterns = [
      // A constant of an errno's name that is a number, alone or in a list.
      new RegExp(
        `\\bconst (?:${names})(?:: number)? = -?\\d|\\bconst \\[[^\\]]*\\b(?:${names})\\b[^\\]]*\\] = \\[[^\\]]*\\d`,
      ),
      /\b(?:errno|refusal|rc|res)\)? *[!=]==? *(?:-\d|(?![01]\b)\d)/,
      /\b(?:systemError|errnoCode|readError|explain)\(-?\d/,
      /\berrno: -?[1-9]/,
      // Any other negative number but -1, unless it counts from an array's end or is none of these by its name.
      new RegExp(
        `^(?!.*\\bconst (?:${NO_ERRNO.join("|")}) = )(?!.*\\b(?:at|slice|splice|subarray)\\(-).*(?<![\\w.)\\]] ?)-(?:[2-9]|\\d{2,3})\\b`,
      ),
    ];
    const strays = sources.flatMap(({ name, text }) => {
      if (name === "node/errno") return [];
      const lines = text.split("\n").filter((line) => !/^\s*(\/\/|\*|\/\*)/.test(line));
      return lines.filter((line) => patterns.some((pattern) => pattern.test(line))).map((line) => `${name}: ${line}`);
    });
    expect(strays).toEqual([]);
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
    const used = new Set(ENTRIES);
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

  test("every fault of test/mutants stands in its file once, and names tests that are there", async () => {
    expect(misfits(await allMutants())).toEqual([]);
  });

  test("every package of the manifest is used", () => {
    const using = texts.filter(({ path }) => !/^package(-lock)?\.json$|\.md$|^THIRD_PARTY/.test(path));
    const isUsed = (name: string): boolean => using.some(({ text }) => text.includes(name));
    const idle = Object.keys(manifest().devDependencies ?? {}).filter((name) => !isUsed(name.replace("@types/", "")));
    expect(idle.filter((name) => !COMMANDS.includes(name))).toEqual([]);
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

  test("every file and decision that a comment or a document names is there", () => {
    const cited = /(?<![\w/.$}{*"<>@:-])(?:\.\.?\/)*(?:[\w-]+\/)*[\w.-]*\w\.(?:ts|md|c|h|sh)\b(?![\w*])/g;
    const decisions = readFileSync(join(root, "docs/architecture.md"), "utf8");
    const missing = texts.flatMap(({ path, text }) => {
      if (!/\.(ts|c|h|sh|md)$/.test(path)) return [];
      const places = ["", "src", dirname(path), dirname(dirname(path))];
      return text.split("\n").flatMap((line, i) => {
        const prose = path.endsWith(".md")
          ? line
          : (/^\s*(?:\/\/|\*|\/\*|#).*|\s(?:\/\/|\/\*) .*$/.exec(line)?.[0] ?? "");
        const files = Array.from(prose.matchAll(cited), ([file]) => file)
          .filter((file) => !NOT_OURS.test(file))
          .filter((file) => !places.some((place) => existsSync(join(root, place, file))));
        const unknown = Array.from(
          prose.matchAll(/architecture\.md,? (D\d+[a-z]?)\b/g),
          ([, decision]) => decision!,
        ).filter((decision) => !decisions.includes(`**${decision}. `));
        return [...files, ...unknown].map((one) => `${path}:${i + 1}: ${one}`);
      });
    });
    expect(missing).toEqual([]);
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

function manifest(): { dependencies?: Record<string, string>; devDependencies?: Record<string, string> } {
  return JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
}
