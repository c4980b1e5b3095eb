// writeFileAtomic, sweepTemp and locks, on both backends.
// Assumes a folder. The crash is in the durability tests.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { lock, sweepTemp, writeFileAtomic } from "../../src/durable.ts";
import { open } from "../../src/index.ts";
import { openRoot } from "../../src/server.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error) => error.code ?? String(error),
  );

describe("writeFileAtomic", () => {
  test("makes and replaces, in each durability, from each kind of data", async () => {
    const dir = tmp.folder();
    const path = join(dir, "value");
    const big = patternBytes(3_000_000);
    async function* pieces(): AsyncGenerator<string> {
      yield "a";
      yield "b";
    }
    for (const durability of ["none", "data", "full"] as const) {
      await writeFileAtomic(path, "text", { durability });
      expect(readFileSync(path, "utf8")).toBe("text");
      await writeFileAtomic(path, big, { durability });
      expect(readFileSync(path).equals(big)).toBe(true);
      await writeFileAtomic(path, pieces(), { durability });
      expect(readFileSync(path, "utf8")).toBe("ab");
    }
    expect(readdirSync(dir)).toEqual(["value"]);
  });

  test("readers see the old or the new, never a part", async () => {
    const path = tmp.path();
    await writeFileAtomic(path, "0".repeat(100_000));
    let writing = true;
    const writers = (async () => {
      for (let i = 1; i < 60; i++) await writeFileAtomic(path, String(i % 10).repeat(100_000), { durability: "none" });
      writing = false;
    })();
    while (writing) {
      const text = readFileSync(path, "utf8");
      expect([text.length, new Set(text).size]).toEqual([100_000, 1]);
      await Bun.sleep(0);
    }
    await writers;
  });

  test("keeps mode and owner of what it replaces; mode and owner may be given", async () => {
    const path = tmp.file("old");
    chmodSync(path, 0o640);
    const isRoot = process.getuid!() === 0;
    if (isRoot) chownSync(path, 65534, 65534);
    await writeFileAtomic(path, "new");
    expect(statSync(path).mode & 0o7777).toBe(0o640);
    if (isRoot) expect([statSync(path).uid, statSync(path).gid]).toEqual([65534, 65534]);
    await writeFileAtomic(path, "newer", { mode: 0o604, owner: { uid: process.getuid!(), gid: process.getgid!() } });
    expect([statSync(path).mode & 0o7777, statSync(path).uid]).toEqual([0o604, process.getuid!()]);
  });

  test("overwrite: false refuses what is there; of many at once one succeeds", async () => {
    const path = tmp.path();
    const outcomes = await Promise.all(
      Array.from({ length: 16 }, (_, i) => code(writeFileAtomic(path, `${i}`, { overwrite: false }))),
    );
    expect(outcomes.filter((outcome) => outcome === "resolved").length).toBe(1);
    expect(outcomes.filter((outcome) => outcome === "EEXIST").length).toBe(15);
    expect(readFileSync(path, "utf8")).toBe(String(outcomes.indexOf("resolved")));
    expect(readdirSync(dirname(path)).filter((name) => name.startsWith(".bun-uring-"))).toEqual([]);
  });

  test("a link is replaced, not followed; what fails or is aborted leaves nothing", async () => {
    const dir = tmp.folder();
    const target = join(dir, "target");
    writeFileSync(target, "target");
    symlinkSync("target", join(dir, "link"));
    await writeFileAtomic(join(dir, "link"), "own");
    expect([readFileSync(target, "utf8"), lstatSync(join(dir, "link")).isFile()]).toEqual(["target", true]);
    const controller = new AbortController();
    const aborted = code(writeFileAtomic(target, patternBytes(8_000_000), { signal: controller.signal }));
    setTimeout(() => controller.abort(), 1);
    expect(["ABORT_ERR", "resolved"]).toContain(await aborted);
    async function* failing(): AsyncGenerator<string> {
      yield "a";
      throw Object.assign(new Error("mine"), { code: "MINE" });
    }
    expect(await code(writeFileAtomic(target, failing()))).toBe("MINE");
    expect(await code(writeFileAtomic(dir, "x"))).toMatch(/^E(ISDIR|EXIST|NOTEMPTY)$/);
    expect(await code(writeFileAtomic(join(dir, "no/such"), "x"))).toBe("ENOENT");
    expect(await code(writeFileAtomic(target, "x", { durability: "some" as never }))).toBe("ERR_INVALID_ARG_VALUE");
    expect(await code(writeFileAtomic(target, "x", { signal: { aborted: false } as never }))).toBe(
      "ERR_INVALID_ARG_TYPE",
    );
    expect(readdirSync(dir).toSorted()).toEqual(["link", "target"]);
  });

  test("sweepTemp removes what a crash has left, and nothing that is young or another's", async () => {
    const dir = tmp.folder();
    const old = (Date.now() - 120_000).toString(36);
    const names = [
      `.bun-uring-${old}-0123456789ab.tmp`,
      `.bun-uring-${Date.now().toString(36)}-0123456789ab.tmp`,
      ".bun-uring-x.tmp",
      "other.tmp",
    ];
    for (const name of names) writeFileSync(join(dir, name), "");
    expect(await sweepTemp(dir)).toBe(1);
    expect(readdirSync(dir).toSorted()).toEqual(names.slice(1).toSorted());
  });

  test("beneath a root", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    await root.writeFileAtomic("value", "one");
    await root.writeFileAtomic("value", "two", { durability: "none" });
    expect(readdirSync(dir)).toEqual(["value"]);
    expect(readFileSync(join(dir, "value"), "utf8")).toBe("two");
    expect(await code(root.writeFileAtomic("../value", "x"))).toBe("ERR_OUTSIDE_ROOT");
    expect(await code(root.writeFileAtomic("value", "x", { overwrite: false }))).toBe("EEXIST");
    expect(existsSync(join(dir, "../value"))).toBe(false);
  });
});

describe("locks", () => {
  test("exclude each other, are shared where asked, wait, time out, hear a signal, and are released", async () => {
    const path = tmp.path();
    const first = await lock(path);
    const refused = await lock(path, { wait: false }).catch((error) => error);
    expect([refused.code, refused.holder]).toEqual(["ERR_LOCKED", process.pid]);
    expect(await code(lock(path, { timeoutMs: 20 }))).toBe("ETIMEDOUT");
    expect(await code(lock(path, { signal: AbortSignal.timeout(20) }))).toBe("ABORT_ERR");
    let order = "";
    const waiting = lock(path).then(async (second) => {
      order += "second ";
      await second.release();
    });
    await Bun.sleep(10);
    order += "first ";
    await first.release();
    await first.release();
    await waiting;
    expect(order).toBe("first second ");
    await using a = await lock(path, { exclusive: false });
    await using b = await lock(path, { exclusive: false, wait: false });
    expect([a.exclusive, b.exclusive]).toEqual([false, false]);
    expect(await code(lock(path, { wait: false }))).toBe("ERR_LOCKED");
  });

  test("of a handle go with it; another process's end with that", async () => {
    const path = tmp.file();
    const handle = await open(path, "r+");
    const held = await handle.lock();
    expect(held.exclusive).toBe(true);
    expect(await code(lock(path, { wait: false }))).toBe("ERR_LOCKED");
    await handle.close();
    await (await lock(path, { wait: false })).release();
    const child = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const { lock } = await import(${JSON.stringify(new URL("../../src/durable.ts", import.meta.url).pathname)});
         await lock(${JSON.stringify(path)}); console.log("held"); await new Promise(() => setInterval(() => {}, 1000));`,
      ],
      { stdout: "pipe" },
    );
    await child.stdout.getReader().read();
    const refused = await lock(path, { wait: false }).catch((error) => error);
    expect(refused.holder).toBe(child.pid);
    child.kill("SIGKILL");
    await (await lock(path, { timeoutMs: 10_000 })).release();
  });
});
