// AppendLog and writeFileAtomic with each step on the way failing, one at a time: what is acknowledged is there, once, in order; what is
// rejected is told; nothing stays open, locked or beside.
// Assumes that all steps go through the backend that is chosen, whose methods are put in for the time of a test.

import { afterEach, describe, expect, test } from "bun:test";
import { copyFileSync, fstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { currentBackend } from "../../src/backend/choose.ts";
import type { Backend } from "../../src/backend/interface.ts";
import { AppendLog, readLog, writeFileAtomic } from "../../src/durable.ts";
import { systemError } from "../../src/node/errors.ts";
import { run } from "../helpers/mounts.ts";
import { missing } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();

/** Steps that can fail, with the system call that the error names. */
const STEPS = {
  open: "open",
  write: "write",
  writev: "write",
  writeSynced: "write",
  writeFile: "write",
  fsync: "fsync",
  fdatasync: "fdatasync",
  ftruncate: "ftruncate",
  fstat: "fstat",
  stat: "stat",
  lstat: "lstat",
  link: "link",
  linkUnnamed: "link",
  openUnnamed: "open",
  rename: "rename",
  unlink: "unlink",
  read: "read",
} as const;
type Step = keyof typeof STEPS;
/** What can have been done although it says it was not. */
const LATE: ReadonlySet<Step> = new Set(["writeSynced", "writeFile", "fsync", "fdatasync", "rename", "link"]);
const ERRORS = missing(["slow"]) === null ? { EIO: -5, EMFILE: -24, ENOSPC: -28, EPERM: -1 } : { EIO: -5 };

/** A step rejects and is not done; it rejects and is done; it never comes, nor does any behind it. */
type Fault = "in place of" | "behind" | "from";

/** Puts in failing methods: the step with number `failing` (from 0 on) fails. */
class Faults {
  readonly steps: Step[] = [];
  readonly #own: [string, unknown][] = [];
  /** Resolves at the step that never comes. */
  readonly stuck = Promise.withResolvers<void>();

  constructor(failing: number, errno: number, fault: Fault) {
    const backend = currentBackend();
    void backend.name; // chosen for good
    const methods = backend as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
    for (const name of Object.keys(STEPS) as Step[]) {
      const real = methods[name]!;
      this.#own.push([name, Object.getOwnPropertyDescriptor(backend, name) === undefined ? undefined : real]);
      methods[name] = async (...args) => {
        const isIt = this.steps.push(name) - 1 === failing;
        if (fault === "from" && this.steps.length > failing) {
          this.stuck.resolve();
          return new Promise(() => {});
        }
        if (isIt && !(fault === "behind" && LATE.has(name))) throw this.#error(name, errno);
        const result = await real.apply(backend, args);
        if (isIt) throw this.#error(name === "writeSynced" ? "fdatasync" : name, errno);
        return result;
      };
    }
  }

  #error(name: Step, errno: number): Error {
    return systemError(errno, STEPS[name]);
  }

  remove(): void {
    const backend = currentBackend() as unknown as Record<string, unknown>;
    for (const [name, own] of this.#own) {
      if (own === undefined) delete backend[name];
      else backend[name] = own;
    }
    this.#own.length = 0;
  }
}

let faults: Faults | null = null;
afterEach(() => {
  faults?.remove();
  faults = null;
});

const GROUPS = 10;
const text = (i: number): string => `record ${i}`.padEnd(60, ".");

interface Kind {
  framing: "records" | "lines";
  preallocate: number;
}

interface Outcome {
  acknowledged: string[];
  /** Rejected while the log went on: they are not in it. */
  refused: string[];
}
const noOutcome = (): Outcome => ({ acknowledged: [], refused: [] });

/** A log that is opened, appended to, rotated by hand and by size, reopened and closed. */
async function useLog(path: string, { framing, preallocate }: Kind, outcome = noOutcome()): Promise<Outcome> {
  let log: AppendLog;
  try {
    log = await AppendLog.open(path, { durability: "full", rotate: { maxBytes: 900 }, framing, preallocate });
  } catch {
    return outcome;
  }
  for (let i = 0; i < GROUPS; i++) {
    if (i === 3) await log.rotate().catch(() => {});
    if (i === 4) await log.reopen().catch(() => {});
    const group = ["a", "b", "c"].map(async (name) => {
      const record = text(i) + name;
      try {
        await log.append(record);
        outcome.acknowledged.push(record);
      } catch (error) {
        if ((error as { code: string }).code !== "ERR_LOG_FAILED") outcome.refused.push(record);
      }
    });
    await Promise.all(group);
  }
  await log.close().catch(() => {});
  return outcome;
}

async function found(path: string, { framing }: Kind): Promise<string[]> {
  const texts: string[] = [];
  if (framing === "lines") {
    const dir = dirname(path);
    const ended = readdirSync(dir).filter((name) => /^log\.\d+$/.test(name));
    for (const name of [...ended.sort(), basename(path)])
      texts.push(...readFileSync(join(dir, name), "utf8").split("\n").slice(0, -1));
    return texts;
  }
  let sequence = 0;
  for await (const entry of readLog(path)) {
    expect(entry.sequence).toBe(++sequence);
    texts.push(entry.data.toString());
  }
  return texts;
}

/** The same, when the log has been opened again and one more record was appended. */
async function afterwards(path: string, kind: Kind): Promise<string[]> {
  const log = await AppendLog.open(path, { durability: "full", framing: kind.framing });
  await log.append("afterwards");
  await log.close();
  return found(path, kind);
}

/** How many steps a run without a fault has. */
async function countSteps(run: (dir: string) => Promise<unknown>): Promise<number> {
  faults = new Faults(-1, 0, "in place of");
  await run(tmp.folder());
  const { length } = faults.steps;
  faults.remove();
  return length;
}

const kinds: Kind[] = [
  { framing: "records", preallocate: 0 },
  { framing: "records", preallocate: 4096 },
  { framing: "lines", preallocate: 0 },
];

describe("a process dies before each step", () => {
  for (const kind of kinds)
    test(`AppendLog, ${kind.framing}, preallocate ${kind.preallocate}`, async () => {
      const steps = await countSteps((dir) => useLog(join(dir, "log"), kind));
      for (let failing = 0; failing < steps; failing++) {
        const dir = tmp.folder();
        const outcome = noOutcome();
        faults = new Faults(failing, 0, "from");
        useLog(join(dir, "log"), kind, outcome);
        await faults.stuck.promise;
        const acknowledged = [...outcome.acknowledged]; // what is under way yet may be so a moment later
        const path = join(tmp.folder(), "log");
        run("cp", "-a", `${dir}/.`, dirname(path)); // what the dead leave, without their locks; a file of two names stays one
        const told = `step ${failing}, ${faults.steps.slice(0, failing + 1).slice(-5)}`;
        faults.remove();
        try {
          const texts = await afterwards(path, kind);
          expect(texts.slice(0, acknowledged.length)).toEqual(acknowledged);
          expect(texts.at(-1)).toBe("afterwards");
          expect(texts.length).toBeLessThanOrEqual(acknowledged.length + 3 + 1); // the group under way, and that
        } catch (error) {
          throw new Error(told, { cause: error });
        }
      }
    }, 120_000);
});

describe("each step fails once", () => {
  for (const kind of kinds)
    test(`AppendLog, ${kind.framing}, preallocate ${kind.preallocate}`, async () => {
      const run = (dir: string): Promise<Outcome> => useLog(join(dir, "log"), kind);
      const steps = await countSteps(run);
      expect(steps).toBeGreaterThan(20);
      const open = tmp.openFiles();
      for (const [name, errno] of Object.entries(ERRORS))
        for (const fault of ["in place of", "behind"] as const)
          for (let failing = 0; failing < steps; failing++) {
            const dir = tmp.folder();
            const path = join(dir, "log");
            faults = new Faults(failing, errno, fault);
            const { acknowledged, refused } = await run(dir);
            const told = `${name} ${fault} step ${failing}, ${faults.steps.slice(0, failing + 1).slice(-5)}`;
            faults.remove();
            try {
              const texts = await afterwards(path, kind);
              expect(texts.filter((entry) => acknowledged.includes(entry))).toEqual(acknowledged);
              expect(texts.filter((entry) => refused.includes(entry))).toEqual([]);
              expect(texts.at(-1)).toBe("afterwards");
            } catch (error) {
              throw new Error(told, { cause: error });
            }
          }
      expect(tmp.openFiles()).toEqual(open); // the dead have theirs
    }, 120_000);

  for (const overwrite of [true, false])
    test(`writeFileAtomic, overwrite ${overwrite}`, async () => {
      const target = (dir: string): string => join(dir, "value");
      const run = (dir: string): Promise<string> => {
        if (overwrite) writeFileSync(target(dir), "old");
        return writeFileAtomic(target(dir), "new", { overwrite }).then(
          () => "resolved",
          (error) => error.code,
        );
      };
      const steps = await countSteps(run);
      const open = tmp.openFiles();
      for (const [name, errno] of Object.entries(ERRORS))
        for (const fault of ["in place of", "behind"] as const)
          for (let failing = 0; failing < steps; failing++) {
            const dir = tmp.folder();
            faults = new Faults(failing, errno, fault);
            const outcome = await run(dir);
            const step = faults.steps[failing]!;
            const told = `${name} ${fault} step ${failing}, ${step}`;
            faults.remove();
            try {
              const names = readdirSync(dir);
              const content = names.includes("value") ? readFileSync(target(dir), "utf8") : "nothing";
              if (outcome === "resolved") expect(content).toBe("new");
              else expect([name, "EEXIST"]).toContain(outcome);
              expect(overwrite ? ["old", "new"] : ["nothing", "new"]).toContain(content);
              if (step !== "unlink") expect(names.filter((entry) => entry !== "value")).toEqual([]);
            } catch (error) {
              throw new Error(told, { cause: error });
            }
          }
      expect(tmp.openFiles()).toEqual(open); // the dead have theirs
    });
});

/** The backend with one method put in for the time of some work. */
async function withMethod<N extends "fsync" | "writeSynced" | "flock" | "link">(
  name: N,
  put: Backend[N],
  work: () => Promise<void>,
): Promise<void> {
  const backend = currentBackend();
  void backend.name;
  const own = Object.getOwnPropertyDescriptor(backend, name);
  Object.defineProperty(backend, name, { value: put, configurable: true, writable: true });
  try {
    await work();
  } finally {
    delete (backend as Partial<Backend>)[name];
    if (own !== undefined) Object.defineProperty(backend, name, own);
  }
}

test("flushSync leaves no hole where a group is under way that a crash ends", async () => {
  const path = tmp.path();
  const log = await AppendLog.open(path);
  await log.append("first");
  const real = currentBackend().writeSynced.bind(currentBackend());
  const held = Promise.withResolvers<void>();
  const never: Backend["writeSynced"] = async (...args) => {
    await held.promise;
    return real(...args);
  };
  await withMethod("writeSynced", never, async () => {
    const both = [log.append("under way")];
    await new Promise((resolve) => setImmediate(resolve));
    both.push(log.append("behind it"));
    log.flushSync();
    const copy = tmp.path(); // as a crash leaves it now
    copyFileSync(path, copy);
    expect(await found(copy, { framing: "records", preallocate: 0 })).toEqual(["first", "under way", "behind it"]);
    await (await AppendLog.open(copy)).close();
    held.resolve();
    await Promise.all(both);
  });
  await log.close();
  expect(await found(path, { framing: "records", preallocate: 0 })).toEqual(["first", "under way", "behind it"]);
});

test("flushSync just after the opening has room before the zeros that are being written", async () => {
  const kind: Kind = { framing: "records", preallocate: 8 << 20 };
  const path = tmp.path();
  const log = await AppendLog.open(path, kind);
  log.write("one");
  log.write("two");
  log.flushSync();
  expect(log.stats().records).toBe(2);
  for (let i = 0; i < 200; i++) await log.append("x".repeat(4000)); // up to the zeros, and over them
  await log.close();
  const texts = await found(path, kind);
  expect([texts.length, texts[0], texts[1]]).toEqual([202, "one", "two"]);
});

test("flushSync writes lines, and durable ones, in the middle of a rotation, too", async () => {
  for (const durability of ["none", "data"] as const) {
    const path = join(tmp.folder(), "log");
    const log = await AppendLog.open(path, { framing: "lines", durability });
    await log.append("first");
    const real = currentBackend().link.bind(currentBackend());
    const reached = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    const late: Backend["link"] = async (...args) => {
      reached.resolve();
      await held.promise;
      return real(...args);
    };
    await withMethod("link", late, async () => {
      const rotated = log.rotate();
      await reached.promise;
      log.write("last words");
      log.flushSync();
      expect(readFileSync(path, "utf8")).toBe("first\nlast words\n");
      held.resolve();
      await rotated;
    });
    await log.append("next");
    await log.close();
    expect(await found(path, { framing: "lines", preallocate: 0 })).toEqual(["first", "last words", "next"]);
    expect(readFileSync(path, "utf8")).toBe("next\n");
  }
});

test("a lock that is let go while its holder is looked for is no reason to fail", async () => {
  const real = currentBackend().flock.bind(currentBackend());
  let tries = 0;
  const late: Backend["flock"] = (...args) => (++tries <= 2 ? -11 : real(...args)); // EAGAIN, and nobody has it
  await withMethod("flock", late, async () => {
    const log = await AppendLog.open(tmp.path());
    expect(tries).toBe(3);
    await log.close();
  });
  await withMethod(
    "flock",
    () => -11,
    async () => {
      const outcome = AppendLog.open(tmp.path()).then(
        () => "opened",
        (error) => error.code,
      );
      expect(await outcome).toBe("ERR_LOCKED");
    },
  );
});

test("a file system that has no sync for folders is no reason to fail; one whose sync fails is", async () => {
  const dir = tmp.folder();
  const real = currentBackend().fsync.bind(currentBackend());
  for (const [errno, code] of [
    [-22, "resolved"],
    [-5, "EIO"],
  ] as const) {
    const failing: Backend["fsync"] = async (file) => {
      if (fstatSync(file.fd).isDirectory()) throw systemError(errno, "fsync");
      return real(file);
    };
    await withMethod("fsync", failing, async () => {
      const outcome = (work: Promise<unknown>): Promise<string> =>
        work.then(
          () => "resolved",
          (error) => error.code,
        );
      expect(await outcome(writeFileAtomic(join(dir, "value"), code))).toBe(code);
      const path = join(dir, code);
      expect(await outcome(AppendLog.open(path, { durability: "full" }).then((log) => log.close()))).toBe(code);
      const log = await AppendLog.open(`${path}-data`, { durability: "data" });
      await log.append("x");
      await log.close();
    });
  }
});
