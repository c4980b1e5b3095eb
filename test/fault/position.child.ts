// Owns the cases of position.test.ts: reading and writing at the file's own position, where the kernel may not keep it.
// Assumes the parent's file. Never gives a position.

import { constants, readFileSync } from "node:fs";
import * as fs from "../../src/index.ts";
import { outcome, runCases } from "../helpers/cases.ts";

const BLOCK = 65536;

/** Page-aligned memory, as O_DIRECT asks for. */
const aligned = (): Uint8Array => new Uint8Array(new WebAssembly.Memory({ initial: 1, maximum: 1 }).buffer);

await runCases({
  /** Five blocks, each filled with its number: read one after the other, then written, then read as a whole. */
  async walk({ path, direct }: { path: string; direct: boolean }) {
    const expected = Buffer.concat(Array.from({ length: 5 }, (_, i) => Buffer.alloc(BLOCK, i + 1)));
    await fs.writeFile(path, expected);
    const extra = direct ? constants.O_DIRECT : 0;
    const reader = await fs.open(path, constants.O_RDONLY | extra);
    const seen: number[] = [];
    const buffer = aligned();
    for (let i = 0; i < 6; i++) {
      const { bytesRead } = await reader.read(buffer, 0, BLOCK, null);
      seen.push(bytesRead === 0 ? 0 : buffer[0]!);
    }
    await reader.close();
    const writer = await fs.open(path, constants.O_WRONLY | extra);
    for (let i = 0; i < 5; i++) await writer.write(aligned().fill(i + 101), 0, BLOCK, null);
    await writer.close();
    const written = readFileSync(path);
    const right = written.length === 5 * BLOCK && written.every((byte, i) => byte === 101 + Math.floor(i / BLOCK));
    const whole = await fs.open(path, "r");
    const length = (await whole.readFile()).length;
    await whole.close();
    return { seen, right, length };
  },

  /** A write that finds no room after its first part: the next one goes on from there, or says so. */
  async afterShort(path: string) {
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
    const handle = await fs.open(path, "w");
    const first = (await handle.write(bytes, 0, bytes.length, null)).bytesWritten;
    const refusal = await outcome(handle.write(bytes, first, bytes.length - first, null));
    await handle.close();
    return { first, refusal, content: readFileSync(path).equals(bytes.subarray(0, first)) };
  },
});
