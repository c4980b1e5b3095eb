// Owns what becomes of a view of a mapped file (Bun.mmap) that was cut: EFAULT, as write(2) and read(2) say it, where the
// bytes are copied on the JavaScript thread, too. Assumes a process for each call: a wrong one dies of SIGBUS.

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ours } from "../helpers/backends.ts";
import { describeUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const INDEX = join(import.meta.dir, "../../src/index.ts");

/** Each says what it has told; `map` is cut behind its first page, `gone` a view of 100 bytes behind the cut. */
const CALLS: Record<string, [string, string]> = {
  "a small write": ["await say(handle.write(gone))", "EFAULT"],
  "a positioned write of some KiB": ["await say(handle.write(map, 16 * 4096, 8192, 0))", "EFAULT"],
  "a small write, after many from what is there": [
    "for (let i = 0; i < 40; i++) await handle.write(map, 0, 100, 0); await say(handle.write(gone))",
    "EFAULT",
  ],
  "a write that is partly there": ["await say(handle.write(map, 4000, 8192, 0))", "96"],
  "a flushed write": ["await say(handle.write(gone, { flush: true }))", "EFAULT"],
  "writes that are joined": [
    `await Promise.all([handle.write("a"), handle.write("b"), say(handle.write(gone)), say(handle.write("c"))]);
     console.log(readFileSync(path + ".out", "latin1"));`,
    "1 EFAULT abc",
  ],
  "a vector": ["await say(handle.writev([Buffer.from('x'), gone]))", "1"],
  "a vector into a pipe": ["await say(fifo.writev([gone, gone]))", "EFAULT"],
  "a read from a pipe": ["await fifo.write('text'); await say(fifo.read(gone))", "EFAULT"],
  "small chunks of a stream": [
    `const stream = handle.createWriteStream();
     stream.on("error", (error) => console.log(error.code));
     stream.cork(); for (let i = 0; i < 4; i++) stream.write(Buffer.from(gone.buffer, gone.byteOffset, 100)); stream.uncork();
     await new Promise((resolve) => stream.on("close", resolve));`,
    "EFAULT",
  ],
};

describeUnless(ours === undefined && "the oracle alone", "a mapping that was cut", () => {
  for (const [name, [call, told]] of Object.entries(CALLS))
    test(name, async () => {
      const dir = tmp.folder();
      writeFileSync(
        join(dir, "main.ts"),
        `import { readFileSync, truncateSync, writeFileSync } from "node:fs";
         const U = await import(${JSON.stringify(INDEX)});
         const path = ${JSON.stringify(join(dir, "mapped"))};
         writeFileSync(path, Buffer.alloc(64 * 4096, "m"));
         const map = Bun.mmap(path, { shared: true });
         const gone = map.subarray(8 * 4096 + 17, 8 * 4096 + 117);
         const handle = await U.open(path + ".out", "w");
         Bun.spawnSync(["mkfifo", path + ".fifo"]);
         const fifo = await U.open(path + ".fifo", "r+");
         truncateSync(path, 4096);
         const say = (promise) => promise.then((done) => console.log(done.bytesWritten ?? done.bytesRead), (error) => console.log(error.code));
         ${call};
         process.exit(0);`,
      );
      const child = Bun.spawn([process.execPath, join(dir, "main.ts")], { env: process.env, stderr: "inherit" });
      const said = (await new Response(child.stdout).text()).trim().split(/\s+/).sort().join(" ");
      await child.exited;
      expect([child.signalCode, said]).toEqual([null, told]);
    });
});
