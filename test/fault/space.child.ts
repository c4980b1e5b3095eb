// Owns the space cases of exhaustion.test.ts: writing where there is no room.
// Assumes nothing of the backend. Never loops on a write that reports 0 bytes: that itself is a failure.

import { appendFileSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import * as fs from "../../src/index.ts";
import { outcome, runCases } from "../helpers/cases.ts";

const MIB = 1 << 20;

/** Writes until a write rejects: the counts, and the error. */
async function writeUntilRefused(
  handle: fs.FileHandle,
  bytes: Buffer,
): Promise<{ counts: number[]; refusal: unknown }> {
  const counts: number[] = [];
  let at = 0;
  for (;;) {
    let written = 0;
    const refusal = await outcome(
      handle.write(bytes, at, bytes.length - at, at).then(({ bytesWritten }) => {
        written = bytesWritten;
      }),
    );
    if (refusal !== "value") return { counts, refusal };
    if (written === 0 || counts.length > 100) throw new Error(`write reported ${written} bytes`);
    counts.push(written);
    at += written;
  }
}

await runCases({
  async fill(dir: string) {
    const bytes = Buffer.alloc(2 * MIB, "abcdefg");
    const handle = await fs.open(`${dir}/file`, "w");
    const { counts, refusal } = await writeUntilRefused(handle, bytes);
    const content = readFileSync(`${dir}/file`).equals(bytes.subarray(0, MIB));
    const handleWriteFile = await outcome(handle.writeFile(bytes));
    await handle.close();
    const result = {
      first: counts[0],
      total: counts.reduce((sum, count) => sum + count, 0),
      last: refusal,
      content,
      handleWriteFile,
      writeFile: await outcome(fs.writeFile(`${dir}/second`, bytes)),
      appendFile: await outcome(fs.appendFile(`${dir}/file`, "x")),
    };
    rmSync(`${dir}/file`);
    return { ...result, afterRoomMade: await outcome(fs.writeFile(`${dir}/third`, "fits")) };
  },

  copy: ([from, to]: [string, string]) => outcome(fs.copyFile(from, to)),

  /** Writing over a file what does not fit: a hole of `old` bytes, data behind it. How much of that is left? */
  async over({ dir, lengths }: { dir: string; lengths: [old: number, data: number][] }) {
    const results: unknown[] = [];
    for (const [old, length] of lengths) {
      const path = `${dir}/over`;
      writeFileSync(path, "");
      truncateSync(path, old);
      appendFileSync(path, "old bytes");
      const refusal = await outcome(fs.writeFile(path, Buffer.alloc(length, "n")));
      const left = readFileSync(path);
      results.push({ refusal, foreign: left.length - left.filter((byte) => byte === 0x6e).length });
      rmSync(path);
    }
    return results;
  },

  async devFull() {
    const handle = await fs.open("/dev/full", "w");
    const write = await outcome(handle.write("x"));
    await handle.close();
    return { write, writeFile: await outcome(fs.writeFile("/dev/full", Buffer.alloc(100_000))) };
  },

  async fileLimit(path: string) {
    const handle = await fs.open(path, "w");
    const { counts, refusal } = await writeUntilRefused(handle, Buffer.alloc(200_000, 1));
    await handle.close();
    const writeFile = await outcome(fs.writeFile(path, Buffer.alloc(200_000, 2)));
    return { first: counts[0], refusal, size: statSync(path).size, writeFile };
  },
});
