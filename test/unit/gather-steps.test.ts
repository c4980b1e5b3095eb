// Owns what a handle asks of its backend, and when: writes over several turns, syncs, whose failure is whose, what close waits for.
// Assumes a backend that does what the test says and when; the file is there to be looked at. On real files: gather.test.ts.

import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { type Backend, OpenFile } from "../../src/backend/interface.ts";
import { OpenHandle } from "../../src/handle/core.ts";
import { collected } from "../../src/handle/finalizer.ts";
import { closedError, systemError } from "../../src/node/errors.ts";
import { rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const [EIO, ENOSPC] = [-5, -28];
const flush = true;

/** One call of the backend: what it is, and how it ends. */
interface Call {
  what: string;
  end: (value?: unknown) => void;
  fail: (error: unknown) => void;
  /** Of a durable write: its count of bytes. */
  progress: { bytesWritten: number };
}

/** A handle, and its backend's calls in their order. */
class Rig {
  readonly calls: Call[] = [];
  readonly fd = openSync(tmp.file("here"), "r+");
  readonly file = new OpenFile(this.fd);
  readonly handle: OpenHandle;

  constructor(other: Partial<Backend> = {}) {
    const own: Partial<Backend> = {
      name: "node",
      copy: (from, to) => {
        to.set(from);
        return from.length;
      },
      fstat: () =>
        Promise.resolve({ isFile: () => true, isBlockDevice: () => false, isDirectory: () => false } as never),
      read: (_, buffer) => this.#call("read", (bytesRead) => ({ bytesRead, buffer })),
      write: (_, buffer, offset, length, position) =>
        this.#call(`write ${text(buffer, offset, length)}${at(position)}`, (bytesWritten = length) => ({
          bytesWritten,
          buffer,
        })),
      writeSynced: (_, buffers, position, progress) =>
        this.#call(
          `durable ${buffers.map((one) => text(one, 0, one.length)).join("+")}${at(position)}`,
          () => {
            progress.bytesWritten = buffers.reduce((sum, { length }) => sum + length, 0);
          },
          progress,
        ),
      fsync: () => this.#call("fsync"),
      fdatasync: () => this.#call("fdatasync"),
      close: () => {
        this.file.fd = -1;
        return this.#call("close");
      },
    };
    this.handle = new OpenHandle(this.file, { ...own, ...other } as Backend);
  }

  #call(what: string, result: (value: any) => unknown = () => undefined, progress = { bytesWritten: 0 }): Promise<any> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.file.inFlight++;
    const over = (settle: () => void): void => {
      this.file.inFlight--;
      settle();
    };
    this.calls.push({
      what,
      progress,
      end: (value) => over(() => resolve(result(value))),
      fail: (error) => over(() => reject(error)),
    });
    return promise;
  }

  #seen = 0;

  /** What is asked for next, and together with it. */
  async asked(): Promise<string> {
    while (this.calls.length === this.#seen) await turn();
    return this.soFar();
  }

  /** What has been asked for since the last look: nothing, where it has to wait. */
  async soFar(): Promise<string> {
    await turn();
    await turn();
    const since = this.calls.slice(this.#seen).map(({ what }) => what);
    this.#seen = this.calls.length;
    return since.join(", ");
  }

  get last(): Call {
    return this.calls.at(-1)!;
  }
}

const text = (view: NodeJS.ArrayBufferView, offset: number, length: number): string =>
  length > 8 ? `${length} bytes` : Buffer.from(view.buffer, view.byteOffset + offset, length).toString();
const at = (position: number | bigint): string => (position === -1 ? "" : ` at ${position}`);
const turn = (): Promise<void> => Bun.sleep(2);

let rigs: Rig[] = [];
afterEach(() => {
  for (const { file, fd } of rigs) {
    closeSync(fd);
    file.fd = -1;
    collected.unregister(file);
  }
  rigs = [];
});

function rig(other: Partial<Backend> = {}): Rig {
  const made = new Rig(other);
  rigs.push(made);
  return made;
}

/** "pending", or what came of it. */
function watch(promise: Promise<unknown>): { state: string; error?: any } {
  const seen: { state: string; error?: any } = { state: "pending" };
  promise.then(
    (value: any) => {
      seen.state = `${value?.bytesWritten ?? "done"}`;
    },
    (error) => {
      seen.state = error.code ?? error.name;
      seen.error = error;
    },
  );
  return seen;
}

describe("writes over several turns", () => {
  test("what waits together is one write; what comes while it is made is the next", async () => {
    const { handle, ...r } = rigOf();
    const seen = ["aa", "bb", "cc"].map((word) => watch(handle.write(word)));
    expect(await r.asked()).toBe("write aa");
    r.last().end();
    expect(await r.asked()).toBe("write bbcc");
    seen.push(watch(handle.write("dd")), watch(handle.write("ee")));
    expect(await r.soFar()).toBe("");
    r.last().end();
    expect(await r.asked()).toBe("write ddee");
    r.last().end();
    await turn();
    expect(seen.map(({ state }) => state)).toEqual(["2", "2", "2", "2", "2"]);
  });

  test("a flushed one among plain ones is written by itself, and synced", async () => {
    const { handle, ...r } = rigOf();
    const seen = [watch(handle.write("a")), watch(handle.write("b")), watch(handle.write("c"))];
    seen.push(watch(handle.write("d", null, "utf8", { flush })), watch(handle.write("e", null, "utf8", { flush })));
    seen.push(watch(handle.write("f")));
    const order: string[] = [];
    for (let i = 0; i < 4; i++) {
      order.push(await r.asked());
      r.last().end();
    }
    expect(order).toEqual(["write a", "write bc", "durable de", "write f"]);
    await turn();
    expect(seen.map(({ state }) => state)).toEqual(["1", "1", "1", "1", "1", "1"]);
  });

  test("nobody joins those in front of somebody else", async () => {
    const { handle, ...r } = rigOf();
    void handle.write("a");
    void handle.write("b");
    void handle.read(Buffer.alloc(1));
    void handle.write("c");
    const order: string[] = [];
    for (let i = 0; i < 4; i++) {
      order.push(await r.asked());
      r.last().end(1);
    }
    expect(order).toEqual(["write a", "write b", "read", "write c"]);
  });

  test("so many bytes at once, and no more", async () => {
    const { handle, ...r } = rigOf();
    void handle.write("a");
    const each = Buffer.alloc(16 * 1024);
    for (let i = 0; i < 20; i++) void handle.write(each);
    expect(await r.asked()).toBe("write a");
    r.last().end();
    expect(await r.asked()).toBe("write 262144 bytes");
    r.last().end();
    expect(await r.asked()).toBe("write 65536 bytes");
    r.last().end();
  });

  test("of a short write each hears what it got, and the rest is written after it", async () => {
    const { handle, ...r } = rigOf();
    const seen = ["aa", "bb", "cc", "dd"].map((word) => watch(handle.write(word)));
    await r.asked();
    r.last().end();
    expect(await r.asked()).toBe("write bbccdd");
    r.last().end(3);
    expect(await r.asked()).toBe("write dd");
    expect(seen.map(({ state }) => state)).toEqual(["2", "2", "1", "pending"]);
    r.last().end();
    await turn();
    expect(seen[3]!.state).toBe("2");
  });

  test("a short write that ends where a call's bytes do settles nobody else", async () => {
    const { handle, ...r } = rigOf();
    const seen = ["aa", "bb", "cc"].map((word) => watch(handle.write(word)));
    await r.asked();
    r.last().end();
    await r.asked();
    r.last().end(2);
    expect(await r.asked()).toBe("write cc");
    expect(seen.map(({ state }) => state)).toEqual(["2", "2", "pending"]);
    r.last().end();
  });

  test("a write that fails is the first one's; the others are written", async () => {
    const { handle, ...r } = rigOf();
    const seen = ["aa", "bb", "cc"].map((word) => watch(handle.write(word)));
    await r.asked();
    r.last().end();
    await r.asked();
    r.last().fail(systemError(ENOSPC, "write"));
    expect(await r.asked()).toBe("write cc");
    r.last().end();
    await turn();
    expect(seen.map(({ state }) => state)).toEqual(["2", "ENOSPC", "2"]);
  });

  test("without memory for the copy all hear so", async () => {
    const { handle, ...r } = rigOf();
    const seen = ["aa", "bb", "cc"].map((word) => watch(handle.write(word)));
    await r.asked();
    const allocate = spyOn(Buffer, "allocUnsafeSlow").mockImplementationOnce(() => {
      throw new RangeError("Out of memory");
    });
    r.last().end();
    await turn();
    await turn();
    allocate.mockRestore();
    expect(seen.map(({ state }) => state)).toEqual(["2", "RangeError", "RangeError"]);
  });
});

describe("durable writes that wait together", () => {
  /** Three that are under way as one. */
  async function three(): Promise<{ r: ReturnType<typeof rigOf>; seen: ReturnType<typeof watch>[] }> {
    const r = rigOf();
    void r.handle.write("a");
    const seen = ["bb", "cc", "dd"].map((word) => watch(r.handle.write(word, null, "utf8", { flush })));
    await r.asked();
    r.last().end();
    expect(await r.asked()).toBe("durable bbccdd");
    return { r, seen };
  }

  test("a sync that fails is told to each, as an error of its own, and is final", async () => {
    const { r, seen } = await three();
    r.last().fail(systemError(EIO, "fdatasync"));
    await turn();
    expect(seen.map(({ state, error }) => `${state} ${error?.syscall} ${error?.bytesWritten}`)).toEqual(
      Array(3).fill("EIO fdatasync 2"),
    );
    expect(new Set(seen.map(({ error }) => error)).size).toBe(3);
    const later = watch(r.handle.datasync());
    expect(await r.asked()).toBe("fdatasync");
    r.last().end();
    await turn();
    expect(later.state).toBe("EIO");
  });

  test("a write that fails in the middle: what is whole is synced, the next one failed, the others go on", async () => {
    const { r, seen } = await three();
    r.last().progress.bytesWritten = 3;
    r.last().fail(systemError(ENOSPC, "write"));
    expect(await r.asked()).toBe("fdatasync");
    expect(seen.map(({ state }) => state)).toEqual(["pending", "pending", "pending"]);
    r.last().end();
    expect(await r.asked()).toBe("durable dd");
    r.last().end();
    await turn();
    expect(seen.map(({ state, error }) => `${state} ${error?.bytesWritten}`)).toEqual([
      "2 undefined",
      "ENOSPC 1",
      "2 undefined",
    ]);
  });

  test("of what is whole then, a sync that fails is told", async () => {
    const { r, seen } = await three();
    r.last().progress.bytesWritten = 2;
    r.last().fail(systemError(ENOSPC, "write"));
    await r.asked();
    r.last().fail(systemError(EIO, "fdatasync"));
    await turn();
    expect(seen[0]).toMatchObject({ state: "EIO", error: { syscall: "fdatasync", bytesWritten: 2 } });
    expect(seen[1]).toMatchObject({ state: "ENOSPC", error: { bytesWritten: 0 } });
  });

  test("a write that fails has lost nothing that was there: later syncs succeed", async () => {
    const { r } = await three();
    r.last().fail(systemError(ENOSPC, "write"));
    await r.asked();
    r.last().end();
    await turn();
    const later = watch(r.handle.sync());
    expect(await r.asked()).toBe("fsync");
    r.last().end();
    await turn();
    expect(later.state).toBe("done");
  });

  test("who shares a sync that fails has an error of its own, under its own name", async () => {
    const r = rigOf();
    const seen = [r.handle.datasync(), r.handle.sync(), r.handle.datasync()].map(watch);
    expect(await r.asked()).toBe("fsync");
    r.last().fail(systemError(EIO, "fsync"));
    await turn();
    expect(seen.map(({ error }) => error?.syscall)).toEqual(["fdatasync", "fsync", "fdatasync"]);
    expect(new Set(seen.map(({ error }) => error)).size).toBe(3);
  });

  test("who only syncs waits for them, and has a sync of its own", async () => {
    const { r } = await three();
    const sync = watch(r.handle.datasync());
    expect(await r.soFar()).toBe("");
    r.last().end();
    expect(await r.asked()).toBe("fdatasync");
    expect(sync.state).toBe("pending");
    r.last().end();
    await turn();
    expect(sync.state).toBe("done");
  });

  test("beside a sync that runs one at a position is written first, and shares the next", async () => {
    const r = rigOf();
    void r.handle.datasync();
    expect(await r.asked()).toBe("fdatasync");
    const first = r.last();
    const seen = watch(r.handle.write(Buffer.from("x"), 0, 1, 9, { flush }));
    expect(await r.asked()).toBe("write x at 9");
    r.last().end();
    expect(await r.soFar()).toBe("");
    first.end();
    expect(await r.asked()).toBe("fdatasync");
    expect(seen.state).toBe("pending");
    r.last().end();
    await turn();
    expect(seen.state).toBe("1");
  });
});

describe("order and closing", () => {
  test("reads and writes at the own position are one after another, whatever fails", async () => {
    const { handle, ...r } = rigOf();
    const long = Buffer.alloc(20_000);
    const seen = [
      handle.write(long),
      handle.read(Buffer.alloc(1)),
      handle.write(long),
      handle.read(Buffer.alloc(1)),
    ].map(watch);
    const order: string[] = [];
    for (let i = 0; i < 4; i++) {
      order.push(await r.asked());
      if (i === 1) r.last().fail(systemError(EIO, "read"));
      else r.last().end(1);
    }
    expect(order).toEqual(["write 20000 bytes", "read", "write 20000 bytes", "read"]);
    await turn();
    expect(seen.map(({ state }) => state === "pending")).toEqual([false, false, false, false]);
  });

  test("reads one after another go on after one that failed", async () => {
    const { handle, ...r } = rigOf();
    const seen = [1, 2, 3].map(() => watch(handle.read(Buffer.alloc(1))));
    await r.asked();
    r.last().fail(systemError(EIO, "read"));
    expect(await r.asked()).toBe("read");
    r.last().fail(systemError(EIO, "read"));
    expect(await r.asked()).toBe("read");
    r.last().end(1);
    await turn();
    expect(seen.map(({ state }) => state)).toEqual(["EIO", "EIO", "done"]);
  });

  test("a sync that ends meanwhile lets nobody overtake a write", async () => {
    const { handle, ...r } = rigOf();
    const long = Buffer.alloc(20_000);
    void handle.write(long);
    expect(await r.asked()).toBe("write 20000 bytes");
    const write = r.last();
    void handle.datasync();
    expect(await r.asked()).toBe("fdatasync");
    r.last().end();
    await turn();
    void handle.write(long);
    expect(await r.soFar()).toBe("");
    write.end();
    expect(await r.asked()).toBe("write 20000 bytes");
    r.last().end();
  });

  test("durable writes keep their turn", async () => {
    const { handle, ...r } = rigOf();
    const long = Buffer.alloc(20_000);
    void handle.write(long);
    void handle.writev([long, long], null, { flush });
    void handle.write(long);
    const order: string[] = [];
    for (let i = 0; i < 3; i++) {
      order.push(await r.asked());
      r.last().end();
    }
    expect(order).toEqual(["write 20000 bytes", "durable 20000 bytes+20000 bytes", "write 20000 bytes"]);
  });

  test("close waits for what waits, and for a sync that has not begun", async () => {
    const { handle, ...r } = rigOf();
    const seen = [handle.write("a"), handle.write("b"), handle.sync(), handle.datasync()].map(watch);
    const closed = watch(handle.close());
    const order: string[] = [];
    for (let i = 0, before = 0; i < 3; i++, before = r.calls().length) {
      order.push(await r.asked());
      for (const call of r.calls().slice(before)) call.end();
    }
    await turn();
    expect(order).toEqual(["write a, fsync", "write b", "close"]);
    expect(seen.map(({ state }) => state)).toEqual(["1", "1", "done", "done"]);
    expect(closed.state).toBe("done");
  });

  test("close waits for a sync that has not begun", async () => {
    const { handle, ...r } = rigOf();
    void handle.datasync();
    expect(await r.asked()).toBe("fdatasync");
    const later = watch(handle.datasync());
    const closed = watch(handle.close());
    expect(await r.soFar()).toBe("");
    r.last().end();
    expect(await r.asked()).toBe("fdatasync");
    expect([later.state, closed.state]).toEqual(["pending", "pending"]);
    r.last().end();
    expect(await r.asked()).toBe("close");
    r.last().end();
    await turn();
    expect([later.state, closed.state]).toEqual(["done", "done"]);
  });

  test("a backend that throws leaves the file free to be closed", async () => {
    const { handle, ...r } = rigOf({
      writeSynced: () => {
        throw closedError("write");
      },
    });
    expect(await rejection(() => handle.writev([Buffer.from("a")], 0, { flush }))).toMatchObject({ code: "EBADF" });
    const closed = watch(handle.close());
    expect(await r.asked()).toBe("close");
    r.last().end();
    await turn();
    expect(closed.state).toBe("done");
  });
});

/** The rig's parts, for taking apart. */
function rigOf(other: Partial<Backend> = {}) {
  const made = rig(other);
  return {
    handle: made.handle,
    asked: () => made.asked(),
    soFar: () => made.soFar(),
    last: () => made.last,
    calls: () => made.calls,
  };
}
