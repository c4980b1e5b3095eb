// Tells what a result was measured on: without it a number means nothing. Reads /proc and /sys, and asks nobody else.

import { readFileSync, statfsSync, statSync } from "node:fs";
import { arch, cpus, release, totalmem } from "node:os";

export interface Environment {
  readonly date: string;
  readonly commit: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly arch: string;
  readonly memoryGib: number;
  readonly governor: string;
  readonly fileSystem: string;
  readonly device: string;
  readonly bun: string;
  readonly node: string;
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

function outputOf(argv: readonly string[]): string {
  const child = Bun.spawnSync([...argv], { stderr: "ignore" });
  return child.success ? child.stdout.toString().trim() : "";
}

/** The mount that holds a folder: the entry of mountinfo with its device number. */
function mountOf(folder: string): { type: string; source: string; number: string } {
  const { dev } = statSync(folder);
  const number = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  const line = (textOf("/proc/self/mountinfo") ?? "").split("\n").find((entry) => entry.split(" ")[2] === number);
  const [type, source] = line?.split(" - ")[1]?.split(" ") ?? [];
  return { type: type ?? "unknown", source: source ?? "unknown", number };
}

function deviceOf(folder: string): string {
  const { source, number } = mountOf(folder);
  const queue = `/sys/dev/block/${number}/queue`;
  const scheduler = /\[(.+)\]/.exec(textOf(`${queue}/scheduler`) ?? "")?.[1] ?? "unknown";
  const rotational = textOf(`${queue}/rotational`) === "1" ? ", rotational" : "";
  return `${source.replace("/dev/", "")}, scheduler ${scheduler}${rotational}`;
}

export function environmentOf(folder: string, node: string | null): Environment {
  const { bsize } = statfsSync(folder);
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: outputOf(["git", "rev-parse", "--short", "HEAD"]) || "unknown",
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    arch: arch(),
    memoryGib: Math.round(totalmem() / 2 ** 30),
    governor: textOf("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") ?? "none (the host's)",
    fileSystem: `${mountOf(folder).type}, ${bsize} byte blocks`,
    device: deviceOf(folder),
    bun: Bun.version,
    node: node === null ? "not measured" : outputOf([node, "--version"]),
  };
}
