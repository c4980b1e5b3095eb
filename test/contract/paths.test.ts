// Owns what counts as a path, for every function that takes one: strings, Buffers, file: URLs, and what is refused.
// Assumes a file system that stores names as bytes (ext4, tmpfs), so that names which are no UTF-8 exist.
// Never covers what each function does with its path; their own files do.

import { expect } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chdir, cwd } from "node:process";
import { pathToFileURL } from "node:url";
import { type Fs, forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

type Call = [name: string, argument: string, call: (fs: any, path: any) => unknown];

/** Every function with one path, and each path of those with two; the other arguments are right. */
const CALLS: Call[] = [
  ["access", "path", (fs, path) => fs.access(path)],
  ["appendFile", "path", (fs, path) => fs.appendFile(path, "x")],
  ["chmod", "path", (fs, path) => fs.chmod(path, 0o644)],
  ["chown", "path", (fs, path) => fs.chown(path, 0, 0)],
  ["copyFile src", "src", (fs, path) => fs.copyFile(path, "x")],
  ["copyFile dest", "dest", (fs, path) => fs.copyFile("x", path)],
  ["cp src", "src", (fs, path) => fs.cp(path, "x")],
  ["cp dest", "dest", (fs, path) => fs.cp("x", path)],
  ["lchown", "path", (fs, path) => fs.lchown(path, 0, 0)],
  ["link existing", "existingPath", (fs, path) => fs.link(path, "x")],
  ["link new", "newPath", (fs, path) => fs.link("x", path)],
  ["lstat", "path", (fs, path) => fs.lstat(path)],
  ["lutimes", "path", (fs, path) => fs.lutimes(path, 0, 0)],
  ["mkdir", "path", (fs, path) => fs.mkdir(path)],
  ["mkdir recursive", "path", (fs, path) => fs.mkdir(path, { recursive: true })],
  ["mkdtemp", "prefix", (fs, path) => fs.mkdtemp(path)],
  ["open", "path", (fs, path) => fs.open(path)],
  ["opendir", "path", (fs, path) => fs.opendir(path)],
  ["readFile", "path", (fs, path) => fs.readFile(path)],
  ["readdir", "path", (fs, path) => fs.readdir(path)],
  ["readdir recursive", "path", (fs, path) => fs.readdir(path, { recursive: true })],
  // Node itself says oldPath here.
  ["readlink", "oldPath", (fs, path) => fs.readlink(path)],
  ["realpath", "path", (fs, path) => fs.realpath(path)],
  ["rename old", "oldPath", (fs, path) => fs.rename(path, "x")],
  ["rename new", "newPath", (fs, path) => fs.rename("x", path)],
  ["rm", "path", (fs, path) => fs.rm(path)],
  ["rmdir", "path", (fs, path) => fs.rmdir(path)],
  ["stat", "path", (fs, path) => fs.stat(path)],
  ["statfs", "path", (fs, path) => fs.statfs(path)],
  ["symlink target", "target", (fs, path) => fs.symlink(path, "x")],
  ["symlink path", "path", (fs, path) => fs.symlink("x", path)],
  ["truncate", "path", (fs, path) => fs.truncate(path)],
  ["unlink", "path", (fs, path) => fs.unlink(path)],
  ["utimes", "path", (fs, path) => fs.utimes(path, 0, 0)],
  ["writeFile", "path", (fs, path) => fs.writeFile(path, "x")],
];

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();

  for (const [name, argument, call] of CALLS) {
    it(`${name} refuses what is no path`, async () => {
      const wanted = `The "${argument}" argument must be of type string or an instance of Buffer or URL. Received`;
      const cases: [value: any, received: string][] = [
        [undefined, "undefined"],
        [null, "null"],
        [true, "type boolean (true)"],
        [{}, "an instance of Object"],
        [[], "an instance of Array"],
        [new ArrayBuffer(4), "an instance of ArrayBuffer"],
        [new Uint16Array(2), "an instance of Uint16Array"],
      ];
      for (const [value, received] of cases) {
        await expectArgumentError(() => call(fs, value) as any, "ERR_INVALID_ARG_TYPE", `${wanted} ${received}`);
      }
    });

    it(`${name} refuses a NUL byte`, async () => {
      const wanted = `The argument '${argument}' must be a string, Uint8Array, or URL without null bytes. Received`;
      await expectArgumentError(() => call(fs, "a\0b") as any, "ERR_INVALID_ARG_VALUE", `${wanted} 'a\\x00b'`);
      await expectArgumentError(() => call(fs, Buffer.from("a\0b")) as any, "ERR_INVALID_ARG_VALUE");
      await expectArgumentError(() => call(fs, new URL("file:///a%00b")) as any, "ERR_INVALID_ARG_VALUE");
    });

    it(`${name} refuses a URL that names no file`, async () => {
      for (const [url, code] of [
        ["http://example.org/x", "ERR_INVALID_URL_SCHEME"],
        ["file://host/x", "ERR_INVALID_FILE_URL_HOST"],
        ["file:///a%2fb", "ERR_INVALID_FILE_URL_PATH"],
      ] as const) {
        const error = await rejection(async () => call(fs, new URL(url)));
        expect({ code: error.code, type: error instanceof TypeError }).toEqual({ code, type: true });
      }
    });
  }

  it("names that are no UTF-8 go through unchanged as Buffers", async () => {
    const folder = tmp.folder();
    const path = (...bytes: number[]): Buffer => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(bytes)]);
    const names = () =>
      readdirSync(folder, { encoding: "buffer" })
        .map((name) => name.toString("hex"))
        .sort();
    const odd = path(0xff, 0xfe, 0x41);
    await fs.writeFile(odd, "content");
    expect(names()).toEqual(["fffe41"]);
    expect(await fs.readFile(odd, "utf8")).toBe("content");
    expect((await fs.stat(odd)).size).toBe(7);
    expect((await fs.lstat(odd)).isFile()).toBe(true);
    await fs.rename(odd, path(0x80));
    await fs.copyFile(path(0x80), path(0xc3, 0x28));
    await fs.mkdir(path(0xe2, 0x82));
    await fs.link(path(0x80), path(0xfd));
    await fs.symlink(Buffer.from([0xfa]), path(0xfb));
    expect(names()).toEqual(["80", "c328", "e282", "fb", "fd"]);
    expect(await fs.readlink(path(0xfb), { encoding: "buffer" })).toEqual(Buffer.from([0xfa]));
    expect((await fs.readdir(folder, "buffer")).map((name) => name.toString("hex")).sort()).toEqual(names());
    await using handle = await fs.open(path(0xfd));
    expect(await handle.readFile("utf8")).toBe("content");
    await fs.rmdir(path(0xe2, 0x82));
    for (const byte of [[0x80], [0xc3, 0x28], [0xfb], [0xfd]]) await fs.unlink(path(...byte));
    expect(names()).toEqual([]);
  });

  it("an error about a Buffer path shows it as text", async () => {
    const path = tmp.path("näme");
    await expectSystemError(fs.stat(Buffer.from(path)), { code: "ENOENT", syscall: "stat", path });
    await expectSystemError(fs.readFile(Buffer.from(path)), { code: "ENOENT", syscall: "open", path });
  });

  it("an error about a URL shows its path", async () => {
    const path = tmp.path("with space");
    await expectSystemError(fs.stat(pathToFileURL(path)), { code: "ENOENT", syscall: "stat", path });
  });

  it("URLs decode their escapes", async () => {
    const path = tmp.path("ä %41#?");
    await fs.writeFile(pathToFileURL(path), "content");
    expect(existsSync(path)).toBe(true);
    expect(await fs.readFile(new URL(`file://localhost${pathToFileURL(path).pathname}`), "utf8")).toBe("content");
  });

  it("relative paths are taken from the working directory of the call", async () => {
    const [one, two] = [tmp.folder(), tmp.folder()];
    writeFileSync(join(one, "name"), "one");
    writeFileSync(join(two, "name"), "two");
    const before = cwd();
    try {
      chdir(one);
      expect(await fs.readFile("name", "utf8")).toBe("one");
      expect((await fs.stat("./name")).size).toBe(3);
      chdir(two);
      expect(await fs.readFile("name", "utf8")).toBe("two");
    } finally {
      chdir(before);
    }
  });

  it("paths keep their doubled slashes, dots and trailing slash", async () => {
    const folder = tmp.folder();
    await fs.writeFile(`${folder}//./name`, "content");
    expect(await fs.readFile(`${folder}/../${folder.split("/").at(-1)}/name`, "utf8")).toBe("content");
    expect((await fs.stat(`${folder}/`)).isDirectory()).toBe(true);
    await expectSystemError(fs.stat(`${folder}/name/`), { code: "ENOTDIR", syscall: "stat", path: `${folder}/name/` });
  });

  it("a name of 255 bytes works, one of 256 and a path of 4096 do not", async () => {
    const folder = tmp.folder();
    const longest = join(folder, "n".repeat(255));
    await fs.writeFile(longest, "x");
    expect(await fs.readFile(longest, "utf8")).toBe("x");
    const long = join(folder, "n".repeat(256));
    await expectSystemError(fs.stat(long), { code: "ENAMETOOLONG", syscall: "stat", path: long });
    const path = `/${"./".repeat(2047)}x`;
    expect(path.length).toBe(4096);
    await expectSystemError(fs.stat(path), { code: "ENAMETOOLONG", syscall: "stat", path });
    await expectSystemError(fs.readFile(path), { code: "ENAMETOOLONG", syscall: "open", path });
  });

  it("a path of 4095 bytes works", async () => {
    const file = tmp.file("content");
    const padded = file.padStart(4095, "/");
    expect((await fs.stat(padded)).size).toBe(7);
    expect(await fs.readFile(padded, "utf8")).toBe("content");
  });

  it("a path string may be changed by the caller's Buffer after the call", async () => {
    const path = tmp.file("content");
    const bytes = Buffer.from(path);
    const read = fs.readFile(bytes, "utf8");
    const opened = (fs as Fs).stat(Buffer.from(path));
    bytes.fill(0x2f);
    expect(await read).toBe("content");
    expect((await opened).size).toBe(7);
  });

  it("a lone surrogate is written as U+FFFD", async () => {
    const folder = tmp.folder();
    await fs.writeFile(join(folder, "a\ud800b"), "x");
    expect(readdirSync(folder)).toEqual(["a\ufffdb"]);
    expect(await fs.readFile(join(folder, "a\ud800b"), "utf8")).toBe("x");
  });
}, "paths");
