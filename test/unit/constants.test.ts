// The numbers, compared with the C headers of this machine where there is a C compiler, and with node:fs.

import { expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import * as ours from "../../src/kernel/constants.ts";
import { testUnless } from "../helpers/skip.ts";
import { tmpDir } from "../helpers/tmp.ts";

const dir = tmpDir();
const { constants, ...numbers } = ours;

test("constants is node:fs' own object", () => {
  expect(constants).toBe(fs.constants);
});

test("the values are those of the kernel's interface", () => {
  expect(numbers.AT_FDCWD).toBe(-100);
  expect([numbers.AT_SYMLINK_NOFOLLOW, numbers.AT_REMOVEDIR, numbers.AT_EMPTY_PATH]).toEqual([0x100, 0x200, 0x1000]);
  expect([numbers.RENAME_NOREPLACE, numbers.RENAME_EXCHANGE]).toEqual([1, 2]);
  expect([numbers.STATX_BASIC_STATS, numbers.STATX_BTIME, numbers.STATX_BYTES]).toEqual([0x7ff, 0x800, 256]);
  expect([numbers.RESOLVE_BENEATH, numbers.RESOLVE_CACHED]).toEqual([8, 32]);
  expect([numbers.O_CLOEXEC, numbers.O_PATH]).toEqual([0x80000, 0x200000]);
  expect(numbers.O_TMPFILE & fs.constants.O_DIRECTORY).toBe(fs.constants.O_DIRECTORY);
});

const compiler = Bun.which("cc") ?? Bun.which("gcc");
testUnless(compiler === null && "no compiler", "every one equals its C definition", () => {
  // Headers older than the constant do not define it; the test says how many it could compare.
  const lines = Object.keys(numbers).map((name) => {
    if (name === "STATX_BYTES") return `printf("${name} %lld\\n", (long long)sizeof(struct statx));`;
    return `#ifdef ${name}\nprintf("${name} %lld\\n", (long long)${name});\n#endif`;
  });
  const includes = [
    "linux/fcntl.h",
    "linux/fs.h",
    "linux/falloc.h",
    "linux/stat.h",
    "linux/openat2.h",
    "linux/fadvise.h",
  ];
  const source = join(dir, "constants.c");
  const program = `#include <stdio.h>\n${includes.map((file) => `#include <${file}>`).join("\n")}\nint main(void) {\n${lines.join("\n")}\nreturn 0;\n}\n`;
  fs.writeFileSync(source, program);
  const built = Bun.spawnSync([compiler!, "-o", join(dir, "constants"), source]);
  expect(built.stderr.toString()).toBe("");
  const found = Bun.spawnSync([join(dir, "constants")])
    .stdout.toString()
    .trim()
    .split("\n");
  expect(found.length).toBeGreaterThan(20);
  for (const line of found) {
    const [name, value] = line.split(" ");
    expect([name, numbers[name as keyof typeof numbers]]).toEqual([name, Number(value)]);
  }
});
