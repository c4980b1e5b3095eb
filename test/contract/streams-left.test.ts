// Owns what becomes of a stream that its user drops in the middle: it is collected, and its file closed.
// Assumes a child per implementation; a few descriptors may be left, where the collector takes dead values for live.

import { expect } from "bun:test";
import { join } from "node:path";
import { forEachImplementation } from "../helpers/backends.ts";
import { runCase } from "../helpers/child.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "streams-left.child.ts");
const lines = Buffer.from(`${"x".repeat(79)}\n`.repeat(40_000));

forEachImplementation((_fs, name, it) => {
  const tmp = scratch();
  const module = name === "bun-uring" ? join(import.meta.dir, "../../src/promises.ts") : name;

  it("streams that are dropped in the middle are collected, and their files closed", async () => {
    const left = await runCase<Record<string, boolean>>(fixture, "dropped", {
      input: { module, path: tmp.file(lines) },
    });
    expect(Object.entries(left).filter(([, isClosed]) => !isClosed)).toEqual([]);
  });

  it("a file that is piped to a client that goes away is closed", async () => {
    const path = tmp.file(patternBytes(8 << 20));
    expect(await runCase<boolean>(fixture, "clientsGone", { input: { module, path } })).toBe(true);
  });
}, "streams-left");
