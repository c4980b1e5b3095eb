// Owns that the package's types are node:fs/promises': compiles test/types with the project's compiler.
// Assumes TypeScript as pinned. Nothing of it is run; test/types says what must hold.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const compiler = join(import.meta.dir, "../node_modules/.bin/tsc");

test("the module is assignable to node:fs/promises and back, FileHandle and overloads included", () => {
  const { exitCode, stdout } = Bun.spawnSync([compiler, "-p", join(import.meta.dir, "types"), "--pretty", "false"]);
  expect(stdout.toString()).toBe("");
  expect(exitCode).toBe(0);
}, 60_000);

test("bun-uring/promises exports every type of node:fs/promises by its name", () => {
  const read = (path: string): string => readFileSync(join(import.meta.dir, "..", path), "utf8");
  const theirs = read("node_modules/@types/node/fs/promises.d.ts").matchAll(/^ {4}(?:interface|type|class) (\w+)/gm);
  const [list] = /export type \{[^}]*\} from "node:fs\/promises"/.exec(read("src/promises.ts")) ?? [""];
  const ours = new Set([...list.matchAll(/\w+/g)].map(([name]) => name).concat("FileHandle"));
  expect([...theirs].map(([, name]) => name!).filter((name) => !ours.has(name))).toEqual([]);
});
