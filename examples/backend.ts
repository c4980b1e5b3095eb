// Which backend this machine gives, and why. The program is the same on both.
// Run it: bun examples/backend.ts, or BUN_URING_BACKEND=node bun examples/backend.ts

import { backend, capabilities, readFile } from "../src/index.ts";

const { reason, kernel, limits } = capabilities();
console.log(`${kernel}: ${backend}`);
if (reason !== null) console.log(`${reason.message} (${reason.code}). ${reason.remedy}`);
else console.log(`up to ${limits.cqEntries} operations in the kernel at the same time`);

const text = await readFile(import.meta.path, "utf8");
console.log(`this file has ${text.split("\n").length} lines`);
