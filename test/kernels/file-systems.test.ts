// Buffered writes that don't wait (RWF_NOWAIT), on the file systems of this kernel: the same bytes whether one has them or not, and
// plain calls in the place of the ring where it has. Assumes python3 (to ask the kernel itself) and, for each file system, its mkfs.
// Never measures time.

import { expect, test } from "bun:test";
import { constants, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { backend, open, stats } from "../../src/index.ts";
import { FileSystem } from "../../src/ring/file-systems.ts";
import { type Mount, mountExt4, mountLoop } from "../helpers/mounts.ts";
import { faultTest, type Need } from "../helpers/requirements.ts";
import { patternBytes } from "../helpers/tmp.ts";

const [EAGAIN, EOPNOTSUPP] = [-11, -95];

/** How many of 100 writes without waiting a file system takes, as the kernel says to somebody else. */
function takenIn(folder: string): number {
  const probe = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.pwrite(fd, bytes(4096), 0)
taken = 0
for i in range(100):
    try: taken += os.pwritev(fd, [b"x"], i, 8)
    except OSError: os.pwrite(fd, b"x", i)
print(taken)`;
  const { stdout, stderr } = Bun.spawnSync(["python3", "-c", probe, join(folder, "probe")]);
  expect(stderr.toString()).toBe("");
  return Number(stdout.toString());
}

const here = (parent: string): Mount => {
  const path = mkdtempSync(join(parent, "bun-uring-now-"));
  const unmount = async (): Promise<void> => rmSync(path, { recursive: true });
  return { path, unmount, [Symbol.asyncDispose]: unmount };
};
const rows: readonly [string, readonly Need[], () => Mount][] = [
  ["xfs", ["xfs"], () => mountLoop(["mkfs.xfs", "-q"], 320 << 20)],
  ["btrfs", ["btrfs"], () => mountLoop(["mkfs.btrfs", "-q"], 128 << 20)],
  ["ext4", ["loop"], () => mountExt4()],
  ["tmpfs", ["tmpfs"], () => here("/dev/shm")],
];

const WRITES = 400;
const content = patternBytes(1 << 20);

for (const [name, needs, mount] of rows)
  faultTest(
    `${name}: the same bytes, wherever they are written, and by plain calls if it has such`,
    { needs },
    async () => {
      const mounted = mount();
      try {
        const taken = takenIn(mounted.path);
        const [path, appended] = [join(mounted.path, "file"), join(mounted.path, "appended")];
        const shadow = Buffer.alloc(1 << 20);
        await using handle = await open(path, "w+");
        await using log = await open(appended, "a");
        // The quickest 20 of them: a file system may wait for its log once in a tick of the clock.
        let fewest = Number.POSITIVE_INFINITY;
        let { submitted } = stats();
        for (let i = 0; i < WRITES; i++) {
          const length = 1 + ((i * 977) % 9000);
          const at = (i * 7919) % (shadow.length - length);
          content.copy(shadow, at, i, i + length);
          expect((await handle.write(content, i, length, at)).bytesWritten).toBe(length);
          await log.write(content, i * 100, 100);
          if (i % 10 !== 9) continue;
          fewest = Math.min(fewest, stats().submitted - submitted);
          ({ submitted } = stats());
        }
        if (backend === "io_uring" && taken > 90) expect(fewest).toBeLessThan(10);
        if (backend === "io_uring" && taken === 0) expect(fewest).toBe(20);
        // Several at once, at the file's own position: one behind the other.
        await using own = await open(join(mounted.path, "own"), "w");
        await Promise.all(Array.from({ length: 64 }, (_, i) => own.write(content, i * 1000, 1000)));
        expect(readFileSync(join(mounted.path, "own")).equals(content.subarray(0, 64_000))).toBe(true);
        const found = readFileSync(path);
        expect(found.equals(shadow.subarray(0, found.length))).toBe(true);
        expect(readFileSync(appended).equals(content.subarray(0, WRITES * 100))).toBe(true);
      } finally {
        await mounted.unmount();
      }
    },
  );

faultTest(
  "xfs: a file that is synced by each write (O_DSYNC) is not written by the JavaScript thread",
  { needs: ["xfs", "ioUring"] },
  async () => {
    await using mounted = mountLoop(["mkfs.xfs", "-q"], 320 << 20);
    await using handle = await open(
      join(mounted.path, "synced"),
      constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC,
    );
    const { submitted } = stats();
    for (let i = 0; i < 20; i++) await handle.write(content, 0, 100, i * 100);
    if (backend === "io_uring") expect(stats().submitted - submitted).toBe(20);
  },
);

test("what has refused is not asked again; what would have waited is, now and then", () => {
  const [refusing, waiting, busy] = [new FileSystem(), new FileSystem(), new FileSystem()];
  refusing.learn(EOPNOTSUPP, 0);
  const asked = (system: FileSystem): number =>
    Array.from({ length: 2560 }, () => system.maySucceed).filter(Boolean).length;
  expect(asked(refusing)).toBe(0);
  for (let i = 0; i < 8; i++) waiting.learn(EAGAIN, 0);
  expect(asked(waiting)).toBe(10);
  waiting.learn(100, 0);
  expect(asked(waiting)).toBe(2560);
  // It says that it does not wait, and does.
  for (let i = 0; i < 8; i++) busy.learn(100, 5);
  expect(asked(busy)).toBe(10);
  // The error of one write says nothing of the others.
  busy.learn(100, 0);
  busy.learn(-28, 0);
  expect(asked(busy)).toBe(2560);
});
