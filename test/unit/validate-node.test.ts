// The argument checks beside a real node (20 or later), which reaches its own through its public functions.
// For every value both must let it pass, or throw errors that look the same in every respect Node fixes.
// Skipped, and counted as skipped, where there is no node.

import { expect, test } from "bun:test";
import * as check from "../../src/node/arguments.ts";
import { describeUnless } from "../helpers/skip.ts";

/** Runs in both: everything of an argument error that a program can see. Any other outcome is "passed". */
function outcome(error: any): unknown {
  if (!String(error?.code).startsWith("ERR_")) return "passed";
  return {
    class: error.constructor.name,
    name: error.name,
    code: error.code,
    message: error.message,
    keys: Object.keys(error),
    text: String(error),
    head: error.stack.slice(0, error.stack.indexOf("\n    at")),
  };
}

const numbers = [
  "0",
  "5",
  "-0",
  "-1",
  "-2",
  "1.5",
  "NaN",
  "Infinity",
  "2**31-1",
  "2**31",
  "2**32",
  "2**32+1",
  "-(2**32)-1",
];
const strings = ["''", "'x'", "'hex'", `"it's"`, "'a\\nb'", "'y'.repeat(40)"];
const objects = [
  ...["({})", "[]", "[1,2]", "['x'.repeat(200)]", "Object.create(null)", "new Map([[1,2]])", "new Date(0)", "/x/g"],
  ...["new (class Foo {})", "Buffer.from('a')", "new Uint8Array(2)", "new AbortController().signal"],
];
const others = ["undefined", "null", "true", "10n", "2n**40n", "Symbol('q')", "(() => {})", "(function named() {})"];
const big = ["2**53", "1e21", "123456789012"];
const all = [...numbers, ...strings, ...objects, ...others, ...big];

interface Case {
  name: string;
  /** What node does with `v`; `fd` and `handle` are an open /dev/null. */
  node: string;
  ours: (v: any) => unknown;
  values: string[];
}

const cases: Case[] = [
  {
    name: "integer",
    node: "fs.promises.chown('/none', v, 0)",
    ours: (v) => check.validateInteger(v, "uid", -1, 2 ** 32 - 1),
    values: all,
  },
  {
    name: "int32",
    node: "fs.promises.rm('/none', { force: true, retryDelay: v })",
    ours: (v) => check.validateInt32(v, "options.retryDelay", 0),
    values: all,
  },
  {
    name: "uint32",
    node: "fs.promises.rm('/none', { force: true, maxRetries: v })",
    ours: (v) => check.validateUint32(v, "options.maxRetries"),
    values: all,
  },
  {
    name: "boolean",
    node: "fs.promises.rm('/none', { force: v })",
    ours: (v) => check.validateBoolean(v, "options.force"),
    values: all,
  },
  {
    name: "object",
    node: "fs.promises.rm('/none', v)",
    ours: (v) => check.validateObject(v, "options"),
    values: all.filter((source) => source !== "undefined" && source !== "new AbortController().signal"),
  },
  { name: "string", node: "path.basename(v)", ours: (v) => check.validateString(v, "path"), values: all },
  {
    name: "function",
    node: "fs.readFile('/dev/null', v)",
    ours: (v) => check.validateFunction(v, "cb"),
    values: [...numbers, ...strings, ...objects, "null", "true", "10n", "Symbol('q')", "(() => {})"],
  },
  {
    name: "signal",
    node: "fs.promises.readFile('/dev/null', { signal: v })",
    ours: (v) => check.validateAbortSignal(v, "options.signal"),
    values: all,
  },
  {
    name: "encoding",
    node: "fs.promises.readFile('/dev/null', { encoding: v })",
    ours: (v) => check.validateEncoding(v),
    values: all.filter((source) => source !== "new AbortController().signal"), // the runtimes inspect it differently
  },
  {
    name: "hex data",
    node: "handle.write('abc', 0, v)",
    ours: (v) => check.validateStringData("abc", v),
    values: strings,
  },
  { name: "buffer", node: "fs.readSync(fd, v)", ours: (v) => check.validateBuffer(v), values: all },
  { name: "buffers", node: "fs.readvSync(fd, v)", ours: (v) => check.bufferList(v), values: all },
  {
    name: "one of",
    node: "new (require('http').Agent)({ scheduling: v })",
    ours: (v) => check.validateOneOf(v, "scheduling", ["fifo", "lifo"]),
    values: ["5", "1.5", "'fifo'", "'x'", `"it's"`, "[1,2]", "({})", "true", "10n", "Symbol('q')"],
  },
  {
    name: "read offset",
    node: "handle.read(Buffer.alloc(4), v, 1)",
    ours: (v) => check.validateReadRange(Buffer.alloc(4), v, 1),
    values: [...numbers, ...strings, ...big, "true", "10n"],
  },
  {
    name: "read length",
    node: "handle.read(Buffer.alloc(4), 1, v)",
    ours: (v) => check.validateReadRange(Buffer.alloc(4), 1, v),
    values: ["0", "1", "3", "4", "-1", "2**31", "2**53"],
  },
  {
    name: "read into nothing",
    node: "handle.read(Buffer.alloc(0), 0, v)",
    ours: (v) => check.validateReadRange(Buffer.alloc(0), 0, v),
    values: ["0", "1", "-1"],
  },
  {
    name: "write offset",
    node: "handle.write(Buffer.alloc(4), v, 1)",
    ours: (v) => check.validateWriteRange(Buffer.alloc(4), v, 1),
    values: [...numbers, ...strings, ...big, "true", "10n"],
  },
  {
    name: "write length",
    node: "handle.write(Buffer.alloc(4), 1, v)",
    ours: (v) => check.validateWriteRange(Buffer.alloc(4), 1, v),
    values: ["0", "1", "3", "4", "-1", "2**31", "2**53"],
  },
  {
    name: "position",
    node: "fs.readSync(fd, Buffer.alloc(4), 0, 4, v)",
    ours: (v) => check.validatePosition(v, "position", 4),
    values: [...numbers, ...strings, ...big, "null", "undefined", "true", "(() => {})", "10n", "-1n", "2n**63n-5n"],
  },
];

const node = Bun.which("node");
const version = node === null ? "0" : Bun.spawnSync([node, "-p", "process.versions.node"]).stdout.toString();
const usable = Number.parseInt(version, 10) >= 20;

/** node's outcome for every value of every case, asked in one go. */
function askNode(): unknown[][] {
  const script = `
    process.noDeprecation = true;
    const fs = require("fs"), path = require("path");
    const outcome = ${outcome.toString()};
    const cases = [${cases.map((c) => `[(v, fd, handle) => ${c.node}, [${c.values.join(", ")}]]`).join(",\n")}];
    async function ask(call, v, handle) {
      try { await call(v, handle.fd, handle); return "passed"; } catch (error) { return outcome(error); }
    }
    (async () => {
      const handle = await fs.promises.open("/dev/null", "r+"), answers = [];
      for (const [call, values] of cases) {
        answers.push([]);
        for (const v of values) answers.at(-1).push(await ask(call, v, handle));
      }
      await handle.close();
      process.stdout.write(JSON.stringify(answers));
    })();`;
  const { stdout, stderr, exitCode } = Bun.spawnSync([node!, "-e", script]);
  if (exitCode !== 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString());
}

describeUnless(!usable && "no node", "the same as node", () => {
  const answers = usable ? askNode() : [];

  test.each(cases.map((c, index) => [c.name, c, index] as const))("%s", (_name, { ours, values }, index) => {
    let refused = 0;
    for (const [i, source] of values.entries()) {
      const v: unknown = new Function(`return ${source}`)();
      let result: unknown = "passed";
      try {
        ours(v);
      } catch (error) {
        result = outcome(error);
        refused++;
      }
      expect({ source, result }).toEqual({ source, result: answers[index][i] });
    }
    expect(refused).toBeGreaterThan(0);
  });
});
