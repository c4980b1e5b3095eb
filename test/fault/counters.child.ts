// Owns the cases of counters.test.ts: what `stats()` says beside work of which the number of SQEs, and what becomes of each, is known.
// Assumes io_uring; "restaged" also the fault build as this process's shim.

import { constants, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { thread } from "../../src/backend/uring/request.ts";
import * as fs from "../../src/index.ts";
import { Opcode } from "../../src/kernel/sqe.ts";
import { runCases } from "../helpers/cases.ts";
import { type FaultRule, faultHits, setFaults } from "../helpers/fault-shim.ts";

type Counted = Pick<ReturnType<typeof fs.stats>, "submitted" | "asyncForced" | "punts" | "resubmissions">;

/** What the counters have moved by when the work is done. */
async function counted(work: () => unknown): Promise<Counted> {
  const before = fs.stats();
  await work();
  const after = fs.stats();
  const moved = (key: keyof Counted): number => after[key] - before[key];
  return {
    submitted: moved("submitted"),
    asyncForced: moved("asyncForced"),
    punts: moved("punts"),
    resubmissions: moved("resubmissions"),
  };
}

await runCases({
  async punts(dir: string) {
    writeFileSync(join(dir, "file"), "x".repeat(4096));
    const [file, fifo] = [await fs.open(join(dir, "file")), await fs.open(join(dir, "fifo"), constants.O_RDWR)];
    const read = (handle: typeof file) => handle.read(Buffer.alloc(16), 0, 16, handle === file ? 0 : null);
    const waited = async (reading: Promise<unknown>): Promise<void> => {
      setTimeout(() => writeSync(fifo.fd, "there"), 20);
      await reading;
    };
    const ring = fs.Ring.current();
    const out = {
      cached: await counted(async () => {
        for (let i = 0; i < 10; i++) await read(file);
      }),
      waiting: await counted(() => waited(read(fifo))),
      asked: await counted(() => {
        const buffer = Buffer.alloc(16);
        const opcode = fs.Opcode.READ;
        return waited(ring.submit({ opcode, fd: fifo, buffer, offset: -1, flags: fs.SqeFlag.ASYNC }));
      }),
      batch: await counted(() => file.readBatch({ offsets: [0, 16], lengths: 16, into: Buffer.alloc(32) })),
    };
    await Promise.all([file.close(), fifo.close()]);
    return out;
  },

  async restaged(dir: string) {
    const ring = thread().ring;
    const file = join(dir, "restaged");
    const bytes = Buffer.alloc(70_000, 1);
    writeFileSync(file, bytes);
    const handle = await fs.open(file);
    const [EINTR, EAGAIN] = [{ result: -4 }, { result: -11 }];
    const withFault = async (rule: FaultRule, work: () => unknown): Promise<Counted & { hits: number }> => {
      setFaults(ring, [rule]);
      const moved = await counted(work);
      return { ...moved, hits: faultHits(ring) };
    };
    return {
      one: await withFault({ opcode: Opcode.READ, ...EINTR }, () => handle.read(Buffer.alloc(8), 0, 8, 0)),
      mayNotWait: await withFault({ opcode: Opcode.READ, ...EAGAIN }, () => handle.read(Buffer.alloc(8), 0, 8, 0)),
      batch: await withFault({ opcode: Opcode.READ, ...EINTR, times: 2 }, () =>
        handle.readBatch({ offsets: [0, 8, 16], lengths: 8, into: Buffer.alloc(24) }),
      ),
      chain: await withFault({ opcode: Opcode.OPENAT, ...EINTR }, () => fs.writeFile(file, bytes)),
    };
  },
});
