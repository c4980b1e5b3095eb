// AppendLog where the storage fails: no room, failed writes, failed syncs, slow ones. What is rejected is not in the log, what is
// acknowledged is, and a failed sync is final.
// Assumes root for a small tmpfs, and /dev/fuse for the rest.

import { describe, expect } from "bun:test";
import { readdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AppendLog, readLog, writeFileAtomic } from "../../src/durable.ts";
import { startFuse } from "../helpers/fuse.ts";
import { mountTmpfs } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { code } from "../helpers/settled.ts";

async function texts(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { data } of readLog(path)) found.push(data.toString().trim());
  return found;
}

describe("no room", () => {
  for (const preallocate of [0, 64 * 1024]) {
    faultTest(
      `ENOSPC rejects the group and cuts it; with room again the log goes on (preallocate ${preallocate})`,
      { needs: ["tmpfs"] },
      async () => {
        await using mount = mountTmpfs(1 << 20);
        const path = join(mount.path, "log");
        const ballast = join(mount.path, "ballast");
        writeFileSync(ballast, Buffer.alloc(512 * 1024));
        const log = await AppendLog.open(path, { preallocate });
        const header = statSync(path).size;
        const kept: string[] = [];
        let failed = 0;
        let safe = 0;
        for (let i = 0; failed === 0; i++) {
          const texts = Array.from({ length: 8 }, (_, at) => `${i}.${at}`.padEnd(4000));
          const outcomes = await Promise.allSettled(texts.map((text) => log.append(text)));
          for (const [at, outcome] of outcomes.entries()) {
            if (outcome.status === "fulfilled") kept.push(texts[at]!.trim());
            else {
              expect(outcome.reason.code).toBe("ENOSPC");
              safe = outcome.reason.safeOffset;
              failed++;
            }
          }
        }
        expect(safe).toBe(log.stats().end);
        expect(await texts(path)).toEqual(kept); // a crash here would find nothing of the group
        if (preallocate === 0) expect(statSync(path).size).toBe(header + safe);
        unlinkSync(ballast);
        await log.append("afterwards");
        await log.close();
        expect(await texts(path)).toEqual([...kept, "afterwards"]);
      },
    );
  }

  faultTest("writeFileAtomic leaves the old file and nothing else", { needs: ["tmpfs"] }, async () => {
    await using mount = mountTmpfs(1 << 20);
    const path = join(mount.path, "value");
    writeFileSync(path, "old");
    expect(await code(writeFileAtomic(path, Buffer.alloc(2 << 20)))).toBe("ENOSPC");
    expect(readdirSync(mount.path)).toEqual(["value"]);
    expect(readFileSync(path, "utf8")).toBe("old");
  });
});

describe("a file server that fails", () => {
  faultTest("a failed sync fails every later append, and says what is safe", { needs: ["fuse"] }, async () => {
    await using fuse = await startFuse();
    const log = await AppendLog.open(join(fuse.path, "log"), { framing: "lines" });
    await log.append("one");
    await fuse.mode({ mode: "error", errno: 5, ops: ["fsync"], count: 1 });
    const errors = await Promise.allSettled([log.append("two"), log.append("three")]);
    for (const error of errors) {
      const { code, safeOffset, cause } = (error as PromiseRejectedResult).reason;
      expect([code, safeOffset, cause.code]).toEqual(["ERR_LOG_FAILED", 4, "EIO"]);
    }
    await fuse.mode({ mode: "ok" });
    expect(await code(log.append("four"))).toBe("ERR_LOG_FAILED");
    expect(() => log.write("five")).toThrow("nothing more is appended");
    expect(await code(log.flush())).toBe("ERR_LOG_FAILED");
    expect(await code(log.close())).toBe("ERR_LOG_FAILED");
  });

  faultTest("lines that a failed write has lost are counted and told", { needs: ["fuse"] }, async () => {
    await using fuse = await startFuse();
    const path = join(fuse.path, "log");
    const log = await AppendLog.open(path, { framing: "lines", durability: "none" });
    await fuse.mode({ mode: "error", errno: 28, ops: ["write"], count: 1 });
    const told = new Promise((resolve) => log.once("drop", resolve));
    for (let i = 0; i < 5; i++) log.write(`${i}`);
    const awaited = code(log.append("awaited"));
    expect(await told).toBe(5);
    expect(await awaited).toBe("ENOSPC");
    log.write("afterwards");
    await log.close();
    expect(log.stats()).toMatchObject({ dropped: 5, records: 1 });
    expect(readFileSync(path, "utf8")).toBe("afterwards\n");
  });

  faultTest("a failed write is cut off, and the next one succeeds", { needs: ["fuse"] }, async () => {
    await using fuse = await startFuse();
    const path = join(fuse.path, "log");
    const log = await AppendLog.open(path);
    await log.append("one");
    await fuse.mode({ mode: "error", errno: 5, ops: ["write"], count: 1 });
    expect(await code(log.append("two"))).toBe("EIO");
    await log.append("three");
    await log.close();
    expect(await texts(path)).toEqual(["one", "three"]);
  });

  faultTest(
    "slow writes: memory stays below maxPendingBytes, the producer is told, nothing that was taken is lost",
    { needs: ["fuse"] },
    async () => {
      await using fuse = await startFuse();
      await fuse.mode({ mode: "slow", ms: 30, ops: ["write"] });
      const maxPendingBytes = 64 * 1024;
      const path = join(fuse.path, "log");
      const log = await AppendLog.open(path, { framing: "lines", durability: "none", maxPendingBytes });
      let [taken, refused, most] = [0, 0, 0];
      for (let i = 0; i < 3000; i++) {
        const before = log.stats().dropped;
        log.write(`${i}`.padEnd(100));
        if (log.stats().dropped > before) refused++;
        else taken++;
        most = Math.max(most, log.pendingBytes);
        if (i % 50 === 0) await Bun.sleep(1);
      }
      await log.close();
      expect(most).toBeLessThanOrEqual(maxPendingBytes);
      expect(log.stats().dropped).toBe(refused);
      expect(readFileSync(path, "utf8").split("\n").length - 1).toBe(taken);
    },
  );
});
