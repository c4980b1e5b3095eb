// Owns the programs in docs/ring.md: each TypeScript block is run as it stands, and what it prints is the block after it.
// Assumes io_uring. Each runs in an empty folder of its own, in a process of its own; "bun-uring" is this tree.

import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { backend } from "../src/index.ts";
import { OPCODE_SINCE, type OpcodeName } from "../src/kernel/sqe.ts";
import { SHAPES } from "../src/raw/sqe-fields.ts";
import { describeUnless } from "./helpers/skip.ts";
import { tmpDir } from "./helpers/tmp.ts";

const page = readFileSync(new URL("../docs/ring.md", import.meta.url), "utf8");
const index = new URL("../src/index.ts", import.meta.url).pathname;
const programs = Array.from(page.matchAll(/^```ts\n([\s\S]*?)^```\n\n^```text\n([\s\S]*?)^```$/gm), (match) => ({
  line: page.slice(0, match.index).split("\n").length,
  source: match[1]!,
  output: match[2]!,
}));

describeUnless(backend !== "io_uring" && "no ring", "docs/ring.md", () => {
  const dir = tmpDir();

  for (const { line, source, output } of programs)
    test.concurrent(`the program at line ${line}`, async () => {
      const folder = join(dir, `line-${line}`);
      mkdirSync(folder);
      writeFileSync(join(folder, "program.ts"), source.replaceAll('"bun-uring"', JSON.stringify(index)));
      const child = Bun.spawn([process.execPath, "program.ts"], { cwd: folder, stdout: "pipe", stderr: "pipe" });
      const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      expect({ errors, out, exitCode: await child.exited }).toEqual({ errors: "", out: output, exitCode: 0 });
    });

  test("every TypeScript block is such a program", () => {
    expect(programs.length).toBeGreaterThan(8);
    expect(page.match(/^```ts$/gm)?.length).toBe(programs.length);
  });
});

test("docs/ring.md lists every opcode with its kernel and its fields", () => {
  const rows = Array.from(page.matchAll(/^\| ([A-Z_\d]+) \| ([\d.]+) \| (.*) \|$/gm), ([, ...cells]) => cells);
  const wanted = (Object.keys(SHAPES) as OpcodeName[]).map((name) => [
    name,
    OPCODE_SINCE[name],
    SHAPES[name].takes || "none",
  ]);
  expect(rows).toEqual(wanted);
});
