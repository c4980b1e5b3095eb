// Reads 1,000 small cached files, 64 at a time, and writes 200, where the kernel closes direct descriptors late; prints how many
// SQEs either took, and how many files had their content. Assumes BUN_URING_KERNEL, and the simulating library in BUN_URING_LIB.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFile, stats, writeFile } from "../../src/index.ts";

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
const { submitted } = stats();
await Promise.all(Array.from({ length: 200 }, (_, i) => writeFile(join(folder, `new ${i}`), `new ${i}`)));
for (let i = 0; i < 200; i++) if (readFileSync(join(folder, `new ${i}`), "utf8") === `new ${i}`) right++;
console.log(JSON.stringify({ right, submitted, forWriting: stats().submitted - submitted }));
rmSync(folder, { recursive: true });
