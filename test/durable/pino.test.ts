// AppendLog as the destination of a real pino: the same lines as pino's own destination writes, whatever ends the process, and
// the calls that pino makes of a destination: write, flush with a callback, flushSync, end, and the events.
// Assumes pino in node_modules; without it this is skipped.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AppendLog } from "../../src/durable.ts";
import { describeUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const isThere = await import("pino" as string).then(
  () => true,
  () => false,
);

async function linesOf(kind: string, end: string): Promise<[unknown[], number | null]> {
  const path = tmp.path();
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "pino.app.ts"), kind, end, path], {
    stderr: "inherit",
  });
  const code = await child.exited;
  const text = readFileSync(path, "utf8");
  expect(text.endsWith("\n")).toBe(true);
  return [
    text
      .slice(0, -1)
      .split("\n")
      .map((line) => JSON.parse(line)),
    code,
  ];
}

describeUnless(!isThere && "pino is not installed", "pino", () => {
  for (const end of ["exit", "fatal", "multi", "end"])
    test(`writes by us what it writes by its own destination, ended by ${end}`, async () => {
      const [[ours, code], [theirs, itsCode]] = await Promise.all([linesOf("ours", end), linesOf("pino", end)]);
      expect(ours.length).toBeGreaterThanOrEqual(503);
      expect(ours).toEqual(theirs);
      expect(code).toBe(itsCode);
    });

  test("loses nothing by SIGTERM, which ends the process as ever", async () => {
    const [lines, code] = await linesOf("ours", "sigterm");
    expect(lines.length).toBe(503);
    expect(code).toBe(143);
  });
});

describe("a destination", () => {
  test("calls back when it has flushed, with what has failed, and nothing rejects beside", async () => {
    const path = tmp.path();
    const log = await AppendLog.open(path, { framing: "lines" });
    log.write("one");
    let seen = "";
    await new Promise<void>((resolve) =>
      log.flush((error) => {
        expect(error).toBeFalsy();
        seen = readFileSync(path, "utf8");
        resolve();
      }),
    );
    expect(seen).toBe("one\n");
    await log.close();
  });
});
