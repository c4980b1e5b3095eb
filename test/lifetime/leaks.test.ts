// FAULTS row 22: after very many operations of a kind, descriptors, threads, slots and memory are what they were.
// Assumes a child per kind. The quick run sees what leaks per operation; memory is judged by the slow one (1,000,000).

import { describe, expect } from "bun:test";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "leaks.child.ts");
const root = tmpDir();
const slow = missing(["slow"]) === null;

/** How many times dearer than a read: the slow run shortens those in proportion. */
const kinds: Record<string, number> = {
  read: 1,
  readNewBuffer: 1,
  write: 2,
  readv: 1,
  writev: 2,
  stat: 1,
  handleStat: 1,
  statMissing: 2,
  openClose: 2,
  openMissing: 2,
  readFile: 2,
  readFileText: 2,
  readMissing: 2,
  writeFile: 10,
  renames: 20,
  directories: 20,
  copyFile: 20,
  sync: 20,
  aborted: 4,
};

describe("nothing is left of", () => {
  for (const [kind, cost] of Object.entries(kinds)) {
    const count = slow ? 1_000_000 / (cost >= 10 ? 10 : 1) : Math.round(6000 / cost);
    faultTest(`${count} × ${kind}`, { needs: ["ioUring"], timeoutMs: slow ? 300_000 : 30_000 }, async () => {
      const dir = mkdtempSync(join(root, kind));
      const { growth, ...seen } = await runCase<{ growth: number }>(fixture, "many", {
        input: { dir, kind, count },
        env: { BUN_URING_BACKEND: "uring" },
        timeoutMs: slow ? 290_000 : 25_000,
      });
      expect(seen as unknown).toEqual({ fds: 0, threads: [], inFlight: 0, queued: 0 });
      expect(growth).toBeLessThan(slow ? 1.1 : 1.5);
    });
  }
});
