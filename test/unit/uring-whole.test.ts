// Owns what only the ring's whole-file chains can get wrong: results of single links that the chain's end would hide.
// Assumes /dev/null, which takes every write and refuses fsync with EINVAL. The behaviour in common is in test/contract.

import { expect, test } from "bun:test";
import { backend } from "../../src/index.ts";
import { writeFile } from "../../src/promises.ts";

test.skipIf(backend !== "io_uring")("a sync that fails in the chain is not hidden by the close after it", async () => {
  const error = await writeFile("/dev/null", "data", { flush: true }).then(
    () => null,
    (reason) => reason,
  );
  expect(error).toMatchObject({ code: "EINVAL", syscall: "fsync" });
  await writeFile("/dev/null", "data");
});
