// Owns reading the kernel's log before and after a test: a WARNING, BUG or Oops under our load is a failure.
// Assumes the right to run dmesg; without it there is nothing to compare and nothing is said.
// Never clears or writes the log.

const TROUBLE =
  /\b(WARNING|BUG|Oops|general protection fault|Kernel panic|refcount_t|use-after-free|blocked for more than|Call Trace)\b/;

/** A point in the kernel's log, in its own seconds since boot; null when it can't be read. */
export function kernelLogMark(): number | null {
  return kernelLog()?.at(-1)?.seconds ?? null;
}

/** What the kernel complained of since the mark, with the lines around it; empty when all is well. */
export function kernelTrouble(since: number | null): string[] {
  if (since === null) return [];
  const fresh = (kernelLog() ?? []).filter((entry) => entry.seconds > since).map((entry) => entry.text);
  return fresh.some((text) => TROUBLE.test(text)) ? fresh : [];
}

function kernelLog(): { seconds: number; text: string }[] | null {
  const dmesg = Bun.spawnSync(["dmesg", "--color=never"]);
  if (dmesg.exitCode !== 0) return null;
  const entries = dmesg.stdout.toString().split("\n");
  return entries.flatMap((text) => {
    const seconds = /^\[ *(\d+\.\d+)\]/.exec(text)?.[1];
    return seconds === undefined ? [] : [{ seconds: Number(seconds), text }];
  });
}
