// FAULTS rows 12 and 13, promise 2, issue 2's acceptance 8: an operation acts on the file its handle was opened on, or fails.
// Assumes a child per case. Never waits for the collector longer than a second.

import { describe, expect } from "bun:test";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import { faultTest } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "handles.child.ts");
const tmp = scratch();
const folder = (): { dir: string; fifo: string; file: string } => {
  return { dir: tmp.folder(), fifo: tmp.fifo(), file: tmp.file("0123456789") };
};

for (const backend of ["uring", "node"]) {
  const env = { BUN_URING_BACKEND: backend };
  const needs = backend === "uring" ? (["ioUring"] as const) : ([] as const);
  const closed = (syscall: string): object => ({ code: "EBADF", syscall, message: "file closed" });

  describe(backend, () => {
    faultTest("close() waits for a parked read, and its number is not given away", { needs }, async () => {
      const { dir, fifo } = folder();
      const seen = await runCase<unknown>(fixture, "closeParked", { input: { dir, fifo }, env });
      expect(seen).toMatchObject({
        closedEarly: false,
        reused: false,
        bytesRead: 8,
        own: "our own!",
        fdAfterClose: -1,
        stillOpen: 1,
      });
      expect(seen).toMatchObject({ late: closed("read") });
    });

    faultTest("reads in flight at close() get their own file's bytes", { needs }, async () => {
      const seen = await runCase<unknown>(fixture, "closeSameTurn", { input: { dir: folder().dir, rounds: 20 }, env });
      expect(seen).toEqual({ wrong: 0 });
    });

    faultTest("writes in flight at close() land in their own file", { needs }, async () => {
      const seen = await runCase<unknown>(fixture, "closeWithWrites", {
        input: { dir: folder().dir, rounds: 20 },
        env,
      });
      expect(seen).toEqual({ wrong: 0 });
    });

    faultTest("after close() every call says so, and touches no other file", { needs }, async () => {
      const seen = await runCase<any>(fixture, "afterClose", { input: folder().file, env });
      expect(seen).toMatchObject({ fdAfter: -1, sameNumber: true, third: "value", survivors: 10 });
      const { close, ...calls } = seen.calls;
      expect(close).toBe("value");
      for (const [name, what] of Object.entries<any>(calls)) {
        expect({ name, code: what.code, message: what.message }).toEqual({
          name,
          code: "EBADF",
          message: "file closed",
        });
      }
    });

    faultTest("a dropped handle is closed once, with a warning", { needs }, async () => {
      const seen = await runCase<any>(fixture, "dropped", { input: folder().file, env });
      expect(seen.held).toBeGreaterThanOrEqual(45);
      expect(seen.left).toBeLessThanOrEqual(2);
      expect(seen.alive).toEqual(Array(50).fill("value"));
      expect(seen.warnings).toBeGreaterThan(0);
      expect(seen.warning).toMatch(/clos/i);
    });

    faultTest("a dropped handle's calls of several steps come to their end", { needs }, async () => {
      expect(await runCase<string[]>(fixture, "droppedInSteps", { input: folder().file, env })).toEqual([]);
    });

    faultTest("a dropped handle's readFile() of what comes in parts gets all of them", { needs }, async () => {
      expect(await runCase<string>(fixture, "droppedReadingFile", { input: folder().fifo, env })).toBe(
        "part ".repeat(10),
      );
    });

    faultTest("a dropped handle's read under way gets its bytes", { needs }, async () => {
      // The node backend parks reads in Bun's thread pool, two at a time; 20 would starve it (Bun's own limit).
      if (backend === "node") return;
      expect(await runCase<number>(fixture, "droppedWhileReading", { input: folder().fifo, env })).toBe(20);
    });
  });
}
