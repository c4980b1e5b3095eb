// FAULTS rows 10, 11, 21: a file server that errs, does half, stalls or hangs. The error comes by its name, whole files are
// whole, and neither the loop nor any other file waits for it.
// Assumes root and /dev/fuse. Never touches the mount from this process while it is stalled.

import { describe, expect, onTestFinished } from "bun:test";
import { statSync, symlinkSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asUser } from "../helpers/as-user.ts";
import { pidsCgroup } from "../helpers/cgroup.ts";
import { type Child, startCase } from "../helpers/child.ts";
import { threads } from "../helpers/fds.ts";
import { type Fuse, type FuseMode, type FuseOperation, startFuse } from "../helpers/fuse.ts";
import type { LoopGap } from "../helpers/loop-gap.ts";
import { run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "fuse.child.ts");
const root = tmpDir();
const ordinary = join(root, "ordinary");
writeFileSync(ordinary, Buffer.alloc(65536, "o"));
const MAX_STALL_MS = 50;
const FILE_BYTES = 512 * 1024;

async function withFuse(body: (fuse: Fuse, file: string) => Promise<void>, name = "file"): Promise<void> {
  await using fuse = await startFuse();
  const file = join(fuse.path, name);
  await writeFile(file, Buffer.alloc(FILE_BYTES, 7));
  await body(fuse, file);
}

/** The child's result; throws with all it said when there is none. */
async function resultOf<T>(child: Child<T>): Promise<T> {
  const end = await child.finished();
  if (end.value === undefined) throw new Error(JSON.stringify(end, null, 1));
  return end.value;
}

for (const backend of ["uring", "node"]) {
  const env = { BUN_URING_BACKEND: backend };
  const needs = backend === "uring" ? (["fuse", "gcc", "ioUring"] as const) : (["fuse", "gcc"] as const);
  const start = (name: string, input: object): Child<any> =>
    startCase(fixture, name, { input: { ordinary, ...input }, env });

  describe(`${backend}: errors`, () => {
    // Bun keeps what close(2) says to itself, so the node backend has never heard of it.
    if (backend === "uring") {
      faultTest("what the server says at the close is heard", { needs }, () =>
        withFuse(async (fuse, file) => {
          await fuse.mode({ mode: "error", errno: 28, ops: ["flush"] });
          const seen = await resultOf(start("atClose", { file }));
          const refused = { code: "ENOSPC", errno: -28 };
          expect(seen).toMatchObject([refused, refused, refused, refused]);
          await fuse.mode({ mode: "ok" });
        }),
      );
    }

    const failures: [number, string][] = [
      [5, "EIO"],
      [28, "ENOSPC"],
      [30, "EROFS"],
    ];
    for (const [errno, code] of failures) {
      faultTest(`${code} comes with its system call`, { needs }, () =>
        withFuse(async (fuse, file) => {
          const child = start("outcomes", { file });
          await child.event("opened");
          await fuse.mode({ mode: "error", errno });
          const seen = await resultOf(child);
          const shape = (syscall: string): object => ({
            code,
            errno: -errno,
            syscall,
            message: expect.stringMatching(new RegExp(`, ${syscall}$`)),
          });
          expect(seen).toMatchObject({
            "handle.read": shape("read"),
            "handle.write": shape("write"),
            "handle.readFile": shape("read"),
            "handle.sync": shape("fsync"),
            readFile: shape("read"),
            writeFile: shape("write"),
            copyFile: { code, syscall: "copyfile", path: file, dest: `${file}-copy` },
          });
          expect(["fdatasync", "value"]).toContain(seen["handle.datasync"].syscall ?? seen["handle.datasync"]);
        }),
      );
    }
  });

  describe(`${backend}: short and interrupted`, () => {
    // Short writes are taken through the page cache: a short asynchronous write without it is EIO by the kernel itself
    // (fs/fuse/file.c). Short reads without it: with it they are the end of the file, and the rest reads as zeros.
    const modes: FuseMode[] = [
      { mode: "short", ops: ["read"] },
      { mode: "short", ops: ["write"] },
      { mode: "error", errno: 4, count: 30 },
      { mode: "error", errno: 4, after: 1, count: 1 },
    ];
    for (const mode of modes) {
      faultTest(`${JSON.stringify(mode)}: whole files are whole`, { needs }, () =>
        withFuse(
          async (fuse, file) => {
            await fuse.mode(mode);
            const seen = await resultOf(start("whole", { file }));
            expect(seen).toEqual({ readRight: true, byHandle: true, size: 405_000, copied: true });
          },
          mode.ops?.[0] === "write" ? "cached" : "file",
        ),
      );
    }
  });
}

describe("a stalled server", () => {
  const needs = ["fuse", "gcc", "ioUring"] as const;
  const env = { BUN_URING_BACKEND: "uring" };
  type Stalled = { result: unknown; rounds: number; wrong: number; gap: LoopGap };

  async function stall(fuse: Fuse, mode: FuseMode, input: object): Promise<Stalled> {
    const child = startCase<Stalled>(fixture, "stalled", { input: { ordinary, ...input }, env, timeoutMs: 8000 });
    await child.event("ready");
    await fuse.mode(mode);
    // A loop that stands still can't say "stalled": let go of it, so that its gap is measured and not its death.
    await Promise.race([child.event("stalled").catch(() => {}), Bun.sleep(1500)]);
    await fuse.mode({ mode: "ok" });
    return resultOf(child);
  }

  const all: FuseOperation[] = ["read", "write", "fsync", "open", "getattr", "lookup", "rename", "unlink", "flush"];
  const calls: [string, boolean][] = [
    ["readFile", false],
    ["writeFile", false],
    ["open", false],
    ["stat", false],
    ["lstat", false],
    ["unlink", false],
    ["rename", false],
    ["copyFile", false],
    ["copyFrom", false],
    ["read", true],
    ["write", true],
    ["readFile", true],
    ["sync", true],
    ["datasync", true],
    ["stat", true],
    ["truncate", true],
    ["close", true],
  ];
  for (const [call, onHandle] of calls) {
    for (const cached of [false, true]) {
      const what = onHandle ? `handle.${call}` : call;
      const title = `${what}${cached ? ", name and data cached" : ""}: the loop and other files go on`;
      const stalls = async (fuse: Fuse, file: string): Promise<void> => {
        if (cached) {
          await fuse.cacheNames(3600);
          statSync(file);
        }
        const seen = await stall(fuse, { mode: "hang", ops: all }, { file, call, onHandle });
        expect(seen.gap.maxStallMs).toBeLessThan(MAX_STALL_MS);
        expect(seen).toMatchObject({ wrong: 0, result: "value" });
        expect(seen.rounds).toBeGreaterThan(20);
      };
      faultTest(title, { needs }, () => withFuse(stalls, cached ? "cached" : "file"));
    }
  }

  faultTest("reached by a symbolic link from an ordinary folder", { needs }, () =>
    withFuse(async (fuse, file) => {
      await fuse.cacheNames(3600);
      const link = join(root, `link-${process.hrtime.bigint()}`);
      symlinkSync(fuse.path, link);
      statSync(file);
      for (const call of ["stat", "readFile"]) {
        const seen = await stall(fuse, { mode: "hang", ops: all }, { file: join(link, "file"), call, onHandle: false });
        expect(seen.gap.maxStallMs).toBeLessThan(MAX_STALL_MS);
        expect(seen).toMatchObject({ wrong: 0, result: "value" });
      }
    }),
  );

  const noLimits = lacking("limits of io-wq");
  faultTest("500 operations on a slow server make few threads", { needs, unless: noLimits }, () =>
    withFuse(async (fuse, file) => {
      const child = startCase<any>(fixture, "crowd", {
        input: { file, ordinary, count: 500, pages: FILE_BYTES / 4096 },
        env,
      });
      await child.event("ready");
      await fuse.mode({ mode: "slow", ms: 20 });
      const seen = await resultOf(child);
      expect(seen.failed).toEqual([]);
      expect(seen.most).toBeGreaterThan(2);
      // What goes to a thread at once counts as unbounded, whatever its file. Without a cap it would be a thread for each.
      expect(seen.most).toBeLessThanOrEqual(seen.workers.bounded + seen.workers.unbounded);
      expect(seen.gap.maxStallMs).toBeLessThan(MAX_STALL_MS);
    }, "cached-file"),
  );

  faultTest("a dead server takes no thread away from what is local", { needs, unless: noLimits }, () =>
    withFuse(async (fuse, file) => {
      const child = startCase<any>(fixture, "dead", { input: { file, ordinary, count: 12 }, env });
      await child.event("ready");
      await fuse.mode({ mode: "hang", ops: ["lookup", "getattr", "open", "fsync", "unlink"] });
      await child.event("done");
      await fuse.mode({ mode: "ok" });
      expect(await resultOf(child)).toEqual({ done: "done", ended: 0 });
    }),
  );

  for (const how of ["close", "shutdown"] as const) {
    faultTest(`${how}() waits for the server; afterwards no buffer is written`, { needs }, () =>
      withFuse(async (fuse, file) => {
        const child = startCase<any>(fixture, "closeWhileSlow", { input: { file, ordinary, how }, env });
        await child.event("ready");
        await fuse.mode({ mode: "slow", ms: 300 });
        const seen = await resultOf(child);
        expect(seen.untouched).toBe(true);
        expect(seen.settled).toEqual(Array(8).fill("value"));
      }),
    );
  }
});

describe("no new tasks", () => {
  const env = { BUN_URING_BACKEND: "uring" };

  /** Nobody asked for an abort, and the kernel's ECANCELED is not the user's doing either. */
  function expectHonest(seen: any): void {
    for (const what of [...seen.read, ...seen.write]) {
      if (what === "value") continue;
      expect(["ABORT_ERR", "ECANCELED", undefined]).not.toContain(what.code);
    }
    expect(seen.paths[0]).toMatchObject({ code: "ENOENT", syscall: "stat", path: "/none" });
    expect(seen.paths[1]).toMatchObject({ syscall: "mkdir", path: "/proc/none" });
    expect(seen.paths[2]).toBe("value");
    expect(seen.size).toBe(10 * seen.write.filter((what: unknown) => what === "value").length);
  }

  faultTest("in a pids cgroup that is full", { needs: ["fuse", "gcc", "ioUring", "pidsCgroup"] }, () =>
    withFuse(async (_, file) => {
      const group = pidsCgroup();
      onTestFinished(() => group.remove());
      const child = startCase<any>(fixture, "noTasks", { input: { file, ordinary }, env, prefix: group.prefix });
      await child.event("ready");
      group.limit(1);
      await child.event("done");
      group.limit(1000);
      expectHonest(await resultOf(child));
    }),
  );

  faultTest("with RLIMIT_NPROC used up", { needs: ["fuse", "gcc", "ioUring", "otherUser", "prlimit"] }, () =>
    withFuse(async (_, file) => {
      run("chmod", "0777", root);
      const theirs = join(root, "theirs");
      writeFileSync(theirs, Buffer.alloc(65536, "o"));
      run("chmod", "0666", theirs);
      const child = startCase<any>(fixture, "noTasks", { input: { file, ordinary: theirs }, env, prefix: asUser() });
      await child.event("ready");
      const limit = (tasks: number): string =>
        run(...asUser(), "prlimit", "--pid", String(child.pid), `--nproc=${tasks}:`);
      limit(1);
      expect(threads(child.pid).size).toBeGreaterThan(1);
      await child.event("done");
      limit(1000);
      expectHonest(await resultOf(child));
    }),
  );
});
