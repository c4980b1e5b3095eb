// Finding and checking the shim: whatever lies in its place, loading gives a value that says what is wrong and what to do.
// Assumes gcc for the libraries that are not it. Never loads them in a ring's stead.

import { afterEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ABI, LAYOUT } from "../../src/kernel/abi.ts";
import { loadNative } from "../../src/kernel/shim.ts";
import { run } from "../helpers/mounts.ts";
import { missing } from "../helpers/requirements.ts";
import { testUnless } from "../helpers/skip.ts";
import { tmpDir } from "../helpers/tmp.ts";

const dir = tmpDir();
const chosen = process.env["BUN_URING_LIB"];
let names = 0;

afterEach(() => {
  if (chosen === undefined) delete process.env["BUN_URING_LIB"];
  else process.env["BUN_URING_LIB"] = chosen;
});

function load(path: string): ReturnType<typeof loadNative> {
  process.env["BUN_URING_LIB"] = path;
  return loadNative();
}

const noCompiler = missing(["gcc"]);

function compile(source: string): string {
  const c = join(dir, `fake-${names++}.c`);
  writeFileSync(c, source);
  run("gcc", "-shared", "-fPIC", "-o", `${c}.so`, c);
  return `${c}.so`;
}

/** A library with the shim's names, which reports this ABI and these sizes. */
function fake(abi: number, sizes: readonly number[]): string {
  const symbols = [...nativeSource.matchAll(/^ {2}(\w+): \{ args: /gm)].map(([, name]) => {
    return `bun_uring_${name!.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;
  });
  const others = symbols.filter((name) => name !== "bun_uring_abi" && name !== "bun_uring_layout");
  return compile(`
    int bun_uring_abi(void) { return ${abi}; }
    int bun_uring_layout(unsigned *out, unsigned capacity) {
      const unsigned sizes[] = {${sizes.join(",")}};
      for (unsigned i = 0; i < ${sizes.length} && i < capacity; i++) out[i] = sizes[i];
      return ${sizes.length};
    }
    ${others.map((name) => `int ${name}(void) { return -38; }`).join("\n")}
  `);
}

const nativeSource = await Bun.file(join(import.meta.dir, "../../src/kernel/shim.ts")).text();
const sizes = LAYOUT.map(([, value]) => value);

test("the built shim is found and is the right one", () => {
  const loaded = loadNative();
  expect(loaded.failure).toBeUndefined();
  expect("path" in loaded && loaded.path).toEndWith(process.env["BUN_URING_LIB"] ?? "liburing-shim.so");
});

testUnless(
  noCompiler,
  "a library with the right number and sizes is taken: the fakes below fail for what they say",
  () => {
    expect(load(fake(ABI, sizes)).failure).toBeUndefined();
  },
);

describe("a library that can't be used", () => {
  test("missing", () => {
    const { failure } = load(join(dir, "nowhere.so"));
    expect(failure).toMatchObject({ code: "MISSING" });
    expect(failure!.message).toContain(join(dir, "nowhere.so"));
    expect(failure!.remedy).toContain("make");
  });

  test("no library at all", () => {
    const path = join(dir, "text.so");
    writeFileSync(path, "not an ELF file");
    const { failure } = load(path);
    expect(failure).toMatchObject({ code: "DLOPEN" });
    expect(failure!.message).toContain(path);
    expect(failure!.remedy).toContain("make");
  });

  testUnless(noCompiler, "of another program: its functions are missing", () => {
    const { failure } = load(compile("int something_else(void) { return 1; }"));
    expect(failure).toMatchObject({ code: "DLOPEN" });
    expect(failure!.remedy).toContain("another version");
  });

  testUnless(noCompiler, "of another ABI", () => {
    const { failure } = load(fake(ABI + 1, sizes));
    expect(failure).toMatchObject({ code: "ABI" });
    expect(failure!.message).toContain(`its ABI is ${ABI + 1}, ${ABI} is expected`);
    expect(failure!.remedy).toContain("make");
  });

  for (const at of [0, 4, LAYOUT.length - 1])
    testUnless(noCompiler, `where ${LAYOUT[at]![0]} differs`, () => {
      const [name, value] = LAYOUT[at]!;
      const { failure } = load(fake(ABI, sizes.with(at, value + 8)));
      expect(failure).toMatchObject({ code: "ABI" });
      expect(failure!.message).toContain(`${name} is ${value + 8}, ${value} is expected`);
    });

  testUnless(noCompiler, "that reports another number of sizes", () => {
    expect(load(fake(ABI, sizes.slice(0, -1))).failure).toMatchObject({ code: "ABI" });
    expect(load(fake(ABI, [...sizes, 1])).failure).toMatchObject({ code: "ABI" });
  });
});
