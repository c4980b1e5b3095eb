// Owns readdir and opendir: names, Dirents, encodings, recursion, the Dir object.
// Assumes nothing about the order in which a folder gives its entries.
// Never covers glob.

import { expect } from "bun:test";
import { execFileSync } from "node:child_process";
import fsSync, { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

/** a, b/, b/c, b/d/, b/d/e, link -> a. Node itself wavers on links to folders, so there is none. */
function plant(folder: string): string {
  writeFileSync(join(folder, "a"), "");
  mkdirSync(join(folder, "b/d"), { recursive: true });
  writeFileSync(join(folder, "b/c"), "");
  writeFileSync(join(folder, "b/d/e"), "");
  symlinkSync("a", join(folder, "link"));
  return folder;
}

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const readdir = fs.readdir as (path: any, options?: any) => Promise<any[]>;
  const opendir = fs.opendir as (path: any, options?: any) => Promise<any>;

  it("readdir gives the names, without . and ..", async () => {
    const folder = plant(tmp.folder());
    expect((await readdir(folder)).sort()).toEqual(["a", "b", "link"]);
    expect(await readdir(tmp.folder())).toEqual([]);
    for (const options of [null, undefined, {}, "utf8", { encoding: null }]) {
      expect((await readdir(folder, options)).sort()).toEqual(["a", "b", "link"]);
    }
  });

  it("readdir reads a folder of 1500 names", async () => {
    const folder = tmp.folder();
    const names = Array.from({ length: 1500 }, (_, i) => `name-${String(i).padStart(4, "0")}`);
    for (const name of names) writeFileSync(join(folder, name), "");
    expect((await readdir(folder)).sort()).toEqual(names);
    expect((await readdir(folder, { withFileTypes: true })).map(({ name }) => name).sort()).toEqual(names);
  });

  it("readdir gives Buffers and other encodings", async () => {
    const folder = tmp.folder();
    writeFileSync(join(folder, "ä"), "");
    expect(await readdir(folder, "buffer")).toEqual([Buffer.from("ä")]);
    expect(await readdir(folder, { encoding: "buffer" })).toEqual([Buffer.from("ä")]);
    expect(await readdir(folder, "hex")).toEqual(["c3a4"]);
  });

  it("readdir withFileTypes gives node:fs's Dirents", async () => {
    const folder = plant(tmp.folder());
    execFileSync("mkfifo", [join(folder, "fifo")]);
    const entries = (await readdir(folder, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
    expect(entries.map(({ name }) => name)).toEqual(["a", "b", "fifo", "link"]);
    const kinds = [
      "isFile",
      "isDirectory",
      "isFIFO",
      "isSymbolicLink",
      "isSocket",
      "isBlockDevice",
      "isCharacterDevice",
    ];
    expect(entries.map((entry) => kinds.filter((kind) => entry[kind]()))).toEqual([
      ["isFile"],
      ["isDirectory"],
      ["isFIFO"],
      ["isSymbolicLink"],
    ]);
    for (const entry of entries) {
      expect(entry).toBeInstanceOf(fsSync.Dirent);
      expect(entry.parentPath).toBe(folder);
    }
  });

  it("readdir withFileTypes and encoding buffer gives Buffer names", async () => {
    const folder = tmp.folder();
    writeFileSync(join(folder, "x"), "");
    const [entry] = await readdir(folder, { withFileTypes: true, encoding: "buffer" });
    expect(entry.name).toEqual(Buffer.from("x"));
    expect(entry.isFile()).toBe(true);
  });

  it("readdir recursive gives paths from the folder", async () => {
    const folder = plant(tmp.folder());
    expect((await readdir(folder, { recursive: true })).sort()).toEqual(["a", "b", "b/c", "b/d", "b/d/e", "link"]);
  });

  it("readdir recursive withFileTypes gives each entry its own parent", async () => {
    const folder = plant(tmp.folder());
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    expect(entries.map(({ parentPath, name }) => join(parentPath, name)).sort()).toEqual(
      ["a", "b", "b/c", "b/d", "b/d/e", "link"].map((name) => join(folder, name)),
    );
    expect(entries.find(({ name }) => name === "d").isDirectory()).toBe(true);
  });

  it("readdir recursive withFileTypes tells the folder itself as it was given", async () => {
    const folder = plant(tmp.folder());
    const given: [path: unknown, shown: string][] = [
      [`${folder}/`, `${folder}/`],
      [`${folder}/b/..`, `${folder}/b/..`],
      [Buffer.from(`${folder}/`), `${folder}/`],
      [relative(process.cwd(), folder), relative(process.cwd(), folder)],
      [`./${relative(process.cwd(), folder)}`, `./${relative(process.cwd(), folder)}`],
    ];
    for (const [path, shown] of given) {
      for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
        const top = ["a", "b", "link"].includes(entry.name);
        expect([entry.name, entry.parentPath === shown]).toEqual([entry.name, top]);
        expect(existsSync(join(entry.parentPath, entry.name)) || entry.name === "link").toBe(true);
      }
    }
  });

  it("readdir withFileTypes in another encoding gives names in it, and plain parents", async () => {
    const folder = plant(tmp.folder());
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff])]), "");
    const entries = await readdir(folder, { withFileTypes: true, encoding: "hex" });
    expect(entries.map(({ name }) => name).sort()).toEqual(["61", "62", "6c696e6b", "ff"]);
    for (const { parentPath } of entries) expect(parentPath).toBe(folder);
    expect(entries.find(({ name }) => name === "ff").isFile()).toBe(true);
  });

  it("readdir recursive scales over many folders", async () => {
    const folder = tmp.folder();
    for (let i = 0; i < 40; i++) {
      mkdirSync(join(folder, `d${i}/e/f`), { recursive: true });
      writeFileSync(join(folder, `d${i}/e/f/g`), "");
    }
    expect(await readdir(folder, { recursive: true })).toHaveLength(160);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("readdir refuses bad options", async () => {
    const folder = tmp.folder();
    await expectArgumentError(
      () => readdir(folder, "nope"),
      "ERR_INVALID_ARG_VALUE",
      "The argument 'encoding' is invalid encoding. Received 'nope'",
    );
    await expectArgumentError(
      () => readdir(folder, 1),
      "ERR_INVALID_ARG_TYPE",
      'The "options" argument must be one of type string or object. Received type number (1)',
    );
  });

  it("opendir gives a Dir that iterates and closes itself", async () => {
    const folder = plant(tmp.folder());
    const dir = await opendir(folder);
    expect(dir).toBeInstanceOf(fsSync.Dir);
    expect(dir.path).toBe(folder);
    const names: string[] = [];
    for await (const entry of dir) {
      expect(entry).toBeInstanceOf(fsSync.Dirent);
      names.push(entry.name);
    }
    expect(names.sort()).toEqual(["a", "b", "link"]);
    expect((await rejection(dir.read())).code).toBe("ERR_DIR_CLOSED");
    expect(tmp.openFiles()).toEqual([]);
  });

  it("opendir reads one by one, then null; close ends it", async () => {
    const dir = await opendir(plant(tmp.folder()));
    const names: string[] = [];
    for (let entry = await dir.read(); entry !== null; entry = await dir.read()) names.push(entry.name);
    expect(names.sort()).toEqual(["a", "b", "link"]);
    expect(await dir.read()).toBeNull();
    expect(await dir.close()).toBeUndefined();
    expect((await rejection(dir.close())).code).toBe("ERR_DIR_CLOSED");
  });

  it("opendir closes when the loop is left early", async () => {
    const dir = await opendir(plant(tmp.folder()));
    for await (const _entry of dir) break;
    expect((await rejection(dir.close())).code).toBe("ERR_DIR_CLOSED");
    expect(tmp.openFiles()).toEqual([]);
  });

  it("opendir is disposable", async () => {
    {
      await using dir = await opendir(tmp.folder());
      expect(await dir.read()).toBeNull();
    }
    expect(tmp.openFiles()).toEqual([]);
  });

  it("opendir gives Dirents in every encoding, by promise, callback, at once and by iteration", async () => {
    const folder = plant(tmp.folder());
    for (const encoding of ["buffer", "hex"] as const) {
      const shown = new Set(["a", "b", "link"].map((name) => Buffer.from(name).toString("hex")));
      const seen: any[] = [];
      const dir = await opendir(folder, { encoding });
      seen.push(await dir.read(), dir.readSync());
      seen.push(
        await new Promise((resolve, reject) => dir.read((e: Error, entry: any) => (e ? reject(e) : resolve(entry)))),
      );
      expect(await dir.read()).toBeNull();
      for (const { name, parentPath } of seen) {
        expect(Buffer.isBuffer(name)).toBe(encoding === "buffer");
        expect(shown.delete(encoding === "buffer" ? name.toString("hex") : name)).toBe(true);
        expect(parentPath).toBe(folder);
      }
      await dir.close();
      expect((await rejection(dir.read())).code).toBe("ERR_DIR_CLOSED");
      const iterated: string[] = [];
      for await (const entry of await opendir(folder, { encoding })) iterated.push(String(entry.isDirectory()));
      expect(iterated.sort()).toEqual(["false", "false", "true"]);
    }
  });

  it("opendir recursive tells the folder itself as it was given", async () => {
    const path = `${plant(tmp.folder())}/`;
    const parents = new Map<string, string>();
    for await (const { name, parentPath } of await opendir(path, { recursive: true })) parents.set(name, parentPath);
    expect(Object.fromEntries(parents)).toEqual({
      a: path,
      b: path,
      link: path,
      c: `${path}b`,
      d: `${path}b`,
      e: `${path}b/d`,
    });
  });

  it("opendir takes recursive, encoding and bufferSize", async () => {
    const folder = plant(tmp.folder());
    const paths: string[] = [];
    for await (const entry of await opendir(folder, { recursive: true, bufferSize: 1 })) {
      paths.push(join(entry.parentPath, entry.name));
    }
    expect(paths.sort()).toEqual(["a", "b", "b/c", "b/d", "b/d/e", "link"].map((name) => join(folder, name)));
    await expectArgumentError(
      () => opendir(folder, { encoding: "nope" }),
      "ERR_INVALID_ARG_VALUE",
      "The argument 'encoding' is invalid encoding. Received 'nope'",
    );
  });

  it("readdir recursive lists links, to themselves and upwards too, and enters none", async () => {
    const folder = plant(tmp.folder());
    symlinkSync("self", join(folder, "b/self"));
    symlinkSync("..", join(folder, "b/up"));
    const expected = ["a", "b", "b/c", "b/d", "b/d/e", "b/self", "b/up", "link"];
    expect((await readdir(folder, { recursive: true })).sort()).toEqual(expected);
    const buffers = await readdir(folder, { recursive: true, encoding: "buffer" });
    expect(buffers.map(String).sort()).toEqual(expected);
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    expect(entries.map((entry) => relative(folder, join(entry.parentPath, entry.name))).sort()).toEqual(expected);
    const links = entries.filter((entry) => entry.isSymbolicLink());
    expect(links.map(({ name }) => name).sort()).toEqual(["link", "self", "up"]);
  });

  it("opendir recursive does not leave the tree through a link", async () => {
    const folder = tmp.folder();
    const outside = plant(tmp.folder());
    symlinkSync(outside, join(folder, "out"));
    const names: string[] = [];
    for await (const entry of await opendir(folder, { recursive: true })) names.push(entry.name);
    expect(names).toEqual(["out"]);
  });

  it("opendir reads the folder that it opened, replaced or removed", async () => {
    const folder = plant(tmp.folder());
    const [later, gone] = [await opendir(folder), await opendir(join(folder, "b/d"))];
    const aside = `${folder}-aside`;
    renameSync(folder, aside);
    rmSync(join(aside, "b"), { recursive: true });
    mkdirSync(folder);
    writeFileSync(join(folder, "other"), "");
    const names: string[] = [];
    for await (const entry of later) names.push(entry.name);
    expect(names.sort()).toEqual(["a", "link"]);
    expect(await gone.read()).toBeNull();
    await gone.close();
  });

  it("opendir refuses synchronous work beside asynchronous, and calls back later", async () => {
    const dir = await opendir(plant(tmp.folder()));
    const reading = dir.read();
    expect(() => dir.readSync()).toThrow(expect.objectContaining({ code: "ERR_DIR_CONCURRENT_OPERATION" }));
    expect(() => dir.closeSync()).toThrow(expect.objectContaining({ code: "ERR_DIR_CONCURRENT_OPERATION" }));
    const first = (await reading).name;
    expect([first, dir.readSync().name, dir.readSync().name].sort()).toEqual(["a", "b", "link"]);
    expect(() => dir.read("nothing")).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }));
    let called = false;
    const closed = new Promise<unknown>((resolve) => {
      dir.close((error: unknown) => {
        called = true;
        resolve(error);
      });
    });
    expect(called).toBe(false);
    expect(await closed).toBeNull();
    expect(() => dir.closeSync()).toThrow(expect.objectContaining({ code: "ERR_DIR_CLOSED" }));
    expect(tmp.openFiles()).toEqual([]);
  });
}, "readdir-opendir");
