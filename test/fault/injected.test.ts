// FAULTS rows 26 and 27: completions that fail, fall short, come late, never, twice or for nobody, one after the other for
// every public function (functions.ts). Each call settles once, with the right errno or the right bytes, and nothing of
// the ring's is left with it. Assumes the fault build of the shim.

import { describe, expect } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Opcode } from "../../src/index.ts";
import { runCase } from "../helpers/child.ts";
import { FAULT_LIB, type FaultAction, hasFaultBuild } from "../helpers/fault-shim.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { tmpDir } from "../helpers/tmp.ts";
import { FUNCTIONS, NEEDS } from "./functions.ts";
import type { Plan, Report } from "./injected.child.ts";

const fixture = join(import.meta.dir, "injected.child.ts");
const root = tmpDir();
const slow = missing(["slow"]) === null;
const needs = ["ioUring", "gcc"] as const;
const timeoutMs = slow ? 600_000 : 60_000;
/** Functions that stand for the others where each run costs a ring: a handle, a chain, a path, a batch. */
const FEW = [
  "handle.read",
  "Ring.submit with a handle",
  "readFile",
  "writeFile with flush",
  "rename",
  "handle.readBatch",
];
const hasRing = missing(needs) === null;
/** Small files are copied by chains; files are read by chains. */
const inChains = hasRing && !lacking("direct descriptors that close at once");
const readInChains = hasRing && !lacking("direct descriptors");
const looksAtAll = hasRing && lacking("plain calls that can't block") !== false;
const sizeByPath = readInChains && lacking("FIXED_FD_INSTALL") ? ["readFile, large"] : [];
const smallCopies = inChains ? ["copyFile, small"] : [];
/** Functions that this kernel lacks, and why. */
const without = Object.entries(NEEDS).flatMap(([name, opcodes]) => {
  const why = hasRing && lacking(...opcodes);
  return why ? [{ name, why }] : [];
});
const but = without.length === 0 ? "" : `, but ${without.map(({ name, why }) => `"${name}" (${why})`).join(", ")}`;
const seeds = slow ? Array.from({ length: 20 }, (_, i) => i + 1) : [1, 2];

let folders = 0;
async function run<T extends Report>(name: string, plan: Omit<Plan, "dir">): Promise<T> {
  expect(hasFaultBuild()).toBe(true); // make fault
  const dir = join(root, `${folders++}`);
  mkdirSync(dir);
  const env = { BUN_URING_BACKEND: "uring", BUN_URING_LIB: FAULT_LIB };
  return runCase<T>(fixture, name, {
    input: { ...plan, dir, lacking: without.map(({ name }) => name) },
    env,
    timeoutMs: timeoutMs - 1000,
  });
}

const ERRORS: Record<string, number> = { EIO: -5, ENOMEM: -12, EINTR: -4, EAGAIN: -11, ECANCELED: -125, ENOSPC: -28 };

describe(`each completion of each function, once${but}`, () => {
  for (const [code, result] of Object.entries(ERRORS)) {
    faultTest(code, { needs, timeoutMs }, async () => {
      const report = await run("settling", { action: { result } });
      expect(report.wrong).toEqual([]);
      expect(report.hits).toBeGreaterThan(Object.keys(FUNCTIONS).length - without.length);
      // EINTR is nobody's business but ours (a Ring's own results are told as they are); the others are told.
      if (code === "EINTR") expect(report.rejected).toBeLessThan(10);
      if (code === "EIO") expect(report.rejected).toBeGreaterThan(report.hits / 2);
    });
  }

  // The only functions that may resolve over a failure of this opcode. A small copy is made anew by other means; a copy has
  // a source, whose close loses nothing (that of the target is not told apart from it here); where the first of readFile's two
  // reads fails, the second has begun at the same place, and what it brings is compared; space for a copy is a wish. A copy looks at
  // its files, by the ring where chains or plain calls can't, and may do without; where a chain's file can't be asked for its
  // size, reading does without.
  const MAY_BE_KEPT: Record<string, readonly string[]> = {
    WRITE: smallCopies,
    FSYNC: [],
    CLOSE: ["copyFile, large, over a file", "copyFile, small", "copyTree"],
    READ: readInChains
      ? [...smallCopies, "readFile", "readFile as text", "readFile of /proc", "readFile, large", "readMany, statMany"]
      : smallCopies,
    OPENAT: smallCopies,
    STATX: [
      ...(looksAtAll ? ["copyFile, large, over a file"] : []),
      ...(inChains ? [] : ["copyFile, small"]),
      ...sizeByPath,
    ],
    FTRUNCATE: [],
    OPENAT2: [],
    SPLICE: [],
    ...(slow
      ? {
          READV: [],
          WRITEV: [],
          READ_FIXED: [],
          WRITE_FIXED: [],
          UNLINKAT: [],
          RENAMEAT: [],
          MKDIRAT: [],
          LINKAT: [],
          SYMLINKAT: [],
          FALLOCATE: ["copyFile, large, over a file"],
          FADVISE: sizeByPath,
          SYNC_FILE_RANGE: [],
          SETXATTR: [],
          FSETXATTR: [],
          GETXATTR: [],
          FGETXATTR: [],
        }
      : {}),
  };
  for (const [name, kept] of Object.entries(MAY_BE_KEPT)) {
    const unless =
      hasRing && lacking(...(name.endsWith("_FIXED") ? (["fixed buffers"] as const) : []), name as "WRITE");
    faultTest(`a ${name} that fails is told by each function`, { needs, unless, timeoutMs }, async () => {
      const opcode = Opcode[name as "WRITE"];
      const report = await run("settling", { action: { result: ERRORS["EIO"]! }, opcode });
      expect({ wrong: report.wrong, untold: report.untold }).toEqual({ wrong: [], untold: [...kept] });
      expect(report.hits).toBeGreaterThan(0);
    });
  }

  const kind: Record<string, FaultAction> = {
    "one byte short": { shortBy: 1 },
    "seven bytes only": { shortTo: 7 },
    "3 ms late": { delayMs: 3 },
  };
  for (const [name, action] of Object.entries(kind)) {
    faultTest(name, { needs, timeoutMs }, async () => {
      const report = await run("settling", { action });
      expect(report.wrong).toEqual([]);
      expect(report.hits).toBeGreaterThan(Object.keys(FUNCTIONS).length - without.length);
      expect(report.rejected).toBe(0);
    });
  }
});

describe(`each completion of each function from one on${but}`, () => {
  // Not EINTR and ECANCELED: the first is tried again as long as it comes, with the second nothing could be closed.
  for (const code of ["EIO", "ENOSPC", "EAGAIN"]) {
    faultTest(code, { needs, timeoutMs }, async () => {
      const report = await run("settling", { action: { result: ERRORS[code]! }, forGood: true });
      expect(report.wrong).toEqual([]);
      expect(report.rejected).toBeGreaterThan(report.hits / 2);
    });
  }
  for (const action of [{ shortTo: 700 }, { delayMs: 2 }]) {
    faultTest(JSON.stringify(action), { needs, timeoutMs }, async () => {
      const report = await run("settling", { action, forGood: true });
      expect({ wrong: report.wrong, rejected: report.rejected }).toEqual({ wrong: [], rejected: 0 });
    });
  }
});

const only = slow ? undefined : FEW;

// Each of these runs waits for a ring that gives up on an operation: 0.1 s.
faultTest("a completion that never comes: others go on, shutdown() ends it", { needs, timeoutMs }, async () => {
  const report = await run("dropped", { action: { drop: true }, only });
  expect(report.wrong).toEqual([]);
  expect(report.hits).toBeGreaterThan(FEW.length);
});

const impossible: Record<string, FaultAction> = {
  twice: { duplicate: true },
  "for an earlier life of its slot": { stale: "generation" },
  "for a slot that does not exist": { stale: "slot" },
};
for (const [name, action] of Object.entries(impossible)) {
  faultTest(`a completion ${name} stops the ring: all pending calls reject`, { needs, timeoutMs }, async () => {
    const report = await run("impossible", { action, only });
    expect(report.wrong).toEqual([]);
    expect(report.hits).toBeGreaterThan(FEW.length);
    // The rest has hit the calls beside it, which have more completions where they are no chains.
    expect(report.rejected).toBeGreaterThan(report.hits / (readInChains ? 4 : 6));
  });
}

for (const seed of seeds) {
  faultTest(`all functions at once, faults by chance, seed ${seed}`, { needs, timeoutMs }, async () => {
    const report = await run("storm", { action: { drop: true }, seed });
    expect(report.wrong).toEqual([]);
    expect(report.hits).toBeGreaterThan(20);
  });
}
