// Owns that the package's types are node:fs/promises', and that the programs in README and docs compile.
// Assumes TypeScript as pinned. Nothing of it is run; test/types says what must hold.

import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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

test("the defaults of bun-uring/fs and bun-uring/promises, and fs.promises, have every type by its name", () => {
  const read = (path: string): string => readFileSync(join(import.meta.dir, "..", path), "utf8");
  const names = (text: string): string[] =>
    [...text.matchAll(/^ {4}(?:export )?(?:interface|type|class) (\w+)/gm)].map(([, name]) => name!);
  const namespace = (file: string, head: string): Set<string> => {
    const text = read(file);
    const [block] = new RegExp(`^${head} \\{[\\s\\S]*?^${/^ */.exec(head)![0]}\\}`, "m").exec(text) ?? [""];
    return new Set([...block.matchAll(/^ +type (\w+)/gm)].map(([, name]) => name!));
  };
  for (const [file, head, theirs] of [
    ["src/promises.ts", "declare namespace promises", "fs/promises.d.ts"],
    ["src/fs.ts", "export declare namespace promises", "fs/promises.d.ts"],
    ["src/fs.ts", "  namespace promises", "fs/promises.d.ts"],
    ["src/fs.ts", "declare namespace fs", "fs.d.ts"],
  ] as const) {
    const ours = namespace(file, head);
    const wanted = names(read(`node_modules/@types/node/${theirs}`));
    expect(wanted.length).toBeGreaterThan(10);
    expect([head, wanted.filter((name) => !ours.has(name))]).toEqual([head, []]);
  }
});

test("the programs in README and docs compile as they stand", () => {
  const root = join(import.meta.dir, "..");
  const folder = join(root, "build/documents");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const compilerOptions = {
    noUnusedLocals: false,
    paths: { "bun-uring": ["../../src/index.ts"], "bun-uring/*": ["../../src/*.ts"] },
  };
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ extends: "../../tsconfig.json", include: ["."], compilerOptions }),
  );
  // What the pages leave to the reader.
  writeFileSync(
    join(folder, "reader.d.ts"),
    "declare const order: object, state: object, app: any; declare function replay(data: Uint8Array): void;\n",
  );
  let programs = 0;
  for (const page of ["README.md", "docs/server.md", "docs/uploads.md", "docs/durability.md"]) {
    const text = readFileSync(join(root, page), "utf8");
    for (const [, program] of text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)) {
      writeFileSync(join(folder, `${page.replace(/\W/g, "-")}-${++programs}.ts`), `${program}export {};\n`);
    }
  }
  expect(programs).toBeGreaterThan(9);
  const { exitCode, stdout } = Bun.spawnSync([compiler, "-p", folder, "--noEmit", "--pretty", "false"]);
  expect(stdout.toString()).toBe("");
  expect(exitCode).toBe(0);
}, 60_000);
