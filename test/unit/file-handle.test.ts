// Owns what FileHandle adds to the backend: order, closing, the final fsync, collection, and what it does not add.
// Assumes the backend that BUN_URING_BACKEND chooses; the failing fsync needs strace, and so node's system calls.
// Never repeats the documented behaviour of single calls: test/contract has that.

import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { currentBackend } from "../../src/backend/choose.ts";
import type { FileHandle } from "../../src/handle/file-handle.ts";
import { open } from "../../src/promises.ts";
import { expectArgumentError, expectClosed, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { testUnless } from "../helpers/skip.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const source = (file: string): string => JSON.stringify(new URL(`../../src/${file}`, import.meta.url).pathname);

async function withHandle(content: string | Uint8Array, body: (handle: FileHandle) => Promise<void>): Promise<Buffer> {
  const path = tmp.file(content);
  await using handle = await open(path, "r+");
  await body(handle);
  return readFileSync(path);
}

test("the usual reads and writes return the backend's own promise", () =>
  withHandle("0123456789", async (handle) => {
    const backend: any = currentBackend();
    const methods: any = handle;
    for (const name of ["read", "write"]) {
      const original = backend[name];
      let made: unknown;
      backend[name] = (...args: unknown[]): unknown => {
        made = original.apply(backend, args);
        return made;
      };
      try {
        const positioned = methods[name](Buffer.alloc(4), 0, 4, 2);
        expect(positioned).toBe(made);
        await positioned;
        const own = methods[name](Buffer.alloc(4), 0, 4, null);
        expect(own).toBe(made);
        await own;
      } finally {
        backend[name] = original;
      }
    }
  }).then(() => {}));

test("everything at the file's own position is done in the order of the calls", async () => {
  const results: unknown[] = [];
  const content = await withHandle("0123456789ABCDEF", async (handle) => {
    const two = (): Promise<string> => handle.read(Buffer.alloc(2)).then(({ buffer }) => buffer.toString());
    const operations = [
      handle.write("ab"),
      two(),
      handle.write(Buffer.from("cd")),
      handle.readv([Buffer.alloc(1), Buffer.alloc(1)]).then(({ buffers }) => Buffer.concat(buffers).toString()),
      handle.writev([Buffer.from("e"), Buffer.from("f")]),
      handle.writeFile("gh"),
      two(),
      handle.readFile("utf8"),
    ];
    results.push(...(await Promise.all(operations)));
  });
  expect(content.toString()).toBe("ab23cd67efghCDEF");
  expect([results[1], results[3], results[6], results[7]]).toEqual(["23", "67", "CD", "EF"]);
});

test("an operation that fails leaves the order of the others alone", async () => {
  await using handle = await open(tmp.file("012345"), "r");
  const read = (): Promise<string> => handle.read(Buffer.alloc(2)).then(({ buffer }) => buffer.toString());
  const results = await Promise.allSettled([read(), handle.write("x"), read(), handle.writeFile("y"), read()]);
  expect(results.map((result) => ("value" in result ? result.value : result.reason.code))).toEqual([
    "01",
    "EBADF",
    "23",
    "EBADF",
    "45",
  ]);
});

test("positioned operations do not wait for those at the file's own position", async () => {
  const path = tmp.fifo();
  await using handle = await open(path, "r+");
  const parked = handle.read(Buffer.alloc(1));
  expect((await handle.stat()).isFIFO()).toBe(true);
  await handle.chmod(0o600);
  await Promise.all([handle.write("x"), handle.write("yz")]);
  expect((await parked).buffer.toString()).toBe("x");
  const [first, second] = await Promise.all([handle.read(Buffer.alloc(1)), handle.read(Buffer.alloc(1))]);
  expect(first.buffer.toString() + second.buffer.toString()).toBe("yz");
});

test("close waits for operations of several steps, and for those that wait their turn", async () => {
  const path = tmp.path();
  const handle = await open(path, "w+");
  const gate = Promise.withResolvers<void>();
  const firstWritten = Promise.withResolvers<void>();
  const chunks = handle.writeFile(
    (async function* () {
      yield "first ";
      firstWritten.resolve();
      await gate.promise;
      yield "second ";
    })(),
  );
  await firstWritten.promise;
  const queued = Array.from({ length: 20 }, (_, i) => handle.write(`${i} `));
  let closes = 0;
  handle.on("close", () => closes++);
  const closed = handle.close();
  expect(handle.close()).toBe(closed);
  expect(closes).toBe(1);
  expect(handle.fd).toBeGreaterThan(0);
  gate.resolve();
  await closed;
  expect(handle.fd).toBe(-1);
  await Promise.all([chunks, ...queued]);
  const numbers = Array.from({ length: 20 }, (_, i) => `${i} `).join("");
  expect(readFileSync(path, "utf8")).toBe(`first ${numbers}second `);
  expect(tmp.openFiles()).toEqual([]);
});

test("writeFile takes chunks that are read from the same handle meanwhile", async () => {
  const content = await withHandle("abcdef", async (handle) => {
    await handle.writeFile(
      (async function* () {
        yield "X";
        const { buffer } = await handle.read(Buffer.alloc(2));
        yield buffer;
      })(),
    );
  });
  expect(content.toString()).toBe("Xbcbcf");
});

for (const size of [0, 1, 8192, 16383, 16384, 16385, 300_000]) {
  test(`readFile gives all of ${size} bytes, with and without a signal`, async () => {
    const data = patternBytes(size);
    await withHandle(data, async (handle) => {
      expect((await handle.readFile()).equals(data)).toBe(true);
      expect((await handle.readFile()).length).toBe(0);
    });
    await withHandle(data, async (handle) => {
      expect((await handle.readFile({ signal: new AbortController().signal })).equals(data)).toBe(true);
    });
  });
}

test("readFile of a long file of /proc and of a pipe gives all of it", async () => {
  await using handle = await open("/proc/self/smaps");
  const maps = await handle.readFile("latin1");
  expect(maps.length).toBeGreaterThan(16384);
  expect(maps).toEndWith("\n");
  const data = patternBytes(400_000);
  const child = Bun.spawn(["sh", "-c", `cat ${tmp.file(data, "big")} > ${fifo()}`]);
  await using pipe = await open(lastFifo, "r");
  expect((await pipe.readFile()).equals(data)).toBe(true);
  await child.exited;
});

let lastFifo = "";
function fifo(): string {
  lastFifo = tmp.path("fifo");
  execFileSync("mkfifo", [lastFifo]);
  return lastFifo;
}

testUnless(
  currentBackend().name !== "io_uring" && "no ring",
  "writev has the bytes of the call, also of memory that is resized then",
  async () => {
    const path = tmp.path();
    await using handle = await open(path, "w");
    const memory = new ArrayBuffer(8192, { maxByteLength: 8192 });
    new Uint8Array(memory).fill(7);
    const writing = handle.writev([new Uint8Array(memory), Buffer.from("end")], 0);
    memory.resize(0);
    expect((await writing).bytesWritten).toBe(8195);
    expect(readFileSync(path).equals(Buffer.concat([Buffer.alloc(8192, 7), Buffer.from("end")]))).toBe(true);
  },
);

test("after an operation at the own position that failed the next one goes on", async () => {
  await using handle = await open(tmp.path(), "w");
  const failing = handle.read(Buffer.alloc(10));
  const writing = [handle.write("x"), handle.write("y")];
  expect(await rejection(failing)).toMatchObject({ code: "EBADF" });
  expect((await Promise.all(writing)).map(({ bytesWritten }) => bytesWritten)).toEqual([1, 1]);
});

test("a buffer that is taken away while it waits for its turn rejects", async () => {
  await using handle = await open(tmp.path(), "w+");
  for (const isRead of [false, true]) {
    const first = handle.write(Buffer.alloc(100_000));
    const view = new Uint8Array(20_000); // too long to be gathered
    const waiting: Promise<unknown> = isRead ? handle.read(view) : handle.write(view);
    structuredClone(view.buffer, { transfer: [view.buffer] });
    expect(await rejection(waiting)).toMatchObject({ name: "TypeError", code: "ERR_INVALID_STATE" });
    expect((await first).bytesWritten).toBe(100_000);
  }
});

test("a vector of which a view is taken away while it waits for its turn rejects", async () => {
  await using handle = await open(tmp.path(), "w+");
  for (const method of ["writev", "readv"] as const) {
    const first = handle.write(Buffer.alloc(100_000));
    const views = [Buffer.alloc(10), new Uint8Array(10)];
    const waiting = handle[method](views);
    structuredClone(views[1]!.buffer, { transfer: [views[1]!.buffer as ArrayBuffer] });
    expect(await rejection(waiting)).toMatchObject({ name: "TypeError", code: "ERR_INVALID_STATE" });
    expect((await first).bytesWritten).toBe(100_000);
  }
});

test("readv takes what one system call can, writev takes all", async () => {
  const data = patternBytes(6000);
  const content = await withHandle(data, async (handle) => {
    const into = Array.from({ length: 3000 }, () => Buffer.alloc(2));
    const read = await handle.readv(into, 0);
    expect(read.buffers).toBe(into);
    expect(read.bytesRead).toBe(2048);
    expect(Buffer.concat(into.slice(0, 1024)).equals(data.subarray(0, 2048))).toBe(true);
    const from = Array.from({ length: 3000 }, (_, i) => data.subarray(i * 2, i * 2 + 2));
    const written = await handle.writev(from, 6000);
    expect(written.buffers).toBe(from);
    expect(written.bytesWritten).toBe(6000);
    expect((await handle.writev(from)).bytesWritten).toBe(6000);
  });
  expect(content.equals(Buffer.concat([data, data]))).toBe(true);
});

test("a refused argument queues nothing and does not keep the handle from closing", async () => {
  const path = tmp.file("x");
  const handle = await open(path, "r+");
  const mode = "The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received 'rwx'";
  await expectArgumentError(handle.chmod("rwx"), "ERR_INVALID_ARG_VALUE", mode);
  const uid = "The \"uid\" argument must be of type number. Received type string ('0')";
  await expectArgumentError(handle.chown("0" as any, 0), "ERR_INVALID_ARG_TYPE", uid);
  const time = 'The "time" argument must be an instance of Date or an Time in seconds. Received undefined';
  await expectArgumentError(handle.utimes(undefined as any, 0), "ERR_INVALID_ARG_TYPE", time);
  await handle.utimes("1.5", new Date(2500));
  const { atimeMs, mtimeMs } = statSync(path);
  expect([atimeMs, mtimeMs]).toEqual([1500, 2500]);
  const before = Date.now();
  await handle.utimes(-1, 0);
  expect(statSync(path).atimeMs).toBeGreaterThanOrEqual(before - 1000);
  await handle.close();
  await expectClosed(handle.chmod(0o600), "fchmod");
});

test("sync that cannot be done fails the second time too", async () => {
  await using handle = await open("/dev/null", "r+");
  await expectSystemError(handle.sync(), { code: "EINVAL", syscall: "fsync" });
  await expectSystemError(handle.datasync(), { code: "EINVAL", syscall: "fdatasync" });
  await expectSystemError(handle.writeFile("x", { flush: true }), { code: "EINVAL", syscall: "fsync" });
});

const strace = Bun.which("strace");

testUnless(strace === null && "no strace", "a failed fsync is final for its handle, and for no other", () => {
  const path = tmp.file("x");
  const script = tmp.path("sync.ts");
  writeFileSync(
    script,
    `import { open } from ${source("promises.ts")};
     const said = (promise) => promise.then(() => "done", ({ code, syscall }) => code + " " + syscall);
     const handle = await open(${JSON.stringify(path)}, "r+");
     const out = [await said(handle.sync()), await said(handle.sync()), await said(handle.datasync())];
     out.push(await said(handle.writeFile("y", { flush: true })), await said(handle.write("z")));
     for (let tries = 0; tries < 20 && out.at(-1) !== "other done"; tries++) {
       const other = await open(${JSON.stringify(path)}, "r+");
       if ((await said(other.sync())) === "done") out.push("other done");
       await other.close();
     }
     console.log(JSON.stringify(out));`,
  );
  // Each thread of the pool fails once, so another handle may meet a failure of its own before it succeeds.
  const watched = ["-e", "trace=fsync,fdatasync", "-P", path, "-e", "inject=fsync:error=EIO:when=1"];
  const env = { ...process.env, BUN_URING_BACKEND: "node" };
  const child = Bun.spawnSync([strace!, "-f", "-o", tmp.path(), ...watched, process.execPath, script], { env });
  const results = JSON.parse(child.stdout.toString());
  expect(results).toEqual(["EIO fsync", "EIO fsync", "EIO fdatasync", "EIO fsync", "done", "other done"]);
});

test("a handle that is collected closes its file and says so, a closed one says nothing", async () => {
  const path = tmp.file("x");
  const script = tmp.path("collect.ts");
  writeFileSync(
    script,
    `import { readlinkSync } from "node:fs";
     import { open } from ${source("promises.ts")};
     const leak = async () => (await open(${JSON.stringify(path)})).fd;
     const tidy = async () => (await open(${JSON.stringify(path)})).close();
     await tidy();
     const fd = await leak();
     const isOpen = () => { try { return readlinkSync("/proc/self/fd/" + fd) === ${JSON.stringify(path)}; } catch { return false; } };
     const messages = [];
     process.on("warning", (warning) => messages.push(warning.name + ": " + warning.message.replace(" " + fd + " ", " N ")));
     for (let i = 0; i < 200 && isOpen(); i++) {
       Bun.gc(true);
       await tidy(); // Whatever still refers to the last operation now refers to this one.
       await new Promise((resolve) => setTimeout(resolve, 10));
     }
     await new Promise((resolve) => setTimeout(resolve, 10));
     console.log(JSON.stringify({ open: isOpen(), messages }));`,
  );
  const child = Bun.spawnSync([process.execPath, script]);
  const { open: isOpen, messages } = JSON.parse(child.stdout.toString());
  expect(isOpen).toBe(false);
  expect(messages[0]).toBe("Warning: Closing file descriptor N on garbage collection");
  expect(messages[1]).toStartWith(
    "DeprecationWarning: Closing a FileHandle object on garbage collection is deprecated.",
  );
  expect(messages.length).toBe(2);
});

test("an aborted readFile that was waiting its turn lets the others go on", async () => {
  const path = fifo();
  const handle = await open(path, "r+");
  const controller = new AbortController();
  const parked = handle.read(Buffer.alloc(1));
  const read = handle.readFile({ signal: controller.signal });
  const after = handle.read(Buffer.alloc(1));
  controller.abort(new Error("enough"));
  const error: any = await read.catch((reason) => reason);
  expect([error.name, error.cause.message]).toEqual(["AbortError", "enough"]);
  await handle.write("xy");
  expect((await parked).buffer.toString()).toBe("x");
  expect((await after).buffer.toString()).toBe("y");
  await handle.close();
  expect(existsSync(`/proc/self/fd/${handle.fd}`)).toBe(false);
});
