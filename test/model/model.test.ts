// Owns the model test: seeded random operations on a real folder, each result compared with an in-memory model,
// and the same operations on this package and on Bun's own API compared result by result.
// Assumes SEED and OPS from the environment, or a random seed and 20,000; a failure prints the seed and the last steps.
// Never sleeps, and never runs two operations of one folder at once.

import { expect } from "bun:test";
import * as nodeFs from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { forEachImplementation, ours } from "../helpers/backends.ts";
import { testUnless } from "../helpers/skip.ts";
import { tmpDir } from "../helpers/tmp.ts";
import { drawOperation, ModelRun, type Operation, type Outcome, Random, RealRun } from "./operations.ts";

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const OPS = Number(process.env.OPS ?? 20_000);

/** Bun's own codes where it departs from Node (docs/compatibility.md); the oracle alone is forgiven them. */
const BUN_CODES: Record<string, [bun: string, node: string][]> = {
  copyFile: [["ENOTSUP", "EISDIR"]],
  rm: [["EFAULT", "ENOTDIR"]],
};

function settle(outcome: Outcome, operation: Operation, oracle: boolean): Outcome {
  if (!oracle || !("code" in outcome)) return outcome;
  const found = BUN_CODES[operation.name]?.find(([bun]) => bun === outcome.code);
  return found === undefined ? outcome : { code: found[1] };
}

function report(step: number, operations: Operation[], expected: Outcome, actual: Outcome): string {
  const last = operations.slice(-15).map(({ name, args }) => `  ${name} ${JSON.stringify(args)}`);
  return [
    `step ${step} differs; again with SEED=${SEED} OPS=${OPS}`,
    `expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}; the last steps:`,
    ...last,
  ].join("\n");
}

forEachImplementation((fs, name, it) => {
  const dir = tmpDir();
  it(
    `${OPS} random operations agree with the model`,
    async () => {
      const random = new Random(SEED);
      const model = new ModelRun();
      const real = new RealRun(fs, dir);
      const operations: Operation[] = [];
      for (let step = 0; step < OPS; step++) {
        const operation = drawOperation(random);
        operations.push(operation);
        const expected = model.do(operation);
        const actual = settle(await real.do(operation), operation, name === "node:fs/promises");
        if (!isDeepStrictEqual(actual, expected)) throw new Error(report(step, operations, expected, actual));
      }
      await real.close();
    },
    { timeoutMs: 600_000 },
  );
}, "model");

const [oursDir, bunsDir] = [tmpDir(), tmpDir()];
testUnless(
  ours === undefined && "the oracle alone",
  `${OPS} random operations agree with Bun's own API, result by result`,
  async () => {
    const random = new Random(SEED + 1);
    const ourRun = new RealRun(ours!, oursDir);
    const bunRun = new RealRun(nodeFs, bunsDir);
    const operations: Operation[] = [];
    for (let step = 0; step < OPS; step++) {
      const operation = drawOperation(random);
      operations.push(operation);
      const [actual, bun] = await Promise.all([ourRun.do(operation), bunRun.do(operation)]);
      const expected = settle(bun, operation, true);
      if (!isDeepStrictEqual(actual, expected)) throw new Error(report(step, operations, expected, actual));
    }
    await Promise.all([ourRun.close(), bunRun.close()]);
    expect(operations).toHaveLength(OPS);
  },
  600_000,
);
