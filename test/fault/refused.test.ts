// FAULTS rows 1, 2, 3, 28: io_uring is refused, by whatever means, and nothing changes but the speed.
// Assumes that a child's results under the node backend are what they are without a fault.
// Never loads the package here: import itself is part of what must not fail.

import { beforeAll, describe, expect, onTestFinished } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { asUser, refusingIoUring, withLimits } from "../helpers/as-user.ts";
import { type ChildOptions, runCase, startCase } from "../helpers/child.ts";
import { onDeath } from "../helpers/on-death.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { strace } from "../helpers/strace.ts";
import { tmpDir } from "../helpers/tmp.ts";

interface Tour {
  exported: string;
  backend: string;
  reason: { errno: number; code: string; message: string; remedy: string } | null;
  rings: number;
  results: unknown[];
}

const fixture = join(import.meta.dir, "refused.child.ts");
const root = tmpDir();
const inOneFolder = join(root, "tour"); // Errors name their paths, so every tour uses the same.
mkdirSync(inOneFolder, { mode: 0o777 });
let expected: unknown[];

const tour = (options: ChildOptions = {}): Promise<Tour> =>
  runCase<Tour>(fixture, "tour", {
    ...options,
    input: inOneFolder,
    env: { BUN_URING_BACKEND: "auto", ...options.env },
  });

/** The tour fell back, said why, holds no half-made ring, and gave the results of the oracle backend. */
async function expectFallback(options: ChildOptions, code: string, remedy: RegExp): Promise<void> {
  const seen = await tour(options);
  expect({ backend: seen.backend, exported: seen.exported }).toEqual({ backend: "node", exported: "node" });
  expect(seen.reason?.code).toBe(code);
  expect(`${seen.reason?.message} ${seen.reason?.remedy}`).toMatch(remedy);
  expect(seen.rings).toBe(0);
  expect(seen.results).toEqual(expected);
}

beforeAll(async () => {
  expected = (await tour({ env: { BUN_URING_BACKEND: "node" } })).results;
});

describe("without a fault", () => {
  faultTest("the ring is used, and gives what node:fs gives", { needs: ["ioUring"] }, async () => {
    const seen = await tour();
    expect(seen).toEqual({ ...seen, exported: "io_uring", backend: "io_uring", results: expected });
    expect(seen.reason ?? null).toBeNull();
  });
});

describe("seccomp", () => {
  const setups: [string, RegExp][] = [
    ["EPERM", /seccomp/],
    ["ENOSYS", /kernel/],
    ["ENOMEM", /RLIMIT_MEMLOCK/],
    ["ENOTSUP", /node backend/],
    ["EACCES", /node backend/],
  ];
  for (const [code, remedy] of setups) {
    faultTest(`io_uring_setup says ${code}`, { needs: ["ioUring", "gcc"] }, () =>
      expectFallback({ prefix: refusingIoUring({ setup: code }) }, code, remedy),
    );
  }

  faultTest("a ring can be made but not entered", { needs: ["ioUring", "gcc"] }, () =>
    expectFallback({ prefix: refusingIoUring({ enter: "EPERM" }) }, "EPERM", /seccomp/),
  );

  faultTest(
    "a ring can be made but nothing registered: whatever is used, it works",
    { needs: ["ioUring", "gcc"] },
    async () => {
      const seen = await tour({ prefix: refusingIoUring({ register: "EPERM" }) });
      expect(seen.results).toEqual(expected);
      expect(seen.rings > 0).toBe(seen.backend === "io_uring");
    },
  );

  for (const code of ["ENOSYS", "EPERM", "EINVAL"]) {
    faultTest(`openat2 says ${code}: the ring gives the true answers`, { needs: ["ioUring", "gcc"] }, async () => {
      const seen = await tour({ prefix: refusingIoUring({ openat2: code }) });
      expect({ backend: seen.backend, results: seen.results }).toEqual({ backend: "io_uring", results: expected });
    });
  }

  // IORING_REGISTER_FILES2 (13) registers a sparse table, IORING_REGISTER_FILES (2) a dense one.
  const tables: [string, Record<`register:${number}`, string>, boolean][] = [
    ["no sparse table of direct descriptors: a dense one", { "register:13": "EINVAL" }, true],
    ["no table of direct descriptors at all", { "register:13": "EINVAL", "register:2": "EINVAL" }, false],
  ];
  for (const [name, calls, hasTable] of tables) {
    const unless = lacking("direct descriptors");
    faultTest(name, { needs: ["ioUring", "gcc"], unless }, async () => {
      const prefix = refusingIoUring(calls);
      const seen = await tour({ prefix });
      expect({ backend: seen.backend, results: seen.results }).toEqual({ backend: "io_uring", results: expected });
      const { limits } = await runCase<{ limits: { directDescriptors: number } }>(fixture, "limits", {
        prefix,
        input: inOneFolder,
        env: { BUN_URING_BACKEND: "uring" },
      });
      expect(limits.directDescriptors > 0).toBe(hasTable);
    });
  }

  faultTest("BUN_URING_BACKEND=uring says so instead of falling back", { needs: ["gcc"] }, async () => {
    const prefix = refusingIoUring({ setup: "EPERM" });
    const end = await startCase(fixture, "strict", {
      prefix,
      input: "/etc/hostname",
      env: { BUN_URING_BACKEND: "uring" },
    }).finished();
    expect(end.value).not.toBe("value");
    expect(JSON.stringify(end.value ?? null) + end.stderr).toMatch(/seccomp/);
  });

  faultTest("the behaviour suite passes", { needs: ["gcc", "slow"], timeoutMs: 300_000 }, async () => {
    const suite = Bun.spawn(
      [...refusingIoUring({ setup: "EPERM" }), process.execPath, "test", "--timeout", "30000", "test/contract"],
      {
        cwd: join(import.meta.dir, "../.."),
        env: { ...process.env, BUN_URING_BACKEND: "auto" },
        stdout: "ignore",
        stderr: "pipe",
      },
    );
    const said = await new Response(suite.stderr).text();
    expect({ exitCode: await suite.exited, tail: said.slice(-400) }).toEqual({ exitCode: 0, tail: said.slice(-400) });
    expect(said).not.toMatch(/^ 0 pass/m);
  });
});

describe("strace", () => {
  faultTest("an injected EPERM is no other", { needs: ["ioUring", "strace"] }, async () => {
    const tracer = strace({ inject: ["io_uring_setup:error=EPERM"] });
    onTestFinished(tracer.remove);
    await expectFallback({ prefix: tracer.prefix }, "EPERM", /seccomp/);
  });

  // Row 6: the ring's own mappings (SQ and CQ, the SQEs), the second ring's likewise.
  for (const nth of [1, 2, 3, 4]) {
    faultTest(`mapping ${nth} of a ring fails`, { needs: ["ioUring", "strace"] }, async () => {
      const tracer = strace({ inject: [`mmap:error=ENOMEM:when=${nth}`], path: "anon_inode:[io_uring]" });
      onTestFinished(tracer.remove);
      const seen = await tour({ prefix: tracer.prefix });
      expect(seen.results).toEqual(expected);
      expect(seen.rings > 0).toBe(seen.backend === "io_uring");
    });
  }
});

describe("limits", () => {
  faultTest("the sysctl says no to users", { needs: ["ioUring", "ioUringSysctl", "otherUser"] }, async () => {
    const sysctl = "/proc/sys/kernel/io_uring_disabled";
    const before = readFileSync(sysctl, "utf8").trim();
    const guard = onDeath('echo "$2" > "$1"', sysctl, before);
    Bun.spawnSync(["chmod", "-R", "0777", root]);
    try {
      writeFileSync(sysctl, "1");
      await expectFallback({ prefix: asUser() }, "EPERM", /io_uring_disabled/);
    } finally {
      writeFileSync(sysctl, before);
      await guard.standDown();
    }
  });

  for (const memlock of [0, 4096, 65536]) {
    faultTest(`RLIMIT_MEMLOCK ${memlock}`, { needs: ["ioUring", "otherUser", "prlimit"] }, async () => {
      Bun.spawnSync(["chmod", "-R", "0777", root]);
      const prefix = [...asUser(), ...withLimits({ memlock })];
      const seen = await tour({ prefix });
      expect(seen.results).toEqual(expected);
      if (seen.backend === "node")
        expect(seen.reason).toMatchObject({ code: "ENOMEM", message: expect.stringMatching(/RLIMIT_MEMLOCK/) });
      // 64 KiB hold a ring, if a smaller one (FACTS: 256 entries fit).
      if (memlock === 65536) expect(seen.backend).toBe("io_uring");
    });
  }
});

describe("the library file", () => {
  const cases: [string, () => string, string, RegExp][] = [
    ["is missing", () => join(root, "none.so"), "MISSING", /make/],
    ["is no library", () => writeText("text.so", "not a library"), "DLOPEN", /make/],
    ["is empty", () => writeText("empty.so", ""), "DLOPEN", /make/],
    ["is another library", () => compile("other.so", "int other(void) { return 1; }"), "DLOPEN", /make/],
    ["has another ABI", () => otherAbi(), "ABI", /make|reinstall/],
  ];
  for (const [what, make, code, remedy] of cases) {
    faultTest(what, { needs: missing(["gcc"]) ? ["gcc"] : [] }, () =>
      expectFallback({ env: { BUN_URING_LIB: make() } }, code, remedy),
    );
  }

  function writeText(name: string, text: string): string {
    writeFileSync(join(root, name), text);
    return join(root, name);
  }

  function compile(name: string, source: string): string {
    const gcc = Bun.spawnSync(["gcc", "-shared", "-fPIC", "-x", "c", "-o", join(root, name), "-"], {
      stdin: Buffer.from(source),
    });
    if (gcc.exitCode !== 0) throw new Error(`${gcc.stderr}`);
    return join(root, name);
  }

  /** The shim's own source with another ABI number, so that nothing else about it is wrong. */
  function otherAbi(): string {
    const native = join(import.meta.dir, "../../native");
    const source = readFileSync(join(native, "liburing-shim.c"), "utf8");
    const other = source.replace(/(#define BUN_URING_ABI) \d+/, "$1 9999");
    expect(other).not.toBe(source);
    writeText("other-abi.c", other);
    const out = join(root, "other-abi.so");
    const gcc = Bun.spawnSync([
      "gcc",
      "-shared",
      "-fPIC",
      "-I",
      native,
      "-o",
      out,
      join(root, "other-abi.c"),
      "-l:liburing.a",
    ]);
    if (gcc.exitCode !== 0) throw new Error(`${gcc.stderr}`);
    return out;
  }
});
