// Bundles src/cli.ts into dist/cli.js, with the development-only libraries it draws its progress with.
// Every other file of src stays outside and is imported from ../src, so that a process has one copy of the library
// and one ring. Never minifies: a stack trace from a user must be readable.
import type { BunPlugin } from "bun";

const librarySources: BunPlugin = {
  name: "library-sources",
  setup(build): void {
    build.onResolve({ filter: /^\.\/(?!cli)[a-z-]+\.ts$/ }, ({ path }) => ({
      path: `../src/${path.slice(2)}`,
      external: true,
    }));
  },
};

const result = await Bun.build({
  entrypoints: ["src/cli.ts"],
  outdir: "dist",
  target: "bun",
  format: "esm",
  plugins: [librarySources],
});
for (const output of result.outputs) {
  if (output.kind === "entry-point") await Bun.$`chmod +x ${output.path}`;
}
