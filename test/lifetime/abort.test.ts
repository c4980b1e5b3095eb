// FAULTS row 15: an abort settles its operation once, by AbortError with the reason as cause, and leaves nothing behind.
// Assumes a child per case. Never expects the kernel to stop at once: only the promise must.

import { describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import { faultTest } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "abort.child.ts");
const tmp = scratch();

function paths(): { dir: string; fifo: string; file: string; target: string; big: string } {
  const file = tmp.file("0123456789".repeat(100));
  return { dir: tmp.folder(), fifo: tmp.fifo(), file, target: tmp.path("target"), big: tmp.path("big") };
}

const ABORTED = { name: "AbortError", code: "ABORT_ERR", message: "The operation was aborted", cause: "enough" };

for (const backend of ["uring", "node"]) {
  const env = { BUN_URING_BACKEND: backend };
  const needs = backend === "uring" ? (["ioUring"] as const) : ([] as const);
  const seenBy = (name: string, input: object): Promise<any> => runCase<any>(fixture, name, { input, env });

  describe(backend, () => {
    faultTest("a signal fired before: nothing is begun", { needs }, async () => {
      const seen = await seenBy("before", paths());
      expect(seen).toEqual({ readFile: ABORTED, writeFile: ABORTED, copyFile: ABORTED, submitted: 0, created: false });
    });

    faultTest("a signal fired while a read waits", { needs }, async () => {
      expect(await seenBy("duringRead", paths())).toEqual({ result: ABORTED, listeners: 0, leaked: 0, inFlight: 0 });
    });

    faultTest("a signal fired while the open waits: what it opens late is closed", { needs }, async () => {
      expect(await seenBy("duringOpen", paths())).toEqual({ result: ABORTED, leaked: 0, inFlight: 0 });
    });

    faultTest("a signal fired while a big file is written", { needs }, async () => {
      const seen = await seenBy("duringWrite", paths());
      expect(["value", ABORTED]).toContainEqual(seen.result);
      expect(seen).toMatchObject({ leaked: 0, listeners: 0 });
    });

    faultTest("a signal fired while a file is copied: no half target", { needs }, async () => {
      const input = paths();
      writeFileSync(input.big, Buffer.alloc(32 << 20, 3));
      expect(await seenBy("duringCopy", input)).toEqual({ result: ABORTED, created: false, leaked: 0 });
    });

    faultTest("a signal fired after: nothing happens", { needs }, async () => {
      expect(await seenBy("after", paths())).toEqual({ result: "value", listeners: 0 });
    });

    faultTest("a signal that never fires keeps no listener", { needs }, async () => {
      expect(await runCase<number>(fixture, "neverFired", { input: paths(), env })).toBe(0);
    });

    for (const afterMs of [1, 5, 40]) {
      faultTest(`one signal for 10,000 operations of every kind, fired after ${afterMs} ms`, { needs }, async () => {
        const { file, dir } = paths();
        const { fulfilled, rejected, ...seen } = await seenBy("everyKind", { file, dir, count: 10_000, afterMs });
        expect(fulfilled + rejected).toBe(10_000);
        expect(rejected).toBeGreaterThan(0);
        expect(seen).toEqual({
          other: [],
          unlanded: 0,
          touched: 0,
          listeners: 0,
          filesLeft: [],
          leasesLeft: 0,
          inFlight: 0,
          queued: 0,
        });
      });
    }

    for (const afterMs of [0, 2, 10, 50]) {
      faultTest(`one signal for 10,000 operations, fired after ${afterMs} ms`, { needs }, async () => {
        const { file, dir } = paths();
        const { fulfilled, rejected, foreign, ...seen } = await seenBy("storm", { file, dir, count: 10_000, afterMs });
        expect(fulfilled + rejected).toBe(10_000);
        expect(seen).toEqual({ other: [], listeners: 0, fdsLeft: 0, inFlight: 0, queued: 0 });
        expect(foreign).toBeLessThanOrEqual(10);
      });
    }
  });
}
