// Owns the case of capabilities.test.ts that needs limits of its own.
// Assumes that the parent has set RLIMIT_NOFILE.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFile, writeFile } from "../../src/promises.ts";
import { existingThread } from "../../src/ring/context.ts";
import { runCases } from "../helpers/cases.ts";

await runCases({
  async fewDescriptors() {
    const dir = mkdtempSync(join(process.env["BUN_URING_TEST_DIR"] ?? tmpdir(), "bun-uring-test-"));
    const path = join(dir, "file");
    writeFileSync(path, Buffer.alloc(10, 1));
    // Many at once: the first goes by plain calls, the others through the table, most of them waiting for a slot.
    const all = await Promise.all(Array.from({ length: 300 }, () => readFile(path)));
    await writeFile(path, "12345");
    const written = readFileSync(path).length;
    rmSync(dir, { recursive: true });
    return { direct: existingThread()?.direct.size, read: Buffer.concat(all).length, written };
  },
});
