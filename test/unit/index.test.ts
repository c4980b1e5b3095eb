// Owns the package's outside: the list of exports, what the package says of itself, and the way out.
// Assumes either backend; runs on both. Never covers what the file functions do.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { release } from "node:os";
import * as library from "../../src/index.ts";
import * as promises from "../../src/promises.ts";
import { testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

/** Some cases run whole programs, on a machine that may be busy. */
setDefaultTimeout(30_000);

const tmp = scratch();
const onRing = library.backend === "io_uring";
const root = `${import.meta.dir}/../..`;

/** What index.ts has beyond promises.ts. */
const OWN =
  "BufferPool CqeFlag FileHandle OPCODE_SINCE Opcode Ring SqeFlag alignedBuffer backend capabilities copyTree getxattr listxattr readMany removexattr setxattr shutdown statMany stats";
/** What has further options there. */
const EXTENDED = ["open", "rename"];

/** Runs a program in a process of its own; resolves to what it printed. */
async function program(source: string, env: Record<string, string> = {}): Promise<{ code: number; text: string }> {
  const child = Bun.spawn([process.execPath, "-e", source], {
    cwd: root,
    env: { ...process.env, ...env },
    stderr: "pipe",
  });
  const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, text: out + errors };
}

describe("exports", () => {
  test("index has all of promises, and its own", () => {
    const shared = Object.keys(promises).filter((name) => name !== "default");
    expect(Object.keys(library).sort()).toEqual([...shared, ...OWN.split(" ")].sort());
    const same = (name: string): boolean => (library as any)[name] === (promises as any)[name];
    expect(shared.filter((name) => !same(name)).sort()).toEqual(EXTENDED);
  });

  test("an import alone leaves nothing that keeps the process alive", async () => {
    expect(await program(`await import("./src/index.ts"); console.log("done")`)).toEqual({ code: 0, text: "done\n" });
  });

  test("an import without a usable library falls back and says why", async () => {
    const { code, text } = await program(
      `const { backend, capabilities, stats, shutdown, readFile } = await import("./src/index.ts");
       await shutdown();
       const read = (await readFile("package.json")).length > 0;
       console.log(JSON.stringify({ backend, read, submitted: stats().submitted, ...capabilities() }));`,
      { BUN_URING_BACKEND: "auto", BUN_URING_LIB: "/nowhere/liburing-shim.so" },
    );
    expect(code).toBe(0);
    expect(JSON.parse(text)).toMatchObject({
      backend: "node",
      read: true,
      submitted: 0,
      reason: { errno: 0, code: "MISSING", message: expect.stringContaining("/nowhere"), remedy: expect.any(String) },
      library: null,
      opcodes: [],
      limits: { sqEntries: 0 },
    });
  });

  test("BUN_URING_BACKEND=uring throws rather than fall back; an unknown value is refused", async () => {
    const env = { BUN_URING_LIB: "/nowhere/liburing-shim.so" };
    const asked = await program(`await import("./src/index.ts")`, { ...env, BUN_URING_BACKEND: "uring" });
    expect(asked.code).toBe(1);
    expect(asked.text).toContain("io_uring is not available");
    const unknown = await program(`await import("./src/index.ts")`, { ...env, BUN_URING_BACKEND: "fast" });
    expect(unknown.code).toBe(1);
    expect(unknown.text).toContain('must be "auto", "uring" or "node", not "fast"');
  });
});

describe("capabilities", () => {
  test("names the kernel and this process's limits", () => {
    const { kernel, limits } = library.capabilities();
    expect(kernel).toBe(`Linux ${release()}`);
    const soft = (name: string): number | null => {
      const value = new RegExp(`^${name} +(\\S+)`, "m").exec(readFileSync("/proc/self/limits", "utf8"))![1]!;
      return value === "unlimited" ? null : Number(value);
    };
    expect(limits.memlock).toBe(soft("Max locked memory"));
    expect(limits.nofile).toBe(soft("Max open files"));
  });

  testUnless(!onRing && "no ring", "on the ring: sizes, names, no reason", () => {
    const found = library.capabilities();
    expect(found).toMatchObject({ backend: "io_uring", reason: null, library: expect.stringContaining(".so") });
    expect(found.limits.sqEntries).toBeGreaterThanOrEqual(8);
    expect(found.limits.cqEntries).toBeGreaterThanOrEqual(found.limits.sqEntries);
    // What every kernel with io_uring at all has, first and last of the first ones by number.
    expect(found.opcodes.slice(0, 5)).toEqual(["NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED"]);
    for (const name of ["READ", "WRITE", "OPENAT", "CLOSE", "STATX"]) expect(found.opcodes).toContain(name);
    expect(new Set(found.opcodes).size).toBe(found.opcodes.length);
    expect(found.features).toContain("NODROP");
    expect(found.setupFlags).not.toContain("SQPOLL");
  });

  testUnless(!onRing && "no ring", "opcode names are the numbers that sqe.ts uses", () => {
    const { opcodes } = library.capabilities();
    // Where every opcode is there, a name's place is its number.
    const last = opcodes.length;
    for (const [name, number] of Object.entries(library.Opcode)) if (number < last) expect(opcodes[number]).toBe(name);
  });

  testUnless(onRing && "there is a ring", "on the node backend: the reason, and nothing of a ring", () => {
    expect(library.capabilities()).toMatchObject({
      backend: "node",
      reason: { code: expect.any(String), message: expect.any(String), remedy: expect.any(String) },
      library: null,
      setupFlags: [],
      features: [],
      opcodes: [],
      restricted: false,
      doorbell: null,
    });
  });
});

describe("stats and shutdown", () => {
  test("stats counts what goes through the ring", async () => {
    const before = library.stats();
    // A sync is the ring's on every kernel, whoever writes what is so small.
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        await using handle = await library.open(tmp.path(), "w");
        await handle.writeFile("counted");
        await handle.sync();
      }),
    );
    const after = library.stats();
    if (onRing) expect(after.submitted).toBeGreaterThan(before.submitted);
    else expect(Object.values(after).every((value) => value === 0)).toBe(true);
    expect(after).toMatchObject({ inFlight: 0, queued: 0 });
    expect(after.completed).toBe(after.submitted);
  });

  test("shutdown waits for what is in flight; the next operation has a new ring", async () => {
    const path = tmp.path();
    const writes = Array.from({ length: 20 }, (_, i) => library.writeFile(`${path}-${i}`, `content ${i}`));
    await Promise.all([library.shutdown(), library.shutdown()]);
    expect(library.stats().submitted).toBe(0);
    await Promise.all(writes);
    for (let i = 0; i < 20; i++) expect(await library.readFile(`${path}-${i}`, "utf8")).toBe(`content ${i}`);
    if (onRing) expect(library.stats().submitted).toBeGreaterThan(0);
  });

  test("shutdown of nothing is fine", async () => {
    await library.shutdown();
    expect(await library.shutdown()).toBeUndefined();
  });

  testUnless(!onRing && "no ring", "shutdown cancels what will not end, and its handle can be closed", async () => {
    const fifo = tmp.fifo();
    const handle = await library.open(fifo, "r+");
    const read = handle.read(Buffer.alloc(8)).catch((error) => error);
    await library.shutdown({ timeoutMs: 50 });
    expect(await read).toMatchObject({ code: "ECANCELED" });
    await handle.close();
    expect(tmp.openFiles()).toEqual([]);
  });
});
