// Owns the proof of the rigs: each fault the other tests rely on is seen here to be caused, with plain node:fs.
// Assumes what each test names in `needs`. Never uses the package: a rig that lies must not look like a bug of ours.

import { describe, expect, onTestFinished, test } from "bun:test";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asUser, NOBODY, refusingIoUring, withLimits } from "../helpers/as-user.ts";
import { memoryCgroup, pidsCgroup } from "../helpers/cgroup.ts";
import { runCase, startCase } from "../helpers/child.ts";
import { cpuMs, leftOver, openFds, snapshot, threads } from "../helpers/fds.ts";
import { type Fuse, type FuseMode, startFuse } from "../helpers/fuse.ts";
import { kernelLogMark, kernelTrouble } from "../helpers/kernel-log.ts";
import type { LoopGap } from "../helpers/loop-gap.ts";
import { mountExt4, mountTmpfs, run } from "../helpers/mounts.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { strace } from "../helpers/strace.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "rigs.child.ts");
const dir = tmpDir();
const isMounted = (path: string): boolean => readFileSync("/proc/mounts", "utf8").includes(` ${path} `);

async function withFuse(body: (fuse: Fuse, file: string) => Promise<void>): Promise<void> {
  const fuse = await startFuse();
  try {
    const file = join(fuse.path, "file");
    await writeFile(file, Buffer.alloc(65536, 7));
    await body(fuse, file);
  } finally {
    await fuse.stop();
  }
  expect(existsSync(fuse.path)).toBe(false);
}

describe("children", () => {
  test("a case's value, its error, its exit code and its signal come back", async () => {
    expect(await runCase<unknown>(fixture, "echo", { input: { a: [1, "é"] } })).toEqual({ a: [1, "é"] });
    const failed = await startCase(fixture, "fail").finished();
    expect([failed.exitCode, failed.error?.code]).toEqual([70, "ETEST"]);
    const child = startCase(fixture, "forever");
    expect(await child.event("ready")).toBe(child.pid);
    child.kill("SIGTERM");
    expect((await child.finished()).signal).toBe("SIGTERM");
  });

  test("a child that does not end is killed at its timeout", async () => {
    const end = await startCase(fixture, "forever", { timeoutMs: 300 }).finished();
    expect([end.timedOut, end.signal]).toEqual([true, "SIGKILL"]);
  });

  faultTest("CPU time tells a sleeping child from a busy one", {}, async () => {
    const asleep = await startCase(fixture, "sleep", { input: 300 }).finished();
    const busy = await startCase(fixture, "burn", { input: 300 }).finished();
    expect(busy.cpuMs).toBeGreaterThan(300);
    expect(asleep.cpuMs).toBeLessThan(300);
    const child = startCase(fixture, "forever");
    await child.event("ready");
    expect(cpuMs(child.pid)).toBeGreaterThan(0);
    expect(threads(child.pid).size).toBeGreaterThan(1);
    child.kill("SIGKILL");
    await child.finished();
  });

  test("the gap meter sees a loop that stood still, and one that did not", async () => {
    const blocked = await runCase<LoopGap>(fixture, "gap", { input: 120 });
    expect(blocked.maxGapMs).toBeGreaterThan(110);
    expect(blocked.maxBusyMs).toBeGreaterThan(110);
    const free = await runCase<LoopGap>(fixture, "gap", { input: 0 });
    expect(free.maxStallMs).toBeLessThan(50);
    expect(free.maxBusyMs).toBeLessThan(25);
  });

  test("a descriptor left open is seen", () => {
    const before = snapshot();
    const fd = openSync("/dev/zero", "r");
    expect(leftOver(before, snapshot()).fds).toEqual([`${fd} /dev/zero`]);
    closeSync(fd);
    expect(openFds().has(fd)).toBe(false);
  });

  test("a need that is not met is a skip with its reason", () => {
    expect(missing([])).toBeNull();
    const reason = missing(["slow"]);
    expect(reason).toBe(process.env.BUN_URING_SLOW === "1" ? null : "slow: set BUN_URING_SLOW=1 (make test-fault)");
  });
});

describe("FUSE", () => {
  const needs = ["fuse", "gcc"] as const;
  const readCode = async (file: string): Promise<string> => {
    try {
      return `${(await readFile(file)).length} bytes`;
    } catch (error: any) {
      return error.code;
    }
  };

  faultTest("an ordinary file system in mode ok", { needs }, () =>
    withFuse(async (fuse, file) => {
      expect((await readFile(file)).equals(Buffer.alloc(65536, 7))).toBe(true);
      const handle = await open(file, "r+");
      await handle.write("tail", 65536);
      await handle.sync();
      await handle.truncate(65540);
      expect((await handle.stat()).size).toBe(65540);
      await handle.close();
      await rename(file, join(fuse.path, "renamed"));
      expect(readdirSync(fuse.path)).toEqual(["renamed"]);
      await rm(join(fuse.path, "renamed"));
      expect(readdirSync(fuse.path)).toEqual([]);
    }),
  );

  const errors: [FuseMode, string][] = [
    [{ mode: "error" }, "EIO"],
    [{ mode: "error", errno: 28 }, "ENOSPC"],
    [{ mode: "error", ops: ["open"], errno: 13 }, "EACCES"],
    [{ mode: "error", ops: ["write"] }, "65536 bytes"],
    [{ mode: "error", after: 1000 }, "65536 bytes"],
  ];
  for (const [mode, expected] of errors) {
    faultTest(`${JSON.stringify(mode)} makes readFile give ${expected}`, { needs }, () =>
      withFuse(async (fuse, file) => {
        await fuse.mode(mode);
        expect(await readCode(file)).toBe(expected);
        await fuse.mode({ mode: "ok" });
        expect(await readCode(file)).toBe("65536 bytes");
      }),
    );
  }

  faultTest("short answers half of a read and of a write", { needs }, () =>
    withFuse(async (fuse, file) => {
      await fuse.mode({ mode: "short" });
      const fd = openSync(file, "r+");
      expect(readSync(fd, Buffer.alloc(1000), 0, 1000, 0)).toBe(500);
      expect(writeSync(fd, Buffer.alloc(1000), 0, 1000, 0)).toBe(500);
      closeSync(fd);
    }),
  );

  faultTest("EINTR is answered, and node:fs asks again", { needs }, () =>
    withFuse(async (fuse, file) => {
      const { read } = await fuse.stats();
      await fuse.mode({ mode: "error", errno: 4, count: 3 });
      const fd = openSync(file, "r");
      expect(readSync(fd, Buffer.alloc(1000), 0, 1000, 0)).toBe(1000);
      closeSync(fd);
      expect((await fuse.stats()).read - read).toBe(4);
    }),
  );

  faultTest("slow answers late, and many at the same time", { needs }, () =>
    withFuse(async (fuse, file) => {
      await fuse.mode({ mode: "slow", ms: 200 });
      const startMs = performance.now();
      await Promise.all([runCase(fixture, "readFile", { input: file }), runCase(fixture, "readFile", { input: file })]);
      expect(performance.now() - startMs).toBeGreaterThan(200);
      expect((await fuse.stats()).held).toBe(0);
    }),
  );

  for (const mode of ["hang", "hang-ignore"] as const) {
    faultTest(`${mode} holds a request until the mode changes`, { needs }, () =>
      withFuse(async (fuse, file) => {
        await fuse.mode({ mode });
        const child = startCase<string>(fixture, "readFile", { input: file });
        while ((await fuse.stats()).held === 0) await Bun.sleep(5);
        await fuse.mode({ mode: "ok" });
        expect((await child.finished()).value).toBe("ok");
      }),
    );
  }

  faultTest("a killed child interrupts a hanging request; stop() ends one that ignores it", { needs }, async () => {
    const fuse = await startFuse();
    await writeFile(join(fuse.path, "file"), "x");
    await fuse.mode({ mode: "hang-ignore" });
    const child = startCase(fixture, "readFile", { input: join(fuse.path, "file") });
    while ((await fuse.stats()).held === 0) await Bun.sleep(5);
    child.kill("SIGKILL");
    while ((await fuse.stats()).interrupt === 0) await Bun.sleep(5);
    expect(threads(child.pid).size).toBeGreaterThan(0); // It can't die yet: the request is uninterruptible.
    await fuse.stop();
    expect((await child.finished()).signal).toBe("SIGKILL");
  });
});

describe("file systems", () => {
  faultTest("a tmpfs is full at its size", { needs: ["tmpfs"] }, async () => {
    const mount = mountTmpfs(1 << 20);
    expect(() => writeFileSync(join(mount.path, "big"), Buffer.alloc(2 << 20))).toThrow("ENOSPC");
    expect(statSync(join(mount.path, "big")).size).toBe(1 << 20);
    await mount.unmount();
    expect(isMounted(mount.path) || existsSync(mount.path)).toBe(false);
  });

  faultTest("after a power cut the synced file is there and the other is not", { needs: ["loop", "gcc"] }, async () => {
    const mount = mountExt4();
    for (const name of ["synced", "unsynced"]) {
      const fd = openSync(join(mount.path, name), "w");
      writeSync(fd, name);
      if (name === "synced") fsyncSync(fd);
      closeSync(fd);
    }
    mount.cutPower();
    mount.remount();
    expect(readFileSync(join(mount.path, "synced"), "utf8")).toBe("synced");
    const lost = join(mount.path, "unsynced");
    expect(existsSync(lost) ? readFileSync(lost, "utf8") : "").toBe("");
    await mount.unmount();
    expect(isMounted(mount.path)).toBe(false);
    expect(run("losetup", "-a")).not.toContain("bun-uring-image");
  });
});

describe("limits", () => {
  faultTest("a refused system call fails with the chosen code", { needs: ["gcc"] }, async () => {
    const setup = async (prefix: string[]): Promise<unknown> => runCase(fixture, "ringSetup", { prefix });
    expect(await setup(refusingIoUring({ setup: "EPERM" }))).toEqual({ result: -1, code: "EPERM" });
    expect(await setup(refusingIoUring({ setup: "ENOSYS" }))).toEqual({ result: -1, code: "ENOSYS" });
    expect(await setup(refusingIoUring({ enter: "EPERM", register: "EPERM" }))).not.toEqual({
      result: -1,
      code: "EPERM",
    });
  });

  faultTest("another user, with fewer descriptors", { needs: ["otherUser", "prlimit"] }, async () => {
    const prefix = [...asUser(), ...withLimits({ nofile: 333 })];
    expect(await runCase<unknown>(fixture, "whoami", { prefix })).toEqual({ uid: NOBODY, nofile: 333 });
  });

  faultTest("a file can't grow over its limit", { needs: ["prlimit"] }, async () => {
    const prefix = withLimits({ fsize: 65536 });
    const path = join(dir, "limited");
    expect(await runCase<string>(fixture, "fileSize", { input: path, prefix })).toBe("EFBIG");
    expect(statSync(path).size).toBe(65536);
  });

  faultTest("a pids cgroup refuses new tasks, and goes away", { needs: ["pidsCgroup"] }, async () => {
    const group = pidsCgroup();
    expect(await runCase<string>(fixture, "threads", { prefix: group.prefix })).toBe("ok");
    const child = startCase(fixture, "forever", { prefix: group.prefix });
    await child.event("ready");
    expect(group.usage()).toBeGreaterThan(1);
    await group.remove();
    expect((await child.finished()).signal).toBe("SIGKILL");
    expect(existsSync(group.prefix[3]!)).toBe(false);
  });

  faultTest("a memory cgroup counts and limits", { needs: ["memoryCgroup"] }, async () => {
    const group = memoryCgroup();
    group.limit(512 << 20);
    await runCase(fixture, "echo", { prefix: group.prefix });
    expect(group.usage()).toBeGreaterThan(0);
    await group.remove();
    expect(existsSync(group.prefix[3]!)).toBe(false);
  });
});

describe("strace", () => {
  faultTest("counts a child's calls between its marks", { needs: ["strace"] }, async () => {
    const path = join(dir, "counted");
    writeFileSync(path, "0123456789");
    const tracer = strace({ trace: ["pread64"] });
    onTestFinished(tracer.remove);
    await runCase(fixture, "reads", { input: path, prefix: tracer.prefix });
    expect(tracer.counts()).toEqual({ pread64: 7 });
  });

  faultTest("makes a call fail", { needs: ["strace"] }, async () => {
    const tracer = strace({ inject: ["io_uring_setup:error=ENOMEM"] });
    onTestFinished(tracer.remove);
    expect(await runCase<unknown>(fixture, "ringSetup", { prefix: tracer.prefix })).toEqual({
      result: -1,
      code: "ENOMEM",
    });
    expect(tracer.lines().some((line) => line.includes("INJECTED"))).toBe(true);
  });
});

describe("nothing is left behind", () => {
  faultTest("by a test process that is killed", { needs: ["fuse", "loop", "pidsCgroup", "gcc"] }, async () => {
    const child = startCase(fixture, "holdAll");
    const { paths, group, server } = await child.event("ready");
    expect(paths.every(isMounted)).toBe(true);
    child.kill("SIGKILL");
    await child.finished();
    const left = [...paths, group, `/proc/${server}/exe`];
    for (let tries = 0; tries < 200 && left.some(existsSync); tries++) await Bun.sleep(20);
    expect([...left.filter(existsSync), ...paths.filter(isMounted)]).toEqual([]);
  });

  test("the kernel's log is read", () => {
    const mark = kernelLogMark();
    expect(kernelTrouble(mark)).toEqual([]);
    expect(kernelTrouble(null)).toEqual([]);
  });
});
