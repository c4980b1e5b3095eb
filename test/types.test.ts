// Owns that the package's types are node:fs/promises': compiles test/types with the project's compiler.
// Assumes TypeScript as pinned. Nothing of it is run; test/types says what must hold.

import { expect, test } from "bun:test";
import { join } from "node:path";

const compiler = join(import.meta.dir, "../node_modules/.bin/tsc");

test("the module is assignable to node:fs/promises and back, FileHandle and overloads included", () => {
  const { exitCode, stdout } = Bun.spawnSync([compiler, "-p", join(import.meta.dir, "types"), "--pretty", "false"]);
  expect(stdout.toString()).toBe("");
  expect(exitCode).toBe(0);
}, 60_000);
