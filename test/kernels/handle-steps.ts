// The steps of the tour for file handles.

import { readFileSync } from "node:fs";
import { at, codeOf, equal, executable, fs, gathered, group, script, user, withFile, withXattr } from "./steps.ts";

export const handleSteps: Record<string, () => unknown> = {
  FileHandle: () => withFile("handle", "r", async (handle) => equal(handle instanceof fs.FileHandle, true)),
  "FileHandle.read": async () => {
    await withFile("handle", "r", async (handle) => {
      equal((await handle.read(Buffer.alloc(9), 0, 9, 1)).bytesRead, 4);
      equal((await handle.read(Buffer.alloc(5))).bytesRead, 5);
    });
    // One that waits, and one that is given up.
    Bun.spawnSync(["mkfifo", at("fifo")]);
    const fifo = await fs.open(at("fifo"), "r+");
    const read = fifo.read(Buffer.alloc(4), 0, 4);
    await Bun.sleep(20);
    await fifo.write("abcd");
    equal((await read).bytesRead, 4);
    const stop = new AbortController();
    const whole = codeOf(fs.readFile(at("fifo"), { signal: stop.signal }));
    await Bun.sleep(20);
    stop.abort();
    equal(await whole, "ABORT_ERR");
    await fifo.close();
  },
  "FileHandle.lock": () =>
    withFile("handle", "r+", async (handle) => {
      await using lock = await handle.lock({ wait: false });
      equal(lock.exclusive, true);
    }),
  "FileHandle.readv": () =>
    withFile("handle", "r", async (handle) =>
      equal((await handle.readv([Buffer.alloc(2), Buffer.alloc(9)], 0)).bytesRead, 5),
    ),
  "FileHandle.readBatch": () =>
    withFile("handle", "r", async (handle) => {
      const into = Buffer.alloc(4);
      await handle.readBatch({ offsets: [3, 0], lengths: [2, 2], into });
      equal(into.toString(), "lohe");
    }),
  "FileHandle.write": async () => {
    await withFile("handle", "r+", async (handle) => {
      await handle.write("J", 0);
      await handle.write(Buffer.from("y"), 0, 1, 4);
      equal(readFileSync(at("handle"), "utf8"), "Jelly");
    });
    const handle = await fs.open(at("script-2"), "w", 0o755);
    await handle.write(script);
    await handle.close();
    executable(at("script-2"));
  },
  "FileHandle.writev": () =>
    withFile("handle", "r+", async (handle) => {
      await handle.writev([Buffer.from("ab"), Buffer.from("cd")], 1);
      equal(readFileSync(at("handle"), "utf8"), "habcd");
    }),
  "FileHandle.readFile": () => withFile("handle", "r", async (handle) => equal(await handle.readFile("utf8"), "hello")),
  "FileHandle.writeFile": () =>
    withFile("handle", "w", async (handle) => {
      await handle.writeFile("other");
      equal(readFileSync(at("handle"), "utf8"), "other");
    }),
  "FileHandle.appendFile": () =>
    withFile("handle", "a", async (handle) => {
      await handle.appendFile("!");
      equal(readFileSync(at("handle"), "utf8"), "hello!");
    }),
  "FileHandle.stat": () => withFile("handle", "r", async (handle) => equal((await handle.stat()).size, 5)),
  "FileHandle.truncate": () =>
    withFile("handle", "r+", async (handle) => {
      await handle.truncate(3);
      equal((await handle.stat()).size, 3);
    }),
  "FileHandle.sync": () => withFile("handle", "r+", (handle) => handle.sync()),
  "FileHandle.datasync": () => withFile("handle", "r+", (handle) => handle.datasync()),
  "FileHandle.chmod": () => withFile("handle", "r+", (handle) => handle.chmod(0o600)),
  "FileHandle.chown": () => withFile("handle", "r+", (handle) => handle.chown(user, group)),
  "FileHandle.utimes": () => withFile("handle", "r+", (handle) => handle.utimes(1, 2)),
  "FileHandle.allocate": () =>
    withFile("handle", "r+", async (handle) => {
      await handle.allocate(0, 8192);
      equal((await handle.stat()).size, 8192);
    }),
  "FileHandle.advise": () => withFile("handle", "r", (handle) => handle.advise(0, 0, "sequential")),
  "FileHandle.syncRange": () => withFile("handle", "r+", (handle) => handle.syncRange(0, 5)),
  "FileHandle.setxattr": () =>
    withXattr(() => withFile("handle", "r+", (handle) => handle.setxattr("user.tour", Buffer.from("v")))),
  "FileHandle.getxattr": () =>
    withXattr(() =>
      withFile("handle", "r+", async (handle) => equal((await handle.getxattr("user.tour")).toString(), "v")),
    ),
  "FileHandle.listxattr": () =>
    withXattr(() =>
      withFile("handle", "r+", async (handle) => equal((await handle.listxattr()).includes("user.tour"), true)),
    ),
  "FileHandle.removexattr": () =>
    withXattr(() => withFile("handle", "r+", (handle) => handle.removexattr("user.tour"))),
  "FileHandle.createReadStream": async () => {
    const handle = await fs.open(at("large"));
    equal(Buffer.concat(await gathered(handle.createReadStream())).length, 4 << 20);
  },
  "FileHandle.createWriteStream": async () => {
    const stream = (await fs.open(at("streamed"), "w", 0o755)).createWriteStream();
    const closed = new Promise((resolve) => stream.once("close", resolve));
    stream.end(script);
    await closed;
    executable(at("streamed"));
  },
  "FileHandle.readableWebStream": () =>
    withFile("handle", "r", async (handle) => {
      equal(await new Response(handle.readableWebStream() as ReadableStream).text(), "hello");
    }),
  "FileHandle.readLines": async () => {
    const handle = await fs.open(at("script"));
    equal((await gathered(handle.readLines())).length, 3);
  },
  "FileHandle.close": async () => {
    const handle = await fs.open(at("a"));
    await handle.close();
    equal(await codeOf(handle.stat()), "EBADF");
  },
};
