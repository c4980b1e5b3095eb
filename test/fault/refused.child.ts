// Owns the cases of refused.test.ts: the short tour, and what the package says of its backend.
// Assumes only the public names. Never names a backend: that is the parent's question.

import * as fs from "../../src/index.ts";
import { outcome, runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";
import { tour } from "../helpers/short-tour.ts";

await runCases({
  async tour(dir: string) {
    const results = await tour(dir);
    const rings = [...openFds().values()].filter((target) => target.includes("io_uring")).length;
    const { backend, reason } = fs.capabilities();
    return { exported: fs.backend, backend, reason, rings, results };
  },
  /** BUN_URING_BACKEND=uring where there is none: who says so, and what. */
  strict: async (path: string) => outcome(fs.readFile(path)),
  /** A pool asks for registered memory and does without it quietly. */
  async limits(dir: string) {
    await tour(dir);
    return { backend: fs.backend, limits: fs.capabilities().limits };
  },
});
