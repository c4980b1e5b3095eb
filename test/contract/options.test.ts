// Options are read once, at the call: a getter may answer differently the second time.
// Assumes nothing of the backend.

import { expect, test } from "bun:test";
import { promisify } from "node:util";
import { AppendLog, lock, readLog, writeFileAtomic } from "../../src/durable.ts";
import fs from "../../src/fs.ts";
import * as all from "../../src/index.ts";
import { file, multipart, openRoot, receive, write } from "../../src/server.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const { signal } = new AbortController();

type Call = (options: any, dir: string) => unknown;
const handled = async (dir: string, act: (handle: all.FileHandle) => unknown): Promise<void> => {
  await using handle = await all.open(`${dir}/file`, "r+");
  await act(handle);
};
const inRoot = async (dir: string, act: (root: Awaited<ReturnType<typeof openRoot>>) => unknown): Promise<void> => {
  await using root = await openRoot(dir);
  await act(root);
};

/** Each function with options that it takes. */
const CALLS: Record<string, [options: object, call: Call]> = {
  copyFile: [
    { mode: 0, signal, onProgress: () => {}, direct: false, cache: "keep", queueDepth: 4, chunkSize: 4096 },
    (options, dir) => all.copyFile(`${dir}/file`, `${dir}/copy`, options),
  ],
  copyTree: [
    { concurrency: 3, onProgress: () => {}, signal, filter: () => true, direct: false },
    (options, dir) => all.copyTree(`${dir}/folder`, `${dir}/tree`, options),
  ],
  cp: [
    { recursive: true, force: true, filter: () => true },
    (options, dir) => all.cp(`${dir}/folder`, `${dir}/tree`, options),
  ],
  rm: [{ recursive: true, force: true, maxRetries: 1 }, (options, dir) => all.rm(`${dir}/folder`, options)],
  mkdir: [{ recursive: true, mode: 0o700 }, (options, dir) => all.mkdir(`${dir}/a/b`, options)],
  readdir: [{ recursive: true, encoding: "hex" }, (options, dir) => all.readdir(dir, options)],
  "fs.readdir": [
    { recursive: true, withFileTypes: true },
    (options, dir) => promisify(fs.readdir as any)(dir, options),
  ],
  opendir: [
    { recursive: true, bufferSize: 4 },
    async (options, dir) => {
      for await (const _ of await all.opendir(dir, options));
    },
  ],
  watch: [
    { persistent: true, recursive: false, maxQueue: 5, overflow: "error", encoding: "utf8", signal },
    async (options, dir) => {
      const changes = all.watch(dir, options)[Symbol.asyncIterator]() as AsyncGenerator;
      const first = changes.next();
      fs.writeFileSync(`${dir}/new`, "");
      await first;
      await changes.return(undefined);
    },
  ],
  open: [
    { mode: 0o600, direct: false, cache: "keep", signal },
    async (options, dir) => (await all.open(`${dir}/file`, "r", options)).close(),
  ],
  readMany: [{ concurrency: 2, signal, encoding: "utf8" }, (options, dir) => all.readMany([`${dir}/file`], options)],
  statMany: [{ concurrency: 2, signal, bigint: true }, (options, dir) => all.statMany([`${dir}/file`], options)],
  "handle.read": [
    { buffer: Buffer.alloc(4), offset: 1, length: 2, position: 0, signal },
    (options, dir) => handled(dir, (handle) => handle.read(options)),
  ],
  "handle.write": [
    { offset: 1, length: 2, position: 0, flush: true, signal },
    (options, dir) => handled(dir, (handle) => handle.write(Buffer.from("text"), options)),
  ],
  "handle.writeFile": [
    { encoding: "latin1", flush: true, signal },
    (options, dir) => handled(dir, (handle) => handle.writeFile("text", options)),
  ],
  "handle.readBatch": [
    { offsets: [0], lengths: 2, into: Buffer.alloc(2), signal },
    (options, dir) => handled(dir, (handle) => handle.readBatch(options)),
  ],
  createReadStream: [
    { start: 0, end: 2, encoding: "utf8", signal, highWaterMark: 10 },
    (options, dir) => Array.fromAsync(fs.createReadStream(`${dir}/file`, options)),
  ],
  lock: [
    { exclusive: true, wait: false, signal },
    async (options, dir) => (await lock(`${dir}/lock`, options).catch(() => null))?.release(),
  ],
  writeFileAtomic: [
    { durability: "data", mode: 0o600, overwrite: true, encoding: "utf8", cache: "keep", signal },
    (options, dir) => writeFileAtomic(`${dir}/atomic`, "text", options),
  ],
  "AppendLog.open": [
    { durability: "none", framing: "lines", maxPendingBytes: 8192, onFull: "wait", mode: 0o600, rotate: { keep: 3 } },
    async (options, dir) => (await AppendLog.open(`${dir}/log`, options)).close(),
  ],
  write: [
    { createPath: true, mode: 0o600, flush: true, append: true, signal },
    (options, dir) => write(`${dir}/x/y`, "text", options),
  ],
  "root.writeFile": [
    { flag: "a", mode: 0o600, encoding: "latin1", flush: true },
    (options, dir) => inRoot(dir, (root) => root.writeFile("file", "text", options)),
  ],
  "root.rm": [
    { recursive: true, force: true },
    (options, dir) => inRoot(dir, (root) => root.rm("none/folder", options)),
  ],
  "root.mkdir": [{ recursive: true, mode: 0o700 }, (options, dir) => inRoot(dir, (root) => root.mkdir("a/b", options))],
  "root.readdir": [
    { recursive: true, encoding: "hex" },
    (options, dir) => inRoot(dir, (root) => root.readdir(".", options)),
  ],
  readFile: [{ encoding: "utf8", flag: "r", signal }, (options, dir) => all.readFile(`${dir}/file`, options)],
  "readFile into a buffer": [
    { buffer: Buffer.alloc(100), flag: "r", signal },
    (options, dir) => all.readFile(`${dir}/file`, options),
  ],
  writeFile: [
    { encoding: "utf8", flag: "w", mode: 0o600, flush: true, signal },
    (options, dir) => all.writeFile(`${dir}/new`, "text", options),
  ],
  "writeFile of chunks": [
    { encoding: "utf8", flag: "w", mode: 0o600, flush: true, signal },
    (options, dir) => all.writeFile(`${dir}/new`, ["a", "b"], options),
  ],
  appendFile: [
    { encoding: "utf8", flag: "a", mode: 0o600, flush: true },
    (options, dir) => all.appendFile(`${dir}/new`, "text", options),
  ],
  stat: [{ bigint: true, throwIfNoEntry: true, signal }, (options, dir) => all.stat(`${dir}/file`, options)],
  lstat: [{ bigint: true }, (options, dir) => all.lstat(`${dir}/file`, options)],
  statfs: [{ bigint: true }, (options, dir) => all.statfs(dir, options)],
  realpath: [{ encoding: "hex" }, (options, dir) => all.realpath(dir, options)],
  readlink: [
    { encoding: "hex" },
    (options, dir) => {
      fs.symlinkSync("x", `${dir}/link`);
      return all.readlink(`${dir}/link`, options);
    },
  ],
  mkdtemp: [{ encoding: "hex" }, (options, dir) => all.mkdtemp(`${dir}/t`, options)],
  mkdtempDisposable: [{ encoding: "utf8" }, (options, dir) => all.mkdtempDisposable(`${dir}/t`, options)],
  rename: [
    { noReplace: true, exchange: false },
    (options, dir) => all.rename(`${dir}/file`, `${dir}/other`, options).catch(() => {}),
  ],
  "fs.readFile": [
    { encoding: "utf8", flag: "r", signal },
    (options, dir) => promisify(fs.readFile as any)(`${dir}/file`, options),
  ],
  "fs.writeFile": [
    { encoding: "utf8", flag: "w", mode: 0o600, flush: true, signal },
    (options, dir) => promisify(fs.writeFile as any)(`${dir}/new`, "text", options),
  ],
  "fs.mkdir": [{ recursive: true, mode: 0o700 }, (options, dir) => promisify(fs.mkdir as any)(`${dir}/a/b`, options)],
  "fs.rm": [{ recursive: true, force: true }, (options, dir) => promisify(fs.rm as any)(`${dir}/folder`, options)],
  "fs.stat": [{ bigint: true }, (options, dir) => promisify(fs.stat as any)(`${dir}/file`, options)],
  "fs.cp": [
    { recursive: true, force: true, filter: () => true },
    (options, dir) => promisify(fs.cp as any)(`${dir}/folder`, `${dir}/tree`, options),
  ],
  "fs.read": [
    { buffer: Buffer.alloc(8), offset: 0, length: 4, position: 0 },
    async (options, dir) => {
      const fd = fs.openSync(`${dir}/file`, "r");
      await promisify(fs.read as any)(fd, options);
      fs.closeSync(fd);
    },
  ],
  "fs.write": [
    { offset: 0, length: 4, position: 0 },
    async (options, dir) => {
      const fd = fs.openSync(`${dir}/file`, "r+");
      await promisify(fs.write as any)(fd, Buffer.alloc(8), options);
      fs.closeSync(fd);
    },
  ],
  "handle.readFile": [
    { encoding: "utf8", signal },
    (options, dir) => handled(dir, (handle) => handle.readFile(options)),
  ],
  "handle.appendFile": [
    { encoding: "utf8", flush: true },
    (options, dir) => handled(dir, (handle) => handle.appendFile("text", options)),
  ],
  "handle.stat": [{ bigint: true, signal }, (options, dir) => handled(dir, (handle) => handle.stat(options))],
  "handle.write, durable": [
    { offset: 0, length: 4, position: 0, flush: true, signal },
    (options, dir) => handled(dir, (handle) => handle.write(Buffer.alloc(8), options)),
  ],
  "handle.createReadStream": [
    { start: 1, end: 3, highWaterMark: 2, encoding: "utf8", autoClose: false },
    (options, dir) =>
      handled(dir, async (handle) => {
        for await (const _ of handle.createReadStream(options));
      }),
  ],
  "handle.createWriteStream": [
    { start: 1, highWaterMark: 2, encoding: "utf8", autoClose: false, flush: true },
    (options, dir) =>
      handled(dir, async (handle) => {
        const stream = handle.createWriteStream(options);
        await new Promise<void>((resolve) => stream.end("x", resolve));
      }),
  ],
  createWriteStream: [
    { flags: "w", start: 0, highWaterMark: 2, encoding: "utf8", autoClose: true, flush: true, mode: 0o600 },
    (options, dir) => new Promise<void>((resolve) => fs.createWriteStream(`${dir}/new`, options).end("x", resolve)),
  ],
  "handle.readableWebStream": [
    { autoClose: false },
    (options, dir) =>
      handled(dir, async (handle) => {
        for await (const _ of handle.readableWebStream(options));
      }),
  ],
  "handle.readLines": [
    { start: 0, encoding: "utf8" },
    (options, dir) =>
      handled(dir, async (handle) => {
        for await (const _ of handle.readLines(options));
      }),
  ],
  BufferPool: [
    { size: 4096, count: 2, alignment: 4096 },
    async (options) => {
      const pool = new all.BufferPool(options);
      await pool.close();
    },
  ],
  receive: [
    { maxBytes: 100, hash: "sha256", onProgress: () => {}, durability: "none", overwrite: true, mode: 0o600, signal },
    (options, dir) => inRoot(dir, (root) => receive(new Response("text"), { root, name: "got" }, options)),
  ],
  multipart: [
    { limits: { files: 2 }, nameFor: () => "name" },
    (options, dir) =>
      inRoot(dir, async (root) => {
        const body = new FormData();
        body.set("field", "value");
        body.set("file", new Blob(["content"]), "file");
        for await (const _ of multipart(new Request("http://x/", { method: "POST", body }), root, options));
      }),
  ],
  readLog: [
    { from: 0, signal },
    async (options, dir) => {
      await (await AppendLog.open(`${dir}/log`, { durability: "none" })).close();
      for await (const _ of readLog(`${dir}/log`, options));
    },
  ],
  "file.writer": [
    { append: true, highWaterMark: 100, flush: true },
    async (options, dir) => {
      const writer = file(`${dir}/file`).writer(options);
      await writer.write("x");
      await writer.end();
    },
  ],
  "file.stream": [
    { start: 1, end: 3 },
    async (options, dir) => {
      for await (const _ of file(`${dir}/file`).stream(options));
    },
  ],
};

for (const [name, [options, call]] of Object.entries(CALLS)) {
  test(`${name} reads its options once`, async () => {
    const dir = tmp.folder();
    fs.writeFileSync(`${dir}/file`, "content");
    fs.mkdirSync(`${dir}/folder/in`, { recursive: true });
    const reads: Record<string, number> = {};
    const counting = new Proxy(options, {
      get(target, key) {
        if (typeof key === "string") reads[key] = (reads[key] ?? 0) + 1;
        return Reflect.get(target, key);
      },
    });
    await call(counting, dir);
    expect(reads).toEqual({ ...reads, ...Object.fromEntries(Object.keys(options).map((key) => [key, 1])) });
  });
}
