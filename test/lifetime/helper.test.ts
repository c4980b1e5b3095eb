// The helper thread: that it is there when it is of use, carries the process's credentials, holds nobody up, costs nothing
// while it idles, and goes with its owner.
// Assumes a child per case. What its calls do is compared with Bun's by every contract test that does more than a dozen.

import { expect } from "bun:test";
import { chmodSync, existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCase, startCase } from "../helpers/child.ts";
import { startFuse } from "../helpers/fuse.ts";
import { mountExt4, mountTmpfs, run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "helper.child.ts");
const tmp = scratch();
const folder = (): { dir: string } => ({ dir: tmp.folder() });
const env = { BUN_URING_BACKEND: "uring" };

describeUnless(lacking("UNLINKAT", "MKDIRAT"), "the helper", () => {
  faultTest("comes after a dozen operations that a thread must do", { needs: ["ioUring"] }, async () => {
    const seen = await runCase<any>(fixture, "used", { input: folder(), env });
    expect(seen).toMatchObject({ alive: true, threads: 1 });
    expect(seen.posted).toBeGreaterThan(10);
  });

  faultTest("loses what setuid takes", { needs: ["ioUring", "root", "otherUser"] }, async () => {
    const { dir } = folder();
    writeFileSync(join(dir, "file"), "x");
    chmodSync(dir, 0o755);
    const seen = await runCase<any>(fixture, "setuid", { input: { dir }, env });
    expect(seen.codes).toEqual(["EACCES"]);
    expect(seen.posted).toBeGreaterThan(0);
  });

  faultTest("copies small files, by one call each", { needs: ["ioUring"] }, async () => {
    const seen = await runCase<any>(fixture, "copies", { input: folder(), env });
    expect(seen.calls).toBeGreaterThan(15);
    expect(seen.calls).toBeLessThan(25); // a chain and the look at its target are two
    expect(seen.texts).toEqual(Array(7).fill("contents"));
    expect(seen.modes).toEqual([0o666, 0o666, 0o666]); // whatever the umask
    expect(seen.links).toEqual([true, true]);
    expect(seen.codes).toEqual(["EEXIST", "ERR_FS_CP_FIFO_PIPE"]);
  });

  faultTest("has the process's umask and working directory", { needs: ["ioUring"] }, async () => {
    expect(await runCase<unknown>(fixture, "umask", { input: folder(), env })).toEqual([0o600, 0o700]);
  });

  faultTest("costs nothing while it idles, ends, and comes again", { needs: ["ioUring"] }, async () => {
    const seen = await runCase<any>(fixture, "idle", { input: folder(), env });
    expect(seen.samples).toBeGreaterThan(0);
    expect(seen.spent.ms).toBeLessThan(5);
    expect(seen.spent.switches).toBeLessThan(5);
    expect(seen.spent.calls).toBeLessThan(5);
    expect(seen).toMatchObject({ threads: 1, later: 0, again: 1 });
  });

  faultTest("leaves a FIFO to the ring", { needs: ["ioUring"] }, async () => {
    const { dir } = folder();
    run("mkfifo", join(dir, "fifo"));
    const seen = await runCase<unknown>(fixture, "fifo", { input: { dir, fifo: join(dir, "fifo") }, env });
    expect(seen).toEqual({ early: false, text: "through" });
  });

  faultTest("tells what broke a chain and leaves no descriptor", { needs: ["ioUring", "tmpfs"] }, async () => {
    await using small = mountTmpfs(96 * 1024);
    const seen = await runCase<any>(fixture, "broken", { input: { ...folder(), small: small.path }, env });
    expect(seen.full).toMatchObject({ code: "ENOSPC", syscall: "write" });
    expect(seen.noSpace[0]).toBe("value");
    expect(seen.noSpace.at(-1)).toMatchObject({ code: "ENOSPC" });
    expect(seen.missing).toMatchObject({ code: "ENOENT", syscall: "open" });
    expect(seen.descriptors).toBe(0);
  });

  faultTest("waits for a disk that stands still, and nobody else does", { needs: ["ioUring", "loop"] }, async () => {
    const disk = mountExt4();
    const child = startCase<any>(fixture, "frozen", { input: { ...folder(), disk: disk.path }, env });
    try {
      await child.event("ready");
      run("fsfreeze", "-f", disk.path);
      try {
        await child.event("thaw");
      } finally {
        run("fsfreeze", "-u", disk.path);
      }
      const { value } = await child.finished();
      expect(value).toMatchObject({ wasStuck: true, made: ["made0", "made1", "made2"] });
      expect(value.rounds).toBeGreaterThan(20);
      expect(value.gap.maxBusyMs).toBeLessThan(25);
      expect(value.posted).toBeGreaterThan(0);
    } finally {
      await child.finished();
      await disk.unmount();
    }
  });

  faultTest("has nothing to do with a file server", { needs: ["ioUring", "fuse"] }, async () => {
    await using fuse = await startFuse();
    await fuse.mode({ mode: "slow", ms: 60, ops: ["open", "lookup", "getattr", "write", "rename", "unlink"] });
    const seen = await runCase<any>(fixture, "remote", { input: { ...folder(), server: fuse.path }, env });
    expect(seen.posted).toBe(0);
    expect(seen.gap.maxStallMs).toBeLessThan(40);
  });

  faultTest("does not hold process.exit up", { needs: ["ioUring"] }, async () => {
    const end = await startCase(fixture, "exit", { input: folder(), env }).finished();
    expect([end.exitCode, end.signal, end.timedOut]).toEqual([3, null, false]);
  });

  faultTest("keeps the process for what is pending, not for itself", { needs: ["ioUring"] }, async () => {
    const { dir } = folder();
    const end = await startCase(fixture, "ends", { input: { dir }, env }).finished();
    expect([end.exitCode, end.timedOut]).toEqual([0, false]);
    expect(existsSync(join(dir, "pending")) && statSync(join(dir, "pending")).size).toBe(1);
  });

  for (const Malloc of [undefined, "1"])
    faultTest(`goes with its Worker${Malloc ? " (system malloc)" : ""}`, { needs: ["ioUring"] }, async () => {
      const input = { ...folder(), rounds: 20 };
      expect(await runCase<unknown>(fixture, "terminated", { input, env: { ...env, Malloc }, timeoutMs: 25_000 })).toBe(
        true,
      );
    });
});
