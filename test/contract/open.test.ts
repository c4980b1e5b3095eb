// Owns what open() promises: flags, modes, paths, and the errors of each.
// Assumes a file system with POSIX modes below the temporary folder.
// Never reads or writes through the handle beyond what shows which flags it was opened with.

import { expect } from "bun:test";
import { existsSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, expectSystemError } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const { constants } = fs;
  const tmp = scratch();

  it("resolves to a FileHandle with a descriptor, and -1 once closed", async () => {
    const handle = await fs.open(tmp.file("x"));
    expect(handle.constructor.name).toBe("FileHandle");
    expect(Number.isInteger(handle.fd)).toBe(true);
    expect(handle.fd).toBeGreaterThan(2);
    await handle.close();
    expect(handle.fd).toBe(-1);
  });

  it("opens for reading by default, and for flags null or undefined", async () => {
    for (const flags of [[], [undefined], [null]] as [undefined?][]) {
      await using handle = await fs.open(tmp.file("abc"), ...flags);
      expect(await handle.readFile("utf8")).toBe("abc");
      await expectSystemError(handle.write("x"), { code: "EBADF", syscall: "write" });
    }
  });

  // What each flag string of the documentation does to an existing file "old" and to a missing one.
  const flagTable: [flags: string, existing: string | null, creates: boolean, reads: boolean][] = [
    ["r", null, false, true],
    ["rs", null, false, true],
    ["sr", null, false, true],
    ["r+", "NEW", false, true],
    ["rs+", "NEW", false, true],
    ["sr+", "NEW", false, true],
    ["w", "NEW", true, false],
    ["w+", "NEW", true, true],
    ["a", "oldNEW", true, false],
    ["a+", "oldNEW", true, true],
    ["as", "oldNEW", true, false],
    ["sa", "oldNEW", true, false],
    ["as+", "oldNEW", true, true],
    ["sa+", "oldNEW", true, true],
  ];
  for (const [flags, existing, creates, reads] of flagTable) {
    it(`flag "${flags}" on an existing file`, async () => {
      const path = tmp.file("old");
      await using handle = await fs.open(path, flags);
      if (existing === null) await expectSystemError(handle.write("NEW"), { code: "EBADF", syscall: "write" });
      else expect((await handle.write("NEW")).bytesWritten).toBe(3);
      const read = handle.read(Buffer.alloc(8), 0, 8, 0);
      if (reads) await read;
      else await expectSystemError(read, { code: "EBADF", syscall: "read" });
      expect(readFileSync(path, "utf8")).toBe(existing ?? "old");
    });

    it(`flag "${flags}" on a missing file`, async () => {
      const path = tmp.path();
      if (creates) await (await fs.open(path, flags)).close();
      else await expectSystemError(fs.open(path, flags), { code: "ENOENT", syscall: "open", path });
      expect(existsSync(path)).toBe(creates);
    });
  }

  for (const flags of ["wx", "xw", "wx+", "xw+", "ax", "xa", "ax+", "xa+"]) {
    it(`flag "${flags}" creates, and refuses an existing file`, async () => {
      const path = tmp.path();
      const handle = await fs.open(path, flags);
      await handle.write("x");
      await handle.close();
      await expectSystemError(fs.open(path, flags), { code: "EEXIST", syscall: "open", path });
      expect(readFileSync(path, "utf8")).toBe("x");
    });
  }

  it("takes numeric flags", async () => {
    const path = tmp.path();
    const handle = await fs.open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
    await handle.write("abc");
    expect((await handle.read(Buffer.alloc(3), 0, 3, 0)).bytesRead).toBe(3);
    await handle.close();
    await expectSystemError(fs.open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL), {
      code: "EEXIST",
      syscall: "open",
      path,
    });
  });

  it("O_DIRECTORY refuses a file and O_NOFOLLOW a symbolic link", async () => {
    const path = tmp.file("x");
    const link = tmp.path("link");
    symlinkSync(path, link);
    await expectSystemError(fs.open(path, constants.O_DIRECTORY), { code: "ENOTDIR", syscall: "open", path });
    await expectSystemError(fs.open(link, constants.O_NOFOLLOW), { code: "ELOOP", syscall: "open", path: link });
  });

  it("sets the mode of a file it creates, less the umask, and 0o666 by default", async () => {
    const umask = process.umask();
    const cases: [mode: any, bits: number][] = [
      [0o600, 0o600],
      ["640", 0o640],
      [undefined, 0o666],
      [null, 0o666],
    ];
    for (const [mode, bits] of cases) {
      const path = tmp.path();
      await (await fs.open(path, "w", mode)).close();
      expect(statSync(path).mode & 0o777).toBe(bits & ~umask);
    }
  });

  it("leaves the mode of a file that exists alone", async () => {
    const path = tmp.path();
    await (await fs.open(path, "w", 0o600)).close();
    await (await fs.open(path, "w", 0o644)).close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("opens a string, a Buffer, a Uint8Array and a file: URL", async () => {
    const path = tmp.file("same", "näme mit space");
    for (const form of [path, Buffer.from(path), new Uint8Array(Buffer.from(path)), pathToFileURL(path)]) {
      await using handle = await fs.open(form as string);
      expect(await handle.readFile("utf8")).toBe("same");
    }
  });

  it("opens a directory for reading, and stats it", async () => {
    await using handle = await fs.open(tmp.folder());
    expect((await handle.stat()).isDirectory()).toBe(true);
    await expectSystemError(handle.read(Buffer.alloc(4)), { code: "EISDIR", syscall: "read" });
  });

  it("opens many files at once, each with its own bytes", async () => {
    const paths = Array.from({ length: 64 }, (_, i) => tmp.file(`content ${i}`));
    const handles = await Promise.all(paths.map((path) => fs.open(path)));
    expect(new Set(handles.map((handle) => handle.fd)).size).toBe(64);
    const texts = await Promise.all(handles.map((handle) => handle.readFile("utf8")));
    expect(texts).toEqual(paths.map((_, i) => `content ${i}`));
    await Promise.all(handles.map((handle) => handle.close()));
  });

  it("leaves no descriptor behind when it fails", async () => {
    const before = tmp.openFiles();
    const path = tmp.file();
    await Promise.allSettled(Array.from({ length: 20 }, () => fs.open(path, "wx")));
    expect(tmp.openFiles()).toEqual(before);
  });

  it("marks the descriptor close-on-exec", async () => {
    await using handle = await fs.open(tmp.file());
    const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${handle.fd}`, "utf8"))![1]!;
    expect(Number.parseInt(flags, 8) & 0o2000000).toBe(0o2000000);
  });

  it("fails like open(2)", async () => {
    const folder = tmp.folder();
    const file = tmp.file();
    const loop = tmp.path("loop");
    symlinkSync(loop, loop);
    const long = `${tmp.dir}/${"n".repeat(256)}`;
    const cases: [path: string, flags: string, code: string][] = [
      [tmp.path(), "r", "ENOENT"],
      ["", "r", "ENOENT"],
      [folder, "w", "EISDIR"],
      [folder, "r+", "EISDIR"],
      [`${file}/x`, "r", "ENOTDIR"],
      [`${file}/`, "r", "ENOTDIR"],
      [loop, "r", "ELOOP"],
      [long, "r", "ENAMETOOLONG"],
      [`/${"n/".repeat(2100)}`, "r", "ENAMETOOLONG"],
    ];
    for (const [path, flags, code] of cases) {
      await expectSystemError(fs.open(path, flags), { code, syscall: "open", path });
    }
  });

  const invalid: [title: string, args: any[], code: any, message: string][] = [
    ["flags of an unknown word", ["x"], "ERR_INVALID_ARG_VALUE", "The argument 'flags' is invalid. Received 'x'"],
    ["flags rr", ["rr"], "ERR_INVALID_ARG_VALUE", "The argument 'flags' is invalid. Received 'rr'"],
    ["flags of an object", [{}], "ERR_INVALID_ARG_VALUE", "The argument 'flags' is invalid. Received {}"],
    ["flags of a boolean", [true], "ERR_INVALID_ARG_VALUE", "The argument 'flags' is invalid. Received true"],
    [
      "flags that are no integer",
      [1.5],
      "ERR_OUT_OF_RANGE",
      'The value of "flags" is out of range. It must be an integer. Received 1.5',
    ],
    [
      "flags beyond 32 bits",
      [2 ** 32],
      "ERR_OUT_OF_RANGE",
      'The value of "flags" is out of range. It must be >= -2147483648 && <= 2147483647. Received 4294967296',
    ],
    [
      "a mode that is no octal string",
      ["r", "0o666"],
      "ERR_INVALID_ARG_VALUE",
      "The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received '0o666'",
    ],
    [
      "a mode with a digit 8",
      ["r", "888"],
      "ERR_INVALID_ARG_VALUE",
      "The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received '888'",
    ],
    [
      "a negative mode",
      ["r", -1],
      "ERR_OUT_OF_RANGE",
      'The value of "mode" is out of range. It must be >= 0 && <= 4294967295. Received -1',
    ],
    [
      "a mode that is no integer",
      ["r", 1.5],
      "ERR_OUT_OF_RANGE",
      'The value of "mode" is out of range. It must be an integer. Received 1.5',
    ],
    [
      "a mode beyond 32 bits",
      ["r", 2 ** 32],
      "ERR_OUT_OF_RANGE",
      'The value of "mode" is out of range. It must be >= 0 && <= 4294967295. Received 4294967296',
    ],
    [
      "a mode of an object",
      ["r", {}],
      "ERR_INVALID_ARG_TYPE",
      'The "mode" argument must be of type number. Received an instance of Object',
    ],
  ];
  for (const [title, args, code, message] of invalid) {
    it(`refuses ${title}`, () => expectArgumentError(() => fs.open(tmp.file(), ...args), code, message));
  }
}, "open");
