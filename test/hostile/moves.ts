// Owns the moves of the hostile program: each calls the package as its worst caller would, changes what it gave while the call
// is under way, and says what the call may have come to.
// Assumes a World. Never waits for a call: that is the round's business (hostile.child.ts).

import { closeSync, openSync, readFileSync } from "node:fs";
import callbacks from "../../src/fs.ts";
import * as fs from "../../src/index.ts";
import { lying, wavers } from "./lies.ts";
import { content, FED, FRESH, type World } from "./world.ts";

export type Move = (world: World, dir: string) => unknown;

/** What a call may say whose memory was taken away. */
const GONE = ["ERR_INVALID_STATE", "ERR_INVALID_ARG_VALUE", "ERR_OUT_OF_RANGE", "EFAULT"];
const ENDED = ["ABORT_ERR", "ECANCELED"];
const LENGTH = 300_000;
const sizes = [1, 16, 900, 1001, 4096, 70_000];
/** The caller's own error, thrown where the package calls back. */
const MINE = "the caller's own";
const mine = (): never => {
  throw new Error(MINE);
};

let id = 0;
const nextId = (): number => ++id & 0xff;

async function opened(world: World, path: string, flags: string, options?: object): Promise<fs.FileHandle> {
  const handle = await (fs.open as any)(path, flags, 0o666, ...(options ? [options] : []));
  world.atEnd(`close of ${path} ${flags}`, () => handle.close().catch(() => {}));
  return handle;
}

/** The first `count` bytes are the file's, the others are as they were. */
function judgeRead(world: World, name: string, view: Uint8Array, count: number, file: number, offset: number): void {
  world.mustBe(name, view.subarray(0, count), file, offset);
  if (view.subarray(count).some((byte) => byte !== FRESH)) world.fail(name, "wrote more than it said");
}

export const MOVES: Readonly<Record<string, Move>> = {
  async "read: view that lies, options that change"(world, dir) {
    const { random } = world;
    const file = nextId();
    const handle = await opened(world, world.file(file, LENGTH, dir), "r");
    for (let i = 0; i < 8; i++) {
      const { view } = world.arena(random.pick(sizes));
      const truth = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      const position = random.below(LENGTH / 2);
      const liar = lying(random, view);
      const options = wavers({ buffer: liar, position }, { position: 0, buffer: new Uint8Array(1 << 20) });
      const read = i % 3 === 0 ? handle.read(options as any) : handle.read(liar, { position } as any);
      world.call("read", read, [], ({ bytesRead }) => judgeRead(world, "read", truth, bytesRead, file, position));
    }
  },

  async "readv: the array emptied"(world, dir) {
    const { random } = world;
    const file = nextId();
    const handle = await opened(world, world.file(file, LENGTH, dir), "r");
    for (const queued of [false, true]) {
      const views = Array.from({ length: 1 + random.below(5) }, () => world.arena(random.pick(sizes)).view);
      const truths = views.map((view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
      const into = views.map((view) => lying(random, view));
      if (queued) world.call("read before", handle.read(new Uint8Array(10), 0, 10, 0), []);
      world.call("readv", handle.readv(into, 1000), [], ({ bytesRead }) => {
        let at = 0;
        for (const truth of truths) {
          const count = Math.max(0, Math.min(truth.length, bytesRead - at));
          judgeRead(world, "readv", truth, count, file, 1000 + at);
          at += truth.length;
        }
      });
      into.length = 0;
      into.push(new Uint8Array(1 << 20));
    }
  },

  async "readBatch: arrays that change"(world, dir) {
    const { random } = world;
    const count = 100 + random.below(900);
    const size = 64;
    const file = nextId();
    const handle = await opened(world, world.file(file, 1 << 17, dir), "r");
    const { view } = world.arena(count * size);
    const truth = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const offsets = Array.from({ length: count }, (_, i) => i * size);
    const lengths = new Array<number>(count).fill(size);
    const many = random.below(2) === 0;
    const into: any = many ? offsets.map((at) => lying(random, truth.subarray(at, at + size))) : lying(random, view);
    const options = wavers({ offsets, lengths, into }, { into: new Uint8Array(1) });
    world.call("readBatch", handle.readBatch(options), [], (results) => {
      world.mustBe("readBatch", truth, file);
      if (results.some((bytes) => bytes !== size)) world.fail("readBatch", "a short read");
    });
    lengths.fill(1 << 16);
    offsets.fill(7);
    if (many) into.length = 0;
    if (random.below(2) === 0) offsets.length = lengths.length = 0;
  },

  async "write, writev: views that lie, arrays emptied"(world, dir) {
    const { random } = world;
    const path = world.path(`${dir === world.dir ? "" : "/"}written`);
    const target = dir === world.dir ? path : `${dir}/${path.split("/").at(-1)}`;
    const handle = await opened(world, target, "w+");
    const file = nextId();
    let at = 0;
    /** The chunks that were told to be written: the others may have been given up by a shutdown, and be there or not. */
    const written: [at: number, size: number][] = [];
    for (let i = 0; i < 8; i++) {
      const size = random.pick(sizes);
      const start = at;
      const judge = ({ bytesWritten }: { bytesWritten: number }): void => void written.push([start, bytesWritten]);
      const { view } = world.arena(size);
      view.set(content(file, size, at));
      const flush = random.below(3) === 0;
      const liar = lying(random, view);
      if (i % 2 === 0) world.call("write", handle.write(liar, 0, size, at, { flush } as any), [], judge);
      else {
        const parts = [liar];
        world.call("writev", (handle.writev as any)(parts, at, { flush }), [], judge);
        parts.length = 0;
        parts.push(new Uint8Array(1 << 20).fill(0x53));
      }
      at += size;
    }
    world.atEnd("look", () => world.chunksOnDisk("write", target, content(file, at), written));
  },

  async "whole files: lies, callbacks and iterables that throw"(world, dir) {
    const { random } = world;
    const file = nextId();
    const path = world.file(file, 5000, dir);
    const target = `${path}-copy`;
    const { view } = world.arena(5000);
    const truth = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    world.call("readFile into a buffer", fs.readFile(path, { buffer: lying(random, view) } as any) as any, [], () =>
      world.mustBe("readFile", truth, file),
    );
    world.call("readFile, buffer() throws", fs.readFile(path, { buffer: mine } as any) as any, [MINE], () =>
      world.fail("readFile", "resolved though its callback threw"),
    );
    const data = world.arena(5000);
    data.view.set(content(file, 5000));
    const parts = [lying(random, data.view.subarray(0, 900)), lying(random, data.view.subarray(900, 5000))];
    world.call("writeFile of parts", fs.writeFile(target, parts as any), [], () =>
      world.onDisk("writeFile", target, content(file, 5000)),
    );
    async function* throwing(): AsyncGenerator<string> {
      yield "a";
      mine();
    }
    world.call("writeFile of what throws", fs.writeFile(`${path}-part`, throwing()), [MINE]);
    world.call("copyFile, onProgress throws", (fs.copyFile as any)(path, `${path}-2`, { onProgress: mine }), [MINE]);
    world.call("cp, filter throws", fs.cp(path, `${path}-3`, { filter: mine }), [MINE]);
    world.call("copyTree, filter throws", fs.copyTree(world.dir, `${path}-4`, { filter: mine } as any), [MINE]);
  },

  async "memory handed on while it is used"(world, dir) {
    const { random } = world;
    const file = nextId();
    const path = world.file(file, LENGTH, dir);
    const direct = random.below(2) === 0 ? { direct: true } : undefined;
    const handle = await opened(world, path, "r+", direct);
    const own = await opened(world, `${path}-own`, "w+");
    const calls: ((view: Uint8Array, at: number) => Promise<unknown>)[] = [
      (view, at) => handle.read(view, 0, view.length, at),
      (view, at) => handle.write(view, 0, view.length, at),
      (view, at) => handle.readv([view], at),
      (view, at) => handle.writev([view, view.subarray(0, 0)], at),
      (view, at) => handle.readBatch({ offsets: [at], lengths: view.length, into: view }),
      // At the file's own position they wait for each other, and lose their memory before they begin.
      (view) => handle.read(view, 0, 1, null),
      (view) => handle.readv([view], null),
      (view) => own.write(view, 0, view.length, null),
      (view) => own.writev([view], null),
    ];
    for (let i = 0; i < 16; i++) {
      const arena = world.arena(random.pick(sizes), 0);
      arena.view.set(content(file, arena.view.length, 4096));
      world.call("memory handed on", random.pick(calls)(arena.view, 4096), GONE);
      world.transfer(arena);
    }
    // Nothing but the file's own bytes is on the disk: what was written is what was there.
    world.atEnd("look", () => {
      const found = readFileSync(path);
      if (!found.equals(content(file, LENGTH))) world.fail("memory handed on", "foreign bytes on disk");
    });
  },

  async "a pool whose memory travels"(world, dir) {
    const { random } = world;
    const size = 65_536;
    const file = nextId();
    const handle = await opened(world, world.file(file, size, dir), "r");
    const pool = new fs.BufferPool({ size, count: 3 });
    const owned: Uint8Array[] = [];
    for (let i = 0; i < 2; i++) {
      const lease = pool.tryAcquire();
      if (lease === null) continue;
      const { bytes } = lease;
      bytes.fill(i + 1);
      const channel = new MessageChannel();
      const got = new Promise<Uint8Array>((resolve) => {
        channel.port2.onmessage = (event: any) => resolve(event.data);
      });
      channel.port1.postMessage(bytes, [bytes.buffer as ArrayBuffer]);
      owned.push(await got);
      channel.port1.close();
      if (random.below(2) === 0) lease.release();
    }
    await Bun.sleep(1);
    Bun.gc(true);
    await Bun.sleep(5);
    for (let i = 0; i < 6; i++) {
      const lease = pool.tryAcquire();
      if (lease === null) break;
      const { bytes } = lease;
      world.call("read into a lease", handle.read(bytes, 0, size, 0), [], ({ bytesRead }) => {
        world.mustBe("a lease", bytes.subarray(0, bytesRead), file);
        lease.release();
      });
    }
    // What was handed on is its new owner's, through the pool's end and after it.
    world.atEnd("the pool's end", async () => {
      pool.close();
      Bun.gc(true);
      await Bun.sleep(1);
      const next = new fs.BufferPool({ size, count: 3 });
      for (let i = 0; i < 3; i++) next.tryAcquire()?.bytes.fill(0x7e);
      owned.forEach((bytes, i) => {
        if (bytes.length !== size || bytes.some((byte) => byte !== i + 1))
          world.fail("a pool's memory", "changed under its new owner");
      });
      next.close();
    });
  },

  async "SQEs that change"(world, dir) {
    if (fs.backend !== "io_uring") return;
    const file = nextId();
    const fd = openSync(world.file(file, LENGTH, dir), "r");
    world.atEnd("close", () => closeSync(fd));
    const { view } = world.arena(4096);
    const truth = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const ring = fs.Ring.current();
    const sqe = wavers(
      { opcode: fs.Opcode.READ, fd, buffer: view, length: 4096, offset: 100 },
      { length: 1 << 20, buffer: new Uint8Array(1), fd: 0 },
    );
    const sqes: any[] = [sqe, { opcode: fs.Opcode.NOP }];
    world.call("Ring.batch", ring.batch(sqes), [], ([read]) => {
      if (read!.res === 4096) judgeRead(world, "Ring.batch", truth, 4096, file, 100);
      else if (!world.mayBeCancelled) world.fail("Ring.batch", `res ${read!.res}`);
    });
    sqes.length = 0;
  },

  "calls that wait on a FIFO, and signals"(world) {
    const { random } = world;
    // The node backend parks threads of Bun's pool, of which there are few.
    const count = fs.backend === "io_uring" ? 20 : 1;
    for (let i = 0; i < count; i++) {
      const controller = new AbortController();
      const { signal } = controller;
      const read = fs.readFile(world.fifo, { signal });
      world.call("readFile of a FIFO", read, ENDED, (bytes) => {
        if ((bytes as Buffer).some((byte) => byte !== FED)) world.fail("readFile of a FIFO", "foreign bytes");
      });
      // No writer ever closes it, so that each has to be aborted: before, within and after the turn, and after a shutdown.
      if (random.below(3) === 0) controller.abort();
      else setTimeout(() => controller.abort(), random.below(60));
    }
  },

  async "reads that wait, with buffers of theirs"(world) {
    if (fs.backend !== "io_uring") return;
    const handle = await opened(world, world.fifo, "r+");
    for (let i = 0; i < 10; i++) {
      const { view } = world.arena(world.random.pick(sizes));
      world.call("read of a FIFO", handle.read(view, 0, view.length, null), ENDED, ({ bytesRead }) => {
        if (view.subarray(0, bytesRead).some((byte) => byte !== FED)) world.fail("read of a FIFO", "foreign bytes");
      });
    }
  },

  async callbacks(world, dir) {
    const file = nextId();
    const path = world.file(file, 3000, dir);
    const { readFile, stat, open, read, close } = callbacks as any;
    readFile(
      path,
      world.callback("fs.readFile", (error: any, data: Buffer) => !error && world.mustBe("fs.readFile", data, file)),
    );
    readFile(
      `${path}-none`,
      world.callback("fs.readFile of nothing", () => {}),
    );
    stat(
      path,
      world.callback("fs.stat", () => {}),
    );
    const opened = world.callback("fs.open", (error: any, fd: number) => {
      if (error) return;
      const { view } = world.arena(1000);
      const done = world.callback("fs.read", (failed: any, count: number) => {
        if (!failed) judgeRead(world, "fs.read", view, count, file, 5);
        close(
          fd,
          world.callback("fs.close", () => {}),
        );
      });
      read(fd, view, 0, 1000, 5, done);
    });
    open(path, "r", opened);
  },

  async "direct: through memory of ours"(world, dir) {
    const { random } = world;
    const file = nextId();
    const path = world.file(file, 1 << 17, dir);
    let handle: fs.FileHandle;
    try {
      handle = await opened(world, path, "r+", { direct: true });
    } catch (error: any) {
      if (error.code !== "EINVAL" && !world.mayBeCancelled) world.fail("open direct", String(error));
      return;
    }
    for (let i = 0; i < 6; i++) {
      const { view } = world.arena(1 + random.below(9000));
      const position = random.below(100_000);
      if (random.below(2) === 0) {
        world.call("direct read", handle.read(view, 0, view.length, position), [], ({ bytesRead }) =>
          judgeRead(world, "direct read", view, bytesRead, file, position),
        );
      } else {
        view.set(content(file, view.length, position));
        world.call("direct write", handle.write(view, 0, view.length, position), []);
      }
    }
    world.atEnd("look", () => world.onDisk("direct", path, content(file, 1 << 17)));
  },

  async streams(world, dir) {
    const file = nextId();
    const path = world.file(file, LENGTH, dir);
    const handle = await fs.open(path, "r");
    const stream = handle.createReadStream();
    const parts: Buffer[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    stream.on("data", (part) => void parts.push(part as Buffer));
    stream.on("error", reject).on("close", resolve);
    world.call("a stream", promise, [], () => world.mustBe("a stream", Buffer.concat(parts), file));
    const half = fs.open(path, "r").then(async (dropped) => {
      for await (const _ of dropped.createReadStream()) break;
    });
    world.call("a stream that is left", half, []);
  },

  "arguments that are none"(world) {
    const { readFile, open, stat, writeFile } = fs as any;
    const TYPES = ["ERR_INVALID_ARG_TYPE", "ERR_INVALID_ARG_VALUE", "ERR_OUT_OF_RANGE", "ENOENT"];
    const throwing = { toString: mine, valueOf: mine };
    const rejects = (): never => {
      throw new Error("resolved");
    };
    for (const call of [
      () => readFile(throwing),
      () => readFile(world.fifo, { signal: { aborted: false } }),
      () => open(`${world.dir}/none`, throwing),
      () => stat(new Proxy({}, { get: mine })),
      () => writeFile(`${world.dir}/none/x`, new Uint8Array(1)),
    ])
      world.call("nonsense", call(), [...TYPES, MINE], rejects);
  },
};
