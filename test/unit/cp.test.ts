// Owns what cp does beyond the contract test: modes and times, links onto links, odd names, trees of many files, failures.
// Assumes a file system with hard links that stores names as bytes. Runs on the backend of the process.
// Expected results are Node 26's; where it would go on for ever (a tree into itself by a link), ours are named so.

import { afterEach, expect, test } from "bun:test";
import {
  chmodSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { cp } from "../../src/tree/cp.ts";
import { expectArgumentError, expectSystemError, rejection } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const RECURSIVE = { recursive: true };
const umask = process.umask();
const cwd = process.cwd();
afterEach(() => {
  process.umask(umask);
  process.chdir(cwd);
  expect(tmp.openFiles()).toEqual([]);
});

const mode = (path: string): number => statSync(path).mode & 0o7777;
const refused = async (action: Promise<void>, code: string, errnoName: string, text: string, path: string) => {
  const error = await rejection(action);
  const message = /\((.*)\) /s.exec(error.message)?.[1];
  expect([error.code, message, error.path, error.syscall, error.info.code]).toEqual([
    code,
    text,
    path,
    "cp",
    errnoName,
  ]);
  expect(error.message).toEndWith(`: cp returned ${errnoName} (${text}) ${path}`);
};

test("a tree of many files, small, large and empty", async () => {
  const src = tmp.folder();
  const contents = new Map<string, Buffer>();
  for (let folder = 0; folder < 40; folder++) {
    mkdirSync(join(src, `${folder}/deep`), RECURSIVE);
    for (let i = 0; i < 25; i++) contents.set(`${folder}/${i}`, patternBytes(i * 40, folder * 25 + i + 1));
    contents.set(`${folder}/deep/large`, patternBytes(150_000 + folder, folder + 1));
  }
  for (const [name, bytes] of contents) writeFileSync(join(src, name), bytes);
  const dest = tmp.path();
  await cp(src, dest, RECURSIVE);
  expect(readdirSync(dest, RECURSIVE).sort()).toEqual(readdirSync(src, RECURSIVE).sort());
  for (const [name, bytes] of contents) expect(bytes.equals(readFileSync(join(dest, name)))).toBe(true);
});

test("modes are the source's, whatever the umask, set-id and sticky bits too", async () => {
  const src = tmp.folder();
  mkdirSync(join(src, "sticky"));
  mkdirSync(join(src, "closed"));
  for (const name of ["set-id", "write-only", "open", "closed/file"]) writeFileSync(join(src, name), name);
  const modes = {
    "set-id": 0o6755,
    "write-only": 0o222,
    open: 0o666,
    sticky: 0o1777,
    closed: 0o500,
    "closed/file": 0o444,
  };
  for (const [name, bits] of Object.entries(modes)) chmodSync(join(src, name), bits);
  for (const options of [RECURSIVE, { recursive: true, preserveTimestamps: true }]) {
    const dest = tmp.path();
    process.umask(0o077);
    await cp(src, dest, options);
    for (const [name, bits] of Object.entries(modes)) expect([name, mode(join(dest, name))]).toEqual([name, bits]);
  }
});

test("a folder that was there keeps its mode", async () => {
  const src = tmp.folder();
  const dest = tmp.folder();
  for (const [folder, bits] of [
    [src, 0o700],
    [dest, 0o750],
  ] as const) {
    mkdirSync(join(folder, "sub"));
    chmodSync(join(folder, "sub"), bits);
  }
  await cp(src, dest, RECURSIVE);
  expect(mode(join(dest, "sub"))).toBe(0o750);
});

test("preserveTimestamps keeps the times of files and folders, to less than a millisecond", async () => {
  const src = tmp.folder();
  mkdirSync(join(src, "sub"));
  writeFileSync(join(src, "sub/file"), "x");
  chmodSync(join(src, "sub/file"), 0o666); // so that the copy's mode has to be set as well
  utimesSync(join(src, "sub/file"), 1000.25, 2000.125);
  for (const name of ["sub", "."]) utimesSync(join(src, name), 3000, 4000.5);
  const [plain, kept] = [tmp.path(), tmp.path()];
  // In this order, as reading a file changes its access time.
  await cp(src, kept, { recursive: true, preserveTimestamps: true });
  const accessedAfter = statSync(join(src, "sub/file")).atimeMs;
  await cp(src, plain, RECURSIVE);
  const times = (path: string): number[] => [statSync(path).atimeMs, statSync(path).mtimeMs];
  // The access time is the one that reading has left, as in Node.
  const [accessed, modified] = times(join(kept, "sub/file"));
  expect(accessed).toBeCloseTo(accessedAfter, 0);
  expect(modified).toBe(2_000_125);
  for (const name of ["sub", "."]) expect(statSync(join(kept, name)).mtimeMs).toBe(4_000_500);
  for (const name of ["sub/file", "sub", "."])
    for (const time of times(join(plain, name))) expect(time).toBeGreaterThan(Date.now() - 60_000);
});

test("preserveTimestamps keeps times before 1970", async () => {
  const src = tmp.folder();
  writeFileSync(join(src, "file"), "x");
  const moon = new Date("1969-07-20T20:17:40Z");
  for (const name of ["file", "."]) utimesSync(join(src, name), moon, moon);
  const dest = tmp.path();
  await cp(src, dest, { recursive: true, preserveTimestamps: true });
  for (const name of ["file", "."]) expect(statSync(join(dest, name)).mtime).toEqual(moon);
});

test("a tree is not copied into itself by a link to a folder in it", async () => {
  const dir = tmp.folder();
  mkdirSync(join(dir, "src/sub"), RECURSIVE);
  symlinkSync(join(dir, "src/sub"), join(dir, "alias"));
  const [src, dest] = [join(dir, "src"), join(dir, "alias/new")];
  const text = `cannot copy ${src} to a subdirectory of self ${dest}`;
  await refused(cp(src, dest, RECURSIVE), "ERR_FS_CP_EINVAL", "EINVAL", text, dest);
  expect(readdirSync(src, RECURSIVE)).toEqual(["sub"]);
});

test("a file that is replaced is a new one: other names of the old keep it", async () => {
  const src = tmp.file("new");
  const dest = tmp.file("old");
  const other = tmp.path();
  linkSync(dest, other);
  await cp(src, dest, { mode: constants.COPYFILE_EXCL });
  expect([readFileSync(dest, "utf8"), readFileSync(other, "utf8")]).toEqual(["new", "old"]);
});

test("two names of one file are the same", async () => {
  const src = tmp.file("x");
  const dest = tmp.path();
  linkSync(src, dest);
  await refused(cp(src, dest), "ERR_FS_CP_EINVAL", "EINVAL", "src and dest cannot be the same", dest);
  const [a, b] = [tmp.folder(), tmp.folder()];
  linkSync(src, join(a, "f"));
  linkSync(src, join(b, "f"));
  const text = "src and dest cannot be the same";
  await refused(cp(a, b, RECURSIVE), "ERR_FS_CP_EINVAL", "EINVAL", text, join(b, "f"));
});

test("FIFOs and sockets are refused, also within a tree", async () => {
  const src = tmp.folder();
  const fifo = join(src, "fifo");
  Bun.spawnSync(["mkfifo", fifo]);
  const dest = tmp.path();
  await refused(cp(fifo, dest), "ERR_FS_CP_FIFO_PIPE", "EINVAL", `cannot copy a FIFO pipe: ${dest}`, dest);
  const within = join(dest, "fifo");
  await refused(
    cp(src, dest, RECURSIVE),
    "ERR_FS_CP_FIFO_PIPE",
    "EINVAL",
    `cannot copy a FIFO pipe: ${within}`,
    within,
  );
  const socket = tmp.path("socket");
  const server = Bun.listen({ unix: socket, socket: { data() {} } });
  const at = tmp.path();
  await refused(cp(socket, at), "ERR_FS_CP_SOCKET", "EINVAL", `cannot copy a socket file: ${at}`, at);
  server.stop(true);
});

test("a device is copied as its contents", async () => {
  const dest = tmp.path();
  await cp("/dev/null", dest);
  expect([lstatSync(dest).isFile(), statSync(dest).size]).toEqual([true, 0]);
});

test("errorOnExist without force refuses folders too", async () => {
  const [src, dest] = [tmp.folder(), tmp.folder()];
  const options = { recursive: true, force: false, errorOnExist: true };
  await refused(cp(src, dest, options), "ERR_FS_CP_EEXIST", "EEXIST", `${dest} already exists`, dest);
});

test("kinds that don't fit are refused within a tree, too", async () => {
  const [src, dest] = [tmp.folder(), tmp.folder()];
  mkdirSync(join(src, "a"));
  writeFileSync(join(dest, "a"), "");
  const [a, b] = [join(src, "a"), join(dest, "a")];
  const text = `cannot overwrite non-directory ${b} with directory ${a}`;
  await refused(cp(src, dest, RECURSIVE), "ERR_FS_CP_DIR_TO_NON_DIR", "EISDIR", text, b);
  const back = `cannot overwrite directory ${a} with non-directory ${b}`;
  await refused(cp(dest, src, RECURSIVE), "ERR_FS_CP_NON_DIR_TO_DIR", "ENOTDIR", back, a);
});

test("no tree is copied into itself, by whatever way", async () => {
  const dir = tmp.folder();
  mkdirSync(join(dir, "src/sub"), RECURSIVE);
  symlinkSync("src", join(dir, "link"));
  const src = join(dir, "src");
  const into = (below: string, named = below) =>
    refused(
      cp(src, join(dir, below), RECURSIVE),
      "ERR_FS_CP_EINVAL",
      "EINVAL",
      `cannot copy ${src} to a subdirectory of self ${join(dir, named)}`,
      join(dir, named),
    );
  await into("src/new/deeper");
  await into("link/sub/new", "link/sub");
  // Node would make folders here until their names are too long.
  await into("link/sub/new/deeper", "link/sub");
  expect(readdirSync(src, RECURSIVE)).toEqual(["sub"]);
  await cp(src, `${src}-too`, RECURSIVE);
  expect(readdirSync(`${src}-too`)).toEqual(["sub"]);
});

test("links: relative targets become absolute, unless verbatim; dangling ones are links, too", async () => {
  const dir = realpathSync(tmp.folder());
  mkdirSync(join(dir, "src"));
  symlinkSync("../nowhere", join(dir, "src/dangling"));
  symlinkSync("/etc/../nowhere", join(dir, "src/absolute"));
  await cp(join(dir, "src"), join(dir, "plain"), RECURSIVE);
  await cp(join(dir, "src"), join(dir, "verbatim"), { recursive: true, verbatimSymlinks: true });
  expect(readlinkSync(join(dir, "plain/dangling"))).toBe(join(dir, "nowhere"));
  expect(readlinkSync(join(dir, "plain/absolute"))).toBe("/etc/../nowhere");
  expect(readlinkSync(join(dir, "verbatim/dangling"))).toBe("../nowhere");
});

test("links onto links: replaced, unless what they lead to lies in each other", async () => {
  const dir = tmp.folder();
  mkdirSync(join(dir, "outer/inner"), RECURSIVE);
  writeFileSync(join(dir, "file"), "");
  const link = (name: string, target: string): string => {
    symlinkSync(join(dir, target), join(dir, name));
    return join(dir, name);
  };
  const [outer, inner, file] = [link("to-outer", "outer"), link("to-inner", "outer/inner"), link("to-file", "file")];
  const [a, b] = [join(dir, "outer"), join(dir, "outer/inner")];
  const inside = `cannot copy ${a} to a subdirectory of self ${b}`;
  await refused(cp(outer, inner), "ERR_FS_CP_EINVAL", "EINVAL", inside, inner);
  const around = `cannot overwrite ${a} with ${b}`;
  await refused(cp(inner, outer), "ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY", "EINVAL", around, outer);
  const same = link("to-outer-too", "outer");
  await refused(cp(outer, same), "ERR_FS_CP_EINVAL", "EINVAL", `cannot copy ${a} to a subdirectory of self ${a}`, same);
  await cp(file, same);
  expect(readlinkSync(same)).toBe(join(dir, "file"));
  // A dangling link onto a link, and a link onto a file: as Node, with the errors of stat and symlink.
  const dangling = link("dangling", "missing");
  await expectSystemError(cp(dangling, same), { code: "ENOENT", syscall: "stat", path: dangling });
  const target = join(dir, "file");
  await expectSystemError(cp(same, target), { code: "EEXIST", syscall: "symlink", path: target, dest: target });
});

test("a link is copied onto one like it, unless what both lead to holds the tree that is written", async () => {
  const dir = tmp.folder();
  const [src, within, outside] = [join(dir, "src"), join(dir, "dest"), tmp.path()];
  mkdirSync(src);
  symlinkSync(dir, join(src, "up"));
  for (let times = 0; times < 2; times++) await cp(src, outside, RECURSIVE);
  expect(readlinkSync(join(outside, "up"))).toBe(dir);
  await cp(src, within, RECURSIVE);
  const text = `cannot copy ${dir} to a subdirectory of self ${dir}`;
  await refused(cp(src, within, RECURSIVE), "ERR_FS_CP_EINVAL", "EINVAL", text, join(within, "up"));
});

test("dereference follows links to files, to folders, and the source itself", async () => {
  const [src, other] = [tmp.folder(), tmp.folder()];
  writeFileSync(join(other, "file"), "x");
  symlinkSync(other, join(src, "folder"));
  symlinkSync(join(other, "file"), join(src, "file"));
  const link = tmp.path();
  symlinkSync(src, link);
  const dest = tmp.path();
  await cp(link, dest, { recursive: true, dereference: true });
  expect(readdirSync(dest, RECURSIVE).sort()).toEqual(["file", "folder", "folder/file"]);
  for (const name of ["file", "folder/file"]) expect(lstatSync(join(dest, name)).isFile()).toBe(true);
  const missing = tmp.path();
  await expectSystemError(cp(missing, dest, { dereference: true }), { code: "ENOENT", syscall: "stat", path: missing });
});

test("names and link targets that are no UTF-8 are copied as they are", async () => {
  const [src, dest] = [tmp.folder(), tmp.path()];
  const bytes = (folder: string, name: string) =>
    Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name, "latin1")]);
  mkdirSync(bytes(src, "\xff"));
  writeFileSync(bytes(src, "\xff/\xfe"), "x");
  symlinkSync(Buffer.from("\xfd", "latin1"), bytes(src, "\xff/link"));
  await cp(src, dest, RECURSIVE);
  expect(readFileSync(bytes(dest, "\xff/\xfe"), "utf8")).toBe("x");
  expect(readlinkSync(bytes(dest, "\xff/link"), "buffer")).toEqual(bytes(src, "\xff/\xfd"));
});

test("filter gets paths as node:path joins them, and what it throws is the rejection", async () => {
  const dir = tmp.folder();
  mkdirSync(join(dir, "src/sub"), RECURSIVE);
  writeFileSync(join(dir, "src/sub/file"), "");
  process.chdir(dir);
  const seen: string[] = [];
  await cp("./src/", "./x/../dest", { recursive: true, filter: (from, to) => seen.push(`${from} ${to}`) > 0 });
  expect(seen).toEqual(["./src/ ./x/../dest", "src/sub dest/sub", "src/sub/file dest/sub/file"]);
  const boo = new Error("boo");
  const filter = (from: string): boolean => {
    if (from.endsWith("file")) throw boo;
    return true;
  };
  expect(await rejection(cp("src", "other", { recursive: true, filter }))).toBe(boo);
  expect(await rejection(cp("src", "more", { recursive: true, filter: async (from) => filter(from) }))).toBe(boo);
  await cp("src", "none", { filter: () => false });
  expect(existsSync("none")).toBe(false);
});

test("the first failure is the rejection, with copyfile's two paths, when all has ended", async () => {
  const [src, dest] = [tmp.folder(), tmp.path()];
  for (let i = 0; i < 200; i++) writeFileSync(join(src, `${i}`), "x");
  // COPYFILE_FICLONE_FORCE: ext4 and tmpfs can't; where it can be done, nothing fails.
  const error = await cp(src, dest, { recursive: true, mode: constants.COPYFILE_FICLONE_FORCE }).catch((e) => e);
  if (error === undefined) return;
  expect(["ENOTSUP", "ENOSYS", "EXDEV", "EOPNOTSUPP"]).toContain(error.code);
  expect([error.syscall, typeof error.path, typeof error.dest]).toEqual(["copyfile", "string", "string"]);
  expect(readdirSync(dest)).toEqual([]);
});

test("arguments: undefined is no value for an option, and paths are no bytes, as in Node", async () => {
  const src = tmp.file("x");
  const dest = tmp.path();
  const type = 'The "options.force" property must be of type boolean. Received undefined';
  await expectArgumentError(() => cp(src, dest, { force: undefined }), "ERR_INVALID_ARG_TYPE", type);
  const path = 'The "path" argument must be of type string. Received an instance of Buffer';
  await expectArgumentError(() => cp(Buffer.from(src) as any, dest), "ERR_INVALID_ARG_TYPE", path);
  expect(existsSync(dest)).toBe(false);
  await cp(src, dest, { mode: null, filter: undefined } as any);
  expect(readFileSync(dest, "utf8")).toBe("x");
});
