// Owns rename, unlink and rmdir.
// Assumes /dev/shm, where it exists, is another file system than the temporary folder.
// Never covers rm, which has its own file.

import { expect } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

const otherFileSystem = existsSync("/dev/shm") ? "/dev/shm" : undefined;

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const shm = otherFileSystem === undefined ? undefined : scratch(otherFileSystem);

  it("rename moves a file and resolves to undefined", async () => {
    const from = tmp.file("content");
    const to = tmp.path();
    expect(await fs.rename(from, to)).toBeUndefined();
    expect(existsSync(from)).toBe(false);
    expect(readFileSync(to, "utf8")).toBe("content");
  });

  it("rename replaces a file, and a folder only when that is empty", async () => {
    const from = tmp.file("new");
    const to = tmp.file("old");
    await fs.rename(from, to);
    expect(readFileSync(to, "utf8")).toBe("new");
    const folder = tmp.folder();
    writeFileSync(join(folder, "x"), "");
    await fs.rename(folder, tmp.folder());
    const full = tmp.folder();
    writeFileSync(join(full, "x"), "");
    const other = tmp.folder();
    await expectSystemError(fs.rename(other, full), { code: "ENOTEMPTY", syscall: "rename", path: other, dest: full });
  });

  it("rename of a path to itself does nothing", async () => {
    const path = tmp.file("content");
    await fs.rename(path, path);
    expect(readFileSync(path, "utf8")).toBe("content");
  });

  it("rename moves a symbolic link, not its target", async () => {
    const target = tmp.file("content");
    const link = tmp.path("link");
    const to = tmp.path("moved");
    symlinkSync(target, link);
    await fs.rename(link, to);
    expect(readlinkSync(to)).toBe(target);
    expect(existsSync(target)).toBe(true);
  });

  it("rename takes Buffers and URLs", async () => {
    const from = tmp.file("content");
    const to = tmp.path("with space");
    await fs.rename(Buffer.from(from), pathToFileURL(to));
    expect(readFileSync(to, "utf8")).toBe("content");
  });

  it("rename keeps an open handle on its file", async () => {
    const from = tmp.file("content");
    await using handle = await fs.open(from);
    await fs.rename(from, tmp.path());
    writeFileSync(from, "another");
    expect(await handle.readFile("utf8")).toBe("content");
  });

  it("rename fails like rename(2), with both paths", async () => {
    const file = tmp.file();
    const folder = tmp.folder();
    const missing = tmp.path();
    const sub = join(folder, "sub");
    const cases: [path: string, dest: string, code: string][] = [
      [missing, tmp.path(), "ENOENT"],
      [file, join(missing, "x"), "ENOENT"],
      [file, folder, "EISDIR"],
      [folder, file, "ENOTDIR"],
      [folder, sub, "EINVAL"],
      [`${file}/x`, tmp.path(), "ENOTDIR"],
      ["", tmp.path(), "ENOENT"],
    ];
    for (const [path, dest, code] of cases) {
      await expectSystemError(fs.rename(path, dest), { code, syscall: "rename", path, dest });
    }
  });

  if (shm !== undefined) {
    it("rename and link across file systems fail with EXDEV", async () => {
      const path = tmp.file();
      const dest = shm.path();
      await expectSystemError(fs.rename(path, dest), { code: "EXDEV", syscall: "rename", path, dest });
      await expectSystemError(fs.link(path, dest), { code: "EXDEV", syscall: "link", path, dest });
    });

    it("works on tmpfs", async () => {
      const folder = shm.folder();
      const from = join(folder, "a");
      await fs.writeFile(from, "content");
      await fs.rename(from, join(folder, "b"));
      await fs.unlink(join(folder, "b"));
      await fs.rmdir(folder);
      expect(existsSync(folder)).toBe(false);
    });
  }

  it("rename names the argument it refuses", async () => {
    const wanted = "must be of type string or an instance of Buffer or URL. Received";
    const rename = fs.rename as any;
    await expectArgumentError(() => rename(), "ERR_INVALID_ARG_TYPE", `The "oldPath" argument ${wanted} undefined`);
    await expectArgumentError(() => rename("a"), "ERR_INVALID_ARG_TYPE", `The "newPath" argument ${wanted} undefined`);
    await expectArgumentError(
      () => rename("a", 1),
      "ERR_INVALID_ARG_TYPE",
      `The "newPath" argument ${wanted} type number (1)`,
    );
  });

  it("unlink removes a file and a symbolic link, not its target", async () => {
    const path = tmp.file();
    const link = tmp.path("link");
    symlinkSync(path, link);
    expect(await fs.unlink(link)).toBeUndefined();
    expect(existsSync(path)).toBe(true);
    await fs.unlink(path);
    expect(existsSync(path)).toBe(false);
  });

  it("unlink of one name leaves the other", async () => {
    const path = tmp.file("content");
    const other = tmp.path();
    await fs.link(path, other);
    await fs.unlink(path);
    expect(readFileSync(other, "utf8")).toBe("content");
    expect(statSync(other).nlink).toBe(1);
  });

  it("unlink fails like unlink(2)", async () => {
    const folder = tmp.folder();
    const missing = tmp.path();
    await expectSystemError(fs.unlink(folder), { code: "EISDIR", syscall: "unlink", path: folder });
    await expectSystemError(fs.unlink(missing), { code: "ENOENT", syscall: "unlink", path: missing });
    await expectSystemError(fs.unlink(""), { code: "ENOENT", syscall: "unlink", path: "" });
  });

  it("unlinks 200 files at once", async () => {
    const paths = Array.from({ length: 200 }, () => tmp.file());
    await Promise.all(paths.map((path) => fs.unlink(path)));
    expect(paths.some((path) => existsSync(path))).toBe(false);
  });

  it("rmdir removes an empty folder only", async () => {
    const folder = tmp.folder();
    expect(await fs.rmdir(folder)).toBeUndefined();
    expect(existsSync(folder)).toBe(false);
    const full = tmp.folder();
    mkdirSync(join(full, "sub"));
    await expectSystemError(fs.rmdir(full), { code: "ENOTEMPTY", syscall: "rmdir", path: full });
  });

  it("rmdir fails like rmdir(2)", async () => {
    const file = tmp.file();
    const missing = tmp.path();
    const link = tmp.path("link");
    symlinkSync(tmp.folder(), link);
    await expectSystemError(fs.rmdir(file), { code: "ENOTDIR", syscall: "rmdir", path: file });
    await expectSystemError(fs.rmdir(missing), { code: "ENOENT", syscall: "rmdir", path: missing });
    await expectSystemError(fs.rmdir(link), { code: "ENOTDIR", syscall: "rmdir", path: link });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
  });

  it("rmdir no longer takes the recursive option", async () => {
    const folder = tmp.folder();
    for (const recursive of [true, false]) {
      await expectArgumentError(
        () => (fs.rmdir as any)(folder, { recursive }),
        "ERR_INVALID_ARG_VALUE",
        `The property 'options.recursive' is no longer supported. Received ${recursive}`,
      );
    }
    expect(existsSync(folder)).toBe(true);
  });
}, "rename-unlink-rmdir");
