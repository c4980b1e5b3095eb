// Owns the cases of handles.test.ts: closing, reusing and losing file handles while the kernel works on them.
// Assumes only public names; the parent makes the FIFO and the files.
// Never closes a descriptor behind a handle's back.

import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import * as fs from "../../src/index.ts";
import { outcome, runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";

/** Whether a promise has settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  return (await Promise.race([promise, Bun.sleep(30).then(() => pending)])) !== pending;
}

await runCases({
  /** close() while a read waits, then many opens: the read's descriptor number must not be given away. */
  async closeParked({ fifo, dir }: { fifo: string; dir: string }) {
    const handle = await fs.open(fifo, "r+");
    const feeder = openSync(fifo, "r+");
    const fd = handle.fd;
    const read = handle.read(Buffer.alloc(8), 0, 8, null);
    await Bun.sleep(20);
    const closed = handle.close();
    const fdAfterClose = handle.fd;
    const others = [];
    for (let i = 0; i < 100; i++) {
      writeFileSync(`${dir}/other${i}`, `foreign${i % 10}`);
      others.push(await fs.open(`${dir}/other${i}`, "r"));
    }
    const closedEarly = await isSettled(closed);
    const reused = others.some((other) => other.fd === fd);
    const late = await outcome(handle.read(Buffer.alloc(8), 0, 8, null));
    writeSync(feeder, "our own!");
    const { bytesRead, buffer } = await read;
    await closed;
    const stillOpen = [...openFds().values()].filter((target) => target === fifo).length;
    for (const other of others) await other.close();
    closeSync(feeder);
    return { closedEarly, reused, bytesRead, own: buffer.toString(), fdAfterClose, late, stillOpen };
  },

  /** Reads given but not awaited, close() in the same turn, then 100 opens of other files. */
  async closeSameTurn({ dir, rounds }: { dir: string; rounds: number }) {
    const size = 4096;
    for (let i = 0; i < 101; i++) writeFileSync(`${dir}/same${i}`, Buffer.alloc(size * 16, i));
    let wrong = 0;
    for (let round = 0; round < rounds; round++) {
      const handle = await fs.open(`${dir}/same100`, "r");
      const reads = Array.from({ length: 16 }, (_, i) => handle.read(Buffer.alloc(size), 0, size, i * size));
      const closed = handle.close();
      const others = await Promise.all(Array.from({ length: 100 }, (_, i) => fs.open(`${dir}/same${i}`, "r")));
      for (const { bytesRead, buffer } of await Promise.all(reads)) {
        if (bytesRead !== size || !buffer.every((byte) => byte === 100)) wrong++;
      }
      await closed;
      await Promise.all(others.map((other) => other.close()));
    }
    return { wrong };
  },

  /** The same with writes: none may land in another file, and each that was accepted is there. */
  async closeWithWrites({ dir, rounds }: { dir: string; rounds: number }) {
    let wrong = 0;
    for (let round = 0; round < rounds; round++) {
      const handle = await fs.open(`${dir}/written`, "w");
      const writes = Array.from({ length: 16 }, (_, i) => handle.write(Buffer.alloc(4096, i + 1), 0, 4096, i * 4096));
      const closed = handle.close();
      const others = await Promise.all(Array.from({ length: 50 }, (_, i) => fs.open(`${dir}/empty${i}`, "w+")));
      await Promise.all(writes);
      await closed;
      const content = await fs.readFile(`${dir}/written`);
      if (content.length !== 16 * 4096 || content.some((byte, i) => byte !== (i >> 12) + 1)) wrong++;
      for (const other of others) {
        if ((await other.stat()).size !== 0) wrong++;
        await other.close();
      }
    }
    return { wrong };
  },

  async afterClose(path: string) {
    const handle = await fs.open(path, "r+");
    const { fd } = handle;
    const [first, second] = [handle.close(), handle.close()];
    await Promise.all([first, second]);
    const third = await outcome(handle.close());
    writeFileSync(`${path}-other`, "another file's");
    // One of these takes the freed number, whoever else opens something at this moment.
    const takeovers = Array.from({ length: 10 }, () => openSync(`${path}-other`, "r+"));
    const calls = {
      read: await outcome(handle.read(Buffer.alloc(1))),
      write: await outcome(handle.write("x")),
      readv: await outcome(handle.readv([Buffer.alloc(1)])),
      writev: await outcome(handle.writev([Buffer.alloc(1)])),
      readFile: await outcome(handle.readFile()),
      writeFile: await outcome(handle.writeFile("x")),
      stat: await outcome(handle.stat()),
      sync: await outcome(handle.sync()),
      datasync: await outcome(handle.datasync()),
      truncate: await outcome(handle.truncate()),
      close: await outcome(handle.close()),
    };
    const survivors = takeovers.filter((other) => openFds().get(other) === `${path}-other`).length;
    for (const other of takeovers) closeSync(other);
    return { fdAfter: handle.fd, sameNumber: takeovers.includes(fd), third, calls, survivors };
  },

  /** Handles that nobody closes: the collector's, with a word of warning. */
  async dropped(path: string) {
    const warnings: string[] = [];
    process.on("warning", (warning) => warnings.push(warning.message));
    const before = openFds().size;
    await (async () => {
      for (let i = 0; i < 50; i++) {
        const handle = await fs.open(path, "r");
        await handle.read(Buffer.alloc(1), 0, 1, 0);
      }
    })();
    const held = openFds().size - before;
    for (let i = 0; i < 50 && openFds().size > before + 2; i++) {
      Bun.gc(true);
      await Bun.sleep(10);
    }
    // What a dropped handle held must be closed once: these are other files' descriptors now.
    const fresh = await Promise.all(Array.from({ length: 50 }, () => fs.open(path, "r")));
    for (let i = 0; i < 10; i++) {
      Bun.gc(true);
      await Bun.sleep(10);
    }
    const alive = await Promise.all(fresh.map((handle) => outcome(handle.read(Buffer.alloc(1), 0, 1, 0))));
    await Promise.all(fresh.map((handle) => handle.close()));
    return { held, left: openFds().size - before, warnings: warnings.length, warning: warnings[0] ?? "", alive };
  },

  /** A call of several steps is under way on a handle nobody refers to. */
  async droppedInSteps(path: string) {
    const bytes = Buffer.alloc(8 << 20, "step");
    writeFileSync(path, bytes);
    const calls: Record<string, (handle: fs.FileHandle) => Promise<unknown>> = {
      readFile: async (handle) => void ((await handle.readFile()).equals(bytes) || Promise.reject(new Error("wrong"))),
      writeFile: (handle) => handle.writeFile(bytes),
      appendFile: (handle) => handle.appendFile(bytes),
      stat: (handle) => handle.stat(),
      writev: (handle) => handle.writev([bytes, bytes]),
      close: (handle) => handle.close(),
    };
    const failed: string[] = [];
    for (const [name, call] of Object.entries(calls)) {
      for (let round = 0; round < 5; round++) {
        const pending = fs
          .open(`${path}${name === "readFile" ? "" : name}`, name === "readFile" ? "r" : "w+")
          .then(call);
        let over = false;
        const settled = outcome(pending).then((what) => {
          over = true;
          if (what !== "value") failed.push(`${name}: ${what.message}`);
        });
        while (!over) {
          Bun.gc(true);
          await Bun.sleep(0);
        }
        await settled;
      }
    }
    return failed;
  },

  /** The same for a whole file that comes in parts, with long waits between them. */
  async droppedReadingFile(fifo: string) {
    const feeder = openSync(fifo, "r+");
    const reading = fs.open(fifo, "r").then((handle) => handle.readFile());
    for (let i = 0; i < 10; i++) {
      writeSync(feeder, "part ");
      for (let k = 0; k < 5; k++) {
        Bun.gc(true);
        await Bun.sleep(2);
      }
    }
    closeSync(feeder);
    return (await reading).toString();
  },

  /** A handle nobody refers to, with a read under way: the read still gets its bytes. */
  async droppedWhileReading(fifo: string) {
    const feeder = openSync(fifo, "r+");
    const reads = await (async () => {
      const list = [];
      for (let i = 0; i < 20; i++) list.push((await fs.open(fifo, "r+")).read(Buffer.alloc(1), 0, 1, null));
      return list;
    })();
    for (let i = 0; i < 20; i++) {
      Bun.gc(true);
      await Bun.sleep(5);
    }
    writeSync(feeder, "x".repeat(20));
    const results = await Promise.all(reads);
    closeSync(feeder);
    return results.filter(({ bytesRead, buffer }) => bytesRead === 1 && buffer[0] === 0x78).length;
  },
});
