// Owns what the package has beyond Node's API: allocate, advise, syncRange, rename with conditions, extended attributes.
// Assumes a file system with holes and user.* attributes under the temporary folder. On the node backend: that each says
// that it can't be had, and that a plain rename works all the same.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { currentBackend } from "../../src/backend/choose.ts";
import type { OpenFile } from "../../src/backend/interface.ts";
import { type Advice, advise, allocate, rename, syncRange } from "../../src/handle/space.ts";
import { getxattr, listxattr, removexattr, setxattr } from "../../src/handle/xattr.ts";
import { backend } from "../../src/index.ts";
import { ringThread } from "../../src/ring/context.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const DATA = patternBytes(20_000);
const path = tmp.file(DATA);
let file: OpenFile;
beforeAll(async () => {
  file = await currentBackend().open(path, 2, 0);
});
afterAll(() => currentBackend().close(file));

async function reasonOf(promise: Promise<unknown>): Promise<NodeJS.ErrnoException> {
  return promise.then(
    () => {
      throw new Error("it did not reject");
    },
    (reason) => reason,
  );
}

describeUnless(backend !== "io_uring" && "no ring", "on a ring", () => {
  test("allocate reserves space, keeps the size, makes holes and zeros", async () => {
    await allocate(file, 0, 1 << 20, { keepSize: true });
    expect([statSync(path).size, statSync(path).blocks >= 2048]).toEqual([20_000, true]);
    await allocate(file, 0, 30_000);
    expect(statSync(path).size).toBe(30_000);
    await allocate(file, 4096, 4096, { punchHole: true });
    await allocate(file, 100, 50, { zeroRange: true });
    const expected = Buffer.concat([DATA, Buffer.alloc(10_000)])
      .fill(0, 4096, 8192)
      .fill(0, 100, 150);
    expect(readFileSync(path).equals(expected)).toBe(true);
    expect((await reasonOf(allocate(file, 0, 0))).code).toBe("ERR_OUT_OF_RANGE");
    expect((await reasonOf(allocate(file, 0, 1, { punchHole: true, zeroRange: true }))).code).toBe(
      "ERR_INVALID_ARG_VALUE",
    );
  });

  test("advise and syncRange take a range and refuse what is none", async () => {
    for (const advice of ["normal", "random", "sequential", "willneed", "dontneed", "noreuse"] as const)
      await advise(file, 0, 0, advice);
    await syncRange(file, 0, 4096);
    expect((await reasonOf(advise(file, 0, 0, "soon" as Advice))).code).toBe("ERR_INVALID_ARG_VALUE");
    expect((await reasonOf(syncRange(file, -1, 0))).code).toBe("ERR_OUT_OF_RANGE");
    const closed = await currentBackend().open(path, 0, 0);
    await currentBackend().close(closed);
    expect(await reasonOf(advise(closed, 0, 0, "normal"))).toMatchObject({ code: "EBADF", syscall: "fadvise" });
  });

  testUnless(lacking("RENAMEAT"), "rename refuses to replace, and exchanges", async () => {
    const [one, two, three] = [tmp.file("one"), tmp.file("two"), tmp.path()];
    const refused = await reasonOf(rename(one, two, { noReplace: true }));
    expect(refused).toMatchObject({ code: "EEXIST", syscall: "rename", path: one, dest: two });
    await rename(one, two, { exchange: true });
    expect([readFileSync(one, "utf8"), readFileSync(two, "utf8")]).toEqual(["two", "one"]);
    await rename(one, three, { noReplace: true });
    expect([existsSync(one), readFileSync(three, "utf8")]).toEqual([false, "two"]);
    expect((await reasonOf(rename(one, two, { noReplace: true, exchange: true }))).code).toBe("ERR_OUT_OF_RANGE");
  });

  testUnless(lacking("SETXATTR"), "attributes give their memory back, also when they fail", async () => {
    const thread = ringThread();
    if (!("readBuffers" in thread)) throw new Error(thread.message);
    await setxattr(path, "user.lane", "value");
    const free = thread.readBuffers.acquire();
    thread.readBuffers.release(free);
    for (let i = 0; i < 3; i++) {
      await setxattr(path, "user.lane", "value");
      await getxattr(path, "user.lane");
      await reasonOf(getxattr(path, "user.none"));
      await listxattr(path);
    }
    const next = thread.readBuffers.acquire(); // the same one again: last in, first out
    thread.readBuffers.release(next);
    expect(next).toBe(free);
    await removexattr(path, "user.lane");
  });

  testUnless(lacking("SETXATTR"), "extended attributes of paths and open files", async () => {
    const long = tmp.file("x", "n".repeat(200));
    for (const target of [path, Buffer.from(path), file, long]) {
      const value = patternBytes(1000);
      await setxattr(target, "user.bytes", value);
      await setxattr(target, "user.text", "één");
      expect((await getxattr(target, "user.bytes")).equals(value)).toBe(true);
      expect(await getxattr(target, "user.text", { encoding: "utf8" })).toBe("één");
      expect((await listxattr(target)).filter((name) => name.startsWith("user.")).sort()).toEqual([
        "user.bytes",
        "user.text",
      ]);
      expect(await listxattr(target)).not.toContain("");
      expect((await reasonOf(setxattr(target, "user.text", "", { create: true }))).code).toBe("EEXIST");
      expect((await reasonOf(setxattr(target, "user.none", "", { replace: true }))).code).toBe("ENODATA");
      await setxattr(target, "user.text", "", { replace: true });
      expect((await getxattr(target, "user.text")).length).toBe(0);
      await removexattr(target, "user.bytes");
      await removexattr(target, "user.text");
      expect((await reasonOf(removexattr(target, "user.text"))).code).toBe("ENODATA");
      expect((await listxattr(target)).filter((name) => name.startsWith("user."))).toEqual([]);
    }
    expect(await reasonOf(getxattr(path, "user.none"))).toMatchObject({ code: "ENODATA", syscall: "getxattr", path });
    expect(await reasonOf(getxattr(file, "user.none"))).toMatchObject({ code: "ENODATA", syscall: "fgetxattr" });
    expect((await reasonOf(getxattr(path, `user.${"x".repeat(300)}`))).code).toBe("ERR_OUT_OF_RANGE");
    expect((await reasonOf(setxattr(path, "user.x", 5 as never))).code).toBe("ERR_INVALID_ARG_TYPE");
    expect((await reasonOf(listxattr(tmp.path()))).code).toBe("ENOENT");
  });
});

testUnless(
  backend === "io_uring" && "there is a ring",
  "without a ring they say that they can't be had; a plain rename works",
  async () => {
    const calls = [
      allocate(file, 0, 1),
      advise(file, 0, 0, "normal"),
      syncRange(file, 0, 0),
      getxattr(path, "user.x"),
      setxattr(path, "user.x", ""),
      listxattr(file),
      removexattr(path, "user.x"),
      rename(path, tmp.path(), { noReplace: true }),
    ];
    for (const call of calls) expect((await reasonOf(call)).code).toBe("ERR_FEATURE_UNAVAILABLE_ON_PLATFORM");
    const [from, to] = [tmp.file("moved"), tmp.path()];
    await rename(from, to);
    expect(readFileSync(to, "utf8")).toBe("moved");
  },
);
