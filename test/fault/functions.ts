// Owns one scenario for each public function: what it does with files of its own, and whether its result is right.
// Assumes an empty folder for each run; prepares and looks with node:fs, which no fault reaches.
// Never swallows a rejection: it is the runner's (injected.child.ts) to judge. What it finds wrong it throws as Wrong.

import * as plain from "node:fs";
import * as fs from "../../src/index.ts";
import { systemError } from "../../src/node/errors.ts";
import { openRoot } from "../../src/server.ts";

/** The function has resolved with, or left behind, what is not right. */
export class Wrong extends Error {}

const LARGE = 3 * 1024 * 1024 + 17;

/** Bytes that tell their place. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + (i >>> 16) * 13 + seed) & 0xff;
  return bytes;
}

function same(found: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(found, expected) !== 0)
    throw new Wrong(`${what}: ${found.length} bytes, not the ${expected.length} expected ones`);
}

function is<T>(found: T, expected: T, what: string): void {
  if (found !== expected) throw new Wrong(`${what} is ${found}, not ${expected}`);
}

const small = pattern(5000);
const large = pattern(LARGE, 9);

/** A file with this content; its path. */
function made(dir: string, content: Uint8Array = small, name = "file"): string {
  const path = `${dir}/${name}`;
  plain.writeFileSync(path, content);
  return path;
}

async function opened<T>(path: string, flags: string, body: (handle: fs.FileHandle) => Promise<T>): Promise<T> {
  const handle = await fs.open(path, flags);
  try {
    return await body(handle);
  } finally {
    await handle.close();
  }
}

/** Reads as a user has to, who is told true short counts. */
async function readFully(length: number, read: (at: number) => Promise<number>): Promise<void> {
  for (let done = 0; done < length; ) {
    const count = await read(done);
    if (count <= 0 || count > length - done) throw new Wrong(`a read of ${length - done} bytes brought ${count}`);
    done += count;
  }
}

/** A small tree; the function that says whether a copy is right. */
function tree(dir: string): { root: string; check: (copy: string) => void } {
  const root = `${dir}/tree`;
  plain.mkdirSync(`${root}/below/deep`, { recursive: true });
  for (const name of ["a", "below/b", "below/deep/c"])
    plain.writeFileSync(`${root}/${name}`, pattern(3000, name.length));
  plain.symlinkSync("a", `${root}/link`);
  return {
    root,
    check: (copy) => {
      for (const name of ["a", "below/b", "below/deep/c"])
        same(plain.readFileSync(`${copy}/${name}`), pattern(3000, name.length), name);
      is(plain.readlinkSync(`${copy}/link`), "a", "the link");
    },
  };
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

const settledValue = <T>(one: PromiseSettledResult<T>): T => {
  if (one.status === "rejected") throw one.reason;
  return one.value;
};

/** A result of Ring: a failure is thrown as the system's errors are, so that all are judged alike. */
function result(res: number, syscall = "ring"): number {
  if (res >= 0) return res;
  throw systemError(res, syscall);
}

export type Scenario = (dir: string) => Promise<void>;

/** What a function needs that not every kernel with a ring has; without it there is none. */
export const NEEDS: Readonly<Record<string, readonly fs.OpcodeName[]>> = {
  "extended attributes": ["SETXATTR", "GETXATTR", "FSETXATTR", "FGETXATTR"],
  "rename, exchanging": ["RENAMEAT"],
  "Ring.submit, splices through a pipe": ["SPLICE"],
};

export const FUNCTIONS: Readonly<Record<string, Scenario>> = {
  async "open, close"(dir) {
    await opened(made(dir), "r", async () => {});
  },
  async "open wx"(dir) {
    await opened(`${dir}/new`, "wx", async () => {});
    is(plain.existsSync(`${dir}/new`), true, "the file's being");
  },
  async "handle.read"(dir) {
    await opened(made(dir), "r", async (handle) => {
      const into = Buffer.alloc(small.length);
      await readFully(into.length, async (at) => (await handle.read(into, at, into.length - at, at)).bytesRead);
      same(into, small, "read");
    });
  },
  async "handle.read at its own position"(dir) {
    await opened(made(dir), "r", async (handle) => {
      const into = Buffer.alloc(small.length);
      await readFully(into.length, async (at) => (await handle.read(into, at, into.length - at, null)).bytesRead);
      same(into, small, "read");
      is((await handle.read(Buffer.alloc(8))).bytesRead, 0, "the end");
    });
  },
  async "handle.readv"(dir) {
    await opened(made(dir), "r", async (handle) => {
      const into = Buffer.alloc(small.length);
      await readFully(into.length, async (at) => {
        const middle = Math.floor((at + into.length) / 2);
        return (await handle.readv([into.subarray(at, middle), into.subarray(middle)], at)).bytesRead;
      });
      same(into, small, "readv");
    });
  },
  async "handle.write"(dir) {
    await opened(`${dir}/new`, "w", (handle) =>
      readFully(small.length, async (at) => (await handle.write(small, at, small.length - at, at)).bytesWritten),
    );
    same(plain.readFileSync(`${dir}/new`), small, "written");
  },
  async "handle.write at its own position"(dir) {
    await opened(`${dir}/new`, "w", (handle) =>
      readFully(small.length, async (at) => (await handle.write(small, at, small.length - at, null)).bytesWritten),
    );
    same(plain.readFileSync(`${dir}/new`), small, "written");
  },
  async "handle.write, appending"(dir) {
    await opened(made(dir, pattern(10)), "a", (handle) =>
      readFully(small.length, async (at) => (await handle.write(small, at)).bytesWritten),
    );
    same(plain.readFileSync(`${dir}/file`), Buffer.concat([pattern(10), small]), "appended");
  },
  async "handle.writev"(dir) {
    await opened(`${dir}/new`, "w", (handle) =>
      readFully(small.length, async (at) => {
        const middle = Math.floor((at + small.length) / 2);
        return (await handle.writev([small.subarray(at, middle), small.subarray(middle)], at)).bytesWritten;
      }),
    );
    same(plain.readFileSync(`${dir}/new`), small, "written");
  },
  async "handle.readFile"(dir) {
    await opened(made(dir), "r", async (handle) => same(await handle.readFile(), small, "read"));
  },
  async "handle.writeFile, appendFile"(dir) {
    await opened(`${dir}/new`, "w", async (handle) => {
      await handle.writeFile(small);
      await handle.appendFile(pattern(10));
    });
    same(plain.readFileSync(`${dir}/new`), Buffer.concat([small, pattern(10)]), "written");
  },
  async "handle.stat, sync, datasync, truncate"(dir) {
    await opened(made(dir), "r+", async (handle) => {
      is((await handle.stat()).size, small.length, "size");
      await handle.sync();
      await handle.datasync();
      await handle.truncate(100);
    });
    same(plain.readFileSync(`${dir}/file`), small.subarray(0, 100), "truncated");
  },
  async "handle.readBatch"(dir) {
    await opened(made(dir), "r", async (handle) => {
      const into = Buffer.alloc(40 * 100);
      const offsets = Array.from({ length: 40 }, (_, i) => i * 120);
      const counts = await handle.readBatch({ offsets, lengths: 100, into });
      counts.forEach((count, i) => {
        const expected = small.subarray(i * 120, i * 120 + result(count, "read"));
        same(into.subarray(i * 100, i * 100 + count), expected, `read ${i}`);
      });
    });
  },
  async "handle.readLines"(dir) {
    const path = made(dir, Buffer.from("one\ntwo\nthree\n"));
    await opened(path, "r", async (handle) => {
      const lines: string[] = [];
      const source = handle.readLines();
      (source as any).input.on("error", () => {}); // a failed close comes after the last line
      for await (const line of source) lines.push(line);
      is(lines.join(), "one,two,three", "lines");
    });
  },
  async "handle.readableWebStream"(dir) {
    await opened(made(dir, large), "r", async (handle) =>
      same(await collect(handle.readableWebStream() as any), large, "streamed"),
    );
  },
  async "handle.createReadStream"(dir) {
    const handle = await fs.open(made(dir, large), "r");
    try {
      const stream = handle.createReadStream();
      stream.on("error", () => {}); // a failed close comes after the last chunk; close() says so, too
      same(await collect(stream), large, "streamed");
    } finally {
      await handle.close();
    }
  },
  async "handle.createWriteStream"(dir) {
    const handle = await fs.open(`${dir}/new`, "w");
    try {
      const stream = handle.createWriteStream();
      await new Promise<void>((resolve, reject) => {
        stream.on("error", reject).on("finish", resolve);
        stream.write(small);
        stream.end(pattern(70_000));
      });
    } finally {
      await handle.close();
    }
    same(plain.readFileSync(`${dir}/new`), Buffer.concat([small, pattern(70_000)]), "streamed");
  },
  async readFile(dir) {
    same(await fs.readFile(made(dir)), small, "read");
  },
  async "readFile as text"(dir) {
    is(await fs.readFile(made(dir, Buffer.from("täxt")), "utf8"), "täxt", "read");
  },
  async "readFile, large"(dir) {
    same(await fs.readFile(made(dir, large)), large, "read");
  },
  async "readFile of /proc"() {
    is((await fs.readFile("/proc/self/status", "utf8")).startsWith("Name:"), true, "/proc/self/status");
  },
  async writeFile(dir) {
    await fs.writeFile(`${dir}/new`, small);
    same(plain.readFileSync(`${dir}/new`), small, "written");
  },
  async "writeFile with flush"(dir) {
    await fs.writeFile(`${dir}/new`, small, { flush: true });
    same(plain.readFileSync(`${dir}/new`), small, "written");
  },
  async "writeFile, large"(dir) {
    await fs.writeFile(`${dir}/new`, large, { flush: true });
    same(plain.readFileSync(`${dir}/new`), large, "written");
  },
  async "writeFile of an iterable"(dir) {
    await fs.writeFile(`${dir}/new`, [small, pattern(10)]);
    same(plain.readFileSync(`${dir}/new`), Buffer.concat([small, pattern(10)]), "written");
  },
  async appendFile(dir) {
    await fs.appendFile(made(dir, pattern(10)), small);
    same(plain.readFileSync(`${dir}/file`), Buffer.concat([pattern(10), small]), "appended");
  },
  async truncate(dir) {
    await fs.truncate(made(dir), 77);
    is(plain.statSync(`${dir}/file`).size, 77, "size");
  },
  async "stat, lstat"(dir) {
    is((await fs.stat(made(dir))).size, small.length, "size");
    is((await fs.lstat(`${dir}/file`)).size, small.length, "size");
  },
  async "mkdir, rmdir"(dir) {
    await fs.mkdir(`${dir}/made`);
    is(plain.existsSync(`${dir}/made`), true, "the folder's being");
    await fs.rmdir(`${dir}/made`);
    is(plain.existsSync(`${dir}/made`), false, "the folder's being");
  },
  async "mkdir, recursive"(dir) {
    await fs.mkdir(`${dir}/a/b/c`, { recursive: true });
    is(plain.existsSync(`${dir}/a/b/c`), true, "the folder's being");
  },
  async mkdtemp(dir) {
    is(plain.existsSync(await fs.mkdtemp(`${dir}/t-`)), true, "the folder's being");
  },
  async rename(dir) {
    await fs.rename(made(dir), `${dir}/other`);
    is(plain.readdirSync(dir).join(), "other", "names");
  },
  async unlink(dir) {
    await fs.unlink(made(dir));
    is(plain.readdirSync(dir).length, 0, "names");
  },
  async "symlink, link"(dir) {
    await fs.symlink("file", `${dir}/soft`);
    await fs.link(made(dir), `${dir}/hard`);
    same(plain.readFileSync(`${dir}/soft`), small, "through the link");
    is(plain.statSync(`${dir}/hard`).nlink, 2, "names of the file");
  },
  async "copyFile, small"(dir) {
    await fs.copyFile(made(dir), `${dir}/copy`);
    same(plain.readFileSync(`${dir}/copy`), small, "copied");
  },
  async "copyFile, large, over a file"(dir) {
    made(dir, pattern(100), "copy");
    await fs.copyFile(made(dir, large), `${dir}/copy`);
    same(plain.readFileSync(`${dir}/copy`), large, "copied");
  },
  async copyTree(dir) {
    const { root, check } = tree(dir);
    await fs.copyTree(root, `${dir}/copy`);
    check(`${dir}/copy`);
  },
  async rm(dir) {
    await fs.rm(made(dir));
    is(plain.existsSync(`${dir}/file`), false, "the file's being");
  },
  async "rm, recursive"(dir) {
    const { root } = tree(dir);
    await fs.rm(root, { recursive: true });
    is(plain.existsSync(root), false, "the tree's being");
  },
  async "readMany, statMany"(dir) {
    const paths = Array.from({ length: 8 }, (_, i) => made(dir, pattern(3000, i), `file${i}`));
    const read = await fs.readMany(paths);
    const stats = await fs.statMany(paths);
    for (const [i, one] of read.entries()) same(settledValue(one), pattern(3000, i), `file ${i}`);
    for (const one of stats) is(settledValue(one).size, 3000, "size");
  },
  async "allocate, advise, syncRange"(dir) {
    await opened(made(dir), "r+", async (handle) => {
      await handle.allocate(0, 8192);
      await handle.advise(0, 0, "sequential");
      await handle.syncRange(0, 4096);
    });
    is(plain.statSync(`${dir}/file`).size, 8192, "size");
  },
  async "extended attributes"(dir) {
    const path = made(dir);
    await fs.setxattr(path, "user.one", "1");
    same(await fs.getxattr(path, "user.one"), Buffer.from("1"), "the path's");
    await opened(path, "r+", async (handle) => {
      await handle.setxattr("user.two", "2");
      same(await handle.getxattr("user.two"), Buffer.from("2"), "the handle's");
    });
  },
  async "rename, exchanging"(dir) {
    const other = made(dir, pattern(10), "other");
    await fs.rename(made(dir), other, { exchange: true });
    same(plain.readFileSync(other), small, "exchanged");
  },
  async "Ring.submit, batch"(dir) {
    const fd = plain.openSync(made(dir), "r");
    try {
      const ring = fs.Ring.current();
      const [one, two, three] = [Buffer.alloc(1000), Buffer.alloc(1000), Buffer.alloc(1000)];
      const { READ } = fs.Opcode;
      const { res } = await ring.submit({ opcode: READ, fd, buffer: one, offset: 0 });
      same(one.subarray(0, result(res)), small.subarray(0, res), "one");
      const both = await ring.batch([
        { opcode: READ, fd, buffer: two, offset: 1000 },
        { opcode: READ, fd, buffer: three, offset: 2000 },
      ]);
      same(two.subarray(0, result(both[0]!.res)), small.subarray(1000, 1000 + both[0]!.res), "two");
      same(three.subarray(0, result(both[1]!.res)), small.subarray(2000, 2000 + both[1]!.res), "three");
    } finally {
      plain.closeSync(fd);
    }
  },
  async "Ring.submit with a handle"(dir) {
    await opened(made(dir), "r", async (handle) => {
      const buffer = Buffer.alloc(1000);
      const { res } = await fs.Ring.current().submit({ opcode: fs.Opcode.READ, fd: handle, buffer, offset: 0 });
      same(buffer.subarray(0, result(res)), small.subarray(0, res), "read");
    });
  },
  async "Ring.submit, splices through a pipe"(dir) {
    Bun.spawnSync(["mkfifo", `${dir}/fifo`]);
    const fds = [
      plain.openSync(made(dir), "r"),
      plain.openSync(`${dir}/fifo`, "r+"),
      plain.openSync(`${dir}/new`, "w"),
    ];
    const [from, pipe, to] = fds as [number, number, number];
    const ring = fs.Ring.current();
    const move = async (inFd: number, fd: number, length: number, inOffset: number): Promise<number> =>
      result((await ring.submit({ opcode: fs.Opcode.SPLICE, inFd, fd, length, inOffset, offset: -1 })).res);
    try {
      const filled = await move(from, pipe, 3000, 100);
      await readFully(filled, (at) => move(pipe, to, filled - at, -1));
      same(plain.readFileSync(`${dir}/new`), small.subarray(100, 100 + filled), "spliced");
    } finally {
      for (const fd of fds) plain.closeSync(fd);
    }
  },
  async "Root: open, write, read, stat, rename, mkdir, remove"(dir) {
    const root = await openRoot(dir);
    try {
      await root.writeFile("file", small);
      same((await root.readFile("file")) as Buffer, small, "read");
      is((await root.stat("file")).size, small.length, "size");
      await root.mkdir("below");
      await root.rename("file", "below/other");
      const handle = await root.open("below/other", "r+");
      await handle.close();
      same(plain.readFileSync(`${dir}/below/other`), small, "written");
      await root.unlink("below/other");
      await root.rmdir("below");
      is(plain.readdirSync(dir).length, 0, "names");
    } finally {
      await root.close();
    }
  },
  async BufferPool(dir) {
    using pool = new fs.BufferPool({ size: 8192, count: 2 });
    using lease = await pool.acquire();
    await opened(made(dir), "r", (handle) =>
      readFully(small.length, async (at) => (await handle.read(lease.bytes, at, small.length - at, at)).bytesRead),
    );
    same(lease.bytes.subarray(0, small.length), small, "read");
  },
};
