// Many reads at once: 64 blocks of a file are asked for in one turn of the event loop, and go to the kernel in one call.
// Run it: bun examples/reads.ts [FILE]. Reads the file, changes nothing.

import { open, stats } from "../src/index.ts";

const path = process.argv[2] ?? process.execPath;
const BLOCK_BYTES = 4096;

await using file = await open(path);
const { size } = await file.stat();
const count = Math.min(64, Math.ceil(size / BLOCK_BYTES));
const blocks = Array.from({ length: count }, () => Buffer.alloc(BLOCK_BYTES));

const before = stats();
const reads = await Promise.all(blocks.map((block, i) => file.read(block, 0, BLOCK_BYTES, i * BLOCK_BYTES)));
const after = stats();

const bytes = reads.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
console.log(`${count} reads, ${bytes} bytes of ${path}`);
console.log(`${after.submitted - before.submitted} operations in ${after.enters - before.enters} system calls`);
