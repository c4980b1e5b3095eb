// Owns the module's outside: which functions there are, named and by default, and how FileHandle looks.
// Assumes Node 26's list; what Bun adds to it is no promise of this package.
// Never covers what a function does.

import { expect, test } from "bun:test";
import { constants } from "node:fs";
import { forEachImplementation, ours } from "../helpers/backends.ts";
import { scratch } from "../helpers/tmp.ts";

const FUNCTIONS =
  "access appendFile chmod chown copyFile cp glob lchmod lchown link lstat lutimes mkdir mkdtemp mkdtempDisposable open opendir readFile readdir readlink realpath rename rm rmdir stat statfs symlink truncate unlink utimes watch writeFile";
const METHODS =
  "appendFile chmod chown close createReadStream createWriteStream datasync read readFile readLines readableWebStream readv stat sync truncate utimes write writeFile writev";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();

  it("has every function of node:fs/promises, under its own name", () => {
    for (const name of FUNCTIONS.split(" ")) {
      const member = (fs as any)[name];
      expect(`${name}: ${typeof member}`).toBe(`${name}: function`);
      if (name !== "watch") expect(member.name).toBe(name);
    }
  });

  it("has node:fs's constants", () => {
    for (const [name, value] of Object.entries(constants)) {
      expect(`${name} ${(fs.constants as any)[name]}`).toBe(`${name} ${value}`);
    }
  });

  it("its functions need no this", async () => {
    const { readFile, stat, open } = fs;
    const path = tmp.file("content");
    expect(await readFile(path, "utf8")).toBe("content");
    expect((await stat(path)).size).toBe(7);
    await (await open(path)).close();
  });

  it("FileHandle has every method of Node's", async () => {
    await using handle: any = await fs.open(tmp.file());
    for (const name of METHODS.split(" ")) expect(`${name}: ${typeof handle[name]}`).toBe(`${name}: function`);
    expect(typeof handle[Symbol.asyncDispose]).toBe("function");
    for (const name of ["on", "once", "off", "emit"]) expect(typeof handle[name]).toBe("function");
  });

  it("FileHandle methods return promises, also when they refuse an argument", async () => {
    await using handle: any = await fs.open(tmp.file(), "r+");
    for (const call of ["read", "write", "readv", "writev", "truncate", "chmod", "chown", "utimes", "writeFile"]) {
      const result = handle[call]("nonsense", {}, {});
      expect(result).toBeInstanceOf(Promise);
      await result.catch(() => {});
    }
  });
}, "module");

const asked = process.env.BUN_URING_BACKEND;
test.skipIf(ours === undefined || asked === undefined || asked === "auto")(
  "runs on the backend that was asked for",
  async () => {
    const { backend } = await import("../../src/index.ts" as string);
    expect(backend).toBe(asked === "node" ? "node" : "io_uring");
  },
);
