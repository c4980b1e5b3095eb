// Bundles the entry points and the command line into dist. A hundred source files cost several times as much to load as
// a bundle does. All that a short program needs of `bun-uring/promises` lies in one small chunk, what is needed to check arguments
// and to choose a backend in a second one; everything else imports both, so that a process has one copy of the library and
// one ring. What is required by a function on its first call (`require("./x.ts")` in src) becomes a file of its own, and is
// neither read nor parsed before.
// Never minifies, and ships source maps: a stack trace from a user must be readable.

import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

mkdirSync("dist", { recursive: true });
// A chunk's name changes with its content: what an earlier run left would be packed.
for (const name of readdirSync("dist")) if (/\.js(\.map)?$/.test(name)) rmSync(`dist/${name}`);

const src = join(import.meta.dir, "../src");
const PUBLIC = ["index.ts", "promises.ts", "fs.ts", "register.ts", "server.ts", "durable.ts", "cli/main.ts"].map(
  (name) => join(src, name),
);
/** Those of which nothing else gives the functions their names. */
const NAMED = ["index.ts", "server.ts", "durable.ts"].map((name) => join(src, name));
const CORE = join(src, "promises.ts");
/** What reaches all of the second chunk. */
const BASE = join(src, "backend/choose.ts");

/** What needs nothing of that. */
const EARLY = join(src, "backend/early-tree.ts");

/** The files that are loaded by a function's first call. */
const deferred = new Set<string>();
for (const name of readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"))) {
  const text = readFileSync(join(src, name), "utf8");
  for (const [, path] of text.matchAll(/\brequire\("(\.[^"]+\.ts)"\)/g)) deferred.add(join(src, dirname(name), path!));
}
const named = new Set([...deferred].map((path) => basename(path)));
if (named.size !== deferred.size) throw new Error("two deferred files have one name");

/** What gives a public module's exports their names back. */
const naming = (path: string): string[] => [
  `import * as self from ${JSON.stringify(path)};`,
  `import { named } from ${JSON.stringify(join(src, "node/named.ts"))};`,
  "named(self);",
];

/** A deferred file stays outside of what requires it; every entry reaches the core and, but for the core, the base: one chunk each. */
const deferredOutside: Bun.BunPlugin = {
  name: "deferred-outside",
  setup(build) {
    build.onResolve({ filter: /^\..*\.ts$/ }, ({ kind, path }) =>
      kind === "require-call" ? { path: `./${basename(path, ".ts")}.js`, external: true } : undefined,
    );
    build.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      if (path === CORE || !(deferred.has(path) || PUBLIC.includes(path))) return undefined;
      const text = await Bun.file(path).text();
      const added = deferred.has(path)
        ? [
            `export { default as core } from ${JSON.stringify(CORE)};`,
            ...(path === BASE || path === EARLY
              ? []
              : [`export { currentBackend as base } from ${JSON.stringify(BASE)};`]),
          ]
        : [
            `import core from ${JSON.stringify(CORE)};`,
            `import { currentBackend as base } from ${JSON.stringify(BASE)};`,
            "core.constants;",
            "base.name;",
            ...(NAMED.includes(path) ? naming(path) : []),
          ];
      return { contents: [text, ...added].join("\n"), loader: "ts" };
    });
  },
};

/**
 * The native library stays outside, named by its place in the package, and named in the way that the bundler of the
 * package's user looks for: a plain `require` with a literal path (src/kernel/library.ts).
 */
const libraryOutside: Bun.BunPlugin = {
  name: "library-outside",
  setup(build) {
    build.onResolve({ filter: /\/liburing-shim\.so$/ }, ({ path }) => ({
      path: path.replace(/^(\.\.\/)+/, "../"),
      external: true,
    }));
  },
};

const result = await Bun.build({
  entrypoints: [...PUBLIC, ...deferred],
  outdir: "dist",
  target: "bun",
  format: "esm",
  splitting: true,
  root: "src",
  naming: { entry: "[name].[ext]", chunk: "chunk-[hash].[ext]" },
  sourcemap: "linked",
  plugins: [libraryOutside, deferredOutside],
});
if (!result.success) throw new AggregateError(result.logs, "the bundle could not be made");

/**
 * A plain `require` is what a user's bundler follows; a file that says "// @bun", and so is not parsed a second time by
 * Bun, has only import.meta.require.
 */
const either = (path: string): string =>
  `(typeof require === "function" ? require(${path}) : import.meta.require(${path}))`;
let libraries = 0;
let files = 0;
for (const name of readdirSync("dist").filter((file) => file.endsWith(".js"))) {
  const text = readFileSync(`dist/${name}`, "utf8");
  const plain = text.replace(/\b__require\(("[^"]*")\)/g, (all, path: string) => {
    if (path.endsWith('/liburing-shim.so"')) {
      libraries++;
      return `require(${path})`;
    }
    if (!path.startsWith('"./')) return all;
    files++;
    return either(path);
  });
  if (plain !== text) writeFileSync(`dist/${name}`, plain);
}
if (libraries !== 3) throw new Error(`the bundle names the native library ${libraries} times, not 3`);
if (files < deferred.size) throw new Error(`the bundle requires ${files} files later, and has ${deferred.size}`);
renameSync("dist/main.js.map", "dist/cli.js.map");
writeFileSync("dist/cli.js", readFileSync("dist/main.js", "utf8").replace(/=main\.js\.map$/m, "=cli.js.map"));
rmSync("dist/main.js");
chmodSync("dist/cli.js", 0o755);
// It looks at what the modules export, and so loads them: on any machine, whatever backend the environment asks for.
process.env["BUN_URING_BACKEND"] = "node";
const { writeFaces } = await import("./elsewhere/faces.ts");
writeFaces("dist/elsewhere");
