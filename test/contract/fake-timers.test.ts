// Owns that file I/O goes on while a test's fake clock is installed: one that replaces the globals, as sinon's does, and
// Bun's own, which stops native timers and clocks. Assumes that a process of its own says when some time has passed.
// Never leaves a fake behind: other tests would hang.

import { expect, jest } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Fs, forEachImplementation } from "../helpers/backends.ts";
import { scratch } from "../helpers/tmp.ts";

const NAMES = [
  "setTimeout",
  "setImmediate",
  "setInterval",
  "clearTimeout",
  "clearImmediate",
  "queueMicrotask",
] as const;

/** Puts fakes that never fire, or that fail, in the place of the globals. Returns what takes them away again. */
function replaceGlobals(fake: () => unknown): () => void {
  const real = Object.fromEntries(NAMES.map((name) => [name, globalThis[name]]));
  const { now } = performance;
  const { now: dateNow } = Date;
  const { nextTick } = process;
  for (const name of NAMES) (globalThis as any)[name] = fake;
  performance.now = Date.now = () => 0;
  process.nextTick = fake as never;
  return () => {
    Object.assign(globalThis, real);
    performance.now = now;
    Date.now = dateNow;
    process.nextTick = nextTick;
  };
}

/** Whether the work settles while the fakes are in place; it is begun with them. */
async function settlesUnder(install: () => () => void, work: () => Promise<unknown>): Promise<boolean> {
  const remove = install();
  let settled = false;
  try {
    const noted = work().finally(() => {
      settled = true;
    });
    noted.catch(() => {});
    for (let i = 0; i < 100 && !settled; i++) await Bun.spawn(["sleep", "0.02"]).exited;
  } finally {
    remove();
  }
  return settled;
}

const FAKES: Record<string, () => () => void> = {
  "fakes that never fire": () => replaceGlobals(() => ({ ref() {}, unref() {} })),
  "Bun's fake timers": () => {
    jest.useFakeTimers();
    return () => void jest.useRealTimers();
  },
};

const USES: Record<string, (fs: Fs, dir: string) => Promise<unknown>> = {
  writeFile: (fs, dir) => fs.writeFile(join(dir, "w"), "x"),
  "reads of many files": async (fs, dir) => {
    for (let i = 0; i < 300; i++) await fs.readFile(join(dir, "file"));
  },
  "a handle's write and sync": async (fs, dir) => {
    const handle = await fs.open(join(dir, "file"), "r+");
    await handle.write("abc");
    await handle.sync();
    await handle.close();
  },
  "mkdir, recursive": (fs, dir) => fs.mkdir(join(dir, "a/b/c"), { recursive: true }),
  "rm, recursive": (fs, dir) => {
    mkdirSync(join(dir, "tree/a/b"), { recursive: true });
    for (let i = 0; i < 20; i++) writeFileSync(join(dir, "tree/a", String(i)), "");
    return fs.rm(join(dir, "tree"), { recursive: true });
  },
  "cp, recursive": (fs, dir) => {
    mkdirSync(join(dir, "from/a"), { recursive: true });
    for (let i = 0; i < 20; i++) writeFileSync(join(dir, "from/a", String(i)), "some");
    return fs.cp(join(dir, "from"), join(dir, "to"), { recursive: true });
  },
  "a read of nothing": async (fs, dir) => {
    const handle = await fs.open(join(dir, "file"));
    await handle.read(Buffer.alloc(1), 0, 0, 0);
    await handle.close();
  },
  "a read that is aborted": async (fs, dir) => {
    const controller = new AbortController();
    const read = fs.readFile(join(dir, "file"), { signal: controller.signal });
    controller.abort();
    await read.catch(() => {});
  },
  "a write that is aborted": async (fs, dir) => {
    const controller = new AbortController();
    const write = fs.writeFile(join(dir, "v"), Buffer.alloc(1 << 20), { signal: controller.signal });
    controller.abort();
    await write.catch(() => {});
  },
};

const tmp = scratch();

forEachImplementation((fs, _name, it) => {
  for (const [kind, install] of Object.entries(FAKES)) {
    for (const [use, run] of Object.entries(USES)) {
      it(`${use} ends under ${kind}`, async () => {
        const dir = tmp.folder();
        writeFileSync(join(dir, "file"), "content");
        expect(await settlesUnder(install, () => run(fs, dir))).toBe(true);
      });
    }
  }
}, "fake timers");
