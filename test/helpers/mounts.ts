// Owns the file systems of the tests that need their own: tmpfs of a given size, ext4 on a loop device, the power cut.
// Assumes root. Each mount goes with unmount(), and also when this process dies.
// Never mounts over anything: every mount point is a fresh folder.

import { mkdtempSync, rmdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DeathGuard, onDeath } from "./on-death.ts";
import { tool } from "./tools.ts";

export interface Mount {
  readonly path: string;
  /** By itself where it is held `using`. */
  unmount(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface LoopMount extends Mount {
  /** Power cut: from here on nothing that was not synced reaches the image, not even the log. */
  cutPower(): void;
  /** Unmounts and mounts the image again, as after a restart; log replay included. */
  remount(): void;
}

/** A program that must succeed; its output. */
export function run(...argv: string[]): string {
  const result = Bun.spawnSync(argv);
  if (result.exitCode !== 0) throw new Error(`${argv.join(" ")}: ${result.stderr}`);
  return result.stdout.toString();
}

/** A tmpfs that holds `bytes` and then says ENOSPC. */
export function mountTmpfs(bytes: number): Mount {
  const path = mkdtempSync(join(tmpdir(), "bun-uring-tmpfs-"));
  const guard = onDeath('umount -l "$1"; rmdir "$1"', path);
  run("mount", "-t", "tmpfs", "-o", `size=${bytes},mode=1777`, "bun-uring-test", path);
  const unmount = (): Promise<void> => takeDown(path, guard, () => {});
  return { path, unmount, [Symbol.asyncDispose]: unmount };
}

export interface LoopOptions {
  /** Size of the image (default 64 MiB). */
  bytes?: number;
  /** The folder that holds the image (default the system's temporary folder). Sparse: a full one makes writeback fail. */
  imageDir?: string;
  /** false: mkfs without a journal (default true). */
  journal?: boolean;
}

/** A fresh ext4 on a loop device that the kernel frees at the last unmount. */
export function mountExt4({ bytes = 64 << 20, imageDir, journal = true }: LoopOptions = {}): LoopMount {
  const features = journal ? [] : ["-O", "^has_journal"];
  return mountLoop(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", ...features], bytes, imageDir);
}

/** What a command makes of an image of so many bytes, mounted. */
export function mountLoop(mkfs: readonly string[], bytes: number, imageDir: string = tmpdir()): LoopMount {
  const path = mkdtempSync(join(tmpdir(), "bun-uring-loop-"));
  const imageFolder = mkdtempSync(join(imageDir, "bun-uring-image-"));
  const image = join(imageFolder, "image");
  const guard = onDeath('umount -l "$1"; rmdir "$1"; rm -rf "$2"', path, imageFolder);
  writeFileSync(image, "");
  truncateSync(image, bytes);
  run(...mkfs, image);
  const mount = (): string => run("mount", "-o", "loop", image, path); // -o loop sets autoclear
  mount();
  const unmount = (): Promise<void> => takeDown(path, guard, () => rmSync(imageFolder, { recursive: true }));
  return {
    path,
    cutPower: () => void run(tool("fs-shutdown"), path),
    remount() {
      unmountSoon(path);
      mount();
    },
    unmount,
    [Symbol.asyncDispose]: unmount,
  };
}

/** Unmounts, waiting for a killed process: the kernel lets go of a ring's files some time after the process is gone. */
function unmountSoon(path: string): void {
  for (let tries = 0; tries < 100; tries++) {
    if (Bun.spawnSync(["umount", path]).exitCode === 0) return;
    Bun.sleepSync(20);
  }
  run("umount", path);
}

async function takeDown(path: string, guard: DeathGuard, thenRemove: () => void): Promise<void> {
  const polite = Bun.spawnSync(["umount", path]);
  if (polite.exitCode !== 0) run("umount", "-l", path); // Somebody still holds a file: detach, the kernel does the rest.
  rmdirSync(path);
  thenRemove();
  await guard.standDown();
}
