// Owns glob and watch: the iterators, their options and refusals.
// Assumes inotify; a change is made only after the iterator was started, and its event is awaited.
// Never asserts how many events one change gives: the kernel and the platform decide that.

import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
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
  ];
  for (const [title, options, code] of invalid) {
    it(`watch refuses a bad ${title}`, () =>
      expectArgumentError(async () => void (await watch(tmp.folder(), options).next()), code));
  }
}, "glob-watch");
