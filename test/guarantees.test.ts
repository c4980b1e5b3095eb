// docs/guarantees.md names tests for each promise and each fault; they are there, and no fault test is left unnamed.
// docs/seccomp.json is an entry of a profile in Docker's format with just the three calls.
// Assumes the wording of neither: only tables, names and paths are looked at.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const page = readFileSync(join(root, "docs/guarantees.md"), "utf8");
const rows = (heading: string): { number: number; tests: string[] }[] => {
  const part = page.slice(page.indexOf(`## ${heading}`)).split("\n## ")[0]!;
  return Array.from(part.matchAll(/^\| (\d+) \|.*\| ([^|]*) \|$/gm), ([, number, held]) => ({
    number: Number(number),
    tests: Array.from(held!.matchAll(/`(test\/[^`]+\.ts)`/g), ([, path]) => path!),
  }));
};
const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

/** Every test file of these folders, as the page would name it. */
const faultTests = ["fault", "lifetime", "durability", "native"].flatMap((folder) =>
  readdirSync(join(root, "test", folder))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `test/${folder}/${name}`),
);

describe("docs/guarantees.md", () => {
  for (const [heading, last] of [
    ["Nine promises", 9],
    ["Thirty faults", 30],
  ] as const) {
    test(`${heading}: each has its tests, which are there`, () => {
      const found = rows(heading);
      expect(found.map(({ number }) => number)).toEqual(upTo(last));
      expect(found.filter(({ tests }) => tests.length === 0)).toEqual([]);
      const missing = found.flatMap(({ tests }) => tests).filter((path) => !existsSync(join(root, path)));
      expect(missing).toEqual([]);
    });
  }

  test("every fault test is named, but for the proof of the rigs", () => {
    const unnamed = faultTests.filter((path) => !page.includes(path));
    expect(unnamed).toEqual(["test/fault/rigs.test.ts"]);
  });

  test("every fault test reads the kernel's log before and after", () => {
    // faultTest does it (helpers/requirements.ts); a plain `test` there would not.
    const plain = faultTests.filter((path) => {
      const text = readFileSync(join(root, path), "utf8");
      return !/\bfaultTest\(|kernelTrouble\(/.test(text);
    });
    expect(plain).toEqual(["test/lifetime/pool.test.ts"]); // a contract of the pool's, without a fault
  });
});

test("docs/seccomp.json allows the three calls and no more", () => {
  const entry = JSON.parse(readFileSync(join(root, "docs/seccomp.json"), "utf8"));
  expect(entry).toMatchObject({ action: "SCMP_ACT_ALLOW", args: [], includes: {}, excludes: {} });
  expect(entry.names).toEqual(["io_uring_enter", "io_uring_register", "io_uring_setup"]);
});
