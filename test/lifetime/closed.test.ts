// Owns that a ring which is closed, or whose thread ends, with work under way leaves nothing: descriptors, mappings and promises
// are compared after every close, for each kind of work. Memory that the kernel still writes to: late-memory.test.ts.
// Assumes io_uring; a process of its own, as descriptors are a process's.

import { expect } from "bun:test";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import { faultTest } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "closed.child.ts");
const tmp = scratch();
const needs = ["ioUring"] as const;
const env = { BUN_URING_BACKEND: "uring" };

function run<T>(name: string): Promise<T> {
  return runCase<T>(fixture, name, { input: { dir: tmp.folder() }, env, timeoutMs: 60_000 });
}

faultTest(
  "a ring that is closed over each kind of work leaves nothing of it",
  { needs, timeoutMs: 60_000 },
  async () => {
    expect(await run<object>("closing")).toEqual({});
  },
);

faultTest("nor memory, however often", { needs, timeoutMs: 60_000 }, async () => {
  const { mibPerRound } = await run<{ mibPerRound: number }>("memory");
  // A round has some 20 MiB of the ring's in use, and a lost region is 1 MiB or more.
  expect(mibPerRound).toBeLessThan(3);
});

faultTest("a Worker that ends over it leaves no ring", { needs, timeoutMs: 60_000 }, async () => {
  expect(await run<object>("threads")).toEqual({ rings: 0 });
});
