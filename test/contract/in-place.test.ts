// Owns that this package can stand in for node:fs/promises: a program that mocks the module gets it everywhere, and so
// does the package itself, which must not come back to itself for ever.

import { expect, test } from "bun:test";
import { runCase } from "../helpers/child.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();

test("put in place of node:fs/promises, it still reaches Bun's own functions", async () => {
  const result = await runCase(`${import.meta.dir}/in-place.child.ts`, "replaced", { input: tmp.folder() });
  expect(result).toEqual({ replaced: true, names: ["a", "b"], real: true });
});
