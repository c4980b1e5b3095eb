// Flags and modes: the numbers themselves, what the kernel made of them, and node's errors.

import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { parseFlags, parseMode } from "../../src/node/open-flags.ts";
import { testUnless } from "../helpers/skip.ts";
import { tmpDir } from "../helpers/tmp.ts";

// asm-generic/fcntl.h, the same on x64 and arm64
const WRONLY = 0o1;
const RDWR = 0o2;
const CREAT = 0o100;
const EXCL = 0o200;
const TRUNC = 0o1000;
const APPEND = 0o2000;
const SYNC = 0o4010000;

const spellings: [string, number][] = [
  ["r", 0],
  ["rs", SYNC],
  ["sr", SYNC],
  ["r+", RDWR],
  ["rs+", RDWR | SYNC],
  ["sr+", RDWR | SYNC],
  ["w", WRONLY | CREAT | TRUNC],
  ["wx", WRONLY | CREAT | TRUNC | EXCL],
  ["xw", WRONLY | CREAT | TRUNC | EXCL],
  ["w+", RDWR | CREAT | TRUNC],
  ["wx+", RDWR | CREAT | TRUNC | EXCL],
  ["xw+", RDWR | CREAT | TRUNC | EXCL],
  ["a", WRONLY | CREAT | APPEND],
  ["ax", WRONLY | CREAT | APPEND | EXCL],
  ["xa", WRONLY | CREAT | APPEND | EXCL],
  ["as", WRONLY | CREAT | APPEND | SYNC],
  ["sa", WRONLY | CREAT | APPEND | SYNC],
  ["a+", RDWR | CREAT | APPEND],
  ["ax+", RDWR | CREAT | APPEND | EXCL],
  ["xa+", RDWR | CREAT | APPEND | EXCL],
  ["as+", RDWR | CREAT | APPEND | SYNC],
  ["sa+", RDWR | CREAT | APPEND | SYNC],
];

function thrown(call: () => unknown): string {
  try {
    return `returned ${call()}`;
  } catch (error: any) {
    return `${error.code} ${error.message}`;
  }
}

describe("parseFlags", () => {
  test.each(spellings)("%s", (flags, expected) => {
    expect(parseFlags(flags)).toBe(expected);
  });

  const dir = tmpDir();
  test.each(spellings)("opens a file as the runtime does with %s", (flags) => {
    const path = join(dir, `file-${flags}`);
    const opened = (as: string | number): string => {
      if (flags.includes("x")) fs.rmSync(path, { force: true });
      else fs.writeFileSync(path, "content");
      const fd = fs.openSync(path, as, 0o600);
      try {
        // The status flags that the kernel keeps, then what became of the content.
        return `${fs.readFileSync(`/proc/self/fdinfo/${fd}`, "utf8").match(/flags:\s*(\d+)/)![1]} ${fs.statSync(path).size}`;
      } finally {
        fs.closeSync(fd);
      }
    };
    expect(opened(parseFlags(flags))).toBe(opened(flags));
  });

  test("null and undefined mean read only, numbers are taken as they are", () => {
    for (const flags of [null, undefined]) expect(parseFlags(flags)).toBe(0);
    for (const flags of [0, 0o4000, -1, 2 ** 31 - 1, -(2 ** 31)]) expect(parseFlags(flags)).toBe(flags);
    expect(Object.is(parseFlags(-0), 0)).toBe(true);
  });

  test("anything else is refused in Node's words", () => {
    for (const [value, shown] of [
      ["", "''"],
      ["zz", "'zz'"],
      ["R", "'R'"],
      ["r ", "'r '"],
      [{}, "{}"],
      [true, "true"],
      [10n, "10n"],
      [["r"], "[ 'r' ]"],
    ]) {
      const expected = `ERR_INVALID_ARG_VALUE The argument 'flags' is invalid. Received ${shown}`;
      expect(thrown(() => parseFlags(value))).toBe(expected);
      expect(thrown(() => parseFlags(value, "options.flag"))).toBe(expected);
    }
    expect(thrown(() => parseFlags(1.5))).toBe(
      'ERR_OUT_OF_RANGE The value of "flags" is out of range. It must be an integer. Received 1.5',
    );
    expect(thrown(() => parseFlags(2 ** 40, "options.flag"))).toBe(
      'ERR_OUT_OF_RANGE The value of "options.flag" is out of range. It must be >= -2147483648 && <= 2147483647. Received 1_099_511_627_776',
    );
  });
});

describe("parseMode", () => {
  test("takes numbers and octal strings", () => {
    expect(parseMode(0o644, "mode")).toBe(0o644);
    expect(parseMode("644", "mode")).toBe(0o644);
    expect(parseMode("0755", "mode")).toBe(0o755);
    expect(parseMode(2 ** 32 - 1, "mode")).toBe(2 ** 32 - 1);
  });

  test("falls back for null and undefined only", () => {
    expect(parseMode(undefined, "mode", 0o666)).toBe(0o666);
    expect(parseMode(null, "mode", 0o666)).toBe(0o666);
    expect(parseMode(0, "mode", 0o666)).toBe(0);
    expect(thrown(() => parseMode(undefined, "mode"))).toBe(
      'ERR_INVALID_ARG_TYPE The "mode" argument must be of type number. Received undefined',
    );
  });

  test("refuses the rest in Node's words", () => {
    for (const mode of ["", "9", "0o644", "-1", "7.5", "rw"]) {
      expect(thrown(() => parseMode(mode, "mode", 0o666))).toBe(
        `ERR_INVALID_ARG_VALUE The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received '${mode}'`,
      );
    }
    expect(thrown(() => parseMode("77777777777", "mode"))).toContain(">= 0 && <= 4294967295. Received 8_589_934_591");
    expect(thrown(() => parseMode(-1, "mode"))).toContain(">= 0 && <= 4294967295. Received -1");
    expect(thrown(() => parseMode(1.5, "mode"))).toContain("must be an integer. Received 1.5");
    expect(thrown(() => parseMode({}, "options.mode"))).toBe(
      'ERR_INVALID_ARG_TYPE The "options.mode" property must be of type number. Received an instance of Object',
    );
  });
});

const node = Bun.which("node");
const version = node === null ? "0" : Bun.spawnSync([node, "-p", "process.versions.node"]).stdout.toString();
testUnless(Number.parseInt(version, 10) < 20 && "no node 20", "refusals are the same as node's", () => {
  const flags = [
    "''",
    "'zz'",
    "'R'",
    "({})",
    "[]",
    "true",
    "10n",
    "1.5",
    "2**40",
    "-(2**40)",
    "Symbol('q')",
    "(() => {})",
  ];
  const modes = ["''", "'9'", "'0o7'", "'77777777777'", "({})", "true", "10n", "-1", "1.5", "2**33", "NaN"];
  const script = `
    const fs = require("fs"), answers = [];
    (async () => {
      for (const v of [${flags.join(", ")}]) await fs.promises.open("/none", v).catch((e) => answers.push(e.code + " " + e.message));
      for (const v of [${modes.join(", ")}]) await fs.promises.open("/none", "r", v).catch((e) => answers.push(e.code + " " + e.message));
      process.stdout.write(JSON.stringify(answers));
    })();`;
  const { stdout, exitCode } = Bun.spawnSync([node!, "-e", script]);
  expect(exitCode).toBe(0);
  const value = (source: string): unknown => new Function(`return ${source}`)();
  expect([
    ...flags.map((source) => thrown(() => parseFlags(value(source)))),
    ...modes.map((source) => thrown(() => parseMode(value(source), "mode", 0o666))),
  ]).toEqual(JSON.parse(stdout.toString()));
});
