// A ring that is closed while a read waits in the kernel. Prints how many operations were lost, and what was left in the
// FIFO for others: all of it, if the read was taken back.

import { closeSync, constants, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { open } from "../../src/index.ts";
import { existingThread } from "../../src/ring/context.ts";

const path = join(tmpdir(), `bun-uring-parked-${process.pid}`);
Bun.spawnSync(["mkfifo", path]);
const handle = await open(path, "r+");
const settled = handle.read(Buffer.alloc(4), 0, 4).then(
  () => "resolved",
  (error) => error.code,
);
await Bun.sleep(20);
const { ring } = existingThread()!;
const lost = ring.close(2000);
const code = await settled;
const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
writeSync(fd, "abcd");
await Bun.sleep(20);
const left = Buffer.alloc(4);
readSync(fd, left);
closeSync(fd);
rmSync(path);
console.log(JSON.stringify({ lost, code, left: left.toString() }));
process.exit(0);
