// Compiles a program against the published declarations with old and new compilers, with and without lib.dom, and checks
// the libraries' own declarations, too (skipLibCheck false). Compilers come from the registry, by npx: `make check-types`.
// Assumes dist/types as `make prebuild` makes it. What an old compiler says of @types itself is not ours.

import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const VERSIONS = ["5.4", "5.6", "5.9", "6.0", "7.0"];
const LIBS = [["esnext"], ["esnext", "dom", "dom.iterable"]];
const root = join(import.meta.dir, "..");
const app = join(root, "build/types");

rmSync(app, { recursive: true, force: true });
mkdirSync(join(app, "node_modules"), { recursive: true });
symlinkSync(root, join(app, "node_modules/bun-uring"));
for (const name of ["@types", "bun-types", "undici-types"]) {
  symlinkSync(join(root, "node_modules", name), join(app, "node_modules", name));
}
writeFileSync(
  join(app, "program.ts"),
  `import fs, { createReadStream, promises, readFile as readThen, type Stats } from "bun-uring/fs";
   import defaults from "bun-uring/promises";
   import { type FileHandle, type FileReadResult, type FlagAndOpenMode, open, readFile } from "bun-uring/promises";
   import { copyTree, Ring, type FileHandle as Same } from "bun-uring";
   import "bun-uring/register";
   export async function size(path: string): Promise<number> {
     const handle: FileHandle = await open(path);
     const same: Same = handle;
     const { bytesRead }: FileReadResult<Buffer> = await same.read(Buffer.alloc(16), 0, 16, 0);
     return bytesRead + (await readFile(path)).length;
   }
   readThen("x", "utf8", (_error, text) => { const checked: string = text; void checked; });
   fs.stat("x", (_error, stats: Stats) => stats.size);
   const mode: FlagAndOpenMode = { mode: 1 };
   let byName: [fs.Dirent<Buffer>, fs.promises.FileHandle, promises.FileHandle, defaults.FileReadResult<Buffer>] | null;
   byName = null;
   void [createReadStream, copyTree, Ring, mode, byName];\n`,
);

let wrong = 0;
for (const version of VERSIONS) {
  for (const lib of LIBS) {
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: "esnext",
      module: "esnext",
      moduleResolution: "bundler",
      lib,
      types: ["node"],
      skipLibCheck: false,
      preserveSymlinks: true,
    };
    writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.ts"] }));
    const command = ["npx", "--yes", "-p", `typescript@${version}`, "tsc", "-p", ".", "--pretty", "false"];
    const { stdout, stderr, exitCode } = Bun.spawnSync(command, { cwd: app });
    const lines = stdout.toString().split("\n");
    const errors = lines.filter(
      (line) => line.includes("error TS") && !/node_modules\/(@types|bun-types)\//.test(line),
    );
    if (exitCode !== 0 && !lines.some((line) => line.includes("error TS")))
      errors.push(stderr.toString() || "no answer");
    wrong += errors.length;
    console.log(`TypeScript ${version}, lib ${lib.join(" ")}: ${errors.length === 0 ? "ok" : errors.join("\n")}`);
  }
}
process.exit(wrong === 0 ? 0 : 1);
