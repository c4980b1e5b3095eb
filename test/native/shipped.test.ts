// What may be said of the shipped .so by looking at it: what it needs, what it exports, what it keeps between calls.
// Assumes readelf and nm (binutils) and a built shim. Never loads it.

import { expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";

const root = join(import.meta.dir, "../..");
const shipped = join(root, "build/liburing-shim.so");
const fault = join(root, "build/liburing-shim-fault.so");

/** nm's lines as [type, name]. */
function symbols(path: string, ...flags: string[]): [string, string][] {
  const lines = run("nm", ...flags, path)
    .trim()
    .split("\n");
  return lines.map((line) => line.replace(/^[0-9a-f]* */, "").split(" ") as [string, string]);
}

faultTest("it needs libc and nothing else", { needs: ["gcc"] }, () => {
  const needed = run("readelf", "-d", shipped).match(/\(NEEDED\).*\[(.*)\]/g) ?? [];
  expect(needed.every((line) => /\[(libc\.so\.6|ld-linux.*)\]/.test(line))).toBe(true);
  expect(needed.length).toBeGreaterThan(0);
});

faultTest("it exports what kernel/shim.ts names and nothing else", { needs: ["gcc"] }, () => {
  const exported = symbols(shipped, "-D", "--defined-only").map(([, name]) => name!);
  const named = new Set(readFileSync(join(root, "src/kernel/shim.ts"), "utf8").match(/bun_uring_\w+/g));
  expect(exported.toSorted()).toEqual([...named].toSorted());
});

faultTest("it has no fault hook, and the fault build has", { needs: ["gcc"] }, () => {
  const hooks = (path: string): string[] =>
    symbols(path, "--defined-only")
      .map(([, name]) => name!)
      .filter((name) => /fault|inject|hook/i.test(name));
  expect(hooks(shipped)).toEqual([]);
  if (existsSync(fault)) expect(hooks(fault).length).toBeGreaterThan(0);
});

faultTest("no global that two threads could write, but the key made at load", { needs: ["gcc"] }, () => {
  const writable = symbols(shipped, "--defined-only")
    .filter(([type]) => /^[bBdDsS]$/.test(type))
    .map(([, name]) => name!);
  const ofTheToolchain =
    /^(_DYNAMIC|_GLOBAL_OFFSET_TABLE_|__dso_handle|__TMC_END__|completed(\.\d+)?|__frame_dummy_init_array_entry|__do_global_dtors_aux_fini_array_entry|_edata|_end|__bss_start)$/;
  expect(writable.filter((name) => !ofTheToolchain.test(name))).toEqual(["thread_rings"]);
});
