// Owns that a missing opcode costs one function only: that one is node:fs's, with the same results and errors.
// Assumes the kernel here has every opcode, and tells the choice that it lacks some.

import { expect, test } from "bun:test";
import { existsSync, lstatSync, readFileSync, statSync } from "node:fs";
import { currentBackend } from "../../src/backend/choose.ts";
import type { Backend } from "../../src/backend/interface.ts";
import { nodeBackend } from "../../src/backend/node.ts";
import { delegateMissing } from "../../src/backend/ring-backend.ts";
import { uringBackend } from "../../src/backend/uring/backend.ts";
import { FileHandle } from "../../src/handle/file-handle.ts";
import { Opcode, type OpcodeName } from "../../src/kernel/sqe.ts";
import { expectSystemError } from "../helpers/expect-error.ts";
import { describeUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const BY_OPCODE: [OpcodeName, (keyof Backend)[]][] = [
  ["RENAMEAT", ["rename"]],
  ["UNLINKAT", ["unlink", "rmdir"]],
  ["MKDIRAT", ["mkdir"]],
  ["SYMLINKAT", ["symlink"]],
  ["LINKAT", ["link"]],
  ["FTRUNCATE", ["ftruncate"]],
];

const without = (...names: OpcodeName[]): Backend => {
  const opcodes = new Uint8Array(256).fill(1);
  for (const name of names) opcodes[Opcode[name]] = 0;
  return delegateMissing(opcodes);
};

describeUnless(currentBackend().name !== "io_uring" && "no ring", "a missing opcode", () => {
  const tmp = scratch();

  test("none: the ring does everything", () => {
    expect(without()).toBe(uringBackend);
  });

  for (const [opcode, names] of BY_OPCODE) {
    test(`${opcode}: ${names.join(" and ")} alone are delegated`, () => {
      const backend = without(opcode);
      expect(backend.name).toBe("io_uring");
      const changed = Object.keys(uringBackend).filter((key) => backend[key as never] !== uringBackend[key as never]);
      expect(changed.sort()).toEqual([...names].sort());
    });
  }

  test("all of them: the delegated functions work, and fail as the ring's do", async () => {
    const backend = without(...BY_OPCODE.map(([opcode]) => opcode));
    const folder = tmp.path();
    const [a, b, c] = [`${folder}/a`, `${folder}/b`, `${folder}/c`];
    await backend.mkdir(folder, 0o700);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    await backend.writeFile(a, Buffer.from("content"), 0o101, 0o666, {});
    await backend.link(a, b);
    await backend.symlink("b", c);
    expect(lstatSync(c).isSymbolicLink()).toBe(true);
    await backend.unlink(c);
    await backend.rename(b, c);
    expect([existsSync(b), readFileSync(c, "utf8")]).toEqual([false, "content"]);
    await expectSystemError(backend.mkdir(folder, 0), { code: "EEXIST", syscall: "mkdir", path: folder });
    await expectSystemError(backend.rename(b, a), { code: "ENOENT", syscall: "rename", path: b, dest: a });
    await backend.unlink(a);
    await backend.unlink(c);
    await backend.rmdir(folder);
    expect(existsSync(folder)).toBe(false);
  });

  test("a handle is closed only after what was delegated on it", async () => {
    const backend = without("FTRUNCATE");
    expect(backend.ftruncate === nodeBackend.ftruncate).toBe(false);
    const path = tmp.file("0123456789");
    const handle = new FileHandle(await backend.open(path, 2, 0), backend);
    const done: string[] = [];
    const truncated = handle.truncate(4).then(() => done.push("truncated"));
    const read = handle.read(Buffer.alloc(2), 0, 2, 0);
    const closed = handle.close().then(() => done.push("closed"));
    await Promise.all([truncated, read, closed]);
    expect(done).toEqual(["truncated", "closed"]);
    expect(readFileSync(path, "utf8")).toBe("0123");
  });
});
