// Owns glob and watch: the iterators, their options and refusals.
// Assumes inotify; a change is made only after the iterator was started, and its event is awaited.
// Never asserts how many events one change gives: the kernel and the platform decide that.

import { expect } from "bun:test";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectAbortError, expectArgumentError, rejection } from "../helpers/expect-error.ts";
import { scratch } from "../helpers/tmp.ts";

function plant(folder: string): string {
  mkdirSync(join(folder, "src/deep"), { recursive: true });
  for (const name of ["a.txt", "b.js", "src/c.js", "src/deep/d.js", ".hidden.js"])
    writeFileSync(join(folder, name), "");
  return folder;
}

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const glob = fs.glob as (pattern: any, options?: any) => AsyncIterable<any>;
  const watch = (path: any, options?: any): AsyncIterableIterator<any> =>
    (fs.watch as any)(path, options)[Symbol.asyncIterator]();
  const all = async <T>(iterable: AsyncIterable<T>): Promise<T[]> => {
    const items: T[] = [];
    for await (const item of iterable) items.push(item);
    return items;
  };

  it("glob gives the matching paths", async () => {
    const cwd = plant(tmp.folder());
    expect(await all(glob("*.js", { cwd }))).toEqual(["b.js"]);
    expect((await all(glob("**/*.js", { cwd }))).sort()).toEqual(["b.js", "src/c.js", "src/deep/d.js"]);
    expect((await all(glob(["*.txt", "src/*.js"], { cwd }))).sort()).toEqual(["a.txt", "src/c.js"]);
    expect(await all(glob("*.none", { cwd }))).toEqual([]);
  });

  it("glob excludes by function and by patterns", async () => {
    const cwd = plant(tmp.folder());
    const names = await all(glob("**/*.js", { cwd, exclude: (path: string) => path.endsWith("deep") }));
    expect(names.sort()).toEqual(["b.js", "src/c.js"]);
    expect(await all(glob("**/*.js", { cwd, exclude: ["src/**"] }))).toEqual(["b.js"]);
  });

  it("glob gives Dirents on request", async () => {
    const cwd = plant(tmp.folder());
    const [entry] = await all(glob("b.*", { cwd, withFileTypes: true }));
    expect(entry.name).toBe("b.js");
    expect(entry.isFile()).toBe(true);
  });

  it("glob refuses a pattern that is no string", async () => {
    expect((await rejection(() => all(glob(1)))).code).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("watch tells of changes in a folder until it is aborted", async () => {
    const folder = tmp.folder();
    const controller = new AbortController();
    const watcher = watch(folder, { signal: controller.signal });
    const first = watcher.next();
    await new Promise((resolve) => setImmediate(resolve));
    writeFileSync(join(folder, "new"), "x");
    const { value } = await first;
    expect(value.filename).toBe("new");
    expect(["rename", "change"]).toContain(value.eventType);
    const ended = expectAbortError(async () => {
      while (!(await watcher.next()).done) {
        // Events of the same change may still come.
      }
    });
    controller.abort();
    await ended;
  });

  it("watch ends when the loop is left", async () => {
    const folder = tmp.folder();
    const watcher = fs.watch(folder);
    const seen = (async (): Promise<any> => {
      for await (const event of watcher) return event;
    })();
    await new Promise((resolve) => setImmediate(resolve));
    writeFileSync(join(folder, "new"), "x");
    expect((await seen).filename).toBe("new");
  });

  let begins = 0;
  /** A watcher that has begun, and what it first tells: of a file that was made for it. */
  const begun = async (path: any, options: object): Promise<AsyncIterableIterator<any>> => {
    const watcher = watch(path, options);
    let next = watcher.next();
    await new Promise((resolve) => setImmediate(resolve));
    const name = `begin-${begins++}`;
    mkdirSync(join(path instanceof URL ? path.pathname : String(path), name));
    // Bun's watchers of one folder share what the kernel tells: a change from before this one began may come first.
    while ((await next).value.filename.toString() !== name) next = watcher.next();
    return watcher;
  };

  it("watch keeps maxQueue changes for a slow reader, and drops the rest", async () => {
    const folder = tmp.folder();
    const controller = new AbortController();
    const watcher = await begun(folder, { maxQueue: 2, signal: controller.signal });
    const warned = once(process, "warning");
    for (let i = 0; i < 5; i++) mkdirSync(join(folder, `${i}`));
    expect(String((await warned)[0])).toBe("Warning: fs.watch maxQueue exceeded");
    expect((await watcher.next()).value).toEqual({ eventType: "rename", filename: "0" });
    expect((await watcher.next()).value).toEqual({ eventType: "rename", filename: "1" });
    controller.abort();
    await expectAbortError(watcher.next());
  });

  it("watch fails when more than maxQueue changes wait and overflow is error", async () => {
    const folder = tmp.folder();
    const watcher = await begun(folder, { maxQueue: 1, overflow: "error" });
    for (const name of ["1", "2", "3"]) mkdirSync(join(folder, name));
    // A second watcher's answer says that the changes have come to both; the first was not asked meanwhile.
    const seen = begun(folder, {});
    await (await seen).return?.();
    const error = await rejection(async () => {
      for (;;) await watcher.next();
    });
    expect([error.code, error.message]).toEqual([
      "ERR_FS_WATCH_QUEUE_OVERFLOW",
      "fs.watch() queued more than 1 events",
    ]);
  });

  it("watch leaves out what is to be ignored", async () => {
    for (const ignore of ["*.log", /\.log$/, (name: string) => name.endsWith(".log"), ["x", "*.log"]] as any[]) {
      const folder = tmp.folder();
      const watcher = await begun(folder, { ignore });
      const next = watcher.next();
      mkdirSync(join(folder, "a.log"));
      mkdirSync(join(folder, "b.txt"));
      expect((await next).value.filename).toBe("b.txt");
      await watcher.return?.();
    }
  });

  it("watch takes a Buffer or a URL as the path, and gives names as Buffers", async () => {
    for (const toPath of [Buffer.from, pathToFileURL] as ((path: string) => any)[]) {
      await (await begun(toPath(tmp.folder()), { encoding: "buffer" })).return?.();
    }
  });

  it("watch of a missing path fails with ENOENT of watch", async () => {
    const path = tmp.path();
    const error = await rejection(async () => void (await watch(path).next()));
    expect({ code: error.code, syscall: error.syscall, path: error.path }).toEqual({
      code: "ENOENT",
      syscall: "watch",
      path,
    });
  });

  it("watch with an aborted signal fails at once", async () => {
    await expectAbortError(async () => void (await watch(tmp.folder(), { signal: AbortSignal.abort() }).next()));
  });

  const invalid: [title: string, options: any, code: any][] = [
    ["persistent", { persistent: 1 }, "ERR_INVALID_ARG_TYPE"],
    ["recursive", { recursive: 1 }, "ERR_INVALID_ARG_TYPE"],
    ["encoding", { encoding: "nope" }, "ERR_INVALID_ARG_VALUE"],
    ["signal", { signal: 1 }, "ERR_INVALID_ARG_TYPE"],
    ["ignore", { ignore: 1 }, "ERR_INVALID_ARG_TYPE"],
    ["maxQueue", { maxQueue: "2" }, "ERR_INVALID_ARG_TYPE"],
    ["fraction of a maxQueue", { maxQueue: 1.5 }, "ERR_OUT_OF_RANGE"],
    ["overflow", { overflow: "barf" }, "ERR_INVALID_ARG_VALUE"],
  ];
  for (const [title, options, code] of invalid) {
    it(`watch refuses a bad ${title}`, () =>
      expectArgumentError(async () => void (await watch(tmp.folder(), options).next()), code));
  }
}, "glob-watch");
