// Owns every opcode of the typed API, each sent to the real kernel through Ring.submit or Ring.batch, and what it did checked
// with plain node:fs calls. Assumes a file system with user.* attributes under the temporary folder (ext4, tmpfs of 6.6).
// Never skips an opcode in silence: one that this kernel lacks shows as a skipped test with its name.

import { expect, test } from "bun:test";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import {
  BufferPool,
  backend,
  type Completion,
  capabilities,
  Opcode,
  type OpcodeName,
  Ring,
  type Sqe,
  SqeFlag,
} from "../../src/index.ts";
import { describeUnless, testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const [ENOENT, EBADF, EEXIST, ECANCELED, ETIME, ENODATA] = [-2, -9, -17, -125, -62, -61];
const tmp = scratch();
const DATA = patternBytes(20_000);

/** A pipe of this process: `[read, write]`, by way of a FIFO. */
function pipe(): [number, number] {
  const path = tmp.fifo();
  const fds = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const out = openSync(path, constants.O_WRONLY);
  return [fds, out];
}

describeUnless(backend !== "io_uring" && "no ring", "opcodes", () => {
  const ring = backend === "io_uring" ? Ring.current() : (null as unknown as Ring);
  const submit = (sqe: Sqe): Promise<Completion> => ring.submit(sqe);
  const result = async (sqe: Sqe): Promise<number> => (await submit(sqe)).res;

  const fixedBuffers = capabilities().limits.fixedBuffers > 0;
  const tested = new Set<OpcodeName>();
  /** `has`: what the test needs beyond the opcodes themselves. */
  const opcodeTest = (names: OpcodeName[], body: () => Promise<void>, has = true): void => {
    for (const name of names) tested.add(name);
    const lacking = !has || names.some((name) => ring?.opcodes.has(name) === false);
    testUnless(lacking && "opcodes that this kernel lacks", names.join(", "), body);
  };
  const withFd = async (body: (fd: number, path: string) => Promise<void>, flags = "r+"): Promise<void> => {
    const path = tmp.file(DATA);
    const fd = openSync(path, flags);
    try {
      await body(fd, path);
    } finally {
      closeSync(fd);
    }
  };

  opcodeTest(["NOP"], async () => {
    expect(await submit({ opcode: Opcode.NOP })).toEqual({ res: 0, flags: 0 });
  });

  opcodeTest(["READ", "WRITE"], () =>
    withFd(async (fd, path) => {
      const buffer = Buffer.alloc(1000);
      expect(await result({ opcode: Opcode.READ, fd, buffer, offset: 5000 })).toBe(1000);
      expect(buffer.equals(DATA.subarray(5000, 6000))).toBe(true);
      expect(await result({ opcode: Opcode.WRITE, fd, buffer: Buffer.from("here"), offset: 7n })).toBe(4);
      expect(readFileSync(path, "latin1").slice(7, 11)).toBe("here");
      expect(await result({ opcode: Opcode.READ, fd: 9999, buffer })).toBe(EBADF);
    }),
  );

  test("READ without an offset uses and advances the file's own position", () =>
    withFd(async (fd) => {
      const parts = [Buffer.alloc(100), Buffer.alloc(100)];
      for (const buffer of parts) expect(await result({ opcode: Opcode.READ, fd, buffer })).toBe(100);
      expect(Buffer.concat(parts).equals(DATA.subarray(0, 200))).toBe(true);
    }));

  opcodeTest(["READV", "WRITEV"], () =>
    withFd(async (fd, path) => {
      // 40 views: more than a cell's 32 vectors.
      const buffers = Array.from({ length: 40 }, () => Buffer.alloc(10));
      expect(await result({ opcode: Opcode.READV, fd, buffers, offset: 100 })).toBe(400);
      expect(Buffer.concat(buffers).equals(DATA.subarray(100, 500))).toBe(true);
      const words = [Buffer.from("one "), Buffer.from("two")];
      expect(await result({ opcode: Opcode.WRITEV, fd, buffers: words, offset: 3 })).toBe(7);
      expect(readFileSync(path, "latin1").slice(3, 10)).toBe("one two");
    }),
  );

  opcodeTest(
    ["READ_FIXED", "WRITE_FIXED"],
    () =>
      withFd(async (fd, path) => {
        const pool = new BufferPool({ size: 8192, count: 1 });
        expect(pool.registered).toBe(true);
        const lease = await pool.acquire();
        const buffer = lease.bytes.subarray(0, 5000);
        expect(await result({ opcode: Opcode.READ_FIXED, fd, buffer, offset: 1 })).toBe(5000);
        expect(buffer.equals(DATA.subarray(1, 5001))).toBe(true);
        buffer.fill("fixed");
        expect(await result({ opcode: Opcode.WRITE_FIXED, fd, buffer, length: 5, offset: 50 })).toBe(5);
        expect(readFileSync(path, "latin1").slice(50, 55)).toBe("fixed");
        lease.release();
        expect(pool.tryAcquire()).not.toBeNull(); // the SQEs do not hold it any more
        await pool.close();
        const ordinary = Buffer.alloc(10);
        await expect(submit({ opcode: Opcode.READ_FIXED, fd, buffer: ordinary })).rejects.toThrow(
          "must be a registered lease",
        );
      }),
    fixedBuffers,
  );

  opcodeTest(["FSYNC", "SYNC_FILE_RANGE"], () =>
    withFd(async (fd) => {
      expect(await result({ opcode: Opcode.FSYNC, fd })).toBe(0);
      expect(await result({ opcode: Opcode.FSYNC, fd, opFlags: 1 })).toBe(0);
      expect(await result({ opcode: Opcode.SYNC_FILE_RANGE, fd, offset: 0, length: 4096, opFlags: 7 })).toBe(0);
      expect(await result({ opcode: Opcode.FSYNC, fd: 9999 })).toBe(EBADF);
    }),
  );

  opcodeTest(["OPENAT", "CLOSE"], async () => {
    const path = tmp.path();
    const opFlags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    const fd = await result({ opcode: Opcode.OPENAT, path, opFlags, mode: 0o640 });
    expect(fd).toBeGreaterThan(2);
    expect(fstatSync(fd).mode & 0o777).toBe(0o640);
    expect(await result({ opcode: Opcode.OPENAT, path, opFlags })).toBe(EEXIST);
    expect(await result({ opcode: Opcode.CLOSE, fd })).toBe(0);
    expect(() => fstatSync(fd)).toThrow("EBADF");
  });

  opcodeTest(["OPENAT2"], async () => {
    const path = tmp.file("x");
    const RESOLVE_NO_SYMLINKS = 4;
    const fd = await result({ opcode: Opcode.OPENAT2, path, how: { flags: 0, resolve: RESOLVE_NO_SYMLINKS } });
    expect(fd).toBeGreaterThan(2);
    closeSync(fd);
    const link = tmp.path();
    symlinkSync(path, link);
    const ELOOP = -40;
    expect(await result({ opcode: Opcode.OPENAT2, path: link, how: { flags: 0, resolve: RESOLVE_NO_SYMLINKS } })).toBe(
      ELOOP,
    );
  });

  opcodeTest(["STATX"], async () => {
    const path = tmp.file(DATA);
    const buffer = new BigUint64Array(32);
    expect(await result({ opcode: Opcode.STATX, path, buffer, mask: 0x7ff })).toBe(0);
    expect(buffer[5]).toBe(BigInt(DATA.length)); // stx_size
    expect(buffer[4]).toBe(BigInt(statSync(path).ino)); // stx_ino
    expect(await result({ opcode: Opcode.STATX, path: tmp.path(), buffer })).toBe(ENOENT);
    await withFd(async (fd) => {
      const AT_EMPTY_PATH = 0x1000;
      expect(await result({ opcode: Opcode.STATX, fd, path: "", buffer, mask: 0x7ff, opFlags: AT_EMPTY_PATH })).toBe(0);
      expect(buffer[4]).toBe(BigInt(fstatSync(fd).ino));
    });
  });

  opcodeTest(["FALLOCATE", "FTRUNCATE", "FADVISE"], () =>
    withFd(async (fd) => {
      expect(await result({ opcode: Opcode.FALLOCATE, fd, offset: 0, length: 300_000 })).toBe(0);
      expect(fstatSync(fd).size).toBe(300_000);
      const KEEP_SIZE = 1;
      const PUNCH_HOLE = 2;
      const hole = { opcode: Opcode.FALLOCATE, fd, offset: 4096, length: 4096, mode: KEEP_SIZE | PUNCH_HOLE };
      expect(await result(hole)).toBe(0);
      const bytes = Buffer.alloc(8192);
      readSync(fd, bytes, 0, 8192, 0);
      expect(bytes.subarray(0, 4096).equals(DATA.subarray(0, 4096))).toBe(true);
      expect(bytes.subarray(4096).every((byte) => byte === 0)).toBe(true);
      expect(await result({ opcode: Opcode.FTRUNCATE, fd, length: 123 })).toBe(0);
      expect(fstatSync(fd).size).toBe(123);
      expect(await result({ opcode: Opcode.FADVISE, fd, offset: 0, length: 0, opFlags: 2 })).toBe(0);
      expect(await result({ opcode: Opcode.FADVISE, fd, opFlags: 99 })).toBe(-22);
    }),
  );

  opcodeTest(["MADVISE"], async () => {
    const pool = new BufferPool({ size: 65536, count: 1, alignment: 65536 });
    const lease = await pool.acquire();
    lease.bytes.fill(7);
    const MADV_DONTNEED = 4;
    expect(await result({ opcode: Opcode.MADVISE, buffer: lease.bytes, opFlags: MADV_DONTNEED })).toBe(0);
    expect(lease.bytes.every((byte) => byte === 0)).toBe(true);
    const half = lease.bytes.subarray(100);
    await expect(submit({ opcode: Opcode.MADVISE, buffer: half, opFlags: MADV_DONTNEED })).rejects.toThrow(
      "must start and end",
    );
    const MADV_GUARD_INSTALL = 102;
    const guard = submit({ opcode: Opcode.MADVISE, buffer: lease.bytes, opFlags: MADV_GUARD_INSTALL });
    await expect(guard).rejects.toThrow("no advice that is safe");
    lease.release();
    await pool.close();
  });

  opcodeTest(["RENAMEAT"], async () => {
    const [path, newPath] = [tmp.file("from"), tmp.file("to")];
    const RENAME_NOREPLACE = 1;
    const RENAME_EXCHANGE = 2;
    expect(await result({ opcode: Opcode.RENAMEAT, path, newPath, opFlags: RENAME_NOREPLACE })).toBe(EEXIST);
    expect(await result({ opcode: Opcode.RENAMEAT, path, newPath, opFlags: RENAME_EXCHANGE })).toBe(0);
    expect(readFileSync(path, "utf8")).toBe("to");
    expect(await result({ opcode: Opcode.RENAMEAT, path, newPath })).toBe(0);
    expect([existsSync(path), readFileSync(newPath, "utf8")]).toEqual([false, "to"]);
  });

  opcodeTest(["MKDIRAT", "UNLINKAT"], async () => {
    // Longer than half a cell, so that it takes memory of its own; and relative to a directory's descriptor.
    const folder = tmp.folder();
    const fd = openSync(folder, constants.O_DIRECTORY);
    const path = `${"d".repeat(200)}`;
    expect(await result({ opcode: Opcode.MKDIRAT, fd, path, mode: 0o750 })).toBe(0);
    const long = `${path}/${"f".repeat(200)}`;
    expect(await result({ opcode: Opcode.MKDIRAT, fd, path: long })).toBe(0);
    expect(statSync(`${folder}/${path}`).mode & 0o777).toBe(0o750);
    const AT_REMOVEDIR = 0x200;
    expect(await result({ opcode: Opcode.UNLINKAT, fd, path: long })).toBe(-21);
    for (const one of [long, path])
      expect(await result({ opcode: Opcode.UNLINKAT, fd, path: one, opFlags: AT_REMOVEDIR })).toBe(0);
    expect(existsSync(`${folder}/${path}`)).toBe(false);
    closeSync(fd);
  });

  opcodeTest(["SYMLINKAT", "LINKAT"], async () => {
    const path = tmp.file("linked");
    const [soft, hard] = [tmp.path(), tmp.path()];
    expect(await result({ opcode: Opcode.SYMLINKAT, path: "some/target", newPath: soft })).toBe(0);
    expect(readlinkSync(soft)).toBe("some/target");
    expect(await result({ opcode: Opcode.LINKAT, path, newPath: hard })).toBe(0);
    expect(lstatSync(hard).ino).toBe(lstatSync(path).ino);
    expect(await result({ opcode: Opcode.LINKAT, path, newPath: hard })).toBe(EEXIST);
  });

  opcodeTest(["SETXATTR", "GETXATTR", "FSETXATTR", "FGETXATTR"], () =>
    withFd(async (fd, path) => {
      const set = (buffer: Buffer): Sqe => ({ opcode: Opcode.SETXATTR, path, name: "user.one", buffer });
      expect(await result(set(Buffer.from("by path")))).toBe(0);
      const buffer = Buffer.alloc(50);
      expect(await result({ opcode: Opcode.FGETXATTR, fd, name: "user.one", buffer })).toBe(7);
      expect(buffer.toString("utf8", 0, 7)).toBe("by path");
      expect(await result({ opcode: Opcode.FSETXATTR, fd, name: "user.two", buffer: Buffer.from("by fd") })).toBe(0);
      expect(await result({ opcode: Opcode.GETXATTR, path, name: "user.two", buffer })).toBe(5);
      expect(buffer.toString("utf8", 0, 5)).toBe("by fd");
      expect(await result({ opcode: Opcode.GETXATTR, path, name: "user.none", buffer })).toBe(ENODATA);
    }),
  );

  opcodeTest(["SPLICE", "TEE"], () =>
    withFd(async (fd) => {
      const [from, to] = [pipe(), pipe()];
      expect(await result({ opcode: Opcode.SPLICE, fd: from[1], inFd: fd, inOffset: 1000, length: 2000 })).toBe(2000);
      expect(await result({ opcode: Opcode.TEE, fd: to[1], inFd: from[0], length: 2000 })).toBe(2000);
      for (const [out] of [from, to]) {
        const bytes = Buffer.alloc(3000);
        expect(readSync(out!, bytes)).toBe(2000);
        expect(bytes.subarray(0, 2000).equals(DATA.subarray(1000, 3000))).toBe(true);
      }
      writeSync(from[1], "back into the file");
      expect(await result({ opcode: Opcode.SPLICE, fd, inFd: from[0], offset: 30, length: 4 })).toBe(4);
      const bytes = Buffer.alloc(4);
      readSync(fd, bytes, 0, 4, 30);
      expect(bytes.toString()).toBe("back");
      for (const end of [...from, ...to]) closeSync(end);
    }),
  );

  opcodeTest(["POLL_ADD", "ASYNC_CANCEL"], async () => {
    const [out, into] = pipe();
    const POLLIN = 1;
    const poll = submit({ opcode: Opcode.POLL_ADD, fd: out, opFlags: POLLIN });
    await Bun.sleep(2);
    writeSync(into, "!");
    expect((await poll).res).toBe(POLLIN);
    readSync(out, Buffer.alloc(1));
    const parked = submit({ opcode: Opcode.POLL_ADD, fd: out, opFlags: POLLIN });
    expect(await result({ opcode: Opcode.ASYNC_CANCEL, target: parked })).toBe(0);
    expect((await parked).res).toBe(ECANCELED);
    await expect(submit({ opcode: Opcode.ASYNC_CANCEL, target: parked })).rejects.toThrow(
      "must be a promise of this ring's",
    );
    for (const fd of [out, into]) closeSync(fd);
  });

  // The flags came with 5.19, and no probe tells of them: the socket opcode did, too.
  const cancelsMany = capabilities().opcodes.includes("SOCKET");
  testUnless(!cancelsMany && "ASYNC_CANCEL_ALL is of 5.19", "ASYNC_CANCEL of all of a descriptor's", async () => {
    const [out, into] = pipe();
    const POLLIN = 1;
    const two = [
      submit({ opcode: Opcode.POLL_ADD, fd: out, opFlags: POLLIN }),
      submit({ opcode: Opcode.POLL_ADD, fd: out, opFlags: POLLIN }),
    ];
    const CANCEL_ALL = 1;
    expect(await result({ opcode: Opcode.ASYNC_CANCEL, fd: out, opFlags: CANCEL_ALL })).toBe(2);
    expect((await Promise.all(two)).map(({ res }) => res)).toEqual([ECANCELED, ECANCELED]);
    for (const fd of [out, into]) closeSync(fd);
  });

  opcodeTest(["TIMEOUT", "LINK_TIMEOUT"], async () => {
    const start = performance.now();
    expect(await result({ opcode: Opcode.TIMEOUT, timeoutMs: 20.5 })).toBe(ETIME);
    expect(performance.now() - start).toBeGreaterThanOrEqual(20);
    const [out, into] = pipe();
    const link = { opcode: Opcode.POLL_ADD, fd: out, opFlags: 1, flags: SqeFlag.IO_LINK };
    const [poll, timeout] = await ring.batch([link, { opcode: Opcode.LINK_TIMEOUT, timeoutMs: 5 }]);
    expect([poll!.res, timeout!.res]).toEqual([ECANCELED, ETIME]);
    for (const fd of [out, into]) closeSync(fd);
  });

  opcodeTest(["FIXED_FD_INSTALL", "FILES_UPDATE"], async () => {
    const slot = await ring.acquireDirect();
    const path = tmp.file(DATA);
    expect(await result({ opcode: Opcode.OPENAT, path, fileIndex: slot })).toBe(0);
    const buffer = Buffer.alloc(100);
    expect(await result({ opcode: Opcode.READ, fd: slot, flags: SqeFlag.FIXED_FILE, buffer, offset: 9 })).toBe(100);
    expect(buffer.equals(DATA.subarray(9, 109))).toBe(true);
    const fd = await result({ opcode: Opcode.FIXED_FD_INSTALL, fd: slot, flags: SqeFlag.FIXED_FILE });
    expect(fstatSync(fd).size).toBe(DATA.length);
    expect(await result({ opcode: Opcode.CLOSE, fileIndex: slot })).toBe(0);
    expect(await result({ opcode: Opcode.READ, fd: slot, flags: SqeFlag.FIXED_FILE, buffer })).toBe(EBADF);
    expect(await result({ opcode: Opcode.FILES_UPDATE, buffer: Int32Array.of(fd), fileIndex: slot })).toBe(1);
    closeSync(fd); // the table keeps the file open
    expect(await result({ opcode: Opcode.READ, fd: slot, flags: SqeFlag.FIXED_FILE, buffer, offset: 0 })).toBe(100);
    expect(buffer.equals(DATA.subarray(0, 100))).toBe(true);
    await ring.releaseDirect(slot);
    await expect(submit({ opcode: Opcode.READ, fd: slot, flags: SqeFlag.FIXED_FILE, buffer })).rejects.toThrow(
      "acquireDirect()",
    );
    expect(tmp.openFiles()).toEqual([]);
  });

  test("every opcode of the table has a test here", () => {
    expect((Object.keys(Opcode) as OpcodeName[]).filter((name) => !tested.has(name))).toEqual([]);
  });
});

testUnless(backend === "io_uring" && "there is a ring", "without a ring, Ring says why", () => {
  expect(() => Ring.current()).toThrow("io_uring is not available");
  expect(() => new Ring()).toThrow("io_uring is not available");
});
