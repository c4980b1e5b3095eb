// The cases of containers.test.ts: the tour of test/fault/refused.child.ts' kind, and what the doctor says, in one process.
// Assumes only the public names, and the doctor. Never names a backend: that is the parent's question.

import { examine } from "../../src/cli/doctor.ts";
import * as fs from "../../src/index.ts";
import { runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";
import { tour } from "../helpers/short-tour.ts";

await runCases({
  async tour(dir: string) {
    const results = await tour(dir);
    const rings = [...openFds().values()].filter((target) => target.includes("io_uring")).length;
    const { backend, reason, limits } = fs.capabilities();
    return { backend, reason, limits, rings, results, doctor: await examine(fs, "test") };
  },
  /** Nothing but the functions themselves. */
  plain: tour,
});
