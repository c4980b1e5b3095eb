// A Worker that ends hurts nobody: what the kernel would still write into its heap is cancelled and waited for before the
// heap goes, and memory that it has handed on stays where it is.
// Assumes a child per case: a write to freed memory may take it down.

import { describe, expect } from "bun:test";
import { runCase } from "../helpers/child.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = `${import.meta.dir}/worker-memory.child.ts`;
const needs = ["ioUring"] as const;
const env = { BUN_URING_BACKEND: "uring" };
const slow = missing(["slow"]) === null;
const dir = tmpDir();
const rounds = slow ? 20 : 2;

describe("what waits in the kernel when a Worker ends writes nowhere", () => {
  for (const kind of ["read", "readv", "raw", "readBatch", "readFile", "contents", "stream", "many"])
    for (const end of kind === "read" || slow ? ["terminate", "exit", "throws"] : ["terminate"])
      faultTest(`${kind}, ${end}`, { needs, timeoutMs: 60_000 }, async () => {
        const input = { dir, kind, end, rounds };
        expect(await runCase<number>(fixture, "ends", { input, env, timeoutMs: 50_000 })).toBe(0);
      });
});

describe("memory of a pool that a Worker has posted outlives the Worker", () => {
  for (const end of ["terminate", "exit", "close", "itself"])
    faultTest(end, { needs }, async () => {
      expect(await runCase<number[]>(fixture, "posted", { input: { dir, end }, env })).toEqual([1, 2]);
    });
});
