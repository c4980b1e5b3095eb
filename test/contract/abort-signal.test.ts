// Owns AbortSignal on readFile and writeFile: aborted before, during and after, and what stays behind.
// Assumes that cancelling is best effort: a result that comes in spite of an abort must be the whole result.
// Never waits by time; a descriptor that stays open makes the test time out.

import { expect } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync, statSync } from "node:fs";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectAbortError, expectArgumentError } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  /** An abort ends the waiting, not always the operation: its descriptor closes when the kernel is done with it. */
  const allClosed = async (): Promise<void> => {
    while (tmp.openFiles().length > 0) await new Promise((resolve) => setImmediate(resolve));
  };

  it("an aborted signal rejects readFile, also of a missing file", async () => {
    const why = new Error("why");
    await expectAbortError(fs.readFile(tmp.file("x"), { signal: AbortSignal.abort(why) }), why);
    await expectAbortError(fs.readFile(tmp.path(), { signal: AbortSignal.abort() }));
    await expectAbortError(fs.readFile(tmp.file("x"), { signal: AbortSignal.abort("text"), encoding: "utf8" }), "text");
  });

  it("the cause of a plain abort is its DOMException", async () => {
    const signal = AbortSignal.abort();
    await expectAbortError(fs.readFile(tmp.file("x"), { signal }), signal.reason);
  });

  it("an aborted signal rejects writeFile and appendFile, and touches nothing", async () => {
    const path = tmp.path();
    const old = tmp.file("old");
    for (const call of [fs.writeFile, fs.appendFile] as any[]) {
      await expectAbortError(call(path, "x", { signal: AbortSignal.abort() }));
      await expectAbortError(call(old, "x", { signal: AbortSignal.abort() }));
      await expectAbortError(call(old, ["x"], { signal: AbortSignal.abort() }));
    }
    expect(existsSync(path)).toBe(false);
    expect(readFileSync(old, "utf8")).toBe("old");
  });

  it("an abort in the same turn rejects readFile", async () => {
    const path = tmp.file(patternBytes(1 << 20));
    const controller = new AbortController();
    const read = fs.readFile(path, { signal: controller.signal });
    const why = new Error("why");
    controller.abort(why);
    await expectAbortError(read, why);
    await allClosed();
  });

  it("an abort in the same turn rejects readFile of a small file, cached or not", async () => {
    const path = tmp.file("small");
    await fs.readFile(path);
    const controller = new AbortController();
    const read = fs.readFile(path, { signal: controller.signal });
    controller.abort();
    await expectAbortError(read);
  });

  it("an abort in the same turn rejects writeFile", async () => {
    const controller = new AbortController();
    const write = fs.writeFile(tmp.path(), patternBytes(1 << 20), { signal: controller.signal });
    controller.abort();
    await expectAbortError(write);
  });

  it("an abort between the parts of an iterable stops writeFile there", async () => {
    const path = tmp.path();
    const controller = new AbortController();
    let given = 0;
    const source = (async function* () {
      for (; given < 100; given++) {
        if (given === 3) controller.abort();
        yield "part;";
      }
    })();
    await expectAbortError(fs.writeFile(path, source, { signal: controller.signal }));
    expect(given).toBeLessThan(10);
    expect(statSync(path).size).toBeLessThan(50);
    await allClosed();
  });

  it("an abort from the tick after the call comes before the result", async () => {
    const path = tmp.file("content");
    await using handle = await fs.open(path, "r+");
    const parts = async function* (): AsyncGenerator<string> {
      yield "a";
      yield "b";
    };
    const calls: ((options: { signal: AbortSignal }) => Promise<unknown>)[] = [
      (options) => fs.readFile(path, options),
      (options) => fs.writeFile(path, "x", options),
      (options) => fs.writeFile(path, parts(), options),
      (options) => handle.readFile(options),
      (options) => handle.writeFile("x", options),
      (options) => handle.writeFile(parts(), options),
    ];
    for (const call of calls) {
      const controller = new AbortController();
      process.nextTick(() => controller.abort());
      await expectAbortError(call({ signal: controller.signal }));
    }
  });

  it("an abort after the end changes nothing", async () => {
    const controller = new AbortController();
    const path = tmp.path();
    await fs.writeFile(path, "x", { signal: controller.signal });
    expect(await fs.readFile(path, { signal: controller.signal, encoding: "utf8" })).toBe("x");
    controller.abort();
    expect(await fs.readFile(path, "utf8")).toBe("x");
  });

  it("a signal serves many operations, and keeps none of their listeners", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const paths = Array.from({ length: 50 }, (_, i) => tmp.file(`content ${i}`));
    const texts = await Promise.all(paths.map((path) => fs.readFile(path, { signal, encoding: "utf8" })));
    expect(texts).toEqual(paths.map((_, i) => `content ${i}`));
    const { getEventListeners } = await import("node:events");
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  it("one abort rejects all operations in flight", async () => {
    const controller = new AbortController();
    const path = tmp.file(patternBytes(1 << 20));
    const reads = Array.from({ length: 20 }, () => fs.readFile(path, { signal: controller.signal }));
    controller.abort();
    await Promise.all(reads.map((read) => expectAbortError(read)));
    await allClosed();
  });

  it("an aborted read gives its result whole or an AbortError, whenever the abort comes", async () => {
    const data = patternBytes(2 << 20, 11);
    const path = tmp.file(data);
    for (let turns = 0; turns < 30; turns++) {
      const controller = new AbortController();
      const read = fs.readFile(path, { signal: controller.signal });
      const outcome = read.then(
        (bytes) => bytes.equals(data),
        (error) => error.name,
      );
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
      expect([true, "AbortError"]).toContain(await outcome);
    }
    await allClosed();
  });

  it("an abort frees a readFile that waits on a FIFO", async () => {
    const path = tmp.fifo();
    // Open for both, so that opening for reading does not wait for a writer, and reading waits for data.
    const keeper = openSync(path, "r+");
    const controller = new AbortController();
    const read = fs.readFile(path, { signal: controller.signal, encoding: "utf8" });
    read.catch(() => {});
    const opened = (): number => tmp.openFiles().filter((target) => target === path).length;
    while (opened() < 2) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    // Cancelling is best effort: where the read itself cannot be cancelled, the end of the file ends it.
    closeSync(keeper);
    await expectAbortError(read);
  });

  it("refuses a signal that is none", async () => {
    const wanted = 'The "options.signal" property must be an instance of AbortSignal. Received';
    for (const [signal, received] of [
      ["x", "type string ('x')"],
      [{}, "an instance of Object"],
      [1, "type number (1)"],
    ]) {
      const options: any = { signal };
      await expectArgumentError(
        () => fs.readFile(tmp.file(), options),
        "ERR_INVALID_ARG_TYPE",
        `${wanted} ${received}`,
      );
      await expectArgumentError(
        () => fs.writeFile(tmp.path(), "x", options),
        "ERR_INVALID_ARG_TYPE",
        `${wanted} ${received}`,
      );
    }
  });
}, "abort-signal");
