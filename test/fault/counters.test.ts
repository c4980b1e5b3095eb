// `stats().punts` and `stats().resubmissions` beside operations whose number of SQEs, and what the kernel does with each, is known.
// In processes of their own, as a ring's counters are those of all that its thread does. Assumes the fault build for the last.

import { expect } from "bun:test";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import { FAULT_LIB } from "../helpers/fault-shim.ts";
import { run } from "../helpers/mounts.ts";
import { faultTest } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "counters.child.ts");
const dir = tmpDir();
run("mkfifo", join(dir, "fifo"));
const said = (name: string, env: Record<string, string> = {}): Promise<any> =>
  runCase(fixture, name, { input: dir, env: { BUN_URING_BACKEND: "uring", ...env } });
const none = { asyncForced: 0, punts: 0, resubmissions: 0 };

faultTest(
  "what is done within its submit, or sent to a thread on purpose, is no punt; what waits is one",
  { needs: ["ioUring"] },
  async () => {
    expect(await said("punts")).toEqual({
      cached: { ...none, submitted: 10 },
      waiting: { ...none, submitted: 1, punts: 1 },
      asked: { ...none, submitted: 1, asyncForced: 1 },
      batch: { ...none, submitted: 2 },
    });
  },
);

faultTest(
  "what was interrupted is submitted again: one operation, two of a batch, a whole chain",
  { needs: ["ioUring", "gcc"] },
  async () => {
    const { one, mayNotWait, batch, chain } = await said("restaged", { BUN_URING_LIB: FAULT_LIB });
    expect([one.hits, mayNotWait.hits, batch.hits, chain.hits]).toEqual([1, 1, 2, 1]);
    expect([one.resubmissions, batch.resubmissions]).toEqual([1, 2]);
    expect([one.submitted, batch.submitted]).toEqual([2, 5]);
    // By a thread, which may wait.
    expect(mayNotWait).toMatchObject({ submitted: 2, asyncForced: 1, resubmissions: 1 });
    // Where direct descriptors close late there is no chain: the open alone is made again.
    expect(chain.resubmissions).toBe(lacking("direct descriptors that close at once") ? 1 : chain.submitted / 2);
  },
);
