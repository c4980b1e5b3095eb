// FAULTS row 14, promise 1: data arrives in the buffer that the user can see, or the promise rejects; nobody else's memory
// is written. Assumes a child per case: memory that is written wrongly may crash it, and that is a failure seen here.

import { describe, expect } from "bun:test";
import { join } from "node:path";
import { runCase } from "../helpers/child.ts";
import { faultTest } from "../helpers/requirements.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "buffers.child.ts");
const tmp = scratch();
const { fifo } = tmp;
const file = (): string => tmp.file(patternBytes(8192));
const env = { BUN_URING_BACKEND: "uring", Malloc: undefined };
const needs = ["ioUring"] as const;

describe("a buffer in flight", () => {
  // Malloc=1 puts the collector's big buffers into the system's heap, where a foreign write does harm at once.
  for (const heap of [undefined, "1"]) {
    const variant = { ...env, Malloc: heap };
    const where = heap ? " (system malloc)" : "";

    faultTest(`whose .buffer is touched receives its data${where}`, { needs }, async () => {
      const input = { fifo: fifo(), file: file() };
      expect(await runCase<unknown>(fixture, "bufferTouched", { input, env: variant })).toEqual([]);
    });

    faultTest(`that is written while .buffer is touched goes out right${where}`, { needs }, async () => {
      expect(await runCase<unknown>(fixture, "writeTouched", { input: file(), env: variant })).toEqual([]);
    });

    faultTest(`that nobody else refers to outlives the collector${where}`, { needs }, async () => {
      const seen = await runCase<unknown>(fixture, "collected", { input: fifo(), env: variant });
      expect(seen).toEqual({ right: 50, unhurt: true });
    });

    for (const how of ["transfer", "transferLonger", "transferEmpty", "clone", "post"]) {
      faultTest(`taken away by ${how}: rejected, and nothing foreign written${where}`, { needs }, async () => {
        const seen = await runCase<any>(fixture, "takenAway", { input: { fifo: fifo(), how }, env: variant });
        expect(seen).toMatchObject({ result: "rejected", otherUnhurt: true, unhurt: true });
      });
    }

    for (const how of ["resizeEmpty", "resizeLonger"]) {
      faultTest(`resized by ${how}: the visible buffer has the data, or it rejects${where}`, { needs }, async () => {
        const seen = await runCase<any>(fixture, "takenAway", { input: { fifo: fifo(), how }, env: variant });
        expect(seen.unhurt).toBe(true);
        expect(seen.result === "rejected" || seen.visible).toBe(true);
      });
    }

    for (const how of ["transferEmpty", "clone"]) {
      faultTest(`of a write, taken away by ${how}: no foreign byte gets into the file${where}`, { needs }, async () => {
        const seen = await runCase<unknown>(fixture, "takenAwayWriting", {
          input: { file: file(), how },
          env: variant,
        });
        expect(seen).toEqual({ foreign: false, outcomes: 10 });
      });
    }
  }

  faultTest("that can't be used is refused before anything is queued", { needs }, async () => {
    const seen = await runCase<any>(fixture, "refused", { input: file(), env });
    expect(seen.queued).toBe(0);
    expect(seen.codes).not.toContain("value");
    expect(seen.codes.slice(1)).toEqual([
      "ERR_OUT_OF_RANGE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_VALUE",
    ]);
  });
});
