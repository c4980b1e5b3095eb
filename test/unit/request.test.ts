// backend/uring/request.ts: an abort reaches the operation that it was meant for, and none that has its slot by then.
// Assumes a kernel that gives rings. Runs on this thread's own ring, whose slots are used again last in, first out.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, writeSync } from "node:fs";
import { OpenFile } from "../../src/backend/interface.ts";
import { read } from "../../src/backend/uring/read-write.ts";
import { cancellable, thread } from "../../src/backend/uring/request.ts";
import { backend } from "../../src/index.ts";
import { describeUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();

/** A FIFO: reads of it wait until something is written to its descriptor. */
function quiet(): { file: OpenFile; fd: number } {
  const path = tmp.fifo();
  const fd = openSync(path, "r+");
  return { file: new OpenFile(fd), fd };
}

/** The slot of the operation that was begun last. */
let slotOfLast = -1;

/** Starts a read that waits, in that slot; what it comes to after `then`. */
async function waitingRead(slot: number, then: () => void): Promise<unknown> {
  const { file, fd } = quiet();
  try {
    const waiting = read(file, Buffer.alloc(4), 0, 4, -1);
    expect(slotOfLast).toBe(slot);
    then();
    await Bun.sleep(5); // an abort has reached the kernel by now
    writeSync(fd, "data");
    return await waiting.then(
      ({ bytesRead }) => bytesRead,
      (error) => error.code,
    );
  } finally {
    closeSync(fd);
  }
}

describeUnless(backend !== "io_uring" && "no ring", "cancellable", () => {
  let restore = (): void => {};
  afterAll(() => restore());
  beforeAll(() => {
    const { operations } = thread().ring;
    const { acquire } = operations;
    restore = () => {
      operations.acquire = acquire;
    };
    operations.acquire = (finish, pending) => {
      const operation = acquire.call(operations, finish, pending);
      slotOfLast = operation.slot;
      return operation;
    };
  });

  describe("an abort does not reach whoever has the slot next", () => {
    test("after an operation that has ended, and whose promise is about to be told", async () => {
      const path = tmp.file("contents");
      const file = new OpenFile(openSync(path, "r"));
      const controller = new AbortController();
      const { limits } = thread().loop;
      const { inlineUs } = limits;
      limits.inlineUs = 0; // both end with one look at the ring
      const one = (): Promise<unknown> => read(file, Buffer.alloc(4), 0, 4, 0);
      try {
        // The first is told while the second, which has ended, still listens; its slot is the next to be had.
        const other = one().then(() => waitingRead(slot, () => controller.abort()));
        const aborted = cancellable(one, controller.signal);
        const slot = slotOfLast;
        await aborted;
        expect(await other).toBe(4);
      } finally {
        limits.inlineUs = inlineUs;
        closeSync(file.fd);
      }
    });

    test("after one that has ended at its call", async () => {
      const file = new OpenFile(openSync(tmp.file("contents"), "r"));
      const controller = new AbortController();
      const taken = Buffer.alloc(4);
      structuredClone(taken.buffer, { transfer: [taken.buffer] });
      const refused = cancellable(() => read(file, taken, 0, 4, 0), controller.signal).catch((error) => error.code);
      const other = waitingRead(slotOfLast, () => controller.abort());
      expect(await refused).toBe("ERR_INVALID_STATE");
      expect(await other).toBe(4);
      closeSync(file.fd);
    });
  });
});
