// Owns the cases of loop.test.ts that are about how a process ends.
// Assumes a FIFO from the parent. Never calls process.exit: the ending is what is tested.

import { closeSync, readdirSync, readlinkSync, writeSync } from "node:fs";
import { event, runCases } from "../helpers/cases.ts";
import { nop, parkRead, smallThread, stageForged } from "../helpers/small-ring.ts";

await runCases({
  async lives(path: string) {
    const t = smallThread();
    const { read, fd } = parkRead(t.ring, path);
    setTimeout(() => writeSync(fd, "1234"), 300).unref();
    // Nothing else keeps this process: an await here would (Bun waits for those of a module).
    read.then((bytes) => event("bytes", bytes));
  },

  async idleInFlush(path: string) {
    const t = smallThread();
    const { read, fd } = parkRead(t.ring, path);
    await Bun.sleep(30); // asleep: the bell holds the process
    writeSync(fd, "1234");
    return Promise.all([read, nop(t.ring)]);
  },

  async poisoned(path: string) {
    const t = smallThread();
    const { read } = parkRead(t.ring, path);
    await Bun.sleep(30); // asleep: the bell holds the process
    stageForged(t.ring, 77, 77);
    event("staged");
    return read.then(
      () => "resolved",
      (error: Error) => error.message,
    );
  },

  async descriptorGone() {
    const t = smallThread();
    await nop(t.ring);
    for (const fd of readdirSync("/proc/self/fd")) if (linkOf(fd) === "anon_inode:[io_uring]") closeSync(Number(fd));
    return nop(t.ring).then(
      () => "resolved",
      (error: Error) => error.message,
    );
  },
});

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}
