// Owns ring.chain(): what links do, how a chain breaks and says so, that nothing it opened stays open, timeouts, abort, and
// that open, read and close of a file are one system call. Assumes io_uring and, for the last, strace.
// Never repeats the opcodes' own behaviour: test/contract/ring-opcodes.test.ts has that.

import { expect, test } from "bun:test";
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { backend, type ChainError, capabilities, Opcode, open, Ring } from "../../src/index.ts";
import { ringThread } from "../../src/ring/context.ts";
import { runCase } from "../helpers/child.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { strace } from "../helpers/strace.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const DATA = patternBytes(10_000);
const FIXTURE = new URL("./ring.child.ts", import.meta.url).pathname;

async function broken(promise: Promise<unknown>): Promise<ChainError> {
  try {
    await promise;
  } catch (error) {
    return error as ChainError;
  }
  throw new Error("the chain did not break");
}

/** Direct descriptors in use. */
function slotsUsed(): number {
  const thread = ringThread();
  return "direct" in thread ? thread.direct.used : -1;
}

/** What is open below the tests' folder; where the kernel closes direct descriptors late, once it may have done so. */
async function openFiles(): Promise<string[]> {
  for (let i = 0; capabilities().lateClose && i < 500 && tmp.openFiles().length > 0; i++) await Bun.sleep(10);
  return tmp.openFiles();
}

const noStrace = Bun.which("strace") === null && "no strace";

describeUnless(backend !== "io_uring" && "no ring", "chain", () => {
  const chain = (options?: { hardlink?: boolean }): ReturnType<Ring["chain"]> => Ring.current().chain(options);

  testUnless(lacking("direct descriptors"), "opens, reads and closes a file without an fd", async () => {
    const buffer = Buffer.alloc(1000);
    const results = await chain().openDirect(tmp.file(DATA)).read(buffer, 500).close().submit();
    expect(results).toEqual([0, 1000, 0]);
    expect(buffer.equals(DATA.subarray(500, 1500))).toBe(true);
    expect([slotsUsed(), await openFiles()]).toEqual([0, []]);
  });

  testUnless(lacking("FTRUNCATE"), "writes a file, syncs it, and publishes it", async () => {
    const [draft, path, folder, soft, hard] = Array.from({ length: 5 }, () => tmp.path()) as [string, ...string[]];
    const results = await chain()
      .openDirect(draft, "wx", 0o600)
      .fallocate(0, 100)
      .writev([Buffer.from("one "), Buffer.from("two")], 0)
      .write(Buffer.from("!"), 7)
      .ftruncate(8)
      .fadvise(0, 0, constants.O_RDONLY)
      .syncRange(0, 0, 7)
      .datasync()
      .fsync()
      .close()
      .rename(draft, path!)
      .mkdir(folder!, 0o700)
      .symlink("target", soft!)
      .link(path!, hard!)
      .statx(path)
      .submit();
    expect(results.slice(0, -1)).toEqual([0, 0, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(results.at(-1)).toMatchObject({ size: 8, ino: statSync(hard!).ino });
    expect(readFileSync(path!, "utf8")).toBe("one two!");
    expect([existsSync(draft), readlinkSync(soft!), statSync(folder!).mode & 0o777]).toEqual([false, "target", 0o700]);
    await chain().unlink(hard!).rmdir(folder!).submit();
    expect([existsSync(hard!), existsSync(folder!)]).toEqual([false, false]);
  });

  test("acts on open files: handles and descriptors", async () => {
    const path = tmp.file(DATA);
    const handle = await open(path, "r+");
    const parts = [Buffer.alloc(10), Buffer.alloc(20)];
    expect(await chain().file(handle).readv(parts, 0).fsync().submit()).toEqual([30, 0]);
    expect(Buffer.concat(parts).equals(DATA.subarray(0, 30))).toBe(true);
    expect(() => chain().file(handle).close()).toThrow("needs openDirect() or a descriptor");
    await handle.close();
    const fd = openSync(path, "r");
    const [stats, closed] = await chain().file(fd).statx().close().submit();
    expect([stats.size, closed]).toEqual([DATA.length, 0]);
    expect(() => fstatSync(fd)).toThrow("EBADF");
  });

  testUnless(lacking("FIXED_FD_INSTALL"), "gives descriptors: open() and install(), close-on-exec", async () => {
    const path = tmp.file(DATA);
    const [plain, , installed] = await chain().open(path).openDirect(path).install().close().submit();
    for (const fd of [plain, installed]) {
      expect(fstatSync(fd).size).toBe(DATA.length);
      expect(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")).toMatch(/flags:\s+02\d+/);
      closeSync(fd);
    }
    expect(slotsUsed()).toBe(0);
  });

  testUnless(lacking("SPLICE"), "splices between files and pipes", async () => {
    const fifo = tmp.fifo();
    const pipe = openSync(fifo, "r+");
    const from = openSync(tmp.file(DATA), "r");
    const target = tmp.path();
    const out = openSync(target, "w");
    expect(await chain().file(pipe).splice(from, 3000, { in: 100 }).file(out).splice(pipe, 3000).submit()).toEqual([
      3000, 3000,
    ]);
    expect(readFileSync(target).equals(DATA.subarray(100, 3100))).toBe(true);
    for (const fd of [pipe, from, out]) closeSync(fd);
  });

  testUnless(
    lacking("FIXED_FD_INSTALL"),
    "says which link failed and which never ran, and leaves nothing open",
    async () => {
      const path = tmp.file(DATA);
      const missing = tmp.path();
      const error = await broken(
        chain().openDirect(path).open(path).install().unlink(missing).mkdir(tmp.path()).close().submit(),
      );
      expect(error).toMatchObject({
        errno: -2,
        code: "ENOENT",
        syscall: "unlink",
        path: missing,
        link: 3,
        linkName: "unlink",
        cancelled: [4, 5],
      });
      expect(error.results[0]).toBe(0);
      expect(error.results.slice(3)).toEqual([-2, -125, -125]);
      expect(error.message).toContain("(link 3 of the chain, unlink; cancelled: 4 mkdir, 5 close)");
      expect([slotsUsed(), await openFiles()]).toEqual([0, []]);
    },
  );

  testUnless(lacking("direct descriptors"), "says when a transfer was short, unless its link is hard", async () => {
    const path = tmp.file("short");
    const buffer = Buffer.alloc(100);
    const error = await broken(chain().openDirect(path).read(buffer).close().submit());
    expect(error).toMatchObject({ code: "ERR_SHORT_TRANSFER", link: 1, cancelled: [2], results: [0, 5, -125] });
    expect(error.message).toContain("read moved 5 of 100 bytes");
    expect(slotsUsed()).toBe(0);
    expect(await chain().openDirect(path).read(buffer).hard().close().submit()).toEqual([0, 5, 0]);
    expect(await chain({ hardlink: true }).openDirect(path).read(buffer).close().submit()).toEqual([0, 5, 0]);
    expect(slotsUsed()).toBe(0);
  });

  testUnless(
    lacking("RENAMEAT", "UNLINKAT"),
    "a failed sync stops the chain, though the kernel would go on",
    async () => {
      const [from, to] = [tmp.file("data"), tmp.path()];
      const nowhere = openSync("/dev/null", "r+"); // refuses fsync: EINVAL
      const error = await broken(chain().file(nowhere).fsync().rename(from, to).unlink(from).submit());
      expect(error).toMatchObject({ code: "EINVAL", syscall: "fsync", link: 0, cancelled: [1, 2] });
      expect([existsSync(from), existsSync(to)]).toEqual([true, false]);
      const goneOn = await broken(chain().file(nowhere).fsync().hard().rename(from, to).submit());
      expect(goneOn).toMatchObject({ link: 0, cancelled: [], results: [-22, 0] });
      expect([existsSync(from), existsSync(to)]).toEqual([false, true]);
      closeSync(nowhere);
    },
  );

  testUnless(
    lacking("UNLINKAT", "MKDIRAT"),
    "after a hard link that failed the rest runs, and the chain rejects all the same",
    async () => {
      const folder = tmp.path();
      const error = await broken(chain({ hardlink: true }).rmdir(tmp.path()).mkdir(folder).submit());
      expect(error).toMatchObject({ code: "ENOENT", link: 0, cancelled: [], results: [-2, 0] });
      expect(existsSync(folder)).toBe(true);
    },
  );

  testUnless(lacking("direct descriptors"), "a link that takes too long is cancelled: ETIMEDOUT", async () => {
    const fifo = tmp.fifo();
    const fd = openSync(fifo, "r+");
    const error = await broken(chain().file(fd).read(Buffer.alloc(1)).timeout(5).fsync().submit());
    expect(error).toMatchObject({ errno: -110, code: "ETIMEDOUT", syscall: "read", link: 0, cancelled: [1] });
    expect(error.message).toContain("read after 5 ms");
    const inTime = chain().openDirect(tmp.file(DATA)).timeout(10_000).read(Buffer.alloc(9)).timeout(10_000).close();
    expect(await inTime.submit()).toEqual([0, 9, 0]);
    closeSync(fd);
  });

  testUnless(lacking("direct descriptors"), "is cancelled by its signal, and leaves nothing open", async () => {
    const fifo = tmp.fifo();
    const controller = new AbortController();
    const parked = chain().openDirect(fifo, "r+").read(Buffer.alloc(1)).close().submit({ signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    expect((await broken(parked)).code).toBe("ABORT_ERR");
    expect([slotsUsed(), Ring.current().stats.inFlight]).toEqual([0, 0]);
  });

  testUnless(lacking("direct descriptors"), "closes a direct descriptor that no link closed", async () => {
    const fifo = tmp.fifo();
    await chain().openDirect(fifo, "r+").submit();
    // Nobody has it open for reading: only then does this fail.
    const toWrite = (): number => openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    for (let i = 0; capabilities().lateClose && i < 500; i++) {
      try {
        closeSync(toWrite());
      } catch {
        break;
      }
      await Bun.sleep(10);
    }
    expect(toWrite).toThrow("ENXIO");
  });

  testUnless(
    lacking("direct descriptors"),
    "refuses links without a file, a second submit, and what is wrong in a link",
    async () => {
      expect(() => chain().read(Buffer.alloc(1))).toThrow("read() needs a file");
      expect(() => chain().hard()).toThrow("hard() needs a link");
      expect(() => chain().timeout(1)).toThrow("timeout() needs a link");
      expect(() => chain().openDirect("x").statx()).toThrow("direct descriptor");
      const once = chain().add({ opcode: Opcode.NOP });
      expect(await once.submit()).toEqual([0]);
      await expect(once.submit()).rejects.toThrow("submitted once");
      const path = tmp.file(DATA);
      await expect(
        chain()
          .openDirect(path)
          .read(4096 as never)
          .submit(),
      ).rejects.toThrow("sqe.buffer");
      await expect(chain().openDirect(path).write(Buffer.alloc(1), -5).submit()).rejects.toThrow("sqe.offset");
      expect(slotsUsed()).toBe(0);
      expect(await chain().submit()).toEqual([]);
    },
  );

  testUnless(
    lacking("direct descriptors"),
    "many at once, more than there are direct descriptors, end well",
    async () => {
      const paths = Array.from({ length: 40 }, (_, i) => tmp.file(`${i}`.padStart(4, "0")));
      const pairs = Array.from({ length: 300 }, (_, i) => ({
        one: paths[i % 40]!,
        two: paths[(i * 7) % 40]!,
        buffers: [Buffer.alloc(4), Buffer.alloc(4)],
      }));
      await Promise.all(
        pairs.map(({ one, two, buffers }) =>
          chain().openDirect(one).read(buffers[0]!).openDirect(two).read(buffers[1]!).submit(),
        ),
      );
      const read = pairs.map(({ buffers }) => buffers.map(String));
      expect(read).toEqual(pairs.map(({ one, two }) => [readFileSync(one, "utf8"), readFileSync(two, "utf8")]));
      expect([slotsUsed(), await openFiles()]).toEqual([0, []]);
    },
  );

  testUnless(noStrace || lacking("direct descriptors"), "open, read and close are one system call", async () => {
    const trace = strace();
    const path = tmp.file(DATA);
    expect(await runCase<number[]>(FIXTURE, "chain", { prefix: trace.prefix, input: { path } })).toEqual([0, 5000, 0]);
    expect(trace.counts()["io_uring_enter"]).toBe(1);
    trace.remove();
  });
});
