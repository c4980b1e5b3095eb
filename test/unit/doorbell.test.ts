// Which wake-up is used: the socket where it works, the timer where it doesn't, and never none.
// Assumes that what loop.test.ts shows with a real ring is shown there; here the shim's answers are chosen.

import { dlopen, FFIType, ptr } from "bun:ffi";
import { expect, test } from "bun:test";
import { openSync } from "node:fs";
import { backend, capabilities, open as openFile, shutdown } from "../../src/index.ts";
import type { Native } from "../../src/kernel/shim.ts";
import { existingThread } from "../../src/ring/context.ts";
import { type Doorbell, openDoorbell } from "../../src/ring/doorbell.ts";
import { testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();

interface Watched {
  bell: Doorbell;
  rung: number;
}

function open(native: Partial<Native>): Watched {
  const watched: Watched = { bell: null as unknown as Doorbell, rung: 0 };
  watched.bell = openDoorbell(
    native as Native,
    0,
    () => watched.rung++,
    (replacement) => {
      watched.bell = replacement;
    },
  );
  return watched;
}

test("without a bell a timer rings, once for each time it is armed", async () => {
  const watched = open({ bellOpen: () => -38 });
  expect(watched.bell.kind).toBe("timer");
  expect(watched.bell.arm()).toBe(0);
  expect(watched.bell.arm()).toBe(0);
  await Bun.sleep(20);
  expect(watched.rung).toBe(1);
  watched.bell.arm();
  await Bun.sleep(20);
  expect(watched.rung).toBe(2);
  watched.bell.arm();
  watched.bell.disarm();
  await Bun.sleep(20);
  expect(watched.rung).toBe(2);
  watched.bell.arm();
  watched.bell.close();
  await Bun.sleep(20);
  expect(watched.rung).toBe(2);
});

test("a descriptor that Bun can't watch is replaced by the timer", async () => {
  const watched = open({ bellOpen: () => openSync("/dev/null", "r"), arm: () => 0, disarm: () => {} });
  for (let i = 0; i < 200 && watched.bell.kind === "socket"; i++) await Bun.sleep(5);
  expect(watched.bell.kind).toBe("timer");
  expect(watched.bell.arm()).toBe(0);
  await Bun.sleep(20);
  expect(watched.rung).toBe(1);
});

test("a bell that can't be armed, time and again, is given up", async () => {
  const watched = open({ bellOpen: () => socketPair(), arm: () => -11, disarm: () => {} });
  for (let i = 0; i < 200 && watched.bell.kind === "socket"; i++) {
    expect(watched.bell.arm()).toBe(-1);
    await Bun.sleep(1);
  }
  expect(watched.bell.kind).toBe("timer");
});

test("the timer for want of a descriptor is for a while, that for want of a socket that works for good", async () => {
  const lacking = open({ bellOpen: () => -24 });
  const broken = open({ bellOpen: () => openSync("/dev/null", "r"), arm: () => 0, disarm: () => {} });
  for (let i = 0; i < 200 && broken.bell.kind === "socket"; i++) await Bun.sleep(5);
  expect([lacking.bell.kind, broken.bell.kind]).toEqual(["timer", "timer"]);
  expect([lacking.bell.isOutdated(), broken.bell.isOutdated()]).toEqual([false, false]);
  await Bun.sleep(400);
  expect([lacking.bell.isOutdated(), broken.bell.isOutdated()]).toEqual([true, false]);
});

testUnless(
  backend !== "io_uring" && "no ring",
  "a ring whose first sleep found no descriptor gets its socket later",
  async () => {
    await shutdown();
    const path = tmp.fifo();
    await using handle = await openFile(path, "r+");
    const native = existingThread()!.native as { bellOpen: Native["bellOpen"] };
    const { bellOpen } = native;
    native.bellOpen = () => -24;
    const buffer = Buffer.alloc(8);
    const read = handle.read(buffer);
    const kind = (): string | null => capabilities().doorbell;
    for (let i = 0; i < 200 && kind() === null; i++) await Bun.sleep(5);
    expect(kind()).toBe("timer");
    native.bellOpen = bellOpen;
    for (let i = 0; i < 400 && kind() !== "socket"; i++) await Bun.sleep(5);
    expect(kind()).toBe("socket");
    await Bun.sleep(50);
    await using writer = await openFile(path, "r+");
    await writer.write("12345678");
    expect((await read).bytesRead).toBe(8);
  },
);

function socketPair(): number {
  const libc = dlopen("libc.so.6", {
    socketpair: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  });
  const pair = new Int32Array(2);
  expect(libc.symbols.socketpair(1, 1, 0, ptr(pair))).toBe(0);
  return pair[0]!;
}
