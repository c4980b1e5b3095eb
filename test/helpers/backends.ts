// Owns how a behaviour test is run: once on Bun's own node:fs/promises (the oracle) and once on this package.
// Assumes one backend per process: BUN_URING_BACKEND picks it, and `make test` runs the suite once for each.
// Never lets a difference of Bun from Node pass in silence: each is a row of bun-differences.ts and of docs/compatibility.md.

import { describe, test } from "bun:test";
import * as nodeFs from "node:fs/promises";
import { findDifference } from "./bun-differences.ts";

export type Fs = typeof import("node:fs/promises");

export type ContractTest = (title: string, body: () => unknown, options?: { timeoutMs?: number }) => void;

interface Implementation {
  title: string;
  name: string;
  fs: Fs;
  oracle: boolean;
}

/** This package, unless BUN_URING_ORACLE_ONLY asks for Bun's own API alone (to look at the oracle without a built shim). */
export const ours: Fs | undefined =
  process.env.BUN_URING_ORACLE_ONLY === "1" ? undefined : (await import("../../src/promises.ts" as string)).default;

/** Whether Bun's own API runs the tests, too: on other kernels (test/kernels) only this package is of interest. */
export const hasOracle: boolean = process.env.BUN_URING_NO_ORACLE !== "1";

const implementations: Implementation[] = [];
if (hasOracle)
  implementations.push({ title: "node:fs/promises (oracle)", name: "node:fs/promises", fs: nodeFs, oracle: true });
if (ours !== undefined) {
  // As "auto" begins: whoever asks which backend it is ends the beginning, of which the plain calls are to be seen, too.
  const isAuto = (process.env.BUN_URING_BACKEND || "auto") === "auto";
  const backend = isAuto ? "auto" : (await import("../../src/index.ts" as string)).backend;
  implementations.push({ title: `bun-uring (${backend})`, name: "bun-uring", fs: ours, oracle: false });
}

/**
 * Describes `body` once per implementation. `it` is bun:test's `test`; on the oracle it knows Bun's differences from Node:
 * a test listed in bun-differences.ts under `area > title` must fail there, or is left out where Bun hangs or wavers.
 */
export function forEachImplementation(body: (fs: Fs, name: string, it: ContractTest) => void, area = ""): void {
  for (const { title, name, fs, oracle } of implementations) {
    describe(title, () => body(fs, name, oracle ? oracleTest(area) : contractTest));
  }
}

const contractTest: ContractTest = (title, run, options) => {
  test(title, async () => void (await run()), options?.timeoutMs);
};

function oracleTest(area: string): ContractTest {
  return (title, run, options) => {
    const difference = findDifference(`${area} > ${title}`);
    if (difference === undefined) return contractTest(title, run, options);
    const register = difference.unstable ? test.skip : test.failing;
    register(`${title} [Bun differs: ${difference.id}]`, async () => void (await run()), options?.timeoutMs);
  };
}
