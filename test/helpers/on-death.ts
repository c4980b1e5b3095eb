// Owns the clean-up that must happen even when the test process is killed: a shell that waits for our end of its pipe.
// Assumes a POSIX shell and setsid; the guard lives in its own session, so a Ctrl-C or a killed group does not take it.
// Never runs its clean-up when stand-down was said first.

/** Ends a guard; `cleaned` says whether the clean-up was already done by hand. */
export interface DeathGuard {
  /** The resource is gone: the guard exits and does nothing. Resolves when it is gone too. */
  standDown(): Promise<void>;
}

/** Runs `script` (with args as $1, $2, …) when this process ends in whatever way before standDown(). */
export function onDeath(script: string, ...args: string[]): DeathGuard {
  const waiting = `if IFS= read -r word && [ "$word" = done ]; then exit 0; fi; ${script}`;
  const guard = Bun.spawn(["setsid", "sh", "-c", waiting, "on-death", ...args], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  guard.unref();
  return {
    async standDown() {
      guard.stdin.write("done\n");
      await guard.stdin.end();
      guard.ref();
      await guard.exited;
    },
  };
}
