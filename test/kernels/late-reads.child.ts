// Reads 1,000 small cached files, 64 at a time, where the kernel closes direct descriptors late; prints how many SQEs that took,
// and whether all had their content. Assumes BUN_URING_KERNEL, and the simulating library in BUN_URING_LIB.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFile, stats } from "../../src/index.ts";

const FILES = 1000;
const folder = mkdtempSync(join(tmpdir(), "bun-uring-late-"));
for (let i = 0; i < FILES; i++) writeFileSync(join(folder, String(i)), `file ${i}`);
let next = 0;
let right = 0;
const reader = async (): Promise<void> => {
  while (next < FILES) {
    const i = next++;
    if ((await readFile(join(folder, String(i)), "utf8")) === `file ${i}`) right++;
  }
};
await Promise.all(Array.from({ length: 64 }, reader));
console.log(JSON.stringify({ right, submitted: stats().submitted }));
rmSync(folder, { recursive: true });
