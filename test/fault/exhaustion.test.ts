// FAULTS rows 4, 7, 9: no descriptors, no room in the queues, no space. One operation fails or waits; the rest goes on.
// Assumes a child per case, as limits are a process's own. Never exhausts anything of the test process.

import { describe, expect } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { withLimits } from "../helpers/as-user.ts";
import { runCase, startCase } from "../helpers/child.ts";
import type { LoopGap } from "../helpers/loop-gap.ts";
import { mountTmpfs, run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "enter.child.ts");
const spaceFixture = join(import.meta.dir, "space.child.ts");
const root = tmpDir();
const EMFILE = { code: "EMFILE", errno: -24, syscall: "open" };

for (const backend of ["uring", "node"]) {
  const env = { BUN_URING_BACKEND: backend };
  const needs = backend === "uring" ? (["ioUring", "prlimit"] as const) : (["prlimit"] as const);
  const prefix = withLimits({ nofile: 64 });

  describe(`${backend}: descriptors`, () => {
    faultTest("none left: open rejects, open handles read on, and later all is well", { needs }, async () => {
      const input = join(root, `descriptors-${backend}`);
      const seen = await runCase<any>(fixture, "noDescriptors", { input, prefix, env });
      expect(seen.refused[0]).toMatchObject({ ...EMFILE, path: input });
      expect(seen.refused[1].syscall).toBe("open");
      expect(seen).toMatchObject({ stillReads: 7, whole: 160, inFlight: 0, queued: 0 });
    });

    faultTest("none left when the package is first used: it recovers", { needs }, async () => {
      const input = join(root, `start-${backend}`);
      writeFileSync(input, "0123456789");
      const seen = await runCase<any>(fixture, "noDescriptorsAtStart", {
        input,
        prefix,
        env: { BUN_URING_BACKEND: "auto" },
      });
      expect(seen).toMatchObject({ refused: EMFILE, later: 10, fds: 0 });
    });

    faultTest("none left for the doorbell: a parked read wakes all the same", { needs }, async () => {
      const input = join(root, `bell-${backend}`);
      run("mkfifo", input);
      const seen = await runCase<unknown>(fixture, "noDescriptorsForBell", { input, prefix, env });
      expect(seen).toEqual({ woken: "wake", more: "more", inFlight: 0, queued: 0 });
    });
  });

  describe(`${backend}: space`, () => {
    faultTest("a full tmpfs: the true short count, then ENOSPC", { needs: ["tmpfs"] }, async () => {
      await using mount = mountTmpfs(1 << 20);
      const seen = await runCase<any>(spaceFixture, "fill", { input: mount.path, env });
      const ENOSPC = { code: "ENOSPC", syscall: "write", errno: -28 };
      expect(seen.first).toBeLessThanOrEqual(1 << 20);
      expect(seen.total).toBe(1 << 20);
      expect(seen).toMatchObject({ last: ENOSPC, handleWriteFile: ENOSPC, writeFile: ENOSPC, appendFile: ENOSPC });
      expect(seen).toMatchObject({ content: true, afterRoomMade: "value" });
    });

    faultTest("what does not fit over a file leaves nothing of the file", { needs: ["tmpfs"] }, async () => {
      const mount = mountTmpfs(1 << 20);
      // The rest of the room is another's: the write finds none within the file's hole, in a chain and beyond one.
      writeFileSync(join(mount.path, "other"), Buffer.alloc(700_000));
      const lengths = [
        [500_000, 400_000],
        [2 << 20, 2 << 20],
      ];
      try {
        const seen = await runCase<any>(spaceFixture, "over", { input: { dir: mount.path, lengths }, env });
        const refused = { refusal: { code: "ENOSPC", syscall: "write" }, foreign: 0 };
        expect(seen).toMatchObject([refused, refused]);
      } finally {
        await mount.unmount();
      }
    });

    faultTest("a copy that does not fit leaves no half target", { needs: ["tmpfs"] }, async () => {
      await using mount = mountTmpfs(1 << 20);
      const source = join(root, `big-${backend}`);
      writeFileSync(source, Buffer.alloc(3 << 20, 1));
      const seen = await runCase<any>(spaceFixture, "copy", { input: [source, join(mount.path, "copy")], env });
      expect(seen).toMatchObject({ code: "ENOSPC" });
      expect(readdirSync(mount.path)).toEqual([]);
    });

    faultTest("/dev/full", {}, async () => {
      const seen = await runCase<any>(spaceFixture, "devFull", { env });
      const ENOSPC = { code: "ENOSPC", syscall: "write", message: "ENOSPC: no space left on device, write" };
      expect(seen).toMatchObject({ write: ENOSPC, writeFile: ENOSPC });
    });

    faultTest(
      "a file's limit: the true short count, then EFBIG, and the process lives",
      { needs: ["prlimit"] },
      async () => {
        const input = join(root, `limited-${backend}`);
        const end = await startCase<any>(spaceFixture, "fileLimit", {
          input,
          prefix: withLimits({ fsize: 65536 }),
          env,
        }).finished();
        expect({ signal: end.signal, stderr: end.stderr }).toEqual({ signal: null, stderr: "" });
        expect(end.value).toMatchObject({ first: 65536, refusal: { code: "EFBIG", syscall: "write" }, size: 65536 });
        expect(end.value).toMatchObject({ writeFile: { code: "EFBIG" } });
        expect(existsSync(input)).toBe(true);
      },
    );
  });
}

describe("queues", () => {
  const needs = ["ioUring"] as const;
  const env = { BUN_URING_BACKEND: "uring" };

  faultTest("10,000 operations at once settle in the order they were given", { needs }, async () => {
    const input = { path: join(root, "flood"), count: 10_000 };
    const { gap, ...seen } = await runCase<{ gap: LoopGap }>(fixture, "flood", { input, env });
    expect(seen as unknown).toEqual({ wrong: 0, settled: 10_000, inOrder: true, inFlight: 0, queued: 0 });
  });

  faultTest("more parked reads than completions fit: the kernel holds a bounded part", { needs }, async () => {
    const fifoPath = join(root, "parked");
    run("mkfifo", fifoPath);
    const child = startCase<unknown>(fixture, "parkedFlood", { input: { fifoPath, count: 3000 }, env });
    const { inFlight, queued } = await child.event("parked");
    expect(inFlight + queued).toBe(3000);
    expect(inFlight).toBeLessThanOrEqual(1024);
    const end = await child.finished();
    expect(end.value).toEqual({ same: true, inFlight: 0, queued: 0 });
  });
});
