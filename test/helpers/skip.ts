// Owns tests that can't run everywhere: what keeps them from it stands in their names.
// Assumes a reason that a reader of a log understands without this file. What a machine lacks: requirements.ts.

import { describe, test } from "bun:test";

/** Why not; null or false where nothing keeps the test from running. */
export type Reason = string | null | false;

const named = (reason: Reason, title: string): string => (reason ? `${title} [skipped: ${reason}]` : title);

/** bun:test's `test`, skipped if there is a reason. `options` as there: milliseconds. */
export function testUnless(reason: Reason, title: string, body: () => unknown, options?: number): void {
  test.skipIf(Boolean(reason))(named(reason, title), async () => void (await body()), options);
}

/** bun:test's `describe`, likewise. */
export function describeUnless(reason: Reason, title: string, body: () => void): void {
  describe.skipIf(Boolean(reason))(named(reason, title), body);
}
