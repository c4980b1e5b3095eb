// Owns what syncs of one file owe each other, where no real file system says when: which begins when, and whose loss is whose.
// Assumes a backend of promises that the test settles. What real syncs do is in test/fault/flush and test/durability.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type Backend, OpenFile } from "../../src/backend/interface.ts";
import { Syncs } from "../../src/handle/group-commit.ts";
import { open } from "../../src/index.ts";
import { systemError } from "../../src/node/errors.ts";
import { rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const EIO = -5;

/** Syncs of a file, and those that its backend was asked for. */
function syncsOf(): { syncs: Syncs; begun: { syscall: string; done: PromiseWithResolvers<void> }[] } {
  const begun: { syscall: string; done: PromiseWithResolvers<void> }[] = [];
  const begin = (syscall: string) => (): Promise<void> => {
    const done = Promise.withResolvers<void>();
    begun.push({ syscall, done });
    return done.promise;
  };
  const backend = { fsync: begin("fsync"), fdatasync: begin("fdatasync") } as unknown as Backend;
  return { syncs: new Syncs(backend, new OpenFile(3)), begun };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("who comes while one runs shares the next; an fsync among them makes it one", async () => {
  const { syncs, begun } = syncsOf();
  const first = syncs.sync("fdatasync");
  await settled();
  const later = [syncs.sync("fdatasync"), syncs.sync("fsync"), syncs.sync("fdatasync")];
  await settled();
  expect(begun.map(({ syscall }) => syscall)).toEqual(["fdatasync"]);
  begun[0]!.done.resolve();
  await first;
  await settled();
  expect(begun.map(({ syscall }) => syscall)).toEqual(["fdatasync", "fsync"]);
  begun[1]!.done.resolve();
  await Promise.all(later);
  expect(syncs.isBusy).toBe(false);
});

test("of two side by side the one that succeeds waits for the other, and fails with it", async () => {
  const { syncs, begun } = syncsOf();
  const round = syncs.sync("fdatasync");
  await settled();
  const beside = Promise.withResolvers<void>();
  const durable = syncs.keepFailure("fdatasync", syncs.include(beside.promise));
  let over = false;
  const heard = rejection(round).then((error) => {
    over = true;
    return error;
  });
  begun[0]!.done.resolve(); // the kernel has told the other one
  await settled();
  expect(over).toBe(false);
  beside.reject(systemError(EIO, "fdatasync"));
  expect(await rejection(durable)).toMatchObject({ code: "EIO" });
  expect(await heard).toMatchObject({ code: "EIO", syscall: "fdatasync" });
});

test("a durable vector whose data is taken away while it is written does not pass for whole", async () => {
  const path = tmp.file("");
  await using handle = await open(path, "r+");
  const [first, taken] = [new Uint8Array(2_000_000).fill(65), new Uint8Array(2_000_000).fill(65)];
  const writing = handle.writev([first, taken], 0, { flush: true });
  structuredClone(taken.buffer, { transfer: [taken.buffer] });
  const error = await writing.then(
    () => null,
    (reason: unknown) => reason,
  );
  // Bun's own writev holds on to the memory: then it is whole.
  if (error === null) expect(readFileSync(path).equals(Buffer.alloc(4_000_000, "A"))).toBe(true);
  else expect(error).toMatchObject({ code: "ERR_INVALID_STATE" });
});
