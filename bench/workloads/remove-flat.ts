// A folder of many files removed: unlinks in one directory, which the kernel runs one after the other.

import { SMALL_FILES } from "../lib/files.ts";
import { removal } from "../lib/removal.ts";
import type { Workload } from "../lib/workload.ts";

const workload: Workload = removal({
  title: "rm -r, 10,000 files in one folder",
  filesPerFolder: SMALL_FILES,
  // At least 0.95 of the speed of rm -rf is at most 1.05 times its time.
  target: { peer: 1.05, command: 1 / 0.95 },
});

export default workload;
