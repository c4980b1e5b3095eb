// Owns what the node backend promises below the public API: positions, partial vectors, closing, Node's errors, EINTR.
// Assumes Linux; the interrupted calls need strace and are counted as skipped without it.
// Never goes through FileHandle: test/contract does, on both backends.

import { expect, test } from "bun:test";
import { constants, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { OpenFile } from "../../src/backend/interface.ts";
import { nodeBackend } from "../../src/backend/node.ts";
import { expectAbortError, expectClosed, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const tmp = scratch();

async function opened<T>(path: string, flags: number, body: (file: OpenFile) => Promise<T>): Promise<T> {
  const file = await nodeBackend.open(path, flags, 0o666);
  try {
    return await body(file);
  } finally {
    await nodeBackend.close(file);
  }
}

test("open gives an OpenFile, or what wrap makes of it", async () => {
  const path = tmp.file("x");
  const file = await nodeBackend.open(path, O_RDONLY, 0);
  expect(file).toBeInstanceOf(OpenFile);
  expect(file.fd).toBeGreaterThan(2);
  const wrapped = await nodeBackend.open(path, O_RDONLY, 0, (inner) => ({ inner }));
  expect(wrapped.inner).toBeInstanceOf(OpenFile);
  await Promise.all([nodeBackend.close(file), nodeBackend.close(wrapped.inner)]);
});

test("position -1 advances the file's own, numbers and bigints don't", () =>
  opened(tmp.file("0123456789"), O_RDWR, async (file) => {
    const read = async (position: number | bigint): Promise<string> => {
      const { buffer, bytesRead } = await nodeBackend.read(file, Buffer.alloc(3), 0, 3, position);
      return buffer.toString("latin1", 0, bytesRead);
    };
    expect(await read(-1)).toBe("012");
    expect(await read(7)).toBe("789");
    expect(await read(7n)).toBe("789");
    expect(await read(-1n)).toBe("345");
    expect(await read(2n ** 62n)).toBe("");
  }));

test("a bigint position of write and writev is used, and one beyond every file is EFBIG", async () => {
  const path = tmp.file("..........");
  await opened(path, O_RDWR, async (file) => {
    await nodeBackend.write(file, Buffer.from("ab"), 0, 2, 4n);
    await nodeBackend.writev(file, [Buffer.from("c"), Buffer.from("d")], 8n);
    await expectSystemError(nodeBackend.write(file, Buffer.from("x"), 0, 1, 2n ** 62n), {
      code: "EFBIG",
      syscall: "write",
    });
  });
  expect(readFileSync(path, "latin1")).toBe("....ab..cd");
});

test("readv and writev take IOV_MAX buffers", async () => {
  const data = patternBytes(2048);
  const path = tmp.file(data);
  await opened(path, O_RDWR, async (file) => {
    const into = Array.from({ length: 1024 }, () => Buffer.alloc(2));
    expect(await nodeBackend.readv(file, into, 0)).toEqual({ bytesRead: 2048, buffers: into });
    expect(Buffer.concat(into).equals(data)).toBe(true);
    expect((await nodeBackend.writev(file, into, 2048)).bytesWritten).toBe(2048);
    expect(readFileSync(path).subarray(2048).equals(data)).toBe(true);
  });
});

test("errors have Node's syscall names and no key that Node's have not", async () => {
  const readOnly = tmp.file("x");
  const view = [Buffer.alloc(1)];
  await opened(readOnly, O_RDONLY, async (file) => {
    await expectSystemError(nodeBackend.write(file, view[0]!, 0, 1, 0), { code: "EBADF", syscall: "write" });
    await expectSystemError(nodeBackend.writev(file, view, 0), { code: "EBADF", syscall: "write" });
    await expectSystemError(nodeBackend.ftruncate(file, 3), { code: "EINVAL", syscall: "ftruncate" });
  });
  await opened(tmp.path(), O_WRONLY | O_CREAT, async (file) => {
    await expectSystemError(nodeBackend.read(file, view[0]!, 0, 1, 0), { code: "EBADF", syscall: "read" });
    await expectSystemError(nodeBackend.readv(file, view, 0), { code: "EBADF", syscall: "read" });
    const tooLong = { code: "EFBIG", syscall: "ftruncate" };
    await expectSystemError(nodeBackend.ftruncate(file, Number.MAX_SAFE_INTEGER), tooLong);
  });
  await opened("/dev/null", O_RDONLY, async (file) => {
    await expectSystemError(nodeBackend.fsync(file), { code: "EINVAL", syscall: "fsync" });
    await expectSystemError(nodeBackend.fdatasync(file), { code: "EINVAL", syscall: "fdatasync" });
  });
});

test("path operations carry the path, an empty one and one of bytes too", async () => {
  for (const path of ["/nope/x", ""]) {
    for (const syscall of ["stat", "lstat", "unlink", "rmdir"] as const) {
      await expectSystemError((nodeBackend[syscall] as any)(path, false), { code: "ENOENT", syscall, path });
    }
    await expectSystemError(nodeBackend.open(path, O_RDONLY, 0), { code: "ENOENT", syscall: "open", path });
    await expectSystemError(nodeBackend.readFile(path, O_RDONLY, {}), { code: "ENOENT", syscall: "open", path });
    await expectSystemError(nodeBackend.mkdir(path, 0o777), { code: "ENOENT", syscall: "mkdir", path });
    for (const syscall of ["rename", "link"] as const) {
      const shape = { code: "ENOENT", syscall, path, dest: "/nope/y" };
      await expectSystemError(nodeBackend[syscall](path, "/nope/y"), shape);
    }
  }
  const symlink = { code: "EEXIST", syscall: "symlink", path: "x", dest: "/tmp" };
  await expectSystemError(nodeBackend.symlink("x", "/tmp"), symlink);
  const bytes = { code: "ENOENT", syscall: "stat", path: "/nope/�" };
  await expectSystemError(nodeBackend.stat(Buffer.from([47, 110, 111, 112, 101, 47, 0xff]), false), bytes);
});

test("closing waits for what is in flight, refuses what comes later, and happens once", async () => {
  const data = patternBytes(4 << 20);
  const path = tmp.path();
  const file = await nodeBackend.open(path, O_WRONLY | O_CREAT, 0o666);
  let written = 0;
  const writes = [0, 1, 2].map((i) =>
    nodeBackend.write(file, data, 0, data.length, i * data.length).then(({ bytesWritten }) => {
      written += bytesWritten;
    }),
  );
  expect(file.inFlight).toBe(3);
  const closed = nodeBackend.close(file);
  expect(file.fd).toBe(-1);
  await expectClosed(nodeBackend.write(file, data, 0, 1, 0), "write");
  await expectClosed(nodeBackend.readv(file, [data], 0), "readv");
  await expectClosed(nodeBackend.fstat(file, false), "fstat");
  await closed;
  await nodeBackend.close(file);
  await Promise.all(writes);
  expect(written).toBe(3 * data.length);
  expect(file.inFlight).toBe(0);
  expect(tmp.openFiles()).toEqual([]);
});

test("readFile reads what has no size, and refuses what has too much of it", async () => {
  expect(await nodeBackend.readFile("/proc/self/cmdline", O_RDONLY, { encoding: "utf8" })).toContain("bun");
  expect(await nodeBackend.readFile(tmp.file("äb"), O_RDONLY, { encoding: "hex" })).toBe("c3a462");
  expect(await nodeBackend.readFile(tmp.file("ab"), O_RDONLY, { encoding: "buffer" })).toEqual(Buffer.from("ab"));
  await expectSystemError(nodeBackend.readFile(tmp.dir, O_RDONLY, {}), {
    code: "EISDIR",
    syscall: "read",
    path: tmp.dir,
  });
  const path = tmp.path();
  await opened(path, O_WRONLY | O_CREAT, (file) => nodeBackend.ftruncate(file, 2 ** 40));
  const error = await rejection(nodeBackend.readFile(path, O_RDONLY, {}));
  expect(error).toBeInstanceOf(RangeError);
  expect([error.code, error.message]).toEqual([
    "ERR_FS_FILE_TOO_LARGE",
    "File size (1099511627776) is greater than 2 GiB",
  ]);
});

test("writeFile writes every byte with the flags and mode it is given, and cuts nothing off", async () => {
  const path = tmp.file("0123456789");
  await nodeBackend.writeFile(path, new Uint16Array([0x4241]), O_WRONLY, 0o666, { flush: true });
  expect(readFileSync(path, "latin1")).toBe("AB23456789");
  const bytes = patternBytes(1_500_000);
  const { signal } = new AbortController();
  await nodeBackend.writeFile(path, bytes, O_WRONLY | O_TRUNC, 0o666, { signal });
  expect(readFileSync(path).equals(bytes)).toBe(true);
  const exists = { code: "EEXIST", syscall: "open", path };
  await expectSystemError(nodeBackend.writeFile(path, bytes, O_WRONLY | O_CREAT | O_EXCL, 0o666, {}), exists);
  await expectSystemError(nodeBackend.writeFile("/dev/full", bytes, O_WRONLY, 0o666, {}), {
    code: "ENOSPC",
    syscall: "write",
  });
});

test("an aborted signal stops both before they start, and while they run", async () => {
  const path = tmp.path();
  const aborted = AbortSignal.abort("why");
  await expectAbortError(nodeBackend.readFile(path, O_RDONLY, { signal: aborted }), "why");
  await expectAbortError(nodeBackend.writeFile(path, Buffer.from("x"), O_CREAT, 0o666, { signal: aborted }), "why");
  expect(() => readFileSync(path)).toThrow("ENOENT");
  const controller = new AbortController();
  const bytes = Buffer.alloc(16 << 20, 1);
  const write = nodeBackend.writeFile(path, bytes, O_WRONLY | O_CREAT, 0o666, { signal: controller.signal });
  const endless = nodeBackend.readFile("/dev/zero", O_RDONLY, { signal: controller.signal });
  endless.catch(() => {});
  await nodeBackend.stat(tmp.dir, false);
  controller.abort();
  await expectAbortError(write);
  await expectAbortError(endless);
  expect(readFileSync(path).length).toBeLessThan(bytes.length);
  expect(tmp.openFiles()).toEqual([]);
});

test("paths are bytes: names that are no UTF-8 keep theirs", async () => {
  const name = Buffer.concat([Buffer.from(`${tmp.dir}/`), Buffer.from([0xff, 0xfe])]);
  const other = Buffer.concat([name, Buffer.from([0xfd])]);
  await nodeBackend.writeFile(name, Buffer.from("bytes"), O_WRONLY | O_CREAT, 0o666, {});
  await nodeBackend.rename(name, other);
  expect((await nodeBackend.stat(other, true)).size).toBe(5n);
  await nodeBackend.unlink(other);
  await expectSystemError(nodeBackend.lstat(other, false), {
    code: "ENOENT",
    syscall: "lstat",
    path: other.toString("utf8"),
  });
});

test("stat follows a link and lstat does not", async () => {
  const target = tmp.file("12345");
  const link = tmp.path("link");
  symlinkSync(target, link);
  expect((await nodeBackend.stat(link, false)).size).toBe(5);
  expect((await nodeBackend.lstat(link, false)).isSymbolicLink()).toBe(true);
});

const strace = Bun.which("strace");

testUnless(
  strace === null && "no strace",
  "an interrupted call is made again, an interrupted close is not",
  async () => {
    const path = tmp.file("hello");
    const script = tmp.path("script.ts");
    const trace = tmp.path("trace");
    writeFileSync(
      script,
      `import { nodeBackend as b } from ${JSON.stringify(new URL("../../src/backend/node.ts", import.meta.url).pathname)};
     const file = await b.open(${JSON.stringify(path)}, 2, 0);
     await b.fsync(file);
     await b.fdatasync(file);
     const { bytesRead } = await b.read(file, Buffer.alloc(9), 0, 9, 0);
     await b.close(file);
     console.log("read", bytesRead);`,
    );
    const inject = "fsync,fdatasync,pread64,close:error=EINTR:when=1..2";
    const watched = ["-e", "trace=fsync,fdatasync,pread64,close", "-P", path, "-e", `inject=${inject}`];
    const child = Bun.spawnSync([strace!, "-f", "-o", trace, ...watched, process.execPath, script]);
    expect(child.stdout.toString()).toBe("read 5\n");
    // Each thread of the pool is interrupted twice, so only close has a fixed number.
    const interrupted = readFileSync(trace, "utf8").match(/(?<= )\w+(?=\(\d+.*EINTR)/g)!;
    expect([...new Set(interrupted)].toSorted()).toEqual(["close", "fdatasync", "fsync", "pread64"]);
    expect(interrupted.filter((call) => call === "close")).toEqual(["close"]);
  },
);
