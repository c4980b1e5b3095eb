// Path arguments: what is taken, what is refused in which words, and the bytes the kernel gets.

import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { encodePath, toPath } from "../../src/node/path.ts";
import { testUnless } from "../helpers/skip.ts";
import { tmpDir } from "../helpers/tmp.ts";

function thrown(call: () => unknown): string {
  try {
    return `returned ${call()}`;
  } catch (error: any) {
    return `${error.name} ${error.code} ${error.message}`;
  }
}

describe("toPath", () => {
  test("passes strings through, the empty one and long ones too", () => {
    for (const path of ["", "/a", "a b", "ü", "\ud800", "x".repeat(5000), "file:///a"]) expect(toPath(path)).toBe(path);
  });

  test("passes bytes through, in memory of their own", () => {
    const buffer = Buffer.from([0x2f, 0xff, 0x61]);
    const own = toPath(buffer) as Buffer;
    buffer.fill(0x2f);
    expect([...own]).toEqual([0x2f, 0xff, 0x61]);
    const bytes = new Uint8Array([0x2e, 0x2f, 0x61, 0x62]).subarray(1, 3);
    const path = toPath(bytes) as Buffer;
    expect(Buffer.isBuffer(path)).toBe(true);
    expect([...path]).toEqual([0x2f, 0x61]);
  });

  test("reads file: URLs, and objects that look like one", () => {
    expect(toPath(new URL("file:///a%20b/%C3%BC?query#hash"))).toBe("/a b/ü");
    expect(toPath(new URL("file://localhost/a"))).toBe("/a");
    expect(toPath({ href: "file:///x", protocol: "file:", hostname: "", pathname: "/x" })).toBe("/x");
  });

  test("refuses NUL, wherever it hides", () => {
    const words = (name: string, shown: string): string =>
      `TypeError ERR_INVALID_ARG_VALUE The argument '${name}' must be a string, Uint8Array, or URL without null bytes. Received ${shown}`;
    expect(thrown(() => toPath("a\0b"))).toBe(words("path", "'a\\x00b'"));
    expect(thrown(() => toPath("\0", "oldPath"))).toBe(words("oldPath", "'\\x00'"));
    expect(thrown(() => toPath(Buffer.from("a\0b")))).toBe(words("path", "<Buffer 61 00 62>"));
    expect(thrown(() => toPath(new URL("file:///a%00b"), "dest"))).toBe(words("dest", "'/a\\x00b'"));
  });

  test("refuses other URLs", () => {
    expect(thrown(() => toPath(new URL("http://host/a")))).toBe(
      "TypeError ERR_INVALID_URL_SCHEME The URL must be of scheme file",
    );
    expect(thrown(() => toPath(new URL("file://host/a")))).toBe(
      `TypeError ERR_INVALID_FILE_URL_HOST File URL host must be "localhost" or empty on ${process.platform}`,
    );
    for (const url of ["file:///a%2fb", "file:///a%2Fb"]) {
      expect(thrown(() => toPath(new URL(url)))).toBe(
        "TypeError ERR_INVALID_FILE_URL_PATH File URL path must not include encoded / characters",
      );
    }
    expect(thrown(() => toPath(new URL("file:///%ff")))).toStartWith("URIError");
  });

  test("refuses everything else by its type", () => {
    for (const [value, received] of [
      [undefined, "undefined"],
      [null, "null"],
      [5, "type number (5)"],
      [{}, "an instance of Object"],
      [["/a"], "an instance of Array"],
      [new String("/a"), "an instance of String"],
      [new Uint16Array(1), "an instance of Uint16Array"],
      [new ArrayBuffer(1), "an instance of ArrayBuffer"],
      // What url.parse() gives: it has auth and path, and is no URL.
      [
        { href: "file:///a", protocol: "file:", auth: null, path: "/a", hostname: "", pathname: "/a" },
        "an instance of Object",
      ],
    ]) {
      expect(thrown(() => toPath(value, "target"))).toBe(
        `TypeError ERR_INVALID_ARG_TYPE The "target" argument must be of type string or an instance of Buffer or URL. Received ${received}`,
      );
    }
  });
});

describe("encodePath", () => {
  const dir = tmpDir();

  test("ends in one NUL and nothing after it", () => {
    expect([...encodePath("/a")]).toEqual([0x2f, 0x61, 0]);
    expect([...encodePath("")]).toEqual([0]);
    expect([...encodePath(Buffer.from([0x2f, 0xff]))]).toEqual([0x2f, 0xff, 0]);
    const long = "é".repeat(3000);
    expect(encodePath(long).equals(Buffer.from(`${long}\0`))).toBe(true);
  });

  test("ends in its NUL in memory that was used before, too", () => {
    let unterminated = 0;
    for (let i = 0; i < 20_000; i++) {
      for (const bytes of [encodePath("/some/path"), encodePath(Buffer.from("/some/path"))]) {
        if (bytes[10] !== 0) unterminated++;
        bytes.fill(0xff); // what the next one may be given
      }
    }
    expect(unterminated).toBe(0);
  });

  test("writes UTF-8; a lone surrogate becomes U+FFFD", () => {
    expect([...encodePath("ü€😀")]).toEqual([...Buffer.from("ü€😀"), 0]);
    expect([...encodePath("a\ud800b")]).toEqual([0x61, 0xef, 0xbf, 0xbd, 0x62, 0]);
    expect([...encodePath("\udc00")]).toEqual([0xef, 0xbf, 0xbd, 0]);
  });

  test("is memory of its own: nobody else can detach or overwrite it", () => {
    const path = Buffer.from("/a");
    const bytes = encodePath(path);
    path.fill(0x78);
    expect(bytes.toString()).toBe("/a\0");
    for (const encoded of [bytes, encodePath("/b")]) {
      expect(encoded.byteOffset).toBe(0);
      expect(encoded.buffer.byteLength).toBe(encoded.byteLength);
    }
  });

  test("names the same file as the runtime does", () => {
    for (const name of ["plain", "ü€😀", "a\ud800b"]) {
      fs.writeFileSync(join(dir, name), name);
      const bytes = encodePath(join(dir, name));
      expect(fs.readFileSync(bytes.subarray(0, -1), "utf8")).toBe(fs.readFileSync(join(dir, name), "utf8"));
    }
  });
});

const node = Bun.which("node");
const version = node === null ? "0" : Bun.spawnSync([node, "-p", "process.versions.node"]).stdout.toString();
testUnless(Number.parseInt(version, 10) < 20 && "no node 20", "paths are taken and refused as node does", () => {
  const sources = [
    ...[
      "undefined",
      "null",
      "5",
      "10n",
      "true",
      "Symbol('q')",
      "({})",
      "[]",
      "(() => {})",
      "new Map",
      "new Uint16Array(1)",
    ],
    ...[
      "'a\\0b'",
      "Buffer.from('a\\0b')",
      "new URL('http://x/y')",
      "new URL('file://host/y')",
      "new URL('file:///a%2Fb')",
    ],
    ...["new URL('file:///a%00b')", "''", "Buffer.alloc(0)", "'/none/\\ud800'", "Buffer.from([47, 255, 97])"],
    ...["new URL('file:///none/a%20b')", "new URL('file://localhost/none')", "new Uint8Array([47, 110])"],
  ];
  const script = `
    const fs = require("fs"), answers = [];
    (async () => {
      for (const v of [${sources.join(", ")}])
        await fs.promises.open(v).catch((e) => answers.push(e.code === "ENOENT" ? [e.path] : e.code + " " + e.message));
      process.stdout.write(JSON.stringify(answers));
    })();`;
  const { stdout, exitCode } = Bun.spawnSync([node!, "-e", script]);
  expect(exitCode).toBe(0);
  const ours = sources.map((source) => {
    try {
      const path = toPath(new Function(`return ${source}`)());
      return [encodePath(path).subarray(0, -1).toString()];
    } catch (error: any) {
      return `${error.code} ${error.message}`;
    }
  });
  expect(ours).toEqual(JSON.parse(stdout.toString()));
});
