// Owns the cases of leaks.test.ts: many operations of one kind, and what is left of them.
// Assumes public names only. Never counts the warm-up: the first operations grow pools on purpose.

import * as fs from "../../src/index.ts";
import { runCases } from "../helpers/cases.ts";
import { lastingThreads, openFds, residentBytes } from "../helpers/fds.ts";

const BATCH = 64;

interface Input {
  dir: string;
  kind: string;
  count: number;
}

/** One operation of each kind; `i` makes paths of a batch distinct. */
function operation(kind: string, dir: string, handle: fs.FileHandle, buffer: Buffer): (i: number) => Promise<unknown> {
  const path = `${dir}/file`;
  const own = (i: number): string => `${dir}/own${i % BATCH}`;
  const kinds: Record<string, (i: number) => Promise<unknown>> = {
    read: (i) => handle.read(buffer, 0, 512, (i % 8) * 512),
    readNewBuffer: () => handle.read(Buffer.alloc(512), 0, 512, 0),
    write: (i) => handle.write(buffer, 0, 512, (i % 8) * 512),
    readv: () => handle.readv([buffer.subarray(0, 100), buffer.subarray(100, 300)], 0),
    writev: () => handle.writev([buffer.subarray(0, 100), buffer.subarray(100, 300)], 0),
    stat: () => fs.stat(path),
    handleStat: () => handle.stat(),
    statMissing: () => fs.stat("/none").catch(() => {}),
    openClose: async () => (await fs.open(path, "r")).close(),
    openMissing: () => fs.open("/none", "r").catch(() => {}),
    readFile: () => fs.readFile(path),
    readFileText: () => fs.readFile(path, "utf8"),
    readMissing: () => fs.readFile("/none").catch(() => {}),
    writeFile: (i) => fs.writeFile(own(i), buffer),
    renames: async (i) => {
      await fs.writeFile(own(i), "x");
      await fs.rename(own(i), `${own(i)}-renamed`);
      await fs.unlink(`${own(i)}-renamed`);
    },
    directories: async (i) => {
      await fs.mkdir(`${own(i)}-dir`);
      await fs.rmdir(`${own(i)}-dir`);
    },
    copyFile: (i) => fs.copyFile(path, own(i)),
    sync: () => handle.datasync(),
    aborted: () => {
      const controller = new AbortController();
      const reading = fs.readFile(path, { signal: controller.signal }).catch(() => {});
      controller.abort();
      return reading;
    },
  };
  return kinds[kind]!;
}

async function repeat(once: (i: number) => Promise<unknown>, count: number): Promise<void> {
  for (let done = 0; done < count; done += BATCH) {
    await Promise.all(Array.from({ length: Math.min(BATCH, count - done) }, (_, i) => once(i)));
  }
}

/** What is held when nothing goes on. The allocator gives pages back a while after their last use: the least of some looks. */
async function settle(): Promise<{ fds: number; threads: string[]; rss: number }> {
  let rss = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 20; i++) {
    Bun.gc(true);
    await Bun.sleep(25);
    rss = Math.min(rss, residentBytes());
  }
  return { fds: openFds().size, threads: lastingThreads(), rss };
}

await runCases({
  async many({ dir, kind, count }: Input) {
    const buffer = Buffer.alloc(4096, 1);
    await fs.writeFile(`${dir}/file`, buffer);
    const handle = await fs.open(`${dir}/file`, "r+");
    // The loop's doorbell is made at its first sleep: have that behind us.
    for (let i = 0; i < 100 && fs.capabilities().doorbell === null; i++) {
      await fs.writeFile(`${dir}/warm`, Buffer.alloc(4 << 20), { flush: true });
    }
    const once = operation(kind, dir, handle, buffer);
    await repeat(once, Math.max(BATCH * 4, count / 5));
    const before = await settle();
    await repeat(once, count);
    const after = await settle();
    const { inFlight, queued } = fs.stats();
    await handle.close();
    return {
      fds: after.fds - before.fds,
      threads: after.threads.slice(before.threads.length),
      growth: after.rss / before.rss,
      inFlight,
      queued,
    };
  },
});
