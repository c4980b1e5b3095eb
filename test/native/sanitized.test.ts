// The shim under AddressSanitizer, UBSan and, where a program of our own calls it, LeakSanitizer: driver.c calls each
// function; then Bun itself runs tests of the ring, of Workers that are terminated and of injected faults on it.
// Assumes gcc with its sanitizers. Never looks for leaks of Bun's: there only misuse of memory counts.

import { describe, expect } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { faultTest } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const root = join(import.meta.dir, "../..");
const build = join(root, "build");
const dir = tmpDir();

function run(command: string[], env: Record<string, string> = {}): { code: number | null; text: string } {
  const done = Bun.spawnSync(command, { cwd: root, env: { ...process.env, ...env }, stdout: "pipe", stderr: "pipe" });
  return { code: done.exitCode, text: `${done.stdout}${done.stderr}` };
}

const runtime = (name: string): string => run(["gcc", `-print-file-name=${name}`]).text.trim();

faultTest(
  "each exported function: no misuse of memory, no undefined behaviour, nothing leaked",
  { needs: ["gcc"] },
  () => {
    mkdirSync(join(build, "test"), { recursive: true });
    const program = join(build, "test", `driver.${process.pid}`);
    const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"];
    const source = join(import.meta.dir, "driver.c");
    try {
      const warnings = ["-std=gnu11", "-Wall", "-Wextra", "-Werror"];
      const compiled = run([
        "gcc",
        ...warnings,
        "-O1",
        "-g",
        ...sanitizers,
        "-o",
        program,
        source,
        "-l:liburing.a",
        "-lpthread",
      ]);
      expect(compiled).toEqual({ code: 0, text: "" });
      expect(run([program, dir])).toEqual({ code: 0, text: "" });
    } finally {
      rmSync(program, { force: true });
    }
    const driver = readFileSync(source, "utf8");
    const shim = readdirSync(join(root, "native"))
      .filter((name) => name !== "fault-hooks.h")
      .map((name) => readFileSync(join(root, "native", name), "utf8"))
      .join("");
    const exported = [...shim.matchAll(/^EXPORT .*?(bun_uring_\w+)\(/gm)].map((match) => match[1]!);
    expect(exported.filter((name) => !driver.includes(`${name}(`))).toEqual([]);
  },
);

faultTest("the helper and its owner share nothing unguarded", { needs: ["gcc", "ioUring"] }, () => {
  mkdirSync(join(build, "test"), { recursive: true });
  const program = join(build, "test", `driver-threads.${process.pid}`);
  const source = join(import.meta.dir, "driver.c");
  try {
    const flags = ["-std=gnu11", "-O1", "-g", "-fsanitize=thread"];
    expect(run(["gcc", ...flags, "-o", program, source, "-l:liburing.a", "-lpthread"])).toEqual({ code: 0, text: "" });
    expect(run([program, dir])).toEqual({ code: 0, text: "" });
  } finally {
    rmSync(program, { force: true });
  }
});

const RUNS: Record<string, string[]> = {
  "the ring and its rooms": ["ring", "operation", "loop", "doorbell", "buffer", "batch", "uring", "chain"].map(
    (name) => `test/unit/${name}.test.ts`,
  ),
  "Workers that are terminated": ["test/lifetime/workers.test.ts", "test/lifetime/worker-memory.test.ts"],
  "pools, and rings that end over work": ["pool", "endings", "late-memory"].map(
    (name) => `test/lifetime/${name}.test.ts`,
  ),
  "injected faults": ["test/fault/injected.test.ts"],
};

describe("Bun on the sanitized shim", () => {
  for (const [name, files] of Object.entries(RUNS)) {
    faultTest(name, { needs: ["gcc", "ioUring", "slow"], timeoutMs: 400_000 }, () => {
      const library = join(build, "liburing-shim-asan.so"); // make asan
      const logs = mkdtempSync(join(tmpdir(), "bun-uring-asan-"));
      try {
        const seen = run(["timeout", "380", process.execPath, "test", "--timeout", "120000", ...files], {
          LD_PRELOAD: `${runtime("libasan.so")} ${runtime("libubsan.so")}`,
          // JavaScriptCore's own memory is not ASan's business; its signal handlers stay its own.
          ASAN_OPTIONS: `detect_leaks=0:verify_asan_link_order=0:handle_segv=0:log_path=${logs}/asan`,
          UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:log_path=${logs}/ubsan`,
          BUN_URING_LIB: library,
          BUN_URING_FAULT_LIB: library,
          BUN_URING_SLOW: "",
        });
        const reports = readdirSync(logs).map((log) => readFileSync(join(logs, log), "utf8"));
        expect(reports.filter((report) => /ERROR|runtime error/.test(report))).toEqual([]);
        expect(seen.text).toMatch(/\n *[1-9]\d* pass\n/);
        expect(seen.text.slice(seen.code === 0 ? -1 : -4000).trim()).toBe("");
      } finally {
        rmSync(logs, { recursive: true, force: true });
      }
    });
  }
});
