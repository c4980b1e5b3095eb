// Setting a ring up: what is asked for is had or said, limits shrink it before they refuse it, and every refusal names its remedy.
// Assumes a kernel that gives rings, and prlimit for the limits.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Opcode, SqeFlag } from "../../src/kernel/sqe.ts";
import { SetupFlag } from "../../src/ring/ring.ts";
import { explain, featureNames, setUp, setupFlagNames } from "../../src/ring/setup.ts";
import { runCase } from "../helpers/child.ts";
import { openFds } from "../helpers/fds.ts";
import { missing } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { testUnless } from "../helpers/skip.ts";
import { endThread, nop, smallThread, submitOne } from "../helpers/small-ring.ts";

const fixture = join(import.meta.dir, "capabilities.child.ts");
const SQPOLL = 2;

describe("setUp", () => {
  const older = lacking("direct descriptors", "limits of io-wq", "restrictions");
  testUnless(
    older,
    "makes a ring of the size asked for, never with SQPOLL, restricted to what the package uses",
    async () => {
      const t = smallThread({ entries: 16, cqEntries: 32 });
      const { ring, restricted, workers, directDescriptors } = t.setup;
      expect([ring.sqEntries, ring.cqEntries]).toEqual([16, 32]);
      expect(ring.setupFlags & SQPOLL).toBe(0);
      expect(restricted).toBe(true);
      expect(workers.bounded).toBeGreaterThan(0);
      expect(workers.unbounded).toBeGreaterThan(0);
      expect(directDescriptors).toBe(256);
      const SENDMSG = 9;
      expect(await submitOne(ring, { opcode: SENDMSG })).toBe(-13);
      expect(await submitOne(ring, { opcode: Opcode.NOP, flags: SqeFlag.ASYNC })).toBe(0);
      endThread(t);
    },
  );

  test("knows the opcodes that the kernel has", () => {
    const t = smallThread();
    for (const name of ["NOP", "READ", "WRITE", "OPENAT", "CLOSE", "STATX"] as const)
      expect(t.setup.opcodes[Opcode[name]]).toBe(1);
    expect(t.setup.opcodes[250]).toBe(0);
    endThread(t);
  });

  test("two rings of one thread don't know each other", async () => {
    const one = smallThread();
    const other = smallThread();
    const [a, b] = [one.ring.completed, other.ring.completed];
    await nop(one.ring);
    expect([one.ring.completed - a, other.ring.completed - b]).toEqual([1, 0]);
    endThread(one);
    expect(await nop(other.ring)).toBe(0);
    endThread(other);
  });

  test("a ring that was closed leaves no descriptor and no mapping of its own", async () => {
    // Of the kinds that a ring has: what other tests of this process let go of meanwhile is not to be counted.
    const fds = (): number => [...openFds().values()].filter((target) => /io_uring|eventfd/.test(target)).length;
    endThread(smallThread());
    const mappings = (): number => readFileSync("/proc/self/maps", "latin1").split("anon_inode:[io_uring]").length - 1;
    const before = { fds: fds(), mappings: mappings() };
    for (let i = 0; i < 20; i++) {
      const t = smallThread();
      await nop(t.ring);
      expect(fds()).toBe(before.fds + 1);
      expect(mappings()).toBeGreaterThan(before.mappings);
      endThread(t);
    }
    expect({ fds: fds(), mappings: mappings() }).toEqual(before);
  });

  test("a wrong set of flags is said, not thrown", () => {
    const made = setUp({ entries: 8, cqEntries: 8, extraFlags: 0x8000_0000 });
    expect(made).toMatchObject({ code: "EINVAL", errno: -22 });
  });

  const noTable = missing(["prlimit"]) ?? lacking("direct descriptors");
  testUnless(noTable, "with few descriptors allowed the direct table is smaller, and works", async () => {
    const seen = await runCase<any>(fixture, "fewDescriptors", {
      prefix: ["prlimit", "--nofile=100", "--"],
      env: { BUN_URING_BACKEND: "uring" },
    });
    expect(seen).toEqual({ direct: 64, read: 3000, written: 5 });
  });
});

describe("explain", () => {
  const cases: [number, string, RegExp, RegExp][] = [
    [-38, "ENOSYS", /no io_uring/, /5\.6/],
    [-12, "ENOMEM", /RLIMIT_MEMLOCK/, /ulimit -l/],
    [-95, "ENOTSUP", /can't be used/, /node backend/],
  ];
  for (const [errno, code, message, remedy] of cases)
    test(`${code} has a cause and a remedy`, () => {
      const reason = explain(errno);
      expect(reason).toMatchObject({ errno, code });
      expect(reason.message).toMatch(message);
      expect(reason.remedy).toMatch(remedy);
    });

  test("EPERM names the sysctl or the seccomp profile", () => {
    const known = existsSync("/proc/sys/kernel/io_uring_disabled");
    expect(explain(-1).message).toMatch(known ? /seccomp|io_uring_disabled/ : /seccomp/);
  });
});

test("bits have the kernel's names", () => {
  expect(featureNames(0b1011)).toEqual(["SINGLE_MMAP", "NODROP", "RW_CUR_POS"]);
  expect(setupFlagNames(SetupFlag.DEFER_TASKRUN | SetupFlag.SINGLE_ISSUER)).toEqual(["SINGLE_ISSUER", "DEFER_TASKRUN"]);
});
