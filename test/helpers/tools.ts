// Owns the small C programs the fault tests need: builds test/helpers/<name>.c into build/test/ when it is missing or old.
// Assumes gcc (see requirements.ts, which turns its absence into a counted skip).
// Never builds anything of the package itself.

import { mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";

const helpers = import.meta.dir;
const outDir = join(helpers, "../../build/test");

/** The path of a built helper program. Throws with the compiler's words when it does not build. */
export function tool(name: string): string {
  const source = join(helpers, `${name}.c`);
  const binary = join(outDir, name);
  if (isCurrent(binary, source)) return binary;
  mkdirSync(outDir, { recursive: true });
  const fresh = `${binary}.${process.pid}`;
  const gcc = Bun.spawnSync(["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o", fresh, source]);
  if (gcc.exitCode !== 0) throw new Error(`gcc ${name}.c: ${gcc.stderr}`);
  renameSync(fresh, binary); // Whole or not at all: test files of a parallel run may build it too.
  return binary;
}

function isCurrent(binary: string, source: string): boolean {
  const built = statSync(binary, { throwIfNoEntry: false });
  return built !== undefined && built.mtimeMs >= statSync(source).mtimeMs;
}
