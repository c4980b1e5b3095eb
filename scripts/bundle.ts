// Bundles the two entry points and the command line into dist. Forty source files cost three times as much to load as
// a bundle does; what the three share lies in one chunk, so that a process has one copy of the library and one ring.
// Never minifies: a stack trace from a user must be readable.

import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";

mkdirSync("dist", { recursive: true });
// A chunk's name changes with its content: what an earlier run left would be packed.
for (const name of readdirSync("dist")) if (name.endsWith(".js")) rmSync(`dist/${name}`);

const result = await Bun.build({
  entrypoints: ["src/index.ts", "src/promises.ts", "src/cli/main.ts"],
  outdir: "dist",
  target: "bun",
  format: "esm",
  splitting: true,
  root: "src",
  naming: { entry: "[name].[ext]", chunk: "chunk-[hash].[ext]" },
});
if (!result.success) throw new AggregateError(result.logs, "the bundle could not be made");
renameSync("dist/main.js", "dist/cli.js");
chmodSync("dist/cli.js", 0o755);
