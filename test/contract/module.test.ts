// Owns the module's outside: which functions there are, named and by default, and how FileHandle looks.
// Assumes Node 26's list; what Bun adds to it is no promise of this package.
// Never covers what a function does.

import { expect, test } from "bun:test";
import { constants } from "node:fs";
import { forEachImplementation, ours } from "../helpers/backends.ts";
import { missing } from "../helpers/requirements.ts";
import { testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

const FUNCTIONS =
  "access 1 appendFile 3 chmod 2 chown 3 copyFile 3 cp 3 glob 2 lchmod 2 lchown 3 link 2 lstat 1 lutimes 3 mkdir 2 mkdtemp 2 mkdtempDisposable 2 open 3 opendir 3 readFile 2 readdir 2 readlink 2 realpath 2 rename 2 rm 2 rmdir 2 stat 1 statfs 1 symlink 3 truncate 1 unlink 1 utimes 3 watch 1 writeFile 3";
const METHODS =
  "appendFile 2 chmod 1 chown 2 close 0 createReadStream 0 createWriteStream 0 datasync 0 read 4 readFile 1 readLines 0 readableWebStream 0 readv 2 stat 1 sync 0 truncate 0 utimes 2 write 4 writeFile 2 writev 2";
/** Names and Node 26's Function.lengths of a list as those above. */
const entriesOf = (list: string): [name: string, length: number][] =>
  Array.from(list.matchAll(/(\w+) (\d)/g), ([, name, length]) => [name!, Number(length)]);

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();

  it("has every function of node:fs/promises, under its own name", () => {
    for (const [name] of entriesOf(FUNCTIONS)) {
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

  it("functions and methods have Node's lengths", async () => {
    await using handle: any = await fs.open(tmp.file());
    const lengths = (of: any, list: string): string =>
      entriesOf(list)
        .map(([name]) => `${name} ${of[name].length}`)
        .join(" ");
    expect(lengths(fs, FUNCTIONS)).toBe(FUNCTIONS);
    expect(lengths(handle, METHODS)).toBe(METHODS);
    expect(handle.constructor.name).toBe("FileHandle");
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
    for (const [name] of entriesOf(METHODS)) expect(`${name}: ${typeof handle[name]}`).toBe(`${name}: function`);
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
testUnless(
  (ours === undefined || asked === undefined || asked === "auto") && "no backend is asked for",
  "runs on the backend that was asked for",
  async () => {
    const { backend } = await import("../../src/index.ts" as string);
    expect(backend).toBe(asked === "node" ? "node" : "io_uring");
  },
);

const simulated = process.env["BUN_URING_KERNEL"] !== undefined;
const noRing = ours === undefined ? "only the oracle" : simulated ? "a simulated kernel" : missing(["ioUring"]);
test.skipIf(noRing !== null || asked === "node")(
  `an automatic choice is the ring where the kernel gives one${noRing === null ? "" : ` [skipped: ${noRing}]`}`,
  async () => {
    const { backend, capabilities } = (await import(
      "../../src/index.ts" as string
    )) as typeof import("../../src/index.ts");
    expect([backend, capabilities().reason]).toEqual(["io_uring", null]);
  },
);
