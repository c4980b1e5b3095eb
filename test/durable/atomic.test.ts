// writeFileAtomic, sweepTemp and locks, on both backends.
// Assumes a folder. The crash is in the durability tests.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { currentBackend } from "../../src/backend/choose.ts";
import { replaceBy } from "../../src/durable/atomic.ts";
import { keepFromSweeps } from "../../src/durable/temporary.ts";
import { lock, sweepTemp, writeFileAtomic } from "../../src/durable.ts";
import { capabilities, open } from "../../src/index.ts";
import { openRoot } from "../../src/server.ts";
import { faultTest } from "../helpers/requirements.ts";
import { code } from "../helpers/settled.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";
import { ACCESS_LIST, accessList, DEFAULT_LIST, getXattr, setXattr } from "../helpers/xattr.ts";

const tmp = scratch();

describe("writeFileAtomic", () => {
  test("makes and replaces, in each durability, from each kind of data", async () => {
    const dir = tmp.folder();
    const path = join(dir, "value");
    const big = patternBytes(3_000_000);
    async function* chunks(): AsyncGenerator<string> {
      yield "a";
      yield "b";
    }
    for (const durability of ["none", "data", "full"] as const) {
      await writeFileAtomic(path, "text", { durability });
      expect(readFileSync(path, "utf8")).toBe("text");
      await writeFileAtomic(path, big, { durability });
      expect(readFileSync(path).equals(big)).toBe(true);
      await writeFileAtomic(path, chunks(), { durability });
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

  test("keeps access control list and extended attributes, also at the end of the process; has no list that was not there", async () => {
    const dir = tmp.folder();
    const [listed, plain] = [join(dir, "listed"), join(dir, "plain")];
    const list = accessList(6, { id: 1234, may: 6 }, 0, 6);
    for (const path of [listed, plain]) writeFileSync(path, "old");
    for (const path of [listed, plain]) chmodSync(path, 0o640);
    if (!(await setXattr(listed, ACCESS_LIST, list))) return; // none here
    await setXattr(listed, "user.note", Buffer.from("kept"));
    // What is made in this folder has one, and neither of the two is.
    await setXattr(dir, DEFAULT_LIST, accessList(7, { id: 4321, may: 7 }, 7, 7, 7));
    const same = async (): Promise<void> => {
      expect(await getXattr(listed, ACCESS_LIST)).toEqual(list);
      expect(String(await getXattr(listed, "user.note"))).toBe("kept");
      expect(statSync(listed).mode & 0o7777).toBe(0o660); // the mask in the group's place
      expect(await getXattr(plain, ACCESS_LIST)).toBeNull();
      expect(statSync(plain).mode & 0o7777).toBe(0o640);
    };
    for (const path of [listed, plain]) await writeFileAtomic(path, "new");
    await same();
    const durable = join(import.meta.dir, "../../src/durable.ts");
    const script = `const { writeFileAtomic } = await import(${JSON.stringify(durable)});
      for (const path of process.argv.slice(-2)) writeFileAtomic(path, "last");
      process.exit();`;
    const program = join(dir, "program.ts");
    writeFileSync(program, script);
    const child = Bun.spawn([process.execPath, program, listed, plain], { stderr: "inherit" });
    expect(await child.exited).toBe(0);
    expect([readFileSync(listed, "utf8"), readFileSync(plain, "utf8")]).toEqual(["last", "last"]);
    await same();
    await writeFileAtomic(listed, "newer", { mode: 0o600 });
    expect(statSync(listed).mode & 0o7777).toBe(0o600);
  });

  test("overwrite: false has no name before it is whole, where the file system has such files", async () => {
    const dir = tmp.folder();
    const path = join(dir, "value");
    let names: string[] = [];
    async function* chunks(): AsyncGenerator<string> {
      yield "a";
      names = readdirSync(dir);
      yield "b";
    }
    await writeFileAtomic(path, chunks(), { overwrite: false, mode: 0o604 });
    // A name is given to what has none by LINKAT (5.15).
    expect(names.length).toBe(capabilities().opcodes.includes("LINKAT") ? 0 : 1);
    expect([readFileSync(path, "utf8"), statSync(path).mode & 0o7777]).toEqual(["ab", 0o604]);
    async function* failing(): AsyncGenerator<string> {
      yield "a";
      throw Object.assign(new Error("mine"), { code: "MINE" });
    }
    const other = join(dir, "other");
    expect(await code(writeFileAtomic(other, failing(), { overwrite: false }))).toBe("MINE");
    const signal = AbortSignal.timeout(5);
    const aborted = code(writeFileAtomic(other, patternBytes(30_000_000), { overwrite: false, signal }));
    expect(["ABORT_ERR", 23, "TimeoutError", "resolved"]).toContain(await aborted);
    if (existsSync(other)) unlinkSync(other);
    expect(await code(writeFileAtomic(join(dir, "no/such"), "x", { overwrite: false }))).toBe("ENOENT");
    expect(readdirSync(dir)).toEqual(["value"]);
  });

  test("openRoot has what a crash has left swept", async () => {
    const dir = tmp.folder();
    const left = join(dir, `.bun-uring-${(Date.now() - 120_000).toString(36)}-0123456789ab.tmp`);
    const young = join(dir, `.bun-uring-${Date.now().toString(36)}-0123456789ab.tmp`);
    for (const path of [left, young]) writeFileSync(path, "");
    await using root = await openRoot(dir);
    while (existsSync(left)) await Bun.sleep(5);
    expect(existsSync(young)).toBe(true);
    expect(await root.readdir(".")).toEqual([young.slice(dir.length + 1)]);
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
    const late = new AbortController();
    const before = readFileSync(target);
    const fill = async (): Promise<void> => late.abort(); // when the content is there
    expect(await code(replaceBy(target, { signal: late.signal }, fill))).toBe("ABORT_ERR");
    expect(readFileSync(target).equals(before)).toBe(true);
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

  test("leaves one that somebody still fills, and finds one of a clock that was ahead", async () => {
    const dir = tmp.folder();
    const names = [Date.now() - 120_000, Date.now() + 9_000_000].map(
      (made) => `.bun-uring-${made.toString(36)}-0123456789ab.tmp`,
    );
    for (const name of names) writeFileSync(join(dir, name), "");
    const filling = await lock(join(dir, names[0]!));
    expect(await sweepTemp(dir)).toBe(1);
    expect(readdirSync(dir)).toEqual([names[0]!]);
    await filling.release();
    expect(await sweepTemp(dir)).toBe(1);
  });

  test("one that is made in one go is locked by its name, when that takes long", async () => {
    const dir = tmp.folder();
    const path = join(dir, `.bun-uring-${(Date.now() - 120_000).toString(36)}-0123456789ab.tmp`);
    writeFileSync(path, "");
    const letSweep = keepFromSweeps(currentBackend(), path, 0);
    for (let locked = false; !locked; await Bun.sleep(1)) {
      const other = await lock(path, { wait: false }).catch(() => null);
      locked = other === null;
      await other?.release();
    }
    expect(await sweepTemp(dir)).toBe(0);
    letSweep();
    while ((await sweepTemp(dir)) === 0) await Bun.sleep(1); // it is being closed
    expect(readdirSync(dir)).toEqual([]);
  });

  test("what replaces a private file is nobody else's to read at any moment", async () => {
    const dir = tmp.folder();
    const path = join(dir, "secret");
    for (const given of [undefined, 0o600]) {
      writeFileSync(path, "old");
      chmodSync(path, 0o600);
      let modes: number[] = [];
      async function* chunks(): AsyncGenerator<string> {
        yield "a new secret";
        await Bun.sleep(1);
        modes = readdirSync(dir).map((name) => statSync(join(dir, name)).mode & 0o777);
        yield ".";
      }
      await writeFileAtomic(path, chunks(), { mode: given });
      expect(modes).toEqual([0o600, 0o600]);
      expect(statSync(path).mode & 0o777).toBe(0o600);
    }
    chmodSync(path, 0o4755);
    if (process.getuid!() !== 0) return;
    await writeFileAtomic(path, "x", { owner: { uid: 65534, gid: 65534 } });
    expect(statSync(path).mode & 0o7777).toBe(0o755); // set-user-ID was its old owner's
  });

  test("data that is taken away meanwhile rejects, and the old file stays", async () => {
    const path = tmp.file("old");
    for (const length of [10, 2_000_000]) {
      const data = new Uint8Array(length).fill(65);
      const outcome = code(writeFileAtomic(path, data));
      structuredClone(data, { transfer: [data.buffer] });
      const said = await outcome;
      expect(["ERR_INVALID_STATE", "resolved"]).toContain(said);
      const now = readFileSync(path, "utf8");
      expect(now === (said === "resolved" ? "A".repeat(length) : "old")).toBe(true);
      writeFileSync(path, "old");
    }
  });

  test("goes to the path as it is spelled: any bytes, links on the way, another folder to work in", async () => {
    const dir = tmp.folder();
    const bytes = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0x61, 0xc3])]);
    await writeFileAtomic(bytes, "bytes");
    expect(readFileSync(bytes, "utf8")).toBe("bytes");
    mkdirSync(join(dir, "a/b"), { recursive: true });
    mkdirSync(join(dir, "c"));
    symlinkSync("../a/b", join(dir, "c/link"));
    await writeFileAtomic(`${dir}/c/link/../value`, "beside b");
    expect(readFileSync(join(dir, "a/value"), "utf8")).toBe("beside b");
    expect(readdirSync(join(dir, "c"))).toEqual(["link"]);
    const before = process.cwd();
    try {
      process.chdir(join(dir, "a"));
      const writing = writeFileAtomic("relative", "in a");
      process.chdir(join(dir, "c"));
      await writing;
    } finally {
      process.chdir(before);
    }
    expect(readdirSync(join(dir, "a")).toSorted()).toEqual(["b", "relative", "value"]);
  });

  test("many writers of one name: the last is there, whole, and nothing else", async () => {
    const path = tmp.path();
    await Promise.all(
      Array.from({ length: 40 }, (_, i) => writeFileAtomic(path, `${i}:`.repeat(3000), { durability: "none" })),
    );
    const text = readFileSync(path, "utf8");
    expect(text).toBe(`${Number.parseInt(text, 10)}:`.repeat(3000));
    expect(readdirSync(dirname(path)).filter((name) => name.startsWith(".bun-uring-"))).toEqual([]);
  });

  faultTest("a target that is a mount stays, and nothing is left", { needs: ["tmpfs"] }, async () => {
    const dir = tmp.folder();
    const path = join(dir, "value");
    writeFileSync(path, "below");
    const mount = (args: string[]): boolean => Bun.spawnSync(args).success;
    if (!mount(["mount", "--bind", tmp.file("mounted"), path])) return;
    try {
      expect(await code(writeFileAtomic(path, "x"))).toBe("EBUSY");
      expect([readFileSync(path, "utf8"), readdirSync(dir).length]).toEqual(["mounted", 1]);
    } finally {
      mount(["umount", path]);
    }
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

  test("with wrong options, or a signal that is aborted, make no file", async () => {
    const path = tmp.path();
    expect(await code(lock(path, { wait: 1 as never }))).toBe("ERR_INVALID_ARG_TYPE");
    expect(await code(lock(path, { signal: AbortSignal.abort() }))).toBe("ABORT_ERR");
    expect(existsSync(path)).toBe(false);
  });

  test("of a path whose file was replaced meanwhile: who waited has what is there now, and is alone", async () => {
    const path = tmp.path();
    const first = await lock(path);
    let hasIt = false;
    const second = lock(path).then((held) => {
      hasIt = true;
      return held;
    });
    await Bun.sleep(5);
    unlinkSync(path);
    const third = await lock(path);
    await first.release();
    await Bun.sleep(200); // four tries
    expect(hasIt).toBe(false);
    await third.release();
    await (await second).release();
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
