// Owns the programs whose system calls the tests of chains and batches count.
// Assumes that strace looks on between mark("begin") and mark("end"). Everything is warm before that.

import { Ring, readMany } from "../../src/index.ts";
import { mark, runCases } from "../helpers/cases.ts";

await runCases({
  async chain({ path }: { path: string }) {
    const ring = Ring.current();
    const read = (): Promise<number[]> => ring.chain().openDirect(path).read(Buffer.alloc(5000)).close().submit();
    await read();
    mark("begin");
    const results = await read();
    mark("end");
    return results;
  },

  async readMany({ folder, count }: { folder: string; count: number }) {
    const paths = Array.from({ length: count }, (_, i) => `${folder}/${i}`);
    const look = (): Promise<PromiseSettledResult<string>[]> =>
      readMany(paths, { concurrency: 64, encoding: "latin1" });
    await look();
    mark("begin");
    const results = await look();
    mark("end");
    return results.filter((one, i) => one.status === "fulfilled" && one.value === `file ${i} `.repeat((i % 50) + 1))
      .length;
  },
});
