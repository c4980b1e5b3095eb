// Bundles the two entry points and the command line into dist. Forty source files cost three times as much to load as
// a bundle does; what the three share lies in one chunk, so that a process has one copy of the library and one ring.
// Never minifies: a stack trace from a user must be readable.

import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

mkdirSync("dist", { recursive: true });
// A chunk's name changes with its content: what an earlier run left would be packed.
for (const name of readdirSync("dist")) if (name.endsWith(".js")) rmSync(`dist/${name}`);

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
  entrypoints: ["src/index.ts", "src/promises.ts", "src/server.ts", "src/cli/main.ts"],
  outdir: "dist",
  target: "bun",
  format: "esm",
  splitting: true,
  root: "src",
  naming: { entry: "[name].[ext]", chunk: "chunk-[hash].[ext]" },
  plugins: [libraryOutside],
});
if (!result.success) throw new AggregateError(result.logs, "the bundle could not be made");
let named = 0;
for (const name of readdirSync("dist").filter((file) => file.endsWith(".js"))) {
  const text = readFileSync(`dist/${name}`, "utf8");
  const plain = text.replace(/\b__require\((?="[^"]*\/liburing-shim\.so"\))/g, () => {
    named++;
    return "require(";
  });
  if (plain !== text) writeFileSync(`dist/${name}`, plain);
}
if (named !== 3) throw new Error(`the bundle names the native library ${named} times, not 3`);
renameSync("dist/main.js", "dist/cli.js");
chmodSync("dist/cli.js", 0o755);
