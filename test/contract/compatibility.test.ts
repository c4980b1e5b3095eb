// Owns the agreement between docs/compatibility.md and the list of Bun's differences that the contract suite uses, and
// that the tables of who runs a function leave none out.
// Assumes one table row per id, the id in the first column of the first table.
// Never runs file operations; the contract tests show each row.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import promises from "../../src/promises.ts";
import { DIFFERENCES } from "../helpers/bun-differences.ts";

test("docs/compatibility.md has a row for each difference of Bun, and no other", () => {
  const text = readFileSync(new URL("../../docs/compatibility.md", import.meta.url), "utf8");
  const table = text.split("\n## ")[1]!;
  const ids = [...table.matchAll(/^\| ([a-z][a-z-]+) \|/gm)].map((match) => match[1]!).filter((id) => id !== "id");
  expect(ids).toEqual(DIFFERENCES.map(({ id }) => id).sort());
});

test("no test is listed under two differences", () => {
  const keys = DIFFERENCES.flatMap(({ tests }) => tests);
  expect(keys.filter((key, i) => keys.indexOf(key) !== i)).toEqual([]);
});

test("docs/functions.md and the README's table name every function of the module", () => {
  const names = Object.keys(promises).filter((name) => name !== "constants");
  for (const file of ["docs/functions.md", "README.md"]) {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
    const rows = text.split("\n").filter((line) => /^\| (ring|both|delegated) \||^\| `/.test(line));
    const named = new Set(rows.flatMap((row) => [...row.matchAll(/`([a-zA-Z]+)`/g)].map((match) => match[1]!)));
    expect(names.filter((name) => !named.has(name))).toEqual([]);
  }
});
