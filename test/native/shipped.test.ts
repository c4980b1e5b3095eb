// What may be said of the shipped .so by looking at it: what it needs, what it exports, what it keeps between calls; and
// that a program of another libc loads it. Assumes readelf and nm (binutils) and a built shim.

import { expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ABI } from "../../src/kernel/abi.ts";
import { run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const root = join(import.meta.dir, "../..");
const shipped = join(root, "build/liburing-shim.so");
/** Those of the package, as far as they have been built: make prebuild, make prebuild-arm64. */
const prebuilt = ["x64", "arm64"]
  .map((arch) => join(root, `prebuilds/linux-${arch}/liburing-shim.so`))
  .filter(existsSync);
const fault = join(root, "build/liburing-shim-fault.so");

/** nm's lines as [type, name]. */
function symbols(path: string, ...flags: string[]): [string, string][] {
  const lines = run("nm", ...flags, path)
    .trim()
    .split("\n");
  return lines.map((line) => line.replace(/^[0-9a-f]* */, "").split(" ") as [string, string]);
}

faultTest("it needs libc and nothing else, by a name that musl answers to as well", { needs: ["gcc"] }, () => {
  for (const path of [shipped, ...prebuilt]) {
    const needed = Array.from(run("readelf", "-d", path).matchAll(/\(NEEDED\).*\[(.*)\]/g), ([, name]) => name);
    expect(needed, path).toEqual(["libc.so.6"]);
  }
});

/** In a folder of its own, with libraries for these processors in it. */
function checkPrebuilds(libraries: Record<string, string>): Bun.SyncSubprocess<"pipe", "pipe"> {
  const copy = tmpDir();
  for (const part of ["native", "Makefile", "scripts"]) cpSync(join(root, part), join(copy, part), { recursive: true });
  for (const folder of ["build", "src"]) mkdirSync(join(copy, folder));
  if (existsSync(join(root, "build/arm64"))) {
    symlinkSync(join(root, "build/arm64"), join(copy, "build/arm64"));
  }
  for (const [arch, library] of Object.entries(libraries)) {
    mkdirSync(join(copy, `prebuilds/linux-${arch}`), { recursive: true });
    cpSync(library, join(copy, `prebuilds/linux-${arch}/liburing-shim.so`));
  }
  return Bun.spawnSync(["make", "-s", "-C", copy, "check-prebuilds"], { stdout: "pipe", stderr: "pipe" });
}

faultTest(
  "it is the same, byte for byte, wherever it is built: `make check-prebuilds` takes that and nothing else",
  { needs: ["gcc"] },
  () => {
    const today = checkPrebuilds({ [process.arch]: shipped });
    expect([today.exitCode, today.stderr.toString()]).toEqual([0, ""]);
    expect(today.stdout.toString()).toContain(`linux-${process.arch}/liburing-shim.so: today's`);
    const other = checkPrebuilds({ [process.arch]: fault });
    expect(other.exitCode).not.toBe(0);
    expect(other.stderr.toString()).toContain("is not what today's sources give");
  },
);

const arm64 = join(root, "prebuilds/linux-arm64/liburing-shim.so");
const wasCrossCompiled = existsSync(arm64) && Bun.which("aarch64-linux-gnu-gcc") !== null;
test.skipIf(!wasCrossCompiled)(
  `the library for arm64 is today's${wasCrossCompiled ? "" : " [skipped: it was not built: make prebuild-arm64]"}`,
  () => {
    const checked = checkPrebuilds({ arm64 });
    expect([checked.exitCode, checked.stderr.toString()]).toEqual([0, ""]);
  },
);

/** The oldest glibc with which Bun itself starts. */
const OLDEST_GLIBC = [2, 17] as const;

faultTest("no symbol is younger than the oldest glibc that Bun runs on", { needs: ["gcc"] }, () => {
  for (const path of [shipped, ...prebuilt]) {
    const wanted = symbols(path, "-D", "--undefined-only", "--with-symbol-versions").map(([, name]) => name!);
    expect(wanted.length).toBeGreaterThan(10);
    const younger = wanted.filter((name) => {
      const [major, minor] = (/@GLIBC_([\d.]+)$/.exec(name)?.[1] ?? "0.0").split(".").map(Number);
      return major! > OLDEST_GLIBC[0] || minor! > OLDEST_GLIBC[1];
    });
    expect(younger, path).toEqual([]);
  }
});

/** Builds a program for musl that loads a library and makes a ring with it; returns its path. */
function muslProgram(folder: string): string {
  const source = join(folder, "load.c");
  writeFileSync(
    source,
    `#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    void *library = dlopen(argv[argc - 1], RTLD_NOW);
    if (!library)
        return fprintf(stderr, "%s\\n", dlerror()), 1;
    int32_t (*abi)(void) = dlsym(library, "bun_uring_abi");
    int32_t (*create)(uint32_t, uint32_t, uint32_t, uint32_t *) = dlsym(library, "bun_uring_create");
    int32_t (*close_ring)(void *, uint32_t) = dlsym(library, "bun_uring_close");
    uint32_t info[16] = {0};
    const int32_t made = create(8, 16, 0, info);
    if (made == 0)
        close_ring((void *)((uintptr_t)info[1] << 32 | info[0]), 0);
    printf("%d %d", abi(), made);
    return 0;
}
`,
  );
  run("musl-gcc", "-Wall", "-Werror", "-o", join(folder, "load"), source);
  return join(folder, "load");
}

function expectRing(said: string): void {
  const [abi, made] = said.split(" ").map(Number);
  expect(abi).toBe(ABI);
  // Where the kernel refuses a ring, the call has come as far as the kernel all the same.
  expect([0, -1, -12, -38]).toContain(made!);
}

faultTest("a program of another libc, musl, loads it and makes a ring with it", { needs: ["musl"] }, () => {
  expectRing(run(muslProgram(tmpDir()), shipped));
});

/** What `make` needs of the package, and no more, in a folder of its own. */
function packageFolder(): string {
  const folder = tmpDir();
  for (const part of ["native", "src", "Makefile"]) cpSync(join(root, part), join(folder, part), { recursive: true });
  return folder;
}

faultTest("`make` in the package builds it for musl, 1.2.3 and newer, too", { needs: ["musl", "gcc"] }, () => {
  const folder = packageFolder();
  // musl-gcc looks into musl's folders only: the kernel's headers and liburing are shown to it.
  const machine = run("gcc", "-print-multiarch").trim();
  const libraries = join(folder, "libraries");
  mkdirSync(libraries);
  symlinkSync(run("gcc", "-print-file-name=liburing.a").trim(), join(libraries, "liburing.a"));
  const compiler = `musl-gcc -idirafter /usr/include -idirafter /usr/include/${machine} -L${libraries}`;
  run("make", "-s", "-C", folder, `CC=${compiler}`);
  expectRing(run(muslProgram(folder), join(folder, "build/liburing-shim.so")));
});

const lacking: [string, string, string][] = [
  ["no compiler", "no-such-compiler", "there is no no-such-compiler"],
  ["no header of liburing's", "gcc -D__STRICT_ANSI__ -nostdinc -isystem $PWD/include", "there is no liburing.h"],
  ["no libc's headers", "gcc -nostdinc", "there is no unistd.h"],
];
for (const [name, compiler, said] of lacking)
  faultTest(`\`make\` in the package with ${name} says so in one line`, { needs: ["gcc"] }, () => {
    const folder = packageFolder();
    for (const header of ["unistd.h", "linux/openat2.h"]) {
      mkdirSync(join(folder, "include", dirname(header)), { recursive: true });
      writeFileSync(join(folder, "include", header), "");
    }
    // Not as a part of the `make test` that this may be.
    const { MAKELEVEL: _, MAKEFLAGS: __, ...env } = process.env;
    const made = Bun.spawnSync(["make", "-s", `CC=${compiler.replace("$PWD", folder)}`], { cwd: folder, env });
    const [line, ...rest] = made.stderr.toString().trim().split("\n");
    expect(line).toMatch(new RegExp(`^the native library can't be built: ${said}.*apt install.*apk add`));
    expect(rest).toEqual([expect.stringMatching(/^make: \*\*\* /)]);
    expect(made.exitCode).not.toBe(0);
  });

faultTest("it exports what kernel/shim.ts names and nothing else", { needs: ["gcc"] }, () => {
  const exported = symbols(shipped, "-D", "--defined-only").map(([, name]) => name!);
  // A row there is named as in TypeScript.
  const rows = readFileSync(join(root, "src/kernel/shim.ts"), "utf8").matchAll(/^ {2}(\w+): \{ args: \[/gm);
  const inC = (name: string): string => `bun_uring_${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;
  const named = new Set(Array.from(rows, ([, name]) => inC(name!)));
  // The one name is Node-API's, for process.dlopen.
  expect(exported.toSorted()).toEqual([...named, "napi_register_module_v1"].toSorted());
});

faultTest("it has no fault hook, and the fault build has", { needs: ["gcc"] }, () => {
  const hooks = (path: string): string[] =>
    symbols(path, "--defined-only")
      .map(([, name]) => name!)
      .filter((name) => /fault|inject|hook/i.test(name) && name !== "napi_add_env_cleanup_hook");
  expect(hooks(shipped)).toEqual([]);
  if (existsSync(fault)) expect(hooks(fault).length).toBeGreaterThan(0);
});

faultTest(
  "no global that two threads could write, but the keys made at load, the atomic count of helpers, and what a lock guards",
  { needs: ["gcc"] },
  () => {
    const writable = symbols(shipped, "--defined-only")
      .filter(([type]) => /^[bBdDsS]$/.test(type))
      .map(([, name]) => name!);
    const ofTheToolchain =
      /^(_DYNAMIC|_GLOBAL_OFFSET_TABLE_|__dso_handle|__TMC_END__|completed(\.\d+)?|__frame_dummy_init_array_entry|__do_global_dtors_aux_fini_array_entry|_edata|_end|__bss_start|__stack_chk_guard)$/;
    expect(writable.filter((name) => !ofTheToolchain.test(name))).toEqual([
      "helpers",
      "thread_files",
      "thread_rings",
      "tree_threads",
    ]);
  },
);
