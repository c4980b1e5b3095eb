// A Worker that has a log and a lock when it ends: terminated, or by process.exit() of its own.

import { AppendLog, lock } from "../../src/durable.ts";

const { LOG_PATH: path, HOW } = process.env as { LOG_PATH: string; HOW: string };
const log = await AppendLog.open(path);
await lock(`${path}.lock`);
// One that was let go in time is nobody's any more: its descriptor's number is another's.
const early = await lock(`${path}.early`);
await early.release();
await log.append("record");
postMessage("ready");
if (HOW === "exit") {
  log.write("last");
  process.exit();
}
for (;;) await log.append("record");
