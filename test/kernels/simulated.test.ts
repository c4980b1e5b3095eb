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
}

const full: Expected = { restricted: true, lateClose: false, directDescriptors: 256, fixedBuffers: 64 };
const late: Expected = { ...full, lateClose: true };
const none: Expected = { restricted: true, lateClose: false, directDescriptors: 0, fixedBuffers: 0 };

/** What a ring has on each: restrictions came with 5.10, buffer tables that can be filled later with 5.13, opening into a table with 5.15. */
const kernels: readonly (readonly [string, Expected])[] = [
  ["5.6", { ...none, restricted: false }],
  ["5.10", none],
  ["5.12", none],
  ["5.13", { ...none, fixedBuffers: 64 }],
  ["5.15", late],
  ["5.19", late],
  ["6.1", late],
  ["6.8", late],
  ["6.12", full],
];

describe.skipIf(reason !== null)(`on a simulated kernel${reason === null ? "" : ` [skipped: ${reason}]`}`, () => {
  for (const [version, expected] of kernels)
    test(version, () => {
      const child = Bun.spawnSync([process.execPath, join(import.meta.dir, "tour.ts")], {
        env: {
          ...process.env,
          BUN_URING_BACKEND: "uring",
          BUN_URING_LIB: library,
          BUN_URING_KERNEL: version,
          EXPECT: JSON.stringify(expected),
        },
        timeout: 60_000,
      });
      const said = JSON.parse(child.stdout.toString() || JSON.stringify({ failed: [child.stderr.toString()] }));
      expect(said.failed).toEqual([]);
      expect(said.passed).toBeGreaterThan(60);
    }, 70_000);
});
