// Every public function on older kernels, as far as they can be simulated (simulated-kernel.h): one tour for each.
// Assumes `make fault`, which builds the simulating library, and a kernel that gives rings. Real older kernels: `make test-kernels`.

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { missing } from "../helpers/requirements.ts";

const root = join(import.meta.dir, "../..");
const library = process.env.BUN_URING_SIM_LIB ?? join(root, "build/liburing-shim-sim.so");
const reason = existsSync(library) ? missing(["ioUring"]) : "no simulating library (make fault)";

interface Expected {
  readonly restricted: boolean;
  readonly lateClose: boolean;
  readonly directDescriptors: number;
  readonly fixedBuffers: number;
  readonly cachedLookups: boolean;
}

const full: Expected = {
  restricted: true,
  lateClose: false,
  directDescriptors: 256,
  fixedBuffers: 64,
  cachedLookups: true,
};
const late: Expected = { ...full, lateClose: true };
const none: Expected = { ...full, directDescriptors: 0, fixedBuffers: 0 };
const first: Expected = { ...none, cachedLookups: false };

/** What a ring has on each: restrictions came with 5.10, buffer tables that can be filled later with 5.13, opening into a table with 5.15; openat2 keeps to the dentry cache from 5.12 on. */
const kernels: readonly (readonly [string, Expected])[] = [
  ["5.6", { ...first, restricted: false }],
  ["5.10", first],
  ["5.12", none],
  ["5.13", { ...none, fixedBuffers: 64 }],
  ["5.15", late],
  ["5.19", late],
  ["6.1", late],
  ["6.8", late],
  ["6.12", full],
];

function run(args: readonly string[], env: Record<string, string>): { stdout: string; stderr: string } {
  const child = Bun.spawnSync([process.execPath, ...args], {
    env: { ...process.env, BUN_URING_BACKEND: "auto", BUN_URING_LIB: library, ...env },
    timeout: 60_000,
  });
  return { stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

function tour(env: Record<string, string>): any {
  const { stdout, stderr } = run([join(import.meta.dir, "tour.ts")], env);
  return JSON.parse(stdout || JSON.stringify({ failed: [stderr] }));
}

describe.skipIf(reason !== null)(`on a simulated kernel${reason === null ? "" : ` [skipped: ${reason}]`}`, () => {
  for (const [version, expected] of kernels)
    test(`${version}: every function`, () => {
      const said = tour({ BUN_URING_KERNEL: version, EXPECT: JSON.stringify({ backend: "io_uring", ...expected }) });
      expect(said.failed).toEqual([]);
      expect(said.passed).toBeGreaterThan(60);
    }, 70_000);

  for (const [version, { restricted, lateClose, cachedLookups }] of kernels)
    test(`${version}: doctor's self-test passes, and its advice is about this kernel`, () => {
      const { stdout } = run([join(root, "src/cli/main.ts"), "doctor", "--json"], { BUN_URING_KERNEL: version });
      const { backend, selfTest, advice } = JSON.parse(stdout);
      expect({ backend, selfTest }).toEqual({ backend: "io_uring", selfTest: { ok: true, error: null } });
      const all = advice.join("\n");
      expect(all).not.toContain("MEMLOCK");
      const given = {
        restricted: !all.includes("restrict"),
        lateClose: all.includes("late"),
        cachedLookups: !all.includes("openat2"),
      };
      expect(given).toEqual({ restricted, lateClose, cachedLookups });
    });

  for (const [version] of kernels)
    test(`${version}: a closing ring takes back what waits in the kernel`, () => {
      const { stdout, stderr } = run([join(import.meta.dir, "parked.child.ts")], { BUN_URING_KERNEL: version });
      expect(JSON.parse(stdout || JSON.stringify(stderr))).toEqual({ lost: 0, code: "ECANCELED", left: "abcd" });
    });

  // From 7.0 on a process may inherit filters of opcodes: RENAMEAT, UNLINKAT, MKDIRAT, LINKAT, SYMLINKAT, FTRUNCATE.
  for (const opcode of [35, 36, 37, 39, 38, 55])
    test(`with an inherited filter against opcode ${opcode}: one function is delegated`, () => {
      const said = tour({ BUN_URING_FILTERED: String(opcode), EXPECT: JSON.stringify({ backend: "io_uring" }) });
      expect(said.failed).toEqual([]);
    }, 70_000);

  // READ_FIXED, WRITE_FIXED
  for (const opcode of [4, 5])
    test(`with an inherited filter against opcode ${opcode}: no buffer is fixed`, () => {
      const said = tour({ BUN_URING_FILTERED: String(opcode), EXPECT: JSON.stringify({ backend: "io_uring" }) });
      expect([said.failed, said.limits.fixedBuffers]).toEqual([[], 0]);
    }, 70_000);

  // READ, WRITE, FSYNC
  for (const opcode of [22, 23, 3])
    test(`with an inherited filter against opcode ${opcode}: the node backend, and why`, () => {
      const said = tour({ BUN_URING_FILTERED: String(opcode), EXPECT: JSON.stringify({ backend: "node" }) });
      expect(said.failed).toEqual([]);
      expect(said.reason).toContain("can't be used here (EACCES)");
    }, 70_000);

  test("the kernel is asked what it has, from 6.18 on", () => {
    const query = (version: string): unknown =>
      JSON.parse(run([join(root, "src/cli/main.ts"), "doctor", "--json"], { BUN_URING_KERNEL: version }).stdout).query;
    expect(query("6.12")).toBeNull();
    const here = query("99.0") as { opcodes: number; registrations: number } | null;
    if (here !== null) expect(here.opcodes > 55 && here.registrations > 35).toBe(true);
  });

  // A chain is four SQEs, a file without a direct descriptor as many in four turns: what is cached is copied instead.
  for (const version of ["5.12", "6.1"])
    test(`${version}: many small files are read and written without turns of the ring for each`, () => {
      const { stdout, stderr } = run([join(import.meta.dir, "late-reads.child.ts")], {
        BUN_URING_KERNEL: version,
        BUN_URING_BACKEND: "uring",
      });
      const { right, submitted, forWriting } = JSON.parse(stdout || JSON.stringify({ right: stderr }));
      expect(right).toBe(1200);
      expect(forWriting).toBeLessThan(100);
      expect(submitted).toBeLessThan(version === "5.12" ? 500 : 256 * 4 + 500);
    });

  // STATX, OPENAT, CLOSE
  for (const opcode of [21, 18, 19])
    test(`whose probe has opcode ${opcode} but refuses it: the node backend, and why`, () => {
      const said = tour({ BUN_URING_DENIED: String(opcode), EXPECT: JSON.stringify({ backend: "node" }) });
      expect(said.failed).toEqual([]);
      expect(said.reason).toContain("can't be used here (EINVAL)");
    }, 70_000);
});
