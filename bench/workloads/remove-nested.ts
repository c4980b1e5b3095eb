// A tree of many folders removed: each is listed, emptied and removed itself.

import { removal } from "../lib/removal.ts";
import type { Workload } from "../lib/workload.ts";

const workload: Workload = removal({
  title: "rm -r, 10,000 files in 1,000 folders",
  filesPerFolder: 10,
  target: { peer: 1.3, command: 1 / 0.95 },
});

export default workload;
