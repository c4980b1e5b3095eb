// The rules of the house: which file may import which, how files open and how long they are, what is never committed.
// Assumes git and a work tree; reads sources as text, never runs them. A new file of src needs a line in FLOORS.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const MAX_LINES = 400;

/** From the public face down to the pure tables. A file imports from its own floor or lower ones. */
const FLOORS: readonly (readonly string[])[] = [
  [
    "errno",
    "validate",
    "constants",
    "stats",
    "path",
    "flags",
    "abort",
    "signal",
    "limits",
    "bun-fs",
    "options",
    "transfer",
    "ranges",
  ],
  ["native", "layout"],
  ["sqe", "buffer", "aligned", "lease", "descriptor", "doorbell", "lane", "mounts"],
  ["ring", "operation", "loop", "patience", "capabilities", "thread", "pool-memory"],
  [
    "backend",
    "backend-interface",
    "node-backend",
    "uring-backend",
    "uring-operation",
    "uring-close",
    "uring-file",
    "uring-path",
    "uring-whole",
    "uring-large",
    "uring-batch",
    "uring-chain",
    "uring-copy",
    "uring-remove",
    "uring-synced",
    "direct",
    "facts",
    "submission",
    "whole-file",
    "introspect",
  ],
  [
    "promises",
    "open",
    "content",
    "file-handle",
    "open-handle",
    "file-content",
    "file-attributes",
    "kin",
    "unclosed",
    "turns",
    "syncs",
    "gather",
    "delegated",
    "directory",
    "remove",
    "watch",
    "batch",
    "extras",
    "xattr",
    "draft",
    "run",
    "chain",
    "tuning",
    "uring",
    "pool",
    "make-path",
    "chunk-memory",
    "read-ahead",
    "stream",
    "web-stream",
    "copy",
    "copy-pipeline",
    "cp",
    "cp-tree",
    "listing",
    "refusal",
    "tree",
    "tree-attributes",
    "file",
    "durable",
    "root",
  ],
  ["index", "cli", "cli-cp", "cli-doctor", "cli-progress", "cli-text", "cli-verify"],
];

/** What a file other than the command line may import besides its neighbours: nothing is installed with the package. */
const BUILTIN = /^(node:|bun$|bun:)/;

interface Import {
  readonly from: string;
  readonly specifier: string;
  readonly typeOnly: boolean;
}

const sources = readdirSync(join(root, "src"))
  .filter((name) => name.endsWith(".ts"))
  .map((name) => ({ name: name.slice(0, -3), text: readFileSync(join(root, "src", name), "utf8") }));

/** Static imports, re-exports and dynamic imports, as they are written; the formatter keeps them at this shape. */
function importsOf(name: string, text: string): Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?(?:[\w*{}\s,$]+?\sfrom\s+)?"([^"]+)"/gm);
  const dynamic = text.matchAll(/\bimport\("([^"]+)"\)/g);
  return [
    ...Array.from(statements, (match) => ({ from: name, specifier: match[2]!, typeOnly: match[1] !== undefined })),
    ...Array.from(dynamic, (match) => ({ from: name, specifier: match[1]!, typeOnly: false })),
  ];
}

const imports = sources.flatMap(({ name, text }) => importsOf(name, text));
const neighbour = ({ specifier }: Import): string | undefined => /^\.\/([a-z-]+)\.ts$/.exec(specifier)?.[1];
const floorOf = (name: string): number => FLOORS.findIndex((rooms) => rooms.includes(name));

describe("floors", () => {
  test("every source file has its floor", () => {
    expect(sources.map(({ name }) => name).filter((name) => floorOf(name) < 0)).toEqual([]);
  });

  test("imports only go down", () => {
    const upwards = imports.filter((one) => {
      const target = neighbour(one);
      return target !== undefined && floorOf(target) > floorOf(one.from);
    });
    expect(upwards.map(({ from, specifier }) => `${from}.ts imports ${specifier}`)).toEqual([]);
  });

  test("no two files import each other's values", () => {
    const edges = new Map<string, string[]>();
    for (const one of imports) {
      const target = neighbour(one);
      if (target !== undefined && !one.typeOnly) edges.set(one.from, [...(edges.get(one.from) ?? []), target]);
    }
    const cycles: string[] = [];
    const walk = (path: readonly string[]): void => {
      for (const next of edges.get(path.at(-1)!) ?? []) {
        if (next === path[0]) cycles.push([...path, next].join(" -> "));
        else if (!path.includes(next)) walk([...path, next]);
      }
    };
    for (const name of edges.keys()) walk([name]);
    expect(cycles).toEqual([]);
  });

  test("native.ts alone speaks to bun:ffi, and the ground floor to Node's own modules only", () => {
    const ffi = imports.filter(({ specifier }) => specifier === "bun:ffi").map(({ from }) => from);
    expect(ffi.filter((name) => name !== "native")).toEqual([]);
    const ground = imports.filter(
      (one) => floorOf(one.from) === 0 && neighbour(one) === undefined && !one.specifier.startsWith("node:"),
    );
    expect(ground.map(({ from, specifier }) => `${from}.ts imports ${specifier}`)).toEqual([]);
  });

  test("the library needs no installed package; the command line bundles its own", () => {
    const foreign = imports.filter(
      (one) => neighbour(one) === undefined && !BUILTIN.test(one.specifier) && !one.from.startsWith("cli"),
    );
    expect(foreign.map(({ from, specifier }) => `${from}.ts imports ${specifier}`)).toEqual([]);
    expect(Object.keys(manifest().dependencies ?? {})).toEqual([]);
  });
});

describe("sources", () => {
  test(`no file is longer than ${MAX_LINES} lines`, () => {
    const long = sources.filter(({ text }) => text.trimEnd().split("\n").length > MAX_LINES);
    expect(long.map(({ name }) => name)).toEqual([]);
  });

  test("every file opens by saying what it owns", () => {
    const silent = sources.filter(({ text }) => !/^(#!.*\n)?\/[/*] ?\S/.test(text));
    expect(silent.map(({ name }) => name)).toEqual([]);
  });

  test("no file is unused", () => {
    const used = new Set(["index", "promises", "cli"]);
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
