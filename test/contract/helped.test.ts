// Calls that a helper thread may run, in a process that has one: the same results and errors as before there was one.
// Assumes nothing of who runs what: each implementation does the same dozen calls first.

import { beforeAll, expect } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { forEachImplementation } from "../helpers/backends.ts";
import { tmpDir } from "../helpers/tmp.ts";

const root = tmpDir();
let names = 0;

forEachImplementation((fs, _name, it) => {
  let dir: string;
  beforeAll(async () => {
    dir = join(root, `d${names++}`);
    mkdirSync(dir);
    writeFileSync(join(dir, "file"), "x");
    symlinkSync("file", join(dir, "link"));
    symlinkSync(`${"x".repeat(200)}/${"y".repeat(200)}`, join(dir, "long"));
    for (let i = 0; i < 20; i++) {
      await fs.mkdir(join(dir, "warm"));
      await fs.rmdir(join(dir, "warm"));
    }
  });

  const failure = async (call: Promise<unknown>): Promise<unknown> =>
    call.then(
      () => "none",
      ({ code, syscall, path, message }) => ({ code, syscall, path, message }),
    );

  it("readlink gives short and long links in each encoding, and says what is none", async () => {
    for (let i = 0; i < 3; i++) {
      expect(await fs.readlink(join(dir, "link"))).toBe("file");
      expect(await fs.readlink(join(dir, "link"), "hex")).toBe("66696c65");
      expect(await fs.readlink(join(dir, "link"), "buffer")).toEqual(Buffer.from("file"));
      expect((await fs.readlink(join(dir, "long"))).length).toBe(401);
      const path = join(dir, "file");
      const message = `EINVAL: invalid argument, readlink '${path}'`;
      expect(await failure(fs.readlink(path))).toEqual({ code: "EINVAL", syscall: "readlink", path, message });
    }
  });

  it("realpath gives the path without links", async () => {
    const real = await fs.realpath(dir);
    expect(await fs.realpath(join(dir, "link"))).toBe(join(real, "file"));
    expect(await fs.realpath(`${dir}/../${dir.split("/").at(-1)}/./link`)).toBe(join(real, "file"));
    expect(await fs.realpath(join(dir, "link"), "buffer")).toEqual(Buffer.from(join(real, "file")));
    expect(await failure(fs.realpath(join(dir, "long")))).toMatchObject({ code: "ENOENT", syscall: "realpath" });
    // Longer than what comes back through a cell.
    const deep = join(dir, "a".repeat(200), "b".repeat(200));
    mkdirSync(deep, { recursive: true });
    symlinkSync(deep, join(dir, "deep"));
    expect(await fs.realpath(join(dir, "deep"))).toBe(join(real, "a".repeat(200), "b".repeat(200)));
  });

  it("access tells what may be done, also of what is missing or made meanwhile", async () => {
    const path = join(dir, "asked");
    for (let i = 0; i < 2; i++)
      expect(await failure(fs.access(path))).toMatchObject({ code: "ENOENT", syscall: "access", path });
    writeFileSync(path, "x", { mode: 0o644 });
    expect(await failure(fs.access(path))).toBe("none");
    expect(await failure(fs.access(path, 4))).toBe("none");
    expect(await failure(fs.access(path, 1))).toMatchObject({ code: "EACCES", syscall: "access", path });
    chmodSync(path, 0o755);
    expect(await failure(fs.access(path, 1))).toBe("none");
    expect(await failure(fs.access(join(dir, "long")))).toMatchObject({ code: "ENOENT" });
  });

  it("chmod changes the file that a link leads to", async () => {
    for (const mode of [0o600, 0o4755, 0o644]) {
      await fs.chmod(join(dir, "link"), mode);
      expect(statSync(join(dir, "file")).mode & 0o7777).toBe(mode);
    }
    expect(await failure(fs.chmod(join(dir, "none"), 0o600))).toMatchObject({ code: "ENOENT", syscall: "chmod" });
  });

  it("small files are created, filled and replaced one after another", async () => {
    for (let i = 0; i < 20; i++) {
      const path = join(dir, `small${i}`);
      await fs.writeFile(path, `first ${i}`, { mode: 0o640 });
      await fs.appendFile(path, " more");
      expect(readFileSync(path, "utf8")).toBe(`first ${i} more`);
      expect(statSync(path).mode & 0o777).toBe(0o640);
      await fs.writeFile(path, "x");
      expect(readFileSync(path, "utf8")).toBe("x");
      await fs.rename(path, `${path}.new`);
      await fs.link(`${path}.new`, path);
      await fs.unlink(`${path}.new`);
      expect(await failure(fs.writeFile(path, "y", { flag: "wx" }))).toMatchObject({
        code: "EEXIST",
        syscall: "open",
        path,
      });
      const handle = await fs.open(path, "a+");
      await handle.write("abc");
      await handle.write("def", 0);
      await handle.close();
      expect(readFileSync(path, "utf8")).toBe("xabcdef");
    }
  });
});
