// Owns the cases of rigs.test.ts: what a child does so that the rigs around it can be seen to work.
// Assumes only node:fs; none of these uses the package.
// Never keeps a resource: each case is short.

import { accessSync, closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { describeError, event, mark, runCases } from "../helpers/cases.ts";
import { pidsCgroup } from "../helpers/cgroup.ts";
import { startFuse } from "../helpers/fuse.ts";
import { startGapMeter } from "../helpers/loop-gap.ts";
import { mountExt4, mountTmpfs } from "../helpers/mounts.ts";

const code = (error: any): string => error.code ?? `${describeError(error).message}`;

/** The first error code of a synchronous action, or "ok". */
function attempt(action: () => unknown): string {
  try {
    action();
    return "ok";
  } catch (error) {
    return code(error);
  }
}

await runCases({
  echo: (input) => input,
  fail() {
    throw Object.assign(new Error("as asked"), { code: "ETEST" });
  },
  sleep: (ms: number) => Bun.sleep(ms),
  async forever() {
    event("ready", process.pid);
    await Bun.sleep(1e9);
  },
  burn(ms: number) {
    while (process.cpuUsage().user / 1000 < ms);
  },
  whoami() {
    const limits = readFileSync("/proc/self/limits", "utf8");
    return { uid: process.getuid!(), nofile: Number(/Max open files +(\d+)/.exec(limits)![1]) };
  },
  /** io_uring_setup with nonsense, through libc's syscall(): EFAULT or EINVAL from the kernel, or what the rig injects. */
  async ringSetup() {
    const { dlopen } = await import("bun:ffi");
    const libc = dlopen("libc.so.6", {
      syscall: { args: ["i64", "i64", "ptr"], returns: "i64" },
      __errno_location: { args: [], returns: "ptr" },
    });
    const { read } = await import("bun:ffi");
    const result = Number(libc.symbols.syscall(425n, 0n, null));
    const errno = read.i32(libc.symbols.__errno_location()!, 0);
    const names = Object.entries(constants.errno);
    return { result, code: names.find(([, value]) => value === errno)?.[0] };
  },
  reads(path: string) {
    const fd = openSync(path, "r");
    const bytes = Buffer.alloc(10);
    readSync(fd, bytes, 0, 10, 0);
    mark("begin");
    for (let i = 0; i < 7; i++) readSync(fd, bytes, 0, 10, 0);
    mark("end");
    readSync(fd, bytes, 0, 10, 0);
    closeSync(fd);
  },
  readFile: (path: string) => attempt(() => readFileSync(path)),
  access: (path: string) => attempt(() => accessSync(path)),
  fileSize(path: string) {
    process.on("SIGXFSZ", () => {});
    return attempt(() => writeFileSync(path, Buffer.alloc(100_000)));
  },
  threads() {
    return attempt(() => {
      const child = Bun.spawnSync(["true"]);
      if (child.exitCode !== 0) throw Object.assign(new Error("spawn"), { code: "FAILED" });
    });
  },
  async gap(blockMs: number) {
    const meter = startGapMeter();
    await Bun.sleep(30);
    const spent = (): number => process.threadCpuUsage().user + process.threadCpuUsage().system;
    for (const end = spent() + blockMs * 1000; spent() < end; );
    await Bun.sleep(30);
    return meter.stop();
  },
  /** Holds one of each, to be killed with them. */
  async holdAll() {
    const fuse = await startFuse();
    await fuse.mode({ mode: "hang-ignore" });
    const mounts = [mountTmpfs(1 << 20), mountExt4({ bytes: 16 << 20 })];
    const group = pidsCgroup();
    writeSync(openSync(`${mounts[0]!.path}/held`, "w"), "x");
    event("ready", {
      paths: [fuse.path, ...mounts.map((mount) => mount.path)],
      group: group.prefix[3],
      server: fuse.serverPid,
    });
    await Bun.sleep(1e9);
  },
});
