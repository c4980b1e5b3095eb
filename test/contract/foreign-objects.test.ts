// Owns that what belongs to another realm or another API is taken as Node takes it: a Date and a Uint8Array of node:vm, a
// FileHandle of node:fs/promises; and that a folder which is read as a file is named. Assumes a temporary folder.

import { expect } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { runInNewContext } from "node:vm";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectSystemError } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();

forEachImplementation((fs, _name, it) => {
  it("a Date of another realm is a time", async () => {
    const path = tmp.file();
    const date = runInNewContext("new Date(1e12)") as Date;
    await fs.utimes(path, date, date);
    expect(statSync(path).mtimeMs).toBe(1e12);
    const handle = await fs.open(path, "r+");
    await handle.utimes(runInNewContext("new Date(2e12)") as Date, date);
    expect(statSync(path).atimeMs).toBe(2e12);
    await handle.close();
  });

  it("what only looks like a Date is no time", async () => {
    const path = tmp.file();
    for (const time of [Object.create(Date.prototype), { getTime: () => 5 }])
      expect(await fs.utimes(path, time, time).catch((error: unknown) => error)).toHaveProperty(
        "code",
        "ERR_INVALID_ARG_TYPE",
      );
  });

  it("bytes of another realm are data, a buffer and a path", async () => {
    const path = tmp.file();
    await fs.writeFile(path, runInNewContext("new Uint8Array([104, 105])") as Uint8Array);
    expect(readFileSync(path, "utf8")).toBe("hi");
    const handle = await fs.open(path);
    const view = runInNewContext("new Uint8Array(2)") as Uint8Array;
    await handle.read(view, 0, 2, 0);
    expect(Array.from(view)).toEqual([104, 105]);
    await handle.close();
    const bytes = runInNewContext("(bytes) => new Uint8Array(bytes)")(Array.from(Buffer.from(path))) as Buffer;
    expect(await fs.readFile(bytes, "utf8")).toBe("hi");
  });

  it("a FileHandle of node:fs/promises is read, written and appended to", async () => {
    const path = tmp.file("abc");
    const handle = await open(path, "r+");
    expect(await fs.readFile(handle, "utf8")).toBe("abc");
    await fs.writeFile(handle, "def");
    await fs.appendFile(handle, "ghi");
    await handle.close();
    expect(readFileSync(path, "utf8")).toBe("abcdefghi");
  });

  it("readFile of a folder names it", async () => {
    const path = tmp.folder();
    await expectSystemError(fs.readFile(path), { code: "EISDIR", syscall: "read", path });
    const { signal } = new AbortController();
    await expectSystemError(fs.readFile(path, { signal }), { code: "EISDIR", syscall: "read", path });
  });
}, "foreign objects");
