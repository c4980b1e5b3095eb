// Owns what a fault test needs of the machine, and the skip with its reason in the name where the machine lacks it.
// Assumes nothing: each need is looked at once, and only when a test names it.
// Never hides a skip: bun:test counts it and the reason stands in its name.

import { dlopen, FFIType } from "bun:ffi";
import { expect, test } from "bun:test";
import { accessSync, closeSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { release } from "node:os";
import { NOBODY } from "./as-user.ts";
import { patience } from "./child.ts";
import { kernelLogMark, kernelTrouble } from "./kernel-log.ts";

export type Need =
  | "root"
  | "gcc"
  | "musl"
  | "strace"
  | "prlimit"
  | "fuse"
  | "tmpfs"
  | "loop"
  | "xfs"
  | "btrfs"
  | "pidsCgroup"
  | "memoryCgroup"
  | "otherUser"
  | "ioUringSysctl"
  | "ioUring"
  | "userNamespace"
  | "chargedMemory"
  | "bunWithoutProc"
  | "slow";

const isRoot = (): boolean => process.getuid?.() === 0;
const inPath = (program: string): boolean => Bun.which(program) !== null;

/** Each need with why it can't be had here; null when it can. */
const reasons: Record<Need, () => string | null> = {
  root: () => (isRoot() ? null : "not root"),
  gcc: () => (inPath("gcc") ? null : "no gcc"),
  musl: () => (inPath("musl-gcc") ? null : "no musl-gcc"),
  strace: () => (inPath("strace") ? null : "no strace"),
  prlimit: () => (inPath("prlimit") ? null : "no prlimit"),
  fuse: () => (!isRoot() ? "not root" : !canOpen("/dev/fuse") ? "no /dev/fuse" : reasons.gcc()), // for its server
  tmpfs: () => (isRoot() ? null : "not root"),
  loop: () => (!isRoot() ? "not root" : !existsSync("/dev/loop-control") ? "no loop devices" : needMkfs()),
  xfs: () => needFileSystem("xfs"),
  btrfs: () => needFileSystem("btrfs"),
  pidsCgroup: () => cgroupReason("/sys/fs/cgroup/pids/cgroup.procs"),
  memoryCgroup: () => cgroupReason("/sys/fs/cgroup/memory/cgroup.procs"),
  otherUser: () => (!isRoot() ? "not root" : !inPath("setpriv") ? "no setpriv" : needReadableTree()),
  ioUringSysctl: () =>
    !isRoot()
      ? "not root"
      : existsSync("/proc/sys/kernel/io_uring_disabled")
        ? null
        : "kernel without io_uring_disabled",
  ioUring: () => (kernelGivesRing() ? null : "io_uring is refused here"),
  userNamespace: () => canRun(["unshare", "--user", "--map-root-user", "--", "true"], "no user namespaces"),
  chargedMemory: () => (chargesRings() ? null : "this kernel does not charge a ring to RLIMIT_MEMLOCK"),
  bunWithoutProc: () =>
    canRun(
      ["unshare", "--mount", "sh", "-c", `umount -l /proc && cd / && exec "${process.execPath}" -e 0`],
      "Bun itself does not start without /proc",
    ),
  slow: () => (process.env.BUN_URING_SLOW === "1" ? null : "slow: set BUN_URING_SLOW=1 (make test-fault)"),
};

function canRun(command: string[], otherwise: string): string | null {
  return Bun.spawnSync(command, { stdin: "ignore", stdout: "ignore", stderr: "ignore" }).exitCode === 0
    ? null
    : otherwise;
}

/** Kernels before 5.12 and from 6.14 on. */
function chargesRings(): boolean {
  const [major, minor] = release().split(".").map(Number) as [number, number];
  const version = major * 100 + minor;
  return version < 512 || version >= 614;
}

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Asks the kernel itself: a package that fell back by mistake must fail these tests, not skip them. */
function kernelGivesRing(): boolean {
  const IO_URING_SETUP = 425;
  const libc = dlopen("libc.so.6", {
    syscall: { args: [FFIType.i64, FFIType.i64, FFIType.ptr], returns: FFIType.i64_fast },
  });
  const fd = Number(libc.symbols.syscall(IO_URING_SETUP, 1, new Uint8Array(120)));
  if (fd >= 0) closeSync(fd);
  return fd >= 0;
}

function needMkfs(type = "ext4"): string | null {
  return inPath(`mkfs.${type}`) ? null : `no mkfs.${type}`;
}

/** One that this kernel can mount, on a loop device. */
function needFileSystem(type: string): string | null {
  const known = new RegExp(`\\b${type}$`, "m").test(readFileSync("/proc/filesystems", "utf8"));
  return reasons.loop() ?? (known ? needMkfs(type) : `no ${type} in this kernel`);
}

function cgroupReason(procs: string): string | null {
  return canOpen(procs) && isRoot() ? null : "no writable v1 cgroup";
}

/** Another user must be able to read this package and run Bun. */
function needReadableTree(): string | null {
  const look = Bun.spawnSync(["setpriv", `--reuid=${NOBODY}`, "--clear-groups", "--", process.execPath, "--version"]);
  const readable = look.exitCode === 0 && (statSync(import.meta.dir).mode & 0o005) === 0o005;
  return readable ? null : "another user can't run Bun or read this tree";
}

const known = new Map<Need, string | null>();

/** Why the first of these needs is not met; null when all are. */
export function missing(needs: readonly Need[]): string | null {
  for (const need of needs) {
    if (!known.has(need)) known.set(need, reasons[need]());
    const reason = known.get(need);
    if (reason) return reason;
  }
  return null;
}

export interface FaultTestOptions {
  needs?: readonly Need[];
  /** Why else it can't run here: `lacking` of ring-needs.ts. */
  unless?: string | false;
  /** Milliseconds (default 30,000). */
  timeoutMs?: number;
}

/** A test that is skipped, with the reason in its name, where a need is not met, and fails when the kernel complained. Never tried again: what fails is told. */
export function faultTest(
  name: string,
  { needs = [], unless = false, timeoutMs = 30_000 }: FaultTestOptions,
  body: () => unknown,
): void {
  const reason = missing(needs) ?? (unless || null);
  test.skipIf(reason !== null)(
    reason === null ? name : `${name} [skipped: ${reason}]`,
    async () => {
      const mark = kernelLogMark();
      await body();
      expect(kernelTrouble(mark)).toEqual([]);
    },
    { timeout: timeoutMs * patience },
  );
}
