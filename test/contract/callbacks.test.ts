// Owns node:fs's callback functions, by path and by descriptor: results, when callbacks are called, what is thrown at the
// call, util.promisify. Runs on Bun's node:fs, as the oracle, and on bun-uring/fs.
// Assumes the promise functions' own tests for what each does to files.
// Never covers streams.

import { describe, expect, test } from "bun:test";
import { openSync, readFileSync, readSync, symlinkSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { hasOracle } from "../helpers/backends.ts";
import { testUnless } from "../helpers/skip.ts";
import { scratch } from "../helpers/tmp.ts";

type Fs = typeof import("node:fs");
const implementations: [string, Fs][] = [
  ...(hasOracle ? [["node:fs (oracle)", await import("node:fs")] satisfies [string, Fs]] : []),
  ["bun-uring/fs", (await import("../../src/fs.ts" as string)) as Fs],
];

/** Calls a callback function and gives the callback's arguments. */
const called = (call: (...args: any[]) => unknown, ...args: unknown[]): Promise<any[]> =>
  new Promise((resolve) => call(...args, (...results: unknown[]) => resolve(results)));

/** Runs a program that has `fs`, of the implementation; its lines. */
async function program(from: string, source: string): Promise<string[]> {
  const specifier = from.startsWith("node:") ? "node:fs" : `${import.meta.dir}/../../src/fs.ts`;
  const text = `import * as fs from ${JSON.stringify(specifier)};\n${source}`;
  const child = Bun.spawn([process.execPath, "-e", text], { env: process.env, stderr: "inherit" });
  return (await child.stdout.text()).trim().split("\n");
}

for (const [title, fs] of implementations) {
  const ours = !title.startsWith("node:");
  describe(title, () => {
    const tmp = scratch();

    test("results come after null, as many as Node gives", async () => {
      const path = tmp.file("0123456789");
      expect(await called(fs.readFile, path, "latin1")).toEqual([null, "0123456789"]);
      expect((await called(fs.stat, path))[1].size).toBe(10);
      expect((await called(fs.lstat, path, { bigint: true }))[1].size).toBe(10n);
      expect(await called(fs.writeFile, path, "abc")).toEqual([null]);
      expect(await called(fs.appendFile, path, "def", "utf8")).toEqual([null]);
      expect(readFileSync(path, "utf8")).toBe("abcdef");
      expect(await called(fs.access, path)).toEqual([null]);
      expect(await called(fs.access, path, fs.constants.R_OK)).toEqual([null]);
      const folder = tmp.path("folder");
      expect((await called(fs.mkdir, folder))[0]).toBeNull();
      expect((await called(fs.mkdir, `${folder}/a/b`, { recursive: true }))[1]).toBe(`${folder}/a`);
      expect(await called(fs.rename, path, `${folder}/c`)).toEqual([null]);
      expect((await called(fs.readdir, folder))[1].sort()).toEqual(["a", "c"]);
      expect((await called(fs.glob, "*", { cwd: folder }))[1].sort()).toEqual(["a", "c"]);
      expect((await called(fs.symlink, "c", `${folder}/l`))[0] ?? null).toBeNull(); // Bun's own gives undefined
      expect(await called(fs.readlink, `${folder}/l`)).toEqual([null, "c"]);
      expect(await called(fs.realpath, `${folder}/l`)).toEqual([null, `${folder}/c`]);
      expect(await called(fs.realpath.native, `${folder}/l`)).toEqual([null, `${folder}/c`]);
      expect(await called(fs.truncate, `${folder}/c`, 2)).toEqual([null]);
      expect(await called(fs.copyFile, `${folder}/c`, `${folder}/d`)).toEqual([null]);
      expect(await called(fs.unlink, `${folder}/l`)).toEqual([null]);
      const dir = (await called(fs.opendir, folder))[1];
      expect(dir.path).toBe(folder);
      dir.closeSync();
      expect((await called(fs.rmdir, folder))[0].code).toBe("ENOTEMPTY");
      expect(await called(fs.rm, folder, { recursive: true })).toEqual([null]);
      expect((await called(fs.stat, folder))[0].message).toBe(`ENOENT: no such file or directory, stat '${folder}'`);
    });

    test("a descriptor is a number, for synchronous functions too", async () => {
      const path = tmp.file("0123456789");
      const [, fd] = await called(fs.open, path, "r+");
      expect(typeof fd).toBe("number");
      const into = Buffer.alloc(4);
      expect(await called(fs.read, fd, into, 1, 3, 4)).toEqual([null, 3, into]);
      expect(into.toString("latin1")).toBe("\0" + "456");
      expect(await called(fs.read, fd, { buffer: into, position: 0 })).toEqual([null, 4, into]);
      expect(await called(fs.read, fd, into, { length: 2, position: 2 })).toEqual([null, 2, into]);
      expect((await called(fs.read, fd))[1]).toBe(10); // its own position, which is that of readSync
      expect(readSync(fd, into, 0, 4, null)).toBe(0);
      expect(await called(fs.write, fd, into, 0, 2, 0)).toEqual([null, 2, into]);
      expect(await called(fs.write, fd, "xyz", 7, "latin1")).toEqual([null, 3, "xyz"]);
      const two = [Buffer.from("AB"), Buffer.from("CD")];
      expect(await called(fs.writev, fd, two, 3)).toEqual([null, 4, two]);
      expect(await called(fs.readv, fd, two, 0)).toEqual([null, 4, two]);
      expect((await called(fs.fstat, fd))[1].size).toBe(10);
      for (const sync of [fs.fsync, fs.fdatasync]) expect(await called(sync, fd)).toEqual([null]);
      expect(await called(fs.fchmod, fd, 0o600)).toEqual([null]);
      expect(await called(fs.futimes, fd, 1, 2)).toEqual([null]);
      expect(await called(fs.ftruncate, fd, 8)).toEqual([null]);
      expect(await called(fs.close, fd)).toEqual([null]);
      expect((await called(fs.fstat, fd))[0]).toMatchObject({ code: "EBADF", syscall: "fstat" });
      expect(readFileSync(path, "latin1").slice(3)).toBe("ABCDx");
    });

    test("writes at the file's own position are all there, a descriptor of a pipe is read", async () => {
      const path = tmp.file("");
      const fd = openSync(path, "w");
      await Promise.all(Array.from({ length: 64 }, (_, i) => called(fs.write, fd, `${i}\n`.padStart(8, "0"))));
      expect(readFileSync(path).length).toBe(64 * 8);
      await called(fs.close, fd);
      const lines = await program(
        title,
        `const fd = fs.openSync("/proc/self/fd/0"); fs.read(fd, Buffer.alloc(9), 0, 9, null, (e, n, b) => console.log(e, n));`,
      );
      expect(lines).toEqual(["null 0"]);
    });

    test("readFile and writeFile take a descriptor", async () => {
      const path = tmp.file("0123456789");
      const fd = openSync(path, "r+");
      readSync(fd, Buffer.alloc(3));
      expect(await called(fs.readFile, fd, "utf8")).toEqual([null, "3456789"]);
      expect(await called(fs.appendFile, fd, "more")).toEqual([null]);
      expect(readFileSync(path, "utf8")).toBe("0123456789more");
      await called(fs.close, fd);
    });

    test("exists gives a boolean and no error", async () => {
      const path = tmp.file("");
      expect(await called(fs.exists, path)).toEqual([true]);
      expect(await called(fs.exists, `${path}/nothing`)).toEqual([false]);
      expect(await called(fs.exists, {})).toEqual([false]);
      expect(await promisify(fs.exists)(path)).toBe(true);
    });

    test("util.promisify gives results as Node does", async () => {
      const path = tmp.file("0123456789");
      expect(await promisify(fs.readFile)(path, "utf8")).toBe("0123456789");
      expect(await promisify(fs.unlink)(tmp.file(""))).toBeUndefined();
      const fd = await promisify(fs.open)(path, "r+");
      const buffer = Buffer.alloc(4);
      expect(await promisify(fs.read)(fd, buffer, 0, 4, 0)).toEqual({ bytesRead: 4, buffer });
      expect(await promisify(fs.write)(fd, buffer, 0, 4, 0)).toEqual({ bytesWritten: 4, buffer });
      expect(await promisify(fs.readv)(fd, [buffer], 0)).toMatchObject({ bytesRead: 4, buffers: [buffer] });
      await promisify(fs.close)(fd);
      expect(await promisify(fs.stat)("/nowhere").catch((error) => error.code)).toBe("ENOENT");
    });

    test.each([
      ["readFile", [{}], "ERR_INVALID_ARG_TYPE"],
      ["readFile", ["x", "utf9"], "ERR_INVALID_ARG_VALUE"],
      ["stat", ["a\0b"], "ERR_INVALID_ARG_VALUE"],
      ["access", [7], "ERR_INVALID_ARG_TYPE"],
      ["open", ["x", "zz"], "ERR_INVALID_ARG_VALUE"],
      ["writeFile", ["x", 5], "ERR_INVALID_ARG_TYPE"],
      ["read", ["1", Buffer.alloc(1), 0, 1, 0], "ERR_INVALID_ARG_TYPE"],
      ["read", [-1, Buffer.alloc(1), 0, 1, 0], "ERR_OUT_OF_RANGE"],
      ["read", [1, Buffer.alloc(1), 2, 1, 0], "ERR_OUT_OF_RANGE"],
      ["write", [1, Buffer.alloc(1), 0, 2, 0], "ERR_OUT_OF_RANGE"],
      ["fstat", [null], "ERR_INVALID_ARG_TYPE"],
      ["fsync", [1.5], "ERR_OUT_OF_RANGE"],
      ["chmod", ["x", "nine"], "ERR_INVALID_ARG_VALUE"],
      ["utimes", ["x", {}, 1], "ERR_INVALID_ARG_TYPE"],
    ])("%s throws wrong arguments at the call: %p", (name, args, code) => {
      let caught: any;
      try {
        (fs as any)[name](...args, () => {
          throw new Error("called");
        });
      } catch (error) {
        caught = error;
      }
      expect(caught?.code).toBe(code);
    });

    test("without a callback they throw", () => {
      for (const name of ["readFile", "stat", "open", "rename", "unlink", "read", "exists"] as const) {
        expect(() => (fs as any)[name]("x", "y")).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }));
      }
    });

    test("a callback is called after everything that the caller's tick has begun", async () => {
      const order: string[] = [];
      const path = tmp.file("text");
      await new Promise<void>((resolve) => {
        fs.stat(path, () => {
          order.push("callback");
          resolve();
        });
        const chain = (left: number): void => {
          if (left === 0) order.push("ticks");
          else process.nextTick(() => Promise.resolve().then(() => chain(left - 1)));
        };
        chain(20);
        order.push("caller");
      });
      expect(order).toEqual(["caller", "ticks", "callback"]);
    });

    test("what a callback throws is an uncaught exception, once, and others are called", async () => {
      const lines = await program(
        title,
        `process.on("uncaughtException", (error) => console.log("uncaught", error.message));
         process.on("unhandledRejection", () => console.log("unhandled"));
         fs.stat("/", () => { throw new Error("one"); });
         fs.readFile("/nowhere", (error) => { console.log(error.code); throw new Error("two"); });
         setTimeout(() => fs.stat("/", (error) => console.log("then", error)), 50);
         ${ours ? "fs.close(987654);" : ""}`, // Bun's own makes an unhandled rejection of that
      );
      expect(lines.sort()).toEqual([
        "ENOENT",
        "then null",
        ...(ours ? ["uncaught EBADF: bad file descriptor, close"] : []),
        "uncaught one",
        "uncaught two",
      ]);
    });

    test("a callback has no this", async () => {
      const path = tmp.file("text");
      const seen: unknown[] = [];
      for (const name of ["stat", "readFile", "exists", "statfs"] as const) {
        await new Promise<void>((resolve) => {
          (fs as any)[name](path, function (this: unknown) {
            seen.push(this);
            resolve();
          });
        });
      }
      expect(seen).toEqual([undefined, undefined, undefined, undefined]);
    });

    test("stat, lstat, fstat and statfs take what is no options for none", async () => {
      const path = tmp.file("0123456789");
      const fd = openSync(path, "r");
      for (const options of [null, undefined, 0, "utf8", true, []]) {
        expect((await called(fs.stat, path, options))[1].size).toBe(10);
        expect((await called(fs.lstat, path, options))[1].size).toBe(10);
        expect((await called(fs.fstat, fd, options))[1].size).toBe(10);
        expect(typeof (await called(fs.statfs, path, options ?? {}))[1].bsize).toBe("number");
      }
      fs.closeSync(fd);
    });

    test("writeFile and appendFile refuse what is neither text nor bytes, at the call, and touch nothing", () => {
      const path = tmp.file("still");
      for (const data of [[], ["x"], new Map(), { async *[Symbol.asyncIterator]() {} }, Object("x"), 5, null]) {
        for (const name of ["writeFile", "appendFile"] as const) {
          expect(() => (fs as any)[name](path, data, () => {})).toThrow(
            expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }),
          );
        }
      }
      expect(readFileSync(path, "utf8")).toBe("still");
    });

    test("a callback in the last place is called, though a function stands before it", async () => {
      const path = tmp.file("abc");
      const wrong = (): never => {
        throw new Error("not this one");
      };
      expect(await called(fs.readFile, path, wrong)).toEqual([null, Buffer.from("abc")]);
      expect((await called(fs.writeFile, path, "def", wrong))[0]).toBeNull();
      expect((await called(fs.appendFile, path, "ghi", wrong))[0]).toBeNull();
      expect(readFileSync(path, "utf8")).toBe("defghi");
      expect(() => (fs as any).open(path, wrong, 0o666, () => {})).toThrow(
        expect.objectContaining({ code: "ERR_INVALID_ARG_VALUE" }),
      );
      expect(() => (fs as any).symlink("x", tmp.path(), wrong, () => {})).toThrow(
        expect.objectContaining({ code: "ERR_INVALID_ARG_VALUE" }),
      );
    });

    test("read tells its forms apart by their number, and refuses what is no buffer", async () => {
      const fd = openSync(tmp.file("hello world"), "r");
      const read = (...args: unknown[]): Promise<any[]> => called((fs as any).read, fd, ...args);
      expect((await read({ position: 6, length: 5 }))[2].toString("utf8", 0, 5)).toBe("world");
      expect((await read(Buffer.alloc(3), { position: 4 }))[2].toString()).toBe("o w");
      expect((await read(Buffer.alloc(5), null))[1]).toBe(5);
      expect((await read(Buffer.alloc(5), 0, null, 0))[1]).toBe(0);
      expect((await read(Buffer.alloc(5), null, 2, 0))[1]).toBe(2);
      expect((await called(fs.read, fd))[1]).toBe(6);
      for (const wrong of [
        [undefined, 0, 5, 0],
        [null, 0, 5, 0],
        [{}, 0, 5, 0],
        [Buffer.alloc(5), {}, 5, 0],
        [Buffer.alloc(5), () => {}, 5, 0],
        ...(ours
          ? [
              [new ArrayBuffer(5), 0, 5, 0],
              [Buffer.alloc(5), "0", 5, 0],
            ]
          : []), // which Bun takes
      ]) {
        expect(() => (fs as any).read(fd, ...wrong, () => {})).toThrow(
          expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }),
        );
      }
      fs.closeSync(fd);
    });

    test("write refuses a range outside an empty buffer, too, and options that are none", async () => {
      const fd = openSync(tmp.path(), "w");
      const refused = (code: string, ...args: unknown[]): void =>
        expect(() => (fs as any).write(fd, ...args, () => {})).toThrow(expect.objectContaining({ code }));
      refused("ERR_OUT_OF_RANGE", Buffer.alloc(0), -1);
      refused("ERR_OUT_OF_RANGE", Buffer.alloc(0), 0, -1);
      refused("ERR_INVALID_ARG_TYPE", Buffer.alloc(3), true);
      refused("ERR_INVALID_ARG_TYPE", Buffer.alloc(3), "2");
      refused("ERR_INVALID_ARG_TYPE", Buffer.alloc(3), { offset: false });
      expect(await called(fs.write, fd, Buffer.from("abc"), null)).toEqual([null, 3, Buffer.from("abc")]);
      expect((await called(fs.write, fd, "déf", 3, "latin1"))[1]).toBe(3);
      expect((await called(fs.write, fd, Buffer.alloc(0), 0, 0, null))[1]).toBe(0);
      fs.closeSync(fd);
    });

    test("readdir's recursive is a boolean", () => {
      for (const recursive of [1, "yes"]) {
        expect(() => fs.readdir("/nowhere", { recursive } as any, () => {})).toThrow(
          expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }),
        );
      }
    });

    test("opendir calls its callback so", () => {
      expect(() => (fs as any).opendir("/")).toThrow(/The "callback" argument must be of type function/);
    });

    test("realpath resolves names before links, its native the links first", async () => {
      const folder = tmp.folder();
      fs.mkdirSync(`${folder}/real`);
      symlinkSync("nowhere", `${folder}/dangling`);
      const real = fs.realpathSync(folder);
      expect(await called(fs.realpath, `${folder}/dangling/../real`)).toEqual([null, `${real}/real`]);
      expect((await called(fs.realpath.native, `${folder}/dangling/../real`))[0].syscall).toBe("realpath");
      expect(await called(fs.realpath, "")).toEqual([null, process.cwd()]);
      expect((await called(fs.realpath, `${folder}/none`))[0]).toMatchObject({
        code: "ENOENT",
        syscall: "lstat",
        path: `${folder}/none`,
      });
    });

    testUnless(!ours && "Bun differs", "realpath's errors name what failed, as Node does and Bun doesn't", async () => {
      const folder = tmp.folder();
      symlinkSync("nowhere", `${folder}/dangling`);
      expect((await called(fs.realpath, `${folder}/none/below`))[0].path).toBe(`${folder}/none`);
      expect((await called(fs.realpath, `${folder}/dangling`))[0]).toMatchObject({
        syscall: "stat",
        path: `${folder}/dangling`,
      });
    });

    testUnless(!ours && "Bun differs", "synchronous stat functions have the same Dates as the others", async () => {
      const path = tmp.file();
      const fd = openSync(path, "r");
      for (const ms of [1000.4, 1000.6, 5000.7]) {
        fs.utimesSync(path, ms / 1000, ms / 1000);
        const dates = [
          fs.statSync(path).mtime,
          fs.lstatSync(path).mtime,
          fs.fstatSync(fd).mtime,
          (await called(fs.stat, path))[1].mtime,
        ];
        expect(dates.map(Number)).toEqual(Array(4).fill(Math.round(ms)));
      }
      fs.closeSync(fd);
      expect(fs.statSync(tmp.path(), { throwIfNoEntry: false })).toBeUndefined();
      expect(fs.statSync(path)).toBeInstanceOf(fs.Stats);
    });

    test("an aborted signal is told by the callback", async () => {
      const path = tmp.file("text");
      const [error] = await called(fs.readFile, path, { signal: AbortSignal.abort() });
      expect(error.name).toBe("AbortError");
      writeFileSync(path, "still");
    });

    testUnless(
      !ours && "Bun differs",
      "the module is whole: promises, synchronous functions, classes, lengths and names",
      async () => {
        const node = await import("node:fs");
        const own = fs as any;
        expect(Object.keys(node).filter((name) => !(name in own))).toEqual([]);
        expect(Object.keys(node).filter((name) => !(name in own.default) && name !== "default")).toEqual([]);
        expect(own.promises).toBe((await import("../../src/promises.ts")).default);
        expect(own.default.promises).toBe(own.promises);
        expect(own.readFileSync).toBe(node.readFileSync);
        const bySelf = Object.keys(own).filter((name) => name in node && own[name] !== (node as any)[name]);
        expect(bySelf.filter((name) => typeof own[name] === "function" && own[name].name !== name)).toEqual([]);
        expect([own.read.length, own.stat.length, own.readFile.length, own.close.length]).toEqual([6, 1, 3, 1]);
      },
    );
  });
}
