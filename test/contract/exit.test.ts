// Owns what becomes of what was asked for in the turn of process.exit(): it is done, in the process and in a Worker, and
// an operation that may wait for ever does not keep the process. Assumes processes of its own, one each.
// Never asks Bun's own API, which promises less.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ours } from "../helpers/backends.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const INDEX = join(import.meta.dir, "../../src/index.ts");

/** Runs a program whose last act is process.exit(7). `dir` is its folder; `handle` appends to its file "log". */
async function ends(body: string, inWorker: boolean): Promise<string> {
  const dir = tmp.folder();
  writeFileSync(join(dir, "log"), "");
  writeFileSync(join(dir, "lock"), "");
  const program = `
    import { isMainThread } from "node:worker_threads";
    const main = async () => {
      const U = await import(${JSON.stringify(INDEX)});
      const dir = ${JSON.stringify(dir)};
      const handle = await U.open(dir + "/log", "a");
      await handle.write("first\\n");
      ${body}
      process.exit(7);
    };
    if (${inWorker} && isMainThread) {
      const worker = new Worker(import.meta.path);
      await new Promise((resolve) => worker.addEventListener("close", resolve));
      process.exit(7);
    } else await main();
  `;
  writeFileSync(join(dir, "main.ts"), program);
  const child = Bun.spawn([process.execPath, join(dir, "main.ts")], { env: process.env, stderr: "inherit" });
  expect(await child.exited).toBe(7);
  return dir;
}

const log = (dir: string): string[] => readFileSync(join(dir, "log"), "utf8").split("\n").filter(Boolean);

describe.skipIf(ours === undefined).each([false, true])("process.exit() in a Worker: %p", (inWorker) => {
  test("a write", async () => {
    expect(log(await ends(`void handle.write("last\\n");`, inWorker))).toEqual(["first", "last"]);
  });

  test("writes that wait for their turn, in order", async () => {
    const writes = `for (const line of ["a\\n", "b\\n", "c\\n"]) void handle.write(line); void handle.writeFile("d\\n");`;
    expect(log(await ends(writes, inWorker))).toEqual(["first", "a", "b", "c", "d"]);
  });

  test("a stream's writes, also those that it holds", async () => {
    const writes = `const stream = handle.createWriteStream(); for (const line of ["a\\n", "b\\n", "c\\n"]) stream.write(line);`;
    expect(log(await ends(writes, inWorker))).toEqual(["first", "a", "b", "c"]);
  });

  test("unlink, mkdir and writeFile", async () => {
    const dir = await ends(
      `void U.unlink(dir + "/lock"); void U.mkdir(dir + "/made"); void U.writeFile(dir + "/new", "content");`,
      inWorker,
    );
    expect([existsSync(join(dir, "lock")), existsSync(join(dir, "made"))]).toEqual([false, true]);
    if (process.env.BUN_URING_BACKEND !== "node") expect(readFileSync(join(dir, "new"), "utf8")).toBe("content");
  });

  test("what a listener of 'exit' asks for", async () => {
    const body = `process.on("exit", () => void handle.write("from the listener\\n")); await 0;`;
    expect(log(await ends(body, inWorker))).toEqual(["first", "from the listener"]);
  });

  // Bun waits for its own thread pool where a Worker ends.
  const waitsForPool = inWorker && process.env.BUN_URING_BACKEND === "node";
  test.skipIf(waitsForPool)("a read that waits for ever does not hold it up", async () => {
    const body = `
      Bun.spawnSync(["mkfifo", dir + "/fifo"]);
      const fifo = await U.open(dir + "/fifo", "r+");
      void fifo.read(Buffer.alloc(1)).catch(() => {});
      await Bun.sleep(10);
    `;
    expect(log(await ends(body, inWorker))).toEqual(["first"]);
  });
});
