// Owns files that are no plain files on a disk: /proc, /dev, pipes, FIFOs, memfd and /dev/shm, sparse, shrinking, growing.
// Assumes Linux with /proc and /dev; /dev/shm is used where it exists.
// Never leaves a FIFO without its other end, where a test could hang.

import { expect } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectSystemError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const { fifo } = tmp;

  it("/dev/zero with a length, /dev/null at its end", async () => {
    await using zero = await fs.open("/dev/zero");
    const { bytesRead, buffer } = await zero.read(Buffer.alloc(100_000, 1));
    // The kernel ends such a read early where it has something else to do for the thread.
    expect(bytesRead === 100_000 || (bytesRead > 0 && bytesRead % 4096 === 0)).toBe(true);
    expect(buffer.subarray(0, bytesRead).equals(Buffer.alloc(bytesRead))).toBe(true);
    await using none = await fs.open("/dev/null", "r+");
    expect((await none.read(Buffer.alloc(10))).bytesRead).toBe(0);
    expect((await none.write("gone")).bytesWritten).toBe(4);
  });

  it("/proc is read in chunks by the file's own position and by position", async () => {
    const whole = readFileSync("/proc/version");
    await using handle = await fs.open("/proc/version");
    const parts: Buffer[] = [];
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(7));
      if (bytesRead === 0) break;
      parts.push(buffer.subarray(0, bytesRead));
    }
    expect(Buffer.concat(parts).equals(whole)).toBe(true);
    expect((await handle.read(Buffer.alloc(5), 0, 5, 6)).buffer.equals(whole.subarray(6, 11))).toBe(true);
  });

  it("/proc/self/mem fails with EIO where nothing is mapped", async () => {
    await using handle = await fs.open("/proc/self/mem");
    await expect(handle.read(Buffer.alloc(10), 0, 10, 0)).rejects.toMatchObject({ code: "EIO", syscall: "read" });
  });

  it("a FIFO passes bytes between two handles", async () => {
    const path = fifo();
    const [reader, writer] = await Promise.all([fs.open(path, "r"), fs.open(path, "w")]);
    const read = reader.read(Buffer.alloc(10));
    await writer.write("ping");
    const { bytesRead, buffer } = await read;
    expect(buffer.subarray(0, bytesRead).toString()).toBe("ping");
    await writer.write("rest");
    await writer.close();
    expect(await reader.readFile("utf8")).toBe("rest");
    await reader.close();
  });

  it("a FIFO fills one buffer of a readv after the other", async () => {
    await using handle = await fs.open(fifo(), "r+");
    const data = patternBytes(250, 3);
    await handle.writev([data.subarray(0, 100), data.subarray(100)]);
    const into = [Buffer.alloc(100), Buffer.alloc(0), Buffer.alloc(70), Buffer.alloc(200)];
    expect((await handle.readv(into)).bytesRead).toBe(250);
    expect(Buffer.concat(into).subarray(0, 250).equals(data)).toBe(true);
    expect(into[3]!.subarray(80)).toEqual(Buffer.alloc(120));
  });

  it("a FIFO refuses a position with ESPIPE", async () => {
    await using handle = await fs.open(fifo(), "r+");
    await expectSystemError(handle.read(Buffer.alloc(1), 0, 1, 5), { code: "ESPIPE", syscall: "read" });
    await expectSystemError(handle.write(Buffer.from("x"), 0, 1, 5), { code: "ESPIPE", syscall: "write" });
  });

  it("readFile reads a FIFO to its end", async () => {
    const path = fifo();
    const data = patternBytes(300_000, 4);
    const read = fs.readFile(path);
    await fs.writeFile(path, data);
    expect((await read).equals(data)).toBe(true);
  });

  it("a read parked on a FIFO does not hold up other files", async () => {
    const keeper = await fs.open(fifo(), "r+");
    const parked = keeper.read(Buffer.alloc(1));
    const paths = Array.from({ length: 50 }, (_, i) => tmp.file(`content ${i}`));
    const texts = await Promise.all(paths.map((path) => fs.readFile(path, "utf8")));
    expect(texts).toEqual(paths.map((_, i) => `content ${i}`));
    await keeper.write("x");
    expect((await parked).bytesRead).toBe(1);
    await keeper.close();
  });

  it("opening a FIFO for writing without a reader and without waiting fails with ENXIO", async () => {
    const path = fifo();
    const { O_WRONLY, O_NONBLOCK } = fs.constants;
    await expectSystemError(fs.open(path, O_WRONLY | O_NONBLOCK), { code: "ENXIO", syscall: "open", path });
  });

  it("a FIFO that was opened with O_NONBLOCK is never waited for", async () => {
    const { O_RDWR, O_NONBLOCK } = fs.constants;
    await using handle = await fs.open(fifo(), O_RDWR | O_NONBLOCK);
    const [into, data] = [Buffer.alloc(8), Buffer.alloc(200_000, 7)];
    const again = (syscall: string) => ({ code: "EAGAIN", syscall });
    await expectSystemError(handle.read(into, 0, 8, null), again("read"));
    const { bytesWritten } = await handle.write(data);
    expect(bytesWritten).toBeGreaterThan(0);
    expect(bytesWritten).toBeLessThan(data.length);
    await expectSystemError(handle.write(data), again("write"));
    expect((await handle.read(into, 2, 6, null)).bytesRead).toBe(6);
    expect([...into]).toEqual([0, 0, 7, 7, 7, 7, 7, 7]);
    expect((await handle.readv([new Uint16Array(2), into])).bytesRead).toBe(12);
    let left = bytesWritten - 18;
    while (left > 0) left -= (await handle.read(Buffer.alloc(65_536))).bytesRead;
    expect((await handle.writev([into, into])).bytesWritten).toBe(16);
    expect((await handle.read(Buffer.alloc(100))).bytesRead).toBe(16);
    // Bun names these calls as read(2) and write(2) have them in C.
    await expect(handle.readv([into])).rejects.toMatchObject({ code: "EAGAIN" });
  });

  it("a file that was unlinked lives until its handle closes", async () => {
    const path = tmp.file("content");
    const handle = await fs.open(path, "r+");
    await fs.unlink(path);
    await handle.write("CON");
    expect(await fs.readFile(`/proc/self/fd/${handle.fd}`, "utf8")).toBe("CONtent");
    expect((await handle.stat()).nlink).toBe(0);
    await handle.close();
    expect(existsSync(path)).toBe(false);
  });

  it("a file that shrank gives what is left", async () => {
    const path = tmp.file(patternBytes(1 << 20));
    await using handle = await fs.open(path);
    truncateSync(path, 1000);
    expect((await handle.read(Buffer.alloc(4096), 0, 4096, 0)).bytesRead).toBe(1000);
    expect((await handle.readFile()).length).toBe(1000);
  });

  it("a file that grows is read to its new end", async () => {
    const path = tmp.file("one");
    await using handle = await fs.open(path);
    expect((await handle.read(Buffer.alloc(10))).bytesRead).toBe(3);
    writeFileSync(path, "one two", { flag: "r+" });
    expect((await handle.read(Buffer.alloc(10))).buffer.toString("utf8", 0, 4)).toBe(" two");
  });

  it("readFile of a file that others replace gives one content, whole", async () => {
    const [a, b] = [Buffer.alloc(300_000, "a"), Buffer.alloc(300_000, "b")];
    const path = tmp.file(a);
    const reads: Promise<Buffer>[] = [];
    for (let i = 0; i < 20; i++) {
      reads.push(fs.readFile(path) as Promise<Buffer>);
      const fresh = tmp.file(i % 2 === 0 ? b : a);
      await fs.rename(fresh, path);
    }
    for (const bytes of await Promise.all(reads)) expect(bytes.equals(a) || bytes.equals(b)).toBe(true);
  });

  it("a hole reads as zeros, beyond 4 GiB too", async () => {
    const path = tmp.path("sparse");
    const fd = openSync(path, "w");
    writeSync(fd, "end", 5 * 2 ** 30);
    closeSync(fd);
    await using handle = await fs.open(path);
    expect((await handle.stat()).size).toBe(5 * 2 ** 30 + 3);
    const { buffer } = await handle.read(Buffer.alloc(10, 1), 0, 10, 5 * 2 ** 30 - 7);
    expect(buffer.toString("latin1")).toBe("\0\0\0\0\0\0\0end");
  });

  it("an O_PATH handle can be asked, not read", async () => {
    const path = tmp.file("content");
    const O_PATH = 0o10000000; // Linux; node:fs has no name for it.
    await using handle = await fs.open(path, O_PATH);
    expect((await handle.stat()).size).toBe(7);
    await expectSystemError(handle.read(Buffer.alloc(1)), { code: "EBADF", syscall: "read" });
  });

  it("O_APPEND and O_TRUNC act as open(2) says", async () => {
    const path = tmp.file("content");
    const { O_WRONLY, O_APPEND, O_TRUNC } = fs.constants;
    const appending = await fs.open(path, O_WRONLY | O_APPEND);
    await appending.write("+", 0);
    await appending.close();
    expect(readFileSync(path, "utf8")).toBe("content+");
    await (await fs.open(path, O_WRONLY | O_TRUNC)).close();
    expect(readFileSync(path, "utf8")).toBe("");
  });

  if (existsSync("/dev/shm")) {
    const shm = scratch("/dev/shm");
    it("tmpfs reads, writes, copies and stats as a disk does", async () => {
      const data = patternBytes(700_001, 5);
      const path = shm.path();
      await fs.writeFile(path, data);
      expect((await fs.readFile(path)).equals(data)).toBe(true);
      const copy = shm.path();
      await fs.copyFile(path, copy);
      await fs.copyFile(path, tmp.path());
      expect(readFileSync(copy).equals(data)).toBe(true);
      expect((await fs.stat(copy)).size).toBe(data.length);
      await fs.rm(shm.dir, { recursive: true });
    });
  }
}, "odd-files");
