// Two loads of the package in one process, as `bun --hot` makes them: they have one ring, and neither takes what the other has of
// it: fixed buffers, direct descriptors. Assumes a process of its own, which loads its program again when that is touched.

import { expect } from "bun:test";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readLines } from "../helpers/lines.ts";
import { faultTest } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const SIZE = 4096;

/** Each load has a pool, and chains that together want more direct descriptors than a program may have; "go" has both at once. */
const program = (data: string): string => `
  import { BufferPool, capabilities, open, Ring, readFile } from ${JSON.stringify(join(import.meta.dir, "../../src/index.ts"))};
  const loads = (globalThis.loads ??= []);
  const pool = new BufferPool({ size: ${SIZE}, count: 4 });
  const handle = await open(${JSON.stringify(data)});
  const files = Math.floor(capabilities().limits.directDescriptors * 0.4);
  loads.push({
    async read() {
      using lease = await pool.acquire();
      lease.bytes.fill(0);
      const { bytesRead } = await handle.read(lease.bytes, 0, ${SIZE}, 0);
      return bytesRead === ${SIZE} && lease.bytes.every((byte) => byte === 7);
    },
    async chain() {
      let chain = Ring.current().chain();
      for (let i = 0; i < files; i++) chain = chain.openDirect(${JSON.stringify(data)}).close();
      return (await chain.submit()).length === 2 * files;
    },
    readFile: async () => (await readFile(${JSON.stringify(data)})).length === ${SIZE},
  });
  if (loads.length === 1) console.log("first load");
  else {
    const works = loads.flatMap((load) => [load.chain, load.read, load.readFile, load.read, load.chain]);
    console.log(JSON.stringify(await Promise.all(works.map((work) => work().catch((error) => error.message)))));
  }
  setInterval(() => {}, 1000);
`;

faultTest("two loads under --hot share a ring, and nothing that is one's own", { needs: ["ioUring"] }, async () => {
  const path = tmp.path("app.ts");
  writeFileSync(path, program(tmp.file(Buffer.alloc(SIZE, 7))));
  const env = { ...process.env, BUN_URING_BACKEND: "uring" };
  const child = Bun.spawn([process.execPath, "--hot", "--no-clear-screen", path], {
    env,
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    const lines = readLines(child.stdout);
    expect(await lines.next()).toBe("first load");
    appendFileSync(path, "\n// touched\n");
    expect(JSON.parse((await lines.next()) ?? "null")).toEqual(Array.from({ length: 10 }, () => true));
  } finally {
    child.kill(9);
    await child.exited;
  }
});
