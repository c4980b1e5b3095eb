// Owns how "auto" begins (backend/early.ts): plain calls are Bun's own, with Node's behaviour, and no ring is made
// for a process that does little; for one that does much, or whose thread pool is stuck, one is.
// Assumes nothing of this process's backend: each case is a process of its own.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { currentBackend } from "../../src/backend/choose.ts";
import { withLimits } from "../helpers/as-user.ts";
import { runCase, startCase } from "../helpers/child.ts";
import { testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "early.child.ts");
/** Whether a ring can be had here at all. */
const ringThere = currentBackend().name === "io_uring";

describe("the beginning of a process", () => {
  const tmp = scratch();
  const run = (name: string): Promise<any> =>
    runCase(fixture, name, { input: tmp.folder(), env: { BUN_URING_BACKEND: "auto" } });

  test("what a small program does needs no ring", async () => {
    const names = ["b", "large", "one"];
    expect(await run("program")).toEqual(["one and two", names, 3_000_000, 3_000_000, false, 0o600, 11, false]);
  });

  testUnless(!ringThere && "no ring", "a stream of some chunks loads no library", async () => {
    expect(await run("streams")).toEqual([600_000, false, 3_000_000, true, false]);
  });

  test("streams on descriptors need no ring", async () => {
    expect(await run("adopted")).toEqual(["tent", "content", false]);
  });

  testUnless(!ringThere && "no ring", "a program that does much has one", async () => {
    expect(await run("many")).toEqual([false, true]);
  });

  testUnless(!ringThere && "no library", "who can't load the library for want of a descriptor asks again", async () => {
    const options = { env: { BUN_URING_BACKEND: "auto" }, prefix: withLimits({ nofile: 64 }) };
    expect(await runCase<unknown>(fixture, "noDescriptorToSeek", options)).toEqual({
      without: [null, null],
      later: "function",
    });
  });

  test("calls that are not plain go the long way", async () => {
    expect(await run("notPlain")).toEqual({ taken: [], plain: "content", made: ["file"] });
  });

  test("a small tree is copied without the code of rings, handles and walks", async () => {
    expect(await run("copied")).toEqual(["text", false, []]);
  });

  test("a small tree is copied as any other", async () => {
    expect(await run("trees")).toEqual([true, [], ["tooMany", "tooDeep", "hole", "bytes"]]);
  });

  test("what cp refuses it refuses early, too", async () => {
    const [wanted, early] = await run("copyRefused");
    expect(early).toBe(wanted);
  });

  test("a mode that comes from Stats is as plain as any", async () => {
    expect(await run("modes")).toEqual([]);
  });

  testUnless(
    !ringThere && "no ring",
    "a file that was opened early is appended to as ever, and its position is its end",
    async () => {
      const seen = { early: true, name: "io_uring", bytesRead: 0, content: "kept more" };
      expect(await run("appending")).toEqual(seen);
    },
  );

  test("what is under way at the exit is done, and done once", async () => {
    const folder = tmp.folder();
    const child = startCase(fixture, "ending", { input: folder, env: { BUN_URING_BACKEND: "auto" } });
    expect((await child.finished()).exitCode).toBe(0);
    expect(readFileSync(join(folder, "file"), "utf8")).toBe("kept and more");
    expect(readFileSync(join(folder, "new"), "utf8")).toBe("content");
    expect(readdirSync(folder).toSorted()).toEqual(["a", "copy", "file", "new"]);
    expect(readdirSync(join(folder, "a"))).toEqual(["b"]);
  });

  test("a thread that was busy takes nothing for stuck", async () => {
    expect(await run("busy")).toEqual([true, false]);
  });

  testUnless(!ringThere && "no ring", "a pool that is stuck does not hold up reads", async () => {
    expect(await run("stuck")).toEqual(["content", true]);
  });

  test("looks see what Bun's functions see", async () => {
    expect(await run("looks")).toEqual([[], false]);
  });

  test("options are read once", async () => {
    expect(await run("options")).toEqual([2, 3, "mine"]);
  });

  test("errors are Node's, and their stacks name the caller", async () => {
    const [silent, renamed, removed, notEmpty] = await run("errors");
    expect(silent).toEqual([]);
    expect(renamed[0].map(([key]: [string]) => key)).toEqual(["errno", "code", "syscall", "path", "dest"]);
    expect(renamed[1]).toMatch(/^ENOTDIR: not a directory, rename '.*' -> '.*'$/);
    expect(removed[1]).toMatch(/^ENOENT: no such file or directory, lstat '/);
    expect(notEmpty[1]).toMatch(/^ENOTEMPTY: directory not empty, rmdir '/);
  });
});
