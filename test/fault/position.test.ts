// The file's own position (offset -1 of an SQE). The kernel keeps it only for an operation that ends where it began: not
// for one that completes later (O_DIRECT, FUSE), not for a write whose second part failed. Whoever trusts it there reads one
// block for ever, or writes over what was just written.
// Assumes a child per case. Never gives a position.

import { describe, expect } from "bun:test";
import { join } from "node:path";
import { withLimits } from "../helpers/as-user.ts";
import { runCase } from "../helpers/child.ts";
import { startFuse } from "../helpers/fuse.ts";
import { faultTest } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const fixture = join(import.meta.dir, "position.child.ts");
const root = tmpDir();
const WALK = { seen: [1, 2, 3, 4, 5, 0], right: true, length: 5 * 65536 };

for (const backend of ["uring", "node"]) {
  const env = { BUN_URING_BACKEND: backend };
  const ring = backend === "uring" ? (["ioUring"] as const) : ([] as const);

  describe(backend, () => {
    for (const direct of [false, true]) {
      faultTest(
        `${direct ? "O_DIRECT" : "buffered"}: each read and write goes on where the last one ended`,
        { needs: ring },
        async () => {
          const input = { path: join(root, `${backend}-${direct}`), direct };
          expect(await runCase<unknown>(fixture, "walk", { input, env })).toEqual(WALK);
        },
      );
    }

    faultTest(
      "FUSE: each read and write goes on where the last one ended",
      { needs: [...ring, "fuse", "gcc"] },
      async () => {
        await using fuse = await startFuse();
        const input = { path: join(fuse.path, "walk"), direct: false };
        expect(await runCase<unknown>(fixture, "walk", { input, env })).toEqual(WALK);
      },
    );

    faultTest("a short write moves it by what was written", { needs: [...ring, "prlimit"] }, async () => {
      const input = join(root, `${backend}-short`);
      const seen = await runCase<unknown>(fixture, "afterShort", { input, env, prefix: withLimits({ fsize: 65536 }) });
      expect(seen).toEqual({ first: 65536, refusal: expect.objectContaining({ code: "EFBIG" }), content: true });
    });
  });
}
